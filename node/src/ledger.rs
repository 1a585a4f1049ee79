//! The authority's ledger: its entries as the Merkle tree's leaves, and signed heads of them.
//!
//! What the region's authority did is the history of one entity, numbered without gaps. From time to
//! time, and only when something was added, the leader hashes what is new, signs the root and records
//! that: the next head goes on from there, whoever signs it. **Invariants:** the same history gives
//! the same leaves on every node; a head covers whole records only. **Not here:** what is recorded
//! (`domain::authority`), the tree and the formats (`fieldmesh_pki`).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fieldmesh_domain::{
    Command, EntityId,
    authority::{self, Authority, Deed, Head, Note},
    time::Millis,
};
use fieldmesh_pki::{
    KeyMaterial, Reason,
    ledger::{Action, Entry, HeadKey, Issuance, SignedHead},
    merkle::{Frontier, leaf_hash},
    profile,
};
use minicbor::{Decode, Encode, bytes::ByteVec};
use rcgen::SigningKey as _;

use crate::{
    issuer,
    journal::{HistoryEntry, ShardJournal},
    node::Node,
    store::rows,
};

/// How often new entries are looked for: whoever holds a head can tell a later change of anything
/// that is older than this.
const HEAD_EVERY: Duration = Duration::from_secs(10);

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the authority's records cannot be read: {0}")]
    Read(String),
    #[error("the stored head does not decode")]
    Stored,
    #[error("the head cannot be signed: {0}")]
    Sign(String),
    #[error("the head cannot be recorded: {0}")]
    Record(String),
}

/// A signed head with its signer's certificate and those above it.
#[derive(Debug, Clone, Encode, Decode)]
pub struct StoredHead {
    #[n(0)]
    pub head: SignedHead,
    #[n(1)]
    pub chain: Vec<ByteVec>,
}

/// Who signs heads: the service's own signer.
pub struct HeadSigner {
    pub cluster: String,
    pub region: String,
    pub key: KeyMaterial,
    /// Its certificate and the issuing CA's, DER; replaced when they are renewed.
    pub chain: RwLock<Vec<Vec<u8>>>,
}

impl HeadSigner {
    pub fn recertify(&self, chain: Vec<Vec<u8>>) {
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = chain;
    }

    fn chain(&self) -> Vec<ByteVec> {
        let chain = self.chain.read().unwrap_or_else(PoisonError::into_inner);
        chain.iter().cloned().map(ByteVec::from).collect()
    }
}

fn serial(serial: &[u8; 16]) -> Vec<u8> {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial[zeros..].to_vec()
}

