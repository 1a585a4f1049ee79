//! What technicians' devices were told, against what they may be told.

use super::*;
use crate::history::{Answer, Offer};

/// The offers that go out one at a time.
pub(super) fn offer(epoch: u32) -> Offer {
    Offer { epoch, seq: 0 }
}

impl Told {
    fn alerted(self, ms: u64, by: &str, offer: Offer) -> Self {
        self.alerted_as(ms, by, (offer, None))
    }

    fn alerted_as(self, ms: u64, by: &str, (offer, position): (Offer, Option<u64>)) -> Self {
        self.at(ms, What::Alerted { by: by.into(), ticket: "a".into(), offer, position })
    }

    pub(super) fn says(self, ms: u64, op: u64, by: &str, (offer, answer): (Offer, Answer)) -> Self {
        self.invoked(ms, op, by, Operation::Answer { ticket: "a".into(), offer, answer })
    }

    /// Accepts, and is answered with yes 5 ms later.
    pub(super) fn accepts(self, ms: u64, op: u64, by: &str, offer: Offer) -> Self {
        self.says(ms, op, by, (offer, Answer::Accept)).ok(ms + 5, op)
    }

    pub(super) fn completes(self, ms: u64, op: u64, by: &str, offer: Offer) -> Self {
        self.says(ms, op, by, (offer, Answer::Complete)).ok(ms + 5, op)
    }

    pub(super) fn refused(self, ms: u64, op: u64) -> Self {
        self.at(ms, What::Refused { op, why: "no longer yours".into() })
    }

    pub(super) fn withdrawn(self, ms: u64, by: &str) -> Self {
        self.at(ms, What::Withdrawn { by: by.into(), ticket: "a".into() })
    }
}

fn one(told: Told) -> Verdict {
    verdict(Promise::OneTechnician, &told.whole())
}

#[test]
fn two_devices_that_were_told_to_have_a_ticket_by_one_epoch_are_found() {
    let first = || Told::new().accepts(10, 1, "s", offer(1));
    assert_eq!(one(first()), Verdict::Kept);
    assert_eq!(one(first().accepts(20, 2, "t", offer(1))), Verdict::Broken);
    let beside = Offer { epoch: 1, seq: 1 };
    assert_eq!(one(first().accepts(20, 2, "t", beside)), Verdict::Broken);
    // Whatever the ticket's own history says, and although the first is done.
    let events = vec![event("offered", Some("s"), Some(1)), event("accepted", Some("s"), None)];
    let done = first().completes(16, 3, "s", offer(1)).accepts(20, 2, "t", offer(1));
    let finding = checked(Promise::OneTechnician, &done.ticket(90, "a", events).whole());
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
    // Where the history has both acceptances, each with its answer.
    assert_eq!(finding.examples[0].entries, [1, 2, 4, 6]);
    assert_eq!(one(first().accepts(20, 2, "s", offer(1))), Verdict::Kept, "it is the same one");
    let refused = first().says(20, 2, "t", (offer(1), Answer::Accept)).refused(25, 2);
    assert_eq!(one(refused), Verdict::Kept);
    let unknown = first().says(20, 2, "t", (offer(1), Answer::Accept));
    assert_eq!(one(unknown), Verdict::Kept, "nobody told it");
}

#[test]
fn an_acceptance_that_was_taken_back_is_none() {
    let first = || Told::new().accepts(10, 1, "s", offer(1));
    let second = |told: Told| told.accepts(20, 2, "t", offer(2));
    assert_eq!(one(second(first())), Verdict::Broken, "the first one still has it");
    assert_eq!(one(second(first()).withdrawn(900, "s")), Verdict::Kept, "the word came late");
    assert_eq!(one(second(first()).withdrawn(12, "s")), Verdict::Kept, "or before the answer");
    assert_eq!(one(second(first()).withdrawn(5, "s")), Verdict::Broken, "of an earlier offer");
    assert_eq!(one(second(first()).withdrawn(900, "u")), Verdict::Broken, "somebody else was told");
    let refused = first().says(16, 3, "s", (offer(1), Answer::Complete)).refused(30, 3);
    assert_eq!(one(second(refused)), Verdict::Kept, "it was told when it said that it is done");
}

#[test]
fn an_acceptance_that_its_ticket_refused_as_late_is_none() {
    let told = || Told::new().accepts(10, 1, "s", offer(1)).accepts(20, 2, "t", offer(2));
    let of = |late: Option<&str>| {
        let late = late.map(|by| event("late_accept_refused", Some(by), None));
        let events = [
            event("offered", Some("s"), Some(1)),
            event("offer_expired", None, None),
            event("offered", Some("t"), Some(2)),
        ];
        let events = events.into_iter().chain(late).chain([event("accepted", Some("t"), None)]);
        one(told().ticket(90, "a", events.collect()))
    };
    assert_eq!(of(None), Verdict::Broken, "it has it yet");
    assert_eq!(of(Some("s")), Verdict::Kept, "the word of it is on its way");
    assert_eq!(of(Some("u")), Verdict::Broken, "of somebody else");
}

