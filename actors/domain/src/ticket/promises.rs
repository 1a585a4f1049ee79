//! The clocks of what was promised for a ticket: respond by, and finish by.
//!
//! To respond is that a technician accepts, to finish is that the work is completed. A clock counts the
//! time of the calendar that the ticket was opened under. It stops while the ticket is held, and the one to
//! the finish while the work waits for the customer; what is left then goes on from where it stopped.
//!
//! **Invariants:** a clock that runs has a due instant, and the timer is at the earlier of both; a promise
//! is broken once and stays so; what is kept at its very instant is kept. **Not here:** which target holds
//! (the documents), opening hours (the calendar's package).

use fieldmesh_calendar::{
    interval::UnixMs,
    sla::{Calendar, Hours, Pauses, due, remaining},
};
use minicbor::{Decode, Encode};

use super::{Command, Event, Stage, Ticket};
use crate::{
    Effect, TimerName,
    message::{Pause, PauseReason},
    time::Millis,
};

/// What is promised, and in which hours time counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Target {
    #[n(0)]
    pub name: String,
    /// Of the document that it is from.
    #[n(1)]
    pub version: u32,
    #[n(2)]
    pub respond_ms: Option<u64>,
    #[n(3)]
    pub finish_ms: Option<u64>,
    #[n(4)]
    pub calendar: Calendar,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Promise {
    #[n(0)]
    Respond = 0,
    #[n(1)]
    Finish = 1,
}

impl Promise {
    pub fn name(self) -> &'static str {
        match self {
            Self::Respond => "respond",
            Self::Finish => "finish",
        }
    }
}

/// One clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Clock {
    /// Of the target, when the clock last stopped or started.
    #[n(0)]
    pub left_ms: u64,
    /// None while it stands.
    #[n(1)]
    pub since: Option<Millis>,
    /// None while it stands, and where the calendar never opens.
    #[n(2)]
    pub due: Option<Millis>,
    #[n(3)]
    pub kept_at: Option<Millis>,
    #[n(4)]
    pub broken_at: Option<Millis>,
}

/// Both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Promises {
    #[n(0)]
    pub target: Target,
    #[n(1)]
    pub respond: Option<Clock>,
    #[n(2)]
    pub finish: Option<Clock>,
    /// Counts the timer.
    #[n(3)]
    pub generation: u32,
}

/// What a stage means for a clock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    Runs,
    Stands,
    Kept,
}

fn unix(at: Millis) -> UnixMs {
    UnixMs(at.0)
}

impl Clock {
    fn new(left_ms: u64) -> Self {
        Self { left_ms, ..Self::default() }
    }

    fn is_late(&self, now: Millis) -> bool {
        self.broken_at.is_none() && self.due.is_some_and(|due| due < now)
    }

    fn moved(mut self, meant: Meant, now: Millis, hours: &Hours<'_>) -> Self {
        let none = Pauses::none();
        match (meant, self.since) {
            (Meant::Runs, None) => {
                self.since = Some(now);
                self.kept_at = None;
                let due = due(unix(now), self.left_ms, hours, &none).map(|at| Millis(at.0));
                self.due = due.filter(|_| self.broken_at.is_none());
            }
            (Meant::Stands | Meant::Kept, Some(since)) => {
                let left = remaining(unix(since), unix(now), self.left_ms, hours, &none);
                self.left_ms = u64::try_from(left).unwrap_or(0);
                self.since = None;
                self.due = None;
            }
            (Meant::Runs, Some(_)) | (Meant::Stands | Meant::Kept, None) => {}
        }
        if meant == Meant::Kept && self.kept_at.is_none() {
            self.kept_at = Some(now);
        }
        self
    }
}

impl Promises {
    pub(super) fn new(target: Target) -> Self {
        let (respond, finish) = (target.respond_ms, target.finish_ms);
        let [respond, finish] = [respond, finish].map(|target| target.map(Clock::new));
        Self { target, respond, finish, generation: 0 }
    }

    pub fn is_broken(&self) -> bool {
        let clocks = [self.respond, self.finish];
        clocks.into_iter().flatten().any(|clock| clock.broken_at.is_some())
    }

