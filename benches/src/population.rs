//! Tickets by the thousand, through the same entities and the same log as those of real devices.
//!
//! What devices would send is asked directly of their entities, so that the time goes into storage
//! and not into cryptography. **Invariant:** the work under way is bounded, and so is what the watch
//! has to hold.

use std::{collections::BTreeMap, pin::Pin};

use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow, Region, customer,
    message::{Answer, OfferId, RequestBody, ResponseBody},
    technician::{self, Shift, Skill, Technician},
    ticket::{self, Stage},
    time::Millis,
};
use fieldmesh_node::{
    generator::Generator,
    node::Node,
    web::rest::{NewCustomer, NewTechnician},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use indicatif::ProgressBar;
use tokio::sync::broadcast::Receiver;

use crate::Failed;

/// Tickets per customer: far fewer than one may have open.
const TICKETS_EACH: usize = 20;
const TECHNICIANS: usize = 50;
/// Tickets under way, each with one question at most: it tells fewer than ten rows, and the watch holds 1,024.
const UNDER_WAY_MAX: usize = 64;

/// A question to an entity, and its answer.
type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), Failed>> + 'a>>;

/// Fills the node; returns the tickets.
pub(crate) async fn fill(
    node: &Node,
    tickets: usize,
    open_percent: usize,
) -> Result<Vec<EntityId>, Failed> {
    Filling::begin(node, open_percent).await?.add(tickets).await
}

/// A ticket more, of the first customer; returns it once it is committed.
pub(crate) async fn one_more(node: &Node, number: usize) -> Result<EntityId, Failed> {
    let customer = id(EntityKind::Customer, node.region.parse()?, 0);
    request(node, customer, number, Generator::new(2).request()).await
}

/// Asks as the customer's device would.
async fn request(
    node: &Node,
    customer: EntityId,
    number: usize,
    body: RequestBody,
) -> Result<EntityId, Failed> {
    let message_id = message_id(number);
    let command = customer::Command::Request {
        message_id,
        content_hash: [5; 32],
        body,
        received_at: Millis(node.clock.now_ms()),
        is_counted: None,
    };
    node.ask(customer, Command::Customer(command)).await?;
    Ok(EntityId::ticket_of(customer, message_id))
}

fn message_id(number: usize) -> [u8; 16] {
    (number as u128).to_be_bytes()
}

fn id(kind: EntityKind, region: Region, number: usize) -> EntityId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    EntityId::new(kind, region, random)
}

/// What a device that connected leaves behind.
const BUNDLE_BYTES: usize = 600;

async fn technician(node: &Node, id: EntityId, new: NewTechnician) -> Result<(), Failed> {
    let NewTechnician { name, home, skills, .. } = new;
    let skills = skills.iter().map(|s| Skill::new(s.category, s.level)).collect();
    let home = home.into();
    let commands = [
        technician::Command::Register {
            name,
            skills,
            home,
            capacity: u16::MAX,
            shift: Shift::Always,
        },
        technician::Command::PublishKeys { serial: 1, bundle: vec![4; BUNDLE_BYTES] },
        technician::Command::GoOnShift,
    ];
    for command in commands {
        node.ask(id, Command::Technician(command)).await?;
    }
    Ok(())
}

async fn register(node: &Node, id: EntityId, new: NewCustomer) -> Result<(), Failed> {
    let NewCustomer { name, location, tier, .. } = new;
    let commands = [
        customer::Command::Register { name, location: location.into(), tier, zone: None },
        customer::Command::PublishKeys { serial: 1, bundle: vec![4; BUNDLE_BYTES] },
    ];
    for command in commands {
        node.ask(id, Command::Customer(command)).await?;
    }
    Ok(())
}

/// A node that is being filled.
pub(crate) struct Filling<'a> {
    node: &'a Node,
    generator: Generator,
    region: Region,
    open_percent: usize,
    /// Tickets so far.
    count: usize,
    rows: Receiver<IndexRow>,
    /// Tickets that are not where they shall stay, and whether that is open.
    under_way: BTreeMap<EntityId, bool>,
    /// Tickets whose offer is on its way to a technician.
    offered: BTreeMap<EntityId, Vec<EntityId>>,
    /// At once, as devices would ask: one after the other the node would wait for its disk most of the time.
    asked: FuturesUnordered<Asked<'a>>,
}

