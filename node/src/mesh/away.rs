//! A node whose peers want it to end, and why: they know what its own directory does not.
//!
//! **Invariant:** only a member is heeded, which has proven that it is one. **Not here:** who is sent away (`mesh`,
//! `twin`, `crate::starts`), how a node ends (`server`).

use std::sync::{Arc, PoisonError};

use fieldmesh_device::wire::close;
use fieldmesh_domain::{EntityId, placement::Phase};
use fieldmesh_pki::Usage;
use quinn::{Connection, ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;

use super::{Admitted, Mesh, MeshOptions, Peer};

/// TLS's word for a certificate that was revoked, as QUIC has it (RFC 8446 §6.2, RFC 9001 §4.8).
const CERTIFICATE_REVOKED: u64 = 0x100 + 44;

/// Why a node has to end; a peer said so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SentAway {
    /// Of two with one vote one has to end.
    #[error(
        "this node runs elsewhere too: {0}; a directory is started at one place only: stop the node there, or let this one join anew with a directory of its own"
    )]
    ThereTwice(String),
    /// By itself, or with its region that began again: whoever it serves is served by nobody else.
    #[error(
        "this node was removed from the cluster: {0}; that is not taken back: let the machine join anew, with a node.number that was never used and a directory of its own"
    )]
    Removed(String),
    #[error(
        "this node's certificate is not believed any more: {0}; take the node out with `fieldmesh cluster remove`, where it is not out yet, and let the machine join anew, with a node.number that was never used and a directory of its own"
    )]
    Revoked(String),
    /// It has forgotten what it promised.
    #[error(
        "this node's directory is older than what the cluster knows of it: {0}; start the directory that the node had last, or remove the node (`fieldmesh cluster remove`) and let a new one join: the others fill it"
    )]
    Older(String),
}

impl SentAway {
    /// What a connection's end means that a peer chose.
    fn by(code: VarInt, said: String) -> Option<Self> {
        let is = |known: u32| code == VarInt::from_u32(known);
        match code {
            _ if is(close::THERE_TWICE) => Some(Self::ThereTwice(said)),
            _ if is(close::REMOVED) => Some(Self::Removed(said)),
            _ if is(close::OLDER) => Some(Self::Older(said)),
            _ => None,
        }
    }
}

impl Mesh {
    /// Why a peer wants this node to end, where one does.
    pub fn is_sent_away(&self) -> Option<SentAway> {
        self.sent_away.borrow().clone()
    }

    /// Which others this node refuses as older by what they said last, and which find so of this one.
    pub fn found_older(&self) -> Vec<u64> {
        let found = |peer: &Arc<Peer>| peer.is_refused() || peer.finds_older();
        self.all().into_iter().filter(found).map(|peer| peer.member.number).collect()
    }

    /// Waits until a peer wants this node to end.
    pub async fn sent_away(&self) -> SentAway {
        let mut sent_away = self.sent_away.subscribe();
        let why = sent_away.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // The sender is in what `self` holds.
            None => std::future::pending().await,
        }
    }

    /// Whether this is the identity of one that was removed.
    pub(super) fn was_member(&self, identity: &[u8; 16]) -> bool {
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
        EntityId::from_bytes(*identity).is_ok_and(|identity| gone.contains(&identity))
    }

    /// This node serves: whoever refused its directory before is not to be heeded at its next start.
    pub async fn taken_in(&self) {
        if let Some(memory) = self.memory.get() {
            memory.taken_in().await;
        }
    }

    /// Listens to why a peer ended a connection.
    pub(super) async fn heed(&self, number: u64, connection: &Connection) {
        let Some(ConnectionError::ApplicationClosed(closed)) = connection.close_reason() else {
            return;
        };
        let said = String::from_utf8_lossy(&closed.reason);
        let why = SentAway::by(closed.error_code, format!("node {number} says: {said}"));
        let Some(why) = why else { return };
        let is_older = matches!(why, SentAway::Older(_));
        if is_older && !self.heeds_older(number, &said) {
            return;
        }
        // First, because the log's queue may be full.
        self.sent_away.send_replace(Some(why));
        if let Some(memory) = self.memory.get().filter(|_| is_older) {
            memory.refused().await;
        }
    }

    /// Whether this node ends because a peer finds its directory older: at once before it serves; afterwards where most
    /// of the others that it knows in its region find so, for one that is wrong must not end any node.
    fn heeds_older(&self, number: u64, said: &str) -> bool {
        let was_known = self.peer(number).is_some_and(|peer| peer.set_finds_older(true));
        if !self.memory.get().is_some_and(|memory| memory.is_taken_in()) {
            return true;
        }
        let find_so: Vec<bool> = self.neighbours().map(|peer| peer.finds_older()).collect();
        let count = find_so.iter().filter(|finds| **finds).count();
        let is_most = 2 * count > find_so.len();
        if !is_most && !was_known {
            tracing::error!(
                number,
                said,
                "another node finds this node's directory older, which serves: it goes on, because most others do not"
            );
        }
        is_most
    }

    /// The same of one that lets this node in nowhere: its certificate, which TLS believed before, says which member
    /// it is.
    pub(super) async fn heed_refusal(
        &self,
        connection: &Connection,
        shown: Option<&CertificateDer<'static>>,
    ) {
        let Ok(Admitted { number, .. }) = self.admit(connection, Usage::ServerAuth) else { return };
        match connection.close_reason() {
            Some(ConnectionError::ConnectionClosed(closed))
                if u64::from(closed.error_code) == CERTIFICATE_REVOKED =>
            {
                if self.shows_no_other_than(shown) {
                    let why = format!("node {number} refuses it as revoked");
                    self.sent_away.send_replace(Some(SentAway::Revoked(why)));
                }
            }
            _ => self.heed(number, connection).await,
        }
    }

    /// Whether a certificate is what this node shows, and is not about to be renewed by another authority: what a
    /// removed one issued is refused as revoked too.
    fn shows_no_other_than(&self, shown: Option<&CertificateDer<'static>>) -> bool {
        let MeshOptions { trust, clock, credentials, .. } = &self.options;
        let Some(leaf) = credentials.leaf().filter(|leaf| Some(leaf) == shown) else {
            return false;
        };
        let own = trust.store().verify(&leaf, &[], Usage::ClientAuth, clock.now_ms() / 1000);
        own.is_ok_and(|own| {
            let authorities = trust.authorities();
            let issuer = authorities.iter().find(|ca| ca.name == own.issuer_hash);
            issuer.is_none_or(|ca| ca.phase == Phase::Active)
        })
    }
}
