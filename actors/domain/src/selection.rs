//! Which technician gets a ticket: hard filters, then the lowest integer cost.
//!
//! Distances are great circles in whole metres by integer arithmetic, so that every machine chooses
//! alike. Ties go to the lower identifier. **Not here:** who is where (`desk`), telling (`ticket`).

use minicbor::{Decode, Encode};

use crate::{ids::EntityId, message::Location, technician::Skill};

/// Exclusions written down one by one; beyond them only their number.
pub const EXCLUSIONS_MAX: usize = 512;
/// Candidates written down with their cost terms.
pub const CANDIDATES_MAX: usize = 5;
/// Metres a second on the road, door to door: 50 km/h.
const METRES_PER_S: u32 = 14;
/// Seconds that each ticket already held weighs: half an hour of work in front of this one.
const LOAD_S: u32 = 1800;
/// Seconds that each unneeded skill level weighs: experts are for what only they can do.
const LEVEL_S: u32 = 300;
/// Seconds that each assignment more than the least busy candidate's weighs.
const FAIRNESS_S: u32 = 60;

/// Why a technician is out of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Exclusion {
    #[n(0)]
    OffShift,
    #[n(1)]
    NoSkill,
    #[n(2)]
    Full,
    /// Refused this ticket, or let its offer expire.
    #[n(3)]
    Asked,
}

impl Exclusion {
    pub fn name(self) -> &'static str {
        match self {
            Self::OffShift => "off shift or without a device",
            Self::NoSkill => "lacks the skill",
            Self::Full => "at capacity",
            Self::Asked => "asked already",
        }
    }
}

/// A candidate with the terms of its cost, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Candidate {
    #[n(0)]
    pub technician: EntityId,
    #[n(1)]
    pub distance_m: u32,
    #[n(2)]
    pub travel_s: u32,
    #[n(3)]
    pub load_s: u32,
    #[n(4)]
    pub over_qualification_s: u32,
    #[n(5)]
    pub fairness_s: u32,
}

impl Candidate {
    pub fn cost_s(&self) -> u32 {
        self.travel_s
            .saturating_add(self.load_s)
            .saturating_add(self.over_qualification_s)
            .saturating_add(self.fairness_s)
    }
}

/// A choice with all that explains it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Choice {
    /// The best first; the first is chosen.
    #[n(0)]
    pub candidates: Vec<Candidate>,
    #[n(1)]
    pub excluded: Vec<(EntityId, Exclusion)>,
    /// How many were excluded in all.
    #[n(2)]
    pub excluded_count: u32,
    #[n(3)]
    pub rule_version: u32,
}

/// What the desk knows of a technician when it chooses.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    pub id: EntityId,
    pub on_shift: bool,
    pub skills: &'a [Skill],
    pub home: Location,
    pub capacity: u16,
    pub load: u16,
    pub assigned: u32,
}

/// What a ticket needs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Need {
    #[n(0)]
    pub category: u16,
    #[n(1)]
    pub priority: u8,
    #[n(2)]
    pub location: Location,
    /// Technicians that were asked already.
    #[n(3)]
    pub asked: Vec<EntityId>,
}

/// Chooses among all technicians of a region.
pub fn choose<'a>(
    need: &Need,
    options: impl Iterator<Item = Fit<'a>>,
    rule_version: u32,
) -> Choice {
    let mut choice = Choice { rule_version, ..Choice::default() };
    let mut fit = Vec::new();
    for option in options {
        match exclusion(need, &option) {
            Some(reason) => {
                choice.excluded_count += 1;
                if choice.excluded.len() < EXCLUSIONS_MAX {
                    choice.excluded.push((option.id, reason));
                }
            }
            None => fit.push(option),
        }
    }
    let least = fit.iter().map(|option| option.assigned).min().unwrap_or(0);
    choice.candidates = fit.iter().map(|option| cost(need, option, least)).collect();
    choice.candidates.sort_by_key(|candidate| (candidate.cost_s(), candidate.technician));
    choice.candidates.truncate(CANDIDATES_MAX);
    choice
}

fn level(need: &Need, skills: &[Skill]) -> Option<u8> {
    skills.iter().filter(|skill| skill.category == need.category).map(|skill| skill.level).max()
}

