//! Where a follower's log parts from a new leader's: asked for, and not searched for.
//!
//! openraft searches by halves, a round trip for each, and commits nothing before it has found the place: a dozen,
//! where the log holds some ten thousand entries. Nearly always a follower has all that was there before the leader's
//! term, so that is what it is asked first. What it says it has needs no other question.
//!
//! **Invariants:** what is answered here a follower said in this leader's term, of what is on its disk. An answer from
//! here is a sign of life only where the follower was heard just for it: all others say of a request no more than that
//! the follower has what it begins behind, by which openraft moves no lease. **Not here:** asking (`network`).

use openraft::raft::AppendEntriesRequest;

use super::{LogId, Types, log_store::LogStore};

/// So few entries are found as fast by halves: openraft sends eight at a time.
const FEW: u64 = 16;
/// A follower that has not all may lack what was under way when the last leader ended, which is less than this.
const UNDER_WAY: u64 = 64;
/// Questions to a follower whose answers may be lost: each holds up what it is sent for as long as it is waited for.
const ASKED_MAX: u32 = 6;

/// What is known of one follower by whoever speaks to it, in one term.
pub(super) struct Search {
    log: LogStore,
    /// Questions that it was sent.
    asked: u32,
    /// It has said all that it is asked for.
    is_answered: bool,
    /// The follower has everything until here.
    has: Option<LogId>,
    /// The last that openraft knows it to have, or was about to find out.
    passed: Option<LogId>,
}

impl Search {
    pub(super) fn new(log: LogStore) -> Self {
        Self { log, asked: 0, is_answered: false, has: None, passed: None }
    }

    /// What to ask a follower for before it is sent the first request, in this order: the last entry that was there
    /// before the leader's term, then one a little before that. Nothing, where there is little to search. Once it has
    /// answered it is asked no more; before, only so often.
    pub(super) fn questions(&self, first: &AppendEntriesRequest<Types>) -> Vec<LogId> {
        if self.is_answered || self.asked >= ASKED_MAX {
            return Vec::new();
        }
        let Some(last) = self.log.before_term(first.vote.leader_id.term) else { return Vec::new() };
        let begin = first.prev_log_id.map_or(0, |id| id.index + 1);
        let earlier = last.index.checked_sub(UNDER_WAY).and_then(|index| self.log.id_at(index));
        let ids = [Some(last), earlier].into_iter().flatten();
        ids.filter(|id| id.index >= begin + FEW).collect()
    }

    /// A question goes to the follower, and its answer may be lost.
    pub(super) fn asks(&mut self) {
        self.asked += 1;
    }

    /// The follower has none of what it was asked for, or was asked for nothing.
    pub(super) fn found_nothing(&mut self) {
        self.is_answered = true;
    }

    /// The follower said after the first request was made that it has this entry on its disk, and so all before it:
    /// what to answer that request.
    pub(super) fn found(
        &mut self,
        id: LogId,
        first: &AppendEntriesRequest<Types>,
    ) -> Option<LogId> {
        (self.has, self.is_answered) = (Some(id), true);
        let last = first.entries.last().map(|entry| entry.log_id);
        let known = last.filter(|last| *last <= id)?;
        self.passed = Some(known);
        Some(known)
    }

    /// What to answer a request without asking the follower: the entry that it begins behind, where the follower has
    /// that, and openraft does not know it yet.
    pub(super) fn answer(&mut self, request: &AppendEntriesRequest<Types>) -> Option<LogId> {
        let behind = request.prev_log_id;
        if !request.entries.is_empty() && behind > self.passed && behind <= self.has {
            self.passed = behind;
            return behind;
        }
        // The follower itself says how far it is.
        let last = request.entries.last().map(|entry| entry.log_id);
        self.passed = self.passed.max(last);
        None
    }

    /// The follower has less than it had.
    pub(super) fn conflicts(&mut self) {
        self.has = None;
    }
}

