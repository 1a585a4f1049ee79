//! What the members of a group say to each other, as bytes.
//!
//! Each message is a record like those on disk ([`codec`](super::codec)): version, checksum, one CBOR
//! array that begins with its kind. **Invariants:** a message decodes whole or is refused; what a number
//! once meant it means for good; lengths are checked before they are believed; what no member that keeps
//! to the protocol says is refused here, because openraft takes it for granted. **Not here:** streams,
//! deadlines and peers (`network`, `mesh`).

use minicbor::{Decoder, Encoder, encode::Write};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::{
    Types, Vote,
    codec::{
        CodecError, EncodeResult, get_entry, get_optional_log_id, get_vote, put_entry,
        put_optional_log_id, put_vote, record, whole,
    },
    group::ENTRY_BYTES_MAX,
};
use crate::store::keys::GroupId;

/// The largest answer there is, with room.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What one request may carry of entries, so that one takes some milliseconds on a slow line and what is
/// under way to a follower stays small; and the largest request: an entry above that goes alone.
pub const APPEND_BYTES: usize = 256 << 10;
pub const APPEND_BYTES_MAX: usize = APPEND_BYTES + ENTRY_BYTES_MAX + (64 << 10);

/// Bytes for a group.
pub fn addressed(group: GroupId, bytes: &[u8]) -> Vec<u8> {
    [&group.to_be_bytes(), bytes].concat()
}

/// The group that bytes are for, and what is behind its number.
pub fn addressee(bytes: &[u8]) -> Option<(GroupId, &[u8])> {
    let (group, rest) = bytes.split_first_chunk()?;
    Some((GroupId::from_be_bytes(*group), rest))
}

/// A request of one member to another.
#[derive(Debug, Clone)]
pub enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
}

/// What a member answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Transfer(TransferLeaderResponse<Types>),
    /// A snapshot is installed, or an older leader's was refused: the vote then.
    Installed(Vote),
    /// The group does not run on this node, or has stopped.
    Absent,
}

impl Request {
    pub fn encode(&self) -> Vec<u8> {
        record(|e| match self {
            Self::Append(append) => put_append(e, append),
            Self::Vote(vote) => put_ballot(e, 1, vote),
            Self::PreVote(vote) => put_ballot(e, 2, vote),
            Self::Transfer(transfer) => {
                e.array(4)?.u8(3)?;
                put_vote(e, transfer.from_leader())?;
                e.u64(*transfer.to_node_id())?;
                put_optional_log_id(e, transfer.last_log_id())
            }
        })
    }

    /// The node in whose name it is: a candidate asks for itself, a leader speaks for itself.
    pub fn sender(&self) -> u64 {
        match self {
            Self::Append(append) => append.vote.leader_id.voted_for,
            Self::Vote(ballot) | Self::PreVote(ballot) => ballot.vote.leader_id.voted_for,
            Self::Transfer(transfer) => transfer.from_leader().leader_id.voted_for,
        }
    }

    /// # Errors
    /// Bytes that are not one whole request.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        whole(bytes, |d| {
            let (length, kind) = (d.array()?, d.u8()?);
            Ok(match (kind, length) {
                (0, Some(5)) => Self::Append(get_append(d)?),
                (1, Some(4)) => Self::Vote(get_ballot(d)?),
                (2, Some(4)) => Self::PreVote(get_ballot(d)?),
                (3, Some(4)) => {
                    let (from, to) = (get_vote(d)?, d.u64()?);
                    Self::Transfer(TransferLeaderRequest::new(from, to, get_optional_log_id(d)?))
                }
                (kind, _) => return Err(CodecError::Kind(kind)),
            })
        })
    }
}

fn put_append<W: Write>(
    e: &mut Encoder<W>,
    append: &AppendEntriesRequest<Types>,
) -> EncodeResult<W> {
    e.array(5)?.u8(0)?;
    put_vote(e, &append.vote)?;
    put_optional_log_id(e, append.prev_log_id.as_ref())?;
    put_optional_log_id(e, append.leader_commit.as_ref())?;
    e.array(append.entries.len() as u64)?;
    append.entries.iter().try_for_each(|entry| put_entry(e, entry))
}