    /// The earlier of what is due.
    pub fn next_due(&self) -> Option<Millis> {
        [self.respond, self.finish].into_iter().flatten().filter_map(|clock| clock.due).min()
    }

    fn clock_mut(&mut self, promise: Promise) -> Option<&mut Clock> {
        match promise {
            Promise::Respond => self.respond.as_mut(),
            Promise::Finish => self.finish.as_mut(),
        }
    }
}

impl Ticket {
    pub(super) fn finish_by(&self) -> Option<Millis> {
        self.promises.as_ref()?.finish?.due
    }

    /// What the clocks do; `self` is the ticket after what was decided.
    pub(super) fn clocks(&self, command: &Command, now: Millis) -> Vec<Event> {
        let Some(promises) = &self.promises else { return vec![] };
        let mut after = promises.clone();
        let mut events = Vec::new();
        for promise in [Promise::Respond, Promise::Finish] {
            if let Some(clock) = after.clock_mut(promise).filter(|clock| clock.is_late(now)) {
                clock.broken_at = Some(now);
                clock.due = None;
                events.push(Event::Broken { promise, at: now });
            }
        }
        // What is stored may name a zone that this program does not have: then all time counts.
        let (calendar, always) = (&promises.target.calendar, Calendar::Always);
        let hours = calendar.hours().or_else(|_| always.hours());
        let Ok(hours) = hours else { return events };
        let moved = |clock: Option<Clock>, meant| clock.map(|one| one.moved(meant, now, &hours));
        let respond = moved(after.respond, self.respond_means(after.respond));
        let finish = moved(after.finish, self.finish_means());
        let is_fired = matches!(command, Command::Timer { name: TimerName::Promise, generation, .. }
            if *generation == promises.generation);
        // The timer that fired is gone: whatever is due next needs another one.
        let is_lost = is_fired && events.is_empty();
        if is_lost || (respond, finish) != (after.respond, after.finish) {
            events.push(Event::Clocked { respond, finish });
        }
        events
    }

    /// Once kept it is kept, whoever comes in the end.
    fn respond_means(&self, clock: Option<Clock>) -> Meant {
        let is_kept = clock.is_some_and(|clock| clock.kept_at.is_some());
        match self.stage {
            _ if is_kept || self.stage.is_promised() => Meant::Kept,
            Stage::Completed | Stage::Closed | Stage::Confirmed => Meant::Kept,
            Stage::Held | Stage::Cancelled => Meant::Stands,
            _ => Meant::Runs,
        }
    }

    fn finish_means(&self) -> Meant {
        let waits = self.pause.as_ref().map(|Pause { reason, .. }| *reason);
        match self.stage {
            Stage::Completed | Stage::Closed | Stage::Confirmed => Meant::Kept,
            Stage::Paused if waits == Some(PauseReason::Customer) => Meant::Stands,
            Stage::Held | Stage::Cancelled => Meant::Stands,
            _ => Meant::Runs,
        }
    }

    pub(super) fn clocked(&mut self, respond: Option<Clock>, finish: Option<Clock>) {
        if let Some(promises) = &mut self.promises {
            promises.respond = respond;
            promises.finish = finish;
            promises.generation = promises.generation.wrapping_add(1);
        }
    }

    pub(super) fn broken(&mut self, promise: Promise, at: Millis) {
        let Some(promises) = &mut self.promises else { return };
        promises.generation = promises.generation.wrapping_add(1);
        if let Some(clock) = promises.clock_mut(promise) {
            clock.broken_at = Some(at);
            clock.due = None;
        }
    }

    /// A promise is kept at its very instant, so the timer is a millisecond behind it.
    pub(super) fn promise_timer(&self) -> Effect {
        let name = TimerName::Promise;
        let next = self.promises.as_ref().and_then(|one| Some((one.generation, one.next_due()?)));
        match next {
            Some((generation, due)) => {
                Effect::SetTimer { name, generation, due: Millis(due.0.saturating_add(1)) }
            }
            None => Effect::CancelTimer { name },
        }
    }
}
