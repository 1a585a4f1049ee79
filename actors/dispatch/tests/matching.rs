//! The matching against exhaustive search, against another implementation, and against its rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests fail by panicking, and one of them measures time"
)]

use std::collections::BTreeSet;

use fieldmesh_dispatch::matching::{
    Costs, Held, Hold, Holder, Mode, Waiting, assign, match_waiting, mode,
};
use pathfinding::prelude::{Matrix, kuhn_munkres_min};
use proptest::prelude::*;

type Table = Vec<Vec<Option<u32>>>;

fn costs(table: &Table, columns: usize) -> Costs {
    Costs::new(table.len(), columns, |row, column| table[row][column]).unwrap()
}

/// How many rows have a column, and what all of them cost. Panics if a column is used twice or a pair
/// is not allowed.
fn value(table: &Table, assigned: &[Option<usize>]) -> (usize, u64) {
    let pairs = || assigned.iter().enumerate().filter_map(|(row, one)| Some((row, (*one)?)));
    let columns: BTreeSet<usize> = pairs().map(|(_, column)| column).collect();
    assert_eq!(columns.len(), pairs().count(), "a column is used twice");
    let cost =
        pairs().map(|(row, column)| u64::from(table[row][column].expect("a pair is allowed")));
    (columns.len(), cost.sum())
}

/// The best value of the rows from `row` on, trying everything: most pairs, then least cost.
fn exhaustive(table: &Table, row: usize, taken: u32) -> (usize, u64) {
    let Some(pairs) = table.get(row) else { return (0, 0) };
    let mut best = exhaustive(table, row + 1, taken);
    for (column, cost) in pairs.iter().enumerate() {
        let Some(cost) = cost.filter(|_| taken >> column & 1 == 0) else { continue };
        let (count, rest) = exhaustive(table, row + 1, taken | 1 << column);
        let found = (count + 1, rest + u64::from(cost));
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
        pair.map_or(FORBIDDEN, i64::from)
    });
    let (total, _) = kuhn_munkres_min(&weights);
    let forbidden = total / FORBIDDEN;
    (short - forbidden as usize, (total - forbidden * FORBIDDEN) as u64)
}

fn tables(side: usize, highest: u32) -> impl Strategy<Value = (usize, Table)> {
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
    fn large_costs_are_as_good_as_trying_everything((columns, table) in tables(5, u32::MAX)) {
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
        table in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, 0_u32..50), 8), 8)
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
        (state >> 40) as u32 % 10_000
    };
    let scattered: Table = (0..1000).map(|_| (0..1000).map(|_| Some(number())).collect()).collect();
    let points: Vec<(i64, i64)> =
        (0..2000).map(|_| (i64::from(number()), i64::from(number()))).collect();
    let distance =
        |(x, y): (i64, i64), (u, v): (i64, i64)| Some(((x - u).abs() + (y - v).abs()) as u32);
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

// Tickets count up from 1; technicians are at places on a line, and cost is the distance.

fn waiting(ticket: u64, priority: u8) -> Waiting {
    Waiting { ticket, priority }
}

fn free(capacity: u16) -> Holder {
    Holder { capacity, held: Vec::new() }
}

fn busy(ticket: u64, priority: u8, hold: Hold) -> Holder {
    Holder { capacity: 1, held: vec![Held { ticket, priority, hold }] }
}

fn pairs(pairs: &[fieldmesh_dispatch::matching::Pair]) -> Vec<(u64, usize)> {
    pairs.iter().map(|pair| (pair.ticket, pair.technician)).collect()
}

#[test]
fn supply_decides_whether_a_batch_is_worth_it() {
    assert_eq!(mode(3, 6), Mode::AtOnce);
    assert_eq!(mode(3, 5), Mode::Batched);
    assert_eq!(mode(0, 0), Mode::AtOnce);
}

#[test]
fn a_batch_does_not_give_the_first_ticket_what_the_second_needs_more() {
    // Greedy gives ticket 1 the technician at 0 and leaves nobody for ticket 2.
    let cost = |ticket, technician, _| match (ticket, technician) {
        (1, 0) => Some(1),
        (1, 1) => Some(2),
        (2, 0) => Some(5),
        _ => None,
    };
    let waiting = [waiting(1, 3), waiting(2, 3)];
    let outcome = match_waiting(&waiting, &[free(1), free(1)], cost);
    assert_eq!(outcome.mode, Mode::Batched);
    assert_eq!(pairs(&outcome.offers), vec![(1, 1), (2, 0)]);
    assert_eq!(outcome.unmatched, Vec::<u64>::new());
}

#[test]
fn the_more_urgent_is_served_where_not_everybody_can_be() {
    let cost = |ticket: u64, _, _| Some(100 * u32::from(ticket == 2) + 1);
    let tickets = [waiting(1, 4), waiting(2, 2), waiting(3, 3)];
    let outcome = match_waiting(&tickets, &[free(1), free(1)], cost);
    let served: BTreeSet<u64> = outcome.offers.iter().map(|pair| pair.ticket).collect();
    assert_eq!(served, BTreeSet::from([2, 3]));
    assert_eq!(outcome.unmatched, vec![1]);
}

