//! One ticket that is written and read by several: what one order of effects explains is one history, and what none
//! explains is found.

use proptest::prelude::*;

use super::*;
use crate::history::{Position, Prefix};

fn write(op: u64) -> Operation {
    Operation::Write { ticket: "a".into(), message: Some(format!("m{op}")) }
}

pub(super) fn read() -> Operation {
    Operation::Read { ticket: "a".into() }
}

/// Messages of these writes behind an opening, as a ticket has them in the end.
fn events(messages: &[u64]) -> Vec<Happened> {
    let opened = Happened { digest: "d1".into(), ..event("opened", None, None) };
    let messages = (2..).zip(messages).map(|(length, op)| Happened {
        message: Some(format!("m{op}")),
        digest: format!("d{length}"),
        ..event("message", None, None)
    });
    std::iter::once(opened).chain(messages).collect()
}

fn saw(op: u64, events: u64) -> What {
    saw_at(op, events, None)
}

pub(super) fn saw_at(op: u64, events: u64, at: Option<Position>) -> What {
    What::Ok { op, read: Some(Prefix { events, digest: format!("d{events}") }), at }
}

impl Told {
    /// A write that is answered, from one moment to another.
    pub(super) fn wrote(self, from: u64, until: u64, op: u64) -> Self {
        self.invoked(from, op, "o", write(op)).ok(until, op)
    }

    fn read(self, from: u64, until: u64, op: u64, events: u64) -> Self {
        self.invoked(from, op, "o", read()).at(until, saw(op, events))
    }

    pub(super) fn ends_with(self, messages: &[u64]) -> Finding {
        checked(Promise::OneHistory, &self.ticket(10_000, "a", events(messages)).whole())
    }
}

#[test]
fn each_message_that_was_acknowledged_is_there_once() {
    let two = || Told::new().wrote(10, 15, 1).wrote(20, 25, 2);
    let of = |messages: &[u64]| two().ends_with(messages).verdict;
    assert_eq!(of(&[1, 2]), Verdict::Kept);
    assert_eq!([of(&[1]), of(&[2])], [Verdict::Broken, Verdict::Broken], "one is lost");
    assert_eq!(of(&[1, 1]), Verdict::Broken, "the second is lost, and the first there twice");
    assert_eq!(of(&[1, 2, 2]), Verdict::Broken, "it is there twice");
    assert_eq!(of(&[1, 2, 3]), Verdict::Broken, "nobody wrote it");
    let refused = |messages: &[u64]| {
        let no = What::Refused { op: 3, why: "409".into() };
        two().invoked(30, 3, "o", write(3)).at(35, no).ends_with(messages).verdict
    };
    assert_eq!([refused(&[1, 2]), refused(&[1, 2, 3])], [Verdict::Kept, Verdict::Broken]);
}

#[test]
fn a_message_whose_fate_nobody_knows_is_there_once_or_not() {
    let of = |messages: &[u64]| {
        let lost = What::Unknown { op: 2, why: "no answer in time".into() };
        let told = Told::new().wrote(10, 15, 1).invoked(20, 2, "o", write(2)).at(90, lost);
        told.wrote(100, 105, 3).ends_with(messages).verdict
    };
    // Whenever it was done, but for before it was begun.
    let fine: [&[u64]; 3] = [&[1, 3], &[1, 2, 3], &[1, 3, 2]];
    assert_eq!(fine.map(of), [Verdict::Kept; 3]);
    let wrong: [&[u64]; 3] = [&[2, 1, 3], &[1, 2, 2, 3], &[1, 2, 3, 2]];
    assert_eq!(wrong.map(of), [Verdict::Broken; 3]);
}

#[test]
fn messages_stand_in_an_order_that_their_times_allow() {
    let one_by_one = || Told::new().wrote(10, 15, 1).wrote(20, 25, 2).wrote(30, 35, 3);
    assert_eq!(one_by_one().ends_with(&[1, 2, 3]).verdict, Verdict::Kept);
    let finding = one_by_one().ends_with(&[1, 3, 2]);
    assert_eq!((finding.verdict, finding.broken), (Verdict::Broken, 1));
    // Both writes, and the ticket.
    assert_eq!(finding.examples[0].entries, [3, 4, 5, 6, 7]);
    assert_eq!(one_by_one().ends_with(&[3, 1, 2]).broken, 2, "two stand behind it");
    let beside = || Told::new().wrote(10, 30, 1).wrote(20, 25, 2);
    let both: [&[u64]; 2] = [&[1, 2], &[2, 1]];
    assert_eq!(both.map(|order| beside().ends_with(order).verdict), [Verdict::Kept; 2]);
}

