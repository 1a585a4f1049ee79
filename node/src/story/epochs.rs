//! Which offer what happened to a ticket is of.
//!
//! An acceptance does not say which offer it is of. It is of none that came later than the last one to whoever accepts: where
//! that is not the last one of the ticket, the acceptance is stale. **Invariant:** an epoch is told only where the history
//! has its offer. **Not here:** how far an offer came (`offers`).

use std::collections::BTreeMap;

use fieldmesh_domain::{EntityId, ticket::Event};

/// By technician: the epoch of the last offer to it.
#[derive(Debug, Default)]
pub(super) struct Epochs(BTreeMap<EntityId, u32>);

impl Epochs {
    /// Of an offer its own; of an acceptance that of the last offer to whoever accepts. The ticket's is as it is after the
    /// event.
    pub(super) fn of(&mut self, event: &Event, ticket_epoch: u32) -> Option<u32> {
        match event {
            Event::Offered { technician, epoch, .. }
            | Event::Assigned { technician, epoch, .. }
            | Event::Adopted { technician, epoch, .. } => {
                self.0.insert(*technician, *epoch);
                Some(*epoch)
            }
            Event::AlsoOffered { invited } => {
                self.0.extend(invited.iter().map(|one| (one.technician, ticket_epoch)));
                Some(ticket_epoch)
            }
            Event::Accepted { technician, .. } => self.0.get(technician).copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{EntityKind, selection::Choice, ticket::Invited, time::Millis};

    use super::*;

    fn technician(number: u8) -> EntityId {
        EntityId::new(EntityKind::Technician, "eu1".parse().unwrap(), [number; 10])
    }

    fn offered(number: u8, epoch: u32) -> Event {
        let (technician, choice) = (technician(number), Choice::default());
        Event::Offered { technician, epoch, due: Millis(1), choice }
    }

    fn accepted(number: u8) -> Event {
        let (technician, name) = (technician(number), String::new());
        Event::Accepted { technician, name, eta_min: 1, due: Millis(1) }
    }

    #[test]
    fn an_acceptance_has_the_epoch_of_the_last_offer_to_whoever_accepts() {
        let mut epochs = Epochs::default();
        let also = Event::AlsoOffered {
            invited: vec![Invited { technician: technician(2), seq: 1, distance_m: 0 }],
        };
        let told = [
            (offered(1, 1), 1, Some(1)),
            (also, 1, Some(1)),
            (Event::OfferExpired, 1, None),
            (offered(3, 2), 2, Some(2)),
            // Whoever was asked before is late; nobody asked the last one.
            (accepted(1), 2, Some(1)),
            (accepted(2), 2, Some(1)),
            (accepted(3), 2, Some(2)),
            (accepted(4), 2, None),
            (Event::Adopted { technician: technician(4), epoch: 9, seq: None }, 9, Some(9)),
            (accepted(4), 9, Some(9)),
            (offered(1, 10), 10, Some(10)),
            (accepted(1), 10, Some(10)),
        ];
        for (event, ticket_epoch, epoch) in told {
            assert_eq!(epochs.of(&event, ticket_epoch), epoch, "{event:?}");
        }
    }
}
