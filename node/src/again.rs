//! A desk's choices for a ticket, decided again from the desk's own history: what it knew then, what it was
//! asked, and the time that it was.
//!
//! The ticket's history says what it asked for and which questions were answered; the desk's history gives the
//! state at each answer. It is gone through from the nearest state that is known of a time before the ticket asked
//! (`waypoints`), and not beyond the time at which it had the answer. A batch is decided again as a whole, because
//! all that it was decided from is in that state.
//!
//! **Invariants:** nothing is changed; both histories are checked by their hash chains as they are read; what was
//! gone through and kept is not gone through again, so that whoever asks again comes to an end. **Not here:** how a
//! choice is told (`story`).

#[cfg(test)]
mod tests;
mod waypoints;

use std::{collections::BTreeMap, sync::Arc};

use fieldmesh_actors::{commit::Cause, seams::JournalError};
use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Ctx, EntityId, TimerName,
    desk::{Command, Desk, Event},
    selection::{Choice, Exclusion, Need},
    ticket::{self, Stage, Ticket},
    time::Millis,
};

use self::waypoints::Waypoint;
pub use self::waypoints::Waypoints;
use crate::journal::HistoryEntry;

/// Steps of the desk that are read at once.
pub const PAGE: usize = 256;
/// Who was out of the question is told up to so many: a megabyte for each choice.
pub const EXCLUDED_MAX: usize = 10_000;
/// So much the clocks of the ticket's and the desk's leaders may differ, and a message may wait.
const SLACK_MS: u64 = 10 * 60_000;

/// What a ticket was answered, and what it had asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub question: u32,
    pub need: Need,
    pub choice: Choice,
    /// None where nobody fitted.
    pub chosen: Option<EntityId>,
    /// By the clock of the ticket's leader.
    pub asked_at: Millis,
    pub answered_at: Millis,
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

/// An answer that was decided again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// Who was out of the question, where the choice does not name all: so many as [`EXCLUDED_MAX`].
    pub excluded: Option<Arc<[(EntityId, Exclusion)]>>,
}

/// What came of going through a desk's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    Decided(Vec<Judged>),
    /// It was ended before the answers were found; the desk's history was gone through up to this version.
    UnderWay(u64),
}

/// The answers of a desk in a ticket's history, oldest first.
///
/// # Errors
/// An event that does not decode.
pub fn answers(history: &[HistoryEntry]) -> Result<Vec<Answered>, JournalError> {
    let mut ticket = Ticket::default();
    let mut asked: BTreeMap<u32, (Need, Millis)> = BTreeMap::new();
    let mut answers = Vec::new();
    let steps = history.iter().map(|entry| (Millis(entry.record.at_ms), &entry.record.events));
    for (at, bytes) in steps.flat_map(|(at, events)| events.iter().map(move |one| (at, one))) {
        let event: ticket::Event = decode(bytes)?;
        let answer = match &event {
            ticket::Event::Offered { technician, choice, .. } => Some((choice, Some(*technician))),
            ticket::Event::Unfilled { choice, .. } => Some((choice, None)),
            _ => None,
        };
        let question = ticket.question;
        if let Some(((choice, chosen), (need, asked_at))) = answer.zip(asked.get(&question)) {
            let (need, choice, asked_at) = (need.clone(), choice.clone(), *asked_at);
            answers.push(Answered { question, need, choice, chosen, asked_at, answered_at: at });
        }
        ticket.evolve(&event);
        if ticket.stage == Stage::Matching {
            let first = asked.get(&ticket.question).map_or(at, |(_, first)| *first);
            asked.insert(ticket.question, (ticket.need(), first));
        }
    }
    Ok(answers)
}

/// The desk's history as it is read.
pub struct Course<'a, R> {
    pub desk: EntityId,
    pub waypoints: &'a Waypoints,
    /// Gives a page from a version on.
    pub read: R,
}

/// Goes through a desk's history and decides a ticket's answers again, as long as `goes_on`.
///
/// # Errors
/// Damaged or erased data.
pub fn decide<R: Fn(u64) -> Result<Vec<HistoryEntry>, JournalError>>(
    ticket: EntityId,
    answers: &[Answered],
    course: &Course<'_, R>,
    goes_on: impl Fn() -> bool,
) -> Result<Again, JournalError> {
    let Course { desk, waypoints, .. } = course;
    let mut all = Vec::with_capacity(answers.len());
    for answer in answers {
        let name = (ticket, answer.question, answer.answered_at);
        let judged = match waypoints.known(*desk, name) {
            Some(judged) => judged,
            None => match course.judged(ticket, answer, &goes_on)? {
                Ok(judged) => judged,
                Err(version) => return Ok(Again::UnderWay(version)),
            },
        };
        waypoints.judged(*desk, name, judged.clone());
        all.push(judged);
    }
    Ok(Again::Decided(all))
}

