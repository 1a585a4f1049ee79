//! Acceptances in tickets' histories: each of the last offer, and once.

use super::*;

fn offered(to: &str, epoch: u32) -> Happened {
    event("offered", Some(to), Some(epoch))
}

/// As an earlier release tells it.
fn accepted(by: &str) -> Happened {
    event("accepted", Some(by), None)
}

/// By the last offer to whoever accepts.
fn accepted_of(by: &str, epoch: u32) -> Happened {
    event("accepted", Some(by), Some(epoch))
}

fn plain(name: &str) -> Happened {
    event(name, None, None)
}

fn by(name: &str, technician: &str) -> Happened {
    event(name, Some(technician), None)
}

fn of(events: Vec<Happened>) -> Result<(), String> {
    let finding = checked(Promise::OneTechnician, &Told::new().ticket(9, "a", events).whole());
    match finding.verdict {
        Verdict::Kept => Ok(()),
        _ => Err(finding.examples[0].text.clone()),
    }
}

#[test]
fn an_offer_is_accepted_once() {
    let twice = "a: s accepts one offer twice".to_owned();
    assert_eq!(of(vec![offered("s", 1), accepted("s"), accepted("s")]), Err(twice.clone()));
    let told = vec![offered("s", 1), accepted_of("s", 1), accepted_of("s", 1)];
    assert_eq!(of(told), Err(twice));
    let handed_back = vec![
        offered("s", 1),
        accepted_of("s", 1),
        plain("progressed"),
        plain("matching"),
        offered("s", 2),
        accepted_of("s", 2),
        plain("reopened"),
        plain("matching"),
        event("assigned", Some("s"), Some(70_000)),
        accepted_of("s", 70_000),
    ];
    assert_eq!(of(handed_back), Ok(()), "each by an offer of its own");
    let over = vec![offered("s", 1), plain("offer_expired"), plain("matching"), accepted("s")];
    assert_eq!(of(over), Err("a: s accepts an offer that is over".to_owned()));
}

#[test]
fn an_acceptance_is_of_the_last_offer_also_where_nobody_contradicts() {
    let late = |accepted: Happened| {
        of(vec![
            offered("s", 1),
            plain("offer_expired"),
            plain("matching"),
            offered("t", 2),
            accepted,
        ])
    };
    let stale = |of: &str| Err(format!("a: s accepts {of}, and the last offer is 2"));
    assert_eq!(late(accepted_of("s", 1)), stale("offer 1"));
    assert_eq!(late(accepted("s")), stale("no offer"));
    assert_eq!([late(accepted_of("t", 2)), late(accepted("t"))], [Ok(()), Ok(())]);
    assert_eq!(
        late(by("late_accept_refused", "s")),
        Ok(()),
        "it came too late, and is no acceptance"
    );
    let downwards = vec![offered("s", 2), event("assigned", Some("t"), Some(2))];
    assert!(of(downwards).unwrap_err().contains("offer 2 comes after offer 2"));
}

#[test]
fn of_several_who_are_asked_at_once_any_may_accept() {
    let asked = |also: Option<u32>, accepted: Happened| {
        of(vec![
            offered("s", 1),
            event("also_offered", None, also),
            by("offer_refused", "s"),
            plain("switched"),
            plain("others_released"),
            accepted,
        ])
    };
    assert_eq!(asked(Some(1), accepted_of("t", 1)), Ok(()));
    assert_eq!(asked(None, accepted("t")), Ok(()), "an earlier release does not tell whom");
    assert!(asked(Some(1), accepted("u")).is_err(), "it was asked never");
}

#[test]
fn whoever_is_adopted_may_accept_then_and_stays() {
    let adopted = |by: &str, epoch| event("adopted", Some(by), epoch);
    for epoch in [Some(7), None] {
        let lost = vec![
            offered("s", 1),
            plain("offer_expired"),
            plain("matching"),
            adopted("t", epoch),
            event("accepted", Some("t"), epoch),
            adopted("t", epoch),
        ];
        assert_eq!(of(lost.clone()), Ok(()));
        let twice = lost.into_iter().chain([event("accepted", Some("t"), epoch)]);
        assert!(of(twice.collect()).unwrap_err().contains("twice"));
    }
}
