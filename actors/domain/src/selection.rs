//! Which technician gets a ticket: hard filters, then the lowest integer cost.
//!
//! Distances are great circles in whole metres by integer arithmetic, so that every machine chooses
//! alike. Ties go to the lower identifier. **Not here:** who is where (`desk`), telling (`ticket`), how a
//! choice is made among others (`how`).

mod circumstances;
mod how;

use minicbor::{Decode, Encode};

use crate::{ids::EntityId, message::Location, technician::Skill, time::Millis};

pub use circumstances::{Away, Circumstances, PREFERRED_S, Part, SERVICE_S, ShiftTime, Wishes};
pub use how::{How, Mode, Rival};

/// Exclusions written down one by one; beyond them only their number.
pub const EXCLUSIONS_MAX: usize = 512;
/// Candidates written down with their cost terms.
pub const CANDIDATES_MAX: usize = 5;
/// Metres a second on the road, door to door: 50 km/h.
const METRES_PER_S: u32 = 14;
/// Metres of a ten-thousandth of a degree of latitude, rounded down by a hundredth, which is more than any
/// distance here is wrong; and metres that a short one may be wrong.
const LATITUDE_M: u32 = 11;
const FLOOR_SLACK_M: u32 = 20;
/// Seconds that each ticket already held weighs: half an hour of work in front of this one.
pub(crate) const LOAD_S: u32 = 1800;
/// Seconds that each unneeded skill level weighs: experts are for what only they can do.
const LEVEL_S: u32 = 300;
/// Seconds that each assignment more than the least busy candidate's weighs, and how many count: so that all get
/// as much, nobody is sent more than ten minutes (8 km) farther, a third of what a ticket already held weighs.
const FAIRNESS_S: u32 = 60;
const FAIRNESS_MAX: u32 = 10;
/// The most that lateness costs: a week, which no other term outweighs.
const LATENESS_S_MAX: u32 = 7 * 24 * 3600;

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
    #[n(16)]
    OnBreak,
    /// Its device was not connected for long.
    #[n(17)]
    Unreachable,
    /// Had the skill, or one that a rule requires, until it expired.
    #[n(18)]
    SkillExpired,
    /// Too little is left of its shift for the way and the work.
    #[n(19)]
    ShiftEnds,
    /// Its device could not prove itself when it arrives.
    #[n(20)]
    CertificateEnds,
    /// The customer does not want it.
    #[n(21)]
    Blocked,
    /// Further away than the step of the escalation policy allows.
    #[n(12)]
    TooFar,
    /// Had as many offers in the last minute as a person can look at.
    #[n(13)]
    Paced,
    /// A rule requires a skill that it has not, or not at that level.
    #[n(8)]
    LacksRequired,
    /// A rule requires a part that is not on its van, or not as often.
    #[n(22)]
    LacksPart,
}

impl Exclusion {
    pub fn name(self) -> &'static str {
        match self {
            Self::OffShift => "off shift or without a device",
            Self::NoSkill => "lacks the skill",
            Self::Full => "at capacity",
            Self::Asked => "asked already",
            Self::OnBreak => "at a break of its roster",
            Self::Unreachable => "its device is not heard",
            Self::SkillExpired => "a skill that is needed has expired, or will before it arrives",
            Self::ShiftEnds => "its shift ends before the way there and half an hour of work",
            Self::CertificateEnds => "its device's certificate ends before it arrives",
            Self::Blocked => "the customer does not want it",
            Self::TooFar => "further away than the policy's step allows",
            Self::Paced => "had too many offers in the last minute",
            Self::LacksRequired => "lacks a required skill",
            Self::LacksPart => "has not all required parts on its van",
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
    /// What the customer's wish for it is worth: taken off the cost.
    #[n(6)]
    pub preferred_s: Option<u32>,
    /// What it is worth not to be late, growing with its square; none where nothing was promised.
    #[n(9)]
    pub lateness_s: Option<u32>,
}

impl Candidate {
    pub fn cost_s(&self) -> u32 {
        self.travel_s
            .saturating_add(self.load_s)
            .saturating_add(self.over_qualification_s)
            .saturating_add(self.fairness_s)
            .saturating_add(self.lateness_s.unwrap_or(0))
            .saturating_sub(self.preferred_s.unwrap_or(0))
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
    /// None from a desk that answers each question by itself.
    #[n(4)]
    pub how: Option<How>,
    /// Which required skill those lack that are excluded for that, at which level; none where nobody is.
    #[n(8)]
    pub lacking: Option<Vec<(EntityId, Skill)>>,
}

/// What the desk knows of a technician when it chooses.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    pub id: EntityId,
    pub on_shift: bool,
    pub skills: &'a [Skill],
    pub home: Location,
    /// Where it goes on from: the place of the last ticket that it has; none is home.
    pub from: Option<Location>,
    pub capacity: u16,
    pub load: u16,
    pub assigned: u32,
    pub circumstances: Option<&'a Circumstances>,
    /// It had its offers of this minute.
    pub is_paced: bool,
}

impl Fit<'_> {
    /// How far it has to a ticket: once it is done with what it has, which costs time of its own.
    fn distance_m(&self, need: &Need) -> u32 {
        distance_m(need.location, self.begins_at())
    }

