//! Assignments and batches against exhaustive search, and against another implementation.
//!
//! **Not here:** which questions become a batch (`laws`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests fail by panicking, and one of them measures time"
)]

use std::collections::BTreeSet;

use fieldmesh_domain::{
    EntityId, EntityKind,
    assignment::{COST_MAX, Costs, assign},
    desk::batch::{Row, absence_cost, match_all, way_cost},
    selection::Candidate,
};
use pathfinding::prelude::{Matrix, kuhn_munkres_min};
use proptest::prelude::*;

type Table = Vec<Vec<Option<u64>>>;

fn costs(table: &Table, columns: usize) -> Costs {
    Costs::new(table.len(), columns, |row, column| table[row][column]).unwrap()
}

/// How many rows have a column, and what all of them cost. Panics if a column is used twice or a pair
/// is not allowed.
fn value(table: &Table, assigned: &[Option<usize>]) -> (usize, u64) {
    let pairs = || assigned.iter().enumerate().filter_map(|(row, one)| Some((row, (*one)?)));
    let columns: BTreeSet<usize> = pairs().map(|(_, column)| column).collect();
    assert_eq!(columns.len(), pairs().count(), "a column is used twice");
    let cost = pairs().map(|(row, column)| table[row][column].expect("a pair is allowed"));
    (columns.len(), cost.sum())
}

/// The best value of the rows from `row` on, trying everything: most pairs, then least cost.
fn exhaustive(table: &Table, row: usize, taken: u32) -> (usize, u64) {
    let Some(pairs) = table.get(row) else { return (0, 0) };
    let mut best = exhaustive(table, row + 1, taken);
    for (column, cost) in pairs.iter().enumerate() {
        let Some(cost) = cost.filter(|_| taken >> column & 1 == 0) else { continue };
        let (count, rest) = exhaustive(table, row + 1, taken | 1 << column);
        let found = (count + 1, rest + cost);
        if found.0 > best.0 || (found.0 == best.0 && found.1 < best.1) {
            best = found;
        }
    }
    best
}

/// The same by Kuhn and Munkres, with a pair that is not allowed dearer than all others together.
fn other_implementation(table: &Table, columns: usize) -> (usize, u64) {
    const FORBIDDEN: i64 = 1 << 42;
    let (rows, columns) = (table.len(), columns);
    let is_tall = rows > columns;
    let (short, long) = if is_tall { (columns, rows) } else { (rows, columns) };
    let weights = Matrix::from_fn(short, long, |(one, other)| {
        let pair = if is_tall { table[other][one] } else { table[one][other] };
        pair.map_or(FORBIDDEN, |cost| cost as i64)
    });
    let (total, _) = kuhn_munkres_min(&weights);
    let forbidden = total / FORBIDDEN;
    (short - forbidden as usize, (total - forbidden * FORBIDDEN) as u64)
}

fn tables(side: usize, highest: u64) -> impl Strategy<Value = (usize, Table)> {
    (1..=side, 1..=side, 0_u32..=100).prop_flat_map(move |(rows, columns, allowed)| {
        let pair = (0..=highest, 0_u32..100)
            .prop_map(move |(cost, luck)| (luck < allowed).then_some(cost));
        let row = prop::collection::vec(pair, columns);
        (Just(columns), prop::collection::vec(row, rows))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn small_ones_are_as_good_as_trying_everything((columns, table) in tables(6, 9)) {
        let assigned = assign(&costs(&table, columns));
        prop_assert_eq!(value(&table, &assigned), exhaustive(&table, 0, 0));
    }

    #[test]
    fn large_costs_are_as_good_as_trying_everything((columns, table) in tables(5, COST_MAX)) {
        let assigned = assign(&costs(&table, columns));
        prop_assert_eq!(value(&table, &assigned), exhaustive(&table, 0, 0));
    }

    #[test]
    fn middling_ones_agree_with_another_implementation((columns, table) in tables(40, 300)) {
        let assigned = assign(&costs(&table, columns));
        prop_assert_eq!(value(&table, &assigned), other_implementation(&table, columns));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Eight by eight is 40,320 orders: few cases, but the size that counts.
    #[test]
    fn eight_by_eight_is_as_good_as_trying_everything(
        table in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, 0_u64..50), 8), 8)
    ) {
        let assigned = assign(&costs(&table, 8));
        prop_assert_eq!(value(&table, &assigned), exhaustive(&table, 0, 0));
    }
}

#[test]
fn nothing_to_assign_is_no_error() {
    assert_eq!(assign(&Costs::new(0, 3, |_, _| Some(1)).unwrap()), vec![]);
    assert_eq!(assign(&Costs::new(2, 0, |_, _| Some(1)).unwrap()), vec![None, None]);
    assert_eq!(assign(&Costs::new(2, 2, |_, _| None).unwrap()), vec![None, None]);
    assert!(Costs::new(5000, 1, |_, _| None).is_err());
}

#[test]
fn a_thousand_by_a_thousand_is_right_and_tells_its_time() {
    // Numbers without a pattern, the same each time.
    let mut state = 7_u64;
    let mut number = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) % 10_000
    };
    let scattered: Table = (0..1000).map(|_| (0..1000).map(|_| Some(number())).collect()).collect();
    let points: Vec<(i64, i64)> = (0..2000).map(|_| (number() as i64, number() as i64)).collect();
    let distance =
        |(x, y): (i64, i64), (u, v): (i64, i64)| Some(((x - u).abs() + (y - v).abs()) as u64);
    let (tickets, technicians) = points.split_at(1000);
    let row = |from: &(i64, i64)| technicians.iter().map(|to| distance(*from, *to)).collect();
    let distances: Table = tickets.iter().map(row).collect();
    for (what, table) in [("scattered", scattered), ("distances", distances)] {
        let given = costs(&table, 1000);
        let times = (0..5).map(|_| {
            let begin = std::time::Instant::now();
            assert_eq!(assign(&given).len(), 1000);
            begin.elapsed()
        });
        let least = times.min().unwrap();
        eprintln!("1,000 by 1,000 {what} costs: {least:?}");
        assert_eq!(value(&table, &assign(&given)), other_implementation(&table, 1000));
    }
}

