//! One POST to a target, over HTTP/1.1 on a connection of its own.
//!
//! Only status and headers of the answer are read; what else a target says is nobody's business here.
//!
//! **Invariants:** redirects are not followed; the address that is connected to is one that was looked at;
//! everything has an end in time and size. **Not here:** when to try again (`lane`).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{address::is_outside, endpoint::Endpoint};

/// Bytes of status line and headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// A target that wants to be left alone for longer is asked again after this.
pub(super) const RETRY_AFTER_MAX_S: u64 = 3600;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To resolve the name and to connect.
    pub connect: Duration,
    /// In all.
    pub whole: Duration,
}

/// What a target answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after_s: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the name does not resolve: {0}")]
    Resolve(io::Error),
    #[error("{0} is a private address: set allow_private = true if that is meant")]
    Private(SocketAddr),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("the answer is no HTTP")]
    Garbage,
    #[error("the connection ended without an answer: {0}")]
    Ended(io::Error),
    #[error("no answer within {0} s")]
    Late(u64),
}

/// Where and how.
pub(super) struct Way<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) allow_private: bool,
    /// Not needed where the endpoint has none.
    pub(super) tls: Option<&'a Arc<ClientConfig>>,
    pub(super) patience: Patience,
}

impl Way<'_> {
    /// Status of the answer to a POST with these headers, which end with CR LF each.
    pub(super) async fn post(&self, headers: &str, body: &[u8]) -> Result<Answer, PostError> {
        let late = || PostError::Late(self.patience.whole.as_secs());
        let posted = timeout(self.patience.whole, self.posted(headers, body)).await;
        posted.map_err(|_| late())?
    }

    async fn posted(&self, headers: &str, body: &[u8]) -> Result<Answer, PostError> {
        let stream = self.connect().await?;
        let Endpoint { is_tls, host, authority, path, .. } = self.endpoint;
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n{headers}\r\n"
        );
        let request = [head.as_bytes(), body].concat();
        let Some(tls) = self.tls.filter(|_| *is_tls) else {
            return match is_tls {
                true => Err(PostError::Tls(io::ErrorKind::Unsupported.into())),
                false => exchange(stream, &request).await,
            };
        };
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|error| PostError::Tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(name, stream).await.map_err(PostError::Tls)?;
        exchange(stream, &request).await
    }

    /// Resolves and connects, to nothing but addresses that may be.
    async fn connect(&self) -> Result<TcpStream, PostError> {
        let resolved = lookup_host((self.endpoint.host.as_str(), self.endpoint.port));
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let resolved = timeout(self.patience.connect, resolved).await;
        let resolved = resolved.map_err(|_| PostError::Resolve(late()))?;
        let (mut refused, mut failed) = (None, None);
        for address in resolved.map_err(PostError::Resolve)?.take(ADDRESSES_MAX) {
            if !self.allow_private && !is_outside(address.ip()) {
                refused = Some(address);
                continue;
            }
            match timeout(self.patience.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // One write, and then only reading.
                    stream.set_nodelay(true).map_err(PostError::Connect)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(late()),
            }
        }
        Err(match (failed, refused) {
            (Some(error), _) => PostError::Connect(error),
            (None, Some(address)) => PostError::Private(address),
            (None, None) => PostError::Resolve(io::ErrorKind::NotFound.into()),
        })
    }
}

async fn exchange<S>(mut stream: S, request: &[u8]) -> Result<Answer, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Whoever answers early and closes may have said why.
    let written = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    let written = written.await;
    let mut head = Vec::new();
    loop {
        let end = head.windows(4).position(|window| window == b"\r\n\r\n");
        match end.map(|end| parse(&head[..end]).map(|answer| (end, answer))) {
            Some(None) => return Err(PostError::Garbage),
            // An interim answer (RFC 9110 §15.2): the answer is still to come.
            Some(Some((end, answer))) if (100..200).contains(&answer.status) => {
                head.drain(..end + 4);
                continue;
            }
            Some(Some((_, answer))) => return Ok(answer),
            None => {}
        }
        if head.len() > HEAD_BYTES_MAX || !begins_like_http(&head) {
            return Err(PostError::Garbage);
        }
        match stream.read_buf(&mut head).await {
            Ok(0) if head.is_empty() => {
                let ended = written.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Err(PostError::Ended(ended));
            }
            Ok(0) => return Err(PostError::Garbage),
            Ok(_) => {}
            Err(error) => return Err(PostError::Ended(error)),
        }
    }
}

