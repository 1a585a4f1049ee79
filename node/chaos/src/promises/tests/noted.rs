//! What technicians' devices were told to be noted, against the ticket in the end and what its customer heard.

use super::{technicians::offer, *};
use crate::history::Answer;

/// Of a ticket that its technician's device was told to have, and has said to be done: how it is in the end.
struct Done {
    state: &'static str,
    events: Vec<Happened>,
    /// When it is read.
    read_ms: u64,
}

impl Done {
    fn checked(self, more: impl Fn(Told) -> Told) -> Finding {
        let told = Told::new().request(1, 1, "a").ok(2, 1).accepts(10, 2, "t", offer(1));
        let told = told.confirmed(20, "a", 2).completes(30, 3, "t", offer(1));
        let (ticket, state) = ("a".into(), self.state.into());
        let read = What::Ticket { ticket, state, events: self.events };
        checked(Promise::Acknowledged, &more(told).at(self.read_ms, read).whole())
    }
}

/// It is read when it had the time that the scenario grants, which is 5 s.
fn done(state: &'static str, events: Vec<Happened>) -> Done {
    Done { state, events, read_ms: 9_000 }
}

#[test]
fn a_completion_that_was_acknowledged_and_is_lost_is_found() {
    let of = |state| done(state, vec![]).checked(|told| told.confirmed(40, "a", 4)).verdict;
    assert_eq!(["completed", "confirmed", "closed"].map(of), [Verdict::Kept; 3]);
    let lost = done("accepted", vec![]).checked(|told| told);
    assert_eq!((lost.verdict, lost.broken), (Verdict::Broken, 1));
    assert_eq!(lost.examples[0].text, "a: t was told that its work is noted; it is accepted");
    assert_eq!(lost.examples[0].entries, [6, 7, 8]);
    let has = || vec![event("offered", Some("t"), Some(1)), event("accepted", Some("t"), None)];
    assert_eq!(done("accepted", has()).checked(|told| told).verdict, Verdict::Broken);
}

#[test]
fn a_completion_of_what_was_not_its_any_more_is_not_lost() {
    let of = |state, after: Option<Happened>| {
        let has = [event("offered", Some("t"), Some(1)), event("accepted", Some("t"), None)];
        let events = has.into_iter().chain(after).collect();
        done(state, events).checked(|told| told).verdict
    };
    for event in ["taken_back", "reopened", "held", "cancelled", "offer_expired", "matching"] {
        assert_eq!(of("x", Some(self::event(event, None, None))), Verdict::Kept, "{event}");
    }
    let late = event("late_accept_refused", Some("t"), None);
    assert_eq!(of("offered", Some(late)), Verdict::Kept, "its acceptance came too late");
    assert_eq!(of("accepted", Some(event("message", None, None))), Verdict::Broken);
    // Of the offer before, or of the one behind: only what comes behind its own takes the ticket from it.
    let had = |epoch| {
        [event("offered", Some("t"), Some(epoch)), event("accepted", Some("t"), Some(epoch))]
    };
    let twice = |first, then| {
        let events = had(first).into_iter().chain([event("taken_back", None, None)]);
        done("accepted", events.chain(had(then)).collect()).checked(|told| told).verdict
    };
    assert_eq!([twice(0, 1), twice(1, 2)], [Verdict::Broken, Verdict::Kept]);
    let withdrawn = done("accepted", vec![]).checked(|told| told.withdrawn(40, "t"));
    assert_eq!(withdrawn.verdict, Verdict::Kept, "it was told so");
    let other = done("accepted", vec![]).checked(|told| told.withdrawn(40, "u"));
    assert_eq!(other.verdict, Verdict::Broken, "somebody else was told so");
}

