//! The notifier of a region: what is to leave the system besides messages for devices, and how far it came.
//!
//! Whoever has something to tell outside tells it here, once; a notice for subscribers becomes one delivery
//! for each of them. The node that leads the notifier's shard delivers what is pending and says here what came
//! of each attempt, before it begins and when it ended. What is delivered or dead is kept for a while for
//! people to look at; a dead one can be tried again.
//!
//! The deliveries themselves are rows. The state has numbers and names only, as far as bounds need them.
//!
//! **Invariants:** what was told is pending, delivered or dead, and one of them; the same notice for the same
//! recipient is one; one recipient's backlog never takes the place of another's. **Not here:** addresses,
//! secrets, retries and time (`node`).

mod types;

pub use types::{
    Command, DETAIL_BYTES_MAX, Delivery, Event, NAME_BYTES_MAX, Notice, Outcome, REASON_BYTES_MAX,
    Recipient, Settled, Subscription, What,
};

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode, bytes::ByteArray};

use self::types::clipped;
use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, IndexRow, Rejection, RejectionCode,
    effect::RowKey, time::Millis,
};

/// Deliveries that may be pending for one recipient: what a target that does not answer misses in a day is
/// seldom more. What comes on top is dead at once, and can be replayed.
pub const PENDING_EACH_MAX: u32 = 1024;
/// Targets of a region.
pub const TARGETS_MAX: usize = 64;
/// Deliveries kept for people to look at, of those delivered and of those dead.
pub const KEPT_MAX: usize = 1024;
/// Attempts that are settled together: their rows are far below what a log entry may hold.
pub const SETTLED_MAX: usize = 128;
/// Notices that are known when they are told again: at least so many, at most twice as many.
const SEEN_MAX: usize = 2048;

/// A delivery under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Pending {
    #[n(0)]
    pub to: Recipient,
    /// Attempts that were begun.
    #[n(1)]
    pub attempts: u8,
    /// What came of the last one is not known.
    #[n(2)]
    pub is_open: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Notifier {
    /// The number of the last delivery.
    #[n(0)]
    pub last: u64,
    #[n(1)]
    pub pending: BTreeMap<u64, Pending>,
    /// How many are pending for each recipient.
    #[n(2)]
    pub waiting: BTreeMap<Recipient, u32>,
    #[n(3)]
    pub delivered: BTreeSet<u64>,
    #[n(4)]
    pub dead: BTreeMap<u64, Recipient>,
    /// What was told lately, and before that.
    #[n(5)]
    pub seen: BTreeSet<ByteArray<16>>,
    #[n(6)]
    pub seen_before: BTreeSet<ByteArray<16>>,
    /// Of the document that the targets are from.
    #[n(7)]
    pub version: u64,
    #[n(8)]
    pub targets: Vec<Subscription>,
    /// Those that want nothing any more, and why.
    #[n(9)]
    pub closed: BTreeMap<Recipient, String>,
}

impl Notifier {
    fn is_seen(&self, key: &ByteArray<16>) -> bool {
        self.seen.contains(key) || self.seen_before.contains(key)
    }

    /// Whom a notice goes to, each once.
    fn recipients(&self, notice: &Notice) -> BTreeSet<Recipient> {
        match &notice.to {
            Recipient::Subscribers => {
                let wants = |target: &&Subscription| target.kinds & notice.what.bit() != 0;
                self.targets.iter().filter(wants).map(|target| target.to.clone()).collect()
            }
            one => [one.clone()].into(),
        }
    }

    fn tell(&self, notice: &Notice, now: Millis) -> Result<Vec<Event>, Rejection> {
        if !notice.to.is_named() {
            return Rejection::new(RejectionCode::Invalid, "a target's name has 1 to 64 bytes");
        }
        let at = if notice.at == Millis(0) { now } else { notice.at };
        let detail = clipped(&notice.detail, DETAIL_BYTES_MAX);
        let notice = Notice { at, detail, ..notice.clone() };
        let (mut told, mut dead) = (Vec::new(), 0);
        let mut number = self.last;
        for to in self.recipients(&notice) {
            if self.is_seen(&to.key(notice.id)) {
                continue;
            }
            number = number.saturating_add(1);
            let why = self.refuses(&to);
            let notice = notice.clone();
            told.push(Event::Told { number, to, notice, at: now });
            if let Some(reason) = why {
                let outcome = Outcome::Dead { reason };
                let settled = Settled { number, attempt: 0, outcome };
                told.push(Event::Settled { settled, at: now });
                dead += 1;
            }
        }
        told.extend(forgotten(self.dead.keys(), dead));
        Ok(told)
    }

