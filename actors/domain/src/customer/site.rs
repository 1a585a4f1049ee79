//! Where a customer is, and which time its clocks show.
//!
//! The zone is what an operator said of the site; nothing is guessed from coordinates. It counts for requests that
//! are made from then on.
//!
//! **Invariant:** a zone that is kept was known to whoever decided, in the database's spelling. **Not here:** what
//! stands in for a zone that is not said or not known any more (whoever gathers facts).

use fieldmesh_calendar::zone::Zone;

use super::{Customer, Event, RECENT_MAX, WINDOWS_S};
use crate::{Rejection, RejectionCode, ticket, time::Millis};

impl Customer {
    pub(super) fn set_zone(&self, zone: Option<&Zone>, by: &str) -> Result<Vec<Event>, Rejection> {
        let zone = match zone.map(Zone::rules).transpose() {
            Ok(known) => known.map(|(zone, _)| zone),
            Err(error) => return Rejection::new(RejectionCode::Invalid, error.to_string()),
        };
        if self.zone == zone {
            return Ok(vec![]);
        }
        Ok(vec![Event::ZoneSet { zone, by: by.to_owned() }])
    }

    pub(super) fn asked_at(&mut self, at: Millis) {
        let recent = self.recent.get_or_insert_default();
        let old = recent.iter().take_while(|before| before.after_s(WINDOWS_S[3]) < at).count();
        let excess = (recent.len() + 1).saturating_sub(RECENT_MAX);
        recent.drain(..old.max(excess).min(recent.len()));
        recent.push(at);
    }

    /// What its ticket may tell rules of it; the state is that after the request.
    pub(super) fn background(&self, at: Millis) -> ticket::Background {
        let recent = self.recent.as_deref().unwrap_or_default();
        let before = &recent[..recent.len().saturating_sub(1)];
        let requests = WINDOWS_S.map(|window| {
            let within = before.iter().filter(|before| before.after_s(window) >= at);
            u32::try_from(within.count()).unwrap_or(u32::MAX)
        });
        let open_tickets = u32::try_from(self.open.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (site, zone) = (self.location, self.zone.clone());
        ticket::Background { open_tickets, requests, site, zone }
    }
}