/// A token, or the request made with it, by the start of its hash.
fn name(token: &[u8; 32]) -> String {
    token[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn label(of: fieldmesh_domain::registration::Profile) -> String {
    profile(issuer::kind(of)).label.to_owned()
}

fn action(deed: &Deed, registration: &str, by: &str) -> Action {
    let request = || registration.to_owned();
    match deed {
        Deed::Registered(profile) => Action::Registered { profile: label(*profile) },
        Deed::TokenMinted { expires, token, profile, .. } => Action::TokenMinted {
            token: name(token),
            profile: label(*profile),
            expires_s: expires.0 / 1000,
        },
        Deed::Requested { key, token, profile } => {
            Action::Requested { request: name(token), profile: label(*profile), spki_hash: *key }
        }
        Deed::Approved => Action::Approved { request: request(), approvers: vec![by.to_owned()] },
        Deed::Denied { why } => Action::Denied { request: request(), why: why.clone() },
        Deed::Lapsed => Action::Lapsed {},
        Deed::Issued {
            profile,
            issuer,
            serial: number,
            not_after,
            key,
            signed_part,
            renews,
            ..
        } => {
            let issuance = Issuance {
                issuer: *issuer,
                serial: serial(number),
                profile: label(*profile),
                not_after_s: *not_after,
                tbs_hash: *signed_part,
                spki_hash: *key,
                request: renews
                    .as_ref()
                    .map(|before| before.iter().map(|byte| format!("{byte:02x}")).collect()),
            };
            if renews.is_some() { Action::Renewed(issuance) } else { Action::Issued(issuance) }
        }
        Deed::Revoked { issuer, serial: number, reason } => Action::Revoked {
            issuer: *issuer,
            serial: serial(number),
            reason: Reason::from_number(*reason).unwrap_or(Reason::Unspecified).name().to_owned(),
        },
        Deed::Banned { why } => Action::Banned { why: why.clone() },
        Deed::Readmitted => Action::Readmitted { why: String::new() },
        Deed::Refused { code, why, unlisted } => Action::Refused {
            code: code.to_string(),
            why: why.clone(),
            unlisted: u64::from(*unlisted),
        },
        Deed::CaIntroduced { issuer, certificate, not_after } => Action::IssuerAdded {
            issuer: *issuer,
            certificate_hash: *certificate,
            not_after_s: *not_after,
        },
        Deed::CaMoved { from, to, compromised, .. } => {
            let note = if *compromised { ", compromised" } else { "" };
            let to = format!("{}{note}", to.name());
            Action::PhaseChanged { from: from.name().to_owned(), to }
        }
        Deed::KeyUsed { purpose } => Action::KeyUsed { purpose: purpose.clone(), count: 1 },
        Deed::ChaosBegun { scenario, document, seed, target, .. } => Action::ChaosBegun {
            scenario: scenario.clone(),
            document: *document,
            seed: *seed,
            target: target.clone(),
        },
        Deed::ChaosEnded { exit, .. } => Action::ChaosEnded { exit: *exit },
    }
}

/// An entry's leaf: the bytes that are hashed.
///
/// # Errors
/// Where a text in it is too long, which is refused before it is recorded.
pub fn leaf(number: u64, at: Millis, note: &Note) -> Result<Vec<u8>, LedgerError> {
    let registration = note.registration.map(|id| id.to_string()).unwrap_or_default();
    let subject = match &note.deed {
        // The start of its certificate's SHA-256, as `ca rotate status` has it.
        Deed::CaIntroduced { certificate, .. } | Deed::CaMoved { certificate, .. } => {
            name(certificate)
        }
        Deed::ChaosBegun { run, .. } | Deed::ChaosEnded { run, .. } => format!("chaos/{run}"),
        _ if registration.is_empty() => "authority".to_owned(),
        _ => registration,
    };
    let subject = subject.as_str();
    let by = match &note.deed {
        Deed::CaMoved { proposed_by: Some(first), .. } => format!("{first} and {}", note.by),
        _ => note.by.clone(),
    };
    let is_authority = matches!(note.deed, Deed::CaIntroduced { .. });
    let actor = match by.as_str() {
        "" if is_authority => "authority",
        "" => subject,
        by => by,
    };
    let entry = Entry {
        number,
        at_ms: at.0,
        actor: actor.to_owned(),
        action: action(&note.deed, subject, &note.by),
        subject: subject.to_owned(),
    };
    entry.to_bytes().map_err(|error| LedgerError::Read(format!("entry {number}: {error}")))
}

/// What a step of the authority recorded.
pub enum Recorded {
    /// A leaf of the tree.
    Leaf(Vec<u8>),
    Head(StoredHead),
}

/// What the steps of a page recorded, in order.
///
/// # Errors
/// Where a record does not decode.
pub fn recorded(page: &[HistoryEntry]) -> Result<Vec<Recorded>, LedgerError> {
    let events = page.iter().flat_map(|entry| &entry.record.events);
    events
        .map(|bytes| {
            let event: authority::Event = minicbor::decode(bytes)
                .map_err(|error| LedgerError::Read(format!("an event: {error}")))?;
            match event {
                authority::Event::Noted { number, at, note } => {
                    leaf(number, at, &note).map(Recorded::Leaf)
                }
                authority::Event::HeadSigned(head) => minicbor::decode(&head.signed)
                    .map(Recorded::Head)
                    .map_err(|_| LedgerError::Stored),
            }
        })
        .collect()
}

/// Hashes what is new and signs it; none where nothing is.
fn next_head(
    journal: &ShardJournal,
    id: EntityId,
    signer: &HeadSigner,
    now_ms: u64,
) -> Result<Option<Head>, LedgerError> {
    let read = |error: fieldmesh_actors::seams::JournalError| LedgerError::Read(error.to_string());
    let state: Authority = journal.state(id).map_err(read)?;
    let (mut frontier, from, last_ms) = match &state.head {
        Some(head) => {
            let frontier = minicbor::decode(&head.frontier).map_err(|_| LedgerError::Stored)?;
            (frontier, head.version, head.at.0)
        }
        None => (Frontier::default(), 0, 0),
    };
    if state.size == frontier.size() {
        return Ok(None);
    }
    let page = journal.history_from(id, from).map_err(read)?;
    for recorded in recorded(&page)? {
        if let Recorded::Leaf(leaf) = recorded {
            frontier.push(leaf_hash(&leaf));
        }
    }
    let Some(last) = page.last() else { return Ok(None) };
    // A later head has a later time, whatever the clock says.
    let at_ms = now_ms.max(last_ms + 1);
    let key = HeadKey::from_point(signer.key.public_point())
        .map_err(|error| LedgerError::Sign(error.to_string()))?;
    let log = (signer.cluster.as_str(), signer.region.as_str());
    let head = SignedHead::sign(log, &frontier, at_ms, &key, |bytes| signer.key.sign(bytes))
        .map_err(|error| LedgerError::Sign(error.to_string()))?;
    let chain = signer.chain();
    Ok(Some(Head {
        size: frontier.size(),
        at: Millis(at_ms),
        signed: rows::encode(&StoredHead { head, chain }),
        frontier: rows::encode(&frontier),
        version: last.version + last.record.events.len() as u64,
    }))
}

/// Signs a head of what is new, if anything is.
///
/// # Errors
/// See [`LedgerError`].
pub async fn sign_head(node: &Node, signer: &HeadSigner) -> Result<bool, LedgerError> {
    let region = node.region.parse().map_err(|_| LedgerError::Read("the region".into()))?;
    let id = EntityId::authority(region);
    let Some(journal) = node.authority() else { return Ok(false) };
    let Some(head) = next_head(&journal, id, signer, node.clock.now_ms())? else {
        return Ok(false);
    };
    let command = Command::Authority(authority::Command::SignHead(head));
    node.ask(id, command).await.map_err(|error| LedgerError::Record(error.to_string()))?;
    metrics::counter!("fieldmesh_ledger_heads_total").increment(1);
    Ok(true)
}

/// Signs heads for as long as the node runs.
pub async fn keep_signing(node: Arc<Node>, signer: Arc<HeadSigner>) {
    loop {
        tokio::time::sleep(HEAD_EVERY).await;
        if let Err(error) = sign_head(&node, &signer).await {
            tracing::error!(%error, "the ledger has no new head");
        }
    }
}
