//! What the histories of tickets and technicians say, and may not say.
//!
//! **Laws:** no step of a history is missing, and time goes on in it. Epochs of a ticket's offers rise, so that each is
//! one technician's; whoever accepts it has an offer of it, and nobody else has it. A technician never holds more tickets
//! than it takes at a time. That each step names the one before is seen to while it is read. **Not here:** what devices
//! were told (`hands`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    Aggregate, EntityId, EntityKind,
    message::OfferId,
    technician::{self, Technician},
    ticket::{self, Progress},
};
use fieldmesh_node::journal::{HistoryEntry, ShardJournal};

use super::hands::Accept;

/// What tickets' histories say in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Histories {
    /// Who has each ticket that was read.
    has: BTreeMap<EntityId, Option<EntityId>>,
    /// Tickets with whoever came to have them.
    took: BTreeSet<(EntityId, EntityId)>,
    /// Tickets with those whose acceptance came too late, and their offers.
    late: BTreeSet<(EntityId, EntityId, OfferId)>,
}

impl Histories {
    /// Whether any was read: where a run ends before its time, none is.
    pub(super) fn is_read(&self) -> bool {
        !self.has.is_empty()
    }

    pub(super) fn has(&self, ticket: EntityId) -> Option<EntityId> {
        self.has.get(&ticket).copied().flatten()
    }

    pub(super) fn took(&self, ticket: EntityId, technician: EntityId) -> bool {
        self.took.contains(&(ticket, technician))
    }

    pub(super) fn came_late(&self, accept: &Accept) -> bool {
        self.late.contains(&(accept.ticket, accept.technician, accept.offer))
    }

    /// Reads an entity's history wherever one of the journals has it; what is wrong with it.
    pub(super) fn read(
        &mut self,
        of: &str,
        id: EntityId,
        journals: &[ShardJournal],
    ) -> Vec<String> {
        let mut broken = Vec::new();
        for journal in journals {
            let steps = match journal.history(id) {
                Ok(steps) if steps.is_empty() => continue,
                Ok(steps) => steps,
                Err(error) => {
                    broken.push(format!("{of}: {id} cannot be read: {error}"));
                    continue;
                }
            };
            let wrong = if id.kind() == EntityKind::Ticket {
                self.follow_ticket(id, &steps)
            } else {
                follow_technician(&steps)
            };
            let wrong = incomplete(&steps).into_iter().chain(wrong);
            broken.extend(wrong.map(|what| format!("{of}: {id} {what}")));
        }
        broken
    }

    fn follow_ticket(&mut self, id: EntityId, steps: &[HistoryEntry]) -> Vec<String> {
        let events: Vec<ticket::Event> = match events(steps) {
            Ok(events) => events,
            Err(error) => return vec![error],
        };
        let mut dispatch = Dispatch::default();
        let broken = events.iter().filter_map(|event| dispatch.follow(event)).collect();
        self.has.insert(id, dispatch.has);
        self.took.extend(dispatch.took.into_iter().map(|one| (id, one)));
        self.late.extend(dispatch.late.into_iter().map(|(one, offer)| (id, one, offer)));
        broken
    }
}

/// A ticket's dispatch, event by event.
#[derive(Debug, Default)]
struct Dispatch {
    epoch: Option<u32>,
    /// Who has an offer of it.
    offered: BTreeSet<EntityId>,
    has: Option<EntityId>,
    took: BTreeSet<EntityId>,
    late: BTreeSet<(EntityId, OfferId)>,
}

impl Dispatch {
    /// What may not follow on what was before, if that does.
    fn follow(&mut self, event: &ticket::Event) -> Option<String> {
        use ticket::Event;

        match event {
            Event::Offered { technician, epoch, .. }
            | Event::Assigned { technician, epoch, .. } => {
                (self.has, self.offered) = (None, BTreeSet::from([*technician]));
                let before = self.epoch.replace(*epoch).filter(|before| before >= epoch)?;
                return Some(format!("has epoch {epoch} after epoch {before}"));
            }
            Event::AlsoOffered { invited } => {
                self.offered.extend(invited.iter().map(|one| one.technician));
            }
            Event::OfferRefused { technician, .. } => {
                self.offered.remove(technician);
            }
            Event::OthersReleased { invited, .. } => {
                self.offered.retain(|one| !invited.iter().any(|other| other.technician == *one));
            }
            Event::Accepted { technician, .. } => {
                self.took.insert(*technician);
                let has = self.has.replace(*technician).filter(|has| has != technician);
                if let Some(has) = has {
                    return Some(format!("is accepted by {technician}, and {has} has it"));
                }
                if !self.offered.contains(technician) {
                    return Some(format!("is accepted by {technician}, who has no offer of it"));
                }
            }
            // By an offer of a history that is lost; or said once more of whoever has it.
            Event::Adopted { technician, epoch, .. } => {
                self.epoch = self.epoch.max(Some(*epoch));
                self.offered = BTreeSet::from([*technician]);
                let other = self.has.take_if(|has| has != technician)?;
                return Some(format!("is adopted by {technician}, and {other} has it"));
            }
            Event::LateAcceptRefused { technician, offer } => {
                self.late.insert((*technician, *offer));
            }
            Event::MatchAsked { .. }
            | Event::Unfilled { .. }
            | Event::OfferExpired
            | Event::TakenBack { .. }
            | Event::Held { .. }
            | Event::Grouped { .. }
            | Event::Reopened
            | Event::Cancelled
            | Event::Closed
            | Event::Progressed { progress: Progress::CannotComplete { .. }, .. } => {
                (self.has, self.offered) = (None, BTreeSet::new());
            }
            _ => {}
        }
        None
    }
}

