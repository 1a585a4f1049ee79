//! Durable deadlines: the next rows of the timer table in memory, fired when due.
//!
//! **Invariants:** a timer fires at most once, because the commit that answers it consumes its row;
//! a timer that is due while nobody leads fires after the next start, at a bounded rate.
//! **Not here:** what a timer means (`domain`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fieldmesh_domain::EntityId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::{
    commit::{Cause, TimerChange},
    entity::{Ask, AskError},
    seams::{Clock, Journal, TimerItem},
    shard,
};

/// Timers in memory; the table holds the later ones. 64 bytes each.
const WHEEL_ROWS: usize = 16_384;
/// Timers fired and not answered: bounds the herd after a failover.
const IN_FLIGHT_MAX: usize = 128;
/// The longest sleep: bounds the error when the wall clock jumps.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Pause before a timer whose entity could not answer fires again.
const RETRY_AFTER_MS: u64 = 1_000;

/// Messages of the wheel.
#[derive(Debug)]
pub(crate) enum Msg {
    Changed { entity: EntityId, timers: Vec<TimerChange> },
    Rescan,
    Tick,
    Answered { timer: TimerItem, again: bool },
}

pub(crate) struct Timers;

pub(crate) struct Arguments {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) shard: ActorRef<shard::Msg>,
}

pub(crate) struct State {
    outside: Arguments,
    wheel: BTreeSet<TimerItem>,
    by_name: BTreeMap<(EntityId, u8), TimerItem>,
    in_flight: usize,
    /// Timers due later than this are only in the table.
    horizon_ms: u64,
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
        let (wheel, by_name) = <(BTreeSet<_>, BTreeMap<_, _>)>::default();
        let mut state = State { outside, wheel, by_name, in_flight: 0, horizon_ms: 0 };
        // A shard whose rows cannot be read does not start.
        state.rescan()?;
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Changed { entity, timers } => state.changed(entity, &timers),
            Msg::Rescan => state.rescan()?,
            Msg::Answered { timer, again } => state.answered(timer, again),
            Msg::Tick => {
                let pause = state.until_next();
                me.send_after(pause, || Msg::Tick);
            }
        }
        state.fire(&me)?;
        Ok(())
    }
}

impl State {
    fn changed(&mut self, entity: EntityId, timers: &[TimerChange]) {
        for timer in timers {
            if let Some(old) = self.by_name.remove(&(entity, timer.name)) {
                self.wheel.remove(&old);
            }
            let Some(due_ms) = timer.due_ms else { continue };
            if due_ms <= self.horizon_ms {
                self.insert(TimerItem {
                    due_ms,
                    entity,
                    name: timer.name,
                    generation: timer.generation,
                });
            }
        }
    }

    fn insert(&mut self, timer: TimerItem) {
        if let Some(old) = self.by_name.insert((timer.entity, timer.name), timer) {
            self.wheel.remove(&old);
        }
        self.wheel.insert(timer);
        while self.wheel.len() > WHEEL_ROWS {
            let Some(last) = self.wheel.pop_last() else {
                return;
            };
            self.by_name.remove(&(last.entity, last.name));
            self.horizon_ms = self.wheel.last().map_or(0, |timer| timer.due_ms);
        }
    }

    fn rescan(&mut self) -> Result<(), ActorProcessingErr> {
        let rows = self.outside.journal.timers(WHEEL_ROWS)?;
        let last_ms = rows.items.last().map_or(0, |timer| timer.due_ms);
        self.horizon_ms = if rows.is_all { u64::MAX } else { last_ms };
        for timer in rows.items {
            self.insert(timer);
        }
        Ok(())
    }

    fn until_next(&self) -> Duration {
        let now = self.outside.clock.now_ms();
        let next = self.wheel.first().map_or(u64::MAX, |timer| timer.due_ms);
        Duration::from_millis(next.saturating_sub(now).max(1)).min(SLEEP_MAX)
    }

    fn fire(&mut self, me: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let now = self.outside.clock.now_ms();
        // What is left in the wheel may be only retries, which say nothing of the table.
        let wheel_is_through =
            self.wheel.first().is_none_or(|timer| timer.due_ms > self.horizon_ms);
        if self.horizon_ms < now && wheel_is_through {
            self.rescan()?;
        }
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(timer) = self.wheel.first().copied().filter(|timer| timer.due_ms <= now)
            else {
                break;
            };
            self.wheel.remove(&timer);
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
        Ok(())
    }

    fn answered(&mut self, timer: TimerItem, again: bool) {
        self.in_flight -= 1;
        let key = (timer.entity, timer.name);
        // The entity may have set the same timer anew meanwhile: then that one counts.
        if self.by_name.get(&key) != Some(&timer) {
            return;
        }
        self.by_name.remove(&key);
        if again {
            let due_ms = self.outside.clock.now_ms() + RETRY_AFTER_MS;
            self.insert(TimerItem { due_ms, ..timer });
        }
    }
}
