//! A ticket that is asked for again after its end.
//!
//! A customer knows a request that comes again by what it remembers, which is not everything for ever: the keys of
//! what operators asked for are forgotten, and so are the latest requests where a region is promoted without them.
//! What is asked for again then is the same ticket, by its name; the customer counts it among its open ones, and has
//! to hear that it has ended.
//!
//! **Invariants:** a ticket does not live again by this; the customer's device, which may have sent nothing, is told
//! nothing. **Not here:** reopening (`orders`).

use super::{Command, Event, Ticket};

impl Ticket {
    pub(super) fn opened_again(&self, command: &Command) -> Vec<Event> {
        let Command::Open { customer, message_id, .. } = command else { return vec![] };
        let is_own = self.customer == Some(*customer) && self.is_ended_request(*message_id);
        // An event that earlier releases know.
        let refused = || Event::OrderRefused {
            id: *message_id,
            why: "the ticket has ended: reopen it, or ask under another key".to_owned(),
        };
        is_own.then(refused).into_iter().collect()
    }

    /// Whether the message asked for this ticket, and not for something about it.
    pub(super) fn is_ended_request(&self, message: [u8; 16]) -> bool {
        self.stage.is_final() && self.message_id == Some(message)
    }
}
