//! Where logs have what was answered: what they contradict is found, although times and ticket histories allow it.

use super::{
    one_history::{read, saw_at},
    *,
};
use crate::history::Position;

/// Of the first term.
fn at(group: u32, index: u64) -> Position {
    Position { group, term: 1, index, node: None }
}

impl Told {
    fn logged(self, op: u64, at: Position) -> Self {
        self.at(9_000, What::Logged { op, at })
    }

    fn read_at(self, (from, until): (u64, u64), op: u64, events: u64, at: Position) -> Self {
        self.invoked(from, op, "o", read()).at(until, saw_at(op, events, Some(at)))
    }

    /// A customer hears of a ticket; what it hears stands there in the log.
    fn heard(self, ms: u64, number: u8, position: u64, at: Position) -> Self {
        let (by, ticket, technician) = ("c".to_owned(), "a".to_owned(), None);
        let what = What::Confirmed { by, ticket, number, technician, position: Some(position) };
        let logged = What::MailLogged { to: "c".into(), number: position, at };
        self.at(ms, what).at(9_000, logged)
    }
}

#[test]
fn a_write_stands_behind_what_was_answered_before_it_was_begun() {
    let two = |first: Position, second: Position| {
        let told = Told::new().wrote(10, 15, 1).wrote(20, 25, 2);
        told.logged(1, first).logged(2, second).ends_with(&[1, 2])
    };
    assert_eq!(two(at(1, 7), at(1, 9)).verdict, Verdict::Kept);
    let finding = two(at(1, 9), at(1, 7));
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
    // Both writes: how each was begun, came out, and was found in the log.
    assert_eq!(finding.examples[0].entries, [1, 2, 5, 3, 4, 6]);
    let text = &finding.examples[0].text;
    assert!(text.contains("entry 7 of group 1") && text.contains("entry 9 of group 1"), "{text}");
    assert_eq!(two(at(1, 7), at(1, 7)).verdict, Verdict::Broken, "an entry is of one write");
    let earlier = Position { term: 3, ..at(1, 7) };
    assert_eq!(two(earlier, at(1, 9)).verdict, Verdict::Broken, "a term does not go back");
    assert_eq!(two(at(1, 9), at(2, 7)).verdict, Verdict::Kept, "these are two logs");

    let beside = Told::new().wrote(10, 30, 1).wrote(20, 25, 2);
    let beside = beside.logged(1, at(1, 9)).logged(2, at(1, 7)).ends_with(&[2, 1]);
    assert_eq!(beside.verdict, Verdict::Kept, "either may be first");
}

#[test]
fn a_read_has_every_message_that_its_replica_had_applied() {
    let of = |(from, until): (u64, u64), events: u64, index: u64| {
        let told = Told::new().wrote(10, 40, 1).logged(1, at(1, 7));
        told.read_at((from, until), 2, events, at(1, index)).ends_with(&[1]).verdict
    };
    // While the write is under way.
    assert_eq!([of((20, 25), 1, 6), of((20, 25), 2, 7)], [Verdict::Kept; 2]);
    assert_eq!([of((20, 25), 1, 7), of((20, 25), 1, 9)], [Verdict::Broken; 2], "it misses one");
    // Behind it: from a replica that had not come so far, whatever it showed.
    assert_eq!([of((50, 55), 2, 7), of((50, 55), 2, 9)], [Verdict::Kept; 2]);
    assert_eq!([of((50, 55), 1, 9), of((50, 55), 2, 6)], [Verdict::Broken; 2], "it is stale");

    let of = |first: u64, second: u64| {
        let told = Told::new().read_at((10, 15), 1, 1, at(1, first));
        told.read_at((20, 25), 2, 1, at(1, second)).ends_with(&[]).verdict
    };
    assert_eq!([of(7, 7), of(7, 8), of(7, 6)], [Verdict::Kept, Verdict::Kept, Verdict::Broken]);
    let of = |index: u64| {
        let told = Told::new().request(1, 1, "a").ok(2, 1).logged(1, at(1, 5));
        told.read_at((10, 15), 2, 1, at(1, index)).ends_with(&[]).verdict
    };
    assert_eq!([of(5), of(4)], [Verdict::Kept, Verdict::Broken], "its ticket was asked for before");
}

