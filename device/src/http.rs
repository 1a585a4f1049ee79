//! HTTP/1.1 requests, one after the other on a TLS connection: all that enrollment and operators'
//! commands need.
//!
//! **Invariants:** the answer has a limit and must be complete. **Not here:** pipelining, redirects,
//! chunked bodies: the server that this talks to sends none.

use std::{io, sync::Arc};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

/// Bytes of an answer: a page of a thousand rows is far below.
const RESPONSE_BYTES_MAX: u64 = 4 << 20;

/// A request.
pub struct Request<'a> {
    /// `host:port`.
    pub server: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    /// Lines that end with CR LF.
    pub headers: &'a str,
    pub body: &'a [u8],
}

/// Status and body of the answer to a request on a connection of its own.
///
/// # Errors
/// As network and TLS say; an answer that is too large or not HTTP.
pub async fn exchange(
    request: &Request<'_>,
    tls: &Arc<rustls::ClientConfig>,
) -> io::Result<(u16, Vec<u8>)> {
    Session::connect(request.server, tls).await?.exchange(request).await
}

/// A connection that takes one request after the other.
pub struct Session {
    stream: TlsStream<TcpStream>,
}

impl Session {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// As network and TLS say.
    pub async fn connect(server: &str, tls: &Arc<rustls::ClientConfig>) -> io::Result<Self> {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = TcpStream::connect(server).await?;
        // Each side writes a flight and waits: holding one back for an acknowledgement costs 40 ms.
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Self { stream })
    }

    /// Status and body of the answer.
    ///
    /// # Errors
    /// As network and TLS say, after which the connection is of no use; an answer that is too large or
    /// not HTTP.
    pub async fn exchange(&mut self, request: &Request<'_>) -> io::Result<(u16, Vec<u8>)> {
        let Request { server, method, path, headers, body } = request;
        let length = body.len();
        // The headers may hold a token.
        let head = Zeroizing::new(format!(
            "{method} {path} HTTP/1.1\r\nHost: {server}\r\nContent-Length: {length}\r\n{headers}\r\n"
        ));
        let whole = Zeroizing::new([head.as_bytes(), body].concat());
        self.stream.write_all(&whole).await?;
        self.stream.flush().await?;
        let mut answer = Vec::new();
        let mut stream = (&mut self.stream).take(RESPONSE_BYTES_MAX);
        // What counts is in the length header: how the server ends, and when, does not matter.
        loop {
            let read = stream.read_buf(&mut answer).await;
            if let Some(complete) = parse(&answer) {
                return Ok(complete);
            }
            if read? == 0 {
                let fact = "the answer is not a complete HTTP answer";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, fact));
            }
        }
    }
}

/// Status and body of an answer that is complete.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length?.1.trim().parse().ok()?;
    let body = answer.get(end + 4..)?.get(..length)?;
    Some((status, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_complete_answers_count() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(parse(answer), Some((200, b"hi".to_vec())));
        for cut in 0..answer.len() {
            assert_eq!(parse(&answer[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\nhi"), None);
    }
}
