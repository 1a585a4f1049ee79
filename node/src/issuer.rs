//! The region's issuing CA on this node: checks a request, signs what the profile says.
//!
//! **Invariants:** a certificate that leaves has been committed by the registration it is for; this
//! only signs. Nothing is signed by a clock that is behind what the authority has seen. **Not here:**
//! tokens, approvals and bans (`domain::registration`), transport (`web::est`).

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_actors::seams::Entropy;
use fieldmesh_domain::{
    EntityId, EntityKind,
    registration::{Issued, Profile, Proof, Registration},
};
use fieldmesh_pki::{
    CheckedCsr, CsrError, Identity, IssueError, IssuingCa, Kind, check_csr, ledger::Issuance,
    ocsp::IssuerRef, profile,
};

use crate::chaos::ShortLives;

/// How far a clock may lag behind what another one of the region has seen.
const CLOCK_LAG_MS: u64 = 2000;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("{0}")]
    Request(CsrError),
    #[error("publicKey: it is an authority's own")]
    AuthorityKey,
    #[error("publicKey: a key of kind {kind} is not for a {profile}: use {allowed}")]
    KeyKind { kind: &'static str, profile: &'static str, allowed: String },
    #[error(
        "the clock says {now_ms} ms, the authority has seen {seen_ms} ms: set the clock of this node"
    )]
    Clock { now_ms: u64, seen_ms: u64 },
    #[error("the issuing CA's certificate does not parse")]
    Own,
    #[error("the certificate could not be issued")]
    Issue(#[source] IssueError),
}

/// The issuing CA in force, with what is shown with it.
pub struct Signing {
    ca: Arc<IssuingCa>,
    issuer: [u8; 32],
    /// Other issuing CAs of the region that are believed, DER.
    others: Vec<Vec<u8>>,
    /// Root certificates, DER; tokens pin the first, which signed the issuing CA.
    roots: Vec<Vec<u8>>,
}

impl Signing {
    /// # Errors
    /// Where the issuing CA's certificate does not parse.
    pub fn new(
        ca: Arc<IssuingCa>,
        others: Vec<Vec<u8>>,
        roots: Vec<Vec<u8>>,
    ) -> Result<Self, IssuerError> {
        let own = IssuerRef::new(ca.certificate());
        let issuer = own.map(|own| *own.issuer_hash()).map_err(|_| IssuerError::Own)?;
        Ok(Self { ca, issuer, others, roots })
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        let own = vec![self.ca.certificate().to_vec()];
        [own, self.others.clone(), self.roots.clone()].concat()
    }
}

/// Signs certificates.
pub struct Issuer {
    cluster: String,
    region: String,
    signing: RwLock<Arc<Signing>>,
    /// The latest time that the authority has seen, Unix milliseconds.
    high_water_ms: AtomicU64,
    lives: Arc<ShortLives>,
}

impl Issuer {
    pub fn new(cluster: String, region: String, signing: Signing) -> Self {
        let signing = RwLock::new(Arc::new(signing));
        let (high_water_ms, lives) = (AtomicU64::new(0), Arc::default());
        Self { cluster, region, signing, high_water_ms, lives }
    }

    /// What shortens lives on purpose.
    pub fn under(self, lives: Arc<ShortLives>) -> Self {
        Self { lives, ..self }
    }

