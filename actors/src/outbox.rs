//! The pump of a shard's outbox: takes rows to the entities they are for.
//!
//! What one entity says to another goes one row after the other; all else goes together. A row of the
//! own shard is consumed by the commit that answers it; rows for other shards are settled here, in
//! batches, after the other shard committed them.
//!
//! An entity may be served by another shard than the one that a row was made for. That one says so, and
//! all rows of the lane are redirected by one log entry, in their order; their old numbers stay as *void*
//! rows until the shards that wait for them have taken them.
//!
//! A row for a shard that nobody leads, as far as is known here, is told again as soon as somebody does; all else
//! waits ever longer for its next try.
//!
//! **Invariants:** at most `IN_FLIGHT_MAX` rows are under way, so a receiver's cursor stays small;
//! what is in memory is a window on the table, never more than `WINDOW_ROWS`; in a lane, what is for a
//! shard that served its entity before goes first. **Not here:** who owns an entity (`Courier`), the effect
//! of a row (`domain`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use fieldmesh_domain::{
    EntityId,
    mutant::{Mutant, is_planted},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::{Instant, timeout};

use crate::{
    admission::Backlog,
    commit::{Settle, ShardId},
    entity::AskError,
    queues::{Held, Queue},
    seams::{Courier, Journal, OutboxItem},
};

/// Rows under way at a time; well inside the receiving cursor's window of 4,096.
pub(crate) const IN_FLIGHT_MAX: usize = 512;
/// Rows held in memory; the table holds the rest.
pub(crate) const WINDOW_ROWS: usize = 8192;
/// First and longest pause before a row is tried again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Settled rows are deleted together: after this many, or this long.
const SETTLE_ROWS: usize = 128;
const SETTLE_AFTER: Duration = Duration::from_millis(50);

/// Messages of the pump.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Rows that were just committed.
    New(Vec<OutboxItem>),
    /// Rows may have been missed: read the table.
    Rescan,
    Told {
        lane: LaneId,
        number: u64,
        result: Result<(), AskError>,
    },
    Retry {
        lane: LaneId,
    },
    Settle,
}

pub(crate) struct Outbox;

/// Who speaks, and to whom; what is void holds up nobody.
type LaneId = (EntityId, EntityId, bool);

/// Rows of one entity for another, oldest first.
#[derive(Default)]
struct Lane {
    rows: VecDeque<OutboxItem>,
    busy: bool,
    failures: u32,
    /// When the row that is under way was sent.
    sent: Option<Instant>,
}

pub(crate) struct State {
    shard: ShardId,
    journal: Arc<dyn Journal>,
    courier: Arc<dyn Courier>,
    backlog: Backlog,
    queues: Arc<Held>,
    lanes: BTreeMap<LaneId, Lane>,
    /// Lanes that have a row and nothing under way.
    ready: VecDeque<LaneId>,
    held: BTreeSet<(ShardId, u64)>,
    in_flight: usize,
    /// The table may hold rows that are not in memory.
    behind: bool,
    settled: Vec<(ShardId, u64)>,
}

impl Actor for Outbox {
    type Msg = Msg;
    type State = State;
    type Arguments = (ShardId, Arc<dyn Journal>, Arc<dyn Courier>, Backlog, Arc<Held>);

    async fn pre_start(
        &self,
        _me: ActorRef<Msg>,
        (shard, journal, courier, backlog, queues): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            shard,
            journal,
            courier,
            backlog,
            queues,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            held: BTreeSet::new(),
            in_flight: 0,
            behind: true,
            settled: Vec::new(),
        };
        // A shard whose rows cannot be read does not start.
        state.fill()?;
        if is_planted(Mutant::OutboxLost) {
            (state.lanes, state.ready, state.held) = Default::default();
        }
        Ok(state)
    }

    async fn post_start(
        &self,
        me: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.send(&me);
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(msg, Msg::Told { .. }) && !is_planted(Mutant::OutboxUnbounded) {
            state.in_flight -= 1;
        }
        match msg {
            Msg::New(rows) => state.hold(rows),
            Msg::Rescan => state.behind = true,
            Msg::Told { lane, number: _, result: Err(AskError::Moved) } => {
                state.redirect(&me, lane).await;
            }
            Msg::Told { lane, number, result } => state.told(&me, lane, number, result),
            Msg::Retry { lane } => state.ready.push_back(lane),
            Msg::Settle => state.settle().await,
        }
        state.fill()?;
        state.send(&me);
        state.backlog.is(state.ready.len() + state.in_flight);
        state.queues.is(Queue::Outbox, state.held.len());
        state.queues.is(Queue::OutboxUnderWay, state.in_flight);
        Ok(())
    }
}

impl State {
    fn fill(&mut self) -> Result<(), ActorProcessingErr> {
        if self.behind && self.held.len() < WINDOW_ROWS / 2 {
            let rows = self.journal.outbox(WINDOW_ROWS)?;
            self.behind = !rows.is_all;
            self.hold(rows.items);
        }
        Ok(())
    }