#[test]
fn a_ticket_that_is_done_may_be_offered_again_and_one_that_is_not_may_not() {
    let first = || Told::new().accepts(10, 1, "s", offer(1));
    let done = || first().completes(18, 3, "s", offer(1));
    assert_eq!(one(done().accepts(20, 2, "t", offer(2))), Verdict::Kept);
    let later = first().completes(26, 3, "s", offer(1));
    assert_eq!(one(later.accepts(20, 2, "t", offer(2))), Verdict::Broken);
    let newer = Told::new().accepts(10, 1, "s", offer(2)).completes(16, 3, "s", offer(2));
    assert_eq!(one(newer.accepts(20, 2, "t", offer(1))), Verdict::Broken, "of an older epoch");
}

#[test]
fn what_was_not_recorded_of_technicians_is_not_claimed() {
    let events = || vec![event("offered", Some("s"), Some(1)), event("accepted", Some("s"), None)];
    let of = |promise: Promise, told: Told| {
        let finding = checked(promise, &told.whole());
        (finding.verdict, finding.why)
    };
    let missing = "what technicians' devices were told is not in this history".to_owned();
    let old = || Told::new().ticket(90, "a", events());
    assert_eq!(of(Promise::OneTechnician, old()), (Verdict::Kept, missing.clone()));
    let told = Told::new().confirmed(5, "a", 2);
    assert_eq!(of(Promise::Order, told), (Verdict::Kept, missing.clone()));
    let covered = judge(&old().whole()).not_covered;
    assert!(covered.contains(&format!("I2: {missing}")), "{covered:?}");
    let new = old().alerted(8, "s", offer(1)).accepts(10, 1, "s", offer(1));
    let covered = judge(&new.whole()).not_covered;
    assert!(!covered.iter().any(|what| what.contains(&missing)), "{covered:?}");
}

#[test]
fn offers_to_a_device_do_not_go_back() {
    let of = |told: Told| verdict(Promise::Order, &told.whole());
    let good = || Told::new().alerted(1, "s", offer(1)).alerted(2, "t", offer(2));
    assert_eq!(of(good().alerted(3, "s", offer(3))), Verdict::Kept);
    let finding = checked(Promise::Order, &good().alerted(3, "t", offer(1)).whole());
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
    assert_eq!(finding.examples[0].entries, [2, 3]);
    assert_eq!(of(good().alerted(3, "u", offer(1))), Verdict::Kept, "it hears of it first");
}

#[test]
fn an_offer_that_a_device_had_to_wait_for_is_not_out_of_order() {
    let of = |places: [u64; 3]| {
        let told = [(1, places[0]), (3, places[1]), (2, places[2])].into_iter().zip(1..);
        let told = told.fold(Told::new(), |told, ((epoch, place), ms)| {
            told.alerted_as(ms, "s", (offer(epoch), Some(place)))
        });
        verdict(Promise::Order, &told.whole())
    };
    assert_eq!(of([7, 9, 8]), Verdict::Kept, "it was said before, and came late");
    assert_eq!(of([7, 8, 9]), Verdict::Broken, "it was said behind");
    let later = Told::new()
        .alerted_as(1, "s", (offer(3), Some(9)))
        .alerted_as(2, "s", (offer(1), Some(7)))
        .alerted_as(3, "s", (offer(2), Some(10)));
    assert_eq!(verdict(Promise::Order, &later.whole()), Verdict::Broken, "behind the newest one");
}

/// Technicians who answer have no part in when a run ends.
#[test]
fn answers_are_not_what_the_load_asked() {
    let told = Told::new().request(10, 1, "a").ok(12, 1).accepts(50, 2, "s", offer(1));
    assert_eq!(told.whole().asked_last_us(), Some(10_000));
}

#[test]
fn an_acceptance_that_its_device_never_said_is_found_also_where_it_was_offered_twice_to_one() {
    let told = |accepted: Option<u32>, said: u32| {
        let events = vec![
            event("offered", Some("s"), Some(1)),
            event("offer_expired", None, None),
            event("matching", None, None),
            event("offered", Some("s"), Some(2)),
            event("accepted", Some("s"), accepted),
        ];
        checked(
            Promise::OneTechnician,
            &Told::new().accepts(10, 1, "s", offer(said)).ticket(90, "a", events).whole(),
        )
    };
    assert_eq!(told(Some(2), 2).verdict, Verdict::Kept);
    let stale = told(Some(2), 1);
    assert_eq!((stale.verdict, stale.broken), (Verdict::Broken, 1), "it took the first one");
    assert_eq!(stale.examples[0].text, "a: s has offer 2, and its device never took it");
    assert_eq!(told(None, 1).verdict, Verdict::Kept, "an earlier release does not say of which");
}
