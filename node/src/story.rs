//! A ticket's history for people: what happened, when, by which rule, and why a technician was
//! chosen.

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{
    Aggregate, EntityId,
    selection::Choice,
    ticket::{Event, Party, Ticket},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::journal::HistoryEntry;

/// A ticket with all that happened to it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TicketStory {
    pub id: String,
    pub state: String,
    pub priority: u8,
    pub technician: Option<String>,
    pub events: Vec<EventStory>,
    /// Head of the ticket's hash chain, hexadecimal.
    pub chain: String,
}

/// One event.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventStory {
    /// Unix milliseconds.
    pub at_ms: u64,
    pub event: String,
    pub detail: String,
    pub rule_version: u32,
}

/// One choice of the desk with everything that explains it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChoiceStory {
    pub at_ms: u64,
    pub rule_version: u32,
    /// Chosen, or none where nobody fitted.
    pub chosen: Option<String>,
    pub candidates: Vec<CandidateStory>,
    pub excluded: Vec<ExclusionStory>,
    pub excluded_count: u32,
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
    let mut events = Vec::new();
    for entry in history {
        for bytes in &entry.record.events {
            let event = decode(bytes)?;
            ticket.evolve(&event);
            let (name, detail) = describe(&event);
            events.push(EventStory {
                at_ms: entry.record.at_ms,
                event: name.into(),
                detail,
                rule_version: entry.record.rule_version,
            });
        }
    }
    let chain = history.last().map(|entry| entry.chain).unwrap_or_default();
    Ok(TicketStory {
        id: id.to_string(),
        state: ticket.stage.name().into(),
        priority: ticket.priority,
        technician: ticket.technician.map(|id| id.to_string()),
        events,
        chain: chain.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Names an event; no personal data beyond identifiers.
fn describe(event: &Event) -> (&'static str, String) {
    match event {
        Event::Opened { customer, body, .. } => {
            ("opened", format!("by {customer}, category {}", body.category))
        }
        Event::Triaged { priority } => ("triaged", format!("priority {priority}")),
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
        Event::LateAcceptRefused { technician, .. } => {
            ("late_accept_refused", format!("of {technician}"))
        }
        Event::Progressed { progress, .. } => ("progressed", progress.stage().name().to_owned()),
        Event::Overdue { .. } => ("overdue", String::new()),
        Event::Cancelled => ("cancelled", String::new()),
        Event::Closed => ("closed", String::new()),
        Event::Reconciled { promotion, .. } => ("reconciled", format!("promotion {promotion}")),
        Event::Adopted { technician, epoch } => {
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
        Event::Noted(note) => ("message", format!("number {}", note.number)),
        Event::OrderRefused { why, .. } => ("order_refused", why.clone()),
        Event::Grouped { parent, .. } => ("grouped", format!("under {parent}")),
        Event::ParentAsked { .. } => ("parent_asked", String::new()),
        Event::ParentLives { .. } => ("parent_lives", String::new()),
        Event::ChildJoined { child } => ("child_joined", child.to_string()),
        Event::ChildLeft { child } => ("child_left", child.to_string()),
        Event::ChildAnswered { child, .. } => ("child_answered", child.to_string()),
    }
}

fn teller(party: &Party) -> String {
    match party {
        Party::Operator(name) => name.clone(),
        Party::Customer(id) => id.to_string(),
    }
}

/// Every choice that was made for a ticket.
///
/// # Errors
/// An event that does not decode.
pub fn choices(history: &[HistoryEntry]) -> Result<Vec<ChoiceStory>, JournalError> {
    let mut choices = Vec::new();
    for entry in history {
        for bytes in &entry.record.events {
            match decode(bytes)? {
                Event::Offered { technician, choice, .. } => {
                    choices.push(explain(entry.record.at_ms, Some(technician), &choice))
                }
                Event::Unfilled { choice, .. } => {
                    choices.push(explain(entry.record.at_ms, None, &choice))
                }
                _ => {}
            }
        }
    }
    Ok(choices)
}

fn explain(at_ms: u64, chosen: Option<EntityId>, choice: &Choice) -> ChoiceStory {
    let candidates = choice.candidates.iter().map(|candidate| CandidateStory {
        technician: candidate.technician.to_string(),
        cost_s: candidate.cost_s(),
        distance_m: candidate.distance_m,
        travel_s: candidate.travel_s,
        load_s: candidate.load_s,
        over_qualification_s: candidate.over_qualification_s,
        fairness_s: candidate.fairness_s,
    });
    let excluded = choice.excluded.iter().map(|(id, reason)| ExclusionStory {
        technician: id.to_string(),
        reason: reason.name().into(),
    });
    ChoiceStory {
        at_ms,
        rule_version: choice.rule_version,
        chosen: chosen.map(|id| id.to_string()),
        candidates: candidates.collect(),
        excluded: excluded.collect(),
        excluded_count: choice.excluded_count,
    }
}