    fn hold(&mut self, rows: Vec<OutboxItem>) {
        for row in rows {
            let key = (row.shard, row.number);
            if self.held.len() >= WINDOW_ROWS {
                self.behind = true;
                return;
            }
            if self.settled.contains(&key) || !self.held.insert(key) {
                continue;
            }
            let id = (row.from, row.to, row.command.is_none());
            let serving = self.courier.serving(row.to);
            let age = |row: &OutboxItem| (Some(row.shard) == serving, row.number);
            let lane = self.lanes.entry(id).or_default();
            // A rescan may bring an older row than those that came by message.
            let at = lane.rows.iter().rposition(|held| age(held) < age(&row));
            let at = at.map_or(0, |at| at + 1);
            let at = if lane.busy { at.max(1) } else { at };
            lane.rows.insert(at.min(lane.rows.len()), row);
            if lane.rows.len() == 1 && !lane.busy {
                self.ready.push_back(id);
            }
        }
    }

    fn send(&mut self, me: &ActorRef<Msg>) {
        while self.in_flight < IN_FLIGHT_MAX || is_planted(Mutant::OutboxUnbounded) {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let Some(row) = lane.rows.front().cloned() else {
                continue;
            };
            if std::mem::replace(&mut lane.busy, true) {
                continue;
            }
            self.in_flight += 1;
            lane.sent = Some(Instant::now());
            let (number, pause) = (row.number, pause(lane.failures.saturating_add(1)));
            // What changes while it is told is not missed.
            let led_anew = self.courier.led_anew(row.shard);
            let told = self.courier.tell(self.shard, row);
            let me = me.clone();
            tokio::spawn(async move {
                let result = told.await;
                let waits = result == Err(AskError::NotLeader);
                // The pump is gone with its shard; the row is in the log.
                let is_over = me.send_message(Msg::Told { lane: id, number, result }).is_err();
                if waits && !is_over {
                    drop(timeout(pause, led_anew).await);
                    drop(me.send_message(Msg::Retry { lane: id }));
                }
            });
        }
    }

    fn told(&mut self, me: &ActorRef<Msg>, id: LaneId, number: u64, result: Result<(), AskError>) {
        match result {
            // Whoever told it waits for somebody to lead.
            Err(AskError::NotLeader) => {
                self.failed(id);
                return;
            }
            Err(error) if error.is_retryable() => return self.again(me, id),
            _ => {}
        }
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.busy = false;
        if let Some(sent) = lane.sent.take().filter(|_| lane.failures == 0) {
            self.backlog.heard_after(sent.elapsed());
        }
        lane.failures = 0;
        if let Some(at) = lane.rows.iter().position(|row| row.number == number)
            && let Some(row) = lane.rows.remove(at)
        {
            self.held.remove(&(row.shard, row.number));
            if row.shard != self.shard {
                if self.settled.is_empty() {
                    me.send_after(SETTLE_AFTER, || Msg::Settle);
                }
                self.settled.push((row.shard, row.number));
                if self.settled.len() == SETTLE_ROWS {
                    drop(me.send_message(Msg::Settle));
                }
            }
        }
        if lane.rows.is_empty() {
            self.lanes.remove(&id);
        } else {
            self.ready.push_back(id);
        }
    }

    fn again(&mut self, me: &ActorRef<Msg>, id: LaneId) {
        if let Some(failures) = self.failed(id) {
            me.send_after(pause(failures), move || Msg::Retry { lane: id });
        }
    }

    /// How often in a row that happened to a lane.
    fn failed(&mut self, id: LaneId) -> Option<u32> {
        let lane = self.lanes.get_mut(&id)?;
        lane.busy = false;
        lane.failures = lane.failures.saturating_add(1);
        metrics::counter!("fieldmesh_outbox_retries_total").increment(1);
        Some(lane.failures)
    }

    /// Has all rows of a lane told to the shard that serves its entity by now. Where this node does not
    /// know yet which one that is, it is tried again.
    async fn redirect(&mut self, me: &ActorRef<Msg>, id: LaneId) {
        let Some(lane) = self.lanes.get(&id) else {
            return;
        };
        let serving = self.courier.serving(id.1);
        let is_known = lane.rows.front().is_some_and(|row| Some(row.shard) != serving);
        let Some(to) = serving.filter(|_| is_known) else {
            return self.again(me, id);
        };
        let rows: Vec<(ShardId, u64)> =
            lane.rows.iter().map(|row| (row.shard, row.number)).collect();
        if let Err(error) = self.journal.redirect(rows.clone(), to).await {
            tracing::debug!(%error, "outbox rows are not redirected yet");
            return self.again(me, id);
        }
        metrics::counter!("fieldmesh_outbox_redirected_total").increment(rows.len() as u64);
        self.lanes.remove(&id);
        for row in &rows {
            self.held.remove(row);
        }
        // They are in the table, with other numbers.
        self.behind = true;
    }

    async fn settle(&mut self) {
        if self.settled.is_empty() {
            return;
        }
        let settle = Settle { outbox: self.settled.clone(), ..Settle::default() };
        match self.journal.settle(settle).await {
            Ok(()) => self.settled.clear(),
            // The receiver refuses a row it took, so telling again is only work.
            Err(error) => {
                tracing::debug!(%error, "outbox rows stay until the next scan");
                self.settled.clear();
                self.behind = true;
            }
        }
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.min(8)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests;