#[test]
fn a_completion_that_its_ticket_need_not_have_yet_is_not_known() {
    let of = |read_ms, more: &dyn Fn(Told) -> Told| {
        Done { read_ms, ..done("accepted", vec![]) }.checked(more)
    };
    assert_eq!(of(5_035, &|told| told).verdict, Verdict::Broken);
    assert_eq!(of(5_034, &|told| told).verdict, Verdict::Unknown, "it may be on its way");
    let struck = |told: Told| told.fault(3_000, Phase::Installed);
    let open = of(9_000, &struck);
    assert_eq!(open.verdict, Verdict::Unknown);
    assert!(open.why.contains("a fault did not end"), "{open:?}");
    let mended = |told| struck(told).fault(4_001, Phase::Ended);
    assert_eq!(of(9_000, &mended).verdict, Verdict::Unknown, "it was broken until then");
    assert_eq!(of(9_001, &mended).verdict, Verdict::Broken);
    let parked = |told: Told| {
        (1..=3).fold(told, |told, strike| {
            let (fault, why, node) = (Fault::FailingActors { percent: 30 }, String::new(), Some(1));
            let what = |phase, why| What::Fault { strike, fault, node, phase, why, effect: None };
            let told = told.at(100, what(Phase::Installed, why.clone()));
            told.at(200, what(Phase::Ended, why))
        })
    };
    assert_eq!(of(9_000, &parked).verdict, Verdict::Unknown, "its ticket is parked");
    let refused = Told::new().accepts(10, 2, "t", offer(1));
    let refused = refused.says(30, 3, "t", (offer(1), Answer::Complete)).refused(40, 3);
    let refused = refused.request(50, 4, "a").ok(51, 4).confirmed(52, "a", 2);
    let refused = refused.ticket(9_000, "a", vec![]);
    assert_eq!(verdict(Promise::Acknowledged, &refused.whole()), Verdict::Kept, "it was told no");
}

fn accepted(by: &str, epoch: u32) -> [Happened; 2] {
    let epoch = Some(epoch);
    [event("offered", Some(by), epoch), event("accepted", Some(by), epoch)]
}

fn plain(name: &str) -> Happened {
    event(name, None, None)
}

#[test]
fn a_customer_who_is_not_told_that_the_work_is_done_is_found() {
    let has = || accepted("t", 1).into_iter();
    for (state, behind) in [
        ("completed", vec!["progressed"]),
        ("confirmed", vec!["progressed", "ordered"]),
        ("closed", vec!["progressed", "closed"]),
    ] {
        let events = || has().chain(behind.iter().map(|name| plain(name))).collect();
        let told = done(state, events()).checked(|told| told.confirmed(40, "a", 4));
        assert_eq!(told.verdict, Verdict::Kept, "{state}");
        let lost = done(state, events()).checked(|told| told);
        assert_eq!((lost.verdict, lost.broken), (Verdict::Broken, 1), "{state}");
        let text = format!("a is {state}, and c was not told that its work is done");
        assert_eq!(lost.examples[0].text, text);
        assert_eq!(lost.examples[0].entries, [6, 7, 8]);
    }
    let late = done("completed", has().collect()).checked(|told| told.confirmed(9_500, "a", 4));
    assert_eq!(late.verdict, Verdict::Kept, "whenever it hears so");
    let other = done("completed", has().collect()).checked(|told| told.confirmed_to("d", 4));
    assert_eq!(other.verdict, Verdict::Broken, "somebody else heard so");
    let again = |told: Told| told.completes(50, 4, "t", offer(1));
    assert_eq!(done("completed", has().collect()).checked(again).broken, 1, "once of a ticket");
}

#[test]
fn a_customer_who_may_not_hear_that_the_work_is_done_is_not_claimed_to() {
    let of = |more: &dyn Fn(Told) -> Told| {
        done("completed", accepted("t", 1).into()).checked(more).verdict
    };
    let device = || "c".to_owned();
    let revoked = |told: Told| told.at(25, What::Revoked { device: device() });
    assert_eq!(of(&revoked), Verdict::Kept, "mail waits");
    let renewed = |ms, told| revoked(told).at(ms, What::Renewed { device: device() });
    assert_eq!(of(&|told| renewed(60, told)), Verdict::Broken, "its mail is lost");
    assert_eq!(of(&|told| renewed(4_001, told)), Verdict::Unknown, "it is on its way");
    assert_eq!(of(&|told| told.fault(3_000, Phase::Installed)), Verdict::Unknown);
    assert_eq!(of(&|told| told.withdrawn(40, "t")), Verdict::Kept, "it was not its any more");
    let early = Done { read_ms: 5_034, ..done("completed", accepted("t", 1).into()) };
    assert_eq!(early.checked(|told| told).verdict, Verdict::Unknown, "it is on its way");
}