/// A request that asks for one entry and brings none.
pub(super) fn question(
    first: &AppendEntriesRequest<Types>,
    id: LogId,
) -> AppendEntriesRequest<Types> {
    let AppendEntriesRequest { vote, leader_commit, .. } = *first;
    AppendEntriesRequest { vote, prev_log_id: Some(id), leader_commit, entries: Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::{ops::Range, sync::Arc};

    use openraft::{
        EntryPayload,
        storage::{IOFlushed, RaftLogStorage as _},
        vote::leader_id_std::CommittedLeaderId,
    };

    use super::*;
    use crate::{
        consensus::{Entry, Vote},
        store::{
            Engine as _, Role,
            simulated::Disk,
            writer::{LogWriter, OnFatal},
        },
    };

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term), index)
    }

    fn entries(term: u64, range: Range<u64>) -> Vec<Entry> {
        range.map(|index| Entry { log_id: id(term, index), payload: EntryPayload::Blank }).collect()
    }

    /// Of a leader of term 2, behind whose log of a hundred entries its first one is.
    async fn search() -> Search {
        let disk = Disk::default();
        let table = disk.open("log", Role::Log).unwrap();
        let on_fatal: OnFatal = Arc::new(|error| panic!("the log failed: {error}"));
        let (writer, _writing) =
            LogWriter::new(Arc::clone(&table), Arc::new(disk), on_fatal).unwrap();
        let mut log = LogStore::open(7, table, writer).unwrap();
        log.append(entries(1, 0..100), IOFlushed::noop()).await.unwrap();
        log.append(entries(2, 100..101), IOFlushed::noop()).await.unwrap();
        Search::new(log)
    }

    /// What openraft sends behind an entry.
    fn behind(prev: u64) -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(id(1, prev)),
            leader_commit: None,
            entries: entries(1, prev + 1..(prev + 9).min(100)),
        }
    }

    #[tokio::test]
    async fn what_a_follower_said_it_has_it_is_not_asked_again() {
        let mut search = search().await;
        let first = behind(49);
        assert_eq!(search.questions(&first), [id(1, 99)]);
        search.asks();
        assert_eq!(search.found(id(1, 99), &first), Some(id(1, 57)), "it was heard just now");
        assert!(search.questions(&first).is_empty(), "it has answered");
        assert_eq!(search.answer(&behind(57)), None, "openraft knows that");
        assert_eq!(search.answer(&behind(80)), Some(id(1, 80)));
        assert_eq!(search.answer(&behind(80)), None, "here it sends on");
        assert_eq!(search.answer(&behind(88)), None, "and gets on by what the follower says");
        // It does not get to what was written since by what it had before.
        let mut newest = behind(99);
        newest.entries = entries(2, 100..101);
        assert_eq!(search.answer(&newest), Some(id(1, 99)));
        newest.prev_log_id = Some(id(2, 100));
        newest.entries = entries(2, 101..102);
        assert_eq!(search.answer(&newest), None);
    }

    #[tokio::test]
    async fn who_lacks_the_last_is_asked_for_one_a_little_before() {
        let mut search = search().await;
        let mut first = behind(0);
        (first.prev_log_id, first.entries) = (None, entries(1, 0..8));
        assert_eq!(search.questions(&first), [id(1, 99), id(1, 35)]);
        assert_eq!(search.found(id(1, 35), &first), Some(id(1, 7)));
        assert_eq!(search.answer(&behind(40)), None, "nobody knows");
        assert_eq!(search.answer(&behind(20)), None, "it is past that");
    }

    #[tokio::test]
    async fn whose_answer_was_lost_is_asked_again_and_not_for_ever() {
        let mut search = search().await;
        let first = behind(10);
        for _ in 0..ASKED_MAX / 2 {
            for asked in [id(1, 99), id(1, 35)] {
                assert!(search.questions(&first).contains(&asked));
                search.asks();
            }
        }
        assert!(search.questions(&first).is_empty(), "it is searched by halves");
    }

    #[tokio::test]
    async fn who_has_nothing_of_it_is_not_asked_again() {
        let mut search = search().await;
        let first = behind(10);
        assert_eq!(search.questions(&first), [id(1, 99), id(1, 35)]);
        search.asks();
        search.asks();
        search.found_nothing();
        assert!(search.questions(&first).is_empty());
        assert_eq!(search.answer(&behind(60)), None);
    }

    #[tokio::test]
    async fn who_lost_what_it_had_is_believed() {
        let mut search = search().await;
        let first = behind(10);
        assert_eq!(search.questions(&first), [id(1, 99), id(1, 35)]);
        search.found(id(1, 99), &first);
        search.conflicts();
        assert_eq!(search.answer(&behind(60)), None);
    }

    #[tokio::test]
    async fn nobody_is_asked_where_there_is_little_to_search_or_the_term_is_another() {
        assert!(search().await.questions(&behind(90)).is_empty());
        let mut later = behind(10);
        later.vote = Vote::new_committed(3, 1);
        assert!(search().await.questions(&later).is_empty());
    }
}
