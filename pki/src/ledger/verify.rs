//! Reading an export and believing nothing of it.
//!
//! **Invariants:** memory does not grow with the export: one line, one frontier, one signer; each
//! refusal names its line. What passes is the log that its last head signs, whole and unchanged.
//! What a verifier cannot know is whether the log went on after that head, or whether others were
//! shown another log: that is what an earlier head, kept elsewhere, is for.

use std::io::{BufRead, ErrorKind, Read as _};

use super::{
    entry::EntryError,
    export::{EXPORT_FORMAT, End, Header, LINE_BYTES_MAX, Line, Record},
    head::{HeadError, HeadKey, SignedHead, Signer},
    text::json_fault,
};
use crate::merkle::{Frontier, leaf_hash};

/// Where and why an export is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct LedgerError {
    /// From 1; where something is missing at the end, the last line there is.
    pub line: u64,
    #[source]
    pub fault: LedgerFault,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerFault {
    #[error("the export cannot be read: {0}")]
    Read(ErrorKind),
    #[error("the line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the line is not one of an export: {0}")]
    Malformed(String),
    #[error("the format is {0:?}, this version reads {EXPORT_FORMAT:?}")]
    Format(String),
    #[error("the first line, and no other, is the header")]
    Header,
    #[error("the export has entry {found} where number {expected} belongs")]
    Number { found: u64, expected: u64 },
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("the readable fields do not say what the signed bytes say")]
    Differs,
    #[error("the head is of another log, cluster {cluster:?} region {region:?}")]
    OtherLog { cluster: String, region: String },
    #[error("the head covers {size} entries and {entries} are here: some are missing or moved")]
    HeadSize { size: u64, entries: u64 },
    #[error("the root of the {size} entries is not what the head signs: the log was changed")]
    Root { size: u64 },
    #[error("the head is of {at_ms} and follows one of {before_ms} (Unix milliseconds)")]
    HeadTime { at_ms: u64, before_ms: u64 },
    #[error("no signer stands before the head")]
    NoSigner,
    #[error("a signer stands where its head does not follow")]
    SignerPlace,
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the signer of the head is not trusted as a ledger key of this cluster and region")]
    Untrusted,
    #[error(
        "{entries} entries are here and the last head covers {covered}: nothing vouches for the rest"
    )]
    Uncovered { entries: u64, covered: u64 },
    #[error("no head is in the export: nothing vouches for it")]
    NoHead,
    #[error(
        "the last line counts {entries} entries, {heads} heads and {signers} signers, and there \
         are not as many: lines are missing or were added"
    )]
    Counts { entries: u64, heads: u64, signers: u64 },
    #[error("the export ends without its last line: it was cut")]
    NoEnd,
    #[error("a line follows the last one")]
    AfterEnd,
    #[error("the known head of {size} entries is of another log, or this log was rewritten")]
    Rewritten { size: u64 },
    #[error("the known head covers {size} entries, the export has {entries}: it is not the latest")]
    Older { size: u64, entries: u64 },
}

/// An export that is whole and signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    pub heads: u64,
    /// It covers all entries. Kept elsewhere, it is what the next audit starts from.
    pub last: SignedHead,
}

/// Checks an export from its first line to its last.
///
/// `trusted` is asked for each signer once, with its first head. `known` is a head from an earlier
/// audit, already believed: the export must be a continuation of its log.
///
/// # Errors
/// The first fact that is wrong, with its line.
pub fn verify_export(
    mut reader: impl BufRead,
    trusted: &dyn Fn(&Signer<'_>) -> bool,
    known: Option<&SignedHead>,
) -> Result<Verified, LedgerError> {
    let mut audit = Audit::new(trusted, known);
    let (mut number, mut bytes) = (0, Vec::new());
    loop {
        let at = |line: u64| move |fault| LedgerError { line, fault };
        if !next_line(&mut reader, &mut bytes).map_err(at(number + 1))? {
            return audit.finish().map_err(at(number));
        }
        number += 1;
        audit.line(&bytes).map_err(at(number))?;
    }
}

/// Whether there was another line.
fn next_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> Result<bool, LedgerFault> {
    bytes.clear();
    let most = LINE_BYTES_MAX as u64 + 1;
    let read = reader
        .by_ref()
        .take(most)
        .read_until(b'\n', bytes)
        .map_err(|error| LedgerFault::Read(error.kind()))?;
    if bytes.len() > LINE_BYTES_MAX {
        return Err(LedgerFault::TooLong);
    }
    Ok(read > 0)
}

/// Who signs the heads at this place.
struct Current {
    chain: Vec<Vec<u8>>,
    key: HeadKey,
    is_trusted: bool,
}

struct Audit<'a> {
    trusted: &'a dyn Fn(&Signer<'_>) -> bool,
    known: Option<&'a SignedHead>,
    header: Option<Header>,
    signer: Option<Current>,
    frontier: Frontier,
    last: Option<SignedHead>,
    counted: End,
    ended: bool,
}

