//! What customers of a run are to be told yet: of each ticket who comes, and that the work is done, where a
//! technician's word of that was acknowledged. Until then a ticket's state may be the one before.
//!
//! **Invariant:** nothing that was heard is waited for, in whichever order it was heard; its tables have no more than the
//! tickets of a run. **Not here:** how long it is waited for (`run`), whether it was right (`fieldmesh_chaos`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fieldmesh_domain::EntityId;

/// Numbers of confirmations: somebody comes, and the work is done.
const DISPATCHED: u8 = 2;
const COMPLETED: u8 = 4;

/// Shared by the tasks of a load.
#[derive(Default)]
pub(super) struct Told(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Whose tickets they are.
    whose: BTreeMap<EntityId, EntityId>,
    /// Customers whose devices are not believed any more, for good.
    out: BTreeSet<EntityId>,
    dispatched: BTreeSet<EntityId>,
    completed: BTreeSet<EntityId>,
    /// Tickets with technicians whose word that the work is done was acknowledged.
    done: BTreeSet<(EntityId, EntityId)>,
    /// Tickets with technicians who were told that they have them no more: their word changes nothing.
    taken_back: BTreeSet<(EntityId, EntityId)>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn asked(&self, ticket: EntityId, customer: EntityId) {
        self.lock().whose.insert(ticket, customer);
    }

    /// A customer's device had the confirmation with this number.
    pub(super) fn heard(&self, ticket: EntityId, number: u8) {
        let mut inner = self.lock();
        match number {
            DISPATCHED => inner.dispatched.insert(ticket),
            COMPLETED => inner.completed.insert(ticket),
            _ => return,
        };
    }

    /// A technician's word that the work is done was acknowledged.
    pub(super) fn is_done(&self, technician: EntityId, ticket: EntityId) {
        self.lock().done.insert((ticket, technician));
    }

    /// A technician was told that a ticket is not its any more.
    pub(super) fn taken_back(&self, technician: EntityId, ticket: EntityId) {
        self.lock().taken_back.insert((ticket, technician));
    }

    /// Nobody waits until this customer hears anything.
    pub(super) fn leave_out(&self, customer: EntityId) {
        self.lock().out.insert(customer);
    }

    /// Tickets of which their customer is to hear more than it did.
    pub(super) fn open(&self) -> usize {
        let inner = self.lock();
        let Inner { whose, out, dispatched, completed, done, taken_back } = &*inner;
        let done: BTreeSet<EntityId> =
            done.difference(taken_back).map(|(ticket, _)| *ticket).collect();
        let is_open = |ticket: &EntityId| {
            !dispatched.contains(ticket) || done.contains(ticket) && !completed.contains(ticket)
        };
        whose.iter().filter(|(ticket, of)| !out.contains(of) && is_open(ticket)).count()
    }
}

#[cfg(test)]
mod tests;
