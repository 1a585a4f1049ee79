//! Waiting for whoever comes to lead a shard.
//!
//! A change of leaders takes milliseconds, and who asks meanwhile waits no longer than that: it is woken by what this
//! node hears of it. **Invariants:** what changes between a look and the wait that follows it is not missed; nobody
//! who asks waits for news longer than [`LOOK_EVERY`] at a time. **Not here:** asking (`courier`), who leads
//! (`consensus`).

use std::{future::pending, sync::Weak, time::Duration};

use fieldmesh_actors::{ShardHandle, commit::ShardId, seams::Pending};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::NodeCourier;
use crate::consensus::Group;

/// How often it is looked whether somebody leads, where nothing is heard of it.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A leader that gave its shard away answers what it had begun within this time.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// A new leader's first entry, and the start of a shard with all that waits in it: whoever asks waits longer.
const STARTED_WITHIN: Duration = Duration::from_secs(1);

/// How a shard was led at a moment.
pub(super) struct Sight {
    group: Option<Group>,
    leader: Option<u64>,
    opened: watch::Receiver<()>,
}

impl Sight {
    /// Waits until a shard begins or ends here, or somebody else leads this one.
    pub(super) async fn changes(self) {
        let Self { group, leader, mut opened } = self;
        let led = async {
            let Some(group) = group else { return pending().await };
            if group.next_leader(leader).await.is_none() {
                // It has ended, and tells nothing any more.
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = led => {}
            _ = opened.changed() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

impl NodeCourier {
    /// How a shard is led now: to be taken before it is asked, so that the answer is not older.
    pub(super) fn sight(&self, shard: ShardId) -> Sight {
        let (opened, group) = (self.opened.subscribe(), self.group(shard));
        let leader = group.as_ref().and_then(Group::leader);
        Sight { group, leader, opened }
    }

    /// Ends when another node comes to lead a shard, as the replica here hears, or when the shard begins here.
    pub(super) fn until_led_anew(&self, shard: ShardId) -> Pending<()> {
        let Sight { group, mut leader, mut opened } = self.sight(shard);
        let (me, number) = (Weak::clone(&self.me), self.number);
        let is_here = move || me.upgrade().is_some_and(|me| me.shard(shard).is_some());
        let mut was_here = is_here();
        let led = async move {
            let Some(group) = group else { return pending().await };
            while let Some(next) = group.next_leader(leader).await {
                // Where it is this node, its shard is about to begin.
                if next.is_some_and(|next| next != number) {
                    return;
                }
                leader = next;
            }
            // The group has ended, and tells nothing any more.
            pending().await
        };
        let begun = async move {
            while opened.changed().await.is_ok() {
                let is_here = is_here();
                let was_here = std::mem::replace(&mut was_here, is_here);
                if is_here && !was_here {
                    return;
                }
            }
            pending().await
        };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = led => {}
                () = begun => {}
            }
        })
    }

    /// A shard that runs here, or is about to: whoever hears of a new leader asks it at once.
    pub(super) async fn starting(&self, shard: ShardId) -> Option<ShardHandle> {
        let until = Instant::now() + STARTED_WITHIN;
        loop {
            let sight = self.sight(shard);
            if let Some(handle) = self.shard(shard) {
                return Some(handle);
            }
            let leads = self.running(shard).is_some_and(|group| group.led().is_some());
            if !leads || Instant::now() >= until {
                return None;
            }
            sight.changes().await;
        }
    }

    /// Ends a while after another node than this one leads. One that was killed answers nothing, and its
    /// connection takes long to die.
    pub(super) async fn until_deposed(&self, shard: ShardId, node: u64) {
        let Some(group) = self.fed(shard) else { return pending().await };
        let mut leader = Some(node);
        while leader.is_none_or(|leader| leader == node) {
            match group.next_leader(leader).await {
                Some(next) => leader = next,
                None => return,
            }
        }
        sleep(LAST_WORDS).await;
    }
}
