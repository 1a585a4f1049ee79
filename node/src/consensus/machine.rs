//! The state machine of a group: applies commits to the group's state table.
//!
//! Every entry is one batch that also carries the applied index, so a crash reopens the table at a
//! consistent older point and openraft applies the rest again. Nothing here looks inside sealed
//! payloads.
//!
//! **Invariants:** the outcome of an entry depends on the table and the entry alone; an entity's
//! version never moves without its events, nor its history on from another one; a cause is consumed once.
//! **Not here:** slots that go from one shard to another (`slots`), deciding (`domain`), sealing and reading
//! for actors (`journal`).

pub(crate) mod slots;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::commit::{
    Cause, Commit, Proposal, Settle, ShardId, SnapshotPart, TimerChange, Verdict,
};
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow,
    mutant::{Mutant, is_planted},
};
use futures_util::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta},
};
use tokio::task::yield_now;

use super::{
    LogId, Outcome, StoredMembership, Types, codec,
    install::{self, Found},
};
use crate::store::{
    Batch, StoreError, Table,
    health::Pulse,
    keys::state,
    rows::{self, Cursor, DedupRow, Head, SnapshotRow, Take, TimerRow},
};

type Meta =
    SnapshotMeta<openraft::alias::CommittedLeaderIdOf<Types>, u64, openraft::impls::EmptyNode>;
type TableSnapshot = Snapshot<
    openraft::alias::CommittedLeaderIdOf<Types>,
    u64,
    openraft::impls::EmptyNode,
    Arc<dyn Table>,
>;

/// Rows shown at a time, and about their bytes.
const PAGE: usize = 1024;
const PAGE_BYTES: usize = 1 << 20;

/// To freeze a state writes down what is in memory alone: some dozen MiB, which take a slow disk seconds. Nothing
/// is applied meanwhile, and that alone is no reason to lead no more; what takes longer stands still.
const FROZEN_WITHIN: Duration = Duration::from_secs(15);

/// Is shown the rows of each commit once they are in the table, on every replica.
pub type RowObserver = Arc<dyn Fn(&[IndexRow]) + Send + Sync>;

/// Who is shown rows.
#[derive(Clone)]
pub struct Observer {
    pub show: RowObserver,
    /// Of the rows that are there already, those of this kind alone; none is all.
    pub kind: Option<EntityKind>,
    /// Set while rows are in the table that a snapshot brought and that are not all shown yet.
    pub filling: Option<Arc<AtomicBool>>,
}

/// One group's state machine.
#[derive(Clone)]
pub struct Machine {
    shard: ShardId,
    table: Arc<dyn Table>,
    applied: Arc<Mutex<Applied>>,
    observer: Option<Observer>,
    pulse: Pulse,
}

#[derive(Default)]
struct Applied {
    last: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<(Meta, Arc<dyn Table>)>,
}

impl Applied {
    /// This is the snapshot that others get, unless there is a later one already.
    fn keep(&mut self, meta: &Meta, frozen: &Arc<dyn Table>) {
        let current = self.snapshot.as_ref().map(|(current, _)| current.last_log_id);
        if current <= Some(meta.last_log_id) {
            self.snapshot = Some((meta.clone(), Arc::clone(frozen)));
        }
    }
}

impl Machine {
    /// Reads how far the table has come.
    ///
    /// # Errors
    /// The table's own record of that does not decode.
    pub fn open(shard: ShardId, table: Arc<dyn Table>, pulse: Pulse) -> Result<Self, StoreError> {
        let Found { applied, membership, .. } = install::found(&*table)?;
        let applied = Applied { last: applied, membership, snapshot: None };
        let applied = Arc::new(Mutex::new(applied));
        Ok(Self { shard, table, applied, observer: None, pulse })
    }

