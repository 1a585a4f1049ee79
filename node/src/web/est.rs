//! Enrollment over Secure Transport (RFC 7030, RFC 8951, RFC 9908).
//!
//! A new device shows a one-time token as HTTP Basic user and secret; one that has a certificate
//! shows that in TLS, even when it expired lately. What a certificate says comes from what was
//! registered and its profile, never from the request, and a request for anything else is refused by
//! the name of the field. The certificate is recorded, and the token spent, in one commit; only then
//! does it leave.
//!
//! **Invariants:** what is cheap is checked before what is not; a request that is repeated gets the
//! same certificate; a refusal changes nothing but the record of refusals. **Not here:** who may have
//! a certificate (`domain::registration`), what it says (`fieldmesh_pki`).

pub mod entry;
pub mod keygen;
mod refusal;
mod throttle;

use std::net::IpAddr;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_actors::Answer;
use fieldmesh_domain::{
    Command, EntityId,
    authority::Deed,
    effect::RowKey,
    registration::{self, Approval, Decision, Issued, Proof, Registration},
};
use fieldmesh_pki::{
    CheckedCsr, Identity, PeerCertificate, Profile, Usage, csrattrs, estwire, pkcs7, profile,
    token_hash,
};
use zeroize::Zeroizing;

pub use self::{
    refusal::Refusal,
    throttle::{KeysUnderWay, Throttle},
};
use super::{PeerChain, Shared};
use crate::{
    audit::Event,
    dates::date,
    issuer::{self, sha256},
    register::serial,
};

/// RFC 7030 §4.1.3.
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";
const PKCS10: &str = "application/pkcs10";

pub fn routes(scope: &mut web::ServiceConfig) {
    // RFC 7030 §3.2.2: the label may be left out.
    for prefix in ["", "/{label}"] {
        let path = |operation: &str| format!("{prefix}/{operation}");
        scope
            .route(&path("cacerts"), web::get().to(cacerts))
            .route(&path("csrattrs"), web::get().to(attributes))
            .route(&path("simpleenroll"), web::post().to(simpleenroll))
            .route(&path("simplereenroll"), web::post().to(simplereenroll))
            .route(&path("serverkeygen"), web::post().to(keygen::serverkeygen));
    }
}

type Body = Result<web::Bytes, actix_web::Error>;

/// A request on its way through the checks.
struct Visit<'a> {
    shared: &'a Shared,
    request: &'a HttpRequest,
    now_ms: u64,
}

