//! What must hold of regions with areas: what is in a box, what an operator may say, whose an address is.

use std::collections::BTreeSet;

use fieldmesh_domain::{
    Aggregate, Effect, EntityId, IndexRow, Region, RejectionCode,
    message::{Degrees, Location},
    placement::{AREAS_MAX, Area, Areas, Command, Event, LEVEL, Member, Placement, Whereabouts},
};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    arbitrary::location,
    members::{Cluster, REGIONS, SHARDS, command, ctx, join, member, region},
};

const ROUND_E6: i32 = 360_000_000;
/// Corners on a grid so coarse that boxes share edges, poles and the meridian of 180°.
const STEP_E6: i32 = 15_000_000;

fn by() -> String {
    "op".into()
}

fn area(south: i32, west: i32, north: i32, east: i32) -> Area {
    let [south_e6, west_e6, north_e6, east_e6] =
        [south, west, north, east].map(|degrees| degrees * 1_000_000);
    Area { south_e6, west_e6, north_e6, east_e6 }
}

fn at(lat: i32, lon: i32) -> Location {
    Location { lat_e6: lat * 1_000_000, lon_e6: lon * 1_000_000 }
}

fn set(of: Region, areas: &[Area]) -> Command {
    Command::SetAreas(Areas { region: of, areas: areas.to_vec(), by: by() })
}

/// A meridian has one name: that of 180° has two.
fn meridian(lon_e6: i32) -> i32 {
    if lon_e6 >= ROUND_E6 / 2 { lon_e6 - ROUND_E6 } else { lon_e6 }
}

fn has_inside(area: Area) -> bool {
    let is_round = area.west_e6 == -ROUND_E6 / 2 && area.east_e6 == ROUND_E6 / 2;
    area.south_e6 < area.north_e6 && (is_round || meridian(area.west_e6) != meridian(area.east_e6))
}

fn grid(most: i32) -> impl Strategy<Value = i32> {
    (-most / 15..=most / 15).prop_map(|steps| steps * STEP_E6)
}

fn boxed(
    lat: impl Fn() -> BoxedStrategy<i32>,
    lon: impl Fn() -> BoxedStrategy<i32>,
) -> impl Strategy<Value = Area> {
    let corners = (lat(), lon(), lat(), lon());
    let area = corners.prop_map(|(one, west_e6, other, east_e6)| Area {
        south_e6: one.min(other),
        west_e6,
        north_e6: one.max(other),
        east_e6,
    });
    area.prop_filter("a box has an inside", |area| has_inside(*area))
}

/// Boxes with corners on the grid.
fn coarse() -> impl Strategy<Value = Area> {
    boxed(|| grid(90).boxed(), || grid(180).boxed())
}

/// What an operator says of some region.
pub(crate) fn said() -> impl Strategy<Value = Areas> {
    let region = select(REGIONS.to_vec()).prop_map(|region| region.parse::<Region>().unwrap());
    (region, vec(coarse(), 0..3)).prop_map(|(region, areas)| Areas { region, areas, by: by() })
}

/// Any boxes, edges of the world among theirs.
fn fine() -> impl Strategy<Value = Area> {
    let edge = |most: i32| prop_oneof![1 => select(vec![-most, most]), 4 => -most..=most].boxed();
    boxed(move || edge(90_000_000), move || edge(180_000_000))
}

/// The meridians of the grid that are passed on the way from the box's west to its east.
fn walked(area: Area) -> BTreeSet<i32> {
    let (mut at, end) = (meridian(area.west_e6), meridian(area.east_e6));
    let mut passed = BTreeSet::from([at]);
    loop {
        at = meridian(at + STEP_E6);
        passed.insert(at);
        if at == end {
            return passed;
        }
    }
}

