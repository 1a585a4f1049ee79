//! How long what is committed has been waiting to be applied, where this node leads.
//!
//! A leader whose log is quick and whose state is slow commits what it does not answer. One entry that takes
//! too long is seen where it is applied (`machine`); this is for many that take long together. It is the group's own:
//! the others of the node may do well.
//!
//! **Invariants:** looking takes no longer than a look; what was committed before this node led is work that it
//! took over, and what is done at once and takes its time is not waited for: neither counts. **Not here:** how
//! long is too long (`store::health`), what follows from it (`replicas`).

use std::sync::{Arc, Mutex, PoisonError};

use openraft_rt::watch::WatchReceiver as _;
use tokio::time::Instant;

use super::Raft;
use crate::store::health::{Part, Pulse, Waits};

/// What a leader has committed and not applied.
pub(super) struct Backlog {
    raft: Raft,
    /// Of whoever applies.
    pulse: Pulse,
    mark: Mutex<Option<Mark>>,
}

/// An entry that was found committed and not applied, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    index: u64,
    since: Instant,
}

/// How far a group has come.
#[derive(Debug, Clone, Copy)]
struct Standing {
    committed: Option<u64>,
    applied: Option<u64>,
    /// This node leads, and has applied something that it committed itself.
    leads: bool,
}

impl Backlog {
    /// Is looked at for as long as it is kept.
    pub(super) fn watched_by(part: &Part, raft: &Raft, pulse: Pulse) -> Arc<Self> {
        let backlog = Arc::new(Self { raft: raft.clone(), pulse, mark: Mutex::default() });
        part.look_at(&backlog);
        backlog
    }

    fn standing(&self) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let applied = metrics.last_applied;
        Standing {
            committed: metrics.local_committed.map(|id| id.index),
            applied: applied.map(|id| id.index),
            leads: metrics.replication.is_some()
                && applied.is_some_and(|id| id.leader_id.term == metrics.current_term),
        }
    }
}

impl Waits for Backlog {
    fn since(&self, now: Instant) -> Option<Instant> {
        let standing = self.standing();
        // A mark is replaced as a whole.
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        *mark = next(mark.filter(|_| !self.pulse.is_excused(now)), standing, now);
        mark.map(|mark| mark.since)
    }
}

/// The mark stays until its entry is applied; then another one is made, where there is more.
fn next(mark: Option<Mark>, standing: Standing, now: Instant) -> Option<Mark> {
    let Standing { committed, applied, leads } = standing;
    let index = committed.filter(|_| leads && committed > applied)?;
    mark.filter(|mark| Some(mark.index) > applied).or(Some(Mark { index, since: now }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::{collections::BTreeSet, time::Duration};

    use fieldmesh_actors::commit::{Proposal, Settle};
    use tokio::{sync::watch, time::timeout};

    use super::*;
    use crate::{
        consensus::{
            group::{Group, GroupOptions, SNAPSHOT_EVERY},
            service::Members,
        },
        store::{
            Engine, Role,
            health::{Health, Limits},
            simulated::Disk,
            writer::{LogWriter, OnFatal},
        },
    };

    const LIMITS: Limits = Limits { stall: Duration::from_secs(1), room_min: 0 };
    /// Long, and no stall.
    const HELD_UP: Duration = Duration::from_millis(300);

    /// Two groups, each alone, on a disk that is looked at; and how that does.
    async fn groups(disk: &Disk) -> ([Group; 2], watch::Receiver<Health>) {
        let engine: Arc<dyn Engine> = Arc::new(disk.clone());
        let log = engine.open("log", Role::Log).unwrap();
        let on_fatal: OnFatal = Arc::new(|error| panic!("{error}"));
        let (writer, task) =
            LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal)).unwrap();
        engine.spawn_writer(Box::pin(task));
        tokio::spawn(Arc::clone(writer.disk()).run(Arc::clone(&engine), LIMITS));
        let group = async |number: u32| {
            let options = GroupOptions {
                group: number,
                shard: number,
                node: 1,
                seed: 1,
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(300),
                election_max: Duration::from_millis(600),
                snapshot_every: SNAPSHOT_EVERY,
                fills_forgetful: false,
                observer: None,
                voters: BTreeSet::from([1]),
                peers: None,
            };
            let (log, writer, on_fatal) = (Arc::clone(&log), writer.clone(), Arc::clone(&on_fatal));
            let group = Group::start(options, &*engine, log, writer, on_fatal).await.unwrap();
            group.leading().wait_for(Option::is_some).await.unwrap();
            group.barrier().await.unwrap();
            group
        };
        ([group(1).await, group(2).await], writer.disk().health())
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_take_long_together_are_a_stall_of_their_group_and_one_by_one_are_none() {
        let disk = Disk::new(Duration::from_millis(1));
        let ([group, other], disk_health) = groups(&disk).await;
        let mut health = group.health();
        let members = Members::new(Arc::new(disk.clone()), 1);
        members.add(1, &group.raft, group.health(), None, &group.rest);
        members.add(2, &other.raft, other.health(), None, &other.rest);
        let may_lead = || [1, 2, 3].map(|number| members.may_lead(number));
        disk.hold_up_states(HELD_UP);
        for _ in 0..10 {
            group.barrier().await.unwrap();
        }
        assert!(!health.has_changed().unwrap(), "each took less than is a stall");
        assert_eq!(may_lead(), [true, true, false], "nobody leads what does not run here");
        let mut outcomes = Vec::new();
        for _ in 0..20 {
            outcomes.push(group.submit(&Proposal::Settle(Settle::default())).await.unwrap());
        }
        let stalled = health.wait_for(|now| *now == Health::Stalled);
        timeout(HELD_UP * 10, stalled).await.unwrap().unwrap();
        other.barrier().await.unwrap();
        let others = (*other.health().borrow(), *disk_health.borrow());
        assert_eq!(others, (Health::Well, Health::Well), "the others may be led here");
        assert_eq!(may_lead(), [false, true, false], "whoever asks is told of the group");
        for outcome in outcomes {
            outcome.await.unwrap();
        }
        group.barrier().await.unwrap();
        let well = health.wait_for(|now| *now == Health::Well);
        timeout(Duration::from_secs(10), well).await.unwrap().unwrap();
    }

    fn at(committed: u64, applied: u64) -> Standing {
        Standing { committed: Some(committed), applied: Some(applied), leads: true }
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_waits_from_when_it_is_seen_until_it_is_applied() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mark = |index, ms| Some(Mark { index, since: after(ms) });
        assert_eq!(next(None, at(7, 7), after(0)), None);
        let first = next(None, at(9, 7), after(100));
        assert_eq!(first, mark(9, 100));
        assert_eq!(next(first, at(20, 8), after(200)), first, "some of it is applied");
        assert_eq!(next(first, at(20, 9), after(300)), mark(20, 300), "more came meanwhile");
        assert_eq!(next(first, at(20, 20), after(400)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_lead_is_not_behind() {
        let now = Instant::now();
        let mark = next(None, at(9, 7), now);
        assert!(mark.is_some());
        let follows = Standing { leads: false, ..at(9, 7) };
        assert_eq!(next(mark, follows, now), None);
        let empty = Standing { committed: None, applied: None, leads: true };
        assert_eq!(next(None, empty, now), None);
        let nothing_yet = Standing { applied: None, ..at(9, 0) };
        assert_eq!(next(None, nothing_yet, now), Some(Mark { index: 9, since: now }));
    }
}
