//! What became of each request, as the devices saw it.

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_device::Event;
use fieldmesh_domain::{EntityId, message::ReceiptStatus};
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
        let request = Request {
            customer,
            sent,
            receipt: None,
            is_refused: false,
            alert: None,
            confirmation: None,
            dispatched: Vec::new(),
        };
        self.requests.insert(ticket, request);
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
            Event::Confirmation { body, .. } if body.number == 2 => {
                if let Some(request) = self.requests.get_mut(&body.ticket) {
                    request.dispatched.push(body.technician);
                    if request.confirmation.is_none() {
                        request.confirmation = Some(at);
                        self.confirmed += 1;
                    }
                }
            }
            Event::Confirmation { body, .. } if body.number == 4 => {
                self.completed += usize::from(self.requests.contains_key(&body.ticket));
            }
            _ => {}
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

    /// Dispatches that a customer saw more than once.
    pub(super) fn duplicates(&self) -> usize {
        self.requests.values().map(|request| request.dispatched.len().saturating_sub(1)).sum()
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
