//! Who has which ticket, by what technicians' devices were told.
//!
//! A device has a ticket from the yes to its acceptance until it is told that the ticket is not its any more. Whoever
//! accepts just when its offer ends may be told both, one after the other: its ticket has refused it as too late.
//!
//! **Laws:** an epoch of a ticket's offers is one technician's. No two devices have a ticket at a time, unless its
//! history says that one of the two came too late. In the end a ticket is in the hands of whom its history says, and of
//! nobody else; and no device has more tickets than its owner takes at a time. **Not here:** the histories
//! (`histories`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    EntityId,
    message::{AlertBody, Answer, OfferId, ReceiptBody, ReceiptStatus, ResponseBody},
};

use super::histories::Histories;

/// An acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accept {
    pub(super) technician: EntityId,
    pub(super) ticket: EntityId,
    pub(super) offer: OfferId,
    told: Told,
}

/// What its device was told of it; what it was told last counts, and a no whatever comes behind it: the word that a
/// ticket is gone may overtake the answer to what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Yes,
    No,
}

/// What technicians' devices said and were told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hands {
    /// By message.
    accepts: BTreeMap<[u8; 16], Accept>,
    /// Whom a ticket was offered to in an epoch.
    offered: BTreeMap<(EntityId, u32), EntityId>,
    /// How many tickets whoever was offered one takes at a time.
    takes: BTreeMap<EntityId, u16>,
    /// Acceptances of one ticket by two who had a yes at the same time.
    beside: Vec<(Accept, Accept)>,
    broken: Vec<String>,
}

impl Hands {
    pub(super) fn alerted(&mut self, technician: EntityId, takes: u16, alert: &AlertBody) {
        self.takes.insert(technician, takes);
        let AlertBody { ticket, offer: OfferId { epoch, .. }, .. } = alert;
        let first = *self.offered.entry((*ticket, *epoch)).or_insert(technician);
        if first != technician {
            let fact = format!("epoch {epoch} of {ticket} is of {first} and of {technician}");
            self.broken.push(fact);
        }
    }

    pub(super) fn said(&mut self, technician: EntityId, message: [u8; 16], said: &ResponseBody) {
        if matches!(said.answer, Answer::Accept { .. }) {
            let (ticket, offer, told) = (said.ticket, said.offer, Told::Nothing);
            self.accepts.insert(message, Accept { technician, ticket, offer, told });
        }
    }

    /// A receipt: the answer to an acceptance, or the word that a ticket is somebody else's by now.
    pub(super) fn told(&mut self, technician: EntityId, message: [u8; 16], body: &ReceiptBody) {
        match (body.status, self.accepts.get_mut(&message)) {
            (ReceiptStatus::NoLongerYours, Some(accept)) => accept.told = Told::No,
            (ReceiptStatus::NoLongerYours, None) => {
                let of = (Some(technician), body.ticket);
                for accept in self.accepts.values_mut() {
                    if of == (Some(accept.technician), Some(accept.ticket)) {
                        accept.told = Told::No;
                    }
                }
            }
            (ReceiptStatus::Received, Some(accept)) if accept.told == Told::Nothing => {
                accept.told = Told::Yes;
                let accept = *accept;
                let others = self.accepts.values().filter(|one| one.is_beside(&accept));
                self.beside.extend(others.map(|one| (*one, accept)));
            }
            _ => {}
        }
    }

    /// Whoever was offered something.
    pub(super) fn technicians(&self) -> impl Iterator<Item = EntityId> {
        self.takes.keys().copied()
    }

    /// By ticket: who has it.
    fn holders(&self) -> BTreeMap<EntityId, BTreeSet<EntityId>> {
        let mut holders = BTreeMap::<_, BTreeSet<_>>::new();
        for accept in self.accepts.values().filter(|accept| accept.told == Told::Yes) {
            holders.entry(accept.ticket).or_default().insert(accept.technician);
        }
        holders
    }

    /// Whether two have a ticket: the word to one of them may be under way.
    pub(super) fn is_contested(&self) -> bool {
        self.holders().values().any(|technicians| technicians.len() > 1)
    }

