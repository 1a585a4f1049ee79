//! Who votes in a group, who only follows, and who leads: seen by any member, changed by the leader.
//!
//! Each change is one that the group itself commits (joint consensus, Raft §6), so a leader that is
//! lost half-way leaves a configuration that is whole; the next one goes on from there. **Invariant:** a
//! node votes only once it has caught up. **Not here:** who is wanted (`crate::replicas`).

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use openraft::{
    ChangeMembers, Instant as _, RaftMetrics, ReadPolicy, async_runtime::watch::WatchReceiver as _,
    impls::EmptyNode,
};
use tokio::time::timeout;

use super::{
    Types,
    group::{BEHIND_MAX, Group},
    install,
};

/// Who is in a group by its last configuration, committed or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Who votes; while that changes, before it or behind it.
    pub voters: BTreeSet<u64>,
    pub learners: BTreeSet<u64>,
    /// The voters as they are, or those before a change and those behind it (C_old,new): a majority of each
    /// must agree.
    pub halves: Vec<BTreeSet<u64>>,
    /// Only behind one that is can there be another one.
    pub is_committed: bool,
}

impl Replicas {
    pub fn contains(&self, node: u64) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// Whether no change of the configuration is under way.
    pub fn is_settled(&self) -> bool {
        self.is_committed && self.halves.len() == 1
    }
}

/// Why a group's configuration was not changed; it is as it was, or the change goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotChanged {
    #[error("the group refused: {0}")]
    Refused(String),
    #[error("the change was not committed in time")]
    Late,
}

/// A change of configuration is two entries; what takes longer has no quorum, or has lost its leader.
const CHANGED_WITHIN: Duration = Duration::from_secs(10);

/// A round trip to a quorum; a leader that hears nothing for so long is about to be replaced.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// A member that lives answers several times in so long.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

