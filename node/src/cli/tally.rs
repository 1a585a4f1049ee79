//! What became of each request, as the devices saw it.
//!
//! A receipt (R1) may come again: who asks again gets the same. A confirmation may not, where nobody takes a ticket back,
//! reopens it or comes at another time: one dispatch (R2), one completion (R4), and no change (R3) that says again what one
//! before it said. Where somebody does (`field`), duplicates are not asked for.

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_device::Event;
use fieldmesh_domain::{
    EntityId,
    message::{ConfirmationBody, ReceiptStatus},
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Something that a device saw.
pub(super) struct Sighting {
    /// Whose device.
    pub(super) who: EntityId,
    pub(super) event: Event,
    pub(super) at: Instant,
}

struct Request {
    customer: EntityId,
    sent: Instant,
    receipt: Option<Instant>,
    /// The domain said no before it promised anything. A request that expired or was taken for a
    /// repetition is not refused: it is lost.
    is_refused: bool,
    alert: Option<Instant>,
    confirmation: Option<Instant>,
    /// Dispatches that the customer saw, each with its technician.
    dispatched: Vec<Option<EntityId>>,
    /// Changes that it saw, each once, and those that said again what one of them did.
    changed: Vec<ConfirmationBody>,
    changed_again: usize,
    /// How often it was told that the work is done.
    done: usize,
}

impl Request {
    fn new(customer: EntityId, sent: Instant) -> Self {
        Self {
            customer,
            sent,
            receipt: None,
            is_refused: false,
            alert: None,
            confirmation: None,
            dispatched: Vec::new(),
            changed: Vec::new(),
            changed_again: 0,
            done: 0,
        }
    }

    /// Confirmations that were there already.
    fn repeated(&self) -> usize {
        let [dispatched, done] = [self.dispatched.len(), self.done];
        dispatched.saturating_sub(1) + done.saturating_sub(1) + self.changed_again
    }
}

/// Of milliseconds the half, 99 in a hundred and the largest; to a thousandth.
pub(super) fn percentiles(mut of: Vec<f64>) -> [Option<f64>; 3] {
    of.sort_by(f64::total_cmp);
    [50, 99, 100].map(|percent: usize| {
        let last = of.len().checked_sub(1)?;
        of.get((of.len() * percent / 100).min(last)).map(|ms| (ms * 1000.0).round() / 1000.0)
    })
}

/// The same, told.
pub(super) fn spread(of: Vec<f64>) -> Value {
    let [p50, p99, max] = percentiles(of);
    json!({ "p50": p50, "p99": p99, "max": max })
}

/// All requests by their ticket.
#[derive(Default)]
pub(super) struct Tally {
    requests: BTreeMap<EntityId, Request>,
    tickets: BTreeMap<[u8; 16], EntityId>,
    confirmed: usize,
    completed: usize,
    refused: usize,
}

impl Tally {
    pub(super) fn sent(&mut self, customer: EntityId, message_id: [u8; 16], sent: Instant) {
        let ticket = EntityId::ticket_of(customer, message_id);
        self.requests.insert(ticket, Request::new(customer, sent));
        self.tickets.insert(message_id, ticket);
    }

    pub(super) fn see(&mut self, sighting: &Sighting) {
        let at = sighting.at;
        match &sighting.event {
            Event::Receipt { message_id, body } => {
                let ticket = self.tickets.get(message_id);
                let Some(request) = ticket.and_then(|ticket| self.requests.get_mut(ticket)) else {
                    return;
                };
                if body.status == ReceiptStatus::Received {
                    request.receipt.get_or_insert(at);
                } else if body.status == ReceiptStatus::Invalid
                    && request.receipt.is_none()
                    && !request.is_refused
                {
                    request.is_refused = true;
                    self.refused += 1;
                }
            }
            Event::Alert { body, .. } => {
                if let Some(request) = self.requests.get_mut(&body.ticket) {
                    request.alert.get_or_insert(at);
                }
            }
            Event::Confirmation { body, .. } => self.confirm(body, at),
            _ => {}
        }
    }

    fn confirm(&mut self, body: &ConfirmationBody, at: Instant) {
        let Some(request) = self.requests.get_mut(&body.ticket) else { return };
        match body.number {
            2 => {
                request.dispatched.push(body.technician);
                if request.confirmation.is_none() {
                    request.confirmation = Some(at);
                    self.confirmed += 1;
                }
            }
            4 => {
                request.done += 1;
                self.completed += 1;
            }
            _ if request.changed.contains(body) => request.changed_again += 1,
            _ => request.changed.push(body.clone()),
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn confirmed(&self) -> usize {
        self.confirmed
    }

    /// Confirmations that the work is done.
    pub(super) fn completed(&self) -> usize {
        self.completed
    }

    pub(super) fn refused(&self) -> usize {
        self.refused
    }

    /// Requests that are still to be confirmed.
    pub(super) fn open(&self) -> usize {
        self.requests.len().saturating_sub(self.confirmed + self.refused)
    }

    /// How far those came: where to look for what is lost.
    pub(super) fn open_ones(&self) -> Value {
        const NAMED: usize = 3;
        let is_open = |request: &Request| request.confirmation.is_none() && !request.is_refused;
        let open: Vec<(&EntityId, &Request)> =
            self.requests.iter().filter(|(_, request)| is_open(request)).collect();
        let customers: BTreeSet<EntityId> = open.iter().map(|(_, one)| one.customer).collect();
        let tickets: Vec<String> =
            open.iter().take(NAMED).map(|(ticket, _)| ticket.to_string()).collect();
        json!({
            "customers": customers.len(),
            "without_receipt": open.iter().filter(|(_, one)| one.receipt.is_none()).count(),
            "without_alert": open.iter().filter(|(_, one)| one.alert.is_none()).count(),
            "tickets": tickets,
        })
    }

    /// Confirmations that a customer saw more than once.
    pub(super) fn duplicates(&self) -> usize {
        self.requests.values().map(Request::repeated).sum()
    }

    /// Tickets that were confirmed with two technicians.
    pub(super) fn double_assignments(&self) -> usize {
        let technicians =
            |request: &Request| request.dispatched.iter().flatten().collect::<BTreeSet<_>>().len();
        self.requests.values().filter(|request| technicians(request) > 1).count()
    }

    fn spans(&self, to: impl Fn(&Request) -> Option<Instant>) -> Value {
        let span =
            |request: &Request| to(request).map(|at| (at - request.sent).as_secs_f64() * 1000.0);
        let [p50, p99, _] = percentiles(self.requests.values().filter_map(span).collect());
        json!({ "p50": p50, "p99": p99 })
    }

    pub(super) fn to_receipt(&self) -> Value {
        self.spans(|request| request.receipt)
    }

    pub(super) fn to_alert(&self) -> Value {
        self.spans(|request| request.alert)
    }

    pub(super) fn to_confirmation(&self) -> Value {
        self.spans(|request| request.confirmation)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{EntityKind, Region, message::ReceiptBody};

    use super::*;

    fn somebody(kind: EntityKind) -> EntityId {
        EntityId::new(kind, "eu1".parse::<Region>().unwrap(), [7; 10])
    }

    /// One request of one customer, and what its device was told then.
    fn told(confirmations: &[(u8, &str)]) -> Tally {
        let (customer, now) = (somebody(EntityKind::Customer), Instant::now());
        let mut tally = Tally::default();
        tally.sent(customer, [1; 16], now);
        for (id, (number, text)) in (1..).zip(confirmations) {
            let body = ConfirmationBody {
                number: *number,
                ticket: EntityId::ticket_of(customer, [1; 16]),
                technician: Some(somebody(EntityKind::Technician)),
                technician_name: String::new(),
                eta_min: None,
                text: (*text).to_owned(),
            };
            let (message_id, request) = ([id; 16], Some([1; 16]));
            let event = Event::Confirmation { message_id, request, sequence: u64::from(id), body };
            tally.see(&Sighting { who: customer, event, at: now });
        }
        tally
    }

    #[test]
    fn a_ticket_that_is_dispatched_changed_and_done_has_no_duplicates() {
        let tally = told(&[(2, ""), (3, "no part"), (3, "gone"), (4, "done")]);
        assert_eq!((tally.duplicates(), tally.confirmed(), tally.completed()), (0, 1, 1));
    }

    #[test]
    fn each_confirmation_that_comes_again_under_another_identifier_is_a_duplicate() {
        assert_eq!(told(&[(2, ""), (2, "")]).duplicates(), 1);
        assert_eq!(told(&[(2, ""), (3, "gone"), (3, "gone")]).duplicates(), 1);
        assert_eq!(told(&[(2, ""), (4, "done"), (4, "done"), (4, "again")]).duplicates(), 2);
    }

    #[test]
    fn who_is_refused_is_not_waited_for() {
        let mut tally = told(&[]);
        let body =
            ReceiptBody { status: ReceiptStatus::Invalid, ticket: None, reason: "no".to_owned() };
        let event = Event::Receipt { message_id: [1; 16], body };
        let who = somebody(EntityKind::Customer);
        tally.see(&Sighting { who, event, at: Instant::now() });
        assert_eq!((tally.refused(), tally.open()), (1, 0));
    }
}
