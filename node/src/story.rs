//! A ticket's history for people: what happened, when, by which rule, and why a technician was
//! chosen.

mod epochs;
pub(crate) mod offers;
mod ruled;

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{
    Aggregate, EntityId,
    escalation::Policy,
    message::Location,
    selection::{Choice, Exclusion, How, Rival},
    ticket::{Clock, Escalation, Event, Party, Promises, Terms, Ticket, Triage},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::ruled::{FailureStory, RuleStory, TriageStory, triage};
use self::{
    epochs::Epochs,
    offers::{ConfirmationStory, Deliveries, OfferStory},
    ruled::rules_of,
};
use crate::journal::HistoryEntry;

/// A ticket with all that happened to it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TicketStory {
    pub id: String,
    pub state: String,
    pub priority: u8,
    pub technician: Option<String>,
    /// The policy that it was opened under, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyStory>,
    /// What was promised when it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promises: Option<PromisesStory>,
    pub events: Vec<EventStory>,
    /// Whom it was offered to, and how far each alert came; oldest first.
    #[serde(default)]
    pub offers: Vec<OfferStory>,
    /// What the customer was told, besides the receipt for the request; oldest first.
    #[serde(default)]
    pub confirmations: Vec<ConfirmationStory>,
    /// What there is to say of it, though it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Head of the ticket's hash chain, hexadecimal.
    pub chain: String,
    /// Where the replica was that answered, for whoever prefers to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionStory>,
}

/// The last entry of a group's log that a replica had applied when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PositionStory {
    pub group: u32,
    pub term: u64,
    pub index: u64,
    /// Whose replica it is.
    pub node: u64,
}

/// How far an escalation policy is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyStory {
    pub name: String,
    /// Of the document.
    pub version: u32,
    /// Counted from 1; none while nobody is sought.
    pub step: Option<u32>,
    /// How often it began again.
    pub round: u32,
    /// Unix milliseconds.
    pub step_until_ms: Option<u64>,
    /// The operator who answered.
    pub acknowledged_by: Option<String>,
}

/// What was promised, and when it is due.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PromisesStory {
    pub target: String,
    /// Of the document.
    pub version: u32,
    pub respond: Option<ClockStory>,
    pub finish: Option<ClockStory>,
}

/// One clock; all in Unix milliseconds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ClockStory {
    /// None while it stands.
    pub due_ms: Option<u64>,
    /// Of the target, when it last stopped or started.
    pub left_ms: u64,
    pub kept_at_ms: Option<u64>,
    pub breached_at_ms: Option<u64>,
}

impl PolicyStory {
    fn of(escalation: &Escalation) -> Self {
        let Escalation { policy, at, due, answered_by, .. } = escalation;
        Self {
            name: policy.name.clone(),
            version: policy.version,
            step: due.map(|_| u32::from(at.step) + 1),
            round: at.round,
            step_until_ms: due.map(|due| due.0),
            acknowledged_by: answered_by.clone(),
        }
    }
}

impl PromisesStory {
    fn of(promises: &Promises) -> Self {
        let clock = |clock: Clock| ClockStory {
            due_ms: clock.due.map(|at| at.0),
            left_ms: clock.left_ms,
            kept_at_ms: clock.kept_at.map(|at| at.0),
            breached_at_ms: clock.broken_at.map(|at| at.0),
        };
        Self {
            target: promises.target.name.clone(),
            version: promises.target.version,
            respond: promises.respond.map(clock),
            finish: promises.finish.map(clock),
        }
    }
}

/// One event.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventStory {
    /// Unix milliseconds.
    pub at_ms: u64,
    pub event: String,
    pub detail: String,
    /// Whom it concerns, where it concerns a technician.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub technician: Option<String>,
    /// Of an offer: those of a ticket grow. Of an acceptance: of the last offer to whoever accepts; earlier releases do
    /// not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Of a message: of the device's message or operator's order that brought it, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of the trigger rules that the ticket was opened under; 0 where there were none.
    pub rule_version: u32,
}