impl Group {
    /// Who leads, as far as this member knows.
    pub fn leader(&self) -> Option<u64> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Ends when somebody else leads than `before`, or nobody: who. None when the group has ended.
    pub async fn next_leader(&self, before: Option<u64>) -> Option<Option<u64>> {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = metrics.borrow_watched().current_leader;
            if now != before {
                return Some(now);
            }
            metrics.changed().await.ok()?;
        }
    }

    /// The term that this node leads in, now. Of a node that starts again [`Group::leading`] says its last term
    /// too, until it hears of another leader.
    pub fn led(&self) -> Option<u64> {
        let term = (*self.leading.borrow())?;
        let metrics = self.raft.metrics();
        let leads = metrics.borrow_watched().replication.is_some();
        leads.then_some(term)
    }

    /// Waits until this node, as it leads in a term, has applied the first entry of that: whatever was committed
    /// before is applied then. False once the term is over.
    pub async fn has_begun(&self, term: u64) -> bool {
        // What is seen here may be older than that this node leads.
        let wait = self.raft.wait(None);
        let begun = |now: &RaftMetrics<Types>| now.current_term > term || begins(now, term);
        let seen = wait.metrics(begun, "the term's begin");
        seen.await.is_ok_and(|now| begins(&now, term))
    }

    /// The term that this member is in once everything that was proposed here before is in the log, or refused; none
    /// where the group has stopped.
    pub async fn term_behind(&self) -> Option<u64> {
        self.raft.with_raft_state(|state| state.vote_ref().leader_id.term).await.ok()
    }

    /// The last term that this member knows the leader of, and who that is, as its disk has it.
    pub fn last_leader(&self) -> Option<(u64, u64)> {
        let metrics = self.raft.server_metrics();
        let vote = metrics.borrow_watched().vote;
        vote.committed.then_some((vote.leader_id.term, vote.leader_id.voted_for))
    }

    /// The last entry whose effects are in the table now; what [`Group::applied`] says may be a moment
    /// older.
    pub fn readable(&self) -> Option<u64> {
        install::found(&*self.table).ok()?.applied.map(|id| id.index)
    }

    /// The entry up to which a replica has all that was acknowledged before this was asked (Raft's
    /// ReadIndex, §6.4 of the dissertation); none where this node does not lead, or no quorum says in
    /// time that it does.
    pub async fn read_index(&self) -> Option<u64> {
        let asked = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let mut asked = pin!(timeout(CONFIRMED_WITHIN, asked));
        let soon = timeout(CONFIRMED_WITHIN / 4, &mut asked).await;
        let answered = match soon {
            Ok(answered) => answered,
            Err(_) => {
                // A group at rest repeats nothing that was lost.
                self.rest.stir();
                asked.await
            }
        };
        let linearizer = answered.ok()?.ok()?;
        Some(linearizer.read_log_id().log_id().index)
    }

    /// Waits until so much is applied here, for as long as an operator may wait for it.
    pub async fn until_applied(&self, index: u64) -> bool {
        const PATIENCE: Duration = Duration::from_secs(1);
        let wait = self.raft.wait(Some(PATIENCE));
        let waited = wait.applied_index_at_least(Some(index), "to be read here").await;
        if let Err(error) = &waited {
            tracing::debug!(group = self.group, %error, "what was written elsewhere is not here yet");
        }
        waited.is_ok()
    }

    /// Who is in the group by its last configuration, committed or not.
    pub fn replicas(&self) -> Replicas {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let (last, committed) = (&metrics.membership_config, &metrics.committed_membership_config);
        let membership = last.membership();
        Replicas {
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            halves: membership.get_joint_config().clone(),
            is_committed: last.log_id() == committed.log_id(),
        }
    }

    /// Whether no change of the configuration is under way.
    pub fn is_settled(&self) -> bool {
        self.replicas().is_settled()
    }

    /// Whether a node is in the group by a configuration behind this entry, as far as this member has heard: of one that
    /// has stopped, of all that it will ever have said it has.
    pub fn has_since(&self, entry: u64, node: u64) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let last = &metrics.membership_config;
        let is_behind = last.log_id().is_some_and(|id| id.index > entry);
        is_behind && last.membership().get_node(&node).is_some()
    }

    /// Whether this node leads, and has an entry of its own term committed. Until then the configuration that it knows
    /// may be one of two behind the same before it, of which a leader of before has the other: where the one before was
    /// of two halves, each has a majority without the other's, and both could be committed.
    pub fn may_change(&self) -> bool {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        begins(&now, now.current_term)
    }

    /// Entries that each other member is behind, as the leader knows; none elsewhere. A member that
    /// was never heard of is behind by all there is.
    pub fn lag(&self) -> Option<BTreeMap<u64, u64>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.map_or(0, |index| index + 1);
        let replication = metrics.replication.as_ref()?;
        let behind = |matched: Option<u64>| last - matched.map_or(0, |index| index + 1).min(last);
        Some(
            replication
                .iter()
                .map(|(node, matched)| (*node, behind(matched.map(|id| id.index))))
                .collect(),
        )
    }

    /// Whether a member answered the leader just now, and has nearly all that the leader has: what is
    /// missing takes milliseconds. In a quiet group one that is dead misses nothing.
    pub fn has_caught_up(&self, node: u64) -> bool {
        let metrics = self.raft.metrics();
        let beats = {
            let metrics = metrics.borrow_watched();
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(&node).copied());
            heard.flatten().is_some_and(|at| at.elapsed() < HEARD_WITHIN)
        };
        // Where the group rests there are no heartbeats.
        let rests = || self.rest.agreed(node).is_some_and(|at| at.elapsed() < HEARD_WITHIN);
        (beats || rests())
            && self
                .lag()
                .is_some_and(|lag| lag.get(&node).is_some_and(|behind| *behind <= BEHIND_MAX))
    }

    /// Lets nodes follow the group. Of a change of voters that is under way it would make the half behind it the
    /// whole, whoever of that half is there: so never then.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn add_learners(&self, nodes: &BTreeSet<u64>) -> Result<(), NotChanged> {
        let nodes = nodes.iter().map(|node| (*node, EmptyNode::default())).collect();
        self.change(ChangeMembers::AddNodes(nodes)).await
    }

    /// Makes exactly these members vote; who does not any more follows. While a change is under way, one of its
    /// halves is a single step, which commits by a majority of that half; others are a change of their own.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn set_voters(&self, voters: &BTreeSet<u64>) -> Result<(), NotChanged> {
        self.change(ChangeMembers::ReplaceAllVoters(voters.clone())).await
    }

    /// Takes members out that do not vote.
    ///
    /// # Errors
    /// See [`NotChanged`].
    pub async fn remove_learners(&self, nodes: &BTreeSet<u64>) -> Result<(), NotChanged> {
        self.change(ChangeMembers::RemoveNodes(nodes.clone())).await
    }

    async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), NotChanged> {
        self.wake().await;
        let changed = timeout(CHANGED_WITHIN, self.raft.change_membership(change, true)).await;
        let changed = changed.map_err(|_| NotChanged::Late)?;
        changed.map(|_| ()).map_err(|error| NotChanged::Refused(error.to_string()))
    }
}

/// Whether the node leads in a term, and has applied an entry of it.
fn begins(now: &RaftMetrics<Types>, term: u64) -> bool {
    let is_applied = now.last_applied.is_some_and(|id| id.leader_id.term == term);
    now.current_term == term && now.replication.is_some() && is_applied
}

#[cfg(test)]
mod tests {
    use openraft::{LogId, vote::leader_id_std::CommittedLeaderId};

    use super::*;

    #[test]
    fn a_term_begins_with_an_entry_of_its_own() {
        let mut now = RaftMetrics::<Types>::new_initial(1);
        let applied = |term| Some(LogId::new(CommittedLeaderId::new(term), 10));
        (now.current_term, now.last_applied) = (2, applied(2));
        assert!(!begins(&now, 2), "another leads in it");
        now.replication = Some(BTreeMap::new());
        assert!(begins(&now, 2));
        now.last_applied = applied(1);
        assert!(!begins(&now, 2), "what it has is of terms before");
        now.last_applied = None;
        assert!(!begins(&now, 2));
    }
}