    /// From now on this one signs; a certificate being signed is still by the one before.
    pub fn replace(&self, signing: Signing) {
        *self.signing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signing);
    }

    fn signing(&self) -> Arc<Signing> {
        Arc::clone(&self.signing.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn ca(&self) -> Arc<IssuingCa> {
        Arc::clone(&self.signing().ca)
    }

    /// SHA-256 of the root certificate: what a token pins.
    pub fn root_pin(&self) -> [u8; 32] {
        self.signing().roots.first().map(|root| sha256(root)).unwrap_or_default()
    }

    /// Issuing CAs, the one that signs first, and roots, the one that signed that one first; DER.
    pub fn ca_certificates(&self) -> Vec<Vec<u8>> {
        self.signing().certificates()
    }

    /// The issuing CA's end, Unix seconds.
    pub fn not_after_s(&self) -> u64 {
        self.signing().ca.not_after_s()
    }

    /// SHA-256 of the issuing CA's name.
    pub fn name_hash(&self) -> [u8; 32] {
        self.signing().issuer
    }

    /// The identity that a registration has in its certificates: its device's, or its own.
    pub fn identity(&self, id: EntityId, registration: &Registration) -> Option<Identity> {
        let kind = kind(registration.profile?);
        let id = registration.device.unwrap_or(id).to_bytes();
        Some(Identity { cluster: self.cluster.clone(), region: self.region.clone(), kind, id })
    }

    /// Takes note of a time that the authority has seen.
    pub fn seen(&self, at_ms: u64) {
        self.high_water_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// Checks what a request asks for against an identity; signs nothing.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn check(&self, csr: &[u8], identity: &Identity) -> Result<CheckedCsr, IssuerError> {
        let checked = check_csr(csr).map_err(IssuerError::Request)?;
        checked.check_identity(identity).map_err(IssuerError::Request)?;
        let profile = profile(identity.kind);
        if !profile.key_kinds.contains(&checked.key_kind()) {
            let allowed: Vec<&str> = profile.key_kinds.iter().map(|kind| kind.name()).collect();
            return Err(IssuerError::KeyKind {
                kind: checked.key_kind().name(),
                profile: profile.label,
                allowed: allowed.join(" or "),
            });
        }
        if self.ca_certificates().iter().any(|ca| contains(ca, checked.spki())) {
            return Err(IssuerError::AuthorityKey);
        }
        Ok(checked)
    }

    /// Signs a certificate that nobody has yet.
    ///
    /// # Errors
    /// A clock that is behind, a lifetime beyond the issuer's, a failed signature.
    pub fn sign(
        &self,
        checked: &CheckedCsr,
        identity: &Identity,
        proof: Proof,
        entropy: &dyn Entropy,
        now_ms: u64,
    ) -> Result<Issued, IssuerError> {
        let seen_ms = self.high_water_ms.fetch_max(now_ms, Ordering::Relaxed);
        if now_ms + CLOCK_LAG_MS < seen_ms {
            return Err(IssuerError::Clock { now_ms, seen_ms });
        }
        let mut random = [0; 17];
        entropy.fill(&mut random);
        let [jitter, serial @ ..] = random;
        let mut life = profile(identity.kind).life(now_ms / 1000, jitter);
        if let (Kind::Customer, Some(life_s)) = (identity.kind, self.lives.life_s()) {
            life.not_after_s = life.not_after_s.min(now_ms / 1000 + life_s);
            self.lives.issued.happened();
        }
        let signing = self.signing();
        let certificate = signing
            .ca
            .issue(checked.spki(), identity, &[], life, serial)
            .map_err(IssuerError::Issue)?;
        let label = profile(identity.kind).label;
        let listed = Issuance::of(&certificate.der, label, None);
        let signed_part = listed.map(|listed| listed.tbs_hash).map_err(|_| IssuerError::Own)?;
        Ok(Issued {
            proof,
            public_key_hash: sha256(checked.spki()),
            issuer: signing.issuer,
            serial: certificate.serial,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            fingerprint: sha256(&certificate.der),
            certificate: certificate.der,
            revoked: None,
            signed_part,
        })
    }
}

/// Whether a certificate holds this SubjectPublicKeyInfo, byte for byte.
fn contains(certificate: &[u8], spki: &[u8]) -> bool {
    certificate.windows(spki.len().max(1)).any(|window| window == spki)
}

/// What a profile's holder is called in its identity.
pub fn kind(profile: Profile) -> Kind {
    match profile {
        Profile::Customer => Kind::Customer,
        Profile::Technician => Kind::Technician,
        Profile::Operator => Kind::Operator,
        Profile::Node => Kind::Node,
        Profile::Gateway => Kind::Gateway,
        Profile::Service => Kind::Service,
        Profile::OcspSigner => Kind::OcspSigner,
    }
}

/// The profile of an identity that can be registered.
pub fn registered(kind: Kind) -> Option<Profile> {
    match kind {
        Kind::Customer => Some(Profile::Customer),
        Kind::Technician => Some(Profile::Technician),
        Kind::Operator => Some(Profile::Operator),
        Kind::Node => Some(Profile::Node),
        Kind::Gateway => Some(Profile::Gateway),
        Kind::Service | Kind::OcspSigner => None,
    }
}

/// The registration of whoever has an identity.
pub fn registration_of(identity: &Identity) -> Option<EntityId> {
    let id = EntityId::from_bytes(identity.id).ok()?;
    match (identity.kind, id.kind()) {
        (Kind::Customer, EntityKind::Customer) | (Kind::Technician, EntityKind::Technician) => {
            Some(EntityId::registration_of(id))
        }
        (Kind::Operator | Kind::Node | Kind::Gateway, EntityKind::Registration) => Some(id),
        _ => None,
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
