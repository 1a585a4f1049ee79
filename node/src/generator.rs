//! A seeded service desk: customers, technicians and requests shaped on a real one.
//!
//! The shape is that of 13,698 incidents of a large IT service desk in spring 2016: requests per
//! hour of the day, the mix of impact and urgency, how many categories a technician handles, and how
//! often each category is asked for. Names and texts are made up; places are around one city.

use fieldmesh_domain::message::{Location, RequestBody};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::web::rest::{NewCustomer, NewSkill, NewTechnician, Point};

/// Requests per hour of the day, from midnight.
pub const HOURLY: [u32; 24] = [
    129, 96, 71, 67, 60, 53, 195, 345, 1335, 1718, 1661, 1386, 714, 956, 1293, 1222, 1018, 630,
    250, 118, 107, 107, 86, 81,
];
/// Impact 1, 2, 3 and urgency 1, 2, 3, of 13,698.
const IMPACT: [u32; 3] = [142, 13_122, 434];
const URGENCY: [u32; 3] = [191, 13_110, 397];
/// The twelve categories asked for most, and how often.
const CATEGORIES: [(u16, u32); 12] = [
    (26, 1838),
    (42, 1581),
    (53, 1576),
    (46, 1374),
    (32, 907),
    (37, 649),
    (9, 613),
    (20, 595),
    (45, 538),
    (23, 533),
    (61, 493),
    (51, 407),
];
/// Quartiles of the categories per technician.
const SKILLS: [usize; 3] = [3, 6, 12];
/// Paris; everybody is within half a degree.
const CENTRE: Point = Point { lat_e6: 48_856_600, lon_e6: 2_352_200 };
const SPREAD_E6: i32 = 400_000;

/// The same seed gives the same desk.
pub struct Generator {
    random: StdRng,
    customers: u32,
    technicians: u32,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), customers: 0, technicians: 0 }
    }

    fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u32 = weights.iter().sum();
        let mut rest = self.random.random_range(0..total);
        weights
            .iter()
            .position(|weight| {
                let here = rest < *weight;
                rest = rest.saturating_sub(*weight);
                here
            })
            .unwrap_or(0)
    }

    fn place(&mut self) -> Point {
        let mut near = |centre: i32| centre + self.random.random_range(-SPREAD_E6..=SPREAD_E6);
        Point { lat_e6: near(CENTRE.lat_e6), lon_e6: near(CENTRE.lon_e6) }
    }

    pub fn customer(&mut self) -> NewCustomer {
        self.customers += 1;
        NewCustomer {
            name: format!("Customer {}", self.customers),
            location: self.place(),
            tier: 2,
            zone: None,
        }
    }

    /// The first technician can do everything, so that no request stays without one.
    pub fn technician(&mut self) -> NewTechnician {
        self.technicians += 1;
        let count = if self.technicians == 1 {
            CATEGORIES.len()
        } else {
            SKILLS[self.weighted(&[1, 1, 1])]
        };
        let start = self.random.random_range(0..CATEGORIES.len());
        let skills = CATEGORIES.iter().cycle().skip(start).take(count);
        let skills = skills
            .map(|(category, _)| NewSkill { category: *category, level: 3, expires_ms: None })
            .collect();
        NewTechnician {
            name: format!("Technician {}", self.technicians),
            home: self.place(),
            skills,
            capacity: 8,
        }
    }

    pub fn request(&mut self) -> RequestBody {
        let weights = CATEGORIES.map(|(_, weight)| weight);
        let (category, _) = CATEGORIES[self.weighted(&weights)];
        let location = Location::from(self.place());
        RequestBody {
            category,
            subcategory: self.random.random_range(1..=255),
            impact: self.weighted(&IMPACT) as u8 + 1,
            urgency: self.weighted(&URGENCY) as u8 + 1,
            location,
            text: format!("Something in category {category} needs attention."),
        }
    }
}
