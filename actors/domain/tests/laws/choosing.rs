//! Selection against its definition written down once more, and distances against floating point.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    EntityId,
    message::Location,
    selection::{
        Away, CANDIDATES_MAX, Choice, Circumstances, EXCLUSIONS_MAX, Exclusion, Fit, Need, Part,
        ShiftTime, Wishes, choose, distance_m,
    },
    technician::Skill,
    time::Millis,
};
use proptest::{collection::vec, option, prelude::*, sample::subsequence};

use crate::{
    arbitrary::{location, required, skills},
    world::technician,
};

const RULE_VERSION: u32 = 7;
const NOW: Millis = Millis(1_800_000_000_000);

/// A technician as the desk knows it.
#[derive(Debug, Clone)]
struct Known {
    id: EntityId,
    on_shift: bool,
    skills: Vec<Skill>,
    home: Location,
    /// The place of the last ticket that it has.
    from: Option<Location>,
    capacity: u16,
    load: u16,
    assigned: u32,
    circumstances: Option<Circumstances>,
    is_paced: bool,
}

impl Known {
    fn fit(&self) -> Fit<'_> {
        let Self { id, on_shift, ref skills, home, from, capacity, load, .. } = *self;
        let (assigned, is_paced) = (self.assigned, self.is_paced);
        let circumstances = self.circumstances.as_ref();
        Fit { id, on_shift, skills, home, from, capacity, load, assigned, circumstances, is_paced }
    }

    fn level(&self, need: &Need, is_to_last: bool) -> Option<u8> {
        let fitting = self.skills.iter().filter(|skill| skill.category == need.category);
        let arrival_ms = NOW.0 + self.travel_s(need) * 1000;
        let lasts = |skill: &&Skill| skill.expires.is_none_or(|expires| expires.0 > arrival_ms);
        fitting.filter(|skill| !is_to_last || lasts(skill)).map(|skill| skill.level).max()
    }

    fn travel_s(&self, need: &Need) -> u64 {
        u64::from(distance_m(need.location, self.from.unwrap_or(self.home)) / 14)
    }

    /// Millisecond by millisecond would be the definition; breaks lie within the shift and apart.
    fn work_left_s(&self) -> Option<u64> {
        let shift = self.circumstances.as_ref()?.shift.as_ref()?;
        let ends = shift.ends?.0.max(NOW.0);
        let breaks = shift
            .breaks
            .iter()
            .map(|(from, until)| until.0.clamp(NOW.0, ends) - from.0.clamp(NOW.0, ends));
        Some((ends - NOW.0 - breaks.sum::<u64>()) / 1000)
    }

    /// The first required skill that it has not at that level.
    fn lacks(&self, need: &Need) -> Option<Skill> {
        let required = need.skills.iter().flatten();
        let has = |wanted: &&Skill| {
            let level = self.skills.iter().filter(|skill| skill.category == wanted.category);
            level.map(|skill| skill.level).max().is_some_and(|level| level >= wanted.level)
        };
        required.copied().find(|wanted| !has(&wanted))
    }

    /// Every skill that is asked for counts when it arrives, the required ones at their level.
    fn is_skilled_on_arrival(&self, need: &Need) -> bool {
        let arrival_ms = NOW.0 + self.travel_s(need) * 1000;
        let lasting = self.skills.iter().copied();
        let lasting: Vec<Skill> = lasting
            .filter(|skill| skill.expires.is_none_or(|expires| expires.0 > arrival_ms))
            .collect();
        let lasting = Self { skills: lasting, ..self.clone() };
        self.level(need, true).is_some() && lasting.lacks(need).is_none()
    }

    fn has_parts(&self, need: &Need) -> bool {
        let on_van = |part: &Part| {
            let stock = self.circumstances.clone().unwrap_or_default().stock.unwrap_or_default();
            stock.get(&part.number).copied().unwrap_or(0) >= part.count
        };
        need.parts.iter().flatten().all(on_van)
    }

    fn exclusion(&self, need: &Need) -> Option<Exclusion> {
        let known = self.circumstances.clone().unwrap_or_default();
        let is_blocked =
            need.wishes.as_ref().is_some_and(|wishes| wishes.blocked.contains(&self.id));
        let ends_too_soon =
            self.work_left_s().is_some_and(|left| left < self.travel_s(need) + 1800);
        let arrives_s = NOW.0 / 1000 + self.travel_s(need);
        let rules = [
            (known.away == Some(Away::Break), Exclusion::OnBreak),
            (known.away == Some(Away::Unreachable), Exclusion::Unreachable),
            (!self.on_shift, Exclusion::OffShift),
            (self.level(need, false).is_none(), Exclusion::NoSkill),
            (self.lacks(need).is_some(), Exclusion::LacksRequired),
            (!self.has_parts(need), Exclusion::LacksPart),
            (self.load >= self.capacity, Exclusion::Full),
            (need.asked.contains(&self.id), Exclusion::Asked),
            (is_blocked, Exclusion::Blocked),
            (
                need.radius_m.is_some_and(|max| distance_m(need.location, self.home) > max),
                Exclusion::TooFar,
            ),
            (need.priority > 1 && self.is_paced, Exclusion::Paced),
            (!self.is_skilled_on_arrival(need), Exclusion::SkillExpired),
            (ends_too_soon, Exclusion::ShiftEnds),
            (
                known.certified_until.is_some_and(|until| until <= arrives_s),
                Exclusion::CertificateEnds,
            ),
        ];
        rules.into_iter().find_map(|(excluded, reason)| excluded.then_some(reason))
    }

    /// Seconds on the road at 14 m/s, half an hour for each ticket held, five minutes for each
    /// level above the first, a minute for each of ten assignments more than the least busy one's; an hour less,
    /// but not less than nothing, for whom the customer prefers.
    fn cost_s(&self, need: &Need, least: u32) -> u64 {
        let above = u64::from(self.level(need, true).unwrap()) - 1;
        let cost = self.travel_s(need)
            + u64::from(self.load) * 1800
            + above * 300
            + u64::from(self.assigned - least).min(10) * 60
            + need.finish_by.map_or(0, |by| self.lateness_s(need, by));
        let is_preferred =
            need.wishes.as_ref().is_some_and(|wishes| wishes.preferred.contains(&self.id));
        cost.saturating_sub(if is_preferred { 3600 } else { 0 })
    }

    /// The seconds by which half an hour's work would be late, and for each hour of them as much again;
    /// a week at most.
    fn lateness_s(&self, need: &Need, by: Millis) -> u64 {
        let done_s = self.travel_s(need) + u64::from(self.load) * 1800 + 1800;
        let late = done_s.saturating_sub(by.0.saturating_sub(NOW.0) / 1000).min(604_800);
        (late + late * late / 3600).min(604_800)
    }
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    // Around what the way and the work take; breaks one after the other.
    let minutes = |most: u64| (0..most).prop_map(|minutes| minutes * 60_000);
    let breaks = vec((minutes(90), minutes(60)), 0..3);
    let shift = (option::of(minutes(20_000)), breaks).prop_map(|(ends, breaks)| {
        let mut at = NOW.0 - 3_600_000;
        let breaks = breaks.into_iter().map(|(pause, length)| {
            let from = at + pause;
            at = from + length;
            (Millis(from), Millis(at))
        });
        let ends = ends.map(|ends| Millis(NOW.0 - 600_000 + ends));
        ShiftTime { ends, breaks: breaks.collect() }
    });
    let away = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Away::Break)),
        1 => Just(Some(Away::Unreachable)),
    ];
    let certified = option::of((0_u64..2_000_000).prop_map(|s| NOW.0 / 1000 - 1000 + s));
    let stock = option::of(vec(("[pq]", 0_u16..3), 0..3).prop_map(BTreeMap::from_iter));
    (option::of(shift), away, certified, stock).prop_map(|(shift, away, certified_until, stock)| {
        Circumstances { shift, away, certified_until, stock }
    })
}

