//! What outsiders are told of certificates: revocation lists and OCSP answers, signed ahead and kept.
//!
//! The cluster's own nodes never ask here: they have every revocation in memory (`trust`). The list
//! is made anew in the background, some seconds after a revocation and in any case before it ends;
//! an answer without a nonce is signed once and given to all who ask. **Invariants:** "good" is said
//! only of certificates that the register knows; nothing here is on the way of a handshake. **Not
//! here:** transport (`web::public`).

mod board;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use fieldmesh_domain::{
    IndexRow, authority::Deed, effect::RowKey, placement::PLACEMENT, registration,
};
use fieldmesh_pki::{
    CrlError, Identity, IssueError, IssuingCa, KeyMaterial, Kind, Reason, Revoked, crl,
    ledger::Issuance,
    ocsp::{
        AnswerTimes, CertIdHash, IssuerRef, MALFORMED_REQUEST, OcspRequest, OcspRequestError,
        Responder, Status, TRY_LATER,
    },
    profile,
};

use tokio::task::JoinHandle;

pub use self::board::StatusBoard;
use crate::{
    files::{self, Access},
    issuer::sha256,
    node::Node,
    web::public,
};

/// A list and an answer are good for so long (RFC 5280 §5.1.2.5, RFC 6960 §4.2.2.1).
const GOOD_FOR_S: u64 = 3600;
/// They are made anew when half of that has passed.
const RENEW_AFTER_S: u64 = GOOD_FOR_S / 2;
/// The signer's own certificate is renewed when less than this is left: far more than an answer lives.
const SIGNER_LEFT_S: u64 = 2 * 24 * 3600;
/// Answers that are kept: each has about 1.2 KiB.
const ANSWERS_MAX: usize = 16_384;
/// Rows read at a time.
const PAGE: usize = 1000;