impl<'a> Visit<'a> {
    /// Checks what costs nothing: the path, the sender's record of refusals.
    fn new(shared: &'a Shared, request: &'a HttpRequest) -> Result<Self, Refusal> {
        let now_ms = shared.node.clock.now_ms();
        let visit = Self { shared, request, now_ms };
        if let Err(seconds) = shared.throttle.admits(visit.from(), now_ms) {
            let mut refusal = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many refused requests from this address: wait",
            );
            refusal.retry_after_s = Some(seconds);
            return Err(refusal);
        }
        visit.label()?;
        Ok(visit)
    }

    fn from(&self) -> Option<IpAddr> {
        self.request.peer_addr().map(|address| address.ip())
    }

    /// The profile that the path names, if it names one.
    fn label(&self) -> Result<Option<&'static Profile>, Refusal> {
        let Some(label) = self.request.match_info().get("label") else { return Ok(None) };
        if label == "device" {
            return Ok(None);
        }
        let known =
            Profile::by_label(label).filter(|profile| issuer::registered(profile.kind).is_some());
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, "no such label");
        known.map(Some).ok_or_else(unknown)
    }

    /// The certificate request in the body.
    fn csr(&self, body: Body) -> Result<Vec<u8>, Refusal> {
        let kind = self.request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_pkcs10 =
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(PKCS10));
        if !is_pkcs10 {
            let text = format!("send the request as Content-Type: {PKCS10}");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        let body = body.map_err(|error| {
            let status = error.as_response_error().status_code();
            match status {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Refusal::new(status, "the body has more than 64 KiB")
                }
                _ => Refusal::invalid(format_args!("the body cannot be read: {error}")),
            }
        })?;
        estwire::decode(&body).map_err(|error| Refusal::invalid(format_args!("{error}")))
    }

    fn registration(&self, id: EntityId) -> Result<Registration, Refusal> {
        let journal = self.shared.node.journal_of(id);
        let journal = journal.ok_or_else(|| Refusal::unavailable("the authority is not here"))?;
        Ok(journal.state::<Registration>(id)?)
    }

    /// Whether the path's profile, if any, is the registration's.
    fn fits(&self, identity: &Identity) -> Result<(), Refusal> {
        match self.label()? {
            Some(profile) if profile.kind != identity.kind => {
                Err(Refusal::token("the token is for another profile"))
            }
            _ => Ok(()),
        }
    }

    /// Checks the request, and that its key is nobody else's.
    fn check(&self, csr: &[u8], id: EntityId, identity: &Identity) -> Result<CheckedCsr, Refusal> {
        let checked = self.shared.issuer.check(csr, identity)?;
        let key = sha256(checked.spki());
        let bound =
            self.shared.node.journal_of(id).map(|journal| journal.row(&RowKey::bound_key(&key)));
        let bound = bound.transpose()?.flatten();
        if bound.is_some_and(|row| row.id() != id) {
            return Err(Refusal::policy("publicKey: it belongs to another identity"));
        }
        Ok(checked)
    }

    async fn ask(&self, id: EntityId, command: registration::Command) -> Result<Answer, Refusal> {
        Ok(self.shared.node.ask(id, Command::Registration(command)).await?)
    }

    /// Signs and records a certificate; the record decides, and may name one that was issued before.
    async fn issue(
        &self,
        id: EntityId,
        identity: &Identity,
        checked: &CheckedCsr,
        proof: Proof,
    ) -> Result<Issued, Refusal> {
        let shared = self.shared;
        let key = sha256(checked.spki());
        let _reserved = shared.keys_under_way.reserve(key).ok_or_else(|| {
            Refusal::unavailable("a request for this key is under way: repeat it")
        })?;
        let issued =
            shared.issuer.sign(checked, identity, proof, &*shared.node.entropy, self.now_ms)?;
        let answer = self.ask(id, registration::Command::Enroll(issued.clone())).await?;
        match answer {
            Answer::Done { .. } => {
                metrics::counter!("fieldmesh_certificates_issued_total").increment(1);
                tracing::info!(%id, "a certificate was issued");
                let event = Event::CertificateIssued {
                    registration: id,
                    serial: &hex(&issued.serial),
                    not_after_s: issued.not_after,
                };
                shared.node.audit.note(self.now_ms, event);
                Ok(issued)
            }
            Answer::AlreadyDone { .. } => self
                .registration(id)?
                .answer_to(proof, &key)
                .cloned()
                .ok_or_else(|| Refusal::unavailable("the certificate is not there yet: repeat")),
        }
    }

    fn certificates(&self, certificates: &[Vec<u8>], kind: &'static str) -> HttpResponse {
        self.base64(&pkcs7::certs_only(certificates), kind)
    }

    fn base64(&self, der: &[u8], kind: &'static str) -> HttpResponse {
        let text = if self.shared.wrap_base64 {
            estwire::encode_wrapped(der)
        } else {
            estwire::encode(der)
        };
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, kind))
            .insert_header(("Content-Transfer-Encoding", "base64"))
            .body(text)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives the refusal its identifier and records it.
async fn finish(
    shared: &Shared,
    request: &HttpRequest,
    answer: Result<HttpResponse, Refusal>,
) -> Result<HttpResponse, Refusal> {
    let mut refusal = match answer {
        Ok(response) => return Ok(response),
        Err(refusal) => refusal,
    };
    let mut random = [0; 8];
    shared.node.entropy.fill(&mut random);
    refusal.request_id = hex(&random);
    if refusal.is_pending() {
        return Err(refusal);
    }
    let node = &shared.node;
    let now_ms = node.clock.now_ms();
    let from = request.peer_addr().map(|address| address.ip());
    shared.throttle.refused(from, now_ms);
    metrics::counter!("fieldmesh_enrollments_refused_total").increment(1);
    let why = refusal.cause.as_deref().unwrap_or(&refusal.text);
    let (user, status) = (refusal.user.as_str(), refusal.status.as_u16());
    let request_id = refusal.request_id.as_str();
    tracing::warn!(user, status, request_id, why, "an enrollment was refused");
    node.audit.note(now_ms, Event::EnrollmentRefused { user, status, request_id, why });
    if let Some(unlisted) = shared.throttle.listed(now_ms) {
        let deed = Deed::Refused { code: status, why: why.to_owned(), unlisted };
        if let Err(error) = node.note(refusal.user.clone(), deed).await {
            tracing::warn!(%error, "a refusal is not in the ledger");
        }
    }
    Err(refusal)
}

