//! What a customer's device does with one of its tickets: it becomes an order of that ticket.
//!
//! **Invariant:** only a ticket of the customer's own slot is told. **Not here:** whether the ticket lets it
//! (`ticket`).

use super::{Customer, Event, OPEN_TICKETS_MAX};
use crate::{
    Ctx, EntityKind, Rejection, RejectionCode,
    message::{Act, Amendment, CustomerActBody},
    ticket::{Order, Reader},
};

impl Customer {
    /// A ticket that has ended is not known here any more, but its identifier shows whose group it is
    /// of; the ticket itself knows its customer.
    pub(super) fn act(
        &self,
        message_id: [u8; 16],
        content_hash: [u8; 32],
        body: &CustomerActBody,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        self.check_served()?;
        if self.acted_by == Some(message_id) {
            return Ok(vec![]);
        }
        body.check()?;
        let ticket = body.ticket;
        let may_be_own = ticket.kind() == EntityKind::Ticket
            && (ticket.slot(), ticket.region()) == (ctx.id.slot(), ctx.id.region());
        if !may_be_own {
            return Rejection::new(RejectionCode::Invalid, "this is no ticket of the customer");
        }
        let is_more = matches!(body.act, Act::Reopen { .. }) && !self.open.contains(&ticket);
        if is_more && self.open.len() >= OPEN_TICKETS_MAX {
            return Rejection::new(RejectionCode::Limit, "the customer has 4096 open tickets");
        }
        Ok(vec![Event::Acted { message_id, content_hash, body: body.clone() }])
    }
}

/// What an act orders of its ticket.
pub(super) fn order(act: &Act) -> Order {
    match act.clone() {
        Act::Cancel { reason } => Order::Cancel { reason },
        Act::Confirm => Order::Confirm,
        Act::Object { reason } => Order::Object { reason },
        Act::Amend { text, location } => Order::Amend(Amendment { text, priority: None, location }),
        Act::Message { text, enclosure } => {
            Order::Message { to: Reader::Technician, text, enclosure }
        }
        Act::Reopen { reason } => Order::Reopen { reason },
    }
}
