//! One target's queue: what is tried next, when, and what came of it. Without clock, chance and network.
//!
//! A notice is tried at once, and after each failure later than before, for about a day. A target that fails
//! again and again is left alone for a while as a whole, and then tried with one request; when that succeeds,
//! all that waited goes out. What is old by then goes as one digest: after an outage nobody wants a hundred
//! messages. Whoever is called to a ticket and is not needed any more by then is not called: what calls somebody,
//! and what calls that off, overtake each other in no case.
//!
//! **Invariants:** a notice is in at most one request at a time; a target has few requests under way; each
//! notice ends; what is over is not begun. **Not here:** requests (`client`), other targets (`worker`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    EntityId,
    notifier::{Notice, Outcome, SETTLED_MAX, Settled, What},
    time::Millis,
};

/// Requests to one target at a time: enough to hide the way there and back.
const REQUESTS_MAX: usize = 4;
/// Attempts of one notice: with the pauses between them about a day.
const ATTEMPTS_MAX: u8 = 11;
/// Pauses grow fourfold up to this.
const PAUSE_MAX_MS: u64 = 6 * HOUR_MS;
/// A notice that could not be told for so long is of no use.
const AGE_MAX_MS: u64 = 26 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;
/// Failures in a row after which a target is left alone, and for how long: doubled up to the second one.
const FAILURES_MAX: u32 = 3;
const REST_MIN_MS: u64 = 10_000;
const REST_MAX_MS: u64 = 900_000;
/// Notices of one digest.
const DIGEST_MAX: usize = SETTLED_MAX;
/// Why somebody is not called any more.
const OVER: &str = "over before it was taken: what was told later says otherwise";

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After the first failure.
    pub first_pause_ms: u64,
    /// Older notices to one target go together.
    pub digest_after_ms: u64,
}

/// What a notice says of whether somebody is needed for a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) ticket: EntityId,
    pub(super) is_needed: bool,
}

impl Call {
    /// None of one that calls nobody, and calls nothing off.
    pub(super) fn of(notice: &Notice) -> Option<Self> {
        let is_needed = match notice.what {
            What::Escalated => true,
            What::Accepted | What::Held | What::Grouped | What::Cancelled | What::Closed => false,
            _ => return None,
        };
        Some(Self { ticket: notice.ticket, is_needed })
    }
}

/// A notice that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) told_ms: u64,
    pub(super) next_ms: u64,
    /// Begun so far.
    pub(super) attempts: u8,
    pub(super) call: Option<Call>,
    /// It is not tried again.
    pub(super) is_over: bool,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Numbers of notices, each with the number of its attempt.
    pub(super) notices: Vec<(u64, u8)>,
    pub(super) is_digest: bool,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    Taken,
    Failed {
        reason: String,
        retry_after_s: Option<u64>,
    },
    /// The target wants nothing any more.
    Gone {
        reason: String,
    },
}

/// A target's queue.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: BTreeMap<u64, Waiting>,
    under_way: BTreeMap<u64, Waiting>,
    requests: usize,
    failures: u32,
    /// It is left alone until then.
    rests_until_ms: u64,
    pub(super) closed: Option<String>,
}

impl Lane {
    /// A notice waits from now on; one that is known stays as it is.
    pub(super) fn add(&mut self, number: u64, notice: Waiting) {
        if !self.under_way.contains_key(&number) {
            self.waiting.entry(number).or_insert(notice);
        }
    }

