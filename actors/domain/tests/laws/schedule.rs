//! Random schedules: what happens next in a world, and its worlds to begin with.
//!
//! Only [`Step::Repeat`] breaks the outbox's promise that a row arrives once and in its order.

use fieldmesh_domain::{
    Command, EntityId, EntityKind, customer,
    message::{Act, Amendment, Answer, OfferId, Pause, PauseReason},
    technician::{self, Skill},
    ticket::{self, Order, Reader},
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::world::{CUSTOMERS, Hand, World, customer, nth, technician};

/// Enough that they compete for technicians, few enough that schedules meet the same one again.
const TICKETS_MAX: usize = 4;

/// What a schedule does next; numbers choose among what there is at that moment.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Request {
        customer: u8,
        category: u16,
        urgency: u8,
    },
    Deliver(u8),
    /// Something that was asked at any time is asked once more.
    Repeat(u16),
    /// A device answers any alert it ever got.
    Answer {
        technician: u8,
        alert: u8,
        answer: u8,
    },
    /// A device answers an offer that it may never have seen.
    Invent {
        technician: u8,
        ticket: u8,
        epoch: u32,
        answer: u8,
    },
    Fire(u8),
    FireStale(u16),
    Jump(u32),
    Shift {
        technician: u8,
        on: bool,
    },
    /// A technician's certificates are revoked, or its device connects.
    Device {
        technician: u8,
        present: bool,
    },
    /// The same of a customer.
    Caller {
        customer: u8,
        present: bool,
    },
    Cancel(u8),
    Confirm(u8),
    /// An operator orders something of a ticket.
    Order {
        ticket: u8,
        technician: u8,
        order: u8,
    },
    /// A customer's device does something with any ticket.
    Act {
        customer: u8,
        ticket: u8,
        act: u8,
    },
    Group {
        ticket: u8,
        parent: u8,
        is_to_be: bool,
    },
    /// The desk wants the technician for another ticket.
    Displace(u8),
    Suspend(u8),
    Resume(u8),
}

/// The answers of a device: accepting most, so that schedules get somewhere.
pub(crate) fn answer(number: u8) -> Answer {
    match number % 12 {
        0 | 1 => Answer::Accept { eta_min: u16::from(number) },
        2 => Answer::Decline { reason: "elsewhere".into() },
        3 => Answer::EnRoute,
        4 => Answer::OnSite,
        5 | 6 => Answer::Completed { note: "done".into() },
        7 => Answer::CannotComplete { reason: "no part".into() },
        8 => {
            let (reason, text) = (PauseReason::Parts, "no pump".into());
            Answer::Pause(Pause { reason, text, minutes: u16::from(number) })
        }
        9 => Answer::Resume,
        10 => Answer::Message { text: "which door?".into(), enclosure: None },
        _ => Answer::Seen,
    }
}

/// What operators order: reassigning most, so that technicians and desk are busy.
fn order(number: u8, technician: EntityId, now: Millis) -> Order {
    let reason = "so".to_owned();
    let priority = Some(number / 12 % 5 + 1);
    match number % 12 {
        0 => Order::Hold { until: now.after_s(u64::from(number) + 1), reason },
        1 => Order::Resume,
        2 => Order::Cancel { reason },
        3 | 4 => Order::Reassign { to: Some(technician), reason },
        5 => Order::Reassign { to: None, reason },
        6 => Order::Pin,
        7 => Order::Unpin,
        8 => Order::Amend(Amendment { priority, ..Amendment::default() }),
        9 => Order::Reopen { reason },
        10 => Order::Confirm,
        _ => Order::Message { to: Reader::Both, text: "hello".into(), enclosure: None },
    }
}

fn act(number: u8) -> Act {
    let reason = "so".to_owned();
    match number % 6 {
        0 => Act::Cancel { reason },
        1 => Act::Confirm,
        2 => Act::Object { reason },
        3 => Act::Amend { text: Some(format!("{number}")), location: None },
        4 => Act::Message { text: "the blue door".into(), enclosure: None },
        _ => Act::Reopen { reason },
    }
}

/// One to three technicians who may lack a skill, be full, and live near each other.
pub(crate) fn hands() -> impl Strategy<Value = Vec<Hand>> {
    let skill = (1_u16..=2, 1_u8..=5).prop_map(|(category, level)| Skill::new(category, level));
    let hand = (1_u16..=2, vec(skill, 1..=2), 0..50_000);
    vec(hand.prop_map(|(capacity, skills, lon_e6)| Hand { capacity, skills, lon_e6 }), 1..=3)
}

/// Each row arrives once, and devices, timers and people do what they like.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..120)
}

/// The same, and anything may arrive again at any time.
pub(crate) fn steps_with_repeats() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![8 => step(), 1 => any::<u16>().prop_map(Step::Repeat)], 1..120)
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let latest_or_any = || prop_oneof![4 => Just(0), 1 => any::<u8>()];
    prop_oneof![
        40 => any::<u8>().prop_map(Step::Deliver),
        6 => (any::<u8>(), 1_u16..=2, 1_u8..=3)
            .prop_map(|(customer, category, urgency)| Step::Request { customer, category, urgency }),
        16 => (any::<u8>(), latest_or_any(), any::<u8>())
            .prop_map(|(technician, alert, answer)| Step::Answer { technician, alert, answer }),
        2 => (any::<u8>(), any::<u8>(), 0_u32..4, any::<u8>()).prop_map(
            |(technician, ticket, epoch, answer)| Step::Invent { technician, ticket, epoch, answer }
        ),
        6 => any::<u8>().prop_map(Step::Fire),
        2 => any::<u16>().prop_map(Step::FireStale),
        3 => (0_u32..200).prop_map(Step::Jump),
        3 => (any::<u8>(), any::<bool>())
            .prop_map(|(technician, on)| Step::Shift { technician, on }),
        2 => (any::<u8>(), prop::bool::weighted(0.7))
            .prop_map(|(technician, present)| Step::Device { technician, present }),
        1 => (any::<u8>(), prop::bool::weighted(0.7))
            .prop_map(|(customer, present)| Step::Caller { customer, present }),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::Confirm),
        6 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(ticket, technician, order)| Step::Order { ticket, technician, order }),
        3 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(customer, ticket, act)| Step::Act { customer, ticket, act }),
        1 => any::<u8>().prop_map(Step::Displace),
        2 => (any::<u8>(), any::<u8>(), prop::bool::weighted(0.8))
            .prop_map(|(ticket, parent, is_to_be)| Step::Group { ticket, parent, is_to_be }),
        1 => any::<u8>().prop_map(Step::Suspend),
        2 => any::<u8>().prop_map(Step::Resume),
    ]
}

