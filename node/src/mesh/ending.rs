//! Why this node has to end, as other nodes tell it: they know what its own directory does not.
//!
//! **Invariants:** only a member is heeded, which has proven that it is one; what was heard first stays. **Not here:**
//! who is told so (`mesh`, `twin`), how a node ends (`server`).

use fieldmesh_device::wire::close;
use fieldmesh_domain::placement::Phase;
use fieldmesh_pki::Usage;
use quinn::{Connection, ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::{Admitted, Mesh, MeshOptions};

/// TLS's word for a certificate that was revoked, as QUIC has it (RFC 8446 §6.2, RFC 9001 §4.8).
const CERTIFICATE_REVOKED: u64 = 0x100 + 44;

/// Why this node has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
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
}

impl Ending {
    /// By the code with which a member closed a connection, and what it said to it; none where it may be tried again.
    pub(super) fn of(code: VarInt, said: String) -> Option<Self> {
        match u32::try_from(code.into_inner()) {
            Ok(close::THERE_TWICE) => Some(Self::ThereTwice(said)),
            Ok(close::REMOVED) => Some(Self::Removed(said)),
            _ => None,
        }
    }
}

/// What was heard of it.
#[derive(Default)]
pub(super) struct Heard(watch::Sender<Option<Ending>>);

impl Heard {
    pub(super) fn hear(&self, why: Ending) {
        self.0.send_modify(|known| {
            known.get_or_insert(why);
        });
    }

    pub(super) fn known(&self) -> Option<Ending> {
        self.0.borrow().clone()
    }

    /// Waits until something is heard.
    pub(super) async fn until_known(&self) -> Ending {
        let mut heard = self.0.subscribe();
        let why = heard.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // The sender is in what `self` holds.
            None => std::future::pending().await,
        }
    }
}

impl Mesh {
    /// Why this node has to end, where a member has said so.
    pub fn ending(&self) -> Option<Ending> {
        self.heard.known()
    }

    /// Waits until a member says that this node has to end.
    pub async fn told_to_end(&self) -> Ending {
        self.heard.until_known().await
    }

    /// Listens to why a member ended a connection.
    pub(super) fn heed(&self, number: u64, connection: &Connection) {
        let Some(ConnectionError::ApplicationClosed(closed)) = connection.close_reason() else {
            return;
        };
        let said = format!("node {number} says: {}", String::from_utf8_lossy(&closed.reason));
        if let Some(why) = Ending::of(closed.error_code, said) {
            self.heard.hear(why);
        }
    }

    /// The same of one that lets this node in nowhere: its certificate, which TLS believed before, says which member
    /// it is.
    pub(super) fn heed_refusal(
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
                    self.heard.hear(Ending::Revoked(why));
                }
            }
            _ => self.heed(number, connection),
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
