//! Mail on its way to devices: to the session, wherever it is; and that an alert has arrived, to its ticket.
//!
//! **Invariants:** a node that would not know what to do with something is not sent it; that an alert arrived
//! is said to its ticket under the alert's own id, and the ticket writes it down once. **Not here:** where
//! devices are (`sessions`), when mail is sent again (`actors::mailroom`).

use std::{sync::Weak, time::Duration};

use fieldmesh_actors::{
    AskError,
    commit::Cause,
    mail::About,
    seams::{MailItem, Pending},
};
use fieldmesh_device::wire::PASSES;
use fieldmesh_domain::{
    Command, EntityId,
    placement::DELIVERIES,
    ticket::{self, Reach},
};

use super::{
    Leader, NodeCourier, read,
    sessions::Place,
    wire::{Notice, SentAlert},
};

/// Whoever answers within this time has the alert: that it arrived is then no news, and costs no log entry.
const ANSWERED_AT_ONCE: Duration = Duration::from_millis(250);

impl NodeCourier {
    /// Every node knows of how far alerts come.
    fn may_tell(&self) -> bool {
        self.known.known().level() >= DELIVERIES
    }

    /// Hands mail to the session of its device; whether there is one that takes it.
    pub(super) fn hand_over(&self, mail: &MailItem) -> bool {
        let sessions = read(&self.sessions);
        let place = sessions.place(mail.to);
        match place.filter(|place| !mail.is_passed_over() || place.understands() >= PASSES) {
            Some(Place::Here(session)) => session.mail.try_send(mail.clone()).is_ok(),
            Some(Place::There(abroad)) => self.notify(abroad.node, Notice::Mail(mail.into())),
            None => false,
        }
    }

    /// Whether a device is told of what does not come: it knows what that means, and so does the node that it is
    /// connected to, which else had not said so.
    pub(super) fn may_pass(&self, device: EntityId) -> bool {
        read(&self.sessions).place(device).is_some_and(|place| place.understands() >= PASSES)
    }

    /// Whether a device that is connected waits for the number of a receipt that is mail: it does not know that such
    /// a one has a place in the order of its mail, and the number could as little be left out.
    pub(crate) fn holds_back(&self, device: EntityId) -> bool {
        read(&self.sessions).place(device).is_some_and(|place| place.understands() < PASSES)
    }

    /// The ticket hears that its alert has arrived.
    pub(super) fn tell_delivered(&self, mail: &MailItem) -> Option<Pending<bool>> {
        let About::Alert { ticket, offer, .. } = mail.about else { return None };
        if !self.may_tell() {
            return None;
        }
        let (technician, reach) = (mail.to, Reach::Delivered);
        let command = ticket::Command::AlertReached { technician, offer, reach };
        let cause = Cause::Operator { command_id: mail.message_id };
        let me = Weak::clone(&self.me);
        Some(Box::pin(async move {
            tokio::time::sleep(ANSWERED_AT_ONCE).await;
            let Some(me) = me.upgrade() else { return false };
            // Where so much is asked that there is no credit, it is said when the alert is sent again.
            let Some(credit) = me.admit(ticket) else { return false };
            match me.ask(ticket, Command::Ticket(command), cause, credit).await {
                // A ticket that is not there waits for nothing.
                Ok(_) | Err(AskError::Rejected(_)) => true,
                Err(error) => {
                    tracing::debug!(%ticket, %error, "a ticket is told later that its alert arrived");
                    false
                }
            }
        }))
    }

    /// The alerts that a device was sent and has not acknowledged; none where nobody who leads its shard
    /// answers, or understands the question.
    pub async fn sent(&self, device: EntityId) -> Option<Vec<SentAlert>> {
        match self.leader(self.known.group_of(device)?) {
            Leader::Here(_) => self.sent_here(device).await,
            Leader::There(node) if self.may_tell() => self.ways.as_ref()?.sent(node, device).await,
            Leader::There(_) | Leader::Nobody => None,
        }
    }

    /// The same, where this node leads its shard.
    pub async fn sent_here(&self, device: EntityId) -> Option<Vec<SentAlert>> {
        let sent = self.shard(self.known.group_of(device)?)?.sent(device).await.ok()?;
        Some(sent.into_iter().map(SentAlert::from).collect())
    }
}
