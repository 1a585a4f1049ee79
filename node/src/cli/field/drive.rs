//! Drives a reported replay: the log's clock, the customers' requests, the technicians' words.
//!
//! The log's clock goes on by steps. In each, the requests and words that are due are said by real
//! devices, and the clock stands until the service has answered all of them. The service pauses for
//! seconds of real time before it seeks again for a ticket that nobody was found for; here an operator
//! orders that at the next step, because seconds mean nothing between steps.
//!
//! **Invariants:** what a device says is answered, or given up with its message, before the next step,
//! or the step is counted as unquiet; every wait has a bound. **Not here:** what technicians do
//! (`field`), what came of it (`report`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_device::Event;
use fieldmesh_domain::{
    EntityId,
    message::{Answer, ReceiptStatus, ResponseBody},
};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{Field, Job, Parameters, Say, Word, week::Minute};
use crate::{
    cli::{
        CliError, Output,
        api::Api,
        import::progress,
        replay::{Customers, Technicians, request},
        replay_input::Log,
        report::clock::LogClock,
        tally::{Sighting, Tally},
    },
    os::SystemClock,
    story::TicketStory,
};

/// Minutes of the log between two steps: the shortest trip, so that no step has two words of one technician
/// that wait for each other, and seven weeks are few enough steps for minutes.
pub(crate) const STEP: Minute = 5;
/// How long nothing is seen before the server is asked whether nobody was found.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// A step that is not answered for so long is left unquiet: a leader's death takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Minutes of the log behind its last request after which open work stays open: a month of catching up.
pub(crate) const TAIL: Minute = 30 * 24 * 60;
/// Orders to seek again for one ticket: after as many nobody has the skill.
pub(crate) const ORDERS_MAX: u32 = 12;

/// What a drive needs of its surroundings.
pub(crate) struct Stage<'a> {
    pub(crate) log: &'a Log,
    pub(crate) api: Api,
    pub(crate) customers: &'a Customers,
    pub(crate) technicians: &'a Technicians,
    pub(crate) parameters: Parameters,
    /// How many times faster than the log at most.
    pub(crate) speed: Option<u64>,
}

/// What was seen of it by those who drove.
#[derive(Default)]
pub(crate) struct Driven {
    pub(crate) clock: LogClock,
    pub(crate) tally: Tally,
    /// By the incident's position in the log.
    pub(crate) tickets: BTreeMap<usize, EntityId>,
    /// Confirmations of a technician that customers saw.
    pub(crate) dispatches_seen: usize,
    pub(crate) unquiet: usize,
    pub(crate) orders: usize,
}

/// What the service has not answered yet.
#[derive(Default)]
struct Awaited {
    receipts: BTreeMap<[u8; 16], EntityId>,
    /// Tickets for which somebody is sought.
    offers: BTreeSet<EntityId>,
    /// Tickets with the number of the confirmation that their customer is to see.
    confirmations: BTreeSet<(EntityId, u8)>,
}

impl Awaited {
    fn is_quiet(&self) -> bool {
        self.receipts.is_empty() && self.offers.is_empty() && self.confirmations.is_empty()
    }
}

struct Drive<'a> {
    stage: &'a Stage<'a>,
    field: Field,
    now: Minute,
    numbers: BTreeMap<EntityId, usize>,
    people: BTreeMap<EntityId, usize>,
    awaited: Awaited,
    /// Tickets that nobody was found for, with the orders to seek again.
    unfilled: BTreeSet<EntityId>,
    ordered: BTreeMap<EntityId, u32>,
    driven: Driven,
}