    /// Whether it can be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.requests == 0 && self.closed.is_none()
    }

    /// The target was written down anew: what failed may succeed now.
    pub(super) fn renew(&mut self, now_ms: u64) {
        self.failures = self.failures.max(1);
        self.recover(now_ms);
    }

    fn room(&self) -> bool {
        let most = if self.failures == 0 { REQUESTS_MAX } else { 1 };
        self.requests < most
    }

    /// What may begin: nothing overtakes what is under way of the same ticket.
    fn free(&self) -> impl Iterator<Item = (u64, &Waiting)> {
        let called = self.under_way.values().filter_map(|waiting| Some(waiting.call?.ticket));
        let called: BTreeSet<EntityId> = called.collect();
        let is_free =
            move |waiting: &Waiting| waiting.call.is_none_or(|call| !called.contains(&call.ticket));
        let waiting = self.waiting.iter().map(|(number, waiting)| (*number, waiting));
        waiting.filter(move |(_, waiting)| is_free(waiting))
    }

    /// When something is to begin next; none where nothing is before another request has ended.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let next = self.free().map(|(_, waiting)| waiting.next_ms).min()?;
        self.room().then(|| next.max(self.rests_until_ms))
    }

    /// Ends what is over, by its number and what it says.
    pub(super) fn call_off(&mut self, is_over: impl Fn(u64, Call) -> bool) -> Vec<Settled> {
        let is_off =
            |number: u64, waiting: &Waiting| waiting.call.is_some_and(|call| is_over(number, call));
        for (number, waiting) in &mut self.under_way {
            waiting.is_over |= is_off(*number, waiting);
        }
        let off = self.waiting.extract_if(.., |number, waiting| is_off(*number, waiting));
        let settled = |(number, waiting): (u64, Waiting)| {
            let outcome = Outcome::Dead { reason: OVER.into() };
            Settled { number, attempt: waiting.attempts, outcome }
        };
        off.map(settled).collect()
    }

    /// What ends without another attempt.
    pub(super) fn give_up(&mut self, now_ms: u64) -> Vec<Settled> {
        let (closed, rests) = (self.closed.clone(), self.rests_until_ms > now_ms);
        let over = |waiting: &Waiting| {
            let is_old = now_ms.saturating_sub(waiting.told_ms) > AGE_MAX_MS && rests;
            closed.clone().or_else(|| is_old.then(|| "not taken within a day".into()))
        };
        let found = self.waiting.iter().filter_map(|(number, waiting)| {
            let outcome = Outcome::Dead { reason: over(waiting)? };
            Some(Settled { number: *number, attempt: waiting.attempts, outcome })
        });
        let found: Vec<Settled> = found.take(SETTLED_MAX).collect();
        for settled in &found {
            self.waiting.remove(&settled.number);
        }
        found
    }

    /// The next request, if it is time for one.
    pub(super) fn begin(&mut self, now_ms: u64, pace: Pace) -> Option<Attempt> {
        if self.closed.is_some() || self.due_ms().is_none_or(|due| due > now_ms) {
            return None;
        }
        let is_due = |(_, waiting): &(u64, &Waiting)| waiting.next_ms <= now_ms;
        let is_old = |(_, waiting): &(u64, &Waiting)| {
            now_ms.saturating_sub(waiting.told_ms) > pace.digest_after_ms
        };
        let old = self.free().filter(is_due).filter(is_old);
        let mut numbers: Vec<u64> = old.map(|(number, _)| number).take(DIGEST_MAX).collect();
        let is_digest = numbers.len() > 1;
        if !is_digest {
            numbers = self.free().find(is_due).map(|(number, _)| number).into_iter().collect();
        }
        let mut notices = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(mut waiting) = self.waiting.remove(&number) {
                waiting.attempts = waiting.attempts.saturating_add(1);
                notices.push((number, waiting.attempts));
                self.under_way.insert(number, waiting);
            }
        }
        self.requests += 1;
        Some(Attempt { notices, is_digest })
    }

    /// A request ended; `chance` makes targets that failed together come back one by one.
    pub(super) fn end(
        &mut self,
        attempt: &Attempt,
        met: &Met,
        (now_ms, chance): (u64, u32),
        pace: Pace,
    ) -> Vec<Settled> {
        self.requests = self.requests.saturating_sub(1);
        match met {
            Met::Taken => self.recover(now_ms),
            Met::Failed { retry_after_s, .. } => self.rest(now_ms, *retry_after_s),
            Met::Gone { reason } => self.closed = Some(reason.clone()),
        }
        let mut settled = Vec::with_capacity(attempt.notices.len());
        for (number, attempt) in &attempt.notices {
            let Some(waiting) = self.under_way.remove(number) else { continue };
            let outcome = match met {
                Met::Taken => Outcome::Delivered,
                Met::Gone { reason } => Outcome::Dead { reason: reason.clone() },
                Met::Failed { reason, .. } if *attempt >= ATTEMPTS_MAX => {
                    Outcome::Dead { reason: format!("{attempt} attempts; the last: {reason}") }
                }
                Met::Failed { .. } if waiting.is_over => Outcome::Dead { reason: OVER.into() },
                Met::Failed { reason, .. } => {
                    let next_ms = now_ms + pause_ms(*attempt, chance, pace);
                    let next_ms = next_ms.max(self.rests_until_ms);
                    self.waiting.insert(*number, Waiting { next_ms, ..waiting });
                    Outcome::Failed { next: Millis(next_ms), reason: reason.clone() }
                }
            };
            settled.push(Settled { number: *number, attempt: *attempt, outcome });
        }
        settled
    }

    /// It answers: all that waited for it goes out.
    fn recover(&mut self, now_ms: u64) {
        if self.failures > 0 {
            for waiting in self.waiting.values_mut() {
                waiting.next_ms = waiting.next_ms.min(now_ms);
            }
        }
        (self.failures, self.rests_until_ms) = (0, 0);
    }

    fn rest(&mut self, now_ms: u64, wish_s: Option<u64>) {
        self.failures = self.failures.saturating_add(1);
        if let Some(over) = self.failures.checked_sub(FAILURES_MAX) {
            let rest = REST_MIN_MS.saturating_mul(1 << over.min(10)).min(REST_MAX_MS);
            self.rests_until_ms = now_ms + rest;
        }
        if let Some(wish_s) = wish_s {
            self.rests_until_ms = self.rests_until_ms.max(now_ms + wish_s * 1000);
        }
    }
}

/// The pause after an attempt: fourfold each time, between four and six fifths of that.
fn pause_ms(attempt: u8, chance: u32, pace: Pace) -> u64 {
    let doubled = 2 * u32::from(attempt.saturating_sub(1));
    let whole = pace.first_pause_ms.saturating_mul(1 << doubled.min(40)).min(PAUSE_MAX_MS);
    let spread = whole * 2 / 5;
    whole - spread / 2 + u64::from(chance) * spread / u64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
