//! I8 by what single requests and shards show: who is never answered, and which shard nobody asked.

use super::*;

/// A fault from the tenth to the eleventh second, behind which the one shard serves.
fn served() -> Told {
    let told = Told::new().request(1_000, 1, "a").ok(1_010, 1);
    let told = told.fault(10_000, Phase::Installed).fault(11_000, Phase::Ended);
    told.request(12_000, 2, "b").ok(12_900, 2)
}

/// It is looked at up to here.
fn until(told: Told, ms: u64) -> Told {
    told.at(ms, What::Leader { group: 1, node: Some(1) })
}

#[test]
fn a_request_that_is_never_answered_is_no_recovery() {
    let asks = |told: Told, ms, op, ticket: &str| {
        told.invoked(ms, op, "d", Operation::Request { ticket: ticket.into(), shard: 1 })
    };
    let of = |told: Told| verdict(Promise::Recovery, &told.whole());
    // Another customer of the same shard is served.
    let waits = || asks(served(), 12_500, 3, "x");
    let finding = checked(Promise::Recovery, &until(waits(), 17_500).whole());
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
    assert!(finding.examples[0].text.contains("x was never answered"), "{finding:?}");
    assert_eq!(of(until(waits(), 17_499)), Verdict::Unknown, "it might have been yet");
    // From before the fault: it had to wait, and not for ever.
    let before = || asks(served(), 9_000, 3, "x");
    assert_eq!(of(until(before(), 16_000)), Verdict::Broken);
    assert_eq!(of(until(before(), 15_999)), Verdict::Unknown);
    assert_eq!(of(until(before().ok(15_000, 3), 30_000)), Verdict::Kept);
    let refused = What::Refused { op: 3, why: "invalid".into() };
    assert_eq!(of(until(waits().at(13_000, refused), 30_000)), Verdict::Kept, "that is an answer");
    assert_eq!(of(until(waits().confirmed(13_000, "x", 2), 30_000)), Verdict::Kept, "so is this");
    let read = Operation::Read { ticket: "x".into() };
    assert_eq!(of(until(served().invoked(12_500, 3, "operator", read), 30_000)), Verdict::Kept);
}

#[test]
fn whoever_is_not_to_be_served_and_what_was_not_mended_is_no_request_that_was_forgotten() {
    let asks = || {
        let request = Operation::Request { ticket: "x".into(), shard: 1 };
        until(served().invoked(12_500, 3, "d", request), 30_000)
    };
    let of = |told: Told| verdict(Promise::Recovery, &told.whole());
    assert_eq!(of(asks()), Verdict::Broken);
    let revoked = || asks().at(12_000, What::Revoked { device: "d".into() });
    assert_eq!(of(revoked()), Verdict::Kept);
    let renewed = revoked().at(20_000, What::Renewed { device: "d".into() });
    assert_eq!(of(renewed), Verdict::Kept, "what it said before stays unsaid");
    assert_eq!(of(asks().fault(13_000, Phase::Installed)), Verdict::Unknown, "it did not end");
    let given_up = What::Aborted { why: "x".into() };
    assert_eq!(of(asks().at(20_000, given_up)), Verdict::Unknown);
    assert_eq!(verdict(Promise::Recovery, &asks().cut()), Verdict::Unknown);
    // The node that is away is what is broken, and not everybody who waits for it.
    let down = asks().at(13_000, What::Down { node: Some(1), why: "it ended".into() });
    let finding = checked(Promise::Recovery, &down.whole());
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
}

#[test]
fn a_shard_that_nobody_asked_is_named_and_not_called_recovered() {
    let of = |all: &[u32]| {
        let mut history = until(served(), 30_000).whole();
        if let What::Begun { shards, .. } = &mut history.entries[0].what {
            *shards = all.to_vec();
        }
        history
    };
    assert_eq!(verdict(Promise::Recovery, &of(&[1])), Verdict::Kept);
    let finding = checked(Promise::Recovery, &of(&[1, 2, 5]));
    assert_eq!((finding.verdict, finding.checked), (Verdict::Unknown, 1));
    assert!(finding.why.contains("of shards 2, 5 nobody asked"), "{finding:?}");
    let judged = judge(&of(&[1, 2, 5]));
    assert!(judged.not_covered.contains(&format!("I8: {}", finding.why)), "{judged:?}");
    // Of a time when it was not recorded: as far as it goes.
    let finding = checked(Promise::Recovery, &of(&[]));
    assert_eq!(finding.verdict, Verdict::Kept);
    assert!(finding.why.contains("not in this history"), "{finding:?}");
}

#[test]
fn what_the_run_itself_could_not_mend_is_no_fault_of_the_product() {
    let struck = || Told::new().fault(10_000, Phase::Installed).fault(11_000, Phase::Ended);
    // Nobody serves any more: a node that was taken out was not started again.
    let out = || {
        let told = struck().fault(12_000, Phase::Installed);
        told.request(13_000, 2, "b").at(20_000, What::Leader { group: 1, node: None })
    };
    let of = |told: Told| verdict(Promise::Recovery, &told.whole());
    assert_eq!(of(out()), Verdict::Broken, "the run did what it was to do");
    let failed = || What::Harness { why: "of node 1: too many open files".into() };
    let finding = checked(Promise::Recovery, &out().at(21_000, failed()).whole());
    assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
    assert!(finding.why.contains("the run itself could not mend"), "{finding:?}");
    let mut hung = out().at(21_000, failed()).whole();
    for entry in &mut hung.entries {
        if let What::Fault { fault, .. } = &mut entry.what {
            *fault = Fault::Network(Network::default());
        }
    }
    assert_eq!(verdict(Promise::Recovery, &hung), Verdict::Broken, "its process was there");
    let mended = out().fault(15_000, Phase::Ended).at(21_000, failed());
    assert_eq!(of(mended), Verdict::Broken, "what failed was something else");
}

#[test]
fn a_group_of_which_nobody_says_who_leads_it_has_no_leader_of_before() {
    let of = |told: Told| checked(Promise::Recovery, &told.whole());
    let unknown = What::LeaderUnknown { group: 1, answered: 0, of: 3 };
    let silent = || until(served(), 14_000).at(15_000, unknown.clone());
    let finding = of(silent());
    assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
    assert_eq!(finding.why, "who leads group 1 in the end: 0 of 3 of its voters answered");
    assert_eq!(of(until(silent(), 16_000)).verdict, Verdict::Kept, "they answer again");
    let led = |node| silent().at(16_000, What::Leader { group: 1, node });
    assert_eq!(of(led(None)).verdict, Verdict::Broken);
}