fn exclusion(need: &Need, option: &Fit<'_>) -> Option<Exclusion> {
    if !option.on_shift {
        Some(Exclusion::OffShift)
    } else if level(need, option.skills).is_none() {
        Some(Exclusion::NoSkill)
    } else if option.load >= option.capacity {
        Some(Exclusion::Full)
    } else if need.asked.contains(&option.id) {
        Some(Exclusion::Asked)
    } else {
        None
    }
}

fn cost(need: &Need, option: &Fit<'_>, least: u32) -> Candidate {
    let distance_m = distance_m(need.location, option.home);
    let spare = u32::from(level(need, option.skills).unwrap_or(1).saturating_sub(1));
    Candidate {
        technician: option.id,
        distance_m,
        travel_s: distance_m / METRES_PER_S,
        load_s: u32::from(option.load).saturating_mul(LOAD_S),
        over_qualification_s: spare * LEVEL_S,
        fairness_s: (option.assigned - least).saturating_mul(FAIRNESS_S),
    }
}

/// Great-circle distance in metres, within 0.5 % (haversine in fixed point).
pub fn distance_m(a: Location, b: Location) -> u32 {
    const EARTH_DIAMETER_M: i64 = 12_742_018;
    let lat = i128::from(half_sine(i64::from(a.lat_e6) - i64::from(b.lat_e6)));
    let lon = i128::from(half_sine(i64::from(a.lon_e6) - i64::from(b.lon_e6)));
    let cosines = i128::from(cosine(i64::from(a.lat_e6)) * cosine(i64::from(b.lat_e6)) / ONE);
    // Squares keep all their 60 fractional bits: cut to 30, two neighbours would be 400 m apart.
    let haversine = lat * lat + cosines * (lon * lon) / i128::from(ONE);
    let metres = EARTH_DIAMETER_M * arcsine_of_root(haversine) / ONE;
    u32::try_from(metres).unwrap_or(u32::MAX)
}

/// One, in fixed point with 30 fractional bits.
const ONE: i64 = 1 << 30;
/// Pi in the same.
const PI: i64 = 3_373_259_426;

/// Sine of an angle in radians within ±pi/2, by Taylor to the ninth power.
fn sine(x: i64) -> i64 {
    let square = x * x / ONE;
    let mut term = x;
    let mut sum = x;
    for n in [(2, 3), (4, 5), (6, 7), (8, 9), (10, 11)] {
        term = -(term * square / ONE) / (n.0 * n.1);
        sum += term;
    }
    sum
}

fn radians(degrees_e6: i64) -> i64 {
    degrees_e6 * PI / 180_000_000
}

/// Sine of half an angle; the angle is first brought to ±180 degrees.
fn half_sine(degrees_e6: i64) -> i64 {
    let wrapped = (degrees_e6 + 540_000_000).rem_euclid(360_000_000) - 180_000_000;
    sine(radians(wrapped) / 2)
}

fn cosine(degrees_e6: i64) -> i64 {
    sine(PI / 2 - radians(degrees_e6.abs()))
}

/// Arc sine of the square root of a number with 60 fractional bits, by bisection on the monotonous
/// sine.
fn arcsine_of_root(square: i128) -> i64 {
    let (mut low, mut high) = (0, PI / 2);
    while high - low > 1 {
        let middle = i64::midpoint(low, high);
        let sine = i128::from(sine(middle));
        if sine * sine <= square { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Location {
        Location { lat_e6: (lat * 1e6) as i32, lon_e6: (lon * 1e6) as i32 }
    }

    #[test]
    fn distances_agree_with_known_ones() {
        let (paris, london, sydney) =
            (at(48.8566, 2.3522), at(51.5074, -0.1278), at(-33.8688, 151.2093));
        for (a, b, metres) in
            [(paris, london, 343_556_u32), (paris, sydney, 16_960_000), (paris, paris, 0)]
        {
            let found = distance_m(a, b);
            assert!(found.abs_diff(metres) <= metres / 200 + 20, "{found} is not {metres}");
            assert_eq!(found, distance_m(b, a));
        }
        // Across the date line, and pole to pole.
        assert!(distance_m(at(0.0, 179.9), at(0.0, -179.9)) < 23_000);
        assert!(distance_m(at(90.0, 0.0), at(-90.0, 0.0)).abs_diff(20_015_000) < 30_000);
    }
}
