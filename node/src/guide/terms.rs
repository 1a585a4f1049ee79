//! What escalation policies, promises and silences add to the commands of tickets and of the desk.
//!
//! **Invariants:** a ticket is opened under the versions that are in force here then, each named; a command
//! that says something of its own is left as it is. **Not here:** what a document says (the policies'
//! package), what a ticket makes of it (`domain::ticket`).

use fieldmesh_domain::{
    EntityId, desk,
    message::RequestBody,
    ticket::{self, Silence, Subject, Terms},
    time::Millis,
    triage,
};
use fieldmesh_policy::Ticket;

use crate::documents::Known;

/// What is known of a ticket that is opened.
pub(super) struct Opening<'a> {
    pub(super) ticket: EntityId,
    pub(super) customer: EntityId,
    pub(super) body: &'a RequestBody,
    pub(super) tier: u8,
    /// What a rule set; none where the built-in rules say it.
    pub(super) priority: Option<u8>,
    /// The policy that a rule routes it to.
    pub(super) policy: Option<&'a str>,
}

impl Opening<'_> {
    /// The terms that it is opened under; none where no document says anything of it.
    pub(super) fn terms(&self, known: &Known, now: Millis) -> Option<Terms> {
        let priority = self.priority.unwrap_or_else(|| triage::priority(self.body, self.tier));
        let ticket = Ticket { priority, category: self.body.category, tier: self.tier };
        let policies = known.policies.as_ref();
        let subject = Subject {
            customer: Some(self.customer),
            category: self.body.category,
            priority,
            location: self.body.location,
        };
        let targets = known.targets.as_ref();
        let terms = Terms {
            policy: policies
                .and_then(|one| one.content.policy_of(&ticket, self.policy, one.version)),
            target: targets.and_then(|one| one.content.target_of(&ticket, one.version)),
            silence: silence(known, self.ticket, &subject, now),
        };
        (terms != Terms::default()).then_some(terms)
    }
}

/// The silence that applies to a ticket now.
pub(crate) fn silence(
    known: &Known,
    ticket: EntityId,
    subject: &Subject,
    now: Millis,
) -> Option<Silence> {
    let silences = known.silences.as_ref()?;
    silences.content.silence_of(subject, ticket.region(), now, silences.version)
}

/// Says whether a silence applies to a ticket that asks.
pub(super) fn reconsider(
    known: &Known,
    ticket: EntityId,
    command: &mut ticket::Command,
    now: Millis,
) {
    if let ticket::Command::Reconsider { subject, silence: said } = command {
        *said = silence(known, ticket, subject, now);
    }
}

/// Says how many offers a technician may have in a minute.
pub(super) fn pace(known: &Known, command: &mut desk::Command) {
    if let desk::Command::Match { pace, .. } = command {
        *pace = pace_of(known);
    }
}

/// How many there may be.
pub(super) fn pace_of(known: &Known) -> Option<u16> {
    known.policies.as_ref().and_then(|one| one.content.offers_per_minute)
}