/// One choice of the desk with everything that explains it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChoiceStory {
    pub at_ms: u64,
    /// Of the trigger rules that the ticket was opened under; 0 where there were none.
    pub rule_version: u32,
    /// The escalation policy that the ticket was under; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// Chosen, or none where nobody fitted.
    pub chosen: Option<String>,
    pub candidates: Vec<CandidateStory>,
    /// The first of those who were left out.
    pub excluded: Vec<ExclusionStory>,
    /// How many were left out in all.
    pub excluded_count: u32,
    /// None where the desk answered each question by itself, or a person chose.
    #[serde(default)]
    pub how: Option<HowStory>,
    /// Who chose, where the desk did not.
    #[serde(default)]
    pub by: Option<String>,
}

/// A policy of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyName {
    pub name: String,
    /// Of the document.
    pub version: u32,
}

/// How a choice was made, and with whom it competed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HowStory {
    /// `at_once`, or `batched` with others.
    pub mode: String,
    /// Technicians that fitted.
    pub eligible: u32,
    /// Tickets that they had room for.
    pub room: u32,
    /// Tickets that wanted some of them, this one among them.
    pub competing: u32,
    /// Who was given a technician that is among the candidates.
    pub rivals: Vec<RivalStory>,
    /// The ticket whose offer was taken back so that there was room.
    pub displaced: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RivalStory {
    pub ticket: String,
    pub technician: String,
}

/// A candidate with the terms of its cost, in seconds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CandidateStory {
    pub technician: String,
    pub cost_s: u32,
    pub distance_m: u32,
    pub travel_s: u32,
    pub load_s: u32,
    pub over_qualification_s: u32,
    pub fairness_s: u32,
    /// Taken off the cost: what the customer's wish for it is worth.
    #[serde(default)]
    pub preferred_s: u32,
    /// What it is worth not to be late; none where nothing was promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_s: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExclusionStory {
    pub technician: String,
    pub reason: String,
}

fn decode(bytes: &[u8]) -> Result<Event, JournalError> {
    minicbor::decode(bytes)
        .map_err(|error| JournalError::Failed(format!("an event does not decode: {error}")))
}

