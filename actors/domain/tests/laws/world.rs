//! A small world: one desk, customers and technicians with their devices, tickets, and everything
//! that is on its way between them.
//!
//! **Invariants:** what one entity tells another arrives in the order it was told, as the outbox
//! promises, and each message of a device has an id of its own. **Not here:** what happens next
//! (`schedule`), what must hold (`dispatch`).

use std::collections::{BTreeMap, VecDeque};

use fieldmesh_domain::{
    Aggregate, Command, Ctx, Effect, EntityId, EntityKind, IndexRow, MessageKind, Rejection,
    TimerName,
    customer::{self, Customer},
    desk::{self, Desk},
    escalation::Policy,
    message::{
        Act, AlertBody, Answer, ConfirmationBody, CustomerActBody, Location, OfferId, RequestBody,
        ResponseBody,
    },
    notifier::{self, Notice},
    technician::{self, Shift, Skill, Technician},
    ticket::{self, Counted, Order, Party, Ticket, Triage},
    time::Millis,
};

const START: Millis = Millis(1_800_000_000_000);
/// What tickets of everybody's place are counted by.
pub(crate) const SITE: u64 = 5;
pub(crate) const CUSTOMERS: u8 = 2;
/// Rows that arrive in a row; some hundreds may be on their way at once.
const ROWS_MAX: usize = 10_000;

/// An entity with all that happened to it.
#[derive(Clone)]
pub(crate) struct Lived<A: Aggregate> {
    pub(crate) state: A,
    pub(crate) events: Vec<A::Event>,
}

impl<A: Aggregate> Default for Lived<A> {
    fn default() -> Self {
        Self { state: A::default(), events: Vec::new() }
    }
}

impl<A: Aggregate> Lived<A> {
    pub(crate) fn ask(
        &mut self,
        command: &A::Command,
        ctx: &Ctx,
    ) -> Result<Vec<Effect>, Rejection> {
        let mut effects = Vec::new();
        for event in self.state.decide(command, ctx)? {
            self.state.evolve(&event);
            effects.extend(self.state.react(&event, ctx.id));
            self.events.push(event);
        }
        Ok(effects)
    }

    pub(crate) fn replay_equals_live(&self) {
        let mut replayed = A::default();
        for event in &self.events {
            let stored: A::Event = through_bytes(event);
            assert_eq!(&stored, event);
            replayed.evolve(&stored);
        }
        assert_eq!(replayed, self.state);
        assert_eq!(through_bytes::<A>(&self.state), self.state);
    }
}

pub(crate) fn through_bytes<T>(value: &T) -> T
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    minicbor::decode(&minicbor::to_vec(value).unwrap()).unwrap()
}

/// A technician to begin with.
#[derive(Debug, Clone)]
pub(crate) struct Hand {
    pub(crate) capacity: u16,
    pub(crate) skills: Vec<Skill>,
    pub(crate) lon_e6: i32,
}

#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) to: EntityId,
    pub(crate) kind: MessageKind,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) customers: BTreeMap<EntityId, Lived<Customer>>,
    pub(crate) technicians: BTreeMap<EntityId, Lived<Technician>>,
    pub(crate) tickets: BTreeMap<EntityId, Lived<Ticket>>,
    pub(crate) desk: Lived<Desk>,
    /// What is on its way, by sender and recipient.
    pub(crate) lanes: BTreeMap<(EntityId, EntityId), VecDeque<Command>>,
    pub(crate) timers: BTreeMap<EntityId, (u32, Millis)>,
    pub(crate) index: BTreeMap<EntityId, IndexRow>,
    pub(crate) mail: Vec<Mail>,
    pub(crate) asked: Vec<(EntityId, Command)>,
    pub(crate) timers_set: Vec<(EntityId, u32)>,
    pub(crate) alerts: BTreeMap<EntityId, Vec<AlertBody>>,
    pub(crate) messages: u64,
    /// What is told outside.
    pub(crate) told: Vec<Notice>,
    /// What customers were told is received, in a history that may be lost.
    pub(crate) unsent: Vec<customer::Event>,
    /// What tickets are opened under.
    pub(crate) policy: Option<Policy>,
    /// What rules say of tickets, in turn.
    pub(crate) triages: Vec<Triage>,
}

pub(crate) fn id(kind: EntityKind, number: u8) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
}

pub(crate) fn customer(number: u8) -> EntityId {
    id(EntityKind::Customer, number % CUSTOMERS)
}

pub(crate) fn technician(number: u8) -> EntityId {
    id(EntityKind::Technician, number)
}

pub(crate) fn desk() -> EntityId {
    EntityId::desk("eu1".parse().unwrap())
}

pub(crate) fn nth<T: Copy>(all: impl ExactSizeIterator<Item = T>, number: usize) -> Option<T> {
    let mut all = all;
    let count = all.len();
    if count == 0 { None } else { all.nth(number % count) }
}

