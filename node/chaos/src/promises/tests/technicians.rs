//! What technicians' devices were told, against what they may be told.

use super::*;
use crate::history::{Answer, Offer};

/// The offers that go out one at a time.
fn offer(epoch: u32) -> Offer {
    Offer { epoch, seq: 0 }
}

impl Told {
    fn alerted(self, ms: u64, by: &str, offer: Offer) -> Self {
        self.at(ms, What::Alerted { by: by.into(), ticket: "a".into(), offer })
    }

    fn says(self, ms: u64, op: u64, by: &str, (offer, answer): (Offer, Answer)) -> Self {
        self.invoked(ms, op, by, Operation::Answer { ticket: "a".into(), offer, answer })
    }

    /// Accepts, and is answered with yes 5 ms later.
    fn accepts(self, ms: u64, op: u64, by: &str, offer: Offer) -> Self {
        self.says(ms, op, by, (offer, Answer::Accept)).ok(ms + 5, op)
    }

    fn completes(self, ms: u64, op: u64, by: &str, offer: Offer) -> Self {
        self.says(ms, op, by, (offer, Answer::Complete)).ok(ms + 5, op)
    }

    fn refused(self, ms: u64, op: u64) -> Self {
        self.at(ms, What::Refused { op, why: "no longer yours".into() })
    }

    fn withdrawn(self, ms: u64, by: &str) -> Self {
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

/// Technicians who answer have no part in when a run ends.
#[test]
fn answers_are_not_what_the_load_asked() {
    let told = Told::new().request(10, 1, "a").ok(12, 1).accepts(50, 2, "s", offer(1));
    assert_eq!(told.whole().asked_last_us(), Some(10_000));
}