    /// Why nothing more is tried for a recipient.
    fn refuses(&self, to: &Recipient) -> Option<String> {
        if let Some(why) = self.closed.get(to) {
            return Some(why.clone());
        }
        let waiting = self.waiting.get(to).copied().unwrap_or(0);
        (waiting >= PENDING_EACH_MAX)
            .then(|| format!("{PENDING_EACH_MAX} notices wait for this target already"))
    }

    fn settle(&self, all: &[Settled], now: Millis) -> Result<Vec<Event>, Rejection> {
        if all.len() > SETTLED_MAX {
            return Rejection::new(RejectionCode::Limit, "at most 128 attempts at a time");
        }
        let (mut events, mut delivered, mut dead) = (Vec::new(), 0, 0);
        let mut looked_at = BTreeSet::new();
        for Settled { number, attempt, outcome } in all {
            // One outcome of each: a second one would depend on the order in which they are told.
            let pending = self.pending.get(number).filter(|_| looked_at.insert(*number));
            let Some(pending) = pending else { continue };
            let is_news = match outcome {
                Outcome::Sent => *attempt == pending.attempts.saturating_add(1),
                Outcome::Delivered | Outcome::Failed { .. } => {
                    pending.is_open && *attempt == pending.attempts
                }
                Outcome::Dead { .. } => *attempt == pending.attempts,
            };
            if !is_news {
                continue;
            }
            let outcome = match outcome {
                Outcome::Sent => Outcome::Sent,
                Outcome::Delivered => Outcome::Delivered,
                Outcome::Failed { next, reason } => {
                    Outcome::Failed { next: *next, reason: clipped(reason, REASON_BYTES_MAX) }
                }
                Outcome::Dead { reason } => {
                    Outcome::Dead { reason: clipped(reason, REASON_BYTES_MAX) }
                }
            };
            match outcome {
                Outcome::Delivered => delivered += 1,
                Outcome::Dead { .. } => dead += 1,
                Outcome::Sent | Outcome::Failed { .. } => {}
            }
            let settled = Settled { number: *number, attempt: *attempt, outcome };
            events.push(Event::Settled { settled, at: now });
        }
        events.extend(forgotten(self.delivered.iter(), delivered));
        events.extend(forgotten(self.dead.keys(), dead));
        Ok(events)
    }

    fn replay(&self, number: u64, now: Millis) -> Result<Vec<Event>, Rejection> {
        let Some(to) = self.dead.get(&number) else {
            if self.pending.contains_key(&number) {
                return Ok(vec![]);
            }
            return Rejection::new(RejectionCode::Unknown, "no dead notice has this number");
        };
        match self.refuses(to) {
            Some(why) => Rejection::new(RejectionCode::NotNow, why),
            None => Ok(vec![Event::Replayed { number, at: now }]),
        }
    }

    fn change_targets(
        &self,
        version: u64,
        targets: &[Subscription],
    ) -> Result<Vec<Event>, Rejection> {
        if targets.len() > TARGETS_MAX {
            return Rejection::new(RejectionCode::Limit, "a region has at most 64 targets");
        }
        let is_addressable =
            |target: &Subscription| target.to.is_named() && target.to != Recipient::Subscribers;
        if !targets.iter().all(is_addressable) {
            return Rejection::new(RejectionCode::Invalid, "a target's name has 1 to 64 bytes");
        }
        let is_new = version > self.version;
        let targets = targets.to_vec();
        Ok(is_new.then_some(Event::TargetsChanged { version, targets }).into_iter().collect())
    }

    fn close(&self, to: &Recipient, reason: &str, now: Millis) -> Vec<Event> {
        let is_target = self.targets.iter().any(|target| target.to == *to);
        if !is_target || self.closed.contains_key(to) {
            return vec![];
        }
        let reason = clipped(reason, REASON_BYTES_MAX);
        vec![Event::Closed { to: to.clone(), reason, at: now }]
    }

    fn add(&mut self, number: u64, to: &Recipient) {
        let pending = Pending { to: to.clone(), attempts: 0, is_open: false };
        if self.pending.insert(number, pending).is_none() {
            let waiting = self.waiting.entry(to.clone()).or_default();
            *waiting = waiting.saturating_add(1);
        }
    }

