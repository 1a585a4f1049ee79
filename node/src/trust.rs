//! Whom this node believes, now: roots and issuing CAs, who is revoked, and who is connected by
//! which certificate.
//!
//! Revocations and authorities come from the placement group as they are applied, the region's own
//! revocations from its authority's too. One that comes in is
//! in the set before the connections by it are looked for, and a connection is listed before it asks
//! the set, so none slips between. What a removed authority issued is revoked with it, because who has
//! such a certificate has the removed one to show with it. **Invariants:** asking costs the same for
//! any number of revocations; a revoked certificate's connections are closed in the step that applies
//! the revocation. **Not here:** why somebody is revoked (`domain::registration`), who becomes an
//! authority (`domain::placement`), sockets (`edge`, `web`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use fieldmesh_actors::seams::Clock;
use fieldmesh_device::wire::close;
use fieldmesh_domain::{
    IndexRow,
    mutant::{Mutant, is_planted},
    placement::{Ca, Phase, Role},
    registration::Revocation,
};
use fieldmesh_pki::{
    CaCertificate, PeerCertificate, RevocationSet, TrustStore,
    tls::{self, IsRevoked},
};

use tokio::sync::watch;

use crate::register;

/// Expired certificates may still ask for renewal for so long: longer than any profile's grace.
const GRACE_S: u64 = 366 * 24 * 3600;

/// A revocation is recorded in the region's group and applied by the cluster's: two log writes.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// How often a connection looks at the clock for its certificate's end.
const EXPIRY_LOOK: Duration = Duration::from_secs(60);

/// Ends when a certificate has expired by the node's clock, which may be set meanwhile.
pub async fn expired(clock: &dyn Clock, not_after_s: u64) {
    while let Some(left) = not_after_s.checked_sub(clock.now_ms() / 1000) {
        tokio::time::sleep(Duration::from_secs(left + 1).min(EXPIRY_LOOK)).await;
    }
}

/// Issuer and serial number.
type Name = ([u8; 32], [u8; 16]);
/// Ends a connection with an application's code.
type Close = Box<dyn Fn(u32) + Send>;

/// What a node believes.
pub struct Trust {
    store: RwLock<Arc<TrustStore>>,
    revoked: RwLock<RevocationSet>,
    bundle: RwLock<Bundle>,
    /// The epoch of the bundle that is believed.
    epoch: watch::Sender<u64>,
    live: Mutex<Live>,
    /// How many revocations came in.
    count: watch::Sender<u64>,
}

/// The authorities that the placement group knows; none before a region's first start.
#[derive(Default)]
struct Bundle {
    cas: BTreeMap<[u8; 32], Ca>,
    /// The names of those that are not believed any more.
    removed: BTreeSet<[u8; 32]>,
}

impl Bundle {
    /// Of one cluster, where that is known. Another one's would be believed by each node that applies its
    /// row, and must not keep those beside it from being believed.
    fn believed(&self, role: Role, cluster: Option<&str>) -> Vec<Vec<u8>> {
        let cas = self.cas.values().filter(|ca| ca.role == role && ca.phase != Phase::Removed);
        let is_own = |ca: &&Ca| {
            let Some(cluster) = cluster else { return true };
            let is_own = CaCertificate::read(&ca.certificate).is_ok_and(|read| read.is_of(cluster));
            if !is_own {
                tracing::error!(cluster, "a record names an authority of another cluster");
            }
            is_own
        };
        cas.filter(is_own).map(|ca| ca.certificate.clone()).collect()
    }
}

#[derive(Default)]
struct Live {
    next: u64,
    connections: BTreeMap<Name, BTreeMap<u64, Close>>,
}

/// A listed connection; it leaves the list when this is dropped.
pub struct Listed {
    trust: Arc<Trust>,
    name: Name,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut live = self.trust.live();
        if let Some(of_name) = live.connections.get_mut(&self.name) {
            of_name.remove(&self.number);
            if of_name.is_empty() {
                live.connections.remove(&self.name);
            }
        }
    }
}

impl Trust {
    pub fn new(store: impl Into<Arc<TrustStore>>) -> Arc<Self> {
        let (revoked, bundle, live) = Default::default();
        let ((count, _), (epoch, _)) = (watch::channel(0), watch::channel(0));
        Arc::new(Self { store: RwLock::new(store.into()), revoked, bundle, epoch, live, count })
    }

    /// How many revocations came in since the node started.
    pub fn revocations(&self) -> u64 {
        *self.count.borrow()
    }

    /// Tells when revocations come in.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Every authority that was ever believed.
    pub fn authorities(&self) -> Vec<Ca> {
        let bundle = self.bundle.read().unwrap_or_else(PoisonError::into_inner);
        bundle.cas.values().cloned().collect()
    }

