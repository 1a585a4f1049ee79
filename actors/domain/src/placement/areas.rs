//! Where a region's people live, so that an address that is nobody's is noticed when it is written down.
//!
//! An operator may say it in boxes of degrees. As long as no region has any, every address fits every region. From
//! then on an address outside of all areas is somebody's mistake, and one in another region's area alone may be
//! meant: people are registered with a neighbour on purpose.
//!
//! **Invariants:** a box has an inside, and what is on its edge is in it; a box may cross the meridian of 180°, and
//! one that reaches a pole has all of it. **Not here:** who is refused (`node`); a request is taken from anywhere.

use core::fmt;

use minicbor::{Decode, Encode};

use super::{Event, Members, Placement, members::AREAS};
use crate::{
    Region, Rejection, RejectionCode,
    message::{Degrees, Location},
};

/// Of a region: a country with its islands, and small enough for the row that each node has of it.
pub const AREAS_MAX: usize = 16;
/// In millionths of a degree.
const POLE_E6: u32 = 90_000_000;
const ROUND_E6: i64 = 360_000_000;

/// A box in millionths of a degree: from one latitude up to another, and from one longitude eastwards to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Area {
    #[n(0)]
    pub south_e6: i32,
    #[n(1)]
    pub west_e6: i32,
    #[n(2)]
    pub north_e6: i32,
    #[n(3)]
    pub east_e6: i32,
}

/// What an operator says of a region.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Areas {
    #[n(0)]
    pub region: Region,
    /// All that it has; none: nobody says where it is.
    #[n(1)]
    pub areas: Vec<Area>,
    #[n(2)]
    pub by: String,
}

/// How a place is to what is said of the regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// In the region, or nobody says where any region is.
    Here,
    /// In these regions alone.
    Elsewhere(Vec<Region>),
    /// In no region.
    Nowhere,
}

impl Area {
    /// How far it reaches eastwards.
    fn width_e6(self) -> i64 {
        let width = i64::from(self.east_e6) - i64::from(self.west_e6);
        if width < 0 { width + ROUND_E6 } else { width }
    }

    pub fn contains(self, place: Location) -> bool {
        let eastwards = (i64::from(place.lon_e6) - i64::from(self.west_e6)).rem_euclid(ROUND_E6);
        // All longitudes meet there.
        let is_pole = place.lat_e6.unsigned_abs() == POLE_E6;
        (self.south_e6..=self.north_e6).contains(&place.lat_e6)
            && (is_pole || eastwards <= self.width_e6())
    }

    /// What is wrong with it.
    fn fault(self) -> Option<&'static str> {
        let corners = [(self.south_e6, self.west_e6), (self.north_e6, self.east_e6)];
        let is_on_earth = |(lat_e6, lon_e6)| Location { lat_e6, lon_e6 }.is_on_earth();
        if !corners.into_iter().all(is_on_earth) {
            Some("is not on earth: latitudes go from -90 to 90, longitudes from -180 to 180")
        } else if self.south_e6 > self.north_e6 {
            Some("ends south of where it begins: say south, west, north, east")
        } else if self.south_e6 == self.north_e6 || self.width_e6() == 0 {
            Some("has no inside: its edges are the same")
        } else {
            None
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [south, west, north, east] =
            [self.south_e6, self.west_e6, self.north_e6, self.east_e6].map(Degrees);
        write!(f, "{south},{west},{north},{east}")
    }
}

impl Placement {
    pub(super) fn set_areas(&self, wanted: &Areas) -> Result<Vec<Event>, Rejection> {
        let Areas { region, areas, .. } = wanted;
        let Some(home) = self.members.home(*region) else {
            return Rejection::new(RejectionCode::Unknown, format!("there is no region {region}"));
        };
        if areas.len() > AREAS_MAX {
            let text = format!("{} boxes, a region has at most {AREAS_MAX}", areas.len());
            return Rejection::new(RejectionCode::Limit, text);
        }
        if let Some((area, fault)) = areas.iter().find_map(|area| Some((area, area.fault()?))) {
            return Rejection::new(RejectionCode::Invalid, format!("the box {area} {fault}"));
        }
        if home.areas() == areas {
            return Ok(vec![]);
        }
        self.members.all_understand(AREAS)?;
        Ok(vec![Event::AreasSet(wanted.clone())])
    }
}

impl Members {
    pub(super) fn set_areas(&mut self, set: &Areas) {
        self.epoch = self.epoch.saturating_add(1);
        if let Some(home) = self.homes.iter_mut().find(|home| home.region == set.region) {
            home.areas = Some(set.areas.clone()).filter(|areas| !areas.is_empty());
        }
    }

    /// How a place is to a region's areas and to those of the others.
    pub fn whereabouts(&self, region: Region, place: Location) -> Whereabouts {
        let has = |area: &Area| area.contains(place);
        let around = self.homes.iter().filter(|home| home.areas().iter().any(has));
        let around: Vec<Region> = around.map(|home| home.region).collect();
        if around.contains(&region) || self.homes.iter().all(|home| home.areas().is_empty()) {
            Whereabouts::Here
        } else if around.is_empty() {
            Whereabouts::Nowhere
        } else {
            Whereabouts::Elsewhere(around)
        }
    }
}