fn expiring(skills: Vec<Skill>, ends: &[Option<u64>]) -> Vec<Skill> {
    let skills = skills.into_iter().zip(ends.iter().chain(std::iter::repeat(&None)));
    skills
        .map(|(skill, end)| Skill {
            expires: end.map(|minutes| Millis(NOW.0 - 600_000 + minutes * 60_000)),
            ..skill
        })
        .collect()
}

fn known() -> impl Strategy<Value = Vec<Known>> {
    let assigned = prop_oneof![0_u32..20, 0_u32..20_000];
    let numbers = (0_u16..4, 0_u16..3, assigned, any::<bool>());
    let ends = vec(option::of(0_u64..20_000), 0..3);
    let skills = (skills(), ends).prop_map(|(skills, ends)| expiring(skills, &ends));
    let more = option::of(circumstances());
    let places = (location(), option::weighted(0.3, location()));
    let one = (prop::bool::weighted(0.8), skills, places, numbers, more);
    vec(one, 0..12).prop_map(|all| {
        let named = all.into_iter().zip(0_u8..);
        named
            .map(|((on_shift, skills, (home, from), numbers, circumstances), number)| {
                let (id, (capacity, load, assigned, is_paced)) = (technician(number), numbers);
                Known {
                    id,
                    on_shift,
                    skills,
                    home,
                    from,
                    capacity,
                    load,
                    assigned,
                    circumstances,
                    is_paced,
                }
            })
            .collect()
    })
}