/// Why there is no list or no signer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("the revocations cannot be read: {0}")]
    Read(String),
    #[error("the list cannot be made")]
    Crl(#[from] CrlError),
    #[error("the signer's certificate cannot be issued")]
    Issue(#[from] IssueError),
    #[error("the signer cannot be used: {0}")]
    Signer(String),
}

/// Lists and answers of one issuing CA.
pub struct StatusDesk {
    node: Arc<Node>,
    cluster: String,
    ca: Arc<IssuingCa>,
    own: IssuerRef,
    /// The node's directory, where what is public is kept for when it is sealed.
    dir: PathBuf,
    list: RwLock<List>,
    signer: RwLock<Option<Signer>>,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct List {
    der: Arc<Vec<u8>>,
    made_s: u64,
    /// How many revocations it was made after.
    revocations: u64,
}

struct Signer {
    responder: Arc<Responder>,
    not_after_s: u64,
}

#[derive(Default)]
struct Answers {
    revocations: u64,
    kept: BTreeMap<(CertIdHash, [u8; 16]), Kept>,
}

struct Kept {
    der: Arc<Vec<u8>>,
    made_s: u64,
}

impl StatusDesk {
    /// # Errors
    /// Where the issuing CA's certificate does not parse.
    fn new(
        node: Arc<Node>,
        cluster: String,
        ca: Arc<IssuingCa>,
        dir: PathBuf,
    ) -> Result<Self, StatusError> {
        let own = IssuerRef::new(ca.certificate())
            .map_err(|error| StatusError::Signer(error.to_string()))?;
        let (list, signer, answers) = Default::default();
        Ok(Self { node, cluster, ca, own, dir, list, signer, answers })
    }

    fn is_of(&self, ca: &IssuingCa) -> bool {
        self.ca.certificate() == ca.certificate()
    }

    fn now_s(&self) -> u64 {
        self.node.clock.now_ms() / 1000
    }

    /// The issuing CA's certificate, DER.
    pub fn issuer_certificate(&self) -> Vec<u8> {
        self.ca.certificate().to_vec()
    }

    /// The list in force, DER; made now where there is none yet.
    ///
    /// # Errors
    /// See [`StatusError`].
    pub fn list(&self) -> Result<Arc<Vec<u8>>, StatusError> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        if list.made_s + GOOD_FOR_S > self.now_s() && list.made_s > 0 {
            return Ok(Arc::clone(&list.der));
        }
        drop(list);
        self.make_list()
    }

    fn make_list(&self) -> Result<Arc<Vec<u8>>, StatusError> {
        let now_s = self.now_s();
        let revocations = self.node.trust.revocations();
        let mut revoked = Vec::new();
        self.each_revocation(|issuer, entry, not_after| {
            if issuer == self.own.issuer_hash() && not_after > now_s {
                revoked.push(entry);
            }
        })?;
        // The number only grows, as the clock does that issues certificates (RFC 5280 §5.2.3).
        let der = crl(&self.ca, now_s, now_s, now_s + GOOD_FOR_S, &revoked)?;
        let der = Arc::new(der);
        let made = List { der: Arc::clone(&der), made_s: now_s, revocations };
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = made;
        metrics::counter!("fieldmesh_crl_made_total").increment(1);
        self.publish(&der);
        Ok(der)
    }

    /// Keeps what is public on disk.
    fn publish(&self, list: &[u8]) {
        let name = public::issuer_name(self.own.issuer_hash());
        let issuer = self.issuer_certificate();
        let kept = files::make_private_dir(&self.dir.join("public"))
            .and_then(|()| {
                files::write(&public::published(&self.dir, &name, "crl"), list, Access::Everybody)
            })
            .and_then(|()| {
                let path = public::published(&self.dir, &name, "cer");
                files::write(&path, &issuer, Access::Everybody)
            });
        if let Err(error) = kept {
            tracing::warn!(%error, "the revocation list is not on disk");
        }
    }

    fn each_revocation(
        &self,
        mut take: impl FnMut(&[u8; 32], Revoked, u64),
    ) -> Result<(), StatusError> {
        let journal = self.node.journal(PLACEMENT);
        let journal =
            journal.ok_or_else(|| StatusError::Read("the group does not run here".into()))?;
        let mut after = None;
        loop {
            let page = journal.rows(RowKey::REVOCATION, after.as_ref(), PAGE);
            let page = page.map_err(|error| StatusError::Read(error.to_string()))?;
            for row in &page {
                if let IndexRow::Revocation { issuer, serial, not_after, revocation } = row {
                    let reason = Reason::from_number(revocation.reason);
                    let entry = Revoked {
                        serial: *serial,
                        at_s: revocation.at.0 / 1000,
                        reason: reason.unwrap_or(Reason::Unspecified),
                    };
                    take(issuer, entry, *not_after);
                }
            }
            after = page.last().map(IndexRow::key);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// What the register says of a certificate.
    fn status(&self, serial: &[u8; 16]) -> Status {
        let revocation = self
            .node
            .journal(PLACEMENT)
            .and_then(|journal| {
                journal.row(&RowKey::revocation(serial, self.own.issuer_hash())).ok()
            })
            .flatten();
        if let Some(IndexRow::Revocation { revocation, .. }) = revocation {
            let reason = Reason::from_number(revocation.reason).unwrap_or(Reason::Unspecified);
            return Status::Revoked { at_s: revocation.at.0 / 1000, reason };
        }
        let known = self.node.authority().and_then(|journal| {
            journal.row(&RowKey::certificate(serial, self.own.issuer_hash())).ok()
        });
        if known.flatten().is_some() { Status::Good } else { Status::Unknown }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // A map of finished answers is whole after each step.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request in DER.
    pub fn answer(&self, request: Result<OcspRequest, OcspRequestError>) -> Arc<Vec<u8>> {
        let fixed = |bytes: &[u8]| Arc::new(bytes.to_vec());
        let Ok(request) = request else { return fixed(MALFORMED_REQUEST) };
        let responder = match self.responder() {
            Ok(responder) => responder,
            Err(error) => {
                tracing::error!(%error, "OCSP cannot answer");
                return fixed(TRY_LATER);
            }
        };
        let issuers = [self.own.clone()];
        if let Some((_, hash, serial)) = request.presignable(&issuers) {
            return self.kept(&responder, hash, serial);
        }
        let times = self.times();
        let status = |_: &[u8; 32], serial: &[u8; 16]| self.status(serial);
        match responder.respond(&request, &issuers, &status, times) {
            Ok(der) => Arc::new(der),
            Err(error) => {
                tracing::debug!(%error, "an OCSP request is not answered");
                fixed(error.answer())
            }
        }
    }

    fn times(&self) -> AnswerTimes {
        let now_s = self.now_s();
        AnswerTimes {
            this_update_s: now_s,
            next_update_s: now_s + GOOD_FOR_S,
            produced_at_s: now_s,
        }
    }

    fn kept(&self, responder: &Responder, hash: CertIdHash, serial: [u8; 16]) -> Arc<Vec<u8>> {
        let (now_s, revocations) = (self.now_s(), self.node.trust.revocations());
        let mut answers = self.answers();
        if answers.revocations != revocations {
            answers.kept.clear();
            answers.revocations = revocations;
        }
        if let Some(kept) = answers.kept.get(&(hash, serial))
            && kept.made_s + RENEW_AFTER_S > now_s
        {
            return Arc::clone(&kept.der);
        }
        let status = self.status(&serial);
        let is_known = status != Status::Unknown;
        match responder.presign(&self.own, hash, &serial, status, self.times()) {
            Ok(der) => {
                let der = Arc::new(der);
                // Serial numbers that nobody has are made up without end: they are not kept.
                if is_known {
                    if answers.kept.len() >= ANSWERS_MAX {
                        answers.kept.pop_first();
                    }
                    let kept = Kept { der: Arc::clone(&der), made_s: now_s };
                    answers.kept.insert((hash, serial), kept);
                }
                der
            }
            Err(error) => Arc::new(error.answer().to_vec()),
        }
    }

    /// The signer, whose certificate outlives every answer.
    fn responder(&self) -> Result<Arc<Responder>, StatusError> {
        let read = self.signer.read().unwrap_or_else(PoisonError::into_inner);
        let signer = read.as_ref().filter(|signer| signer.not_after_s > self.now_s() + GOOD_FOR_S);
        let signer =
            signer.ok_or_else(|| StatusError::Signer("it has no certificate yet".into()))?;
        Ok(Arc::clone(&signer.responder))
    }

    /// Certifies a new signer where there is none, or little is left of it. It signs nothing before the
    /// ledger has its certificate.
    async fn certify(&self) -> Result<(), StatusError> {
        let until_s = {
            let read = self.signer.read().unwrap_or_else(PoisonError::into_inner);
            read.as_ref().map_or(0, |signer| signer.not_after_s)
        };
        if until_s > self.now_s() + SIGNER_LEFT_S {
            return Ok(());
        }
        let (signer, deed) = self.new_signer()?;
        let noted = self.node.note("authority".to_owned(), deed).await;
        noted.map_err(|error| StatusError::Signer(error.to_string()))?;
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = Some(signer);
        Ok(())
    }

    fn new_signer(&self) -> Result<(Signer, Deed), StatusError> {
        let failed = |error: &dyn std::fmt::Display| StatusError::Signer(error.to_string());
        let key = KeyMaterial::generate().map_err(|error| failed(&error))?;
        let mut random = [0; 33];
        self.node.entropy.fill(&mut random);
        let [jitter, rest @ ..] = random;
        let (id, serial) = rest.split_at(16);
        let array = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).unwrap_or_default();
        let identity = Identity {
            cluster: self.cluster.clone(),
            region: self.node.region.clone(),
            kind: Kind::OcspSigner,
            id: array(id),
        };
        let life = profile(Kind::OcspSigner).life(self.now_s(), jitter);
        let issued = self.ca.issue(&key.spki(), &identity, &[], life, array(serial))?;
        let listed = Issuance::of(&issued.der, profile(Kind::OcspSigner).label, None);
        let deed = Deed::Issued {
            profile: registration::Profile::OcspSigner,
            issuer: *self.own.issuer_hash(),
            serial: issued.serial,
            not_after: issued.not_after,
            key: sha256(&key.spki()),
            signed_part: listed.map_err(|error| failed(&error))?.tbs_hash,
            approved_by: None,
            renews: None,
        };
        let responder = Responder::new(key, issued.der).map_err(|error| failed(&error))?;
        Ok((Signer { responder: Arc::new(responder), not_after_s: issued.not_after }, deed))
    }

    /// Signing is short; reading 100,000 rows is not.
    #[expect(
        clippy::disallowed_methods,
        reason = "lists are for outsiders: nothing in the simulation reads them"
    )]
    fn in_background(self: &Arc<Self>) -> JoinHandle<Result<bool, StatusError>> {
        let desk = Arc::clone(self);
        tokio::task::spawn_blocking(move || desk.refresh())
    }

    fn refresh(&self) -> Result<bool, StatusError> {
        let is_due = {
            let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
            list.made_s + RENEW_AFTER_S <= self.now_s()
                || list.revocations != self.node.trust.revocations()
        };
        if is_due {
            self.make_list()?;
        }
        Ok(is_due)
    }
}
