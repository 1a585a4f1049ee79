//! Durable deadlines: the next rows of the timer table in memory, fired when due.
//!
//! The table is read in portions, each when what the one before brought has fired: a shard that opens waits for the
//! first one only, however many timers it has.
//!
//! **Invariants:** a timer fires at most once, because the commit that answers it consumes its row;
//! a timer that is due while nobody leads fires after the next start, at a bounded rate.
//! **Not here:** what a timer means (`domain`).

mod wheel;

use std::{sync::Arc, time::Duration};

use fieldmesh_domain::{
    EntityId,
    mutant::{Mutant, is_planted},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::{
    commit::{Cause, TimerChange},
    entity::{Ask, AskError},
    queues::{Held, Queue},
    seams::{Clock, Journal, TimerItem},
    shard,
    timers::wheel::Wheel,
};

/// Timers in memory; the table holds the later ones. 64 bytes each.
pub(crate) const WHEEL_ROWS: usize = 16_384;
/// Timers read together: less than a millisecond's work, and more than are in flight, so that firing does not wait
/// for reading.
const PORTION_ROWS: usize = 2 * IN_FLIGHT_MAX;
/// Timers fired and not answered: bounds the herd after a failover.
pub(crate) const IN_FLIGHT_MAX: usize = 128;
/// The longest sleep: bounds the error when the wall clock jumps.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Pause before a timer whose entity could not answer fires again.
const RETRY_AFTER_MS: u64 = 1_000;

/// Messages of the wheel.
#[derive(Debug)]
pub(crate) enum Msg {
    Changed {
        entity: EntityId,
        timers: Vec<TimerChange>,
    },
    Rescan,
    Tick,
    /// Something falls due before the next tick, or the next portion is to be read.
    Look,
    Answered {
        timer: TimerItem,
        again: bool,
    },
}

pub(crate) struct Timers;

pub(crate) struct Arguments {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) shard: ActorRef<shard::Msg>,
    pub(crate) queues: Arc<Held>,
}

pub(crate) struct State {
    outside: Arguments,
    wheel: Wheel,
    in_flight: usize,
    /// When the next tick comes, and when it is looked besides, in Unix milliseconds.
    tick_ms: u64,
    look_ms: u64,
}

impl Actor for Timers {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ActorRef<Msg>,
        outside: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        me.send_message(Msg::Tick)?;
        let (in_flight, tick_ms, look_ms) = Default::default();
        let wheel = Wheel::new(WHEEL_ROWS);
        let mut state = State { outside, wheel, in_flight, tick_ms, look_ms };
        // A shard whose rows cannot be read does not start.
        state.read()?;
        if is_planted(Mutant::TimerLost) {
            state.wheel = Wheel::of_all(WHEEL_ROWS);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Changed { entity, timers } => state.wheel.changed(entity, &timers),
            Msg::Look => {}
            Msg::Rescan => state.wheel.begin_again(),
            Msg::Answered { timer, again } => state.answered(timer, again),
            Msg::Tick => {
                let pause = state.until_next();
                state.tick_ms = state.outside.clock.now_ms() + pause.as_millis() as u64;
                me.send_after(pause, || Msg::Tick);
            }
        }
        state.fire(&me)?;
        if let Some(pause) = state.sooner() {
            me.send_after(pause, || Msg::Look);
        }
        let queues = &state.outside.queues;
        queues.is(Queue::Timers, state.wheel.count());
        queues.is(Queue::TimersFired, state.in_flight);
        Ok(())
    }
}

impl State {
    /// The next portion of the table.
    fn read(&mut self) -> Result<(), ActorProcessingErr> {
        if let Some(from) = self.wheel.unread() {
            let rows = self.outside.journal.timers(from, PORTION_ROWS)?;
            self.wheel.read(rows);
        }
        Ok(())
    }

    fn until_next(&self) -> Duration {
        let now = self.outside.clock.now_ms();
        let next = self.wheel.next_ms().unwrap_or(u64::MAX);
        Duration::from_millis(next.saturating_sub(now).max(1)).min(SLEEP_MAX)
    }

    /// The pause until what is due next, where neither the next tick nor another look comes before it.
    fn sooner(&mut self) -> Option<Duration> {
        let now = self.outside.clock.now_ms();
        let next = self.wheel.next_ms()?;
        let look = Some(self.look_ms).filter(|look| *look > now);
        if next <= now || next >= self.tick_ms.min(look.unwrap_or(u64::MAX)) {
            return None;
        }
        self.look_ms = next;
        Some(Duration::from_millis(next - now))
    }

    fn fire(&mut self, me: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let now = self.outside.clock.now_ms();
        if self.wheel.is_through(now) {
            self.read()?;
        }
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(timer) = self.wheel.take(now) else {
                break;
            };
            let Some(command) = shard::timer_command(timer) else {
                continue;
            };
            self.in_flight += 1;
            let (reply, answer) = oneshot::channel();
            let cause = Cause::Timer { name: timer.name, generation: timer.generation };
            let ask = Ask { to: timer.entity, command, cause, reply, credit: None };
            self.outside.shard.send_message(shard::Msg::Ask(Box::new(ask)))?;
            let me = me.clone();
            tokio::spawn(async move {
                let again = match answer.await {
                    // The shard that serves the entity has its timers.
                    Ok(Ok(_) | Err(AskError::Moved)) => false,
                    Ok(Err(error)) => error.is_retryable(),
                    Err(_) => AskError::Unknown.is_retryable(),
                };
                drop(me.send_message(Msg::Answered { timer, again }));
            });
        }
        // All of that portion is fired already: what else came meanwhile is taken in before the next one.
        if self.in_flight < IN_FLIGHT_MAX && self.wheel.is_through(now) {
            me.send_message(Msg::Look)?;
        }
        Ok(())
    }

    fn answered(&mut self, timer: TimerItem, again: bool) {
        self.in_flight -= 1;
        let again_ms = again.then(|| self.outside.clock.now_ms() + RETRY_AFTER_MS);
        self.wheel.answered(timer, again_ms);
    }
}