impl World {
    pub(crate) fn step(&mut self, step: &Step) {
        let technicians = self.technicians.len();
        let hand = |number: u8| technician((usize::from(number) % technicians) as u8);
        match *step {
            Step::Request { customer, category, urgency } if self.tickets.len() < TICKETS_MAX => {
                self.request(customer, category, urgency);
            }
            Step::Request { .. } => {}
            Step::Deliver(lane) => {
                if let Some((from, to)) = nth(self.lanes.keys().copied(), usize::from(lane)) {
                    self.deliver(from, to);
                }
            }
            Step::Repeat(number) => {
                let (to, command) = self.asked[usize::from(number) % self.asked.len()].clone();
                self.ask(to, command);
            }
            Step::Answer { technician, alert, answer: number } => {
                let technician = hand(technician);
                let alerts = self.alerts(technician).iter().rev();
                if let Some(alert) = nth(alerts, usize::from(alert)) {
                    let (ticket, offer) = (alert.ticket, alert.offer);
                    self.answer(technician, ticket, offer, answer(number));
                }
            }
            Step::Invent { technician, ticket, epoch, answer: number } => {
                if let Some(ticket) = self.ticket(ticket) {
                    let offer = OfferId { epoch, seq: 0 };
                    self.answer(hand(technician), ticket, offer, answer(number));
                }
            }
            Step::Fire(number) => {
                if let Some(ticket) = nth(self.timers.keys().copied(), usize::from(number)) {
                    self.fire(ticket);
                }
            }
            Step::FireStale(number) => {
                let set = nth(self.timers_set.iter().copied(), usize::from(number));
                // The wheel never fires the timer in force before it is due.
                if let Some((ticket, generation)) = set
                    && self.timers.get(&ticket).is_none_or(|(live, _)| *live != generation)
                {
                    self.ask_timer(ticket, generation);
                }
            }
            Step::Jump(seconds) => self.now = self.now.after_s(u64::from(seconds)),
            Step::Shift { technician, on: true } => {
                let command = technician::Command::GoOnShift;
                self.ask(hand(technician), Command::Technician(command));
            }
            Step::Shift { technician, on: false } => {
                let command = technician::Command::GoOffShift;
                self.ask(hand(technician), Command::Technician(command));
            }
            Step::Device { technician, present } => self.device(hand(technician), present),
            Step::Caller { customer: number, present } => self.device(customer(number), present),
            Step::Cancel(ticket) => self.ask_ticket(ticket, ticket::Command::Cancel),
            Step::Confirm(ticket) => self.ask_ticket(ticket, ticket::Command::Confirm),
            Step::Order { ticket, technician, order: number } => {
                if let Some(ticket) = self.ticket(ticket) {
                    self.order(ticket, order(number, hand(technician), self.now));
                }
            }
            Step::Act { customer: number, ticket, act: act_number } => {
                if let Some(ticket) = self.ticket(ticket) {
                    self.act(customer(number % CUSTOMERS), ticket, act(act_number));
                }
            }
            Step::Group { ticket, parent, is_to_be } => {
                if let Some((ticket, parent)) = self.ticket(ticket).zip(self.ticket(parent)) {
                    let order = if is_to_be { Order::Group { parent } } else { Order::Ungroup };
                    self.order(ticket, order);
                }
            }
            Step::Displace(number) => {
                if let Some(ticket) = self.ticket(number) {
                    let question = self.tickets[&ticket].state.question;
                    let command = ticket::Command::Displace { by_ticket: ticket, question };
                    self.ask(ticket, Command::Ticket(command));
                }
            }
            Step::Suspend(number) => {
                self.ask(
                    customer(number),
                    Command::Customer(customer::Command::Suspend { by: None }),
                );
            }
            Step::Resume(number) => {
                self.ask(
                    customer(number),
                    Command::Customer(customer::Command::Resume { by: None }),
                );
            }
        }
    }

    /// The device of a customer or technician connects, or is lost.
    pub(crate) fn device(&mut self, owner: EntityId, present: bool) {
        let (serial, bundle) = (1, vec![]);
        let command = match (owner.kind(), present) {
            (EntityKind::Customer, true) => {
                Command::Customer(customer::Command::PublishKeys { serial, bundle })
            }
            (EntityKind::Customer, false) => Command::Customer(customer::Command::LoseDevice),
            (_, true) => Command::Technician(technician::Command::PublishKeys { serial, bundle }),
            (_, false) => Command::Technician(technician::Command::LoseDevice),
        };
        self.ask(owner, command);
    }

    fn ask_ticket(&mut self, number: u8, command: ticket::Command) {
        if let Some(ticket) = self.ticket(number) {
            self.ask(ticket, Command::Ticket(command));
        }
    }
}