impl<'a> Filling<'a> {
    /// Begins with technicians alone.
    pub(crate) async fn begin(node: &'a Node, open_percent: usize) -> Result<Self, Failed> {
        let mut generator = Generator::new(1);
        let region: Region = node.region.parse()?;
        for number in 0..TECHNICIANS {
            technician(node, id(EntityKind::Technician, region, number), generator.technician())
                .await?;
        }
        let rows = node.steps.watch_rows();
        let (count, under_way, offered, asked) = Default::default();
        Ok(Self { node, generator, region, open_percent, count, rows, under_way, offered, asked })
    }

    /// So many tickets more; returns them once they are where they shall stay.
    pub(crate) async fn add(&mut self, tickets: usize) -> Result<Vec<EntityId>, Failed> {
        let bar = ProgressBar::new(tickets as u64);
        let mut made = Vec::with_capacity(tickets);
        for number in self.count..self.count + tickets {
            let customer = id(EntityKind::Customer, self.region, number / TICKETS_EACH);
            if number % TICKETS_EACH == 0 {
                register(self.node, customer, self.generator.customer()).await?;
            }
            let stays_open = number % 100 < self.open_percent;
            made.push(self.open(customer, number, stays_open));
            while self.under_way.len() >= UNDER_WAY_MAX {
                self.advance().await?;
            }
            bar.inc(1);
        }
        while !self.under_way.is_empty() || !self.asked.is_empty() {
            self.advance().await?;
        }
        self.count += tickets;
        bar.finish_and_clear();
        Ok(made)
    }

    fn open(&mut self, customer: EntityId, number: usize, stays_open: bool) -> EntityId {
        let ticket = EntityId::ticket_of(customer, message_id(number));
        self.under_way.insert(ticket, stays_open);
        let (node, body) = (self.node, self.generator.request());
        self.asked.push(Box::pin(async move {
            request(node, customer, number, body).await?;
            Ok(())
        }));
        ticket
    }

    /// Does what the next row asks for, once there is one.
    async fn advance(&mut self) -> Result<(), Failed> {
        tokio::select! {
            biased;
            row = self.rows.recv() => self.met(row?),
            Some(answered) = self.asked.next() => answered,
        }
    }

    fn met(&mut self, row: IndexRow) -> Result<(), Failed> {
        let (id, state, technician) = match row {
            IndexRow::Ticket { id, state, technician, .. } => (id, state, technician),
            IndexRow::Technician { id, .. } => return self.accept(id),
            _ => return Ok(()),
        };
        match (state, technician, self.under_way.get(&id)) {
            (Stage::Offered, Some(technician), Some(_)) => {
                self.offered.entry(technician).or_default().push(id);
                self.accept(technician)?;
            }
            (Stage::Accepted, _, Some(true)) | (Stage::Closed, _, _) => {
                self.under_way.remove(&id);
            }
            (Stage::Accepted, Some(technician), Some(false)) => {
                self.answer(id, technician, Answer::Completed { note: "done".into() });
            }
            (Stage::Completed, _, _) => self.ask(id, Command::Ticket(ticket::Command::Confirm)),
            (Stage::Unfilled, _, _) => return Err("a ticket found no technician".into()),
            _ => {}
        }
        Ok(())
    }

    /// Accepts the offers that have reached the technician.
    fn accept(&mut self, id: EntityId) -> Result<(), Failed> {
        let Some(offered) = self.offered.remove(&id) else { return Ok(()) };
        let journal = self.node.journal_of(id).ok_or("a technician's shard does not run")?;
        let held = journal.state::<Technician>(id)?.holdings;
        let (here, still): (Vec<_>, Vec<_>) =
            offered.into_iter().partition(|ticket| held.contains_key(ticket));
        if !still.is_empty() {
            self.offered.insert(id, still);
        }
        for ticket in here {
            self.answer(ticket, id, Answer::Accept { eta_min: 20 });
        }
        Ok(())
    }

    /// Answers as the technician.
    fn answer(&self, ticket: EntityId, technician: EntityId, answer: Answer) {
        let mut message_id = ticket.to_bytes();
        message_id[0] = u8::from(matches!(answer, Answer::Accept { .. }));
        let body = ResponseBody { ticket, offer: OfferId { epoch: 1, seq: 0 }, answer };
        self.ask(technician, Command::Technician(technician::Command::Answer { message_id, body }));
    }

    fn ask(&self, entity: EntityId, command: Command) {
        let node = self.node;
        self.asked.push(Box::pin(async move {
            node.ask(entity, command).await?;
            Ok(())
        }));
    }
}
