//! What anybody may read without TLS: the revocation list, OCSP answers, the issuing CA's
//! certificate. All of it is signed, and a certificate whose status can be had only over TLS would
//! need another one's status first.

use std::path::{Path, PathBuf};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use fieldmesh_pki::ocsp::OcspRequest;
use percent_encoding::percent_decode_str;

use super::{Shared, problem};

pub fn routes(app: &mut web::ServiceConfig) {
    app.route("/crl/{issuer}.crl", web::get().to(list))
        .route("/crl/{issuer}.crl", web::head().to(list))
        .route("/ca/{issuer}.cer", web::get().to(issuer))
        .route("/ocsp", web::post().to(ocsp_post))
        .route("/ocsp/{request:.*}", web::get().to(ocsp_get));
}

/// How long a cache may give a list to others: far less than it is good for.
const FRESH: &str = "public, max-age=60";
/// Bytes of an OCSP request; one for a certificate has about 100.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// All that the plain listener serves.
pub fn only(app: &mut web::ServiceConfig, shared: &Shared) {
    app.app_data(web::Data::new(shared.clone()))
        .app_data(web::PayloadConfig::new(REQUEST_BYTES_MAX))
        .configure(routes)
        .default_service(web::to(problem::not_found));
}

/// The name of an issuing CA in paths: the start of its name's hash.
pub fn issuer_name(hash: &[u8; 32]) -> String {
    super::est::hex(&hash[..8])
}

/// Where the last of what was published is kept, for a node that is sealed.
pub fn published(dir: &Path, name: &str, ending: &str) -> PathBuf {
    dir.join("public").join(format!("{name}.{ending}"))
}

/// The list of what an issuing CA revoked (RFC 5280).
#[utoipa::path(
    method(get, head), path = "/crl/{issuer}.crl", security(()),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/pkix-crl"),
        (status = "default", description = "There is no such CA here, or no list now.")
    )
)]
pub async fn list(name: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    let Some(desk) = shared.status.desk(&name) else { return HttpResponse::NotFound().finish() };
    let list = web::block(move || desk.list()).await;
    match list {
        Ok(Ok(der)) => HttpResponse::Ok()
            .content_type("application/pkix-crl")
            .insert_header((header::CACHE_CONTROL, FRESH))
            .body(der.to_vec()),
        Ok(Err(error)) => {
            tracing::error!(%error, "there is no revocation list");
            HttpResponse::ServiceUnavailable().finish()
        }
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// The certificate of an issuing CA, in DER.
#[utoipa::path(
    get, path = "/ca/{issuer}.cer", security(()),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/pkix-cert"),
        (status = "default", description = "There is no such CA here.")
    )
)]
pub async fn issuer(name: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    let answer = match shared.status.desk(&name) {
        Some(desk) => {
            HttpResponse::Ok().content_type("application/pkix-cert").body(desk.issuer_certificate())
        }
        None => HttpResponse::NotFound().finish(),
    };
    std::future::ready(answer).await
}

fn answer(der: &[u8]) -> HttpResponse {
    HttpResponse::Ok().content_type("application/ocsp-response").body(der.to_vec())
}

/// Whether a certificate is revoked (RFC 6960): what cannot be answered is answered so, with status 200.
#[utoipa::path(
    post, path = "/ocsp", security(()),
    request_body(content = Vec<u8>, content_type = "application/ocsp-request"),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/ocsp-response"),
        (status = "default", description = "The body is no OCSP request by its type, or too long.")
    )
)]
pub async fn ocsp_post(
    request: HttpRequest,
    body: web::Bytes,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_request = kind.is_some_and(|kind| kind.as_bytes() == b"application/ocsp-request");
    let response = if is_request {
        answer(&shared.status.answer(OcspRequest::from_der(&body)))
    } else {
        HttpResponse::UnsupportedMediaType().finish()
    };
    std::future::ready(response).await
}

/// The request is in the path, in base64 whose `/`, `+` and `=` may be escaped (RFC 6960 A.1). It is
/// taken from the path as it was sent: what routing makes of it has other slashes.
#[utoipa::path(
    get, path = "/ocsp/{request}", security(()),
    params(("request" = String, Path, description = "The request in base64 (RFC 6960 A.1).")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/ocsp-response"),
        (status = "default", description = "It is too long.")
    )
)]
pub async fn ocsp_get(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let path = request.uri().path();
    let encoded = path.strip_prefix("/ocsp/").unwrap_or_default();
    let decoded = percent_decode_str(encoded).decode_utf8_lossy();
    std::future::ready(answer(&shared.status.answer(OcspRequest::from_path(&decoded)))).await
}
