//! What waits at a desk, and what it offered: the state that matching together needs.
//!
//! What waits is there for some moments, to be matched with others, or in the queue (`queue`), behind the answer that
//! nobody fits.
//!
//! **Invariants:** a ticket that waits is with nobody; only what this desk chose is known as an offer, and
//! only as long as an offer lives; each change of the time at which the batch closes has a number of its
//! own. **Not here:** who gets whom (`matching`, `batch`).

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{
    Effect, EntityId, TimerName, message::Location, selection::Need, time::Millis, triage,
};

/// The longest that a ticket waits for others.
pub const WINDOW_MS: u64 = 2_000;
/// A batch closes when nothing came for so long: tickets of one cause come within some tens of
/// milliseconds, and one that is alone need not wait longer.
pub const QUIET_MS: u64 = 100;
/// Tickets that wait: a moment of what a region can be asked, and the queue. Beyond, each is answered by itself.
pub const WAITING_MAX: usize = 4_096;

/// A question that waits for others.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Waiting {
    #[n(0)]
    pub need: Need,
    #[n(1)]
    pub question: u32,
    #[n(2)]
    pub since: Millis,
    /// What it waits for besides others: an offer is to be taken back for it.
    #[n(3)]
    pub displacing: Option<Displaced>,
    /// Offers that a technician may have in a minute, where that is bounded.
    #[n(4)]
    pub pace: Option<u16>,
    /// It was answered that nobody fits, and waits until somebody does.
    #[n(5)]
    pub is_unfilled: Option<bool>,
}

/// An offer that was asked back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Displaced {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub technician: EntityId,
    /// Until then it must have come, or it was accepted meanwhile.
    #[n(2)]
    pub until: Millis,
}

/// What is known of a ticket that was given to a technician.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Offer {
    #[n(0)]
    pub category: u16,
    #[n(1)]
    pub priority: u8,
    #[n(2)]
    pub at: Millis,
    /// Seconds that it waits for an answer, where its ticket's policy says so.
    #[n(3)]
    pub life_s: Option<u32>,
    /// Where its ticket is; none from an earlier release.
    #[n(4)]
    pub place: Option<Location>,
}

impl Offer {
    /// When it has expired or was accepted: the desk is not told which.
    pub(super) fn ends(&self) -> Millis {
        self.at.after_s(self.life_s.map_or_else(|| triage::offer_life_s(self.priority), u64::from))
    }
}

/// What waits, and what was offered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Board {
    #[n(0)]
    pub waiting: BTreeMap<EntityId, Waiting>,
    /// Offers that may be asked back, once.
    #[n(1)]
    pub offers: BTreeMap<EntityId, Offer>,
    /// Counts the times at which the batch was to close.
    #[n(2)]
    pub generation: u32,
    #[n(3)]
    pub due: Millis,
    /// When the moment began in which `lately` counts.
    #[n(4)]
    pub moment: Millis,
    /// Tickets that were given, by category: as many more may come in the next moment.
    #[n(5)]
    pub lately: BTreeMap<u16, u32>,
}

impl Board {
    /// Tickets by category that want somebody, but for one: those that wait for others, and as many as came lately.
    /// The queue is none of them: what fits it is gone through before, and whoever comes before one is seen to.
    pub(super) fn wanted(&self, but_for: Option<EntityId>, now: Millis) -> BTreeMap<u16, u32> {
        let mut wanted = if self.is_in_moment(now) { self.lately.clone() } else { BTreeMap::new() };
        let others = self.waiting.iter().filter(|(ticket, _)| Some(**ticket) != but_for);
        for (_, waiting) in others.filter(|(_, one)| !one.is_queued()) {
            let count = wanted.entry(waiting.need.category).or_default();
            *count = count.saturating_add(1);
        }
        wanted
    }

    fn is_in_moment(&self, now: Millis) -> bool {
        now.0 < self.moment.0.saturating_add(WINDOW_MS)
    }

    /// Those that wait for others, and not in the queue.
    pub(super) fn gathered(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values().filter(|one| !one.is_queued())
    }

    /// Those that a ticket's offer to a technician was asked back for last.
    pub(super) fn asking_back(
        &self,
        ticket: EntityId,
        technician: EntityId,
    ) -> impl Iterator<Item = (&EntityId, &Waiting)> {
        let is_asked =
            move |asked: Displaced| (asked.ticket, asked.technician) == (ticket, technician);
        self.waiting.iter().filter(move |(_, one)| one.displacing.is_some_and(is_asked))
    }

    /// The batch is to close now, for one of the queue: that is not put off.
    pub(super) fn is_closing(&self, now: Millis) -> bool {
        self.due <= now && self.waiting.values().any(Waiting::is_queued)
    }

    pub(super) fn waits(&mut self, ticket: EntityId, waiting: Waiting, due: Millis) {
        self.waiting.insert(ticket, waiting);
        self.closes(due);
    }

    pub(super) fn closes(&mut self, due: Millis) {
        self.due = due;
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn offered(&mut self, ticket: EntityId, offer: Offer) {
        self.waiting.remove(&ticket);
        if !self.is_in_moment(offer.at) {
            self.moment = offer.at;
            self.lately.clear();
        }
        let lately = self.lately.entry(offer.category).or_default();
        *lately = lately.saturating_add(1);
        if offer.priority > super::MOST_URGENT {
            self.offers.insert(ticket, offer);
        }
    }

    pub(super) fn displacing(&mut self, by: EntityId, displaced: Displaced) {
        self.offers.remove(&displaced.ticket);
        if let Some(waiting) = self.waiting.get_mut(&by) {
            waiting.displacing = Some(displaced);
        }
    }

    pub(super) fn forget(&mut self, ticket: EntityId) {
        self.waiting.remove(&ticket);
        self.offers.remove(&ticket);
    }

    pub(super) fn timer(&self) -> Effect {
        let (generation, due) = (self.generation, self.due);
        Effect::SetTimer { name: TimerName::Batch, generation, due }
    }
}
