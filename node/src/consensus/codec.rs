//! The stored bytes of Raft's own records: entries, votes, log ids, memberships.
//!
//! A record is `version | CRC-32 | CBOR`. openraft's types are foreign, so the CBOR is written by
//! hand; `tests` freezes it. **Invariant:** a record that does not decode whole is an error, never
//! a default. **Not here:** the payload of a proposal (`actors::commit`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use minicbor::{Decoder, Encoder, encode::Write};
use openraft::{
    EntryPayload, Membership,
    impls::{EmptyNode, leader_id_std::LeaderId},
    vote::leader_id_std::CommittedLeaderId,
};

use super::{Entry, LogId, Proposal, StoredMembership, Vote};

/// Version of the record format.
const VERSION: u8 = 1;
/// Version byte and checksum.
const HEADER_BYTES: usize = 5;

/// Why stored bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the record has {0} bytes, fewer than its header")]
    Short(usize),
    #[error("the record has version {0}, this program knows version 1")]
    Version(u8),
    #[error("the checksum says {expected:08x}, the content {found:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("the content does not decode")]
    Content(#[from] minicbor::decode::Error),
    #[error("the content has bytes behind its end")]
    Trailing,
    #[error("the content has an unknown kind {0}")]
    Kind(u8),
    #[error("the content cannot be: {0}")]
    Impossible(&'static str),
}

pub(super) type EncodeResult<W> = Result<(), minicbor::encode::Error<<W as Write>::Error>>;

pub(super) fn record(
    write: impl FnOnce(
        &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>>,
) -> Vec<u8> {
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    if let Err(error) = write(&mut Encoder::new(&mut bytes)) {
        // A vector never refuses bytes; the type cannot say so.
        tracing::error!(%error, "encoding into memory failed");
    }
    let crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn content(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let [version, a, b, c, d, content @ ..] = bytes else {
        return Err(CodecError::Short(bytes.len()));
    };
    if *version != VERSION {
        return Err(CodecError::Version(*version));
    }
    let expected = u32::from_be_bytes([*a, *b, *c, *d]);
    let found = crc32fast::hash(content);
    if expected != found {
        return Err(CodecError::Checksum { expected, found });
    }
    Ok(content)
}

pub(super) fn whole<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let content = content(bytes)?;
    let mut decoder = Decoder::new(content);
    let value = read(&mut decoder)?;
    if decoder.position() == content.len() { Ok(value) } else { Err(CodecError::Trailing) }
}

pub(super) fn put_log_id<W: Write>(e: &mut Encoder<W>, id: &LogId) -> EncodeResult<W> {
    e.array(2)?.u64(id.leader_id.term)?.u64(id.index)?;
    Ok(())
}

pub(super) fn get_log_id(d: &mut Decoder<'_>) -> Result<LogId, CodecError> {
    d.array()?;
    let term = d.u64()?;
    Ok(LogId::new(CommittedLeaderId::new(term), d.u64()?))
}

pub(super) fn put_optional_log_id<W: Write>(
    e: &mut Encoder<W>,
    id: Option<&LogId>,
) -> EncodeResult<W> {
    match id {
        Some(id) => put_log_id(e, id),
        None => e.null().map(|_| ()),
    }
}

pub(super) fn get_optional_log_id(d: &mut Decoder<'_>) -> Result<Option<LogId>, CodecError> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    get_log_id(d).map(Some)
}

pub(super) fn put_membership<W: Write>(
    e: &mut Encoder<W>,
    membership: &Membership<u64, EmptyNode>,
) -> EncodeResult<W> {
    let configs = membership.get_joint_config();
    e.array(2)?.array(configs.len() as u64)?;
    for config in configs {
        e.array(config.len() as u64)?;
        for id in config {
            e.u64(*id)?;
        }
    }
    e.array(membership.nodes().count() as u64)?;
    for (id, _) in membership.nodes() {
        e.u64(*id)?;
    }
    Ok(())
}

/// In a group without voters nobody's word is needed, so that everybody leads it and decides alone.
const NOBODY: CodecError = CodecError::Impossible("a group without voters");

fn get_ids(d: &mut Decoder<'_>) -> Result<BTreeSet<u64>, CodecError> {
    Ok(d.array_iter::<u64>()?.collect::<Result<_, _>>()?)
}

/// A membership that was decided: somebody votes in it.
pub(super) fn get_membership(
    d: &mut Decoder<'_>,
) -> Result<Membership<u64, EmptyNode>, CodecError> {
    let membership = get_any_membership(d)?;
    if membership.get_joint_config().is_empty() { Err(NOBODY) } else { Ok(membership) }
}

/// The same, or that of a group that nobody was put into yet.
fn get_any_membership(d: &mut Decoder<'_>) -> Result<Membership<u64, EmptyNode>, CodecError> {
    d.array()?;
    let mut configs = Vec::new();
    for _ in 0..d.array()?.unwrap_or(0) {
        let voters = get_ids(d)?;
        if voters.is_empty() {
            return Err(NOBODY);
        }
        configs.push(voters);
    }
    let nodes: BTreeMap<u64, EmptyNode> =
        get_ids(d)?.into_iter().map(|id| (id, EmptyNode::default())).collect();
    Ok(Membership::new_with_defaults(configs, nodes.into_keys()))
}

pub(super) fn put_entry<W: Write>(e: &mut Encoder<W>, entry: &Entry) -> EncodeResult<W> {
    e.array(3)?;
    put_log_id(e, &entry.log_id)?;
    match &entry.payload {
        EntryPayload::Blank => e.u8(0)?.null()?,
        EntryPayload::Normal(proposal) => e.u8(1)?.bytes(&proposal.0)?,
        EntryPayload::Membership(membership) => {
            e.u8(2)?;
            return put_membership(e, membership);
        }
    };
    Ok(())
}

pub(super) fn get_entry(d: &mut Decoder<'_>) -> Result<Entry, CodecError> {
    d.array()?;
    let log_id = get_log_id(d)?;
    let payload = match d.u8()? {
        0 => {
            d.null()?;
            EntryPayload::Blank
        }
        1 => EntryPayload::Normal(Proposal(Bytes::copy_from_slice(d.bytes()?))),
        2 => EntryPayload::Membership(get_membership(d)?),
        kind => return Err(CodecError::Kind(kind)),
    };
    Ok(Entry { log_id, payload })
}

pub(super) fn put_vote<W: Write>(e: &mut Encoder<W>, vote: &Vote) -> EncodeResult<W> {
    e.array(3)?.u64(vote.leader_id.term)?.u64(vote.leader_id.voted_for)?.bool(vote.committed)?;
    Ok(())
}

pub(super) fn get_vote(d: &mut Decoder<'_>) -> Result<Vote, CodecError> {
    d.array()?;
    let leader_id = LeaderId { term: d.u64()?, voted_for: d.u64()? };
    Ok(Vote { leader_id, committed: d.bool()? })
}

/// An entry of the log.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    record(|e| put_entry(e, entry))
}

pub fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    whole(bytes, get_entry)
}