impl<'a> Audit<'a> {
    fn new(trusted: &'a dyn Fn(&Signer<'_>) -> bool, known: Option<&'a SignedHead>) -> Self {
        Self {
            trusted,
            known,
            header: None,
            signer: None,
            frontier: Frontier::default(),
            last: None,
            counted: End::default(),
            ended: false,
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), LedgerFault> {
        if self.ended {
            return Err(LedgerFault::AfterEnd);
        }
        let line = serde_json::from_slice(bytes)
            .map_err(|error| LedgerFault::Malformed(json_fault(&error)))?;
        if matches!(line, Line::Header(_)) == self.header.is_some() {
            return Err(LedgerFault::Header);
        }
        match line {
            Line::Header(header) => self.header(header),
            Line::Signer(chain) => self.signer(chain.into_iter().map(|der| der.0).collect()),
            Line::Entry(record) => self.entry(record),
            Line::Head(head) => self.head(head),
            Line::End(end) => self.end(end),
        }
    }

    fn header(&mut self, header: Header) -> Result<(), LedgerFault> {
        if header.format != EXPORT_FORMAT {
            return Err(LedgerFault::Format(header.format));
        }
        self.header = Some(header);
        self.check_known()
    }

    /// A signer has one place, before its first head: elsewhere it could move unseen.
    fn check_signer_used(&self) -> Result<(), LedgerFault> {
        match &self.signer {
            Some(signer) if !signer.is_trusted => Err(LedgerFault::SignerPlace),
            _ => Ok(()),
        }
    }

    fn signer(&mut self, chain: Vec<Vec<u8>>) -> Result<(), LedgerFault> {
        self.check_signer_used()?;
        let key = HeadKey::from_der(chain.first().map_or(&[], Vec::as_slice))?;
        self.signer = Some(Current { chain, key, is_trusted: false });
        self.counted.signers += 1;
        Ok(())
    }

    fn entry(&mut self, record: Record) -> Result<(), LedgerFault> {
        self.check_signer_used()?;
        let hash = leaf_hash(&record.leaf);
        let entry = record.checked()?.ok_or(LedgerFault::Differs)?;
        let expected = self.frontier.size();
        if entry.number != expected {
            return Err(LedgerFault::Number { found: entry.number, expected });
        }
        self.frontier.push(hash);
        self.check_known()
    }

    fn head(&mut self, head: SignedHead) -> Result<(), LedgerFault> {
        let is_ours =
            self.header.as_ref().is_some_and(|header| head.is_of(&header.cluster, &header.region));
        if !is_ours {
            return Err(LedgerFault::OtherLog { cluster: head.cluster, region: head.region });
        }
        let (size, entries) = (head.size, self.frontier.size());
        if size != entries {
            return Err(LedgerFault::HeadSize { size, entries });
        }
        if head.root != self.frontier.root() {
            return Err(LedgerFault::Root { size });
        }
        if let Some(before_ms) = self.last.as_ref().map(|last| last.at_ms)
            && head.at_ms <= before_ms
        {
            return Err(LedgerFault::HeadTime { at_ms: head.at_ms, before_ms });
        }
        let signer = self.signer.as_mut().ok_or(LedgerFault::NoSigner)?;
        head.verify(&signer.key)?;
        signer.is_trusted = signer.is_trusted
            || Signer::of(&head, &signer.chain).is_some_and(|signer| (self.trusted)(&signer));
        if !signer.is_trusted {
            return Err(LedgerFault::Untrusted);
        }
        self.counted.heads += 1;
        self.last = Some(head);
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), LedgerFault> {
        self.check_signer_used()?;
        if end != (End { entries: self.frontier.size(), ..self.counted }) {
            let End { entries, heads, signers } = end;
            return Err(LedgerFault::Counts { entries, heads, signers });
        }
        self.ended = true;
        Ok(())
    }

    /// Compares with the known head where it stands.
    fn check_known(&self) -> Result<(), LedgerFault> {
        match (self.known, &self.header) {
            (Some(known), Some(header)) if known.size == self.frontier.size() => {
                let is_same = known.is_of(&header.cluster, &header.region)
                    && known.root == self.frontier.root();
                is_same.then_some(()).ok_or(LedgerFault::Rewritten { size: known.size })
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Verified, LedgerFault> {
        let entries = self.frontier.size();
        if !self.ended {
            return Err(LedgerFault::NoEnd);
        }
        let last = self.last.ok_or(LedgerFault::NoHead)?;
        if last.size != entries {
            return Err(LedgerFault::Uncovered { entries, covered: last.size });
        }
        match self.known {
            Some(known) if known.size > entries => {
                Err(LedgerFault::Older { size: known.size, entries })
            }
            _ => Ok(Verified { entries, heads: self.counted.heads, last }),
        }
    }
}
