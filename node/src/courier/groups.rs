//! What this node asks other nodes of groups: how they are, who leads them, and whether they have let this node go.
//!
//! **Invariant:** what is said of a group was confirmed by its leader just now. **Not here:** asking entities (`courier`),
//! changing a group (`crate::replicas`).

use std::collections::BTreeSet;

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::placement::Home;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{LED_WITHIN, NodeCourier, moves::LOOK_EVERY, wire, write};
use crate::replicas::step;

impl NodeCourier {
    /// Whether a node may lead a group, as it says itself; none where it is not heard.
    pub async fn may_lead(&self, node: u64, shard: ShardId) -> Option<bool> {
        match &self.ways {
            Some(ways) => ways.may_lead(node, Some(shard)).await,
            None => Some(true),
        }
    }

    /// Whether a node answers.
    pub async fn is_heard(&self, node: u64) -> bool {
        match &self.ways {
            Some(ways) => ways.may_lead(node, None).await.is_some(),
            None => false,
        }
    }

    /// The groups of which another node has a log, as it says itself; none where it does not say, nor of this node.
    pub async fn held(&self, node: u64) -> Option<Vec<ShardId>> {
        self.ways.as_ref()?.held(node).await
    }

    /// How a group is, by whoever leads it: that node, and what it sees.
    pub async fn look(&self, shard: ShardId) -> Option<(u64, wire::Seen)> {
        if let Some(seen) = self.seen(shard).await {
            return Some((self.number, seen));
        }
        let node = self.other_leader(shard)?;
        let seen = self.ways.as_ref()?.look(node, shard).await;
        if seen.is_none() {
            self.astray(shard, node, None);
        }
        Some((node, seen?))
    }

    /// How a group is, by whoever of some nodes leads it, wherever the record has it: each of them is asked.
    pub async fn look_among(&self, shard: ShardId, nodes: &[u64]) -> Option<wire::Seen> {
        let looks = nodes.iter().copied().map(|node| async move {
            if node == self.number {
                return self.seen(shard).await;
            }
            self.ways.as_ref()?.look(node, shard).await
        });
        join_all(looks).await.into_iter().flatten().next()
    }

    /// What the auditor found in a shard that another node leads.
    pub async fn audited(&self, shard: ShardId) -> Option<wire::Audited> {
        let node = self.other_leader(shard)?;
        self.ways.as_ref()?.audited(node, shard).await
    }

    /// Whether nobody but this node votes in a group: what is decided is here.
    pub fn is_alone_in(&self, shard: ShardId) -> bool {
        let voters = self.running(shard).map(|group| group.replicas().voters);
        voters.is_some_and(|voters| voters.iter().eq([&self.number]))
    }

    /// Waits until the replica here has all that was acknowledged before now; whether it has.
    pub async fn catch_up(&self, shard: ShardId) -> bool {
        let (Some((_, seen)), Some(group)) = (self.look(shard).await, self.running(shard)) else {
            return false;
        };
        group.until_applied(seen.committed).await
    }

    /// The same, with the patience that an election needs.
    pub async fn catch_up_in_time(&self, shard: ShardId) -> bool {
        let until = Instant::now() + LED_WITHIN;
        while !self.catch_up(shard).await {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Whether another region's authority has a record of a certificate; none where that cannot be
    /// found out.
    pub async fn is_recorded_in(&self, home: &Home, certificate: &wire::Recorded) -> Option<bool> {
        let ways = self.ways.as_ref()?;
        let voters = self.known.placed(home.authority())?.voters;
        for voter in voters {
            if let Some(is_recorded) = ways.is_recorded(voter, certificate).await {
                return Some(is_recorded);
            }
        }
        None
    }

    /// Finds who leads a shard of which no replica here is fed: only a leader answers. Whoever did last is asked first, then
    /// those that are to vote, and then the others of the region: until a group is as it is wanted, one that is to leave it
    /// may lead it, for as long as those in its place need to catch up.
    pub(super) async fn find_leader(&self, shard: ShardId) -> Option<u64> {
        let ways = self.ways.as_ref()?;
        let voters = self.known.placed(shard)?.voters;
        let all = self.hinted(shard).into_iter().chain(voters).chain(self.neighbours());
        let mut asked = BTreeSet::from([self.number]);
        for node in all.filter(|node| asked.insert(*node)) {
            if ways.look(node, shard).await.is_some() {
                write(&self.hints).insert(shard, node);
                return Some(node);
            }
        }
        None
    }

    /// Whether a group's leader, who is another node, has let this node go: by the entry of the group up to which that
    /// counts. Behind it this node may have been let in again.
    pub async fn let_go(&self, shard: ShardId) -> Option<u64> {
        let ways = self.ways.as_ref()?;
        let voters = self.known.placed(shard).map_or_else(Vec::new, |placed| placed.voters);
        for voter in voters.into_iter().filter(|voter| *voter != self.number) {
            if let Some(seen) = ways.look(voter, shard).await {
                let is_in =
                    seen.voters.contains(&self.number) || seen.learners.contains(&self.number);
                return (seen.is_settled && !is_in).then_some(seen.committed);
            }
        }
        None
    }

    /// How a group is that this node leads, as a quorum confirms: one that was cut off says nothing.
    pub async fn seen(&self, shard: ShardId) -> Option<wire::Seen> {
        let group = self.running(shard)?;
        let committed = group.read_index().await?;
        let (replicas, behind) = (group.replicas(), group.lag()?);
        let awaited = self.awaited(shard);
        Some(wire::Seen {
            is_settled: replicas.is_settled(),
            voters: replicas.voters.into_iter().collect(),
            learners: replicas.learners.into_iter().collect(),
            committed,
            behind: behind.into_iter().filter(|(node, _)| *node != self.number).collect(),
            awaited: (!awaited.is_empty()).then_some(awaited),
        })
    }

    /// The nodes that the next change of a group waits for that this node leads, also where no quorum confirms
    /// that it does.
    pub fn awaited(&self, shard: ShardId) -> Vec<u64> {
        let group = self.running(shard).filter(|group| group.led().is_some());
        let awaited = group.zip(self.known.placed(shard)).map(|(group, wanted)| {
            step::awaited(&group, &self.known.known(), self.number, &wanted)
        });
        awaited.into_iter().flatten().collect()
    }
}
