//! Figures against sums by hand, and laws over any histories.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

fn span(wait: Wait, who: &str, from: Minute, to: Minute) -> Span {
    Span { wait, technician: (!who.is_empty()).then(|| who.to_owned()), from, to }
}

/// Asked at once, answered after 10 minutes, on a list for `listed`, on the road for 20 and on site for 30.
fn served(priority: u8, opened: Minute, listed: Minute, who: &str) -> History {
    let (accepted, left) = (opened + 10, opened + 10 + listed);
    History {
        priority,
        opened,
        to_offer_ms: Some(4),
        accepted: Some(accepted),
        arrived: Some(left + 20),
        completed: Some(left + 50),
        offers: 1,
        acceptances: 1,
        spans: vec![
            span(Wait::Asked, who, opened, accepted),
            span(Wait::Listed, who, accepted, left),
            span(Wait::Road, who, left, left + 20),
            span(Wait::Site, who, left + 20, left + 50),
        ],
        ..History::default()
    }
}

fn sum(histories: &[History], end: Minute) -> Figures {
    let mut sum = Sum::new(["a", "b", "idle"].map(str::to_owned).into_iter(), end);
    for history in histories {
        sum.add(history);
    }
    sum.finish()
}

#[test]
fn three_tickets_add_up_as_by_hand() {
    let declined = History { declined: 1, reassigned: 1, offers: 2, ..served(1, 60, 0, "b") };
    // Accepted, and still on the list in the end: five hours are late for priority 1.
    let open = History {
        priority: 1,
        opened: 0,
        accepted: Some(10),
        offers: 1,
        acceptances: 1,
        spans: vec![span(Wait::Asked, "a", 0, 10), span(Wait::Listed, "a", 10, 300)],
        ..History::default()
    };
    let figures = sum(&[served(1, 0, 200, "a"), declined, open], 300);
    assert_eq!((figures.tickets, figures.completed, figures.offers), (3, 2, 4));
    assert_eq!((figures.reassigned_tickets, figures.handed_over_tickets), (1, 0));
    let [urgency] = figures.urgencies.as_slice() else { panic!("one priority") };
    // 260 minutes are more than four hours, 60 are not.
    assert_eq!((urgency.met, urgency.missed, urgency.undecided), (1, 2, 0));
    assert_eq!(urgency.to_accept_min.spread.p50, Some(10));
    assert_eq!(urgency.to_complete_min.spread.max, Some(260));
    assert_eq!(urgency.waited_min["on a technician's list"], 200 + 290);
    assert_eq!(figures.trips_min.spread.mean, Some(20));
    let efforts: Vec<(&str, u64, u64, u64)> = figures
        .efforts
        .iter()
        .map(|one| (one.technician.as_str(), one.assignments, one.road_min, one.site_min))
        .collect();
    assert_eq!(efforts, [("a", 2, 20, 30), ("b", 1, 20, 30), ("idle", 0, 0, 0)]);
    // 0, 1, 2: see `spread`.
    assert_eq!(figures.assignments.gini_permille, 444);
    let load: Vec<[i64; 4]> =
        figures.load.iter().map(|one| [one.open, one.unanswered, one.listed, one.worked]).collect();
    // In the second hour the third ticket joins them, and is driven to as soon as it is accepted; from 260
    // on one is left.
    assert_eq!(load[0], [2, 2, 2, 0]);
    assert_eq!(load[1], [3, 1, 2, 1]);
    assert_eq!(load.last(), Some(&[1, 0, 1, 0]));
}

#[test]
fn what_is_not_late_yet_is_undecided() {
    let open =
        History { priority: 5, spans: vec![span(Wait::Seeking, "", 0, 50)], ..History::default() };
    let figures = sum(std::slice::from_ref(&open), 50);
    assert_eq!((figures.urgencies[0].undecided, figures.missed), (1, 0));
    let cancelled = History { is_cancelled: true, ..open };
    let figures = sum(&[cancelled], 50);
    assert_eq!((figures.urgencies[0].tickets, figures.cancelled), (0, 1));
}

proptest! {
    #[test]
    fn figures_agree_with_each_other(
        tickets in prop::collection::vec((1_u8..=5, 0_u64..20_000, 0_u64..9_000, any::<bool>()), 0..60)
    ) {
        let histories: Vec<History> = tickets
            .iter()
            .map(|(priority, opened, listed, by_a)| {
                served(*priority, *opened, *listed, if *by_a { "a" } else { "b" })
            })
            .collect();
        let figures = sum(&histories, 40_000);
        let counted: usize = figures.urgencies.iter().map(|one| one.met + one.missed).sum();
        prop_assert_eq!(counted, histories.len());
        let assignments: u64 = figures.efforts.iter().map(|one| one.assignments).sum();
        prop_assert_eq!(assignments, figures.acceptances);
        prop_assert!(figures.load.len() as u64 <= MOMENTS_MAX + 1);
        // Everything is over in the end, and nothing was ever below nothing.
        let last = figures.load.last().copied().unwrap_or_default();
        prop_assert_eq!((last.open, last.listed, last.worked), (0, 0, 0));
        prop_assert!(figures.load.iter().all(|one| one.open >= 0 && one.worked <= one.open));
        let most = figures.load.iter().map(|one| one.open).max().unwrap_or(0);
        prop_assert!(most <= histories.len() as i64);
    }
}
