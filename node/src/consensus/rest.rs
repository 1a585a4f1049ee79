//! Groups at rest: nothing happens in them, every member has all of the log applied, and none of them ticks.
//!
//! A group sends heartbeats whether anything happens in it or not, and each wakes openraft at both ends: most of what
//! a cluster does that nobody asks for anything. So a leader whose group is quiet lists it, with all others like it, to
//! each peer several times within an election timeout ([`keep`]), and a follower takes the list for the heartbeats of
//! all of them (as CockroachDB's ranges quiesce and TiKV's regions hibernate).
//!
//! **Invariants:** a group rests only while each of its members says of the very same term and entry that it is the last
//! one, and is applied; whatever happens to it wakes it; a follower that hears nothing of it for as long as it would
//! wait for a heartbeat wakes and stands; until a leader's lease has passed since it heard, it gives nobody else its
//! vote. Nothing here decides who leads, or what is committed: a group that is woken too often costs processor time
//! alone. **Not here:** when openraft ticks (`runtime`), frames (`quiet`), streams (`service`).

mod sleep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::{RaftMetrics, async_runtime::watch::WatchReceiver as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use self::sleep::{Seen, Sleep, Waits};
use super::{
    Raft, Types,
    group::GroupOptions,
    quiet::{FRAME_BYTES_MAX, GROUPS_MAX, Quiet, awake_of, list_frame},
    service::Members,
};
use crate::{
    mesh::{Class, Mesh, Receiving, Sending},
    store::keys::GroupId,
};

/// A peer that does not answer a list within this time gets the next one on another stream.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// How groups rest.
#[derive(Debug, Clone, Copy)]
pub struct Resting {
    /// Between two lists: the shortest election timeout, of which a follower waits for more than two.
    pub every: Duration,
    /// Quiet for so long a group rests that is led here; none where it never does.
    pub after: Option<Duration>,
}

/// Whether a group rests here.
pub(super) struct Rest {
    raft: Raft,
    sleep: Mutex<Sleep>,
}

impl Rest {
    pub(super) fn new(raft: &Raft, options: &GroupOptions) -> Self {
        let GroupOptions { seed, group, election_min, election_max, .. } = *options;
        let mut dice = StdRng::seed_from_u64(seed ^ u64::from(group));
        // Members wake one after the other, or their votes are split.
        let patience = election_max + dice.random_range(election_min..election_max);
        let waits = Waits { lease: election_max, patience };
        Self { raft: raft.clone(), sleep: Mutex::new(Sleep::new(waits, Instant::now())) }
    }

    fn lock(&self) -> MutexGuard<'_, Sleep> {
        // Each change is one assignment.
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heed(&self, sleep: &Sleep) {
        self.raft.runtime_config().tick(sleep.ticks());
    }

    fn seen(&self) -> Seen {
        Seen::of(&self.raft.metrics().borrow_watched())
    }

    /// Something happens to the group; whether it rested so short a time ago that openraft may not know yet that there
    /// is a leader.
    pub(super) fn stir(&self) -> bool {
        let (mut sleep, now) = (self.lock(), Instant::now());
        sleep.wake(now);
        self.heed(&sleep);
        sleep.is_led(now)
    }

    /// Whoever leads the group gives it to another member.
    pub(super) fn hand_over(&self) {
        let mut sleep = self.lock();
        sleep.hand_over(Instant::now());
        self.heed(&sleep);
    }

    /// Whether nobody is to have this member's vote, as far as can be told here: there is a leader. One that rests wakes
    /// to say so itself.
    pub(super) fn is_led(&self) -> bool {
        let (mut sleep, now) = (self.lock(), Instant::now());
        let is_led = sleep.is_led(now);
        if sleep.leads() {
            sleep.wake(now);
            self.heed(&sleep);
        }
        is_led
    }

    /// Whether the group is here as its leader says; it rests then.
    pub(super) fn agrees(&self, from: u64, quiet: &Quiet) -> bool {
        let seen = self.seen();
        let mut sleep = self.lock();
        let agrees = sleep.follow(seen, from, quiet, Instant::now());
        self.heed(&sleep);
        agrees
    }

    /// What a member answered the list that a quiet group was in.
    fn answered(&self, by: u64, quiet: &Quiet, agrees: bool) {
        let mut sleep = self.lock();
        sleep.answered(by, quiet, agrees, Instant::now());
        self.heed(&sleep);
    }

    /// When a member agreed last that the group which is led here rests.
    pub(super) fn agreed(&self, node: u64) -> Option<Instant> {
        self.lock().agreed(node)
    }