fn need() -> impl Strategy<Value = Need> {
    let some = || subsequence((0_u8..12).map(technician).collect::<Vec<_>>(), 0..4);
    let wishes = (some(), some()).prop_map(|(preferred, blocked)| Wishes {
        preferred: preferred.into_iter().collect(),
        blocked: blocked.into_iter().collect(),
    });
    let terms = (option::of(0_u32..20_000_000), option::of(0_u64..400_000_000));
    let part = ("[pq]", 1_u16..3).prop_map(|(number, count)| Part { number, count });
    let parts = option::weighted(0.3, vec(part, 0..3));
    let more = (option::of(wishes), terms, required(), parts);
    (1_u16..4, 1_u8..=5, location(), some(), more).prop_map(
        |(category, priority, location, asked, (wishes, (radius_m, left_ms), skills, parts))| {
            Need {
                category,
                priority,
                location,
                asked,
                skills,
                wishes,
                radius_m,
                finish_by: left_ms.map(|left_ms| Millis(NOW.0 + left_ms)),
                parts,
                life_s: None,
                opened_at: None,
            }
        },
    )
}

fn chosen(need: &Need, all: &[Known]) -> Choice {
    choose(need, all.iter().map(Known::fit), RULE_VERSION, NOW)
}

fn is_as_defined(need: &Need, all: &[Known], choice: &Choice) {
    let (fit, unfit): (Vec<&Known>, Vec<&Known>) =
        all.iter().partition(|known: &&Known| known.exclusion(need).is_none());
    let least = fit.iter().map(|known| known.assigned).min().unwrap_or(0);
    let mut best: Vec<(u64, EntityId)> =
        fit.iter().map(|known| (known.cost_s(need, least), known.id)).collect();
    best.sort();
    best.truncate(CANDIDATES_MAX);
    let found = choice.candidates.iter();
    let found: Vec<_> =
        found.map(|candidate| (u64::from(candidate.cost_s()), candidate.technician)).collect();
    assert_eq!(found, best);
    let excluded: BTreeMap<_, _> =
        unfit.iter().map(|known| (known.id, known.exclusion(need).unwrap())).collect();
    assert_eq!(choice.excluded.iter().copied().collect::<BTreeMap<_, _>>(), excluded);
    assert_eq!(choice.excluded.len(), excluded.len());
    assert_eq!(choice.excluded_count as usize, excluded.len());
    let is_lacking = |known: &&&Known| known.exclusion(need) == Some(Exclusion::LacksRequired);
    let lacking: BTreeMap<_, _> = unfit
        .iter()
        .filter(is_lacking)
        .map(|known| (known.id, known.lacks(need).unwrap()))
        .map(|(id, skill)| (id, (skill.category, skill.level)))
        .collect();
    let told = choice.lacking.iter().flatten();
    let told: BTreeMap<_, _> =
        told.map(|(id, skill)| (*id, (skill.category, skill.level))).collect();
    assert_eq!(told, lacking, "it is said which skill is missing");
    assert_eq!(choice.rule_version, RULE_VERSION);
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn the_cheapest_of_those_who_fit_is_chosen(need in need(), all in known()) {
        is_as_defined(&need, &all, &chosen(&need, &all));
    }

    /// The desk walks in the order of identifiers; exclusions are written down in the order walked.
    #[test]
    fn the_order_of_the_options_does_not_matter(
        need in need(),
        (all, shuffled) in known().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        let (mut one, mut other) = (chosen(&need, &all), chosen(&need, &shuffled));
        one.excluded.sort_by_key(|(id, _)| *id);
        other.excluded.sort_by_key(|(id, _)| *id);
        for choice in [&mut one, &mut other] {
            choice.lacking.iter_mut().for_each(|lacking| lacking.sort_by_key(|(id, _)| *id));
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn distances_agree_with_floating_point(a in location(), b in location()) {
        let found = f64::from(distance_m(a, b));
        prop_assert_eq!(distance_m(a, b), distance_m(b, a));
        let wanted = haversine_m(a, b);
        assert!((found - wanted).abs() <= wanted / 200.0 + 20.0, "{found} is not {wanted}");
    }

    /// What dispatch looks at most: places in one town.
    #[test]
    fn short_distances_agree_too(a in location(), north in -50_000_i32..50_000, east in -50_000_i32..50_000) {
        let b = Location {
            lat_e6: (a.lat_e6 + north).clamp(-90_000_000, 90_000_000),
            lon_e6: (a.lon_e6 + east).clamp(-180_000_000, 180_000_000),
        };
        let (found, wanted) = (f64::from(distance_m(a, b)), haversine_m(a, b));
        assert!((found - wanted).abs() <= wanted / 200.0 + 20.0, "{found} is not {wanted}");
    }
}

fn haversine_m(a: Location, b: Location) -> f64 {
    let radians = |degrees_e6: i32| -> f64 { (f64::from(degrees_e6) / 1e6).to_radians() };
    let lat = (radians(a.lat_e6) - radians(b.lat_e6)) / 2.0;
    let lon = (radians(a.lon_e6) - radians(b.lon_e6)) / 2.0;
    let cosines = radians(a.lat_e6).cos() * radians(b.lat_e6).cos();
    let haversine = lat.sin().powi(2) + cosines * lon.sin().powi(2);
    12_742_018.0 * haversine.sqrt().min(1.0).asin()
}

/// A kilometre away, with a skill of its own and one that a rule requires.
#[test]
fn a_required_skill_that_expires_on_the_way_does_not_count() {
    let required = Some(vec![Skill::new(26, 4)]);
    let need = Need { skills: required, ..Need::plain(1, 3, Location::default(), vec![]) };
    let excluded = |expires_s: u64| {
        let expires = Some(NOW.after_s(expires_s));
        let skills = vec![Skill::new(1, 1), Skill { expires, ..Skill::new(26, 5) }];
        let home = Location { lat_e6: 9_000, lon_e6: 0 };
        let one = Known {
            id: technician(0),
            on_shift: true,
            skills,
            home,
            from: None,
            capacity: 1,
            load: 0,
            assigned: 0,
            circumstances: None,
            is_paced: false,
        };
        chosen(&need, &[one]).excluded
    };
    assert_eq!(excluded(0), [(technician(0), Exclusion::SkillExpired)]);
    assert_eq!(excluded(60), [(technician(0), Exclusion::SkillExpired)]);
    assert_eq!(excluded(80), []);
}

#[test]
fn what_is_written_down_is_bounded() {
    let skills = [Skill::new(1, 1)];
    let need = Need::plain(1, 1, Location::default(), Vec::new());
    let region = "eu1".parse().unwrap();
    let options = (0..1200_u16).map(|number| {
        let mut random = [0; 10];
        random[..2].copy_from_slice(&number.to_be_bytes());
        Fit {
            id: EntityId::new(fieldmesh_domain::EntityKind::Technician, region, random),
            on_shift: number % 2 == 0,
            skills: &skills,
            home: Location::default(),
            from: None,
            capacity: 1,
            load: 0,
            assigned: u32::MAX - u32::from(number),
            circumstances: None,
            is_paced: false,
        }
    });
    let choice = choose(&need, options, RULE_VERSION, NOW);
    assert_eq!(choice.candidates.len(), CANDIDATES_MAX);
    assert_eq!(choice.excluded.len(), EXCLUSIONS_MAX);
    assert_eq!(choice.excluded_count, 600);
    // The least busy one is the last that is on shift, and the others are dearer by a minute each.
    assert_eq!(
        choice.candidates.iter().map(|best| best.fairness_s).collect::<Vec<_>>(),
        [0, 120, 240, 360, 480]
    );
}
