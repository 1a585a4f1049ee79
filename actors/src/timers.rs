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

use fieldmesh_domain::{
    EntityId,
    mutant::{Mutant, is_planted},
};
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
    Changed {
        entity: EntityId,
        timers: Vec<TimerChange>,
    },
    Rescan,
    Tick,
    /// One that was set is due before the next tick.
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
}

pub(crate) struct State {
    outside: Arguments,
    wheel: Wheel,
    in_flight: usize,
    /// When the next tick comes, and when it is looked besides, in Unix milliseconds.
    tick_ms: u64,
    look_ms: u64,
}

/// The timers in memory.
#[derive(Default)]
struct Wheel {
    /// By when they fire: as the table has it, or later where the entity could not answer.
    due: BTreeSet<(u64, TimerItem)>,
    /// Those, and those that were fired and are not answered.
    by_name: BTreeMap<(EntityId, u8), (u64, TimerItem)>,
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
        let (wheel, in_flight, tick_ms, look_ms) = Default::default();
        let mut state = State { outside, wheel, in_flight, tick_ms, look_ms };
        // A shard whose rows cannot be read does not start.
        state.rescan()?;
        if is_planted(Mutant::TimerLost) {
            state.wheel = Wheel { horizon_ms: u64::MAX, ..Wheel::default() };
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
            Msg::Changed { entity, timers } => {
                state.wheel.changed(entity, &timers);
                if let Some(pause) = state.sooner() {
                    me.send_after(pause, || Msg::Look);
                }
            }
            Msg::Look => {}
            Msg::Rescan => state.rescan()?,
            Msg::Answered { timer, again } => state.answered(timer, again),
            Msg::Tick => {
                let pause = state.until_next();
                state.tick_ms = state.outside.clock.now_ms() + pause.as_millis() as u64;
                me.send_after(pause, || Msg::Tick);
            }
        }
        state.fire(&me)?;
        Ok(())
    }
}

impl Wheel {
    fn changed(&mut self, entity: EntityId, timers: &[TimerChange]) {
        for timer in timers {
            if let Some(old) = self.by_name.remove(&(entity, timer.name)) {
                self.due.remove(&old);
            }
            let Some(due_ms) = timer.due_ms else { continue };
            if due_ms <= self.horizon_ms {
                let (name, generation) = (timer.name, timer.generation);
                self.insert(due_ms, TimerItem { due_ms, entity, name, generation });
            }
        }
    }

    fn insert(&mut self, at_ms: u64, timer: TimerItem) {
        if let Some(old) = self.by_name.insert((timer.entity, timer.name), (at_ms, timer)) {
            self.due.remove(&old);
        }
        self.due.insert((at_ms, timer));
        while self.due.len() > WHEEL_ROWS {
            let Some((_, last)) = self.due.pop_last() else {
                return;
            };
            self.by_name.remove(&(last.entity, last.name));
            self.horizon_ms = self.due.last().map_or(0, |(at_ms, _)| *at_ms);
        }
    }

    /// Takes in the first rows of the table, all of them or not. What was fired is not fired again for
    /// being in the table still: it is answered, or waits for its second try.
    fn read(&mut self, rows: Vec<TimerItem>, is_all: bool) {
        self.horizon_ms = if is_all { u64::MAX } else { rows.last().map_or(0, |row| row.due_ms) };
        for row in rows {
            let known = self.by_name.get(&(row.entity, row.name));
            if known.is_none_or(|(_, known)| *known != row) {
                self.insert(row.due_ms, row);
            }
        }
    }

    fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether the table may hold what is due. What is left here may be only retries, which say nothing
    /// of it.
    fn is_through(&self, now_ms: u64) -> bool {
        self.horizon_ms < now_ms && self.next_ms().is_none_or(|at_ms| at_ms > self.horizon_ms)
    }

    fn take(&mut self, now_ms: u64) -> Option<TimerItem> {
        self.next_ms().filter(|at_ms| *at_ms <= now_ms)?;
        self.due.pop_first().map(|(_, timer)| timer)
    }

    /// One that was fired is over, or is to be fired again at some time.
    fn answered(&mut self, timer: TimerItem, again_ms: Option<u64>) {
        let key = (timer.entity, timer.name);
        // The entity may have set the same timer anew meanwhile: then that one counts.
        if self.by_name.get(&key).is_none_or(|(_, known)| *known != timer) {
            return;
        }
        self.by_name.remove(&key);
        if let Some(at_ms) = again_ms {
            self.insert(at_ms, timer);
        }
    }
}

impl State {
    fn rescan(&mut self) -> Result<(), ActorProcessingErr> {
        let rows = self.outside.journal.timers(WHEEL_ROWS)?;
        self.wheel.read(rows.items, rows.is_all);
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
            self.rescan()?;
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
        Ok(())
    }

    fn answered(&mut self, timer: TimerItem, again: bool) {
        self.in_flight -= 1;
        let again_ms = again.then(|| self.outside.clock.now_ms() + RETRY_AFTER_MS);
        self.wheel.answered(timer, again_ms);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    fn timer(name: u8, generation: u32, due_ms: u64) -> TimerItem {
        let entity = EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [1; 10]);
        TimerItem { due_ms, entity, name, generation }
    }

    fn wheel(rows: &[TimerItem]) -> Wheel {
        let mut wheel = Wheel::default();
        wheel.read(rows.to_vec(), true);
        wheel
    }

    /// An entity that cannot write has the table read again each time that it says so.
    #[test]
    fn what_was_fired_is_not_fired_again_for_being_in_the_table() {
        let row = timer(1, 1, 10);
        let mut wheel = wheel(&[row]);
        assert_eq!(wheel.take(10), Some(row));
        wheel.read(vec![row], true);
        assert_eq!(wheel.take(10), None, "it is under way");
        wheel.answered(row, Some(1010));
        wheel.read(vec![row], true);
        assert_eq!(wheel.take(1009), None, "its second try is later");
        assert_eq!(wheel.take(1010), Some(row));
        wheel.answered(row, None);
        wheel.read(vec![row], true);
        assert_eq!(wheel.take(1010), Some(row), "it is in the table after its answer");
    }

    #[test]
    fn what_the_table_has_anew_counts() {
        let (old, new) = (timer(1, 1, 10), timer(1, 2, 20));
        let mut wheel = wheel(&[old]);
        assert_eq!(wheel.take(10), Some(old));
        wheel.read(vec![new], true);
        wheel.answered(old, Some(1010));
        assert_eq!((wheel.take(20), wheel.take(u64::MAX)), (Some(new), None));
    }
}
