//! What trigger rules said of a ticket when it was opened.
//!
//! **Not here:** everything else that happened to it (the module above).

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::ticket::{Acted, Event, Failed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decode;
use crate::journal::HistoryEntry;

/// What trigger rules said of a ticket.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TriageStory {
    /// Of the rules.
    pub version: u32,
    pub priority: u8,
    /// Those whose condition held, in their order.
    pub rules: Vec<RuleStory>,
    /// Those that gave no answer.
    pub failed: Vec<FailureStory>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RuleStory {
    pub rule: String,
    pub did: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FailureStory {
    pub rule: String,
    pub why: String,
}

/// Which version of the rules a ticket was opened under, and keeps; 0 where there were none.
pub(super) fn rules_of(history: &[HistoryEntry]) -> Result<u32, JournalError> {
    Ok(triage(history)?.map_or(0, |triage| triage.version))
}

/// What rules said of a ticket when it was opened; none where there were no rules.
///
/// # Errors
/// An event that does not decode.
pub fn triage(history: &[HistoryEntry]) -> Result<Option<TriageStory>, JournalError> {
    for bytes in history.iter().flat_map(|entry| &entry.record.events) {
        if let Event::Triaged { priority, triage } = decode(bytes)? {
            return Ok(triage.map(|triage| TriageStory {
                version: triage.version,
                priority,
                rules: triage.acted.into_iter().map(RuleStory::from).collect(),
                failed: triage.failed.into_iter().map(FailureStory::from).collect(),
            }));
        }
    }
    Ok(None)
}

impl From<Acted> for RuleStory {
    fn from(Acted { rule, did }: Acted) -> Self {
        Self { rule, did }
    }
}

impl From<Failed> for FailureStory {
    fn from(Failed { rule, why }: Failed) -> Self {
        Self { rule, why }
    }
}
