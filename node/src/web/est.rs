//! Enrollment over Secure Transport (RFC 7030, RFC 8951): the part that a new device needs.
//!
//! The user of the one-time token is the identifier that was registered; the certificate's content
//! comes from that and its profile, never from the request. The token is spent in the commit that
//! records the issuance.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_actors::Answer;
use fieldmesh_domain::{
    Command, EntityId, EntityKind, customer, enrollment::Enrollment, technician,
};
use fieldmesh_pki::{Certificate, estwire, pkcs7, token_hash};

use super::{Shared, problem::Problem};
use crate::{audit::Event, issuer::Issued};

/// RFC 7030 §4.1.3.
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/cacerts", web::get().to(cacerts))
        .route("/simpleenroll", web::post().to(simpleenroll));
}

fn base64_body(content_type: &'static str, der: &[u8]) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header(("Content-Transfer-Encoding", "base64"))
        .body(estwire::encode(der))
}

async fn cacerts(shared: web::Data<Shared>) -> HttpResponse {
    std::future::ready(base64_body(
        "application/pkcs7-mime",
        &pkcs7::certs_only(&shared.issuer.ca_certificates()),
    ))
    .await
}

struct Credentials {
    user: EntityId,
    secret: zeroize::Zeroizing<String>,
}

fn credentials(request: &HttpRequest) -> Result<Credentials, Problem> {
    let refuse = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "send the one-time token as HTTP Basic user and secret",
        )
    };
    let header = request.headers().get(header::AUTHORIZATION).ok_or_else(refuse)?;
    let encoded =
        header.to_str().ok().and_then(|text| text.strip_prefix("Basic ")).ok_or_else(refuse)?;
    let plain = zeroize::Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| refuse())?);
    let plain = std::str::from_utf8(&plain).map_err(|_| refuse())?;
    let (user, secret) = plain.split_once(':').ok_or_else(refuse)?;
    let user = user.parse().map_err(|_| refuse())?;
    Ok(Credentials { user, secret: zeroize::Zeroizing::new(secret.to_owned()) })
}

/// Whether the token waits to be spent, or was spent on the certificate in force: the cheap question
/// before a signature is checked and another one made. The commit decides.
fn is_known(shared: &Shared, user: EntityId, token_hash: &[u8; 32]) -> Result<bool, Problem> {
    let enrollment = enrollment(shared, user)?;
    let waiting = enrollment.token.map(|token| token.hash);
    let spent = enrollment.issued.map(|issued| issued.token_hash);
    // Hashes of random secrets: how long comparing them takes says nothing of the secrets.
    Ok([waiting, spent].contains(&Some(*token_hash)))
}

fn refused(shared: &Shared, user: EntityId, why: &str) -> Problem {
    metrics::counter!("fieldmesh_enrollments_refused_total").increment(1);
    tracing::warn!(%user, why, "an enrollment was refused");
    let event = Event::EnrollmentRefused { user: &user.to_string(), why };
    shared.node.audit.note(shared.node.clock.now_ms(), event);
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why)
}

fn enrollment(shared: &Shared, user: EntityId) -> Result<Enrollment, Problem> {
    let journal = shared.node.journal_of(user).ok_or_else(|| Problem::missing("such shard"))?;
    Ok(match user.kind() {
        EntityKind::Customer => journal.state::<customer::Customer>(user)?.enrollment,
        EntityKind::Technician => journal.state::<technician::Technician>(user)?.enrollment,
        EntityKind::Ticket | EntityKind::Desk => Enrollment::default(),
    })
}

/// The same certificate again, for a device that lost the answer.
fn issued_before(shared: &Shared, user: EntityId) -> Result<HttpResponse, Problem> {
    let issued = enrollment(shared, user)?.issued.ok_or_else(|| Problem::missing("certificate"))?;
    Ok(base64_body(CERTS_ONLY, &pkcs7::certs_only(&[issued.certificate])))
}

/// The command that spends the token and records the certificate, in one commit.
fn enroll(
    user: EntityId,
    token_hash: [u8; 32],
    public_key_hash: [u8; 32],
    certificate: &Certificate,
) -> Result<Command, Problem> {
    let (serial, not_after) = (certificate.serial.to_vec(), certificate.not_after);
    let certificate = certificate.der.clone();
    match user.kind() {
        EntityKind::Customer => Ok(Command::Customer(customer::Command::Enroll {
            token_hash,
            public_key_hash,
            serial,
            not_after,
            certificate,
        })),
        EntityKind::Technician => Ok(Command::Technician(technician::Command::Enroll {
            token_hash,
            public_key_hash,
            serial,
            not_after,
            certificate,
        })),
        EntityKind::Ticket | EntityKind::Desk => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the user is not a device's owner",
        )),
    }
}

async fn simpleenroll(
    request: HttpRequest,
    body: web::Bytes,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let Credentials { user, secret } = credentials(&request)?;
    let token_hash = token_hash(&secret);
    if !is_known(&shared, user, &token_hash)? {
        return Err(refused(&shared, user, "the token is not known"));
    }
    let csr = estwire::decode(&body)
        .map_err(|error| Problem::invalid(format_args!("the body is refused: {error}")))?;
    let Issued { certificate, public_key_hash } = shared.issuer.issue(
        &csr,
        user,
        &*shared.node.entropy,
        shared.node.clock.now_ms() / 1000,
    )?;
    let command = enroll(user, token_hash, public_key_hash, &certificate)?;
    let now_ms = shared.node.clock.now_ms();
    match shared.node.ask(user, command).await {
        Ok(Answer::Done { .. }) => {
            metrics::counter!("fieldmesh_certificates_issued_total").increment(1);
            tracing::info!(%user, "a device was enrolled");
            let serial: String =
                certificate.serial.iter().map(|byte| format!("{byte:02x}")).collect();
            let not_after_s = certificate.not_after;
            let issued = Event::CertificateIssued { device: user, serial: &serial, not_after_s };
            shared.node.audit.note(now_ms, issued);
            Ok(base64_body(CERTS_ONLY, &pkcs7::certs_only(&[certificate.der])))
        }
        Ok(Answer::AlreadyDone { .. }) => issued_before(&shared, user),
        Err(fieldmesh_actors::AskError::Rejected(rejection)) => {
            Err(refused(&shared, user, &rejection.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}