fn follow_technician(steps: &[HistoryEntry]) -> Vec<String> {
    let events: Vec<technician::Event> = match events(steps) {
        Ok(events) => events,
        Err(error) => return vec![error],
    };
    let mut technician = Technician::default();
    let mut broken = Vec::new();
    for event in events {
        technician.evolve(&event);
        let (holds, takes) = (technician.holdings.len(), technician.capacity);
        if holds > usize::from(takes) {
            broken.push(format!("holds {holds} tickets and takes {takes}, by {event:?}"));
        }
    }
    broken
}

fn events<E: for<'b> minicbor::Decode<'b, ()>>(steps: &[HistoryEntry]) -> Result<Vec<E>, String> {
    let events = steps.iter().flat_map(|step| &step.record.events);
    let events = events.map(|bytes| minicbor::decode::<E>(bytes));
    events.collect::<Result<_, _>>().map_err(|error| format!("has an event that is none: {error}"))
}

/// Where time does not go on, or a version is missing.
fn incomplete(steps: &[HistoryEntry]) -> Vec<String> {
    let mut broken = Vec::new();
    let times: Vec<u64> = steps.iter().map(|step| step.record.at_ms).collect();
    if !times.is_sorted() {
        broken.push(format!("has steps at {times:?}"));
    }
    let mut next = 0;
    for step in steps {
        if step.version != next {
            broken.push(format!("has no version {next}"));
        }
        next = step.version + step.record.events.len() as u64;
    }
    broken
}

#[cfg(test)]
impl Histories {
    /// As if a ticket's history said who has it, and who came late.
    pub(super) fn say(
        &mut self,
        ticket: EntityId,
        has: Option<EntityId>,
        late: Option<(EntityId, OfferId)>,
    ) {
        self.has.insert(ticket, has);
        self.late.extend(late.map(|(technician, offer)| (ticket, technician, offer)));
    }
}

#[cfg(test)]
mod tests {
    use fieldmesh_domain::{selection::Choice, ticket::RefusalReason, time::Millis};

    use super::*;

    const DUE: Millis = Millis(0);

    fn technician(number: u8) -> EntityId {
        EntityId::new(EntityKind::Technician, "eu1".parse().unwrap(), [number; 10])
    }

    fn offered(number: u8, epoch: u32) -> ticket::Event {
        let (technician, choice) = (technician(number), Choice::default());
        ticket::Event::Offered { technician, epoch, due: DUE, choice }
    }

    fn accepted(number: u8) -> ticket::Event {
        let (technician, name) = (technician(number), String::new());
        ticket::Event::Accepted { technician, name, eta_min: 10, due: DUE }
    }

    fn wrong(events: &[ticket::Event]) -> usize {
        let mut dispatch = Dispatch::default();
        events.iter().filter_map(|event| dispatch.follow(event)).count()
    }

    #[test]
    fn whoever_accepts_has_an_offer_and_nobody_else_has_it() {
        let (matching, expired) =
            (ticket::Event::MatchAsked { due: DUE }, ticket::Event::OfferExpired);
        let reason = RefusalReason::Declined;
        let refused = ticket::Event::OfferRefused { technician: technician(1), reason };
        let usual = [matching.clone(), offered(1, 1), refused, matching.clone(), offered(2, 2)];
        assert_eq!(wrong(&[&usual[..], &[accepted(2)]].concat()), 0);
        assert_eq!(wrong(&[&usual[..], &[accepted(1)]].concat()), 1, "an earlier offer");
        assert_eq!(wrong(&[offered(1, 1), expired, matching, accepted(1)]), 1, "an expired offer");
        assert_eq!(wrong(&[offered(1, 1), accepted(1), accepted(2)]), 1, "another one has it");
        assert_eq!(wrong(&[offered(1, 2), offered(2, 2)]), 1, "an epoch of two");
    }
}