    fn begins_at(&self) -> Location {
        self.from.unwrap_or(self.home)
    }
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
    /// What a technician must have besides the category, each at that level at least.
    #[n(4)]
    pub skills: Option<Vec<Skill>>,
    /// The customer's, where it has any.
    #[n(6)]
    pub wishes: Option<Wishes>,
    /// Nobody who is further away; none is any distance.
    #[n(8)]
    pub radius_m: Option<u32>,
    /// When the work was promised to be finished.
    #[n(9)]
    pub finish_by: Option<Millis>,
    /// What a technician must have on its van.
    #[n(10)]
    pub parts: Option<Vec<Part>>,
    /// Seconds that an offer of it waits for an answer, where its policy says so.
    #[n(11)]
    pub life_s: Option<u32>,
    /// Since when it is open: who waits for longer comes first. None from an earlier release.
    #[n(12)]
    pub opened_at: Option<Millis>,
}

impl Need {
    /// A need of which nothing more is known.
    pub fn plain(category: u16, priority: u8, location: Location, asked: Vec<EntityId>) -> Self {
        Self {
            category,
            priority,
            location,
            asked,
            skills: None,
            wishes: None,
            radius_m: None,
            finish_by: None,
            parts: None,
            life_s: None,
            opened_at: None,
        }
    }
}

/// Chooses among all technicians of a region.
pub fn choose<'a>(
    need: &Need,
    options: impl Iterator<Item = Fit<'a>>,
    rule_version: u32,
    now: Millis,
) -> Choice {
    let (fit, choice) = sift(need, options, rule_version, now);
    Choice { candidates: cheapest(need, &fit, CANDIDATES_MAX, now), ..choice }
}

/// Those who are not out of the question, and a choice that says why the others are.
pub(crate) fn sift<'a>(
    need: &Need,
    options: impl Iterator<Item = Fit<'a>>,
    rule_version: u32,
    now: Millis,
) -> (Vec<Fit<'a>>, Choice) {
    let mut choice = Choice { rule_version, ..Choice::default() };
    let mut fit = Vec::new();
    for option in options {
        match exclusion(need, &option, now) {
            Some(reason) => {
                choice.excluded_count += 1;
                if choice.excluded.len() < EXCLUSIONS_MAX {
                    choice.excluded.push((option.id, reason));
                    note_lacking(&mut choice, need, &option, reason);
                }
            }
            None => fit.push(option),
        }
    }
    (fit, choice)
}

