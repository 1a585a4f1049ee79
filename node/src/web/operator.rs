//! Who the operator is: an extractor that demands an operator certificate.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::StatusCode, web::Data};
use fieldmesh_domain::EntityId;
use fieldmesh_pki::{Kind, Usage};

use super::{PeerChain, Shared, problem::Problem};
use crate::issuer::registration_of;

/// An operator, proven by certificate.
#[derive(Debug, Clone)]
pub struct Operator {
    pub name: String,
    /// Its registration.
    pub id: EntityId,
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request))
    }
}

fn identify(request: &HttpRequest) -> Result<Operator, Problem> {
    let refuse = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "operators-only", detail);
    let shared =
        request.app_data::<Data<Shared>>().ok_or_else(|| refuse("the server has no state"))?;
    let chain = request
        .conn_data::<PeerChain>()
        .ok_or_else(|| refuse("present an operator certificate"))?;
    let (leaf, rest) =
        chain.0.split_first().ok_or_else(|| refuse("present an operator certificate"))?;
    let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
    let now_s = shared.node.clock.now_ms() / 1000;
    let trust = &shared.node.trust;
    let certificate = trust
        .store()
        .verify(leaf, &rest, Usage::ClientAuth, now_s)
        .map_err(|error| refuse(&error.to_string()))?;
    if certificate.identity.kind != Kind::Operator {
        return Err(refuse("the certificate is not an operator's"));
    }
    let id = registration_of(&certificate.identity)
        .filter(|id| shared.node.register.issued_to(&certificate, *id))
        .ok_or_else(|| refuse("the authority has no record of the certificate"))?;
    if trust.is_revoked(&certificate) {
        return Err(refuse("the certificate was revoked"));
    }
    Ok(Operator { name: certificate.identity.to_string(), id })
}