/// Of a technician's word that nobody answered, that was refused, or that came when somebody else had the ticket, no
/// customer hears.
#[test]
fn a_customer_is_to_hear_of_an_end_that_was_noted_of_whoever_had_its_ticket() {
    let said = || {
        let told = Told::new().request(1, 1, "a").ok(2, 1).confirmed(20, "a", 2);
        told.accepts(10, 2, "t", offer(1)).says(30, 3, "t", (offer(1), Answer::Complete))
    };
    let of = |told: Told, events: Vec<Happened>| {
        let (ticket, state) = ("a".into(), "completed".into());
        let read = What::Ticket { ticket, state, events };
        verdict(Promise::Acknowledged, &told.at(9_000, read).whole())
    };
    assert_eq!(of(said(), accepted("t", 1).into()), Verdict::Kept, "nobody knows");
    assert_eq!(of(said().refused(35, 3), accepted("t", 1).into()), Verdict::Kept);
    assert_eq!(of(said().ok(35, 3), accepted("t", 1).into()), Verdict::Broken);
    // An operator gives it to another technician, or has it done again, and nobody answered the word of that one.
    let taken = |name: &str| {
        let second = [event("assigned", Some("u"), Some(2)), event("accepted", Some("u"), Some(2))];
        accepted("t", 1).into_iter().chain([event(name, Some("t"), None)]).chain(second).collect()
    };
    for name in ["taken_back", "reopened"] {
        assert_eq!(of(said().ok(35, 3), taken(name)), Verdict::Kept, "{name}");
    }
    let both = said().ok(35, 3).accepts(40, 4, "u", offer(2)).completes(50, 5, "u", offer(2));
    assert_eq!(of(both, taken("taken_back")), Verdict::Broken, "it was the second one's");
    let unasked = Told::new().accepts(10, 2, "t", offer(1)).completes(30, 3, "t", offer(1));
    assert_eq!(of(unasked, accepted("t", 1).into()), Verdict::Kept, "whose it is nobody knows");
}

/// Of a ticket whose customer was told of a technician, with what technicians said; it is read after 9 s.
fn taken(more: impl Fn(Told) -> Told, events: Vec<Happened>) -> Finding {
    let told = Told::new().request(1, 1, "a").ok(2, 1).confirmed(20, "a", 2);
    checked(Promise::Acknowledged, &more(told).ticket(9_000, "a", events).whole())
}

#[test]
fn an_acceptance_that_was_acknowledged_and_is_lost_is_found() {
    let accepts = |told: Told| told.accepts(10, 2, "t", offer(1));
    assert_eq!(taken(accepts, accepted("t", 1).into()).verdict, Verdict::Kept);
    let offered = || event("offered", Some("t"), Some(1));
    let lost = taken(accepts, vec![plain("opened"), offered()]);
    assert_eq!((lost.verdict, lost.broken), (Verdict::Broken, 1));
    let text = "a: t was told that its acceptance of offer 1 is noted, and it is not there";
    assert_eq!(lost.examples[0].text, text);
    assert_eq!(lost.examples[0].entries, [3, 4, 6]);
    let of = |events: Vec<Happened>| taken(accepts, events).verdict;
    assert_eq!(of(vec![plain("opened")]), Verdict::Broken, "the offer is lost, too");
    assert_eq!(of(accepted("u", 1).into()), Verdict::Broken, "somebody else's is there");
    assert_eq!(of(accepted("t", 2).into()), Verdict::Broken, "that of another offer is there");
    let expired = [offered(), plain("offer_expired"), plain("matching")];
    assert_eq!(of(expired.into_iter().chain(accepted("u", 2)).collect()), Verdict::Broken);
    // One of two came too late: the other one is to be there.
    let both = |told| accepts(told).accepts(50, 3, "t", offer(2));
    let late = || event("late_accept_refused", Some("t"), None);
    assert_eq!(taken(both, vec![offered(), late()]).broken, 1);
    assert_eq!(taken(both, vec![offered(), late(), late()]).verdict, Verdict::Kept);
    // Its entity forgot it: whoever says then that the work is done hears that it never had it.
    let refused = |told| accepts(told).says(30, 4, "t", (offer(1), Answer::Complete));
    let refused = taken(|told| refused(told).refused(31, 4), vec![plain("opened"), offered()]);
    assert_eq!(refused.verdict, Verdict::Broken);
}