#[test]
fn a_log_goes_as_far_in_the_end_as_what_it_acknowledged() {
    let of = |index: u64| {
        let told = Told::new().request(1, 1, "a").ok(2, 1).confirmed(3, "a", 2);
        let replica = |node, applied| What::Replica { group: 1, node, applied, digest: "d".into() };
        let told = told.ticket(9, "a", vec![]).logged(1, at(1, index));
        let told = told.at(9_500, replica(1, 6)).at(9_500, replica(2, 7));
        checked(Promise::Acknowledged, &told.whole())
    };
    assert_eq!(of(7).verdict, Verdict::Kept);
    let finding = of(8);
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
    // The request, where it stood, and the replica that goes furthest.
    assert_eq!(finding.examples[0].entries, [1, 2, 5, 7]);
}

#[test]
fn a_log_has_what_a_device_said_and_what_it_is_told_in_their_order() {
    let said = |first: u64, second: u64| {
        let told = Told::new().request(1, 1, "a").ok(2, 1).request(3, 2, "b").ok(4, 2);
        let told = told.logged(1, at(1, first)).logged(2, at(1, second)).confirmed(5, "a", 2);
        verdict(Promise::Order, &told.whole())
    };
    assert_eq!([said(7, 9), said(9, 7)], [Verdict::Kept, Verdict::Broken]);
    let told = |first: Position, second: Position| {
        let told = Told::new().heard(5, 2, 3, first).heard(6, 4, 4, second);
        verdict(Promise::Order, &told.whole())
    };
    assert_eq!(told(at(1, 7), at(1, 9)), Verdict::Kept);
    assert_eq!(told(at(1, 7), at(1, 7)), Verdict::Kept, "one step may tell it twice something");
    assert_eq!(told(at(1, 9), at(1, 7)), Verdict::Broken);
    assert_eq!(told(at(1, 9), at(2, 7)), Verdict::Kept, "its slot went to another group");
}

#[test]
fn what_has_no_position_is_judged_as_before_and_counted() {
    let told = || Told::new().wrote(10, 15, 1).wrote(20, 25, 2);
    let ended = |told: Told| judge(&told.ticket(10_000, "a", vec![]).whole()).not_covered;
    let counted =
        |unplaced: u64| format!("the position of {unplaced} of 2 operations that were answered");
    assert_eq!(told().ends_with(&[1, 2]).verdict, Verdict::Kept);
    assert_eq!(told().ends_with(&[2, 1]).verdict, Verdict::Broken);
    assert!(ended(told()).contains(&counted(2)));
    let one = || told().logged(1, at(1, 9));
    assert_eq!(one().ends_with(&[1, 2]).verdict, Verdict::Kept);
    assert!(ended(one()).contains(&counted(1)));
    let all = ended(one().logged(2, at(1, 12)));
    assert!(!all.iter().any(|what| what.contains("position")), "{all:?}");

    // As it was written before positions were.
    let line = r#"{"at_us":15,"what":"ok","op":1}"#;
    let entry: Entry = serde_json::from_str(line).unwrap();
    assert_eq!(entry.what, What::Ok { op: 1, read: None, at: None });
    assert_eq!(entry.line().unwrap(), line);
    let placed =
        Entry { at_us: 15, what: saw_at(1, 2, Some(Position { node: Some(2), ..at(1, 9) })) };
    let logged = Entry { at_us: 16, what: What::Logged { op: 1, at: at(1, 9) } };
    for entry in [placed, logged] {
        let read: Entry = serde_json::from_str(&entry.line().unwrap()).unwrap();
        assert_eq!(read, entry);
    }
}