#[test]
fn a_read_has_what_was_acknowledged_before_it_and_nothing_that_was_begun_after() {
    let of = |from: u64, until: u64, seen: u64| {
        let told = Told::new().wrote(10, 15, 1).wrote(20, 25, 2).read(from, until, 3, seen);
        told.ends_with(&[1, 2]).verdict
    };
    assert_eq!([of(16, 19, 2), of(26, 30, 3)], [Verdict::Kept; 2]);
    assert_eq!([of(16, 19, 1), of(26, 30, 2)], [Verdict::Broken; 2], "it is stale");
    assert_eq!([of(1, 9, 2), of(16, 19, 3)], [Verdict::Broken; 2], "it is ahead of its time");
    assert_eq!([1, 2, 3].map(|seen| of(5, 40, seen)), [Verdict::Kept; 3], "it is beside both");
    // As many as were acknowledged, and not the one that was.
    let other = || Told::new().wrote(10, 60, 1).wrote(20, 25, 2).read(30, 40, 3, 2);
    assert_eq!(other().ends_with(&[2, 1]).verdict, Verdict::Kept);
    assert_eq!(other().ends_with(&[1, 2]).verdict, Verdict::Broken);
    let back = Told::new().wrote(10, 50, 1).read(20, 25, 2, 2).read(30, 35, 3, 1);
    assert_eq!(back.ends_with(&[1]).verdict, Verdict::Broken, "it was there before");
}

/// As histories were before messages were told apart; and as they are where an older node tells the ticket.
#[test]
fn where_messages_are_not_told_apart_they_are_counted() {
    let unmarked = |_: u64| Operation::Write { ticket: "a".into(), message: None };
    let old = |write: fn(u64) -> Operation| {
        let told = Told::new().invoked(10, 1, "o", write(1)).ok(15, 1);
        told.invoked(20, 2, "o", write(2)).ok(25, 2)
    };
    let of = |told: Told, count: usize| {
        let message =
            |at: usize| Happened { digest: at.to_string(), ..event("message", None, None) };
        let events = (0..count).map(message).collect();
        checked(Promise::OneHistory, &told.ticket(1_000, "a", events).whole())
    };
    let kinds: [fn(u64) -> Operation; 2] = [unmarked, write];
    for write in kinds {
        let verdicts = [1, 2, 3].map(|count| of(old(write), count).verdict);
        assert_eq!(verdicts, [Verdict::Broken, Verdict::Kept, Verdict::Broken]);
        assert!(of(old(write), 2).why.contains("counted"));
    }
    let told = Told::new().invoked(10, 1, "o", unmarked(1)).ok(15, 1);
    assert_eq!(told.ends_with(&[7]).verdict, Verdict::Kept, "of a write that is not marked");
    assert_eq!(Told::new().wrote(10, 15, 1).ends_with(&[1]).why, "");
}

/// A request that never arrived has no ticket, and whoever reads it sees nothing; whoever saw something is wrong.
#[test]
fn of_a_ticket_that_is_not_there_in_the_end_nobody_saw_anything() {
    let read = |told: Told, op: u64, ticket: &str, events: u64| {
        let told = told.invoked(op * 10, op, "o", Operation::Read { ticket: ticket.into() });
        let read = Some(Prefix { events, digest: "0".into() });
        told.at(op * 10 + 5, What::Ok { op, read, at: None })
    };
    let seen = |events: u64| {
        let told = read(read(Told::new(), 1, "a", events), 2, "b", 0);
        verdict(Promise::OneHistory, &told.ticket(1_000, "b", vec![]).whole())
    };
    assert_eq!([seen(0), seen(1)], [Verdict::Kept, Verdict::Broken]);
    let unread = read(Told::new(), 1, "a", 0).whole();
    assert_eq!(verdict(Promise::OneHistory, &unread), Verdict::Unknown);
}

/// An operation that takes effect at a moment between its invocation and its answer.
#[derive(Debug, Clone, Copy)]
struct Step {
    is_read: bool,
    invoked: u64,
    /// To the effect, and from there to the answer.
    takes: u64,
    answers: u64,
    is_answered: bool,
}

/// What is done to one ticket, and what is seen of it in the end.
#[derive(Debug, Clone)]
struct Play {
    steps: Vec<Step>,
    /// Of each step how much a read saw.
    seen: Vec<u64>,
    /// Steps whose messages are there, in their order.
    messages: Vec<u64>,
}

fn plays() -> impl Strategy<Value = Play> {
    let step = (any::<bool>(), 0_u64..100, 0_u64..20, 0_u64..20, prop::bool::weighted(0.9));
    let step = step.prop_map(|(is_read, invoked, takes, answers, is_answered)| Step {
        is_read,
        invoked,
        takes,
        answers,
        is_answered: is_read || is_answered,
    });
    prop::collection::vec(step, 1..40).prop_map(Play::of)
}

impl Step {
    /// From its invocation to its answer, in microseconds; nothing happens at the same moment as something else.
    fn span(&self, op: u64) -> (u64, u64) {
        let begin = self.invoked * 1000 + op;
        (begin, (self.invoked + self.takes + self.answers) * 1000 + 500 + op)
    }

    /// The last moment of its effect.
    fn until(&self, op: u64) -> u64 {
        if self.is_answered { self.span(op).1 } else { u64::MAX }
    }
}

