//! How far the alert of an offer has come, for whoever waits for its answer.
//!
//! That an offer was made, answered or ended its other events say. **Invariants:** it only goes forward, and
//! only while the offer is open; each of them is written down once. **Not here:** handing alerts to devices
//! (`actors::mailroom`), what a device says of its person (`technician`).

use minicbor::{Decode, Encode};

use super::{Event, Stage, Ticket};
use crate::{ids::EntityId, message::OfferId};

/// How far an alert has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Reach {
    /// The technician's device has acknowledged it.
    #[n(0)]
    Delivered,
    /// The technician's device says, and has signed, that a person looked at it.
    #[n(1)]
    Seen,
}

impl Reach {
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Seen => "seen",
        }
    }
}

impl Ticket {
    pub(super) fn alert_reached(
        &self,
        technician: EntityId,
        offer: OfferId,
        reach: Reach,
    ) -> Vec<Event> {
        let is_asked =
            self.is_current(technician, offer) || self.invited(technician, offer).is_some();
        let known = self.reached.as_ref().and_then(|reached| reached.get(&technician).copied());
        let is_news = self.stage == Stage::Offered && is_asked && known < Some(reach);
        is_news.then_some(Event::AlertReached { technician, offer, reach }).into_iter().collect()
    }

    pub(super) fn reached(&mut self, technician: EntityId, reach: Reach) {
        self.reached.get_or_insert_default().insert(technician, reach);
    }
}