fn technician(number: usize) -> EntityId {
    EntityId::new(EntityKind::Technician, "eu1".parse().unwrap(), [number as u8; 10])
}

fn candidate(technician: EntityId, travel_s: u32) -> Candidate {
    Candidate {
        technician,
        distance_m: 0,
        travel_s,
        load_s: 0,
        over_qualification_s: 0,
        fairness_s: 0,
        preferred_s: None,
        lateness_s: None,
    }
}

/// What a way of giving out technicians costs in all. Panics if one gets more than it has room for.
fn total(rows: &[Row], room: &[u16], matched: &[Option<EntityId>]) -> u64 {
    let mut ahead = vec![0_u16; room.len()];
    let mut order: Vec<(&Row, usize, &Candidate)> = Vec::new();
    let mut total = 0;
    for (at, (row, matched)) in rows.iter().zip(matched).enumerate() {
        let Some(matched) = matched else {
            total += absence_cost(rows.len() - at - 1);
            continue;
        };
        let option = row.options.iter().find(|option| option.technician == *matched);
        let number = (0..room.len()).find(|number| technician(*number) == *matched).unwrap();
        order.push((row, number, option.expect("it fits")));
    }
    // Who is before whom costs the same in all.
    for (_, number, option) in order {
        total += way_cost(option, ahead[number]);
        ahead[number] += 1;
    }
    assert!(ahead.iter().zip(room).all(|(ahead, room)| ahead <= room), "{ahead:?} of {room:?}");
    total
}

/// The least that any way costs.
fn least(rows: &[Row], room: &[u16], chosen: &mut Vec<Option<EntityId>>) -> u64 {
    let Some(row) = rows.get(chosen.len()) else { return total(rows, room, chosen) };
    let mut ways: Vec<Option<EntityId>> = vec![None];
    for option in &row.options {
        let number = (0..room.len()).find(|number| technician(*number) == option.technician);
        let taken = chosen.iter().filter(|other| **other == Some(option.technician)).count();
        if taken < usize::from(room[number.unwrap()]) {
            ways.push(Some(option.technician));
        }
    }
    let mut least_of_all = u64::MAX;
    for way in ways {
        chosen.push(way);
        least_of_all = least_of_all.min(least(rows, room, chosen));
        chosen.pop();
    }
    least_of_all
}

/// One ticket after the other, each with whoever costs it least.
fn greedy(rows: &[Row], room: &[u16]) -> Vec<Option<EntityId>> {
    let mut taken = vec![0_u16; room.len()];
    let mut matched = vec![None; rows.len()];
    for (row, matched) in rows.iter().zip(&mut matched) {
        let number = |option: &Candidate| {
            (0..room.len()).find(|number| technician(*number) == option.technician).unwrap()
        };
        let options = row.options.iter().filter(|one| taken[number(one)] < room[number(one)]);
        let best = options.min_by_key(|one| (way_cost(one, taken[number(one)]), one.technician));
        if let Some(best) = best {
            taken[number(best)] += 1;
            *matched = Some(best.technician);
        }
    }
    matched
}

fn batches(side: usize) -> impl Strategy<Value = (Vec<Row>, Vec<u16>)> {
    (1..=side, 1..=side).prop_flat_map(|(rows, technicians)| {
        let option = prop::option::weighted(0.7, 0_u32..20_000);
        let row = prop::collection::vec(option, technicians).prop_map(|costs| {
            let mut options: Vec<Candidate> = costs
                .into_iter()
                .enumerate()
                .filter_map(|(number, cost)| Some(candidate(technician(number), cost?)))
                .collect();
            options.sort_by_key(|option| (option.cost_s(), option.technician));
            Row { options }
        });
        (prop::collection::vec(row, rows), prop::collection::vec(0_u16..3, technicians))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_batch_is_as_good_as_trying_everything((rows, room) in batches(5)) {
        let room_of = |id| {
            let number = (0..room.len()).find(|number| technician(*number) == id);
            room[number.unwrap()]
        };
        let matched = match_all(&rows, room_of);
        prop_assert_eq!(total(&rows, &room, &matched), least(&rows, &room, &mut Vec::new()));
        prop_assert_eq!(&match_all(&rows, room_of), &matched, "the same again");
        prop_assert!(total(&rows, &room, &matched) <= total(&rows, &room, &greedy(&rows, &room)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Too large for trying everything: no dearer than greedy, and nobody is left for one that comes later.
    #[test]
    fn a_larger_batch_is_no_dearer_than_greedy((rows, room) in batches(40)) {
        let room_of = |id| {
            let number = (0..room.len()).find(|number| technician(*number) == id);
            room[number.unwrap()]
        };
        let matched = match_all(&rows, room_of);
        let all = matched.clone();
        prop_assert!(total(&rows, &room, &matched) <= total(&rows, &room, &greedy(&rows, &room)));
        for (at, (row, matched)) in rows.iter().zip(&matched).enumerate() {
            for (other, given) in rows.iter().zip(&all).skip(at + 1) {
                let could = row.options.iter().any(|option| Some(option.technician) == *given);
                let is_left = matched.is_none() && could && given.is_some();
                prop_assert!(!is_left, "{row:?} for {other:?}");
            }
        }
    }
}