/// Replays the log with the model; what was seen.
pub(crate) async fn drive(
    stage: &Stage<'_>,
    sightings: &mut mpsc::Receiver<Sighting>,
    (made, output): (watch::Sender<usize>, &Output),
) -> Result<Driven, CliError> {
    let people = stage.technicians.iter().map(|technician| {
        let known = stage.log.subjects.get(&technician.name).cloned().unwrap_or_default();
        (technician.home.into(), known)
    });
    let mut drive = Drive {
        stage,
        field: Field::new(stage.parameters, people),
        now: stage.log.first_min,
        numbers: BTreeMap::new(),
        people: stage.technicians.iter().map(|one| one.id).zip(0..).collect(),
        awaited: Awaited::default(),
        unfilled: BTreeSet::new(),
        ordered: BTreeMap::new(),
        driven: Driven::default(),
    };
    let bar = progress(stage.log.incidents.len() as u64, output);
    bar.set_message("completed");
    drive.run(sightings, &made, &bar).await?;
    bar.finish_and_clear();
    Ok(drive.driven)
}

impl Drive<'_> {
    async fn run(
        &mut self,
        sightings: &mut mpsc::Receiver<Sighting>,
        made: &watch::Sender<usize>,
        bar: &ProgressBar,
    ) -> Result<(), CliError> {
        let (log, began, mut next) = (self.stage.log, Instant::now(), 0);
        let last = log.incidents.last().map_or(0, |incident| incident.at_min);
        let end = log.first_min + last + TAIL;
        loop {
            let request = log.incidents.get(next).map(|incident| log.first_min + incident.at_min);
            let again = (!self.unfilled.is_empty()).then_some(self.now + STEP);
            let due = [request, self.field.next(), again].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else { return Ok(()) };
            self.now = due.max(self.now + 1).next_multiple_of(STEP);
            if let Some(speed) = self.stage.speed {
                let passed = (self.now - log.first_min) * 60_000 / speed;
                sleep_until(began + Duration::from_millis(passed)).await;
            }
            self.driven.clock.step(SystemClock.now_ms(), self.now);
            self.seek_again().await;
            while let Some(incident) = log.incidents.get(next)
                && log.first_min + incident.at_min <= self.now
            {
                made.send_replace(next);
                self.request(next).await?;
                self.look(sightings);
                next += 1;
            }
            for say in self.field.say(self.now) {
                self.say(say).await;
                self.look(sightings);
            }
            self.settle(sightings).await?;
            bar.set_position(self.driven.tally.completed() as u64);
        }
    }

    async fn request(&mut self, number: usize) -> Result<(), CliError> {
        let incident = &self.stage.log.incidents[number];
        let (customer, client) = self
            .stage
            .customers
            .get(&incident.caller)
            .ok_or_else(|| CliError::failed("a caller has no device"))?;
        let sent = Instant::now();
        let id = client.request(&request(incident)).await;
        let id = id.map_err(|error| CliError::failed(format!("no request: {error}")))?;
        let ticket = EntityId::ticket_of(*customer, id);
        self.driven.tally.sent(*customer, id, sent);
        self.driven.tickets.insert(number, ticket);
        self.numbers.insert(ticket, number);
        self.awaited.receipts.insert(id, ticket);
        self.awaited.offers.insert(ticket);
        Ok(())
    }

    async fn say(&mut self, Say { who, job, word }: Say) {
        let Some(technician) = self.stage.technicians.get(who) else { return };
        let ticket = job.ticket;
        let alert = matches!(word, Word::Accept { .. } | Word::Decline).then_some(job.alert);
        let answer = match word {
            Word::Accept { eta_min } => Answer::Accept { eta_min },
            Word::Decline => Answer::Decline { reason: "not now".into() },
            Word::EnRoute => Answer::EnRoute,
            Word::OnSite => Answer::OnSite,
            Word::Completed => Answer::Completed { note: "done".into() },
            Word::CannotComplete => Answer::CannotComplete { reason: "not my trade".into() },
        };
        let body = ResponseBody { ticket, offer: job.offer, answer };
        let id = match technician.client.respond(alert, &body).await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "a technician's device cannot answer");
                self.driven.unquiet += 1;
                self.field.lost(self.now, who, ticket);
                return;
            }
        };
        let awaited = &mut self.awaited;
        awaited.receipts.insert(id, ticket);
        let confirmation = match word {
            Word::Accept { .. } => Some(2),
            Word::Completed => Some(4),
            Word::Decline | Word::CannotComplete => {
                awaited.offers.insert(ticket);
                None
            }
            Word::EnRoute | Word::OnSite => None,
        };
        awaited.confirmations.extend(confirmation.map(|number| (ticket, number)));
    }

    fn look(&mut self, sightings: &mut mpsc::Receiver<Sighting>) {
        while let Ok(sighting) = sightings.try_recv() {
            self.see(&sighting);
        }
    }

    /// The clock stands until all is answered.
    async fn settle(&mut self, sightings: &mut mpsc::Receiver<Sighting>) -> Result<(), CliError> {
        let until = Instant::now() + PATIENCE;
        while !self.awaited.is_quiet() {
            match timeout(LOOK_AFTER, sightings.recv()).await {
                Ok(Some(sighting)) => self.see(&sighting),
                Ok(None) => return Err(CliError::failed("all devices ended")),
                Err(_) => self.find_unfilled().await,
            }
            if Instant::now() > until {
                self.driven.unquiet += 1;
                self.awaited = Awaited::default();
            }
        }
        Ok(())
    }

    fn see(&mut self, sighting: &Sighting) {
        self.driven.tally.see(sighting);
        match &sighting.event {
            Event::Receipt { message_id, body } => {
                let ticket = self.awaited.receipts.remove(message_id).or(body.ticket);
                if let Some(ticket) = ticket
                    && body.status != ReceiptStatus::Received
                {
                    self.give_up(sighting.who, ticket);
                }
            }
            Event::Alert { message_id, body, .. } => {
                self.awaited.offers.remove(&body.ticket);
                self.unfilled.remove(&body.ticket);
                let (who, number) =
                    (self.people.get(&sighting.who), self.numbers.get(&body.ticket));
                if let (Some(who), Some(number)) = (who, number) {
                    let job = Job {
                        number: *number,
                        ticket: body.ticket,
                        offer: body.offer,
                        alert: *message_id,
                        priority: body.priority,
                        place: body.location,
                        subject: (body.category, body.subcategory),
                    };
                    self.field.alerted(self.now, *who, job);
                }
            }
            Event::Confirmation { body, .. } => {
                self.driven.dispatches_seen += usize::from(body.number == 2);
                self.awaited.confirmations.remove(&(body.ticket, body.number));
            }
            Event::Expired { message_id } => {
                if let Some(ticket) = self.awaited.receipts.remove(message_id) {
                    self.give_up(sighting.who, ticket);
                }
            }
            Event::Connected
            | Event::Disconnected { .. }
            | Event::Refused { .. }
            | Event::Note { .. }
            | Event::Step { .. } => {}
        }
    }

    /// Somebody's word did not count: nothing more is awaited of it.
    fn give_up(&mut self, who: EntityId, ticket: EntityId) {
        if let Some(who) = self.people.get(&who) {
            self.field.lost(self.now, *who, ticket);
        }
        self.awaited.confirmations.retain(|(awaited, _)| *awaited != ticket);
        self.awaited.offers.remove(&ticket);
    }

    /// Where only offers are awaited, the server knows whether nobody was found.
    async fn find_unfilled(&mut self) {
        if !self.awaited.receipts.is_empty() {
            return;
        }
        for ticket in self.awaited.offers.clone() {
            let story = self.stage.api.get::<TicketStory>(&format!("/v1/tickets/{ticket}")).await;
            // A node that is away is asked again; a refused request has no ticket.
            if story.is_ok_and(|story| story.state == "unfilled") {
                self.awaited.offers.remove(&ticket);
                self.unfilled.insert(ticket);
            }
        }
    }

    /// An operator orders to seek again, at most so often.
    async fn seek_again(&mut self) {
        for ticket in std::mem::take(&mut self.unfilled) {
            let orders = self.ordered.entry(ticket).or_default();
            if *orders == ORDERS_MAX {
                continue;
            }
            *orders += 1;
            let (order, path) =
                (json!({ "order": "reassign" }), format!("/v1/tickets/{ticket}/orders"));
            // Refused where the ticket was offered by itself meanwhile.
            if self.stage.api.post::<Value>(&path, &order).await.is_ok() {
                self.driven.orders += 1;
                self.awaited.offers.insert(ticket);
            }
        }
    }
}