impl Play {
    /// As it is where each takes effect in its moment.
    fn of(steps: Vec<Step>) -> Self {
        let mut effects: Vec<(u64, u64)> =
            (0..).zip(&steps).map(|(op, step)| (step.invoked + step.takes, op)).collect();
        effects.sort_unstable();
        let (mut seen, mut messages) = (vec![0; steps.len()], Vec::new());
        for (_, op) in effects {
            let at = usize::try_from(op).unwrap();
            if !steps[at].is_read {
                messages.push(op);
            }
            seen[at] = messages.len() as u64 + 1;
        }
        Self { steps, seen, messages }
    }

    fn finding(&self) -> Finding {
        let mut told = Told::new();
        for ((op, step), seen) in (0_u64..).zip(&self.steps).zip(&self.seen) {
            let (begin, end) = step.span(op);
            let operation = if step.is_read { read() } else { write(op) };
            told = told.invoked(begin, op, "o", operation);
            if step.is_read {
                told = told.at(end, saw(op, *seen));
            } else if step.is_answered {
                told = told.ok(end, op);
            }
        }
        let told = told.ticket(10_000_000, "a", events(&self.messages));
        checked(Promise::OneHistory, &told.whole())
    }

    /// Whether any order of effects explains it: by giving each the earliest moment that is left to it, in the order
    /// of the messages and of how much was seen, and not by the rules of the check.
    fn is_explained(&self) -> bool {
        let steps: Vec<(u64, &Step)> = (0..).zip(&self.steps).collect();
        let is_there = |op: u64| self.messages.contains(&op);
        let mut once = self.messages.clone();
        once.sort_unstable();
        once.dedup();
        let lost =
            steps.iter().any(|(op, step)| !step.is_read && step.is_answered && !is_there(*op));
        if lost || once.len() < self.messages.len() {
            return false;
        }
        // How much is there with it, whether it reads, and when it began: in this order.
        let mut order: Vec<(u64, bool, u64, u64)> = Vec::new();
        for (length, op) in (2..).zip(&self.messages) {
            order.push((length, false, 0, *op));
        }
        for ((op, step), seen) in steps.iter().zip(&self.seen) {
            if step.is_read {
                order.push((*seen, true, step.span(*op).0, *op));
            }
        }
        order.sort_unstable();
        let mut moment = 0;
        order.iter().all(|(_, _, _, op)| {
            let step = &self.steps[usize::try_from(*op).unwrap()];
            moment = moment.max(step.span(*op).0);
            moment <= step.until(*op)
        })
    }
}

/// What somebody does to a play that was one history.
#[derive(Debug, Clone, Copy)]
enum Change {
    Loses,
    Doubles,
    Swaps,
    Reads(i64),
}

fn changes() -> impl Strategy<Value = Change> {
    let by = prop::sample::select(vec![-3_i64, -2, -1, 1, 2, 3]).prop_map(Change::Reads);
    prop_oneof![Just(Change::Loses), Just(Change::Doubles), Just(Change::Swaps), by]
}

impl Change {
    /// None where there is nothing of the kind, or nobody could have seen so much.
    fn of(self, mut play: Play, which: &prop::sample::Index) -> Option<Play> {
        let most = play.messages.len() as u64 + 1;
        match self {
            Self::Loses | Self::Doubles | Self::Swaps if play.messages.is_empty() => return None,
            Self::Loses => {
                play.messages.remove(which.index(play.messages.len()));
                // Nobody saw more than there is: that is told as another violation.
                play.seen.iter_mut().for_each(|seen| *seen = (*seen).min(most - 1));
            }
            Self::Doubles => {
                let message = play.messages[which.index(play.messages.len())];
                play.messages.push(message);
            }
            Self::Swaps => {
                let at = which.index(play.messages.len());
                let next = (at + 1) % play.messages.len();
                play.messages.swap(at, next);
            }
            Self::Reads(by) => {
                let steps = (0_usize..).zip(&play.steps);
                let reads: Vec<usize> =
                    steps.filter(|(_, step)| step.is_read).map(|(at, _)| at).collect();
                let at = *reads.get(which.index(reads.len().max(1)))?;
                let seen = play.seen[at].checked_add_signed(by)?;
                play.seen[at] = Some(seen).filter(|seen| (1..=most).contains(seen))?;
            }
        }
        Some(play)
    }
}

proptest! {
    #[test]
    fn what_happened_one_after_the_other_is_one_history(play in plays()) {
        prop_assert!(play.is_explained());
        let finding = play.finding();
        prop_assert_eq!(finding.broken, 0, "{:?}", finding.examples);
    }

    #[test]
    fn a_change_that_no_order_explains_is_found(
        play in plays(),
        change in changes(),
        which in any::<prop::sample::Index>(),
    ) {
        if let Some(changed) = change.of(play, &which) {
            let finding = changed.finding();
            let is_explained = changed.is_explained();
            prop_assert_eq!(finding.broken == 0, is_explained, "{:?}", finding.examples);
            // Of what was acknowledged nothing may be lost, and of anything nothing be there twice.
            prop_assert!(!matches!(change, Change::Doubles) || finding.broken > 0);
        }
    }
}