    /// Tells when other authorities are believed.
    pub fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// The roots and issuing CAs in force.
    pub fn store(&self) -> Arc<TrustStore> {
        Arc::clone(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, as TLS asks for it at each handshake.
    pub fn live_store(self: &Arc<Self>) -> tls::Trust {
        let trust = Arc::clone(self);
        Arc::new(move || trust.store())
    }

    pub fn is_revoked(&self, peer: &PeerCertificate) -> bool {
        self.is_listed(&peer.issuer_hash, &peer.serial)
    }

    fn is_listed(&self, issuer: &[u8; 32], serial: &[u8]) -> bool {
        // An insertion that panics leaves a set that is whole.
        let bundle = self.bundle.read().unwrap_or_else(PoisonError::into_inner);
        if bundle.removed.contains(issuer) {
            return true;
        }
        drop(bundle);
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(issuer, serial)
    }

    /// Ends when a certificate is in the set, or after a while: whoever revoked it is answered only
    /// when nobody believes it any more.
    pub async fn until_revoked(&self, issuer: &[u8; 32], serial: &[u8]) {
        let mut count = self.watch();
        let listed = async {
            // The sender lives as long as this.
            while !self.is_listed(issuer, serial) && count.changed().await.is_ok() {}
        };
        if tokio::time::timeout(APPLIED_WITHIN, listed).await.is_err() {
            tracing::warn!("a revocation is recorded and not yet applied here");
        }
    }

    /// The question as TLS asks it.
    pub fn revoked(self: &Arc<Self>) -> IsRevoked {
        let trust = Arc::clone(self);
        Arc::new(move |issuer, serial| trust.is_listed(issuer, serial))
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a connection, to be closed when its certificate is revoked; none where it already is.
    pub fn list(
        self: &Arc<Self>,
        peer: &PeerCertificate,
        close: impl Fn(u32) + Send + 'static,
    ) -> Option<Listed> {
        let name = (peer.issuer_hash, register::serial(&peer.serial)?);
        let number = {
            let mut live = self.live();
            live.next += 1;
            let number = live.next;
            live.connections.entry(name).or_default().insert(number, Box::new(close));
            number
        };
        let listed = Listed { trust: Arc::clone(self), name, number };
        (!self.is_revoked(peer)).then_some(listed)
    }

    /// Takes in what the placement group applied, or the region's authority: that one is heard first of
    /// what it revoked itself, and also while the placement group is out of reach.
    pub fn applied(&self, rows: &[IndexRow]) {
        let mut epoch = None;
        for row in rows {
            match row {
                IndexRow::Revocation { issuer, serial, not_after, revocation } => {
                    self.revoke(*issuer, *serial, *not_after, *revocation);
                }
                IndexRow::Certificate {
                    issuer, serial, not_after, revoked: Some(revoked), ..
                } => self.revoke(*issuer, *serial, *not_after, *revoked),
                IndexRow::Ca { ca, epoch: brought } => {
                    self.take(ca);
                    epoch = epoch.max(Some(*brought));
                }
                _ => {}
            }
        }
        if let Some(epoch) = epoch {
            self.believe();
            self.epoch.send_modify(|known| *known = epoch.max(*known));
        }
    }

    fn take(&self, ca: &Ca) {
        let mut bundle = self.bundle.write().unwrap_or_else(PoisonError::into_inner);
        bundle.cas.insert(ca.fingerprint, ca.clone());
        if ca.phase != Phase::Removed || !bundle.removed.insert(ca.name) {
            return;
        }
        drop(bundle);
        let by = (ca.name, [0; 16])..=(ca.name, [u8::MAX; 16]);
        let live = self.live();
        for end in live.connections.range(by).flat_map(|(_, of_name)| of_name.values()) {
            end(close::CA_REMOVED);
            metrics::counter!("fieldmesh_connections_revoked_total").increment(1);
        }
    }

    /// From now on each handshake is judged by the authorities that are known now.
    fn believe(&self) {
        let before = self.store();
        let cluster = before.cluster();
        let bundle = self.bundle.read().unwrap_or_else(PoisonError::into_inner);
        let believed = |role| bundle.believed(role, cluster);
        let (roots, issuing) = (believed(Role::Root), believed(Role::Issuing));
        drop(bundle);
        let store = match cluster {
            Some(cluster) => TrustStore::for_cluster(cluster, roots, issuing),
            None => TrustStore::new(roots, issuing),
        };
        match store {
            Ok(store) => {
                *self.store.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(store);
            }
            // Each was read before it was introduced.
            Err(error) => tracing::error!(%error, "the authorities in force stay the ones before"),
        }
    }

    fn revoke(&self, issuer: [u8; 32], serial: [u8; 16], not_after: u64, revocation: Revocation) {
        if is_planted(Mutant::RevocationIgnored) {
            return;
        }
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).revoke(
            issuer,
            serial,
            not_after.saturating_add(GRACE_S),
        );
        let code = if revocation.banned { close::BANNED } else { close::REVOKED };
        self.count.send_modify(|count| *count += 1);
        let live = self.live();
        for close in live.connections.get(&(issuer, serial)).into_iter().flat_map(BTreeMap::values)
        {
            close(code);
            metrics::counter!("fieldmesh_connections_revoked_total").increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::atomic::{AtomicU32, Ordering};

    use fieldmesh_domain::EntityId;
    use fieldmesh_domain::time::Millis;
    use fieldmesh_pki::{Identity, IssuingCa, KeyKind, KeyMaterial, Kind, RootCa, Usage, profile};

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    /// A cluster's root and the issuing CA of its region `eu1`.
    fn authority(cluster: &str) -> (RootCa, IssuingCa) {
        let root = RootCa::create(cluster, NOW_S, [1; 16]).unwrap();
        let (issuing, _) = root.issue_issuing("eu1", 1, NOW_S, [2; 16]).unwrap();
        (root, issuing)
    }

    fn brought(der: &[u8], epoch: u64) -> IndexRow {
        let read = CaCertificate::read(der).unwrap();
        let ca = Ca {
            fingerprint: read.fingerprint,
            certificate: der.to_vec(),
            role: if read.is_root { Role::Root } else { Role::Issuing },
            authority: EntityId::authority("eu1".parse().unwrap()),
            name: read.name_hash,
            signer: read.fingerprint,
            not_after: read.not_after_s,
            phase: Phase::Active,
            since: Millis(0),
            epoch,
            compromised: false,
        };
        IndexRow::Ca { ca, epoch }
    }

    /// Whether a node of that cluster's region is believed.
    fn believes(trust: &Trust, cluster: &str, issuing: &IssuingCa) -> bool {
        let identity = Identity {
            cluster: cluster.into(),
            region: "eu1".into(),
            kind: Kind::Node,
            id: [9; 16],
        };
        let (spki, life) =
            (KeyMaterial::generate().unwrap().spki(), profile(Kind::Node).life(NOW_S, 0));
        let leaf = issuing.issue(&spki, &identity, &[], life, [3; 16]).unwrap().der;
        trust.store().verify(&leaf, &[issuing.certificate()], Usage::ClientAuth, NOW_S).is_ok()
    }

    /// A root of another cluster is as whole as ours, and so is whoever is below it: only its name says
    /// whose it is.
    #[test]
    fn a_record_with_another_clusters_authority_is_not_believed_and_stands_in_nobodys_way() {
        let (own, other) = (authority("acme.test"), authority("other.test"));
        let made = |cluster: &str, of: &(RootCa, IssuingCa)| {
            let (root, issuing) = (of.0.certificate().to_vec(), of.1.certificate().to_vec());
            TrustStore::for_cluster(cluster, vec![root], vec![issuing])
        };
        assert!(made("acme.test", &other).is_err());
        let trust = Trust::new(made("acme.test", &own).unwrap());
        let next = RootCa::create("acme.test", NOW_S, [4; 16]).unwrap();
        let (renewed, _) = next.issue_issuing("eu1", 2, NOW_S, [5; 16]).unwrap();
        let ders = [own.0.certificate(), own.1.certificate(), other.0.certificate()];
        let more = [other.1.certificate(), next.certificate(), renewed.certificate()];
        let rows: Vec<_> = ders.iter().chain(&more).map(|der| brought(der, 7)).collect();
        trust.applied(&rows);
        assert!(!believes(&trust, "other.test", &other.1));
        assert!(believes(&trust, "acme.test", &own.1));
        assert!(believes(&trust, "acme.test", &renewed), "what came with it is believed");
        assert_eq!(*trust.epoch().borrow(), 7);
    }

    fn peer(serial: u8) -> PeerCertificate {
        PeerCertificate {
            identity: Identity {
                cluster: "c".into(),
                region: "eu1".into(),
                kind: Kind::Customer,
                id: [0; 16],
            },
            serial: vec![0, serial],
            not_after: 0,
            issuer_hash: [7; 32],
            public_point: Vec::new(),
            thumbprint: [0; 32],
            not_before: 0,
            spki: Vec::new(),
            key_kind: KeyKind::P256,
        }
    }

    fn revocation(serial: u8, banned: bool) -> IndexRow {
        let mut number = [0; 16];
        number[15] = serial;
        let revocation = Revocation { at: Millis(0), reason: 0, banned };
        IndexRow::Revocation { issuer: [7; 32], serial: number, not_after: 0, revocation }
    }

    #[test]
    fn a_revocation_closes_what_is_listed_and_refuses_what_comes() {
        let trust = Trust::new(TrustStore::new(vec![], vec![]).unwrap_or_else(|_| unreachable!()));
        let codes = [0, 1, 2].map(|_| Arc::new(AtomicU32::new(0)));
        let listed: Vec<_> = [5, 5, 6]
            .into_iter()
            .zip(&codes)
            .map(|(serial, code)| {
                let code = Arc::clone(code);
                trust.list(&peer(serial), move |closed| code.store(closed, Ordering::SeqCst))
            })
            .collect();
        assert!(listed.iter().all(Option::is_some));
        trust.applied(&[revocation(5, false)]);
        let seen = || codes.each_ref().map(|code| code.load(Ordering::SeqCst));
        assert_eq!(seen(), [close::REVOKED, close::REVOKED, 0]);
        assert!(trust.list(&peer(5), |_| {}).is_none());
        trust.applied(&[revocation(6, true)]);
        assert_eq!(seen()[2], close::BANNED);
        drop(listed);
        assert!(trust.live().connections.is_empty());
    }
}