    /// What is wrong, by what histories say in the end.
    pub(super) fn broken_laws(&self, histories: &Histories) -> Vec<String> {
        let mut broken = self.broken.clone();
        for (one, other) in &self.beside {
            if !histories.came_late(one) && !histories.came_late(other) {
                let Accept { ticket, technician, .. } = one;
                broken.push(format!(
                    "{ticket} has two technicians at a time: {technician} and {}",
                    other.technician
                ));
            }
        }
        let holders = self.holders();
        let mut counts = BTreeMap::<EntityId, u16>::new();
        for (ticket, technicians) in &holders {
            if technicians.len() > 1 {
                broken.push(format!("{ticket} has two technicians in the end: {technicians:?}"));
            }
            let has = histories.has(*ticket);
            for technician in technicians {
                *counts.entry(*technician).or_default() += 1;
                if has != Some(*technician) {
                    let fact =
                        format!("{technician} was told that it has {ticket}, which is {has:?}'s");
                    broken.push(fact);
                }
            }
        }
        for (technician, count) in counts {
            let takes = self.takes.get(&technician).copied().unwrap_or_default();
            if count > takes {
                broken.push(format!("{technician} has {count} tickets and takes {takes}"));
            }
        }
        broken
    }
}

impl Accept {
    /// Of another technician, who has the same ticket.
    fn is_beside(&self, other: &Self) -> bool {
        self.told == Told::Yes && self.ticket == other.ticket && self.technician != other.technician
    }
}

#[cfg(test)]
mod tests {
    use fieldmesh_domain::EntityKind;

    use super::*;

    fn id(kind: EntityKind, number: u8) -> EntityId {
        EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
    }

    /// Two technicians who accept a ticket by offers that follow each other.
    struct Two {
        hands: Hands,
        ticket: EntityId,
        technicians: [EntityId; 2],
    }

    impl Two {
        fn new() -> Self {
            let technicians = [1, 2].map(|number| id(EntityKind::Technician, number));
            let (mut hands, ticket) = (Hands::default(), id(EntityKind::Ticket, 9));
            for (technician, epoch) in technicians.into_iter().zip(1..) {
                hands.takes.insert(technician, 1);
                let (offer, answer) = (OfferId { epoch, seq: 0 }, Answer::Accept { eta_min: 10 });
                let said = ResponseBody { ticket, offer, answer };
                hands.said(technician, [epoch as u8; 16], &said);
            }
            Self { hands, ticket, technicians }
        }

        fn hears(&mut self, who: usize, message: u8, status: ReceiptStatus) {
            let body = ReceiptBody { status, ticket: Some(self.ticket), reason: String::new() };
            self.hands.told(self.technicians[who], [message; 16], &body);
        }

        /// What is wrong where the second one has it, and where the first one came late besides.
        fn broken(&self) -> [usize; 2] {
            let mut histories = Histories::default();
            histories.say(self.ticket, Some(self.technicians[1]), None);
            let without = self.hands.broken_laws(&histories).len();
            let late = (self.technicians[0], OfferId { epoch: 1, seq: 0 });
            histories.say(self.ticket, Some(self.technicians[1]), Some(late));
            [without, self.hands.broken_laws(&histories).len()]
        }
    }

    #[test]
    fn two_have_a_ticket_unless_one_came_late_and_was_told() {
        let mut two = Two::new();
        two.hears(1, 2, ReceiptStatus::Received);
        assert_eq!(two.broken(), [0, 0]);
        two.hears(0, 1, ReceiptStatus::Received);
        // Two at a time, two in the end, and one who does not have it; where it came late, the end is wrong still.
        assert!(two.hands.is_contested());
        assert_eq!(two.broken(), [3, 2]);
        two.hears(0, 77, ReceiptStatus::NoLongerYours);
        assert!(!two.hands.is_contested());
        assert_eq!(two.broken(), [1, 0]);
    }

    #[test]
    fn the_word_that_a_ticket_is_gone_may_overtake_the_answer() {
        let mut two = Two::new();
        two.hears(0, 77, ReceiptStatus::NoLongerYours);
        two.hears(0, 1, ReceiptStatus::Received);
        two.hears(1, 2, ReceiptStatus::Received);
        assert_eq!(two.broken(), [0, 0]);
    }

    #[test]
    fn who_is_replaced_is_told_so() {
        let mut two = Two::new();
        two.hears(0, 1, ReceiptStatus::Received);
        assert_eq!(two.broken(), [1, 1]);
    }
}
