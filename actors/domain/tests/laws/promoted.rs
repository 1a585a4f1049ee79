//! A world that goes on from replicas which were not at the same point: each group is cut back to an
//! earlier point of its own history.
//!
//! A customer and its tickets have one slot, and so one group and one history; technicians and the
//! desk may be of any group. Devices are not cut back: they remember all that they were shown. Rows of
//! an outbox that the receiver had taken already are lost or arrive again. **Not here:** what differs
//! then, case by case (`reconciling`).

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Command, EntityId, EntityKind, customer, desk, technician,
    ticket::{self, Stage},
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    dispatch::is_waiting,
    schedule::{Step, step},
    world::{self, CUSTOMERS, World},
};

const GROUPS: usize = 4;
/// The longest that an offer waits.
const OFFER_LIFE_S: u64 = 120;
/// Timers fired until nothing may be in doubt.
const ROUNDS: usize = 4000;
pub(crate) const PROMOTION: u64 = 7;

/// Where each group's history ends.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// After how many steps, by group; one more is not even the beginning.
    ends: [usize; GROUPS],
    customers: [usize; CUSTOMERS as usize],
    technicians: [usize; 3],
    desk: usize,
    /// How many of a lane's rows had been taken before.
    taken: u8,
}

pub(crate) fn cut() -> impl Strategy<Value = Cut> {
    let group = || 0..GROUPS;
    // Most of a history survives.
    let end = || prop_oneof![4 => 0_usize..15, 1 => 0_usize..125];
    (
        [end(), end(), end(), end()],
        [group(), group()],
        [group(), group(), group()],
        group(),
        any::<u8>(),
    )
        .prop_map(|(ends, customers, technicians, desk, taken)| Cut {
            ends,
            customers,
            technicians,
            desk,
            taken,
        })
}

/// What an operator asks for, and what happens meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    before: Vec<Step>,
    /// What happens before the next one is asked, and which one that is.
    asks: Vec<(Vec<Step>, usize)>,
    /// Whether customers send again what the service does not know any more.
    insists: bool,
}

pub(crate) fn asking() -> impl Strategy<Value = Asking> {
    (vec(step(), 0..8), vec((vec(step(), 0..4), any::<usize>()), 10), any::<bool>())
        .prop_map(|(before, asks, insists)| Asking { before, asks, insists })
}

impl Cut {
    fn group(&self, id: EntityId) -> usize {
        let customers = (0..CUSTOMERS).find(|number| world::customer(*number).slot() == id.slot());
        let technician = (0..3).find(|number| world::technician(*number) == id);
        match (id.kind(), customers, technician) {
            (EntityKind::Technician, _, Some(number)) => self.technicians[usize::from(number)],
            (EntityKind::Customer | EntityKind::Ticket, Some(number), _) => {
                self.customers[usize::from(number)]
            }
            _ => self.desk,
        }
    }

    /// What is left of a world, given each group's last moment and the last moment of all.
    fn of(&self, moments: &[World], last: &World) -> World {
        let (now, messages, alerts) = (last.now, last.messages, last.alerts.clone());
        let mut left = World { now, messages, alerts, ..World::default() };
        for (moment, group) in moments.iter().zip(0..) {
            let own = |id: &EntityId| self.group(*id) == group;
            for id in last.customers.keys().copied().filter(own) {
                let lived = moment.customers.get(&id).cloned();
                left.customers.insert(id, lived.unwrap_or_default());
            }
            for id in last.technicians.keys().copied().filter(own) {
                let lived = moment.technicians.get(&id).cloned();
                left.technicians.insert(id, lived.unwrap_or_default());
            }
            for (id, lived) in moment.tickets.iter().filter(|(id, _)| own(id)) {
                left.tickets.insert(*id, lived.clone());
            }
            if own(&world::desk()) {
                left.desk = moment.desk.clone();
            }
            left.timers.extend(moment.timers.iter().filter(|(id, _)| own(id)));
            let rows = moment.index.iter().filter(|(id, _)| own(id));
            left.index.extend(rows.map(|(id, row)| (*id, row.clone())));
            left.mail.extend(moment.mail.iter().filter(|mail| own(&mail.to)).cloned());
            for ((from, to), lane) in moment.lanes.iter().filter(|((from, _), _)| own(from)) {
                let taken = if own(to) { 0 } else { usize::from(self.taken) % (lane.len() + 1) };
                let rows = lane.iter().skip(taken).cloned().collect();
                left.lanes.insert((*from, *to), rows);
            }
        }
        left.lanes.retain(|_, lane| !lane.is_empty());
        left
    }
}

