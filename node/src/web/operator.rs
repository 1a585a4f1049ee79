//! Who asks: extractors that demand an operator certificate, and what they do for certificates of
//! other kinds.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::StatusCode, web::Data};
use fieldmesh_domain::EntityId;
use fieldmesh_pki::{Kind, PeerCertificate, Usage};

use super::{PeerChain, Shared, problem::Problem};
use crate::{issuer::registration_of, register::NotCurrent};

/// An operator, proven by certificate.
#[derive(Debug, Clone)]
pub struct Operator {
    pub name: String,
    /// Its registration.
    pub id: EntityId,
    /// Of the certificate, as DER has it.
    pub serial: Vec<u8>,
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let (certificate, id) = holder(&request, Kind::Operator).await?;
            let name = certificate.identity.to_string();
            Ok(Self { name, id, serial: certificate.serial })
        })
    }
}

/// An operator by its certificate alone, which is believed and not known to be revoked: where nobody leads, or the
/// operator's region is cut off, its record cannot be looked up. Only for what ends harm, and tells nothing but how far a
/// log is.
#[derive(Debug, Clone)]
pub struct ShownOperator {
    pub name: String,
}

impl FromRequest for ShownOperator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let shown = shown(request, Kind::Operator);
        ready(shown.map(|(certificate, _)| Self { name: certificate.identity.to_string() }))
    }
}

fn refuse(kind: Kind, detail: &str) -> Problem {
    let title = if kind == Kind::Node { "nodes-only" } else { "operators-only" };
    Problem::new(StatusCode::FORBIDDEN, title, detail)
}

fn shared(request: &HttpRequest, kind: Kind) -> Result<&Data<Shared>, Problem> {
    request.app_data::<Data<Shared>>().ok_or_else(|| refuse(kind, "the server has no state"))
}

/// The certificate that was shown in TLS, of this kind and in force, and its registration.
pub(super) fn shown(
    request: &HttpRequest,
    kind: Kind,
) -> Result<(PeerCertificate, EntityId), Problem> {
    shown_of(request, &[kind])
}

/// The same, of one of these kinds.
fn shown_of(request: &HttpRequest, kinds: &[Kind]) -> Result<(PeerCertificate, EntityId), Problem> {
    let kind = kinds.first().copied().unwrap_or(Kind::Operator);
    let wanted = match kinds {
        [Kind::Node] => "node",
        [_] => "operator",
        _ => "customer, technician or operator",
    };
    let shared = shared(request, kind)?;
    let refuse = |detail: &str| refuse(kind, detail);
    let show = || refuse(&format!("present the certificate of a {wanted}"));
    let chain = request.conn_data::<PeerChain>().ok_or_else(show)?;
    let (leaf, rest) = chain.0.split_first().ok_or_else(show)?;
    let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
    let (trust, now_s) = (&shared.node.trust, shared.node.clock.now_ms() / 1000);
    let certificate = trust.store().verify(leaf, &rest, Usage::ClientAuth, now_s);
    let certificate = certificate.map_err(|error| refuse(&error.to_string()))?;
    if !kinds.contains(&certificate.identity.kind) {
        return Err(refuse(&format!("the certificate is not of a {wanted}")));
    }
    if trust.is_revoked(&certificate) {
        return Err(refuse("the certificate was revoked"));
    }
    let id = registration_of(&certificate.identity);
    let id = id.ok_or_else(|| refuse("the certificate names no registration"))?;
    Ok((certificate, id))
}

/// The same, and on record.
pub(super) async fn holder(
    request: &HttpRequest,
    kind: Kind,
) -> Result<(PeerCertificate, EntityId), Problem> {
    holder_of(request, &[kind]).await
}

/// The same, of one of these kinds.
pub(super) async fn holder_of(
    request: &HttpRequest,
    kinds: &[Kind],
) -> Result<(PeerCertificate, EntityId), Problem> {
    let kind = kinds.first().copied().unwrap_or(Kind::Operator);
    let (certificate, id) = shown_of(request, kinds)?;
    match shared(request, kind)?.node.register.issued_to(&certificate, id).await {
        Ok(true) => Ok((certificate, id)),
        Ok(false) => Err(refuse(kind, "the authority has no record of the certificate")),
        Err(error @ NotCurrent) => Err(Problem::busy(error)),
    }
}
