//! What of a ticket is told outside: whoever subscribed to what happened hears of it.
//!
//! **Invariants:** what is told holds nothing of what people wrote; what happens twice is told twice, and the
//! same event once. **Not here:** whether anybody subscribed (`notifier`, and before it `node`).

use super::{Event, Progress, Ticket};
use crate::{
    Command, Effect, EntityId,
    notifier::{self, Notice, Recipient, What},
    time::Millis,
};

impl Ticket {
    pub(super) fn told_outside(&self, event: &Event, id: EntityId) -> Option<Effect> {
        let what = what(event)?;
        // Several may refuse one offer, which moves no deadline.
        let refusals = if what == What::Declined { self.asked.len() as u64 } else { 0 };
        let number = self.told_as() ^ refusals << 48;
        Some(self.notice(id, Recipient::Subscribers, what, number, Millis(0), String::new()))
    }

    /// Each time that something is told again there was another deadline, or another order.
    pub(super) fn told_as(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.epoch)
    }

    /// Tells one of a ticket. The number tells apart what is told of it more than once; without a time it is
    /// that at which the notifier hears of it.
    pub(super) fn notice(
        &self,
        id: EntityId,
        to: Recipient,
        what: What,
        number: u64,
        at: Millis,
        detail: String,
    ) -> Effect {
        let notice = Notice {
            id: Notice::id_of(id, what, number),
            to,
            ticket: id,
            what,
            priority: self.priority,
            stage: self.stage,
            at,
            detail,
        };
        let command = Command::Notifier(notifier::Command::Tell(notice));
        Effect::Tell { to: EntityId::notifier(id.region()), command }
    }
}

pub(super) fn what(event: &Event) -> Option<What> {
    Some(match event {
        Event::Opened { .. } => What::Opened,
        Event::Triaged { .. } => What::Triaged,
        Event::Offered { .. } | Event::Assigned { .. } => What::Offered,
        Event::Unfilled { .. } => What::Unfilled,
        Event::OfferExpired | Event::OfferRefused { .. } => What::Declined,
        Event::Accepted { .. } => What::Accepted,
        Event::Progressed { progress, .. } => match progress {
            Progress::EnRoute => What::EnRoute,
            Progress::OnSite | Progress::Resumed => What::OnSite,
            Progress::Paused(_) => What::Paused,
            Progress::Completed { .. } => What::Completed,
            Progress::CannotComplete { .. } => What::CannotComplete,
        },
        Event::Overdue { .. } => What::Overdue,
        Event::Cancelled => What::Cancelled,
        Event::Closed => What::Closed,
        Event::Held { .. } | Event::Silenced(_) => What::Held,
        Event::TakenBack { .. } => What::TakenBack,
        Event::Reopened => What::Reopened,
        Event::Grouped { .. } => What::Grouped,
        // What follows from an order tells what happened.
        Event::Ordered { .. }
        | Event::MatchAsked { .. }
        | Event::LateAcceptRefused { .. }
        | Event::Reconciled { .. }
        | Event::Adopted { .. }
        | Event::Kept { .. }
        | Event::Noted(_)
        | Event::OrderRefused { .. }
        | Event::ParentAsked { .. }
        | Event::ParentLives { .. }
        | Event::ChildJoined { .. }
        | Event::ChildLeft { .. }
        | Event::ChildAnswered { .. }
        | Event::ParentSought { .. }
        | Event::Compared { .. }
        | Event::AlsoOffered { .. }
        | Event::Switched { .. }
        | Event::OthersReleased { .. }
        | Event::AlertReached { .. }
        | Event::TermsSet(_)
        | Event::Answered { .. }
        | Event::Rested
        | Event::Clocked { .. }
        | Event::SilenceAsked { .. }
        | Event::Rearmed { .. }
        | Event::EtaChanged { .. }
        // The policy tells of these itself.
        | Event::Escalated { .. }
        | Event::Broken { .. } => return None,
    })
}