/// A world that has lived, and of which this is left.
pub(crate) fn lost(mut world: World, steps: &[Step], cut: &Cut) -> World {
    let nothing = || World { now: world.now, ..World::default() };
    let mut moments: [World; GROUPS] = core::array::from_fn(|_| nothing());
    for step in 0..=steps.len() {
        for (moment, back) in moments.iter_mut().zip(cut.ends) {
            if step + back == steps.len() {
                *moment = world.clone();
            }
        }
        if let Some(step) = steps.get(step) {
            world.step(step);
        }
    }
    let mut left = cut.of(&moments, &world);
    left.unsent = world.customers.values().flat_map(|lived| &lived.events).cloned().collect();
    left
}

impl World {
    pub(crate) fn reconcile(&mut self, id: EntityId) {
        let promotion = PROMOTION;
        let command = match id.kind() {
            EntityKind::Technician => {
                Command::Technician(technician::Command::Reconcile { promotion })
            }
            EntityKind::Desk => Command::Desk(desk::Command::Reconcile { promotion }),
            _ => Command::Ticket(ticket::Command::Reconcile { promotion }),
        };
        self.ask(id, command);
    }

    /// The desk is asked, and then everybody else in any order, while life goes on.
    pub(crate) fn is_reconciled(&mut self, asking: &Asking) {
        for step in &asking.before {
            self.step(step);
        }
        self.reconcile(world::desk());
        let open = self.tickets.iter().filter(|(_, lived)| is_waiting(lived.state.stage));
        let technicians = self.technicians.keys();
        let mut all: Vec<EntityId> = open.map(|(id, _)| id).chain(technicians).copied().collect();
        if asking.insists {
            self.insist();
        }
        for (steps, nth) in &asking.asks {
            for step in steps {
                self.step(step);
            }
            if !all.is_empty() {
                let id = all.remove(nth % all.len());
                self.reconcile(id);
            }
        }
        for id in all {
            self.reconcile(id);
        }
        self.deliver_all();
    }

    /// Customers send what was lost once more: the same messages.
    fn insist(&mut self) {
        for event in core::mem::take(&mut self.unsent) {
            let customer::Event::Requested { message_id, content_hash, body, ticket, .. } = event
            else {
                continue;
            };
            let of = |number: &u8| world::customer(*number).slot() == ticket.slot();
            let Some(number) = (0..CUSTOMERS).find(of) else { continue };
            let lived = &self.customers[&world::customer(number)];
            let is_known = lived.events.iter().any(|event| {
                matches!(event, customer::Event::Requested { ticket: one, .. } if *one == ticket)
            });
            if !is_known {
                let command = customer::Command::Request {
                    message_id,
                    content_hash,
                    body,
                    received_at: self.now,
                    is_counted: Some(true),
                };
                self.ask(world::customer(number), Command::Customer(command));
            }
        }
    }

    /// No device says anything until nothing is in doubt any more, and what was offered to somebody who
    /// is lost was offered to another one.
    pub(crate) fn doubts_end(&mut self) {
        let offers_end = self.now.after_s(OFFER_LIFE_S);
        for _ in 0..ROUNDS {
            self.deliver_all();
            let is_in_doubt = |id: &EntityId| match id.kind() {
                EntityKind::Technician => true,
                EntityKind::Desk => false,
                _ => self.tickets[id]
                    .state
                    .promoted
                    .as_ref()
                    .is_some_and(|promoted| promoted.awaited.is_some()),
            };
            let next: Option<(Millis, EntityId)> =
                self.timers.iter().map(|(id, (_, due))| (*due, *id)).min();
            match next {
                Some((due, id)) if due <= offers_end || self.timers.keys().any(is_in_doubt) => {
                    self.fire(id);
                }
                _ => return,
            }
        }
        panic!("the doubts do not end");
    }

    /// What must hold of any world that has come to rest, and of one whose histories were cut besides:
    /// nothing is held or given that is not there, and nothing is gone that a customer was told of.
    pub(crate) fn agrees_again(&self) {
        self.all_agree();
        self.laws(&mut BTreeMap::new());
        let is_there = |ticket: &EntityId| {
            self.tickets.get(ticket).is_some_and(|lived| lived.state.stage != Stage::Unknown)
        };
        for (id, lived) in &self.technicians {
            let technician = &lived.state;
            assert!(technician.holdings.keys().all(is_there), "{id} holds what is not there");
            let doubtful = technician.review.as_ref().map(|review| &review.doubtful);
            assert!(doubtful.is_none_or(BTreeMap::is_empty), "{id} is in doubt");
        }
        let desk = &self.desk.state;
        assert!(desk.given.keys().all(is_there));
        for (id, known) in &desk.technicians {
            let is_there = self.technicians[id].state.registered;
            assert!(is_there || !known.summary.on_shift, "the desk would choose {id}, who is lost");
        }
        for (id, lived) in &self.customers {
            assert!(lived.state.open.iter().all(is_there), "{id} waits for what is not there");
        }
    }
}
