//! Requests that an integration makes for a customer: one ticket for each case that it reports.
//!
//! A case that is reported again while its ticket is open is the same ticket; one that is reported after its
//! end is another. Nobody signed for it: the events name the integration instead of a message.
//!
//! **Invariants:** a case that is known has an open ticket. **Not here:** whom to believe (`integration`).

use std::collections::BTreeMap;

use minicbor::{Decode, Encode, bytes::ByteArray};

use super::{Customer, Event, OPEN_TICKETS_MAX, Standing};
use crate::{
    Command as AnyCommand, Ctx, Effect, EntityId, Rejection, RejectionCode,
    ids::fnv1a,
    integration::Reported,
    message::{Location, RequestBody},
    ticket::{self, Order, Party},
    time::Millis,
};

/// Cases of integrations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Cases {
    /// Opened so far, so that no two have one ticket.
    #[n(0)]
    pub count: u64,
    #[n(1)]
    pub open: BTreeMap<ByteArray<32>, EntityId>,
}

/// An integration that speaks for a customer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Spokesman {
    #[n(0)]
    pub id: EntityId,
    #[n(1)]
    pub name: String,
    /// What it says of a case is that a person knows of it, and not that it is over.
    #[n(2)]
    pub acknowledges: Option<bool>,
}

impl Spokesman {
    fn acknowledges(&self) -> bool {
        self.acknowledges == Some(true)
    }
}

impl Customer {
    fn cases(&self) -> &BTreeMap<ByteArray<32>, EntityId> {
        static NONE: BTreeMap<ByteArray<32>, EntityId> = BTreeMap::new();
        self.cases.as_ref().map_or(&NONE, |cases| &cases.open)
    }

    pub(super) fn report(
        &self,
        by: &Spokesman,
        case: [u8; 32],
        reported: &Reported,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        if self.standing == Standing::Suspended {
            return Rejection::new(RejectionCode::NotNow, "the customer is suspended");
        }
        if self.cases().contains_key(&ByteArray::from(case)) {
            return Ok(vec![]);
        }
        if self.open.len() >= OPEN_TICKETS_MAX {
            return Rejection::new(RejectionCode::Limit, "the customer has 4096 open tickets");
        }
        let body = self.body(reported);
        body.check()?;
        let count = self.cases.as_ref().map_or(0, |cases| cases.count);
        let message_id = id_of(case, count);
        let ticket = EntityId::ticket_of(ctx.id, message_id);
        let by = by.clone();
        Ok(vec![Event::Reported { by, case, message_id, ticket, body, at: ctx.now }])
    }

    /// Where the customer is, unless it says where.
    pub(super) fn body(&self, reported: &Reported) -> RequestBody {
        let Reported { category, subcategory, impact, urgency, location, text } = reported;
        let location: Location = location.unwrap_or(self.location);
        RequestBody {
            category: *category,
            subcategory: *subcategory,
            impact: *impact,
            urgency: *urgency,
            location,
            text: text.clone(),
        }
    }

    pub(super) fn resolve(&self, by: &Spokesman, case: [u8; 32], ctx: &Ctx) -> Vec<Event> {
        let ticket = self.cases().get(&ByteArray::from(case));
        let resolved = |ticket: &EntityId| Event::Resolved {
            by: by.clone(),
            case,
            ticket: *ticket,
            at: ctx.now,
        };
        ticket.map(resolved).into_iter().collect()
    }

    pub(super) fn reported(&mut self, case: [u8; 32], ticket: EntityId) {
        if self.standing == Standing::Enrolled {
            self.standing = Standing::Active;
        }
        self.open.insert(ticket);
        let cases = self.cases.get_or_insert_default();
        cases.count = cases.count.saturating_add(1);
        cases.open.insert(case.into(), ticket);
    }

    /// Another report of a case that is over is another ticket, whether this one has ended yet or not.
    pub(super) fn resolved(&mut self, by: &Spokesman, case: [u8; 32]) {
        if let Some(cases) = self.cases.as_mut().filter(|_| !by.acknowledges()) {
            cases.open.remove(&ByteArray::from(case));
        }
    }

    pub(super) fn case_ended(&mut self, ticket: EntityId) {
        if let Some(cases) = &mut self.cases {
            cases.open.retain(|_, open| *open != ticket);
        }
    }
}

/// Different for each case and count.
fn id_of(case: [u8; 32], count: u64) -> [u8; 16] {
    let mut seed = [&case[..], &count.to_be_bytes()].concat();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&fnv1a(&seed).to_be_bytes());
    seed.push(1);
    id[8..].copy_from_slice(&fnv1a(&seed).to_be_bytes());
    id
}

/// The case is over: done work is confirmed, and any other work is not needed any more. The ticket takes the
/// order that fits it, and refuses the other. Or a person knows of the case: that is an order each time.
pub(super) fn end(by: &Spokesman, case: [u8; 32], ticket: EntityId, at: Millis) -> Vec<Effect> {
    let reason = "the alarm is over".to_owned();
    let order = |order, count| Effect::Tell {
        to: ticket,
        command: AnyCommand::Ticket(ticket::Command::Order {
            order,
            by: Party::Integration(by.name.clone()),
            id: id_of(case, count),
            marks: None,
        }),
    };
    if by.acknowledges() {
        return vec![order(Order::Acknowledge, at.0)];
    }
    vec![order(Order::Confirm, u64::MAX), order(Order::Cancel { reason }, u64::MAX - 1)]
}
