//! The tickets that nobody fitted: they wait in an order, and are matched as soon as somebody has room for them.
//!
//! Whoever is answered that nobody fits stays on the board behind that answer. Where a technician may have got room (a
//! ticket is done, given back or taken back; it comes on shift, is heard again, can do or hold more) and fits one of
//! them, the batch closes at once, with all of them that somebody fits by then. Who comes first is served first: by
//! priority, of equals by when the ticket was opened. The ticket asks again by itself all the same, which it must where
//! it is not here: then it finds whoever refused it before, too.
//!
//! An earlier release takes such a ticket for one that waits for others, and answers it once more, which the ticket
//! does not hear: it has that answer.
//!
//! **Invariants:** whoever is in the queue fits nobody with room, or the batch closes at once; what ends otherwise, as
//! that somebody had its offers of a minute, is looked at each minute. The queue is bounded: whoever comes last leaves it.
//! **Not here:** who of those that are matched together gets whom (`matching`, `batch`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Board, Desk, Event, Known, WINDOW_MS, Waiting};
use crate::{
    EntityId,
    selection::{self, Choice, Need},
    time::Millis,
};

/// Tickets of the queue: each is looked at whenever a batch closes, in some milliseconds for all of them. In a
/// larger shortage the rest asks by itself, and comes in as others are served.
pub const QUEUE_MAX: usize = 512;
/// What ends by time, or by where somebody goes next, is looked at so often: in a minute offers are counted.
pub const REVIEW_S: u64 = 60;

/// Pairs of a ticket and a technician that are looked at for the queue when a batch closes, in the order of the queue:
/// some milliseconds of the desk's time, however many are free of whom nobody can do what the queue is for. Whoever is
/// behind that asks by itself within a minute.
const SCANNED_MAX: usize = 131_072;

/// Who comes before whom: priority, since when it is open, and the identifier.
pub(super) type Rank = (u8, Millis, EntityId);

impl Waiting {
    /// It was answered that nobody fits.
    pub fn is_queued(&self) -> bool {
        self.is_unfilled == Some(true)
    }

    /// Its ticket asks the same again although that was answered: it has not heard.
    pub(super) fn is_unheard(&self, question: u32, now: Millis) -> bool {
        let is_old = self.since.0.saturating_add(WINDOW_MS) <= now.0;
        self.is_queued() && self.question == question && is_old
    }

    pub(super) fn rank(&self, ticket: EntityId) -> Rank {
        rank(ticket, &self.need, self.since)
    }
}

pub(super) fn rank(ticket: EntityId, need: &Need, since: Millis) -> Rank {
    (need.priority, need.opened_at.unwrap_or(since), ticket)
}

/// The queue as a step leaves it.
pub(super) struct Queue {
    ranks: BTreeSet<Rank>,
    /// When the batch closes next.
    due: Millis,
}

impl Queue {
    pub(super) fn new(board: &Board, due: Millis) -> Self {
        let queued = board.waiting.iter().filter(|(_, one)| one.is_queued());
        Self { ranks: queued.map(|(ticket, one)| one.rank(*ticket)).collect(), due }
    }

    pub(super) fn leaves(&mut self, ticket: EntityId) {
        self.ranks.retain(|(_, _, known)| *known != ticket);
    }

    /// Nobody fits a ticket: it hears so, and is in the queue, unless that is full of those that come before it.
    pub(super) fn nobody_fits(
        &mut self,
        (ticket, need, question): (EntityId, &Need, u32),
        choice: Choice,
        (now, pace): (Millis, Option<u16>),
    ) -> Vec<Event> {
        let answer = Event::NobodyFits { ticket, choice, question };
        let own = rank(ticket, need, now);
        self.leaves(ticket);
        self.ranks.insert(own);
        let is_full = self.ranks.len() > QUEUE_MAX;
        let last = if is_full { self.ranks.pop_last() } else { None };
        if last == Some(own) {
            return vec![answer];
        }
        let leaves = last.map(|(_, _, ticket)| Event::TakenBack { ticket });
        let (need, due, is_unfilled) = (need.clone(), self.due, Some(true));
        let waits = Event::Waits { ticket, need, question, at: now, due, pace, is_unfilled };
        [answer].into_iter().chain(leaves).chain([waits]).collect()
    }
}

impl Desk {
    /// When the batch closes with one more in the queue.
    pub(super) fn review(board: &Board, now: Millis) -> Millis {
        let review = now.after_s(REVIEW_S);
        let is_due = !board.waiting.is_empty();
        if is_due { review.min(board.due).max(now) } else { review }
    }

    /// Those that wait for others, and those of the queue that somebody fits by now.
    pub(super) fn matchable<'a>(
        &'a self,
        board: &'a Board,
        now: Millis,
    ) -> Vec<(&'a EntityId, &'a Waiting)> {
        let mut free: BTreeMap<u16, Vec<(EntityId, &Known)>> = BTreeMap::new();
        let is_queue_empty = !board.waiting.values().any(Waiting::is_queued);
        for (id, known) in self.technicians.iter().filter(|_| !is_queue_empty) {
            if known.summary.on_shift && known.load < known.summary.capacity {
                for skill in &known.summary.skills {
                    free.entry(skill.category).or_default().push((*id, known));
                }
            }
        }
        let mut left = SCANNED_MAX;
        let mut fits_one = |one: &Waiting| {
            let able = free.get(&one.need.category).into_iter().flatten();
            let mut able = able.take(left).inspect(|_| left -= 1);
            able.any(|(id, known)| is_fit(*id, known, one, now))
        };
        let (mut queued, mut matchable): (Vec<_>, Vec<_>) =
            board.waiting.iter().partition(|(_, one)| one.is_queued());
        queued.sort_by_key(|(ticket, one)| one.rank(**ticket));
        matchable.extend(queued.into_iter().filter(|(_, one)| fits_one(one)));
        matchable
    }

    /// Somebody as it will be is who one of the queue waits for, or one that an offer is asked back for.
    pub(super) fn is_awaited(&self, id: EntityId, known: &Known, now: Millis) -> bool {
        let waiting = self.board.iter().flat_map(|board| board.waiting.values());
        let mut waiting = waiting.filter(|one| one.is_queued() || one.displacing.is_some());
        waiting.any(|one| is_fit(id, known, one, now))
    }

    /// Whether another ticket waits, comes before one, and would do with the same technician.
    pub(super) fn is_wanted_before(
        &self,
        board: &Board,
        id: EntityId,
        own: Rank,
        now: Millis,
    ) -> bool {
        let Some(known) = self.technicians.get(&id) else { return false };
        let is_own = self.given.get(&own.2) == Some(&id);
        let known = if is_own { &known.without(own.2) } else { known };
        let others = board.waiting.iter().filter(|(ticket, _)| **ticket != own.2);
        let mut before = others.filter(|(ticket, one)| one.rank(**ticket) < own);
        before.any(|(_, one)| is_fit(id, known, one, now))
    }

    /// Whether others wait for whom a ticket gives up.
    pub(super) fn makes_room(&self, ticket: EntityId, now: Millis) -> bool {
        let given = self.given.get(&ticket);
        let known = given.and_then(|id| Some((*id, self.technicians.get(id)?)));
        known.is_some_and(|(id, known)| self.is_awaited(id, &known.without(ticket), now))
    }
}

fn is_fit(id: EntityId, known: &Known, waiting: &Waiting, now: Millis) -> bool {
    let fit = known.fit(id, waiting.pace, now);
    selection::exclusion(&waiting.need, &fit, now).is_none()
}