    fn take(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        if let Some(waiting) = self.waiting.get_mut(&pending.to) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.waiting.remove(&pending.to);
            }
        }
        Some(pending)
    }

    fn remember(&mut self, key: ByteArray<16>) {
        if self.seen.len() >= SEEN_MAX {
            self.seen_before = core::mem::take(&mut self.seen);
        }
        self.seen.insert(key);
    }

    fn settled(&mut self, settled: &Settled) {
        let Settled { number, attempt, outcome } = settled;
        match outcome {
            Outcome::Sent | Outcome::Failed { .. } => {
                if let Some(pending) = self.pending.get_mut(number) {
                    pending.attempts = *attempt;
                    pending.is_open = matches!(outcome, Outcome::Sent);
                }
            }
            Outcome::Delivered => {
                if self.take(*number).is_some() {
                    self.delivered.insert(*number);
                }
            }
            Outcome::Dead { .. } => {
                if let Some(pending) = self.take(*number) {
                    self.dead.insert(*number, pending.to);
                }
            }
        }
    }
}

/// The oldest ones, where more are kept with the new ones than may.
fn forgotten<'a>(
    kept: impl ExactSizeIterator<Item = &'a u64>,
    new: usize,
) -> impl Iterator<Item = Event> {
    let surplus = (kept.len() + new).saturating_sub(KEPT_MAX);
    kept.take(surplus).map(|number| Event::Forgotten { number: *number })
}

impl Aggregate for Notifier {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Notifier;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Tell(notice) => self.tell(notice, ctx.now),
            Command::Settle(all) => self.settle(all, ctx.now),
            Command::Replay { number } => self.replay(*number, ctx.now),
            Command::Targets { version, targets } => self.change_targets(*version, targets),
            Command::Close { to, reason } => Ok(self.close(to, reason, ctx.now)),
            Command::Open { to } => Ok(if self.closed.contains_key(to) {
                vec![Event::Opened { to: to.clone() }]
            } else {
                vec![]
            }),
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Told { number, to, notice, .. } => {
                self.last = self.last.max(*number);
                self.remember(to.key(notice.id));
                self.add(*number, to);
            }
            Event::Settled { settled, .. } => self.settled(settled),
            Event::Replayed { number, .. } => {
                if let Some(to) = self.dead.remove(number) {
                    self.add(*number, &to);
                }
            }
            Event::Forgotten { number } => {
                self.delivered.remove(number);
                self.dead.remove(number);
            }
            Event::TargetsChanged { version, targets } => {
                self.version = *version;
                self.targets.clone_from(targets);
                self.closed.retain(|to, _| targets.iter().any(|target| target.to == *to));
            }
            Event::Closed { to, reason, .. } => {
                self.closed.insert(to.clone(), reason.clone());
            }
            Event::Opened { to } => {
                self.closed.remove(to);
            }
        }
    }

    fn react(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        let row = |number, state, attempts, at, next, reason: &str| {
            let reason = reason.to_owned();
            Effect::Index(IndexRow::Delivery { id, number, state, attempts, at, next, reason })
        };
        match event {
            Event::Told { number, to, notice, at } => {
                let (number, to, notice) = (*number, to.clone(), notice.clone());
                let told = Effect::Index(IndexRow::Notice { id, number, to, notice });
                vec![told, row(number, Delivery::Queued, 0, *at, *at, "")]
            }
            Event::Settled { settled: Settled { number, attempt, outcome }, at } => {
                let (state, next, reason) = match outcome {
                    Outcome::Sent => (Delivery::Sent, *at, ""),
                    Outcome::Delivered => (Delivery::Delivered, *at, ""),
                    Outcome::Failed { next, reason } => (Delivery::Failed, *next, reason.as_str()),
                    Outcome::Dead { reason } => (Delivery::Dead, *at, reason.as_str()),
                };
                vec![row(*number, state, *attempt, *at, next, reason)]
            }
            Event::Replayed { number, at } => {
                vec![row(*number, Delivery::Queued, 0, *at, *at, "")]
            }
            Event::Forgotten { number } => {
                let keys = [RowKey::notice(id, *number), RowKey::delivery(id, *number)];
                let gone = |RowKey { kind, name }| IndexRow::Gone { id, kind, name };
                keys.into_iter().map(gone).map(Effect::Index).collect()
            }
            Event::TargetsChanged { .. } | Event::Closed { .. } | Event::Opened { .. } => vec![],
        }
    }
}