/// Tells a ticket's story.
///
/// # Errors
/// An event that does not decode.
pub fn tell(id: EntityId, history: &[HistoryEntry]) -> Result<TicketStory, JournalError> {
    let mut ticket = Ticket::default();
    let (mut events, mut deliveries) = (Vec::new(), Deliveries::default());
    let mut epochs = Epochs::default();
    let rule_version = rules_of(history)?;
    for entry in history {
        for bytes in &entry.record.events {
            let event = decode(bytes)?;
            let had = ticket.technician;
            ticket.evolve(&event);
            deliveries.take(id, (&ticket, had), &event, entry.record.at_ms);
            let (name, detail) = describe(&event);
            events.push(EventStory {
                at_ms: entry.record.at_ms,
                event: name.into(),
                detail,
                technician: whom(&event).map(|id| id.to_string()),
                epoch: epochs.of(&event, ticket.epoch),
                message: message_of(&event).map(hex),
                rule_version,
            });
        }
    }
    let chain = history.last().map(|entry| entry.chain).unwrap_or_default();
    Ok(TicketStory {
        id: id.to_string(),
        state: ticket.stage.name().into(),
        priority: ticket.priority,
        technician: ticket.technician.map(|id| id.to_string()),
        policy: ticket.escalation.as_ref().map(PolicyStory::of),
        promises: ticket.promises.as_ref().map(PromisesStory::of),
        events,
        offers: deliveries.offers,
        confirmations: deliveries.confirmations,
        warning: None,
        chain: hex(&chain),
        position: None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn message_of(event: &Event) -> Option<&[u8]> {
    if let Event::Noted(note) = event { Some(&note.id) } else { None }
}

/// Where the work is to be done.
pub(crate) fn place(history: &[HistoryEntry]) -> Result<Option<Location>, JournalError> {
    let mut ticket = Ticket::default();
    for bytes in history.iter().flat_map(|entry| &entry.record.events) {
        ticket.evolve(&decode(bytes)?);
    }
    Ok(ticket.body.map(|body| body.location))
}

/// The customer whose request it is.
pub(crate) fn opened_by(history: &[HistoryEntry]) -> Option<EntityId> {
    let first = history.first()?.record.events.first()?;
    match decode(first) {
        Ok(Event::Opened { customer, .. }) => Some(customer),
        _ => None,
    }
}

/// Names an event; no personal data beyond identifiers.
fn describe(event: &Event) -> (&'static str, String) {
    match event {
        Event::Opened { customer, body, .. } => {
            ("opened", format!("by {customer}, category {}", body.category))
        }
        Event::Triaged { priority, triage } => ("triaged", triaged(*priority, triage.as_deref())),
        Event::MatchAsked { .. } => ("matching", String::new()),
        Event::Offered { technician, epoch, .. } => {
            ("offered", format!("to {technician}, offer {epoch}"))
        }
        Event::Unfilled { choice, .. } => {
            ("unfilled", format!("{} technicians excluded", choice.excluded_count))
        }
        Event::OfferExpired => ("offer_expired", String::new()),
        Event::OfferRefused { technician, reason } => {
            ("offer_refused", format!("by {technician}: {reason:?}"))
        }
        Event::Accepted { technician, eta_min, .. } => {
            ("accepted", format!("by {technician}, in {eta_min} min"))
        }
        Event::Progressed { progress, .. } => ("progressed", progress.stage().name().to_owned()),
        Event::Overdue { .. } => ("overdue", String::new()),
        Event::Cancelled => ("cancelled", String::new()),
        Event::Closed => ("closed", String::new()),
        Event::Reconciled { promotion, .. } => ("reconciled", format!("promotion {promotion}")),
        Event::Adopted { technician, epoch, .. } => {
            ("adopted", format!("{technician} has it by offer {epoch}"))
        }
        Event::Kept { .. } => ("kept", String::new()),
        Event::Ordered { order, by, .. } => {
            ("ordered", format!("{} by {}", order.name(), teller(by)))
        }
        Event::Held { until } => ("held", format!("until {}", until.0)),
        Event::TakenBack { technician, displaced_by: Some(ticket), .. } => {
            ("taken_back", format!("from {technician}, for {ticket}"))
        }
        Event::TakenBack { technician, .. } => ("taken_back", format!("from {technician}")),
        Event::Assigned { technician, epoch, .. } => {
            ("assigned", format!("to {technician}, offer {epoch}"))
        }
        Event::Reopened => ("reopened", String::new()),
        Event::OrderRefused { why, .. } => ("order_refused", why.clone()),
        Event::Grouped { parent, .. } => ("grouped", format!("under {parent}")),
        Event::ParentAsked { .. } => ("parent_asked", String::new()),
        Event::ParentLives { .. } => ("parent_lives", String::new()),
        Event::ChildJoined { child } => ("child_joined", child.to_string()),
        Event::ChildLeft { child } => ("child_left", child.to_string()),
        Event::ChildAnswered { child, .. } => ("child_answered", child.to_string()),
        Event::TermsSet(_)
        | Event::Escalated { .. }
        | Event::Answered { .. }
        | Event::Rested
        | Event::Clocked { .. }
        | Event::Broken { .. }
        | Event::Silenced(_)
        | Event::SilenceAsked { .. }
        | Event::Rearmed { .. } => describe_terms(event),
        Event::AlsoOffered { .. }
        | Event::Switched { .. }
        | Event::OthersReleased { .. }
        | Event::LateAcceptRefused { .. }
        | Event::AlertReached { .. }
        | Event::Compared { .. }
        | Event::Noted(_) => describe_more(event),
        Event::ParentSought { .. } => ("parent_sought", String::new()),
        Event::EtaChanged { eta_min, .. } => ("eta_changed", format!("in {eta_min} min")),
    }
}

/// What rules made of it, in a line.
fn triaged(priority: u8, triage: Option<&Triage>) -> String {
    let mut text = format!("priority {priority}");
    if let Some(triage) = triage {
        let acted: Vec<&str> = triage.acted.iter().map(|acted| acted.rule.as_str()).collect();
        text = format!("{text}, rules {}: {}", triage.version, acted.join(", "));
        if let Some(hold) = &triage.hold {
            text = format!("{text}; held {} min: {}", hold.minutes, hold.reason);
        }
        if !triage.failed.is_empty() {
            text = format!("{text}; {} failed", triage.failed.len());
        }
    }
    text
}

/// Names an event that only a ticket under terms has.
fn describe_terms(event: &Event) -> (&'static str, String) {
    match event {
        Event::TermsSet(terms) => ("terms", described(terms)),
        Event::Escalated { step, round, due, .. } => {
            let again = if *round > 0 { format!(", again ({round})") } else { String::new() };
            ("escalated", format!("to step {}{again}, until {}", u32::from(*step) + 1, due.0))
        }
        Event::Answered { by, until } => ("answered", format!("by {by}, until {}", until.0)),
        Event::Rested => ("escalation_rests", String::new()),
        Event::Clocked { respond, finish } => {
            let due = |clock: &Option<Clock>| clock.and_then(|clock| clock.due);
            let text = [("respond", due(respond)), ("finish", due(finish))].map(|(name, due)| {
                due.map_or(format!("{name} stands"), |due| format!("{name} by {}", due.0))
            });
            ("clocks", text.join(", "))
        }
        Event::Broken { promise, .. } => ("breached", promise.name().to_owned()),
        Event::Silenced(silence) => {
            ("silenced", format!("by {}, until {}", silence.name, silence.until.0))
        }
        Event::SilenceAsked { .. } => ("silence_asked", String::new()),
        Event::Rearmed { due } => ("rearmed", format!("for {}", due.0)),
        _ => ("unknown", String::new()),
    }
}

/// Offers to several, how far alerts come, and what people write.
fn describe_more(event: &Event) -> (&'static str, String) {
    match event {
        Event::AlsoOffered { invited } => {
            let to: Vec<String> = invited.iter().map(|one| one.technician.to_string()).collect();
            ("also_offered", format!("to {}", to.join(", ")))
        }
        Event::Switched { technician, .. } => ("switched", format!("to {technician}")),
        Event::OthersReleased { invited, .. } => {
            ("others_released", format!("{} of those who were asked", invited.len()))
        }
        Event::Noted(note) => {
            let with =
                note.enclosure.as_ref().map(|one| format!(", with attachment {}", one.number));
            ("message", format!("number {}{}", note.number, with.unwrap_or_default()))
        }
        Event::AlertReached { technician, reach, .. } => {
            ("alert", format!("{} by {technician}", reach.name()))
        }
        Event::Compared { like, is_silent } => {
            let like = like.map_or_else(|| "nothing".to_owned(), |like| like.to_string());
            ("compared", format!("like {like}{}", if *is_silent { ", silent" } else { "" }))
        }
        Event::LateAcceptRefused { technician, .. } => {
            ("late_accept_refused", format!("of {technician}"))
        }
        _ => ("unknown", String::new()),
    }
}

fn described(terms: &Terms) -> String {
    let policy = terms.policy.as_ref();
    let policy = policy.map(|one| format!("policy {} of version {}", one.name, one.version));
    let target = terms.target.as_ref();
    let target = target.map(|one| format!("target {} of version {}", one.name, one.version));
    policy.into_iter().chain(target).collect::<Vec<_>>().join(", ")
}

fn whom(event: &Event) -> Option<EntityId> {
    match event {
        Event::Offered { technician, .. }
        | Event::Assigned { technician, .. }
        | Event::OfferRefused { technician, .. }
        | Event::Accepted { technician, .. }
        | Event::LateAcceptRefused { technician, .. }
        | Event::AlertReached { technician, .. }
        | Event::Adopted { technician, .. }
        | Event::TakenBack { technician, .. } => Some(*technician),
        _ => None,
    }
}

fn teller(party: &Party) -> String {
    match party {
        Party::Operator(name) | Party::Integration(name) => name.clone(),
        Party::Customer(id) => id.to_string(),
    }
}

/// Every choice that was made for a ticket.
///
/// # Errors
/// An event that does not decode.
pub fn choices(history: &[HistoryEntry]) -> Result<Vec<ChoiceStory>, JournalError> {
    let mut choices: Vec<ChoiceStory> = Vec::new();
    let (mut orderer, mut policy) = (None, None);
    let rule_version = rules_of(history)?;
    for entry in history {
        let at_ms = entry.record.at_ms;
        for bytes in &entry.record.events {
            let choice = match decode(bytes)? {
                Event::Ordered { by, .. } => {
                    orderer = Some(teller(&by));
                    continue;
                }
                Event::TermsSet(terms) => {
                    let named = |one: Policy| PolicyName { name: one.name, version: one.version };
                    policy = terms.policy.map(named);
                    continue;
                }
                Event::Assigned { technician, .. } => ChoiceStory {
                    by: Some(orderer.clone().unwrap_or_else(|| "an operator".to_owned())),
                    ..explain(at_ms, Some(technician), &Choice::default())
                },
                Event::Offered { technician, choice, .. } => {
                    explain(at_ms, Some(technician), &choice)
                }
                Event::Unfilled { choice, .. } => explain(at_ms, None, &choice),
                _ => continue,
            };
            choices.push(ChoiceStory { rule_version, policy: policy.clone(), ..choice });
        }
    }
    Ok(choices)
}

/// A choice by itself, without what its ticket was opened under.
pub fn explain(at_ms: u64, chosen: Option<EntityId>, choice: &Choice) -> ChoiceStory {
    let candidates = choice.candidates.iter().map(|candidate| CandidateStory {
        technician: candidate.technician.to_string(),
        cost_s: candidate.cost_s(),
        distance_m: candidate.distance_m,
        travel_s: candidate.travel_s,
        load_s: candidate.load_s,
        over_qualification_s: candidate.over_qualification_s,
        fairness_s: candidate.fairness_s,
        preferred_s: candidate.preferred_s.unwrap_or(0),
        lateness_s: candidate.lateness_s,
    });
    let lacking = |id: &EntityId| {
        let found = choice.lacking.iter().flatten().find(|(lacks, _)| lacks == id);
        found.map(|(_, skill)| format!("{} at level {}", skill.category, skill.level))
    };
    let excluded = choice.excluded.iter().map(|(id, reason)| ExclusionStory {
        technician: id.to_string(),
        reason: match (reason, lacking(id)) {
            (Exclusion::LacksRequired, Some(skill)) => format!("{}: {skill}", reason.name()),
            _ => reason.name().into(),
        },
    });
    ChoiceStory {
        at_ms,
        rule_version: 0,
        policy: None,
        chosen: chosen.map(|id| id.to_string()),
        candidates: candidates.collect(),
        excluded: excluded.collect(),
        excluded_count: choice.excluded_count,
        how: choice.how.as_ref().map(how),
        by: None,
    }
}

fn how(how: &How) -> HowStory {
    let rival = |rival: &Rival| RivalStory {
        ticket: rival.ticket.to_string(),
        technician: rival.technician.to_string(),
    };
    HowStory {
        mode: how.mode.name().into(),
        eligible: how.eligible,
        room: how.room,
        competing: how.competing,
        rivals: how.rivals.iter().map(rival).collect(),
        displaced: how.displaced.map(|ticket| ticket.to_string()),
    }
}
