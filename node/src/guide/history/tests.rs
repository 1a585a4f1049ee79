//! Counts of tickets: what was before, once each, whoever tells of it and in whatever order.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_domain::{EntityKind, ticket::Stage};
use proptest::prelude::*;

use super::*;

const SITE: Location = Location { lat_e6: 48_850_000, lon_e6: -2_350_000 };

fn history() -> History {
    History::new(&Key::from_bytes(Zeroizing::new([8; 32])))
}

fn ticket(number: u16) -> EntityId {
    let [high, low] = number.to_be_bytes();
    EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [high, low, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn at(minutes: u64) -> Millis {
    Millis(1_000_000_000_000 + minutes * 60_000)
}

fn row(id: EntityId, opened_at: Millis, state: Stage, counted: Option<Counted>) -> IndexRow {
    let (priority, technician, standing) = (3, None, None);
    IndexRow::Ticket { id, state, priority, opened_at, technician, standing, counted }
}

fn numbers(counts: Counts) -> [i64; 4] {
    [counts.count_10m, counts.count_1h, counts.count_24h, counts.count_7d]
}

#[test]
fn windows_count_what_was_before_and_each_ticket_once() {
    let history = history();
    let (here, elsewhere) =
        (history.counted(7, SITE), history.counted(7, Location { lat_e6: 1, ..SITE }));
    let opens = |number, counted, minutes| {
        let before = history.count(ticket(number), counted, at(minutes));
        for state in [Stage::Matching, Stage::Offered] {
            history.applied(&[row(ticket(number), at(minutes), state, Some(counted))], at(minutes));
        }
        before
    };
    assert_eq!(opens(1, here, 0), Before::default());
    // Its request comes again.
    history.count(ticket(1), here, at(0));
    opens(2, elsewhere, 30);
    let third = opens(3, here, 35);
    assert_eq!(numbers(third.category), [1, 2, 2, 2]);
    assert_eq!(numbers(third.site), [0, 1, 1, 1]);
    assert_eq!(opens(4, here, 8 * 24 * 60), Before::default());
    assert_eq!(history.table().lately.opened.len(), 1, "what is over is not kept");
}

#[test]
fn what_comes_a_moment_late_finds_its_place_and_all_are_sorted_for_what_comes_later_alone() {
    let mut times = Times::default();
    [10, 30, 20, 20, 25, 40].into_iter().for_each(|at| times.add(at));
    assert!(!times.is_mixed);
    assert_eq!(times.all, [10, 20, 20, 25, 30, 40]);
    (100..200).for_each(|at| times.add(at));
    assert!(!times.is_mixed);
    times.add(15);
    assert!(times.is_mixed);
    assert_eq!(times.in_order().iter().take(3).collect::<Vec<_>>(), [&10, &15, &20]);
}

/// A leader decides faster than it stores; what it could not store is nothing.
#[test]
fn what_is_decided_counts_at_once_and_not_for_ever() {
    let history = history();
    let counted = history.counted(7, SITE);
    for number in 0..3 {
        let before = history.count(ticket(number), counted, at(0));
        assert_eq!(numbers(before.category), [i64::from(number); 4]);
    }
    // Its row has the time of another leader, who decided it again.
    let soon = Millis(at(0).0 + 30_000);
    history.applied(&[row(ticket(0), soon, Stage::Matching, Some(counted))], soon);
    assert_eq!(numbers(history.count(ticket(9), counted, soon).site), [3; 4]);
    let before = history.count(ticket(10), counted, at(2));
    assert_eq!(numbers(before.site), [1; 4], "the others were never stored");
}

/// Another node that has the key finds the same tag; one without it finds nothing, and rows of before stay out.
#[test]
fn a_tag_is_the_same_on_each_node_of_the_region() {
    let counted = history().counted(7, SITE);
    assert_eq!(counted, history().counted(7, SITE));
    assert_eq!(counted.site, 0x9e33_c2ea_dbc0_00a9);
    let other = History::new(&Key::from_bytes(Zeroizing::new([9; 32])));
    assert_ne!(other.counted(7, SITE).site, counted.site);
    let history = history();
    history.applied(&[row(ticket(1), at(0), Stage::Matching, None)], at(0));
    assert_eq!(history.count(ticket(2), counted, at(0)), Before::default());
}

#[test]
fn a_shard_is_told_of_in_pages_of_its_own_tickets() {
    let (here, there) = (history(), history());
    let counted = here.counted(7, SITE);
    // Many of one moment, so that a page ends among them.
    let rows = (0..2 * OPENED_MAX + 500).map(|number| {
        let number = u16::try_from(number).unwrap();
        row(ticket(number), at(u64::from(number / 700)), Stage::Matching, Some(counted))
    });
    let rows: Vec<IndexRow> = rows.collect();
    here.applied(&rows, at(5));
    let is_of = |ticket: EntityId| ticket.slot().is_multiple_of(2);
    let own = rows.iter().filter(|row| is_of(row.id())).count();
    let mut wanted = OpenedWanted { shard: 1, since: at(0), behind: [0; 16].into() };
    let mut pages = Vec::new();
    loop {
        let page = here.page(&wanted, is_of);
        there.told(&page, at(5));
        // Told again, as the overlap of two questions is.
        there.told(&page, at(5));
        pages.push(page.len());
        let Some(last) = page.last() else { break };
        (wanted.since, wanted.behind) = (last.at, last.ticket.to_bytes().into());
    }
    assert_eq!(pages.iter().sum::<usize>(), own);
    assert!(pages.iter().all(|tickets| *tickets <= OPENED_MAX));
    let before = there.count(ticket(u16::MAX), counted, at(5));
    assert_eq!(numbers(before.category), [i64::try_from(own).unwrap(); 4]);
}

proptest! {
    /// Two nodes that know the same tickets count the same, whatever they heard first, and how often.
    #[test]
    fn the_order_of_what_is_known_does_not_matter(
        tickets in prop::collection::vec((0_u64..20_000, 0_u16..3, 0_u64..3), 1..60),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        tickets_max in 1_usize..50,
        now in 0_u64..20_000,
    ) {
        let tickets = tickets.into_iter().zip(0_u16..).map(|((minutes, category, site), number)| {
            (ticket(number), at(minutes), Counted { category, site })
        });
        let tickets: Vec<(EntityId, Millis, Counted)> = tickets.collect();
        let [mut one, mut other] = [Lately::new(tickets_max), Lately::new(tickets_max)];
        for (ticket, at, counted) in &tickets {
            one.add(*ticket, *at, *counted);
        }
        let shuffled = again.iter().map(|index| index.get(&tickets)).chain(tickets.iter().rev());
        for (ticket, at, counted) in shuffled {
            other.add(*ticket, *at, *counted);
        }
        let mut newest = tickets.clone();
        newest.sort_by_key(|(ticket, at, _)| (*at, ticket.to_bytes()));
        let newest = newest.split_off(tickets.len().saturating_sub(tickets_max));
        for lately in [&mut one, &mut other] {
            prop_assert_eq!(lately.opened.len(), newest.len());
            for (category, site) in [(0, 0), (1, 2), (2, 1)] {
                let before = lately.before(Counted { category, site }, at(now));
                let expected = |is_it: &dyn Fn(&Counted) -> bool| WINDOWS_MS.map(|window| {
                    let from = at(now).0 - window;
                    let own = newest.iter().filter(|(_, at, counted)| at.0 >= from && is_it(counted));
                    i64::try_from(own.count()).unwrap()
                });
                prop_assert_eq!(numbers(before.category), expected(&|one| one.category == category));
                prop_assert_eq!(numbers(before.site), expected(&|one| one.site == site));
            }
        }
        one.forget_before(u64::MAX);
        prop_assert!(one.times.is_empty() && one.opened.is_empty());
    }
}
