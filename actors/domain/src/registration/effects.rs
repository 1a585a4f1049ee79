//! What follows from the events of a registration: rows for lists and look-ups, word to the device's
//! owner, to the placement and to the ledger, and the deadline of a request.

use super::{Event, Issued, Profile, Proof, Registration};
use crate::{
    Command as AnyCommand, Effect, EntityId, EntityKind, IndexRow, TimerName,
    authority::{self, Note},
    customer, placement, technician,
};

impl Registration {
    /// What follows from an event; `self` is the state after it.
    pub(super) fn effects(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        let mut effects = vec![self.row(id)];
        match event {
            Event::Requested { lapses, .. } => effects.push(Effect::SetTimer {
                name: TimerName::Deadline,
                generation: self.requests,
                due: *lapses,
            }),
            Event::Enrolled { issued, .. } => {
                effects.push(Self::certificate_row(id, issued));
                effects.extend(self.tell_owner());
                let (key, registration) = (issued.public_key_hash, id);
                effects.push(Effect::Index(IndexRow::BoundKey { key, registration }));
                if matches!(issued.proof, Proof::Token(_)) && self.request.is_none() {
                    effects.push(Effect::CancelTimer { name: TimerName::Deadline });
                }
            }
            Event::Revoked { serials, .. } => {
                effects.extend(serials.iter().flat_map(|serial| self.withdrawn(id, serial)));
                effects.extend(self.tell_owner().filter(|_| self.newest().is_none()));
            }
            Event::Registered { .. }
            | Event::Invited(_)
            | Event::Approved { .. }
            | Event::Denied { .. }
            | Event::Lapsed
            | Event::Banned { .. }
            | Event::Readmitted { .. } => {}
        }
        effects.extend(Note::of(event, id, self).into_iter().map(|said| note(id, said)));
        effects
    }

    /// What is told of a certificate to lists and responders.
    fn certificate_row(id: EntityId, issued: &Issued) -> Effect {
        Effect::Index(IndexRow::Certificate {
            issuer: issued.issuer,
            serial: issued.serial,
            registration: id,
            not_after: issued.not_after,
            revoked: issued.revoked,
        })
    }

    fn row(&self, id: EntityId) -> Effect {
        Effect::Index(IndexRow::Registration {
            id,
            state: self.standing(),
            profile: self.profile.unwrap_or(Profile::Customer),
            device: self.device,
            not_after: self.newest().map(|issued| issued.not_after),
            asked_at: self.request.as_ref().map(|request| request.asked_at),
        })
    }

    /// A certificate that the world must no longer believe.
    fn withdrawn(&self, id: EntityId, serial: &[u8; 16]) -> Vec<Effect> {
        let Some(issued) = self.by_serial(serial) else { return vec![] };
        let Some(revocation) = issued.revoked else { return vec![] };
        let command = placement::Command::Revoke {
            issuer: issued.issuer,
            serial: issued.serial,
            not_after: issued.not_after,
            revocation,
        };
        let (to, command) = (EntityId::placement(), AnyCommand::Placement(command));
        vec![Self::certificate_row(id, issued), Effect::Tell { to, command }]
    }

    /// What the owner of the device is told: that it has a certificate, or none any more.
    fn tell_owner(&self) -> Option<Effect> {
        let to = self.device?;
        let has_one = self.newest().is_some();
        let command = match (to.kind(), has_one) {
            (EntityKind::Customer, true) => AnyCommand::Customer(customer::Command::FindDevice),
            (EntityKind::Customer, false) => AnyCommand::Customer(customer::Command::LoseDevice),
            (EntityKind::Technician, true) => {
                AnyCommand::Technician(technician::Command::FindDevice)
            }
            (EntityKind::Technician, false) => {
                AnyCommand::Technician(technician::Command::LoseDevice)
            }
            _ => return None,
        };
        Some(Effect::Tell { to, command })
    }
}

fn note(id: EntityId, note: Note) -> Effect {
    let command = AnyCommand::Authority(authority::Command::Note(note));
    Effect::Tell { to: EntityId::authority(id.region()), command }
}