/// So many of the cheapest, the best first. How far somebody is is found out only where that may matter: of
/// ten thousand technicians of a region some hundred are near enough.
pub(crate) fn cheapest(need: &Need, fit: &[Fit<'_>], most: usize, now: Millis) -> Vec<Candidate> {
    let least = fit.iter().map(|option| option.assigned).min().unwrap_or(0);
    let mut best: Vec<Candidate> = Vec::with_capacity(most + 1);
    for option in fit {
        let worst = best.last().filter(|_| best.len() >= most);
        if worst.is_some_and(|worst| cost_floor_s(need, option, least, now) > worst.cost_s()) {
            continue;
        }
        let candidate = cost(need, option, least, now);
        let rank = (candidate.cost_s(), candidate.technician);
        let at = best.partition_point(|other| (other.cost_s(), other.technician) < rank);
        best.insert(at, candidate);
        best.truncate(most);
    }
    best
}

/// What the chosen one counts as given from now on, where it was given far fewer than others who fit: ten are made up
/// and the rest is forgiven. Whoever is new, or comes back after months, would otherwise get every ticket until it had
/// as many as those who were there all the time.
pub(crate) fn caught_up(technician: EntityId, fit: &[Fit<'_>]) -> Option<u32> {
    let own = fit.iter().find(|option| option.id == technician)?.assigned;
    let most = fit.iter().map(|option| option.assigned).max()?;
    let behind = most.saturating_sub(FAIRNESS_MAX);
    (own < behind).then_some(behind.saturating_add(1))
}

/// The first required skill that somebody has not, be it expired: that is another exclusion.
fn lacking(need: &Need, skills: &[Skill]) -> Option<Skill> {
    let has = |wanted: &Skill| {
        skills.iter().any(|skill| skill.category == wanted.category && skill.level >= wanted.level)
    };
    need.skills.iter().flatten().find(|wanted| !has(wanted)).copied()
}

/// Whether somebody has the required parts; whose van nobody knows has none.
fn carries(need: &Need, circumstances: Option<&Circumstances>) -> bool {
    let Some(parts) = need.parts.as_deref().filter(|parts| !parts.is_empty()) else { return true };
    circumstances.is_some_and(|known| known.carries(parts))
}

fn note_lacking(choice: &mut Choice, need: &Need, option: &Fit<'_>, reason: Exclusion) {
    if reason == Exclusion::LacksRequired
        && let Some(skill) = lacking(need, option.skills)
    {
        choice.lacking.get_or_insert_default().push((option.id, skill));
    }
}

fn level(need: &Need, skills: &[Skill]) -> Option<u8> {
    skills.iter().filter(|skill| skill.category == need.category).map(|skill| skill.level).max()
}

/// Whether all skills that it asks for still count then: that of its category, and those that rules require.
pub fn is_skilled_at(need: &Need, skills: &[Skill], at: Millis) -> bool {
    let counts = |wanted: &Skill| {
        let mut own = skills.iter().filter(|skill| skill.counts_at(at));
        own.any(|skill| skill.category == wanted.category && skill.level >= wanted.level)
    };
    level_at(need, skills, at).is_some() && need.skills.iter().flatten().all(counts)
}

/// The best level that still counts then.
fn level_at(need: &Need, skills: &[Skill], at: Millis) -> Option<u8> {
    let counting = skills.iter().filter(|skill| skill.counts_at(at));
    counting.filter(|skill| skill.category == need.category).map(|skill| skill.level).max()
}

pub(crate) fn exclusion(need: &Need, option: &Fit<'_>, now: Millis) -> Option<Exclusion> {
    let absence = option.circumstances.and_then(Circumstances::absence);
    absence
        .or((!option.on_shift).then_some(Exclusion::OffShift))
        .or_else(|| unable(need, option))
        .or((option.load >= option.capacity).then_some(Exclusion::Full))
        .or_else(|| unwanted(need, option))
        .or((option.is_paced && need.priority > 1).then_some(Exclusion::Paced))
        .or_else(|| shortage(need, option, now))
}

/// What keeps somebody from a ticket whatever the time and whatever else there is to do: a plan of the day goes
/// by the same.
pub fn unfit(need: &Need, option: &Fit<'_>) -> Option<Exclusion> {
    unable(need, option).or_else(|| unwanted(need, option))
}

/// What somebody lacks for the work.
fn unable(need: &Need, option: &Fit<'_>) -> Option<Exclusion> {
    if level(need, option.skills).is_none() {
        Some(Exclusion::NoSkill)
    } else if lacking(need, option.skills).is_some() {
        Some(Exclusion::LacksRequired)
    } else {
        (!carries(need, option.circumstances)).then_some(Exclusion::LacksPart)
    }
}

/// Why it is not to be this one, who could do it.
fn unwanted(need: &Need, option: &Fit<'_>) -> Option<Exclusion> {
    if need.asked.contains(&option.id) {
        Some(Exclusion::Asked)
    } else if need.wishes.as_ref().is_some_and(|wishes| wishes.blocked.contains(&option.id)) {
        Some(Exclusion::Blocked)
    } else {
        // A radius is how far away somebody is based, wherever it is now.
        let is_far = need.radius_m.is_some_and(|max| distance_m(need.location, option.home) > max);
        is_far.then_some(Exclusion::TooFar)
    }
}

/// No more than what it costs, without the distance: what lies between two latitudes is travelled at least, and
/// only a skill that never expires surely still counts on arrival.
fn cost_floor_s(need: &Need, option: &Fit<'_>, least: u32, now: Millis) -> u32 {
    let apart_e6 = need.location.lat_e6.abs_diff(option.begins_at().lat_e6);
    let floor_m = (apart_e6 / 100 * LATITUDE_M).saturating_sub(FLOOR_SLACK_M);
    let level = level_at(need, option.skills, Millis(u64::MAX)).unwrap_or(1);
    costs(need, option, least, (floor_m, level), now).cost_s()
}

pub(crate) fn cost(need: &Need, option: &Fit<'_>, least: u32, now: Millis) -> Candidate {
    let distance_m = option.distance_m(need);
    let arrives = now.after_s(u64::from(distance_m / METRES_PER_S));
    let level = level_at(need, option.skills, arrives).unwrap_or(1);
    costs(need, option, least, (distance_m, level), now)
}

/// What will not last until the technician is there. The way is measured only where something ends.
pub fn shortage(need: &Need, option: &Fit<'_>, now: Millis) -> Option<Exclusion> {
    let expires = option.skills.iter().any(|skill| skill.expires.is_some());
    if option.circumstances.is_none() && !expires {
        return None;
    }
    let travel_s = option.distance_m(need) / METRES_PER_S;
    if !is_skilled_at(need, option.skills, now.after_s(u64::from(travel_s))) {
        return Some(Exclusion::SkillExpired);
    }
    option.circumstances.and_then(|known| known.shortage(travel_s, now))
}

/// What being late costs, where something was promised.
fn lateness_s(need: &Need, travel_s: u32, load_s: u32, now: Millis) -> Option<u32> {
    let left_s = need.finish_by?.0.saturating_sub(now.0) / 1000;
    let needed_s = u64::from(travel_s) + u64::from(load_s) + u64::from(SERVICE_S);
    Some(late_worth_s(needed_s.saturating_sub(left_s)))
}

/// What being so late costs: its seconds, and as much again for each hour of them.
pub fn late_worth_s(late_s: u64) -> u32 {
    let late_s = late_s.min(u64::from(LATENESS_S_MAX));
    let worth_s = late_s + late_s * late_s / 3600;
    u32::try_from(worth_s).unwrap_or(LATENESS_S_MAX).min(LATENESS_S_MAX)
}

fn costs(
    need: &Need,
    option: &Fit<'_>,
    least: u32,
    (distance_m, level): (u32, u8),
    now: Millis,
) -> Candidate {
    let travel_s = distance_m / METRES_PER_S;
    let spare = u32::from(level.saturating_sub(1));
    let load_s = u32::from(option.load).saturating_mul(LOAD_S);
    let is_preferred =
        need.wishes.as_ref().is_some_and(|wishes| wishes.preferred.contains(&option.id));
    Candidate {
        technician: option.id,
        distance_m,
        travel_s,
        load_s,
        over_qualification_s: spare * LEVEL_S,
        fairness_s: (option.assigned - least).min(FAIRNESS_MAX) * FAIRNESS_S,
        preferred_s: is_preferred.then_some(PREFERRED_S),
        lateness_s: lateness_s(need, travel_s, load_s, now),
    }
}

/// Seconds on the road between two places.
pub fn travel_s(a: Location, b: Location) -> u32 {
    distance_m(a, b) / METRES_PER_S
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
/// sine. Near enough, where a series says about where it is, most steps need no sine.
fn arcsine_of_root(square: i128) -> i64 {
    let about = about_arcsine(square);
    let (mut low, mut high) = (0, PI / 2);
    while high - low > 1 {
        let middle = i64::midpoint(low, high);
        let is_below = match about {
            Some(about) if middle <= about - ABOUT => true,
            Some(about) if middle >= about + ABOUT => false,
            _ => {
                let sine = i128::from(sine(middle));
                sine * sine <= square
            }
        };
        if is_below { low = middle } else { high = middle }
    }
    low
}

/// How far the series is off at most, in the last bits: more than it ever was.
const ABOUT: i64 = 64;

/// The same by its series up to the seventh power, for what is nearer than some 800 km.
fn about_arcsine(square: i128) -> Option<i64> {
    let root = i64::try_from(u64::try_from(square).ok()?.isqrt()).ok()?;
    if root >= ONE / 16 {
        return None;
    }
    let second = root * root / ONE;
    let third = root * second / ONE;
    let fifth = third * second / ONE;
    let seventh = fifth * second / ONE;
    Some(root + third / 6 + 3 * fifth / 40 + 15 * seventh / 336)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Location {
        Location { lat_e6: (lat * 1e6) as i32, lon_e6: (lon * 1e6) as i32 }
    }

    /// As it was before there was a series: choices of then must be decided alike.
    fn arcsine_by_bisection_alone(square: i128) -> i64 {
        let (mut low, mut high) = (0, PI / 2);
        while high - low > 1 {
            let middle = i64::midpoint(low, high);
            let sine = i128::from(sine(middle));
            if sine * sine <= square { low = middle } else { high = middle }
        }
        low
    }

    #[test]
    fn a_series_changes_no_arcsine() {
        let mut number = 1_u64;
        for bits in 0..=60 {
            for _ in 0..2_000 {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let square = i128::from((number >> 4) >> (60 - bits));
                assert_eq!(arcsine_of_root(square), arcsine_by_bisection_alone(square), "{square}");
            }
        }
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