fn get_append(d: &mut Decoder<'_>) -> Result<AppendEntriesRequest<Types>, CodecError> {
    let (vote, prev_log_id) = (get_vote(d)?, get_optional_log_id(d)?);
    let leader_commit = get_optional_log_id(d)?;
    // The count is the sender's word: nothing is reserved for it.
    let count = d.array()?.unwrap_or(0);
    let mut entries = Vec::new();
    let mut last = prev_log_id;
    for _ in 0..count {
        let entry = get_entry(d)?;
        let expected = last.map_or(Some(0), |last| last.index.checked_add(1));
        if Some(entry.log_id.index) != expected || last > Some(entry.log_id) {
            return Err(CodecError::Impossible("entries with a gap, or of a term that fell"));
        }
        last = Some(entry.log_id);
        entries.push(entry);
    }
    let newest = last.max(leader_commit).map_or(0, |id| id.leader_id.term);
    if !vote.committed || newest > vote.leader_id.term {
        return Err(CodecError::Impossible("entries that do not come from a leader"));
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn put_ballot<W: Write>(
    e: &mut Encoder<W>,
    kind: u8,
    ballot: &VoteRequest<Types>,
) -> EncodeResult<W> {
    e.array(4)?.u8(kind)?;
    put_vote(e, &ballot.vote)?;
    put_optional_log_id(e, ballot.last_log_id.as_ref())?;
    e.bool(ballot.leadership_transfer)?;
    Ok(())
}

fn get_ballot(d: &mut Decoder<'_>) -> Result<VoteRequest<Types>, CodecError> {
    let mut ballot = VoteRequest::new(get_vote(d)?, get_optional_log_id(d)?);
    ballot.leadership_transfer = d.bool()?;
    Ok(ballot)
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        record(|e| {
            match self {
                Self::Absent => e.array(1)?.u8(0)?,
                Self::Append(AppendEntriesResponse::Success) => e.array(1)?.u8(1)?,
                // No follower says so: it is not read back.
                Self::Append(AppendEntriesResponse::PartialSuccess(until)) => {
                    e.array(2)?.u8(2)?;
                    return put_optional_log_id(e, until.as_ref());
                }
                Self::Append(AppendEntriesResponse::Conflict) => e.array(1)?.u8(3)?,
                Self::Append(AppendEntriesResponse::HigherVote(vote)) => {
                    e.array(2)?.u8(4)?;
                    return put_vote(e, vote);
                }
                Self::Vote(answer) => {
                    e.array(4)?.u8(5)?;
                    put_vote(e, &answer.vote)?;
                    e.bool(answer.vote_granted)?;
                    return put_optional_log_id(e, answer.last_log_id.as_ref());
                }
                Self::Transfer(Ok(())) => e.array(1)?.u8(6)?,
                Self::Transfer(Err(TransferLeaderError::VoteChanged { expected, actual })) => {
                    e.array(3)?.u8(7)?;
                    put_vote(e, expected)?;
                    return put_vote(e, actual);
                }
                Self::Transfer(Err(TransferLeaderError::LogNotFlushed { expected, actual })) => {
                    e.array(3)?.u8(8)?;
                    put_optional_log_id(e, expected.as_ref())?;
                    return put_optional_log_id(e, actual.as_ref());
                }
                Self::Installed(vote) => {
                    e.array(2)?.u8(9)?;
                    return put_vote(e, vote);
                }
            };
            Ok(())
        })
    }

    /// # Errors
    /// Bytes that are not one whole answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        whole(bytes, |d| {
            let (length, kind) = (d.array()?, d.u8()?);
            Ok(match (kind, length) {
                (0, Some(1)) => Self::Absent,
                (1, Some(1)) => Self::Append(AppendEntriesResponse::Success),
                (3, Some(1)) => Self::Append(AppendEntriesResponse::Conflict),
                (4, Some(2)) => Self::Append(AppendEntriesResponse::HigherVote(get_vote(d)?)),
                (5, Some(4)) => {
                    let (vote, is_granted) = (get_vote(d)?, d.bool()?);
                    Self::Vote(VoteResponse::new(vote, get_optional_log_id(d)?, is_granted))
                }
                (6, Some(1)) => Self::Transfer(Ok(())),
                (7, Some(3)) => {
                    let (expected, actual) = (get_vote(d)?, get_vote(d)?);
                    Self::Transfer(Err(TransferLeaderError::VoteChanged { expected, actual }))
                }
                (8, Some(3)) => {
                    let (expected, actual) = (get_optional_log_id(d)?, get_optional_log_id(d)?);
                    Self::Transfer(Err(TransferLeaderError::LogNotFlushed { expected, actual }))
                }
                (9, Some(2)) => Self::Installed(get_vote(d)?),
                (kind, _) => return Err(CodecError::Kind(kind)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use bytes::Bytes;
    use openraft::{
        EntryPayload, Membership, impls::EmptyNode, vote::leader_id_std::CommittedLeaderId,
    };
    use proptest::prelude::*;

    use super::{super::Proposal, *};
    use crate::consensus::{Entry, LogId};

    fn ids() -> impl Strategy<Value = LogId> {
        let id = |(term, index)| LogId::new(CommittedLeaderId::new(term), index);
        (any::<u64>(), any::<u64>()).prop_map(id)
    }

    fn votes() -> impl Strategy<Value = Vote> {
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| {
            if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }
        })
    }

    type Payload = EntryPayload<Proposal, u64, EmptyNode>;

    fn payloads() -> impl Strategy<Value = Payload> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        let voters = proptest::collection::btree_set(any::<u64>(), 1..5);
        prop_oneof![
            Just(EntryPayload::Blank),
            bytes.prop_map(|bytes| EntryPayload::Normal(Proposal(Bytes::from(bytes)))),
            voters.prop_map(|voters: BTreeSet<u64>| {
                EntryPayload::Membership(Membership::new_with_defaults(vec![voters], [7]))
            }),
        ]
    }

    fn ballots() -> impl Strategy<Value = VoteRequest<Types>> {
        let ballot = (votes(), proptest::option::of(ids()), any::<bool>());
        ballot.prop_map(|(vote, last, by_leader)| {
            let mut ballot = VoteRequest::new(vote, last);
            ballot.leadership_transfer = by_leader;
            ballot
        })
    }

    fn requests() -> impl Strategy<Value = Request> {
        // As a leader sends them: one index after the other, terms that never fall, its own last.
        let begin = proptest::option::of((0..1u64 << 32, 0..u64::MAX - 8));
        let steps = proptest::collection::vec((0..1u64 << 32, payloads()), 0..4);
        let append = (begin, steps, 0..1u64 << 32, any::<u64>(), any::<bool>());
        let append = append.prop_map(|(begin, steps, more, node, commits)| {
            let id = |term, index| LogId::new(CommittedLeaderId::new(term), index);
            let prev_log_id = begin.map(|(term, index)| id(term, index));
            let (mut term, mut next) = begin.map_or((0, 0), |(term, index)| (term, index + 1));
            let mut entries = Vec::new();
            for (step, payload) in steps {
                term += step;
                entries.push(Entry { log_id: id(term, next), payload });
                next += 1;
            }
            let vote = Vote::new_committed(term + more, node);
            let leader_commit = prev_log_id.filter(|_| commits);
            AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }
        });
        let transfer = (votes(), any::<u64>(), proptest::option::of(ids()));
        prop_oneof![
            append.prop_map(Request::Append),
            ballots().prop_map(Request::Vote),
            ballots().prop_map(Request::PreVote),
            transfer.prop_map(|(from, to, last)| {
                Request::Transfer(TransferLeaderRequest::new(from, to, last))
            }),
        ]
    }

    fn answers() -> impl Strategy<Value = Answer> {
        let some = || proptest::option::of(ids());
        prop_oneof![
            Just(Answer::Absent),
            Just(Answer::Append(AppendEntriesResponse::Success)),
            Just(Answer::Append(AppendEntriesResponse::Conflict)),
            votes().prop_map(|vote| Answer::Append(AppendEntriesResponse::HigherVote(vote))),
            (votes(), some(), any::<bool>()).prop_map(|(vote, last, is_granted)| {
                Answer::Vote(VoteResponse::new(vote, last, is_granted))
            }),
            Just(Answer::Transfer(Ok(()))),
            (votes(), votes()).prop_map(|(expected, actual)| {
                Answer::Transfer(Err(TransferLeaderError::VoteChanged { expected, actual }))
            }),
            (some(), some()).prop_map(|(expected, actual)| {
                Answer::Transfer(Err(TransferLeaderError::LogNotFlushed { expected, actual }))
            }),
            votes().prop_map(Answer::Installed),
        ]
    }

    proptest! {
        #[test]
        fn a_request_comes_back_as_it_was(request in requests()) {
            let bytes = request.encode();
            let back = Request::decode(&bytes).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{request:?}"));
            prop_assert_eq!(back.encode(), bytes);
        }

        #[test]
        fn an_answer_comes_back_as_it_was(answer in answers()) {
            let bytes = answer.encode();
            let back = Answer::decode(&bytes).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{answer:?}"));
            prop_assert!(bytes.len() <= ANSWER_BYTES_MAX);
        }

        #[test]
        fn what_is_cut_or_changed_is_refused(request in requests(), at in any::<prop::sample::Index>()) {
            let bytes = request.encode();
            prop_assert!(Request::decode(&bytes[..at.index(bytes.len())]).is_err());
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] ^= 0x10;
            prop_assert!(Request::decode(&changed).is_err());
            prop_assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_no_leader_says_is_refused() {
        let id = |term, index| LogId::new(CommittedLeaderId::new(term), index);
        let blank = |log_id| Entry { log_id, payload: EntryPayload::Blank };
        let decoded = |vote, prev_log_id, ids: &[LogId], leader_commit| {
            let entries = ids.iter().copied().map(blank).collect();
            let append = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit };
            Request::decode(&Request::Append(append).encode()).is_ok()
        };
        let leader = Vote::new_committed(3, 1);
        assert!(decoded(leader, Some(id(2, 6)), &[id(2, 7), id(3, 8)], Some(id(2, 6))));
        assert!(decoded(leader, None, &[id(1, 0)], None));
        assert!(!decoded(Vote::new(3, 1), Some(id(2, 6)), &[id(2, 7)], None), "a candidate");
        assert!(!decoded(leader, None, &[id(1, 1)], None), "a beginning that is none");
        assert!(!decoded(leader, Some(id(2, 6)), &[id(2, 8)], None), "a gap");
        assert!(!decoded(leader, Some(id(2, 6)), &[id(2, 7), id(2, 7)], None), "twice");
        assert!(!decoded(leader, Some(id(2, 6)), &[id(1, 7)], None), "a term that fell");
        assert!(!decoded(leader, Some(id(2, 6)), &[id(4, 7)], None), "a later leader's entry");
        assert!(!decoded(leader, Some(id(4, 6)), &[], None), "behind a later leader's entry");
        assert!(!decoded(leader, None, &[], Some(id(4, 6))), "committed by a later leader");
        let partial = Answer::Append(AppendEntriesResponse::PartialSuccess(None));
        assert!(Answer::decode(&partial.encode()).is_err());
    }

    /// As the first release sent them: what one version says the next must understand.
    #[test]
    fn the_bytes_are_frozen() {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let id = LogId::new(CommittedLeaderId::new(3), 7);
        let entry = Entry { log_id: id, payload: EntryPayload::Blank };
        let append = Request::Append(AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: None,
            entries: vec![entry],
            leader_commit: Some(id),
        });
        assert_eq!(
            hex(&append.encode()[5..]),
            "8500830301f5f682030781838203 0700f6".replace(' ', "")
        );
        let vote = Request::Vote(VoteRequest::new(Vote::new(4, 2), Some(id)));
        assert_eq!(hex(&vote.encode()[5..]), "8401830402f4820307f4");
        let granted = Answer::Vote(VoteResponse::new(Vote::new(4, 2), Some(id), true));
        assert_eq!(hex(&granted.encode()[5..]), "8405830402f4f5820307");
        assert_eq!(hex(&Answer::Append(AppendEntriesResponse::Success).encode()[5..]), "8101");
        assert_eq!(addressee(&addressed(7, b"rest")), Some((7, &b"rest"[..])));
        assert_eq!(addressee(&[0, 0, 7]), None);
    }
}