/// Garbage without an end is not waited for.
fn begins_like_http(head: &[u8]) -> bool {
    let begin = b"HTTP/1.";
    let length = head.len().min(begin.len());
    head[..length] == begin[..length]
}

/// Status and wish of an answer's head.
fn parse(head: &[u8]) -> Option<Answer> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let digits = rest.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let is_whole = rest.get(3..).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let status: u16 = digits.parse().ok().filter(|status| *status >= 100)?;
    let retry_after = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let retry_after_s = retry_after.and_then(|(_, wish)| wish.trim().parse().ok());
    (version.starts_with("HTTP/1.") && is_whole).then_some(Answer { status, retry_after_s })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tokio::io::duplex;

    use super::*;

    async fn answered(bytes: &[u8]) -> Result<Answer, PostError> {
        let (here, mut there) = duplex(1 << 20);
        there.write_all(bytes).await.unwrap();
        there.shutdown().await.unwrap();
        exchange(here, b"POST").await
    }

    #[tokio::test]
    async fn only_the_head_of_an_answer_counts() {
        let answer = answered(b"HTTP/1.1 503 No\r\nretry-AFTER: 7\r\n\r\nwhatever").await.unwrap();
        assert_eq!(answer, Answer { status: 503, retry_after_s: Some(7) });
        let late = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204\r\nRetry-After: soon\r\n\r\n";
        let answer = answered(late).await.unwrap();
        assert_eq!(answer, Answer { status: 204, retry_after_s: None });
        assert!(matches!(answered(b"").await, Err(PostError::Ended(_))));
        let endless = [&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'y'; 2 * HEAD_BYTES_MAX]].concat();
        for garbage in [
            &b"\x16\x03\x01\x00\x00"[..],
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 20\r\n\r\n",
            b"HTTP/1.1 2000\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 \xff\xfe\r\n\r\n",
            &endless,
        ] {
            assert!(matches!(answered(garbage).await, Err(PostError::Garbage)), "{garbage:?}");
        }
    }

    /// Takes one request over TLS with a certificate for `localhost`.
    async fn serve(listener: tokio::net::TcpListener, key: rcgen::CertifiedKey<rcgen::KeyPair>) {
        let chain = vec![key.cert.der().clone()];
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider);
        let server = server.with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(chain, private.unwrap());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server.unwrap()));
        let (stream, _) = listener.accept().await.unwrap();
        // Whoever does not believe the certificate leaves.
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let mut read = [0; 512];
        assert!(stream.read(&mut read).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    }

    /// A request to a host that has a certificate for `localhost`.
    async fn posted_to(host: &str, is_believed: bool) -> Result<Answer, PostError> {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let anchor = if is_believed { &key } else { &other }.cert.der().to_vec();
        let tls = super::super::roots::Roots::default().tls(&[anchor]).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(serve(listener, key));
        let endpoint = Endpoint::parse(&format!("https://{host}:{port}/in")).unwrap();
        let patience = Patience { connect: Duration::from_secs(5), whole: Duration::from_secs(20) };
        let way = Way { endpoint: &endpoint, allow_private: true, tls: Some(&tls), patience };
        let posted = way.post("", b"{}").await;
        serving.await.unwrap();
        posted
    }

    #[tokio::test]
    async fn a_target_must_show_a_certificate_that_is_believed_and_its_own() {
        assert_eq!(posted_to("localhost", true).await.unwrap().status, 202);
        assert!(matches!(posted_to("localhost", false).await, Err(PostError::Tls(_))));
        assert!(matches!(posted_to("127.0.0.1", true).await, Err(PostError::Tls(_))));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_it_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider);
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_root_certificates(rustls::RootCertStore::empty());
        let tls = Arc::new(tls.with_no_client_auth());
        let second = Duration::from_secs(1);
        let patience = Patience { connect: second, whole: second };
        for host in ["localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"] {
            let endpoint = Endpoint::parse(&format!("https://{host}:{port}/x")).unwrap();
            let way = Way { endpoint: &endpoint, allow_private: false, tls: Some(&tls), patience };
            let refused = way.post("", b"").await.unwrap_err();
            assert!(matches!(refused, PostError::Private(_)), "{host}: {refused}");
        }
        let waiting = timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(waiting.is_err(), "nobody connected");
    }
}
