//! Selection against its definition written down once more, and distances against floating point.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    EntityId,
    message::Location,
    selection::{CANDIDATES_MAX, Choice, EXCLUSIONS_MAX, Exclusion, Fit, Need, choose, distance_m},
    technician::Skill,
};
use proptest::{collection::vec, prelude::*, sample::subsequence};

use crate::{
    arbitrary::{location, skills},
    world::technician,
};

const RULE_VERSION: u32 = 7;

/// A technician as the desk knows it.
#[derive(Debug, Clone)]
struct Known {
    id: EntityId,
    on_shift: bool,
    skills: Vec<Skill>,
    home: Location,
    capacity: u16,
    load: u16,
    assigned: u32,
}

impl Known {
    fn fit(&self) -> Fit<'_> {
        let Self { id, on_shift, ref skills, home, capacity, load, assigned } = *self;
        Fit { id, on_shift, skills, home, capacity, load, assigned }
    }

    fn level(&self, need: &Need) -> Option<u8> {
        let fitting = self.skills.iter().filter(|skill| skill.category == need.category);
        fitting.map(|skill| skill.level).max()
    }

    fn exclusion(&self, need: &Need) -> Option<Exclusion> {
        let rules = [
            (!self.on_shift, Exclusion::OffShift),
            (self.level(need).is_none(), Exclusion::NoSkill),
            (self.load >= self.capacity, Exclusion::Full),
            (need.asked.contains(&self.id), Exclusion::Asked),
        ];
        rules.into_iter().find_map(|(excluded, reason)| excluded.then_some(reason))
    }

    /// Seconds on the road at 14 m/s, half an hour for each ticket held, five minutes for each
    /// level above the first, a minute for each assignment more than the least busy one's.
    fn cost_s(&self, need: &Need, least: u32) -> u64 {
        let above = u64::from(self.level(need).unwrap()) - 1;
        u64::from(distance_m(need.location, self.home) / 14)
            + u64::from(self.load) * 1800
            + above * 300
            + u64::from(self.assigned - least) * 60
    }
}

fn known() -> impl Strategy<Value = Vec<Known>> {
    let numbers = (0_u16..4, 0_u16..3, 0_u32..20_000);
    let one = (prop::bool::weighted(0.8), skills(), location(), numbers);
    vec(one, 0..12).prop_map(|all| {
        let named = all.into_iter().zip(0_u8..);
        named
            .map(|((on_shift, skills, home, (capacity, load, assigned)), number)| {
                let id = technician(number);
                Known { id, on_shift, skills, home, capacity, load, assigned }
            })
            .collect()
    })
}

fn need() -> impl Strategy<Value = Need> {
    let asked = subsequence((0_u8..12).map(technician).collect::<Vec<_>>(), 0..4);
    (1_u16..4, 1_u8..=5, location(), asked).prop_map(|(category, priority, location, asked)| Need {
        category,
        priority,
        location,
        asked,
    })
}

fn chosen(need: &Need, all: &[Known]) -> Choice {
    choose(need, all.iter().map(Known::fit), RULE_VERSION)
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

#[test]
fn what_is_written_down_is_bounded() {
    let skills = [Skill { category: 1, level: 1 }];
    let need = Need { category: 1, priority: 1, location: Location::default(), asked: Vec::new() };
    let region = "eu1".parse().unwrap();
    let options = (0..1200_u16).map(|number| {
        let mut random = [0; 10];
        random[..2].copy_from_slice(&number.to_be_bytes());
        Fit {
            id: EntityId::new(fieldmesh_domain::EntityKind::Technician, region, random),
            on_shift: number % 2 == 0,
            skills: &skills,
            home: Location::default(),
            capacity: 1,
            load: 0,
            assigned: u32::MAX - u32::from(number),
        }
    });
    let choice = choose(&need, options, RULE_VERSION);
    assert_eq!(choice.candidates.len(), CANDIDATES_MAX);
    assert_eq!(choice.excluded.len(), EXCLUSIONS_MAX);
    assert_eq!(choice.excluded_count, 600);
    // The least busy one is the last that is on shift, and the others are dearer by a minute each.
    assert_eq!(
        choice.candidates.iter().map(|best| best.fairness_s).collect::<Vec<_>>(),
        [0, 120, 240, 360, 480]
    );
}