    /// Looks whether the group may rest, or may not any more; when that is to be looked at again at the latest.
    fn look(
        &self,
        after: Option<Duration>,
        may: impl Fn(u64) -> bool,
        now: Instant,
    ) -> Option<Instant> {
        let (seen, others) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (
                Seen::of(&metrics),
                quiet_members(&metrics).filter(|others| others.iter().all(|n| may(*n))),
            )
        };
        let mut sleep = self.lock();
        let until = sleep.look(seen, others, after, now);
        self.heed(&sleep);
        until
    }

    pub(super) fn is_at_rest(&self) -> bool {
        !self.lock().ticks()
    }

    /// What is to be said of the group, and to whom.
    fn list(&self, group: GroupId) -> Option<(Quiet, BTreeSet<u64>)> {
        self.lock().list(group)
    }
}

/// The others of a group that is led here and of which each has all; none where somebody lacks something, or there are
/// no others.
fn quiet_members(now: &RaftMetrics<Types>) -> Option<BTreeSet<u64>> {
    let (replication, applied) = (now.replication.as_ref()?, now.last_applied?);
    let others =
        now.membership_config.nodes().map(|(node, _)| *node).filter(|node| *node != now.id);
    let others: BTreeSet<u64> = others.collect();
    let has_all = |node| replication.get(node).copied().flatten() == Some(applied);
    (!others.is_empty() && others.iter().all(has_all)).then_some(others)
}

/// Lists the groups that rest to those who follow them, and wakes those of which nothing is heard; for as long as the
/// node runs.
pub async fn keep(members: Arc<Members>, mesh: Arc<Mesh>, resting: Resting) {
    let Resting { every, after } = resting;
    let (mut ways, mut speaking) = (BTreeMap::new(), JoinSet::new());
    let mut next_list = Instant::now() + every;
    let mut look_at = next_list;
    loop {
        sleep_until(look_at).await;
        let now = Instant::now();
        let is_due = now >= next_list;
        if is_due {
            next_list = now + every;
        }
        look_at = next_list;
        let mut lists: BTreeMap<u64, Vec<Quiet>> = BTreeMap::new();
        let mut count = 0_u32;
        for (group, rest) in members.rests() {
            let until = rest.look(after, |node| mesh.takes_lists(node), now);
            look_at = until.map_or(look_at, |until| look_at.min(until));
            count += u32::from(rest.is_at_rest());
            for (quiet, node) in rest
                .list(group)
                .into_iter()
                .flat_map(|(quiet, others)| others.into_iter().map(move |node| (quiet, node)))
            {
                lists.entry(node).or_default().push(quiet);
            }
        }
        metrics::gauge!("fieldmesh_groups_at_rest").set(f64::from(count));
        if is_due {
            ways.retain(|node, _| mesh.takes_lists(*node));
            while speaking.try_join_next().is_some() {}
            for (node, list) in lists {
                let way: &mut watch::Sender<Vec<Quiet>> = ways.entry(node).or_insert_with(|| {
                    let (way, lists) = watch::channel(Vec::new());
                    speaking.spawn(speak(Arc::clone(&members), Arc::clone(&mesh), node, lists));
                    way
                });
                way.send_replace(list);
            }
        }
    }
}

/// Says one peer which groups rest: the newest list, once the one before is answered.
async fn speak(
    members: Arc<Members>,
    mesh: Arc<Mesh>,
    node: u64,
    mut lists: watch::Receiver<Vec<Quiet>>,
) {
    let mut way = None;
    while lists.changed().await.is_ok() {
        let mut list = lists.borrow_and_update().clone();
        // What is not said is not agreed to.
        list.truncate(GROUPS_MAX);
        match timeout(ANSWERED_WITHIN, say(&mesh, node, &mut way, &list)).await {
            Ok(Ok(awake)) => {
                for quiet in &list {
                    if let Some(rest) = members.rest(quiet.group) {
                        rest.answered(node, quiet, !awake.contains(&quiet.group));
                    }
                }
            }
            // Of whom nothing is heard the group does not rest for long.
            Ok(Err(error)) => tracing::debug!(node, error, "a list of groups was not answered"),
            Err(_) => tracing::debug!(node, "a list of groups was not answered in time"),
        }
    }
}

/// Which groups of a list do not rest there. Whoever gives up waiting gives up the stream.
async fn say(
    mesh: &Arc<Mesh>,
    node: u64,
    way: &mut Option<(Sending, Receiving)>,
    list: &[Quiet],
) -> Result<Vec<GroupId>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut send, mut receive) = match way.take() {
        Some(kept) => kept,
        None => mesh.open(node, Class::Rest).await?,
    };
    send.frame(&list_frame(list)).await?;
    let answer = receive.frame(FRAME_BYTES_MAX).await?.ok_or("the stream ended")?;
    let awake = awake_of(&answer)?;
    *way = Some((send, receive));
    Ok(awake)
}
