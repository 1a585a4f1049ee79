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
use fieldmesh_domain::{Command, EntityId, EntityKind, customer, technician};
use fieldmesh_pki::{estwire, pkcs7, token_hash};

use super::{Shared, problem::Problem};
use crate::issuer::Issued;

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

/// The same certificate again, for a device that lost the answer.
fn issued_before(shared: &Shared, user: EntityId) -> Result<HttpResponse, Problem> {
    let journal = shared.node.journal_of(user).ok_or_else(|| Problem::missing("such shard"))?;
    let enrollment = match user.kind() {
        EntityKind::Customer => journal.state::<customer::Customer>(user)?.enrollment,
        _ => journal.state::<technician::Technician>(user)?.enrollment,
    };
    let issued = enrollment.issued.ok_or_else(|| Problem::missing("certificate"))?;
    Ok(base64_body(CERTS_ONLY, &pkcs7::certs_only(&[issued.certificate])))
}

async fn simpleenroll(
    request: HttpRequest,
    body: web::Bytes,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let Credentials { user, secret } = credentials(&request)?;
    let csr = estwire::decode(&body)
        .map_err(|error| Problem::invalid(format_args!("the body is refused: {error}")))?;
    let Issued { certificate, public_key_hash } = shared.issuer.issue(
        &csr,
        user,
        &*shared.node.entropy,
        shared.node.clock.now_ms() / 1000,
    )?;
    let token_hash = token_hash(&secret);
    let serial = certificate.serial.to_vec();
    let (not_after, der) = (certificate.not_after, certificate.der.clone());
    let command = match user.kind() {
        EntityKind::Customer => Command::Customer(customer::Command::Enroll {
            token_hash,
            public_key_hash,
            serial,
            not_after,
            certificate: der,
        }),
        EntityKind::Technician => Command::Technician(technician::Command::Enroll {
            token_hash,
            public_key_hash,
            serial,
            not_after,
            certificate: der,
        }),
        EntityKind::Ticket | EntityKind::Desk => {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "the user is not a device's owner",
            ));
        }
    };
    match shared.node.ask(user, command).await {
        Ok(Answer::Done { .. }) => {
            metrics::counter!("fieldmesh_certificates_issued_total").increment(1);
            tracing::info!(%user, "a device was enrolled");
            Ok(base64_body(CERTS_ONLY, &pkcs7::certs_only(&[certificate.der])))
        }
        Ok(Answer::AlreadyDone { .. }) => issued_before(&shared, user),
        Err(fieldmesh_actors::AskError::Rejected(rejection)) => {
            metrics::counter!("fieldmesh_enrollments_refused_total").increment(1);
            tracing::warn!(%user, %rejection, "an enrollment was refused");
            Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", rejection))
        }
        Err(error) => Err(error.into()),
    }
}