#[test]
fn an_acceptance_is_there_whatever_became_of_its_ticket() {
    let of = |behind: &[Happened]| {
        let events = accepted("t", 1).into_iter().chain(behind.to_vec()).collect();
        taken(|told| told.accepts(10, 2, "t", offer(1)), events).verdict
    };
    let by = |name, technician| event(name, Some(technician), None);
    assert_eq!(of(&[plain("cancelled")]), Verdict::Kept);
    assert_eq!(of(&[by("taken_back", "t"), event("assigned", Some("u"), Some(2))]), Verdict::Kept);
    assert_eq!(of(&[plain("progressed"), plain("reopened"), plain("matching")]), Verdict::Kept);
    let late = |before: &[Happened]| {
        let events = [event("offered", Some("t"), Some(1))].into_iter().chain(before.to_vec());
        let events = events.chain([by("late_accept_refused", "t")]).collect();
        taken(|told| told.accepts(10, 2, "t", offer(1)), events).verdict
    };
    assert_eq!(late(&[plain("cancelled")]), Verdict::Kept);
    assert_eq!(late(&[plain("offer_expired"), plain("matching")]), Verdict::Kept);
    assert_eq!(late(&[by("taken_back", "t"), plain("held")]), Verdict::Kept);
    let adopted = vec![event("adopted", Some("t"), Some(1))];
    let accepts = |told: Told| told.accepts(10, 2, "t", offer(1));
    assert_eq!(taken(accepts, adopted).verdict, Verdict::Kept);
    let before = vec![event("offered", Some("t"), Some(1)), event("accepted", Some("t"), None)];
    assert_eq!(taken(accepts, before).verdict, Verdict::Kept, "an earlier release has no epoch");
    let twice = |told| accepts(told).accepts(50, 3, "t", offer(1));
    assert_eq!(taken(twice, accepted("t", 1).into()).verdict, Verdict::Kept, "it is noted once");
}

#[test]
fn an_acceptance_that_need_not_be_there_is_not_claimed() {
    let offered = || vec![event("offered", Some("t"), Some(1))];
    let says = |told: Told| told.says(10, 2, "t", (offer(1), Answer::Accept));
    assert_eq!(taken(says, offered()).verdict, Verdict::Kept, "nobody answered");
    assert_eq!(taken(|told| says(told).refused(15, 2), offered()).verdict, Verdict::Kept);
    assert_eq!(taken(|told| says(told).ok(4_000, 2), offered()).verdict, Verdict::Broken);
    let early = taken(|told| says(told).ok(4_001, 2), offered());
    assert_eq!(early.verdict, Verdict::Unknown, "it may be on its way");
    let broken = |told: Told| says(told).ok(15, 2).fault(3_000, Phase::Installed);
    assert_eq!(taken(broken, offered()).verdict, Verdict::Unknown);
    let untold = taken(|told| says(told).ok(15, 2), vec![]);
    assert_eq!(untold.verdict, Verdict::Kept, "its events are not in this history");
}

/// What one customer asked for is no other's business.
#[test]
fn whoever_is_told_of_a_ticket_has_asked_for_it() {
    let asked = || Told::new().request(1, 1, "a").ok(2, 1);
    let read = |told: Told| told.ticket(9_000, "a", vec![plain("opened")]).whole();
    let wrong = read(asked().confirmed_to("d", 2));
    assert_eq!(verdict(Promise::Acknowledged, &wrong), Verdict::Broken, "who asked heard nothing");
    let found = checked(Promise::Once, &wrong);
    assert_eq!((found.verdict, found.broken), (Verdict::Broken, 1));
    assert_eq!(found.examples[0].text, "a: d was told of it, and c asked for it");
    assert_eq!(found.examples[0].entries, [1, 3]);
    let right = read(asked().confirmed(30, "a", 2).confirmed(40, "a", 3));
    assert_eq!(verdict(Promise::Acknowledged, &right), Verdict::Kept);
    assert_eq!(verdict(Promise::Once, &right), Verdict::Kept);
    let changed = read(asked().confirmed(30, "a", 2).confirmed_to("d", 3));
    assert_eq!(verdict(Promise::Once, &changed), Verdict::Broken, "whatever it is told");
    let unanswered = read(Told::new().request(1, 1, "a").confirmed(30, "a", 2));
    assert_eq!(verdict(Promise::Once, &unanswered), Verdict::Kept, "its receipt is on its way");
    // The request may have been sent and not noted.
    let unknown = read(Told::new().confirmed_to("d", 2));
    assert_eq!(verdict(Promise::Once, &unknown), Verdict::Kept);
}
