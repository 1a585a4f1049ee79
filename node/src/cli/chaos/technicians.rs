//! The technicians of a run: each takes what it is offered, and says that the work is done as soon as it was told that
//! it has it; some of them a while later, so that tickets are had for longer than a message takes.
//!
//! **Invariants:** what a device says is noted before it is sent; what it is told, in the order in which it is told.
//! **Not here:** whether it may be told so (`fieldmesh_chaos`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fieldmesh_chaos::history::{Answer, Offer, Operation, What};
use fieldmesh_device::{Client, Event};
use fieldmesh_domain::{
    EntityId,
    message::{self, AlertBody, OfferId, ReceiptBody, ReceiptStatus, ResponseBody},
};
use tokio::time::{Instant, sleep_until};

use super::{recorder::Recorder, told::Told};
use crate::cli::population::{Device, respond};

/// One of so many technicians works for a while.
const WORKS_EACH: u32 = 10;
const WORK: Duration = Duration::from_secs(1);

/// What was said and not answered yet.
#[derive(Clone, Copy)]
struct Said {
    op: u64,
    ticket: EntityId,
    offer: OfferId,
    answer: Answer,
}

struct Technician {
    id: EntityId,
    client: Client,
    recorder: Arc<Recorder>,
    /// By its message; what is not answered the device gives up.
    said: BTreeMap<[u8; 16], Said>,
    /// How long it works.
    takes: Duration,
    /// What it works on, with when that is done; one for each ticket that it was told to have, in this order.
    works: VecDeque<(Instant, (EntityId, OfferId))>,
    told: Arc<Told>,
    under_way: Arc<AtomicUsize>,
}

/// The device of the technician with this number, for as long as it runs; what it said and has no answer to, and what
/// it works on, is counted.
pub(super) async fn work(
    number: u32,
    device: Device,
    recorder: Arc<Recorder>,
    told: Arc<Told>,
    under_way: Arc<AtomicUsize>,
) {
    let Device { id, client, mut events } = device;
    let (said, works) = (BTreeMap::new(), VecDeque::new());
    let takes = if number.is_multiple_of(WORKS_EACH) { WORK } else { Duration::ZERO };
    let mut technician = Technician { id, client, recorder, said, takes, works, told, under_way };
    loop {
        let done = technician.works.front().copied();
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => technician.sees(event).await,
                None => return,
            },
            () = sleep_until(done.map_or_else(Instant::now, |(at, _)| at)), if done.is_some() => {
                technician.is_done().await;
            }
        }
    }
}

impl Technician {
    async fn sees(&mut self, event: Event) {
        match event {
            Event::Alert { message_id, sequence, body: AlertBody { ticket, offer, .. } } => {
                let (by, told, position) = (self.id.to_string(), of(offer), Some(sequence));
                let ticket_text = ticket.to_string();
                let alerted = What::Alerted { by, ticket: ticket_text, offer: told, position };
                self.recorder.note(alerted);
                self.says(Some(message_id), (ticket, offer), Answer::Accept).await;
            }
            Event::Receipt { message_id, body } => self.is_told(message_id, &body).await,
            Event::Expired { message_id } => {
                if let Some(Said { op, .. }) = self.said.remove(&message_id) {
                    self.recorder.note(What::Unknown { op, why: "not received in time".into() });
                    self.under_way.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Event::Refused { .. } => {
                self.recorder.note(What::TurnedAway { device: self.id.to_string() });
            }
            _ => {}
        }
    }

    async fn is_told(&mut self, message_id: [u8; 16], body: &ReceiptBody) {
        let Some(Said { op, ticket, offer, answer }) = self.said.remove(&message_id) else {
            // What it was told before does not hold any more, or it never answered.
            if let (ReceiptStatus::NoLongerYours, Some(ticket)) = (body.status, body.ticket) {
                self.lets_go_of(ticket);
                self.told.taken_back(self.id, ticket);
                let (by, ticket) = (self.id.to_string(), ticket.to_string());
                self.recorder.note(What::Withdrawn { by, ticket });
            }
            return;
        };
        let refused = |why: &str| What::Refused { op, why: why.to_owned() };
        self.recorder.note(match body.status {
            ReceiptStatus::Received => What::Ok { op, read: None, at: None },
            ReceiptStatus::NoLongerYours => refused("no longer yours"),
            ReceiptStatus::Invalid => refused("invalid"),
            ReceiptStatus::Expired => What::Unknown { op, why: "expired".to_owned() },
            ReceiptStatus::Replay => What::Unknown { op, why: "taken for another".to_owned() },
        });
        match (body.status, answer) {
            (ReceiptStatus::Received, Answer::Accept) if self.takes.is_zero() => {
                self.says(None, (ticket, offer), Answer::Complete).await;
            }
            (ReceiptStatus::Received, Answer::Accept) => {
                self.under_way.fetch_add(1, Ordering::Relaxed);
                self.works.push_back((Instant::now() + self.takes, (ticket, offer)));
            }
            (ReceiptStatus::Received, Answer::Complete) => self.told.is_done(self.id, ticket),
            _ => {}
        }
        // Behind what follows from it: whoever waits until nothing is under way waits for that, too.
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it worked on longest is done.
    async fn is_done(&mut self) {
        let Some((_, of)) = self.works.pop_front() else { return };
        self.says(None, of, Answer::Complete).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Somebody else works on it.
    fn lets_go_of(&mut self, ticket: EntityId) {
        let before = self.works.len();
        self.works.retain(|(_, (of, _))| *of != ticket);
        self.under_way.fetch_sub(before - self.works.len(), Ordering::Relaxed);
    }

    /// Notes it, and then sends it. Its receipt is seen only behind this.
    async fn says(
        &mut self,
        alert: Option<[u8; 16]>,
        (ticket, offer): (EntityId, OfferId),
        answer: Answer,
    ) {
        let operation = Operation::Answer { ticket: ticket.to_string(), offer: of(offer), answer };
        let op = self.recorder.invoke(&self.id.to_string(), operation);
        let sent = match answer {
            Answer::Accept => message::Answer::Accept { eta_min: 30 },
            Answer::Complete => message::Answer::Completed { note: "done".into() },
        };
        let body = ResponseBody { ticket, offer, answer: sent };
        // Before it is sent: its customer may hear of it before the device has it as sent.
        self.under_way.fetch_add(1, Ordering::Relaxed);
        match respond(&self.client, alert, &body).await {
            Some(id) => {
                self.said.insert(id, Said { op, ticket, offer, answer });
                self.recorder.is_known_by(op, id);
            }
            None => {
                self.recorder.note(What::Unknown { op, why: "it could not be sent".into() });
                self.under_way.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn of(OfferId { epoch, seq }: OfferId) -> Offer {
    Offer { epoch, seq }
}