impl<R: Fn(u64) -> Result<Vec<HistoryEntry>, JournalError>> Course<'_, R> {
    /// One answer, or how far it was gone.
    fn judged(
        &self,
        ticket: EntityId,
        answer: &Answered,
        goes_on: impl Fn() -> bool,
    ) -> Result<Result<Judged, u64>, JournalError> {
        let begin = answer.asked_at.0.saturating_sub(SLACK_MS);
        let end = answer.answered_at.0.saturating_add(SLACK_MS);
        let mut at = self.waypoints.before(self.desk, begin);
        let mut state: Desk = at.state()?;
        while at.at_ms <= end {
            if !goes_on() {
                self.waypoints.keep(self.desk, at.with(&state));
                return Ok(Err(at.version));
            }
            let page = (self.read)(at.version)?;
            let Some((first, last)) = page.first().zip(page.last()) else { break };
            if at.version > 0 && first.record.previous != at.chain {
                // It is another history than the one that was gone through: a region began again.
                self.waypoints.forget();
                (at, state) = (Waypoint::default(), Desk::default());
                continue;
            }
            // Whoever is ended behind it goes on from here.
            let is_last_before = at.at_ms <= begin && last.record.at_ms > begin;
            if is_last_before || self.waypoints.is_far(self.desk, at.version) {
                self.waypoints.keep(self.desk, at.with(&state));
            }
            for entry in &page {
                let events = entry.record.events.iter().map(|bytes| decode(bytes));
                let events: Vec<Event> = events.collect::<Result<_, _>>()?;
                if events.iter().any(|event| is_answer(event, ticket, answer)) {
                    return Ok(Ok(again(&state, (ticket, answer), (self.desk, entry))));
                }
                events.iter().for_each(|event| state.evolve(event));
                at.passes(entry);
            }
        }
        Ok(Ok(Judged { verdict: Verdict::Unknown, excluded: None }))
    }
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

/// Decides one step again: what counts of it is who the ticket was given to.
fn again(
    state: &Desk,
    (ticket, answer): (EntityId, &Answered),
    (desk, entry): (EntityId, &HistoryEntry),
) -> Judged {
    let record = &entry.record;
    let now = Millis(record.at_ms);
    let pace = answer.choice.how.as_ref().and_then(|how| how.pace);
    let is_cut = answer.choice.excluded.len() < answer.choice.excluded_count as usize;
    let excluded = || state.excluded(ticket, &answer.need, pace, now).take(EXCLUDED_MAX).collect();
    let excluded = is_cut.then(excluded);
    let command = match record.cause {
        Cause::Timer { generation, .. } => Command::Timer { name: TimerName::Batch, generation },
        _ => {
            let (need, question) = (answer.need.clone(), answer.question);
            Command::Match { ticket, need, question, pace }
        }
    };
    let ctx = Ctx { now, id: desk, rule_version: record.rule_version };
    let decided = state.decide(&command, &ctx).unwrap_or_default();
    // Whatever else the step says may be told otherwise by another release.
    let found = decided.iter().find_map(|event| match event {
        Event::Chosen { ticket: of, technician, .. } if *of == ticket => Some(Some(*technician)),
        Event::NobodyFits { ticket: of, .. } if *of == ticket => Some(None),
        _ => None,
    });
    let verdict = match found {
        Some(chosen) if chosen == answer.chosen => Verdict::Same,
        _ => Verdict::Differs { chosen: found.flatten() },
    };
    Judged { verdict, excluded }
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

/// Asks a copy of a desk for a ticket with this need, under this pace, and closes its batch. The context is the desk's.
pub fn what_if(
    mut desk: Desk,
    ticket: EntityId,
    (need, pace): (Need, Option<u16>),
    ctx: &Ctx,
) -> WhatIf {
    let mut found =
        WhatIf { choice: Choice::default(), chosen: None, waits: false, displaces: None };
    let mut command = Command::Match { ticket, need, question: 1, pace };
    let mut ctx = *ctx;
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
