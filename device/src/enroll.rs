//! Enrollment over HTTPS (EST, RFC 7030): a one-time token becomes a certificate.
//!
//! The token pins the root, so nothing about the server needs to be known before.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_pki::{
    KeyMaterial, TrustStore, create_csr, estwire, is_self_signed, pkcs7,
    tls::{Credentials, PeerVerifier, PinnedRoot, client_config, fixed},
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
    /// What was shown in TLS is revoked, or expired longer ago than it may be.
    #[error(
        "the server {server} does not believe this device's certificate: enroll with a new token"
    )]
    NotBelieved {
        server: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the server {server} did not answer in time")]
    Timeout { server: String },
    /// An operator must approve; the same request later gets the certificate.
    #[error("the request waits for an operator's approval: repeat the same command later")]
    Pending,
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
    /// The authority's other roots, which it vouches for.
    pub other_roots: Vec<Vec<u8>>,
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
    let authority = authority(server, &tls, &|der| pin == sha256(der)).await?;
    let basic = Zeroizing::new(STANDARD.encode(format!("{user}:{}", secret.as_str())));
    let headers = Zeroizing::new(format!("Authorization: Basic {}\r\n", *basic));
    let leaf = ask(server, &tls, "simpleenroll", &headers, key).await?;
    believed(leaf, authority, clock)
}

/// Gets the next certificate, for a new key, by the one that is in force or has expired lately.
///
/// # Errors
/// See [`EnrollError`]; a request before its time is refused with the time.
pub async fn renew(
    server: &str,
    root: &[u8],
    credentials: &Credentials,
    key: &KeyMaterial,
    clock: &Clock,
) -> Result<Enrolled, EnrollError> {
    let trust = TrustStore::new(vec![root.to_vec()], Vec::new())
        .map_err(|_| EnrollError::Answer("the stored root does not parse"))?;
    let (trust, now) = (Arc::new(trust), Arc::clone(clock));
    let verifier = PeerVerifier {
        trust: fixed(trust),
        now: Arc::new(move || now() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let tls = client_config(Arc::new(verifier), Some(credentials), b"http/1.1");
    let tls = Arc::new(tls.map_err(|_| EnrollError::Key)?);
    let authority = authority(server, &tls, &|der| der == root).await?;
    let leaf = ask(server, &tls, "simplereenroll", "", key).await?;
    believed(leaf, authority, clock)
}

/// The authority's certificates.
struct Authority {
    /// The root that is known already.
    root: Vec<u8>,
    other_roots: Vec<Vec<u8>>,
    issuing: Vec<u8>,
}

async fn authority(
    server: &str,
    tls: &Arc<rustls::ClientConfig>,
    is_root: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<Authority, EnrollError> {
    let cas = certificates(&call(server, tls, "GET", "cacerts", "", "").await?)?;
    let (mut roots, issuing): (Vec<_>, Vec<_>) =
        cas.into_iter().partition(|der| is_self_signed(der));
    let at = roots.iter().position(|der| is_root(der));
    let root = roots.remove(at.ok_or(EnrollError::Answer("the root is missing"))?);
    let issuing = issuing.into_iter().next();
    let issuing = issuing.ok_or(EnrollError::Answer("the issuing CA is missing"))?;
    Ok(Authority { root, other_roots: roots, issuing })
}

async fn ask(
    server: &str,
    tls: &Arc<rustls::ClientConfig>,
    operation: &str,
    headers: &str,
    key: &KeyMaterial,
) -> Result<Vec<u8>, EnrollError> {
    let csr = estwire::encode(&create_csr(key).map_err(|_| EnrollError::Key)?);
    let headers = Zeroizing::new(format!(
        "{headers}Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\n"
    ));
    let answer = call(server, tls, "POST", operation, &headers, &csr).await?;
    let leaf = certificates(&answer)?.into_iter().next();
    leaf.ok_or(EnrollError::Answer("the certificate is missing"))
}

fn believed(leaf: Vec<u8>, authority: Authority, clock: &Clock) -> Result<Enrolled, EnrollError> {
    let Authority { root, other_roots, issuing } = authority;
    TrustStore::new(vec![root.clone()], vec![issuing.clone()])
        .and_then(|trust| {
            trust.verify(&leaf, &[], fieldmesh_pki::Usage::ClientAuth, clock() / 1000)
        })
        .map_err(|_| EnrollError::Answer("the certificate does not verify"))?;
    Ok(Enrolled { chain: vec![leaf, issuing], root, other_roots })
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
        // An alert is the server's word on what it was shown (RFC 8446 §6.2).
        _ if is_alert(&source) => EnrollError::NotBelieved { server, source },
        // What TLS says of a certificate that it does not believe.
        ErrorKind::InvalidData => EnrollError::Stranger { server, source },
        _ => EnrollError::Reach { server, source },
    })?;
    match status {
        200 => Ok(body),
        202 => Err(EnrollError::Pending),
        status => Err(EnrollError::Refused { status, text: detail(&body) }),
    }
}

fn is_alert(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::AlertReceived(_)))
}

/// The sentence for people in a problem document (RFC 9457), or the start of the text that came.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
        Some(detail) => detail.to_owned(),
        None => {
            let start = &body[..body.len().min(DETAIL_BYTES_MAX)];
            String::from_utf8_lossy(start).trim_end().to_owned()
        }
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
