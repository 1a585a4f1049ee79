//! A technician who accepted comes at another time than it said: it says so itself, or a dispatcher does.
//!
//! **Invariants:** only who has not arrived can be late; the deadline of the work follows what was said last, but
//! for the near one until a technician has said that it knows of the ticket (`reconcile`); each word that counts is
//! one message to the customer (R3). **Not here:** the first promise (`ticket`), which words are
//! nonsense (`message`).

use super::{Event, Stage, Ticket, orders::not_now, promised};
use crate::{EntityId, Rejection, message::OfferId, time::Millis};

impl Ticket {
    fn is_expected(&self) -> bool {
        matches!(self.stage, Stage::Accepted | Stage::EnRoute)
    }

    /// The same message twice is known by the technician.
    pub(super) fn eta_told(
        &self,
        technician: EntityId,
        offer: OfferId,
        eta_min: u16,
        now: Millis,
    ) -> Vec<Event> {
        let counts = self.is_expected() && self.is_current(technician, offer);
        let changed = Event::EtaChanged { eta_min, due: promised(eta_min, now) };
        counts.then_some(changed).into_iter().collect()
    }

    /// Where the ticket waits for its technician's word, the deadline of the work comes back with that.
    pub(super) fn expected_by(&mut self, due: Millis) {
        self.overdue_since = None;
        match self.promoted.as_mut().and_then(|promoted| promoted.awaited.as_mut()) {
            Some(awaited) => *awaited = due,
            None => self.set_due(due),
        }
    }

    pub(super) fn eta_ordered(
        &self,
        eta_min: u16,
        now: Millis,
    ) -> Result<Option<Vec<Event>>, Rejection> {
        match self.stage {
            // Another deadline would hide that the technician does not answer.
            _ if self.is_awaiting() => {
                not_now("its technician is being asked whether it still has it: wait a minute")
            }
            _ if self.is_expected() => {
                Ok(Some(vec![Event::EtaChanged { eta_min, due: promised(eta_min, now) }]))
            }
            Stage::OnSite | Stage::Paused => not_now("the technician is there already"),
            stage if stage.is_final() => not_now("the ticket has ended: reopen it first"),
            _ => not_now("no technician has accepted the ticket"),
        }
    }
}
