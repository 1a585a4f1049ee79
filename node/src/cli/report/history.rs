//! A ticket's history as the server tells it, in minutes of the log: where its time went, and who had it.
//!
//! **Invariants:** spans follow each other without a gap, from the opening to the end or to the last minute
//! of the replay; whatever the server says that is not known here changes nothing. **Not here:** figures over
//! many tickets (`figures`).

use super::clock::LogClock;
use crate::{cli::field::week::Minute, story::TicketStory};

/// What a ticket waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// The desk: nobody is found yet.
    Seeking,
    /// The technician who is asked.
    Asked,
    /// Its turn on the list of whoever accepted it.
    Listed,
    Road,
    Site,
}

impl Wait {
    pub(crate) const ALL: [Self; 5] =
        [Self::Seeking, Self::Asked, Self::Listed, Self::Road, Self::Site];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seeking => "seeking a technician",
            Self::Asked => "waiting for an answer",
            Self::Listed => "on a technician's list",
            Self::Road => "on the road",
            Self::Site => "on site",
        }
    }
}

/// A while in which a ticket waited for one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) wait: Wait,
    /// Who was asked or had it.
    pub(crate) technician: Option<String>,
    pub(crate) from: Minute,
    pub(crate) to: Minute,
}

impl Span {
    pub(crate) fn minutes(&self) -> Minute {
        self.to - self.from
    }
}

/// One ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) priority: u8,
    pub(crate) opened: Minute,
    pub(crate) spans: Vec<Span>,
    /// Real milliseconds from the opening to the first offer.
    pub(crate) to_offer_ms: Option<u64>,
    /// The first time each.
    pub(crate) accepted: Option<Minute>,
    pub(crate) arrived: Option<Minute>,
    /// The last time, where it is completed.
    pub(crate) completed: Option<Minute>,
    pub(crate) is_cancelled: bool,
    pub(crate) offers: u32,
    /// Offers to somebody else than the one before.
    pub(crate) reassigned: u32,
    /// Of these, where a technician had accepted it before.
    pub(crate) handed_over: u32,
    pub(crate) acceptances: u32,
    pub(crate) declined: u32,
    /// Refused by the technician's actor, without asking the person.
    pub(crate) refused: u32,
    pub(crate) expired: u32,
    pub(crate) undone: u32,
    pub(crate) unfilled: u32,
    /// Acceptances while somebody else had it: none, or a promise is broken.
    pub(crate) doubly_held: u32,
}

/// Follows a ticket from event to event.
struct Reader {
    history: History,
    wait: Option<(Wait, Option<String>, Minute)>,
    offered_to: Option<String>,
    held_by: Option<String>,
    opened_ms: u64,
}

/// Reads a ticket's story.
pub(crate) fn read(story: &TicketStory, clock: &LogClock) -> History {
    let history = History { priority: story.priority, ..History::default() };
    let mut reader = Reader { history, wait: None, offered_to: None, held_by: None, opened_ms: 0 };
    for event in &story.events {
        let at = clock.minute(event.at_ms);
        reader.event(&event.event, &event.detail, event.technician.as_ref(), at, event.at_ms);
    }
    reader.turn(None, clock.last());
    reader.history
}

impl Reader {
    /// From now on it waits for something else, or for nothing.
    fn turn(&mut self, wait: Option<(Wait, Option<String>)>, at: Minute) {
        if let Some((wait, technician, from)) = self.wait.take() {
            self.history.spans.push(Span { wait, technician, from, to: at.max(from) });
        }
        self.wait = wait.map(|(wait, technician)| (wait, technician, at));
    }

    fn seek(&mut self, at: Minute) {
        let is_sought = matches!(self.wait, Some((Wait::Seeking, ..)));
        if !is_sought {
            self.turn(Some((Wait::Seeking, None)), at);
        }
    }

    fn event(&mut self, name: &str, detail: &str, who: Option<&String>, at: Minute, ms: u64) {
        let history = &mut self.history;
        match name {
            "opened" => {
                (history.opened, self.opened_ms) = (at, ms);
                self.seek(at);
            }
            "matching" => {
                history.completed = None;
                self.held_by = None;
                self.seek(at);
            }
            "unfilled" => history.unfilled += 1,
            "offered" | "assigned" => self.offered(who, at, ms),
            "offer_refused" => {
                let is_declined = detail.ends_with("Declined");
                history.declined += u32::from(is_declined);
                history.refused += u32::from(!is_declined);
            }
            "offer_expired" => history.expired += 1,
            "accepted" => {
                history.acceptances += 1;
                history.doubly_held += u32::from(self.held_by.is_some());
                history.accepted.get_or_insert(at);
                self.held_by = who.cloned();
                self.turn(Some((Wait::Listed, who.cloned())), at);
            }
            "taken_back" => {
                self.held_by = None;
                self.seek(at);
            }
            "progressed" => self.progressed(detail, at),
            "cancelled" => {
                history.is_cancelled = true;
                self.turn(None, at);
            }
            _ => {}
        }
    }

    fn offered(&mut self, who: Option<&String>, at: Minute, ms: u64) {
        let history = &mut self.history;
        let to_offer_ms = ms.saturating_sub(self.opened_ms);
        history.to_offer_ms.get_or_insert(to_offer_ms);
        history.offers += 1;
        if self.offered_to.is_some() && self.offered_to.as_ref() != who {
            history.reassigned += 1;
            history.handed_over += u32::from(history.acceptances > 0);
        }
        self.offered_to = who.cloned();
        self.turn(Some((Wait::Asked, who.cloned())), at);
    }

    fn progressed(&mut self, stage: &str, at: Minute) {
        let holder = self.held_by.clone();
        match stage {
            "en_route" => self.turn(Some((Wait::Road, holder)), at),
            "on_site" | "paused" => {
                self.history.arrived.get_or_insert(at);
                if !matches!(self.wait, Some((Wait::Site, ..))) {
                    self.turn(Some((Wait::Site, holder)), at);
                }
            }
            "completed" => {
                self.history.completed = Some(at);
                self.turn(None, at);
            }
            "cannot_complete" => {
                self.history.undone += 1;
                self.held_by = None;
                self.turn(Some((Wait::Seeking, None)), at);
            }
            _ => {}
        }
    }
}

impl History {
    /// It will not be worked on any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.completed.is_some() || self.is_cancelled
    }

    /// Minutes that it waited for one thing.
    pub(crate) fn waited(&self, wait: Wait) -> Minute {
        self.spans.iter().filter(|span| span.wait == wait).map(Span::minutes).sum()
    }
}

#[cfg(test)]
mod tests;