proptest! {
    #[test]
    fn a_place_is_in_a_box_that_is_walked_through(
        area in coarse(),
        lat_e6 in grid(90),
        lon_e6 in grid(180),
    ) {
        let is_passed = lat_e6.abs() == 90_000_000 || walked(area).contains(&meridian(lon_e6));
        let is_in = area.south_e6 <= lat_e6 && lat_e6 <= area.north_e6 && is_passed;
        prop_assert_eq!(area.contains(Location { lat_e6, lon_e6 }), is_in);
    }

    /// On a map that is laid out three times side by side, no box crosses an edge.
    #[test]
    fn a_place_is_in_a_box_of_one_of_three_maps(area in fine(), place in location()) {
        let Location { lat_e6, lon_e6 } = place;
        let east_e6 = area.east_e6 + if area.east_e6 < area.west_e6 { ROUND_E6 } else { 0 };
        let copies = [lon_e6 - ROUND_E6, lon_e6, lon_e6 + ROUND_E6];
        let is_between = copies.iter().any(|lon| area.west_e6 <= *lon && *lon <= east_e6);
        let is_in = area.south_e6 <= lat_e6 && lat_e6 <= area.north_e6 && is_between;
        prop_assert_eq!(area.contains(place), is_in || is_at_pole(area, lat_e6));
        // Its corners are in it, and a step beyond its edges is not, unless it is all the way round.
        for (lat_e6, lon_e6) in [(area.south_e6, area.west_e6), (area.north_e6, area.east_e6)] {
            let corner = Location { lat_e6, lon_e6 };
            prop_assert!(area.contains(corner));
        }
        let is_north = area.north_e6 < 90_000_000;
        let beyond = Location { lat_e6: area.north_e6 + 1, lon_e6: area.west_e6 };
        prop_assert!(!is_north || !area.contains(beyond));
    }

    #[test]
    fn an_address_is_of_the_regions_whose_boxes_it_is_in(
        all in vec(vec(coarse(), 0..3), 3),
        place in location(),
        own in 0_usize..3,
    ) {
        let mut cluster = Cluster::of(&[join(1), join(21), join(41)]);
        let regions: Vec<Region> = REGIONS.iter().map(|region| region.parse().unwrap()).collect();
        for (region, areas) in regions.iter().zip(&all) {
            cluster.ask(&set(*region, areas)).unwrap();
        }
        cluster.holds();
        let is_in = |areas: &Vec<Area>| areas.iter().any(|area| area.contains(place));
        let of: Vec<Region> =
            regions.iter().zip(&all).filter(|(_, areas)| is_in(areas)).map(|(of, _)| *of).collect();
        let wanted = match of.as_slice() {
            _ if all.iter().all(Vec::is_empty) => Whereabouts::Here,
            [] => Whereabouts::Nowhere,
            of if of.contains(&regions[own]) => Whereabouts::Here,
            of => Whereabouts::Elsewhere(of.to_vec()),
        };
        prop_assert_eq!(cluster.members().whereabouts(regions[own], place), wanted);
    }

    /// Where people live moves no data, and what moves data changes nothing of where people live.
    #[test]
    fn areas_and_places_of_groups_do_not_meet(
        commands in vec(command(), 1..30),
        areas in vec(coarse(), 0..3),
    ) {
        let mut cluster = Cluster::of(&[join(1)]);
        cluster.ask(&set(region(1), &areas)).unwrap();
        for command in &commands {
            let before = cluster.members().clone();
            let asked = cluster.ask(command);
            cluster.holds();
            let now = cluster.members();
            if let Command::SetAreas(Areas { region, areas, .. }) = command {
                prop_assert_eq!(&now.groups, &before.groups);
                if asked.is_ok() {
                    prop_assert_eq!(now.home(*region).unwrap().areas(), areas);
                }
                continue;
            }
            for home in &before.homes {
                prop_assert_eq!(now.home(home.region).unwrap().areas(), home.areas());
            }
        }
    }

    /// A command line is read in degrees, so what is shown is what can be said again.
    #[test]
    fn degrees_are_written_as_they_are_read(e6 in -180_000_000_i32..=180_000_000) {
        let text = Degrees(e6).to_string();
        prop_assert_eq!((text.parse::<f64>().unwrap() * 1e6).round(), f64::from(e6), "{}", text);
        prop_assert!(!text.contains('.') || !text.ends_with('0'), "{}", text);
    }
}

/// All longitudes meet there.
fn is_at_pole(area: Area, lat_e6: i32) -> bool {
    lat_e6.abs() == 90_000_000 && (area.south_e6..=area.north_e6).contains(&lat_e6)
}

#[test]
fn boxes_reach_over_the_meridian_of_180_degrees_and_to_the_poles() {
    let fiji = area(-21, 176, -12, -178);
    for (lon, is_in) in [(175, false), (176, true), (180, true), (-180, true), (-178, true)] {
        assert_eq!(fiji.contains(at(-18, lon)), is_in, "{lon}");
    }
    assert!(!fiji.contains(at(-18, -177)) && !fiji.contains(at(-18, 0)));
    let (arctic, world) = (area(80, -20, 90, 20), area(-90, -180, 90, 180));
    assert!(arctic.contains(at(90, 135)) && !arctic.contains(at(89, 135)));
    for lon in [-180, -1, 0, 179, 180] {
        assert!(world.contains(at(0, lon)) && world.contains(at(-90, lon)), "{lon}");
    }
    assert_eq!(fiji.to_string(), "-21,176,-12,-178");
    let place = Location { lat_e6: -500_000, lon_e6: 2_350_001 };
    assert_eq!([place.to_string(), at(0, 10).to_string()], ["-0.5, 2.350001", "0, 10"]);
}

