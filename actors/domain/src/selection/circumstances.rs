//! What keeps a technician from a ticket beside skills, load and distance: the end of its shift, a break, a
//! device that is not heard or may not be believed for long enough, the customer's wishes.
//!
//! **Invariants:** what is not known keeps nobody away, but a part that is required must be known to be there. A shift is long enough if what is left of it,
//! without the breaks in it, is as long as the way there and [`SERVICE_S`] of work. **Not here:** how it is
//! known (`technician`), what wishes a customer may have (`customer::wishes`).

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::Exclusion;
use crate::{EntityId, time::Millis};

/// Seconds of work that a shift must have left after the way there: half an hour, which most visits take.
pub const SERVICE_S: u32 = 1800;
/// Seconds that the customer's wish for a technician is worth: as many as two tickets in front of this one.
pub const PREFERRED_S: u32 = 3600;

/// A shift that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct ShiftTime {
    /// None is not for days.
    #[n(0)]
    pub ends: Option<Millis>,
    /// Its breaks from the last look on, in order: from, until before.
    #[n(1)]
    pub breaks: Vec<(Millis, Millis)>,
}

/// Why a technician is not there although it is its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Away {
    #[n(0)]
    Break,
    #[n(1)]
    Unreachable,
}

/// What the desk knows of a technician beside skills, home and capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Circumstances {
    /// None for one without a roster, or off shift by it.
    #[n(0)]
    pub shift: Option<ShiftTime>,
    #[n(1)]
    pub away: Option<Away>,
    /// Unix seconds.
    #[n(2)]
    pub certified_until: Option<u64>,
    /// Parts on its van by number, with how many.
    #[n(3)]
    pub stock: Option<BTreeMap<String, u16>>,
}

/// What a technician must have on its van.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    #[n(0)]
    pub number: String,
    #[n(1)]
    pub count: u16,
}

/// Whom a customer would like, and whom it does not want to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Wishes {
    #[n(0)]
    pub preferred: BTreeSet<EntityId>,
    #[n(1)]
    pub blocked: BTreeSet<EntityId>,
}

impl ShiftTime {
    /// Seconds of work that are left; none where no end is known.
    fn left_s(&self, now: Millis) -> Option<u64> {
        let span = |from: Millis, until: Millis| until.0.saturating_sub(from.0.max(now.0));
        let ends = self.ends?;
        let breaks = self.breaks.iter().map(|(from, until)| span(*from, (*until).min(ends)));
        Some(span(now, ends).saturating_sub(breaks.sum()) / 1000)
    }
}

impl Circumstances {
    /// What is in the way whatever the ticket.
    pub(super) fn absence(&self) -> Option<Exclusion> {
        self.away.map(|away| match away {
            Away::Break => Exclusion::OnBreak,
            Away::Unreachable => Exclusion::Unreachable,
        })
    }

    /// Whether all of that is on its van.
    pub(super) fn carries(&self, parts: &[Part]) -> bool {
        let has = |number| self.stock.as_ref().and_then(|stock| stock.get(number));
        parts.iter().all(|part| has(&part.number).is_some_and(|count| *count >= part.count))
    }

    /// What is in the way of work that far away.
    pub(super) fn shortage(&self, travel_s: u32, now: Millis) -> Option<Exclusion> {
        let left_s = self.shift.as_ref().and_then(|shift| shift.left_s(now));
        let needed_s = u64::from(travel_s) + u64::from(SERVICE_S);
        if left_s.is_some_and(|left_s| left_s < needed_s) {
            return Some(Exclusion::ShiftEnds);
        }
        let arrives_s = now.after_s(u64::from(travel_s)).0 / 1000;
        let lapses = self.certified_until.is_some_and(|until| until <= arrives_s);
        lapses.then_some(Exclusion::CertificateEnds)
    }
}
