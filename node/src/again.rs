//! A desk's choices for a ticket, decided again from the desk's own history: what it knew then, what it was
//! asked, and the time that it was.
//!
//! The ticket's history says what it asked for and which questions were answered; the desk's history, from its
//! beginning, gives the state at each answer. A batch is decided again as a whole, because all that it was
//! decided from is in that state.
//!
//! **Invariants:** nothing is changed; both histories are checked by their hash chains as they are read. **Not
//! here:** how a choice is told (`story`).

use std::collections::BTreeMap;

use fieldmesh_actors::{commit::Cause, seams::JournalError};
use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Ctx, EntityId, TimerName,
    desk::{Command, Desk, Event},
    selection::{Choice, Need},
    ticket::{self, Stage, Ticket},
    time::Millis,
};

use crate::journal::{HistoryEntry, ShardJournal};

/// Steps of the desk that are read at once.
const PAGE: usize = 256;

/// What a ticket was answered, and what it had asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub question: u32,
    pub need: Need,
    pub choice: Choice,
    /// None where nobody fitted.
    pub chosen: Option<EntityId>,
}

/// How an answer stands up to being decided again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// What would be chosen now from what was known then.
    Differs {
        chosen: Option<EntityId>,
    },
    /// The desk's history has no such answer: it begins behind it, after a region was promoted.
    Unknown,
}

/// The answers of a desk in a ticket's history, oldest first.
///
/// # Errors
/// An event that does not decode.
pub fn answers(history: &[HistoryEntry]) -> Result<Vec<Answered>, JournalError> {
    let mut ticket = Ticket::default();
    let mut asked: BTreeMap<u32, Need> = BTreeMap::new();
    let mut answers = Vec::new();
    for bytes in history.iter().flat_map(|entry| &entry.record.events) {
        let event: ticket::Event = decode(bytes)?;
        let answer = match &event {
            ticket::Event::Offered { technician, choice, .. } => Some((choice, Some(*technician))),
            ticket::Event::Unfilled { choice, .. } => Some((choice, None)),
            _ => None,
        };
        let question = ticket.question;
        if let Some(((choice, chosen), need)) = answer.zip(asked.get(&question)) {
            let (need, choice) = (need.clone(), choice.clone());
            answers.push(Answered { question, need, choice, chosen });
        }
        ticket.evolve(&event);
        if ticket.stage == Stage::Matching {
            asked.insert(ticket.question, ticket.need());
        }
    }
    Ok(answers)
}

/// Goes through a desk's history and decides a ticket's answers again; none where `goes_on` ended it.
///
/// # Errors
/// Damaged or erased data.
pub fn decide(
    ticket: EntityId,
    answers: &[Answered],
    desk: EntityId,
    journal: &ShardJournal,
    goes_on: impl Fn() -> bool,
) -> Result<Option<Vec<Verdict>>, JournalError> {
    let mut verdicts = vec![Verdict::Unknown; answers.len()];
    let (mut state, mut version) = (Desk::default(), 0);
    while verdicts.contains(&Verdict::Unknown) {
        if !goes_on() {
            return Ok(None);
        }
        let page = journal.history_page(desk, version, PAGE)?;
        if page.is_empty() {
            break;
        }
        for entry in &page {
            let events: Vec<Event> =
                entry.record.events.iter().map(|bytes| decode(bytes)).collect::<Result<_, _>>()?;
            for (answer, verdict) in answers.iter().zip(&mut verdicts) {
                if *verdict == Verdict::Unknown
                    && events.iter().any(|event| is_answer(event, ticket, answer))
                {
                    *verdict = again(&state, (ticket, answer), (desk, entry), &events);
                }
            }
            for event in &events {
                state.evolve(event);
            }
            version = entry.version + events.len() as u64;
        }
    }
    Ok(Some(verdicts))
}

fn is_answer(event: &Event, of: EntityId, answer: &Answered) -> bool {
    match event {
        Event::Chosen { ticket, question, choice, technician, .. } => {
            *ticket == of
                && *question == answer.question
                && *choice == answer.choice
                && answer.chosen == Some(*technician)
        }
        Event::NobodyFits { ticket, question, choice } => {
            *ticket == of
                && *question == answer.question
                && *choice == answer.choice
                && answer.chosen.is_none()
        }
        _ => false,
    }
}

/// Decides one step again.
fn again(
    state: &Desk,
    (ticket, answer): (EntityId, &Answered),
    (desk, entry): (EntityId, &HistoryEntry),
    events: &[Event],
) -> Verdict {
    let record = &entry.record;
    let command = match record.cause {
        Cause::Timer { generation, .. } => Command::Timer { name: TimerName::Batch, generation },
        _ => {
            let (need, question) = (answer.need.clone(), answer.question);
            let pace = answer.choice.how.as_ref().and_then(|how| how.pace);
            Command::Match { ticket, need, question, pace }
        }
    };
    let now = Millis(record.at_ms);
    let ctx = Ctx { now, id: desk, rule_version: record.rule_version };
    let decided = state.decide(&command, &ctx).unwrap_or_default();
    if decided == events {
        return Verdict::Same;
    }
    let chosen = decided.iter().find_map(|event| match event {
        Event::Chosen { ticket: of, technician, .. } if *of == ticket => Some(*technician),
        _ => None,
    });
    Verdict::Differs { chosen }
}

fn decode<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, JournalError> {
    minicbor::decode(bytes)
        .map_err(|error| JournalError::Failed(format!("an event does not decode: {error}")))
}

/// What a desk would answer to a ticket that there is not, without anything being changed.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIf {
    pub choice: Choice,
    pub chosen: Option<EntityId>,
    /// It would wait for others first.
    pub waits: bool,
    /// Whose offer would be asked back for it, and from whom.
    pub displaces: Option<(EntityId, EntityId)>,
}

/// Asks a copy of a desk, and closes its batch.
pub fn what_if(mut desk: Desk, ticket: EntityId, need: Need, id: EntityId, ctx: &Ctx) -> WhatIf {
    let mut found =
        WhatIf { choice: Choice::default(), chosen: None, waits: false, displaces: None };
    let mut command = Command::Match { ticket, need, question: 1, pace: None };
    let mut ctx = *ctx;
    ctx.id = id;
    // Its question, and the close of the batch that it may wait for.
    for _ in 0..2 {
        let events = desk.decide(&command, &ctx).unwrap_or_default();
        for event in &events {
            desk.evolve(event);
            match event {
                Event::Chosen { ticket: of, technician, choice, .. } if *of == ticket => {
                    (found.choice, found.chosen) = (choice.clone(), Some(*technician));
                    return found;
                }
                Event::NobodyFits { ticket: of, choice, .. } if *of == ticket => {
                    found.choice = choice.clone();
                    return found;
                }
                Event::Displacing { by, displaced } if *by == ticket => {
                    found.displaces = Some((displaced.ticket, displaced.technician));
                    return found;
                }
                _ => {}
            }
        }
        let Some(board) = &desk.board else { break };
        found.waits = true;
        ctx.now = ctx.now.max(board.due);
        command = Command::Timer { name: TimerName::Batch, generation: board.generation };
    }
    found
}

/// The command that a desk is told once every node knows of tickets that wait for each other.
pub fn gather() -> AnyCommand {
    AnyCommand::Desk(Command::Gather)
}