/// Whom to believe: the issuing CA's certificates, as PKCS#7 in base64.
#[utoipa::path(
    get, path = "/.well-known/est/cacerts", security(()),
    responses((status = 200, body = String, content_type = "application/pkcs7-mime"))
)]
pub async fn cacerts(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Refusal> {
    let answer = Visit::new(&shared, &request).map(|visit| {
        visit.certificates(&shared.issuer.ca_certificates(), "application/pkcs7-mime")
    });
    finish(&shared, &request, answer).await
}

/// Which keys a request may have, in base64.
#[utoipa::path(
    get, path = "/.well-known/est/csrattrs", security(()),
    responses((status = 200, body = String, content_type = "application/csrattrs"))
)]
pub async fn attributes(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Refusal> {
    let answer = Visit::new(&shared, &request).and_then(|visit| {
        let profile = visit.label()?.unwrap_or_else(|| profile(fieldmesh_pki::Kind::Customer));
        Ok(visit.base64(&csrattrs(None, profile.key_kinds), "application/csrattrs"))
    });
    finish(&shared, &request, answer).await
}

/// The first certificate, for whoever has a one-time token.
#[utoipa::path(
    post, path = "/.well-known/est/simpleenroll", security(("token" = [])),
    request_body(content = String, content_type = "application/pkcs10", description = "The request (PKCS#10) in base64."),
    responses(
        (status = 200, body = String, content_type = "application/pkcs7-mime"),
        (status = 202, description = "An operator has to approve it: ask again after Retry-After.", body = String, content_type = "text/plain"),
        (status = 401, description = "The token does not work.", body = String, content_type = "text/plain")
    )
)]
pub async fn simpleenroll(
    request: HttpRequest,
    body: Body,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Refusal> {
    let answer = async {
        let visit = Visit::new(&shared, &request)?;
        let basic = credentials(&request)?;
        let named = |refusal: Refusal| Refusal { user: basic.user.clone(), ..refusal };
        enroll(&visit, &basic, body).await.map_err(named)
    };
    let answer = answer.await;
    finish(&shared, &request, answer).await
}

/// Whoever a token admits.
struct Holder {
    id: EntityId,
    registration: Registration,
    identity: Identity,
    /// Of the token.
    hash: [u8; 32],
    granted: Granted,
}

impl Holder {
    fn admitted(visit: &Visit<'_>, basic: &Credentials) -> Result<Self, Refusal> {
        let id = registration_id(&basic.user).ok_or_else(|| Refusal::token("no such user"))?;
        let registration = visit.registration(id)?;
        let identity = visit.shared.issuer.identity(id, &registration);
        let identity = identity.ok_or_else(|| Refusal::token("no such user"))?;
        let hash = token_hash(&basic.secret);
        let granted = grant(&registration, &hash, visit.now_ms)?;
        visit.fits(&identity)?;
        Ok(Self { id, registration, identity, hash, granted })
    }
}

async fn enroll(
    visit: &Visit<'_>,
    basic: &Credentials,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let holder = Holder::admitted(visit, basic)?;
    let certificate = certified(visit, &holder, &visit.csr(body)?).await?;
    Ok(visit.certificates(&[certificate], CERTS_ONLY))
}

/// The certificate for a request by whoever a token admits: a new one, or the one from before.
async fn certified(visit: &Visit<'_>, holder: &Holder, csr: &[u8]) -> Result<Vec<u8>, Refusal> {
    let Holder { id, registration, identity, hash, granted } = holder;
    let checked = visit.check(csr, *id, identity)?;
    let (proof, key) = (Proof::Token(*hash), sha256(checked.spki()));
    if let Some(before) = registration.answer_to(proof, &key) {
        return Ok(before.certificate.clone());
    }
    if *granted == Granted::AfterApproval {
        let command = registration::Command::Request { token_hash: *hash, public_key_hash: key };
        visit.ask(*id, command).await?;
        let approved = visit.registration(*id)?.request.is_some_and(|request| {
            request.token_hash == *hash && matches!(request.decision, Decision::Approved(_))
        });
        if !approved {
            return Err(Refusal::pending());
        }
    }
    Ok(visit.issue(*id, identity, &checked, proof).await?.certificate)
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Granted {
    Now,
    AfterApproval,
    /// It was spent; the same request gets the same certificate again.
    Before,
}

/// The cheap question before a signature is checked and another one made; the commit decides.
fn grant(registration: &Registration, hash: &[u8; 32], now_ms: u64) -> Result<Granted, Refusal> {
    // Hashes of random secrets: how long comparing them takes says nothing of the secrets.
    let request = registration.request.as_ref().filter(|request| request.token_hash == *hash);
    if let Some(request) = request {
        return match &request.decision {
            Decision::Denied { why, .. } => {
                Err(Refusal::forbidden(format_args!("an operator denied the request: {why}")))
            }
            Decision::Pending | Decision::Approved(_) => Ok(Granted::AfterApproval),
        };
    }
    let spent = registration.was_used(hash);
    let token = registration.token.as_ref().filter(|token| token.hash == *hash);
    match token {
        _ if registration.banned => {
            Err(Refusal::forbidden("the identity is banned: only an operator can re-admit it"))
        }
        Some(token) if token.expires.0 <= now_ms => Err(Refusal::token("the token has expired")),
        Some(token) if token.approval == Approval::None => Ok(Granted::Now),
        Some(_) => Ok(Granted::AfterApproval),
        None if spent => Ok(Granted::Before),
        None => Err(Refusal::token("the token is not known")),
    }
}

/// The next certificate, for whoever shows the one before in TLS.
#[utoipa::path(
    post, path = "/.well-known/est/simplereenroll", security(("device" = []), ("node" = []), ("operator" = [])),
    request_body(content = String, content_type = "application/pkcs10", description = "The request (PKCS#10) in base64."),
    responses(
        (status = 200, body = String, content_type = "application/pkcs7-mime"),
        (status = 202, description = "An operator has to approve it: ask again after Retry-After.", body = String, content_type = "text/plain")
    )
)]
pub async fn simplereenroll(
    request: HttpRequest,
    body: Body,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Refusal> {
    let answer = async {
        let visit = Visit::new(&shared, &request)?;
        let peer = peer(&visit)?;
        let user = peer.identity.to_string();
        reenroll(&visit, &peer, body).await.map_err(|refusal| Refusal { user, ..refusal })
    };
    let answer = answer.await;
    finish(&shared, &request, answer).await
}

/// Whose certificate TLS was shown: in force, or expired no longer than its profile allows.
fn peer(visit: &Visit<'_>) -> Result<PeerCertificate, Refusal> {
    let show = || {
        Refusal::new(StatusCode::UNAUTHORIZED, "show the certificate that is to be renewed in TLS")
    };
    let chain = visit.request.conn_data::<PeerChain>().ok_or_else(show)?;
    let (leaf, rest) = chain.0.split_first().ok_or_else(show)?;
    let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
    let grace = |kind| profile(kind).grace_s;
    let store = visit.shared.node.trust.store();
    store
        .verify_lapsed(leaf, &rest, Usage::ClientAuth, visit.now_ms / 1000, &grace)
        .map_err(Refusal::forbidden)
}

async fn reenroll(
    visit: &Visit<'_>,
    peer: &PeerCertificate,
    body: Body,
) -> Result<HttpResponse, Refusal> {
    let unknown = || Refusal::forbidden("the certificate's holder is not registered");
    let id = issuer::registration_of(&peer.identity).ok_or_else(unknown)?;
    let registration = visit.registration(id)?;
    let identity = visit.shared.issuer.identity(id, &registration).ok_or_else(unknown)?;
    if registration.banned {
        let text = "the identity is banned: only an operator can re-admit it";
        return Err(Refusal::forbidden(text));
    }
    if visit.shared.node.trust.is_revoked(peer) {
        let text = "the certificate was revoked: enroll with a new token";
        return Err(Refusal::forbidden(text));
    }
    if visit.fits(&identity).is_err() {
        return Err(Refusal::forbidden("the certificate is for another profile than this path"));
    }
    let serial = serial(&peer.serial).ok_or_else(unknown)?;
    let before = registration.by_serial(&serial).ok_or_else(unknown)?;
    let csr = visit.csr(body)?;
    let checked = visit.check(&csr, id, &identity)?;
    let (proof, key) = (Proof::Certificate(serial), sha256(checked.spki()));
    if let Some(again) = registration.answer_to(proof, &key) {
        return Ok(visit.certificates(std::slice::from_ref(&again.certificate), CERTS_ONLY));
    }
    // One by an authority that does not sign any more is renewed whenever its holder comes.
    if before.issuer == visit.shared.issuer.name_hash() {
        window(&identity, before, visit.now_ms / 1000)?;
    }
    if registration.uses_of(&key) >= registration::SAME_KEY_MAX {
        return Err(Refusal::policy("publicKey: it was certified often enough: make a new key"));
    }
    let issued = visit.issue(id, &identity, &checked, proof).await?;
    Ok(visit.certificates(&[issued.certificate], CERTS_ONLY))
}

/// Whether it is time to renew: not before the window that was drawn for this very certificate.
fn window(identity: &Identity, before: &Issued, now_s: u64) -> Result<(), Refusal> {
    let [.., a, b, c, d] = before.serial;
    let jitter = u32::from_be_bytes([a, b, c, d]);
    let window = profile(identity.kind).renewal_window(before.not_before, before.not_after, jitter);
    let Some((from_s, by_s)) = window else {
        let text = "this profile is not renewed: enroll again with a new token";
        return Err(Refusal::forbidden(text));
    };
    if now_s < from_s {
        let [from, by, now] = [from_s, by_s, now_s].map(date);
        let text = format!("too early: renew from {from} to {by}, the clock says {now}");
        let mut refusal = Refusal::forbidden(text);
        refusal.retry_after_s = Some(u32::try_from(from_s - now_s).unwrap_or(u32::MAX));
        return Err(refusal);
    }
    Ok(())
}

/// The registration that a token's user names: a device's owner, or a registration itself.
pub(crate) fn registration_id(user: &str) -> Option<EntityId> {
    use fieldmesh_domain::EntityKind;
    let id: EntityId = user.parse().ok()?;
    match id.kind() {
        EntityKind::Customer | EntityKind::Technician => Some(EntityId::registration_of(id)),
        EntityKind::Registration => Some(id),
        EntityKind::Ticket
        | EntityKind::Desk
        | EntityKind::Authority
        | EntityKind::Placement
        | EntityKind::Notifier
        | EntityKind::Integration
        | EntityKind::Attachment => None,
    }
}

struct Credentials {
    user: String,
    secret: Zeroizing<String>,
}

/// Characters of a user, before anything is looked up for it.
const USER_CHARS_MAX: usize = 64;

fn credentials(request: &HttpRequest) -> Result<Credentials, Refusal> {
    let refuse = || {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "send the one-time token as HTTP Basic user and secret",
        )
    };
    let header = request.headers().get(header::AUTHORIZATION).ok_or_else(refuse)?;
    let (scheme, encoded) =
        header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refuse)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(refuse());
    }
    let plain = Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| refuse())?);
    let plain = std::str::from_utf8(&plain).map_err(|_| refuse())?;
    let (user, secret) = plain.split_once(':').ok_or_else(refuse)?;
    if user.chars().count() > USER_CHARS_MAX {
        return Err(refuse());
    }
    Ok(Credentials { user: user.to_owned(), secret: Zeroizing::new(secret.to_owned()) })
}