#[test]
fn priority_1_displaces_an_offer_but_nothing_firmer() {
    let anybody = |_, _, _| Some(1);
    let holders = [
        busy(10, 3, Hold::Accepted),
        busy(11, 4, Hold::Pinned),
        busy(12, 1, Hold::Offered),
        busy(13, 2, Hold::Offered),
    ];
    let outcome = match_waiting(&[waiting(1, 1)], &holders, anybody);
    assert_eq!(pairs(&outcome.displaced), vec![(13, 3)]);
    assert_eq!(pairs(&outcome.offers), vec![(1, 3)]);
    assert_eq!(outcome.unmatched, vec![13]);
    let outcome = match_waiting(&[waiting(1, 2)], &holders, anybody);
    assert_eq!((outcome.displaced.len(), outcome.unmatched), (0, vec![1]));
}

#[test]
fn a_displaced_ticket_is_offered_to_somebody_else() {
    // Only technician 0 can do ticket 1; technician 1 can do the displaced one.
    let cost =
        |ticket, technician, _| (ticket == 7 || technician == 0).then_some(technician as u32);
    let holders = [busy(7, 3, Hold::Offered), free(1)];
    let outcome = match_waiting(&[waiting(1, 1)], &holders, cost);
    assert_eq!(pairs(&outcome.displaced), vec![(7, 0)]);
    assert_eq!(pairs(&outcome.offers), vec![(1, 0), (7, 1)]);
}

#[test]
fn a_storm_is_offered_or_left_whatever_its_size() {
    let tickets: Vec<Waiting> =
        (0..3000).map(|ticket| waiting(ticket, 2 + (ticket % 3) as u8)).collect();
    let holders = vec![free(2); 600];
    let cost = |ticket: u64, technician: usize, ahead: u16| {
        let way = (ticket as usize * 7919 % 1000).abs_diff(technician * 3 % 1000);
        (way < 900).then_some(way as u32 + 50 * u32::from(ahead))
    };
    let outcome = match_waiting(&tickets, &holders, cost);
    assert_eq!((outcome.mode, outcome.offers.len()), (Mode::Batched, 1200));
    // A thousand have priority 2: all of them are served, and none of the least urgent.
    let served: BTreeSet<u64> = outcome.offers.iter().map(|pair| pair.ticket).collect();
    assert!(tickets.iter().all(|one| one.priority != 2 || served.contains(&one.ticket)));
    assert!(tickets.iter().all(|one| one.priority != 4 || !served.contains(&one.ticket)));
}

proptest! {
    #[test]
    fn the_rules_hold_whatever_the_board(
        tickets in prop::collection::vec(1_u8..5, 0..8),
        crew in prop::collection::vec(
            (0_u16..4, prop::collection::vec((1_u8..5, 0_u8..3), 0..4)),
            0..6,
        ),
        table in prop::collection::vec(prop::option::weighted(0.7, 0_u32..40), 64),
    ) {
        let tickets: Vec<Waiting> =
            (1..).zip(&tickets).map(|(ticket, priority)| waiting(ticket, *priority)).collect();
        let mut number = 100;
        let holders: Vec<Holder> = crew
            .into_iter()
            .map(|(spare, held)| {
                let held: Vec<Held> = held
                    .into_iter()
                    .map(|(priority, hold)| {
                        number += 1;
                        let hold = [Hold::Offered, Hold::Accepted, Hold::Pinned][hold as usize];
                        Held { ticket: number, priority, hold }
                    })
                    .collect();
                Holder { capacity: spare, held }
            })
            .collect();
        let cost = |ticket: u64, technician: usize, ahead: u16| {
            Some(table[(ticket as usize * 7 + technician) % table.len()]? + u32::from(ahead) * 10)
        };
        let outcome = match_waiting(&tickets, &holders, cost);
        let has_urgent = tickets.iter().any(|one| one.priority == 1);
        prop_assert!(outcome.displaced.is_empty() || has_urgent);
        let mut loads: Vec<usize> = holders.iter().map(|holder| holder.held.len()).collect();
        for pair in &outcome.displaced {
            let held = holders[pair.technician].held.iter().find(|held| held.ticket == pair.ticket);
            let held = held.expect("what is displaced was held");
            prop_assert!(held.hold == Hold::Offered && held.priority > 1);
            loads[pair.technician] -= 1;
        }
        for pair in &outcome.offers {
            prop_assert!(cost(pair.ticket, pair.technician, 0).is_some());
            loads[pair.technician] += 1;
        }
        for (load, holder) in loads.iter().zip(&holders) {
            prop_assert!(*load <= holder.held.len().max(usize::from(holder.capacity)));
        }
        // Each ticket is offered once or unmatched, and nothing else is.
        let offered = outcome.offers.iter().map(|pair| pair.ticket);
        let mut all: Vec<u64> = offered.chain(outcome.unmatched.iter().copied()).collect();
        let displaced = outcome.displaced.iter().map(|pair| pair.ticket);
        let mut expected: Vec<u64> =
            tickets.iter().map(|one| one.ticket).chain(displaced).collect();
        all.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(all, expected);
    }
}