    /// Shows the observer the rows that are there, and from now on each that comes.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub async fn observed(mut self, observer: Observer) -> Result<Self, StoreError> {
        self.observer = Some(observer);
        self.show_all().await?;
        Ok(self)
    }

    fn set_filling(&self, is_filling: bool) {
        if let Some(filling) = self.observer.as_ref().and_then(|one| one.filling.as_ref()) {
            filling.store(is_filling, Ordering::Release);
        }
    }

    async fn show_all(&self) -> Result<(), StoreError> {
        let Some(Observer { show, kind, .. }) = &self.observer else { return Ok(()) };
        let (mut from, until) =
            kind.map_or_else(state::indexes, |kind| state::index_of(kind as u8));
        loop {
            let page = self.table.page(&from, &until, PAGE, PAGE_BYTES)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
            let rows: Result<Vec<IndexRow>, _> =
                page.iter().map(|(key, value)| rows::decode(key, value)).collect();
            show(&rows?);
            // Others on this thread go on between two pages.
            yield_now().await;
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Applied) -> T) -> T {
        // Each change is a few assignments that cannot panic between them.
        change(&mut self.applied.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply_one(&self, entry: super::Entry) -> Result<Outcome, StoreError> {
        let mut batch = Batch::default();
        let mut shown = Vec::new();
        let outcome = match &entry.payload {
            EntryPayload::Blank => Outcome::Nothing,
            EntryPayload::Membership(membership) => {
                self.with(|a| {
                    a.membership = StoredMembership::new(Some(entry.log_id), membership.clone())
                });
                Outcome::Nothing
            }
            EntryPayload::Normal(proposal) => match minicbor::decode::<Proposal>(&proposal.0) {
                Ok(Proposal::Commit(commit)) => {
                    let verdict = self.commit(&commit, &mut batch)?;
                    if matches!(verdict, Verdict::Applied { .. }) {
                        shown = commit.index;
                    }
                    Outcome::Decided(verdict)
                }
                Ok(Proposal::Settle(settle)) => {
                    self.settle(&settle, &mut batch)?;
                    Outcome::Decided(Verdict::Applied { tells: Vec::new() })
                }
                Ok(Proposal::SnapshotPart(part)) => {
                    self.put_snapshot_part(part, &mut batch)?;
                    Outcome::Decided(Verdict::Applied { tells: Vec::new() })
                }
                Ok(
                    proposal @ (Proposal::GiveSlot { .. }
                    | Proposal::TakeSlot(_)
                    | Proposal::ClearSlot(_)
                    | Proposal::Redirect { .. }
                    | Proposal::TakeVoid { .. }),
                ) => {
                    let listed = slots::listed(&proposal);
                    let verdict = self.carry(proposal, &mut batch)?;
                    if matches!(verdict, Verdict::Applied { .. }) {
                        shown = listed;
                    }
                    Outcome::Decided(verdict)
                }
                // The others may well understand it: to pass over it would make this replica another one.
                Err(_) => return Err(StoreError::Newer { entry: entry.log_id.to_string() }),
            },
        };
        let applied = self.with(|a| {
            a.last = Some(entry.log_id);
            codec::encode_applied(a.last.as_ref(), &a.membership)
        });
        if is_planted(Mutant::ApplyNotAtomic) {
            let mut apart = Batch::default();
            apart.put(state::applied(), applied);
            self.table.write(apart)?;
        } else {
            batch.put(state::applied(), applied);
        }
        self.table.write(batch)?;
        if let Some(observer) = self.observer.as_ref().filter(|_| !shown.is_empty()) {
            (observer.show)(&shown);
        }
        Ok(outcome)
    }

    fn commit(&self, commit: &Commit, batch: &mut Batch) -> Result<Verdict, StoreError> {
        let entity = commit.entity.to_bytes();
        let head: Head = rows::read(&*self.table, &state::head(&entity))?.unwrap_or_default();
        let refusal = match self.consume(commit, batch)? {
            Take::Fresh => None,
            Take::Before => Some(Verdict::Consumed),
            Take::TooFar => Some(Verdict::TooFar),
        };
        let refusal = match refusal {
            None if self.is_given(commit.entity, &commit.cause)? => Some(Verdict::Moved),
            refusal => refusal,
        };
        if let Some(verdict) = refusal {
            batch.ops.clear();
            return Ok(verdict);
        }
        // Steps are decided on top of others that are under way. Where those fail, and as many events came
        // from elsewhere, the version alone would fit.
        let is_other = commit.previous.is_some_and(|previous| *previous != head.chain);
        let is_stale = head.version != commit.expected_version || is_other;
        if is_stale && !is_planted(Mutant::FenceOff) {
            batch.ops.clear();
            return Ok(Verdict::Conflict { found: head.version });
        }
        if commit.event_count > 0 {
            let next = Head {
                version: head.version + u64::from(commit.event_count),
                chain: commit.chain,
                owner: commit.owner.to_bytes(),
                at_ms: commit.at_ms,
            };
            batch.put(state::head(&entity), rows::encode(&next));
            batch.put(state::events(&entity, head.version), commit.record.clone());
        }
        if let Some(snapshot) = &commit.snapshot {
            let key = state::snapshot(&entity);
            let old: Option<SnapshotRow> = rows::read(&*self.table, &key)?;
            if old.is_some_and(|old| old.parts.is_some()) {
                let after = head.version + u64::from(commit.event_count);
                delete_parts(&entity, after, batch);
            }
            batch.put(key, snapshot.clone());
        }
        if let Some(key) = &commit.new_key {
            batch.put(state::data_key(&commit.owner.to_bytes()), key.clone());
        }
        let tells = self.put_tells(commit, batch)?;
        self.put_mail(commit, batch)?;
        self.put_timers(commit, batch)?;
        for row in &commit.index {
            match row {
                IndexRow::Gone { .. } => batch.delete(state::index(&row.key())),
                row => batch.put(state::index(&row.key()), rows::encode(row)),
            }
        }
        Ok(Verdict::Applied { tells })
    }

    fn is_given(&self, entity: EntityId, cause: &Cause) -> Result<bool, StoreError> {
        slots::is_given(&*self.table, self.shard, entity, cause)
    }

    /// Consumes the cause, if nobody did before.
    fn consume(&self, commit: &Commit, batch: &mut Batch) -> Result<Take, StoreError> {
        match &commit.cause {
            Cause::Device { device, message_id, content, expires_s, .. } => {
                let device = device.to_bytes();
                let key = state::dedup(&device, message_id);
                if !is_planted(Mutant::DedupOff) && self.table.get(&key)?.is_some() {
                    return Ok(Take::Before);
                }
                let seen = commit.seen.clone();
                let (window, receipt) =
                    seen.map_or_else(Default::default, |s| (s.window, s.receipt));
                let mut row = DedupRow { content: *content, receipt, at_ms: commit.at_ms };
                if is_planted(Mutant::ReplicaDiffers) {
                    row.at_ms = row.at_ms.wrapping_add(std::process::id().into());
                }
                batch.put(key, rows::encode(&row));
                batch.put(state::dedup_expiry(*expires_s, &device, message_id), []);
                batch.put(state::window(&device), window);
                Ok(Take::Fresh)
            }
            Cause::Outbox { from, number } if *from == self.shard => {
                let key = state::outbox(self.shard, *number);
                let waits = self.table.get(&key)?.is_some();
                batch.delete(key);
                Ok(if waits { Take::Fresh } else { Take::Before })
            }
            Cause::Outbox { from, number } => {
                let key = state::cursor(*from);
                let mut cursor: Cursor = rows::read(&*self.table, &key)?.unwrap_or_default();
                let taken = cursor.take(*number);
                batch.put(key, rows::encode(&cursor));
                Ok(taken)
            }
            Cause::Timer { name, generation } => {
                let entity = commit.entity.to_bytes();
                let key = state::timer_name(&entity, *name);
                let row = rows::read::<TimerRow>(&*self.table, &key)?;
                let Some(row) = row.filter(|row| row.generation == *generation) else {
                    return Ok(Take::Before);
                };
                batch.delete(state::timer_due(row.due_ms, &entity, *name));
                batch.delete(key);
                Ok(Take::Fresh)
            }
            Cause::Operator { .. } => Ok(Take::Fresh),
        }
    }

    fn put_tells(&self, commit: &Commit, batch: &mut Batch) -> Result<Vec<u64>, StoreError> {
        let mut next = BTreeMap::new();
        let mut numbers = Vec::with_capacity(commit.tells.len());
        for tell in &commit.tells {
            let number = match next.get(&tell.shard) {
                Some(number) => *number,
                None => rows::read_u64(&*self.table, &state::outbox_next(tell.shard))?.unwrap_or(1),
            };
            next.insert(tell.shard, number + 1);
            batch.put(
                state::outbox(tell.shard, number),
                rows::encode(&rows::OutboxRow {
                    tell: tell.clone(),
                    owner: commit.owner,
                    is_void: false,
                }),
            );
            numbers.push(number);
        }
        for (shard, number) in next {
            batch.put(state::outbox_next(shard), number.to_be_bytes());
        }
        Ok(numbers)
    }

    /// Two entities of one customer commit in any order: the last number must not go back, or it
    /// would be given twice.
    fn put_mail(&self, commit: &Commit, batch: &mut Batch) -> Result<(), StoreError> {
        let mut last = BTreeMap::new();
        for mail in &commit.mail {
            batch.put(state::mail(&mail.to.to_bytes(), mail.number), rows::encode(mail));
            let highest = last.entry(mail.to).or_insert(0);
            *highest = mail.number.max(*highest);
        }
        for (to, number) in last {
            let key = state::mail_last(&to.to_bytes());
            if rows::read_u64(&*self.table, &key)?.is_none_or(|stored| stored < number) {
                batch.put(key, number.to_be_bytes());
            }
        }
        Ok(())
    }

    fn put_timers(&self, commit: &Commit, batch: &mut Batch) -> Result<(), StoreError> {
        let entity = commit.entity.to_bytes();
        let fired = match &commit.cause {
            Cause::Timer { name, .. } => Some(*name),
            Cause::Device { .. } | Cause::Outbox { .. } | Cause::Operator { .. } => None,
        };
        // Where one step sets a timer twice, the later counts, and the table knows neither yet.
        let last: BTreeMap<u8, &TimerChange> =
            commit.timers.iter().map(|timer| (timer.name, timer)).collect();
        for timer in last.into_values() {
            let key = state::timer_name(&entity, timer.name);
            // The fired timer's rows are deleted by this very batch already.
            if fired != Some(timer.name)
                && let Some(old) = rows::read::<TimerRow>(&*self.table, &key)?
            {
                batch.delete(state::timer_due(old.due_ms, &entity, timer.name));
            }
            match timer.due_ms {
                Some(due_ms) => {
                    let row = TimerRow { due_ms, generation: timer.generation };
                    batch.put(
                        state::timer_due(due_ms, &entity, timer.name),
                        timer.generation.to_be_bytes(),
                    );
                    batch.put(key, rows::encode(&row));
                }
                None => batch.delete(key),
            }
        }
        Ok(())
    }

    /// The last part puts the state in force, unless a newer one is; the parts of older states, whole
    /// or not, go with it.
    fn put_snapshot_part(&self, part: SnapshotPart, batch: &mut Batch) -> Result<(), StoreError> {
        let SnapshotPart { entity, version, part, parts, sealed } = part;
        // Without it, the entity is replayed from more events.
        if slots::found(&*self.table, entity)?.is_some_and(|row| row.given_to.is_some()) {
            return Ok(());
        }
        let entity = entity.to_bytes();
        batch.put(state::snapshot_part(&entity, version, part), sealed);
        if part.saturating_add(1) < parts {
            return Ok(());
        }
        let key = state::snapshot(&entity);
        let newest: Option<SnapshotRow> = rows::read(&*self.table, &key)?;
        match newest.filter(|newest| newest.version >= version) {
            Some(newest) => delete_parts(&entity, newest.version, batch),
            None => {
                let row = SnapshotRow { version, sealed: Vec::new(), parts: Some(parts) };
                batch.put(key, rows::encode(&row));
                delete_parts(&entity, version, batch);
            }
        }
        Ok(())
    }

    fn settle(&self, settle: &Settle, batch: &mut Batch) -> Result<(), StoreError> {
        const FORGET_MAX: usize = 1024;
        for (to, number) in &settle.mail {
            batch.delete(state::mail(&to.to_bytes(), *number));
        }
        for (shard, number) in &settle.outbox {
            batch.delete(state::outbox(*shard, *number));
        }
        if let Some(before) = settle.forget_before_s {
            let (from, until) = state::dedup_expired(before);
            for (key, _) in self.table.scan(&from, &until, FORGET_MAX)? {
                // The key ends with device and message id: 16 bytes each.
                if let Some((device, message)) = rows::device_and_message(&key) {
                    batch.delete(state::dedup(&device, &message));
                }
                batch.delete(key);
            }
        }
        Ok(())
    }
}

/// Deletes the parts of states before a version.
fn delete_parts(entity: &[u8; 16], before: u64, batch: &mut Batch) {
    let from = state::snapshot_part(entity, 0, 0);
    batch.delete_range(from, state::snapshot_part(entity, before, 0));
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Arc<dyn Table>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.with(|a| (a.last, a.membership.clone())))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        loop {
            // It is read from the log, and what it is decided by from the table: these wait for the disk, too.
            let waits = self.pulse.begin();
            let Some(next) = entries.next().await else { return Ok(()) };
            let (entry, responder) = next?;
            if let Some(held_up) = self.table.held_up() {
                held_up.await;
            }
            let outcome = self.apply_one(entry)?;
            drop(waits);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
    }

    /// Freezes the state here, where entries are applied and snapshots installed one after the other: what
    /// is built beside them is of one moment, and never of half an installation.
    async fn get_snapshot_builder(&mut self) -> Builder {
        let waits = self.pulse.begin_long(FROZEN_WITHIN);
        let frozen = self.table.checkpoint();
        drop(waits);
        Builder { frozen, machine: self.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Arc<dyn Table>,
    ) -> Result<(), io::Error> {
        self.set_filling(true);
        if let Err(error) = install::replace(&*self.table, &*snapshot).await {
            // The next start needs it as it is: whoever wants to fill its table again sees it in use.
            std::mem::forget(snapshot);
            return Err(error.into());
        }
        metrics::counter!("fieldmesh_snapshots_installed_total").increment(1);
        // Of our own: where it arrived is used for the next.
        let frozen = self.table.checkpoint()?;
        self.with(|a| {
            a.last = meta.last_log_id;
            a.membership = meta.last_membership.clone();
            a.keep(meta, &frozen);
        });
        self.show_all().await?;
        self.set_filling(false);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<TableSnapshot>, io::Error> {
        let current = self.with(|a| a.snapshot.clone());
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Makes a snapshot of a state that was frozen before.
pub struct Builder {
    machine: Machine,
    frozen: Result<Arc<dyn Table>, StoreError>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Arc<dyn Table>;

    /// The state is durable up to the snapshot before it is announced, so that the log may be
    /// purged up to there.
    async fn build_snapshot(&mut self) -> Result<TableSnapshot, io::Error> {
        let frozen = self.frozen.clone()?;
        let Found { applied, membership, .. } = install::found(&*frozen)?;
        self.machine.table.sync().await?;
        let meta = Meta { last_log_id: applied, last_membership: membership };
        self.machine.with(|a| a.keep(&meta, &frozen));
        Ok(Snapshot { meta, snapshot: frozen })
    }
}

#[cfg(test)]
mod tests;