#[test]
fn nonsense_is_refused_by_name() {
    let mut cluster = Cluster::of(&[join(1)]);
    let eu1 = region(1);
    let whole = area(40, -5, 55, 15);
    let beyond = Area { north_e6: 90_000_001, ..whole };
    for (command, code, words) in [
        (
            set(eu1, &[whole, area(55, -5, 40, 15)]),
            RejectionCode::Invalid,
            "the box 55,-5,40,15 ends south",
        ),
        (set(eu1, &[area(40, -5, 40, 15)]), RejectionCode::Invalid, "40,-5,40,15 has no inside"),
        (set(eu1, &[area(40, 15, 55, 15)]), RejectionCode::Invalid, "40,15,55,15 has no inside"),
        (set(eu1, &[area(40, 180, 55, -180)]), RejectionCode::Invalid, "has no inside"),
        (set(eu1, &[beyond]), RejectionCode::Invalid, "40,-5,90.000001,15 is not on earth"),
        (set(eu1, &[area(40, -181, 55, 15)]), RejectionCode::Invalid, "is not on earth"),
        (
            set(eu1, &[whole; AREAS_MAX + 1]),
            RejectionCode::Limit,
            "17 boxes, a region has at most 16",
        ),
        (set(region(21), &[whole]), RejectionCode::Unknown, "there is no region us1"),
    ] {
        let refusal = cluster.state.decide(&command, &ctx(9)).unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.detail.contains(words), "{refusal}");
    }
    assert_eq!(cluster.ask(&set(eu1, &[])), Ok(0), "nobody had said anything");
    assert_eq!(cluster.ask(&set(eu1, &[whole; AREAS_MAX])), Ok(1));
    assert_eq!(cluster.ask(&set(eu1, &[whole; AREAS_MAX])), Ok(0), "as it is");
    cluster.holds();
}

#[test]
fn each_node_learns_where_a_regions_people_live() {
    let cluster = Cluster::of(&[join(1), join(21)]);
    let (eu1, whole) = (region(1), area(40, -5, 55, 15));
    let events = cluster.state.decide(&set(eu1, &[whole]), &ctx(9)).unwrap();
    let set_to =
        |areas: &[Area]| Event::AreasSet(Areas { region: eu1, areas: areas.to_vec(), by: by() });
    assert_eq!(events, [set_to(&[whole])]);
    let mut next: Placement = cluster.state.clone();
    next.evolve(&events[0]);
    let home = next.members.home(eu1).unwrap().clone();
    assert_eq!(home.areas(), [whole]);
    let epoch = cluster.members().epoch + 1;
    let row = Effect::Index(IndexRow::Home { home, epoch });
    assert_eq!(next.react(&events[0], EntityId::placement()), [row]);
    // What is taken back leaves nothing behind.
    next.evolve(&set_to(&[]));
    assert_eq!(next.members.home(eu1), cluster.members().home(eu1));
}

/// An older node would leave them out of what it writes.
#[test]
fn no_area_is_set_before_every_node_knows_of_areas() {
    let mut cluster = Cluster::of(&[join(1), join(21)]);
    let announce = |level| {
        let member = Member { level, ..member(21) };
        Command::Join { member, shards: SHARDS, by: by() }
    };
    assert_eq!(cluster.ask(&announce(10)), Ok(1));
    let wanted = set(region(1), &[area(40, -5, 55, 15)]);
    let refusal = cluster.state.decide(&wanted, &ctx(9)).unwrap_err();
    assert!(refusal.detail.contains("node 21 runs an older release"), "{refusal}");
    assert_eq!(cluster.ask(&announce(LEVEL)), Ok(1));
    assert_eq!(cluster.ask(&wanted), Ok(1));
}

#[test]
fn a_region_that_begins_again_is_where_it_was() {
    let mut cluster = Cluster::of(&[join(1), join(21)]);
    let (eu1, whole) = (region(1), area(40, -5, 55, 15));
    cluster.ask(&set(eu1, &[whole])).unwrap();
    let restore = Command::Restore { member: member(2), shards: SHARDS, by: by() };
    cluster.ask(&restore).unwrap();
    cluster.holds();
    assert_eq!(cluster.members().home(eu1).unwrap().areas(), [whole]);
    assert_eq!(cluster.members().whereabouts(region(21), at(0, 0)), Whereabouts::Nowhere);
    let abroad = cluster.members().whereabouts(region(21), at(48, 2));
    assert_eq!(abroad, Whereabouts::Elsewhere(vec![eu1]));
}