impl World {
    /// Customers and technicians with their devices and on shift, the desk told.
    pub(crate) fn new(hands: &[Hand]) -> Self {
        let mut world = Self { now: START, ..Self::default() };
        for number in 0..CUSTOMERS {
            let (name, location) = (format!("customer {number}"), Location::default());
            for command in [
                customer::Command::Register { name, location, tier: number + 1, zone: None },
                customer::Command::PublishKeys { serial: 1, bundle: vec![] },
            ] {
                world.ask(customer(number), Command::Customer(command));
            }
        }
        for (hand, number) in hands.iter().zip(0..) {
            for command in [
                technician::Command::Register {
                    name: format!("technician {number}"),
                    skills: hand.skills.clone(),
                    home: Location { lat_e6: 0, lon_e6: hand.lon_e6 },
                    capacity: hand.capacity,
                    shift: Shift::Always,
                },
                technician::Command::PublishKeys { serial: 1, bundle: vec![] },
                technician::Command::GoOnShift,
            ] {
                world.ask(technician(number), Command::Technician(command));
            }
        }
        world.deliver_all();
        world
    }

    /// The same with a desk at which tickets may wait for each other.
    pub(crate) fn gathering(hands: &[Hand]) -> Self {
        let mut world = Self::new(hands);
        world.ask(desk(), Command::Desk(desk::Command::Gather));
        world
    }

    /// Something waits for others, or for a batch that closes now. Who is in the queue goes on waiting.
    fn is_gathering(&self) -> bool {
        self.desk.state.board.as_ref().is_some_and(|board| {
            let mut waiting = board.waiting.values();
            waiting.any(|one| !one.is_queued() || board.due <= self.now)
        })
    }

    /// Asks an entity, and takes in what follows.
    pub(crate) fn ask(&mut self, to: EntityId, command: Command) -> Vec<Effect> {
        let command = self.guided(command);
        let ctx = Ctx { now: self.now, id: to, rule_version: 1 };
        let refusal = self.refusal_of(to, &command);
        let answered = match &command {
            Command::Customer(command) => self.customers.entry(to).or_default().ask(command, &ctx),
            Command::Technician(command) => {
                self.technicians.entry(to).or_default().ask(command, &ctx)
            }
            Command::Ticket(command) => self.tickets.entry(to).or_default().ask(command, &ctx),
            Command::Desk(command) => self.desk.ask(command, &ctx),
            Command::Registration(_)
            | Command::Authority(_)
            | Command::Placement(_)
            | Command::Notifier(_)
            | Command::Integration(_)
            | Command::Attachment(_) => {
                panic!("nobody here asks an authority: {command:?}")
            }
        };
        self.asked.push((to, command));
        // Between entities a refusal is final, and a device is told by another way.
        let mut effects = answered.unwrap_or_default();
        self.told_outside(&mut effects);
        if let Some(refusal) = refusal {
            assert_eq!(effects, [refusal]);
        }
        for effect in effects.clone() {
            self.follow(to, effect);
        }
        effects
    }

    /// Whoever serves a ticket adds what operators' documents say of it.
    fn guided(&self, mut command: Command) -> Command {
        let Command::Ticket(ticket::Command::Open { body, triage, terms, counted, .. }) =
            &mut command
        else {
            return command;
        };
        *counted = Some(Counted { category: body.category, site: SITE });
        if triage.is_none() {
            let said = nth(self.triages.iter(), self.tickets.len());
            *triage = said.map(|said| Box::new(said.clone()));
        }
        if self.policy.is_some() {
            let policy = self.policy.clone();
            *terms = Some(Box::new(ticket::Terms { policy, ..ticket::Terms::default() }));
        }
        command
    }

    /// What goes outside is no business of theirs: it is put aside.
    fn told_outside(&mut self, effects: &mut Vec<Effect>) {
        let is_told = |effect: &mut Effect| {
            matches!(effect, Effect::Tell { command: Command::Notifier(_), .. })
        };
        for effect in effects.extract_if(.., is_told) {
            if let Effect::Tell {
                command: Command::Notifier(notifier::Command::Tell(told)), ..
            } = effect
            {
                self.told.push(told);
            }
        }
    }

    fn follow(&mut self, from: EntityId, effect: Effect) {
        match effect {
            // What leaves the system is another world.
            Effect::Tell { to, .. } if to.kind() == EntityKind::Notifier => {}
            Effect::Tell { to, command } => {
                self.lanes.entry((from, to)).or_default().push_back(command);
            }
            Effect::Message { to, kind, body, .. } => {
                if kind == MessageKind::Alert {
                    assert!(self.technicians[&to].state.device.present, "{to} has no device");
                    let alert = minicbor::decode(&body).unwrap();
                    self.alerts.entry(to).or_default().push(alert);
                }
                self.mail.push(Mail { to, kind, body });
            }
            Effect::SetTimer { name: TimerName::Shift, .. }
            | Effect::CancelTimer { name: TimerName::Shift } => {
                panic!("nobody here has a roster")
            }
            Effect::SetTimer { name: TimerName::Escalation | TimerName::Promise, .. }
            | Effect::CancelTimer { name: TimerName::Escalation | TimerName::Promise } => {}
            Effect::SetTimer { name: _, generation, due } => {
                self.timers.insert(from, (generation, due));
                self.timers_set.push((from, generation));
            }
            Effect::CancelTimer { name: _ } => {
                self.timers.remove(&from);
            }
            Effect::Index(row) => {
                assert_eq!(row.id(), from);
                self.index.insert(from, row);
            }
        }
    }

