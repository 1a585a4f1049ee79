//! Keys that are made here for their holder (RFC 7030 §4.4), where the holder has no good source of
//! chance. Off unless `pki.server_keygen` says otherwise: a key that two parties have had is weaker
//! evidence of who signed.
//!
//! **Invariants:** the key is in one answer and nowhere else, so that a request that is repeated gets
//! no second one; it is wiped when the answer has left; an answer that is to be encrypted beyond TLS is
//! refused, not given in clear. **Not here:** who may have a certificate (`super`).

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use fieldmesh_domain::authority::Deed;
use fieldmesh_pki::{KeyMaterial, check_csr, create_csr, estwire, pkcs7};
use zeroize::Zeroizing;

use super::{
    Body, CERTS_ONLY, Granted, Holder, Refusal, Visit, certified, credentials, finish, hex,
};
use crate::web::Shared;

/// Two parts, the key first (RFC 7030 §4.4.2).
fn parts(boundary: &str, pkcs8: &[u8], certificate: &[u8]) -> Zeroizing<String> {
    let key = Zeroizing::new(estwire::encode(pkcs8));
    let certificate = estwire::encode(&pkcs7::certs_only(&[certificate.to_vec()]));
    let encoding = "Content-Transfer-Encoding: base64\r\n\r\n";
    Zeroizing::new(format!(
        "--{boundary}\r\nContent-Type: application/pkcs8\r\n{encoding}{}\r\n\
         --{boundary}\r\nContent-Type: {CERTS_ONLY}\r\n{encoding}{certificate}\r\n\
         --{boundary}--\r\n",
        *key
    ))
}

/// Text that is wiped when the connection is done with it.
struct Wiped(Zeroizing<String>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A certificate with a key that is made here, where the node's configuration allows it.
#[utoipa::path(
    post, path = "/.well-known/est/serverkeygen", security(("token" = [])),
    request_body(content = String, content_type = "application/pkcs10", description = "The request (PKCS#10) in base64."),
    responses(
        (status = 200, description = "The key, then the certificate.", body = String, content_type = "multipart/mixed"),
        (status = 501, description = "Keys are made by their holders only.", body = String, content_type = "text/plain")
    )
)]
pub async fn serverkeygen(
    request: HttpRequest,
    body: Body,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Refusal> {
    let answer = async {
        let visit = Visit::new(&shared, &request)?;
        if !shared.server_keygen {
            let text = "keys are made by their holder only: use simpleenroll";
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, text));
        }
        let basic = credentials(&request)?;
        let named = |refusal: Refusal| Refusal { user: basic.user.clone(), ..refusal };
        let holder = Holder::admitted(&visit, &basic).map_err(named)?;
        generate(&visit, &holder, body).await.map_err(named)
    };
    let answer = answer.await;
    finish(&shared, &request, answer).await
}

async fn generate(visit: &Visit<'_>, holder: &Holder, body: Body) -> Result<HttpResponse, Refusal> {
    match holder.granted {
        Granted::Now => {}
        // The key that is approved would have to be kept until then.
        Granted::AfterApproval => {
            let text = "the token needs an operator's approval: make the key yourself";
            return Err(Refusal::forbidden(text));
        }
        Granted::Before => return Err(Refusal::token("the token was spent")),
    }
    // The request says what is wanted; its key and signature are of no further use.
    let asked = check_csr(&visit.csr(body)?)?;
    asked.check_identity(&holder.identity)?;
    if let Some(attribute) = asked.sealing() {
        return Err(Refusal::policy(format_args!(
            "{attribute}: the key is not encrypted beyond TLS: leave the attribute out"
        )));
    }
    let failed = |_| Refusal::unavailable("no key could be made: repeat the request");
    let key = KeyMaterial::generate().map_err(failed)?;
    let csr = create_csr(&key).map_err(failed)?;
    let certificate = certified(visit, holder, &csr).await?;
    let shared = visit.shared;
    let deed = Deed::KeyUsed { purpose: "serverkeygen".to_owned() };
    if let Err(error) = shared.node.note(holder.identity.to_string(), deed).await {
        tracing::warn!(%error, "a key that was made here is not in the ledger");
    }
    let mut random = [0; 16];
    shared.node.entropy.fill(&mut random);
    let boundary = hex(&random);
    let body = parts(&boundary, key.pkcs8(), &certificate);
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(web::Bytes::from_owner(Wiped(body))))
}
