//! Handing a group's leadership to another voter, and taking it up again where that one does not take it.
//!
//! A leader of openraft that hands over takes no entries and sends no heartbeats from then on, and nothing undoes
//! that: where whoever was asked refuses or has died, and nobody else stands, the group would have no leader for good.
//! Its term is then ended by a vote for whoever was asked, which is that one's to use, and this node stands anew.
//!
//! **Invariants:** a group that was handed on is led again after a bounded time, as long as a majority is there; no
//! vote is given twice in a term. **Not here:** whom to hand a group to (`crate::replicas`).

use std::time::Duration;

use openraft::{RaftMetrics, async_runtime::watch::WatchReceiver as _, raft::VoteRequest};
use tokio::time::Instant;

use super::{
    LogId, Types, Vote,
    group::{BEHIND_MAX, Group, NotTransferred},
};

/// Entries that a voter may be behind when the leader stops to take new ones for its sake: what a moment brings.
const CLOSE: u64 = 16;
/// So long it is waited for to be that close; under load that others make it never is.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);
/// Whoever lacks one entry yet does not answer: it is asked again when it has more, and where nothing is heard of that.
const AGAIN: Duration = Duration::from_millis(20);

impl Group {
    /// Asks another voter to lead; what is proposed meanwhile is refused, for some milliseconds. One that
    /// is not up to date with the log, or no voter, is not asked, nor is this node itself: the group would be
    /// without a leader until a new election.
    ///
    /// # Errors
    /// Why it was not asked.
    pub async fn transfer(&self, to: u64) -> Result<(), NotTransferred> {
        self.may_take(to, BEHIND_MAX)?;
        self.rest.stir();
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|error| NotTransferred::Stopped(error.to_string()))
    }

    fn may_take(&self, to: u64, behind_max: u64) -> Result<(), NotTransferred> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref().ok_or(NotTransferred::NotLeader)?;
        if to == metrics.id {
            return Err(NotTransferred::Leads(to));
        }
        if !metrics.membership_config.voter_ids().any(|voter| voter == to) {
            return Err(NotTransferred::NoVoter(to));
        }
        let matched = replication.get(&to).copied().flatten().map_or(0, |id| id.index);
        let behind = metrics.last_log_index.unwrap_or(0).saturating_sub(matched);
        if behind > behind_max { Err(NotTransferred::Behind { to, behind }) } else { Ok(()) }
    }

    /// Asks another voter to lead and waits until somebody else does. Where nobody does in time, this node leads on.
    ///
    /// # Errors
    /// Why nobody else leads.
    pub async fn hand_to(&self, to: u64) -> Result<(), NotTransferred> {
        self.may_take(to, BEHIND_MAX)?;
        let wait = self.raft.wait(Some(CLOSE_WITHIN));
        let close = wait.metrics(|_| self.may_take(to, CLOSE).is_ok(), "to be close to the leader");
        // It is asked all the same.
        drop(close.await);
        let term = self.own_term().await.ok_or(NotTransferred::NotLeader)?;
        let had = matched(&self.raft.metrics().borrow_watched(), to);
        self.transfer(to).await?;
        if !self.stands(to, term, had).await {
            tracing::warn!(group = self.group, to, "nobody takes the group: this node stands anew");
            self.take_up(term, to).await;
        }
        match self.later_leader(term).await {
            Some(leader) if leader != self.number() => Ok(()),
            _ => Err(NotTransferred::NotTaken(to)),
        }
    }

    /// Whether somebody stands, in the time that a follower waits for its leader. Who was asked is asked again, at once
    /// where it has more of the log than it `had`: nothing new comes meanwhile.
    async fn stands(&self, to: u64, term: u64, mut had: Option<u64>) -> bool {
        let within = Duration::from_millis(self.raft.config().election_timeout_min);
        let until = Instant::now() + within;
        while Instant::now() < until {
            let wait = self.raft.wait(Some(AGAIN));
            let moves =
                |now: &RaftMetrics<Types>| now.current_term > term || matched(now, to) > had;
            let moved = wait.metrics(moves, "a later term, or more of the log").await;
            match moved {
                Ok(now) if now.current_term > term => return true,
                Ok(now) => had = matched(&now, to),
                Err(_) => {}
            }
            self.rest.stir();
            if self.raft.trigger().transfer_leader(to).await.is_err() {
                return true;
            }
        }
        false
    }

    /// The term that this node leads in, by its vote: what is watched of it may be of a moment ago.
    async fn own_term(&self) -> Option<u64> {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await.ok()?;
        let own = Vote::new_committed(vote.leader_id.term, self.number());
        (vote == own).then_some(vote.leader_id.term)
    }

    fn number(&self) -> u64 {
        self.raft.metrics().borrow_watched().id
    }

    /// Who leads in a later term; none where nobody does in time.
    async fn later_leader(&self, term: u64) -> Option<u64> {
        let within = Duration::from_millis(2 * self.raft.config().election_timeout_max);
        let wait = self.raft.wait(Some(within));
        let led = wait.metrics(
            |now| now.current_term > term && now.current_leader.is_some(),
            "a later leader",
        );
        led.await.ok()?.current_leader
    }

    /// Ends this node's own term, and stands in a later one.
    async fn take_up(&self, term: u64, to: u64) {
        let own = Vote::new_committed(term, self.number());
        let now = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        if now.ok() != Some(own) {
            return;
        }
        self.rest.stir();
        // As if it had asked, with all that is here. Where it asks yet, it is given the same vote by what it has.
        let all = LogId::new_term_index(term, u64::MAX);
        let mut ballot = VoteRequest::new(Vote::new(term + 1, to), Some(all));
        ballot.leadership_transfer = true;
        if !self.raft.vote(ballot).await.is_ok_and(|answer| answer.vote_granted) {
            return;
        }
        // Those that did not hear of the handing over give their vote once their leader is silent. Nobody else may
        // stand, so this one does until somebody leads, or the group ends here; but for the first time only where a
        // majority would have it (Ongaro, thesis §9.6): who is cut off meanwhile does not come back with a term
        // that ends whoever leads by then.
        let mut is_asked_before = false;
        while self.raft.trigger().elect(is_asked_before).await.is_ok()
            && self.later_leader(term).await.is_none()
        {
            is_asked_before = true;
        }
    }
}

/// How far a voter's log is, as far as its leader knows.
fn matched(now: &RaftMetrics<Types>, to: u64) -> Option<u64> {
    now.replication.as_ref()?.get(&to).copied().flatten().map(|id| id.index)
}
