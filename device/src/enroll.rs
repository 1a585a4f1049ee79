//! Enrollment over HTTPS (EST, RFC 7030): a one-time token becomes a certificate.
//!
//! The token pins the root, so nothing about the server needs to be known before.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_pki::{
    KeyMaterial, TrustStore, Usage, create_csr, estwire, is_issued_by, is_self_issued, pkcs7,
    tls::{Credentials, PeerVerifier, PinnedRoot, client_config, fixed},
    token_pin,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{
    Clock,
    http::{Request, Session},
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
        source: io::Error,
    },
    /// Somebody else answered, or the token is from another cluster.
    #[error("the server {server} is not of the cluster that the token is from")]
    Stranger {
        server: String,
        #[source]
        source: io::Error,
    },
    /// What was shown in TLS is revoked, or expired longer ago than it may be.
    #[error(
        "the server {server} does not believe this device's certificate: enroll with a new token"
    )]
    NotBelieved {
        server: String,
        #[source]
        source: io::Error,
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
    let pinned = Arc::new(PinnedRoot::new(pin, Arc::new(move || now() / 1000)));
    let tls = client_config(Arc::clone(&pinned) as _, None, b"http/1.1");
    let tls = Arc::new(tls.map_err(|_| EnrollError::Key)?);
    let mut link = Link { server, tls, session: None };
    let authority = authority(&mut link, &|der| pin == sha256(der)).await?;
    let basic = Zeroizing::new(STANDARD.encode(format!("{user}:{}", secret.as_str())));
    let headers = Zeroizing::new(format!("Authorization: Basic {}\r\n", *basic));
    let leaf = ask(&mut link, "simpleenroll", &headers, key).await?;
    let trust = pinned.store().ok_or(EnrollError::Answer("the root is missing"))?;
    believed(leaf, authority, &trust, clock)
}

/// Gets the next certificate, for a new key, by the one that is in force or has expired lately.
///
/// # Errors
/// See [`EnrollError`]; a request before its time is refused with the time.
pub async fn renew(
    server: &str,
    roots: &[Vec<u8>],
    credentials: &Credentials,
    key: &KeyMaterial,
    clock: &Clock,
) -> Result<Enrolled, EnrollError> {
    let trust = TrustStore::new(roots.to_vec(), Vec::new())
        .map_err(|_| EnrollError::Answer("the stored root does not parse"))?;
    let (trust, now) = (Arc::new(trust), Arc::clone(clock));
    let verifier = PeerVerifier {
        trust: fixed(Arc::clone(&trust)),
        now: Arc::new(move || now() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let tls = client_config(Arc::new(verifier), Some(credentials), b"http/1.1");
    let tls = Arc::new(tls.map_err(|_| EnrollError::Key)?);
    let is_root = |der: &[u8]| roots.iter().any(|root| root == der);
    let mut link = Link { server, tls, session: None };
    let authority = authority(&mut link, &is_root).await?;
    let leaf = ask(&mut link, "simplereenroll", "", key).await?;
    believed(leaf, authority, &trust, clock)
}

/// The authority's certificates.
struct Authority {
    /// The root that is known already.
    root: Vec<u8>,
    other_roots: Vec<Vec<u8>>,
    /// Of those that take over from one another, all that are believed.
    issuing: Vec<Vec<u8>>,
}

async fn authority(
    link: &mut Link<'_>,
    is_root: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<Authority, EnrollError> {
    let cas = certificates(&link.call("GET", "cacerts", "", "").await?)?;
    let (mut roots, issuing): (Vec<_>, Vec<_>) =
        cas.into_iter().partition(|der| is_self_issued(der));
    let at = roots.iter().position(|der| is_root(der));
    let root = roots.remove(at.ok_or(EnrollError::Answer("the root is missing"))?);
    if issuing.is_empty() {
        return Err(EnrollError::Answer("the issuing CA is missing"));
    }
    Ok(Authority { root, other_roots: roots, issuing })
}

async fn ask(
    link: &mut Link<'_>,
    operation: &str,
    headers: &str,
    key: &KeyMaterial,
) -> Result<Vec<u8>, EnrollError> {
    let csr = estwire::encode(&create_csr(key).map_err(|_| EnrollError::Key)?);
    let headers = Zeroizing::new(format!(
        "{headers}Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\n"
    ));
    let answer = link.call("POST", operation, &headers, &csr).await?;
    let leaf = certificates(&answer)?.into_iter().next();
    leaf.ok_or(EnrollError::Answer("the certificate is missing"))
}

fn believed(
    leaf: Vec<u8>,
    authority: Authority,
    trust: &TrustStore,
    clock: &Clock,
) -> Result<Enrolled, EnrollError> {
    let Authority { root, other_roots, issuing } = authority;
    let signed = |issuing: &Vec<u8>| {
        is_issued_by(&leaf, issuing)
            && trust.verify(&leaf, &[issuing], Usage::ClientAuth, clock() / 1000).is_ok()
    };
    // A repeated request is answered with what was issued before, by whoever issued then.
    let issuing = issuing.into_iter().find(signed);
    let issuing = issuing.ok_or(EnrollError::Answer("the certificate does not verify"))?;
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

/// The way to the server: one handshake for all requests, unless the server ends the connection.
struct Link<'a> {
    server: &'a str,
    tls: Arc<rustls::ClientConfig>,
    session: Option<Session>,
}

impl Link<'_> {
    async fn call(
        &mut self,
        method: &str,
        operation: &str,
        headers: &str,
        body: &str,
    ) -> Result<Vec<u8>, EnrollError> {
        let path = format!("/.well-known/est/device/{operation}");
        let request =
            Request { server: self.server, method, path: &path, headers, body: body.as_bytes() };
        let server = self.server.to_owned();
        let Ok(answer) = timeout(TIMEOUT, self.exchange(&request)).await else {
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

    /// A server may end a connection between two requests; each may be repeated, and is once.
    async fn exchange(&mut self, request: &Request<'_>) -> io::Result<(u16, Vec<u8>)> {
        if let Some(session) = &mut self.session
            && let Ok(answer) = session.exchange(request).await
        {
            return Ok(answer);
        }
        self.session = None;
        let mut session = Session::connect(self.server, &self.tls).await?;
        let answer = session.exchange(request).await?;
        self.session = Some(session);
        Ok(answer)
    }
}

fn is_alert(error: &io::Error) -> bool {
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