    pub(crate) fn request(&mut self, number: u8, category: u16, urgency: u8) -> EntityId {
        self.messages += 1;
        let message_id = u128::from(self.messages).to_be_bytes();
        let body = RequestBody {
            category,
            subcategory: 0,
            impact: 1,
            urgency,
            location: Location::default(),
            text: "it leaks".into(),
        };
        let command = customer::Command::Request {
            message_id,
            content_hash: [0; 32],
            body,
            received_at: self.now,
            is_counted: Some(true),
        };
        self.ask(customer(number), Command::Customer(command));
        EntityId::ticket_of(customer(number), message_id)
    }

    /// A device's answer, with the id of its message.
    pub(crate) fn answer(
        &mut self,
        technician: EntityId,
        ticket: EntityId,
        offer: OfferId,
        answer: Answer,
    ) -> ([u8; 16], Vec<Effect>) {
        self.messages += 1;
        let message_id = u128::from(self.messages).to_be_bytes();
        let body = ResponseBody { ticket, offer, answer };
        let command = technician::Command::Answer { message_id, body };
        (message_id, self.ask(technician, Command::Technician(command)))
    }

    /// An operator orders; the events that it led to are the last ones of the ticket.
    pub(crate) fn order(&mut self, ticket: EntityId, order: Order) -> Vec<Effect> {
        self.messages += 1;
        let id = u128::from(self.messages).to_be_bytes();
        let by = Party::Operator("op".into());
        self.ask(
            ticket,
            Command::Ticket(ticket::Command::Order { order, by, id, marks: Some(true) }),
        )
    }

    /// A customer's device acts, with the id of its message.
    pub(crate) fn act(&mut self, customer: EntityId, ticket: EntityId, act: Act) -> [u8; 16] {
        self.messages += 1;
        let message_id = u128::from(self.messages).to_be_bytes();
        let body = CustomerActBody { ticket, act };
        let command = customer::Command::Act { message_id, content_hash: [0; 32], body };
        self.ask(customer, Command::Customer(command));
        message_id
    }

    /// The first row of a lane arrives.
    pub(crate) fn deliver(&mut self, from: EntityId, to: EntityId) -> Option<Vec<Effect>> {
        let lane = self.lanes.get_mut(&(from, to))?;
        let command = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&(from, to));
        }
        Some(self.ask(to, command))
    }

    /// Until nothing is on its way, and nothing waits at the desk but for somebody to have room.
    pub(crate) fn deliver_all(&mut self) {
        for _ in 0..ROWS_MAX {
            let next = self.lanes.keys().next().copied();
            match next {
                Some((from, to)) => drop(self.deliver(from, to)),
                None if self.is_gathering() => self.fire(desk()),
                None => return,
            }
        }
        panic!("they do not stop talking: {:?}", self.lanes);
    }

    /// The timer of a ticket or technician falls due.
    pub(crate) fn fire(&mut self, of: EntityId) {
        if let Some((generation, due)) = self.timers.remove(&of) {
            self.now = self.now.max(due);
            self.ask_timer(of, generation);
        }
    }

    pub(crate) fn ask_timer(&mut self, of: EntityId, generation: u32) {
        let name = TimerName::Deadline;
        self.ask(
            of,
            match of.kind() {
                EntityKind::Desk => {
                    Command::Desk(desk::Command::Timer { name: TimerName::Batch, generation })
                }
                EntityKind::Technician => {
                    Command::Technician(technician::Command::Timer { name, generation })
                }
                _ => {
                    Command::Ticket(ticket::Command::Timer { name, generation, marks: Some(true) })
                }
            },
        );
    }

    pub(crate) fn ticket(&self, number: u8) -> Option<EntityId> {
        nth(self.tickets.keys().copied(), usize::from(number))
    }

    /// What the devices of technicians show, oldest first.
    pub(crate) fn alerts(&self, technician: EntityId) -> &[AlertBody] {
        self.alerts.get(&technician).map_or(&[], Vec::as_slice)
    }

    /// What a customer was told of a ticket, oldest first.
    pub(crate) fn confirmations(&self, ticket: EntityId) -> Vec<ConfirmationBody> {
        let bodies = self.mail.iter().filter(|mail| mail.kind == MessageKind::Confirmation);
        bodies
            .map(|mail| minicbor::decode::<ConfirmationBody>(&mail.body).unwrap())
            .filter(|body| body.ticket == ticket)
            .collect()
    }
}