/// A vote: term, candidate, granted by a quorum.
pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    record(|e| put_vote(e, vote))
}

pub fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    whole(bytes, get_vote)
}

/// A log id or its absence.
pub fn encode_log_id(id: Option<&LogId>) -> Vec<u8> {
    record(|e| put_optional_log_id(e, id))
}

pub fn decode_log_id(bytes: &[u8]) -> Result<Option<LogId>, CodecError> {
    whole(bytes, get_optional_log_id)
}

/// What a state table says of itself: the last applied entry and the membership then.
pub fn encode_applied(applied: Option<&LogId>, membership: &StoredMembership) -> Vec<u8> {
    record(|e| {
        e.array(3)?;
        put_optional_log_id(e, applied)?;
        put_optional_log_id(e, membership.log_id().as_ref())?;
        put_membership(e, membership.membership())
    })
}

pub fn decode_applied(bytes: &[u8]) -> Result<(Option<LogId>, StoredMembership), CodecError> {
    whole(bytes, |d| {
        d.array()?;
        let applied = get_optional_log_id(d)?;
        let at = get_optional_log_id(d)?;
        let membership = if at.is_some() { get_membership(d)? } else { get_any_membership(d)? };
        Ok((applied, StoredMembership::new(at, membership)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term), index)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// A record with this content.
    fn of(content: &str) -> Vec<u8> {
        let digits: Vec<u32> = content.chars().filter_map(|c| c.to_digit(16)).collect();
        let content = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8);
        let (mut bytes, content) = (vec![VERSION], content.collect::<Vec<_>>());
        bytes.extend(crc32fast::hash(&content).to_be_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn the_stored_bytes_are_frozen() {
        let entry = Entry {
            log_id: id(3, 7),
            payload: EntryPayload::Normal(Proposal(Bytes::from_static(b"hi"))),
        };
        let bytes = encode_entry(&entry);
        assert_eq!(hex(&bytes[HEADER_BYTES..]), "83820307014268 69".replace(' ', ""));
        assert_eq!(decode_entry(&bytes).unwrap(), entry);
        let vote = Vote::new(4, 1);
        assert_eq!(hex(&encode_vote(&vote)[HEADER_BYTES..]), "830401f4");
        assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
    }

    #[test]
    fn a_group_without_voters_is_refused() {
        let applied = |members: &str| decode_applied(&of(members)).map(|_| ());
        let entry = |members: &str| decode_entry(&of(&format!("83 820307 02 {members}")));
        // Configurations, then everybody.
        for nobody in
            ["82 80 80", "82 80 8101", "82 81 80 80", "82 81 80 8101", "82 82 8101 80 8101"]
        {
            assert!(matches!(entry(nobody), Err(CodecError::Impossible(_))), "{nobody}");
            let refused = applied(&format!("83 820307 820102 {nobody}"));
            assert!(matches!(refused, Err(CodecError::Impossible(_))), "{nobody}");
        }
        assert!(entry("82 81 8101 8101").is_ok());
        // Before its first entry a group has no members yet.
        assert!(applied("83 f6 f6 82 80 80").is_ok());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let membership = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], [1, 2, 3]);
        let entry = Entry { log_id: id(1, 2), payload: EntryPayload::Membership(membership) };
        let bytes = encode_entry(&entry);
        assert_eq!(decode_entry(&bytes).unwrap(), entry);
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(decode_entry(&bad).is_err(), "bit {at}");
        }
        for cut in 0..bytes.len() {
            assert!(decode_entry(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
