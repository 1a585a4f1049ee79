//! Enrollment over HTTPS (EST, RFC 7030): a one-time token becomes a certificate.
//!
//! The token pins the root, so nothing about the server needs to be known before.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_pki::{
    KeyMaterial, TrustStore, create_csr, estwire, pkcs7,
    tls::{PinnedRoot, client_config},
    token_pin,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{
    Clock,
    http::{self, Request},
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer that is not understood, so much is shown.
const DETAIL_BYTES_MAX: usize = 256;

/// Why a device is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("the secret is not a token of Fieldmesh")]
    Token,
    #[error("the server {server} cannot be reached")]
    Reach {
        server: String,
        #[source]
        source: std::io::Error,
    },
    /// Somebody else answered, or the token is from another cluster.
    #[error("the server {server} is not of the cluster that the token is from")]
    Stranger {
        server: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the server {server} did not answer in time")]
    Timeout { server: String },
    #[error("the server refused with {status}: {text}")]
    Refused { status: u16, text: String },
    #[error("the answer is not what EST says: {0}")]
    Answer(&'static str),
    #[error("the key cannot be made or used")]
    Key,
}

/// What enrollment gives.
pub struct Enrolled {
    /// The device's certificate, then its issuer's.
    pub chain: Vec<Vec<u8>>,
    pub root: Vec<u8>,
}

/// Gets a certificate for a key; `server` is `host:port`.
///
/// # Errors
/// See [`EnrollError`].
pub async fn enroll(
    server: &str,
    user: &str,
    secret: &Zeroizing<String>,
    key: &KeyMaterial,
    clock: &Clock,
) -> Result<Enrolled, EnrollError> {
    let pin = token_pin(secret).ok_or(EnrollError::Token)?;
    let now = Arc::clone(clock);
    let verifier = PinnedRoot { pin, now: Arc::new(move || now() / 1000) };
    let tls = Arc::new(
        client_config(Arc::new(verifier), None, b"http/1.1").map_err(|_| EnrollError::Key)?,
    );
    let cas = call(server, &tls, "GET", "cacerts", "", "").await?;
    let cas = certificates(&cas)?;
    let root = cas
        .iter()
        .find(|der| pin == sha256(der))
        .ok_or(EnrollError::Answer("the root is missing"))?
        .clone();
    let issuing = cas
        .into_iter()
        .find(|der| *der != root)
        .ok_or(EnrollError::Answer("the issuing CA is missing"))?;
    let csr = estwire::encode(&create_csr(key).map_err(|_| EnrollError::Key)?);
    let basic = Zeroizing::new(STANDARD.encode(format!("{user}:{}", secret.as_str())));
    let headers = Zeroizing::new(format!(
        "Authorization: Basic {}\r\nContent-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\n",
        *basic
    ));
    let answer = call(server, &tls, "POST", "simpleenroll", &headers, &csr).await?;
    let leaf = certificates(&answer)?
        .into_iter()
        .next()
        .ok_or(EnrollError::Answer("the certificate is missing"))?;
    TrustStore::new(vec![root.clone()], vec![issuing.clone()])
        .and_then(|trust| {
            trust.verify(&leaf, &[], fieldmesh_pki::Usage::ClientAuth, clock() / 1000)
        })
        .map_err(|_| EnrollError::Answer("the certificate does not verify"))?;
    Ok(Enrolled { chain: vec![leaf, issuing], root })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

fn certificates(body: &[u8]) -> Result<Vec<Vec<u8>>, EnrollError> {
    let der = estwire::decode(body).map_err(|_| EnrollError::Answer("the body is not base64"))?;
    pkcs7::parse_certs_only(&der)
        .map_err(|_| EnrollError::Answer("the body is not a certs-only message"))
}

async fn call(
    server: &str,
    tls: &Arc<rustls::ClientConfig>,
    method: &str,
    operation: &str,
    headers: &str,
    body: &str,
) -> Result<Vec<u8>, EnrollError> {
    let path = format!("/.well-known/est/device/{operation}");
    let request = Request { server, method, path: &path, headers, body: body.as_bytes() };
    let server = server.to_owned();
    let Ok(answer) = timeout(TIMEOUT, http::exchange(&request, tls)).await else {
        return Err(EnrollError::Timeout { server });
    };
    let (status, body) = answer.map_err(|source| match source.kind() {
        // What TLS says of a certificate that it does not believe.
        ErrorKind::InvalidData => EnrollError::Stranger { server, source },
        _ => EnrollError::Reach { server, source },
    })?;
    match status {
        200 => Ok(body),
        status => Err(EnrollError::Refused { status, text: detail(&body) }),
    }
}

/// The sentence for people in a problem document (RFC 9457), or the start of whatever came.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
        Some(detail) => detail.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(DETAIL_BYTES_MAX)]).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let problem = br#"{"status":401,"title":"unauthorized","detail":"the token is not known"}"#;
        assert_eq!(detail(problem), "the token is not known");
        assert_eq!(detail(b"no gateway"), "no gateway");
        assert_eq!(detail(&[b'x'; 4096]).len(), DETAIL_BYTES_MAX);
    }
}
