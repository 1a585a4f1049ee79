//! QUIC to the service: connection, and one frame per stream, with explicit limits.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    ClientConfig, IdleTimeout, TransportConfig, TransportErrorCode, VarInt,
    crypto::rustls::QuicClientConfig,
};
pub use quinn::{Connection, Endpoint};
use tokio::time::timeout;

use crate::wire::{Reply, STREAM_BYTES_MAX, close};

/// Whoever has heard nothing for so long does not wait for the connection any more: three keep-alives.
const IDLE: Duration = Duration::from_secs(15);
/// A device that says nothing notices by this that its node is gone: an alert must not wait for half a
/// minute until its technician is connected to another one. It costs one small packet and its answer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An answer takes a commit; one that takes this long is asked for again.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A reply holds keys or a receipt.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Why the service was not reached.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the TLS configuration does not allow QUIC")]
    Config,
    #[error("the connection cannot begin")]
    Connect(#[source] quinn::ConnectError),
    #[error("the connection ended: {0}")]
    Connection(#[source] quinn::ConnectionError),
    #[error("the stream ended: {0}")]
    Stream(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the node is busy")]
    Busy,
    #[error("the node does not answer any more")]
    Silent,
    #[error("the answer does not decode")]
    Reply,
}

/// TLS alerts 44 and 45 (RFC 8446 §6.2) as QUIC says them (RFC 9001 §4.8).
const CERTIFICATE_REVOKED: u64 = 0x100 + 44;
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;

/// The code with which the service closed the connection.
pub fn close_code(error: &quinn::ConnectionError) -> Option<u64> {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed) => Some(closed.error_code.into_inner()),
        _ => None,
    }
}

/// Where the service said that the device's region is; nothing where it did not.
pub fn elsewhere(error: &quinn::ConnectionError) -> Vec<String> {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed)
            if closed.error_code.into_inner() == u64::from(close::ELSEWHERE) =>
        {
            let reason = String::from_utf8_lossy(&closed.reason);
            reason.split_ascii_whitespace().map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// What a device is to do, where the service ended the connection because of its certificate.
pub fn remedy(error: &quinn::ConnectionError) -> Option<&'static str> {
    match error {
        quinn::ConnectionError::ApplicationClosed(_) => close_code(error).and_then(close::remedy),
        quinn::ConnectionError::ConnectionClosed(closed) => {
            match u64::from(closed.error_code) {
                // A removed authority's certificates are among the revoked.
                CERTIFICATE_REVOKED => close::remedy(u64::from(close::REVOKED)),
                CERTIFICATE_EXPIRED => Some(
                    "the certificate has expired or is not valid yet: renew it, or set the clock",
                ),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The limits of a device's connection; both ends use them.
pub fn limits() -> TransportConfig {
    let mut limits = TransportConfig::default();
    limits
        .max_concurrent_bidi_streams(VarInt::from_u32(16))
        .max_concurrent_uni_streams(VarInt::from_u32(16))
        .stream_receive_window(VarInt::from_u32(128 * 1024))
        .receive_window(VarInt::from_u32(1024 * 1024))
        .send_window(1024 * 1024)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))));
    limits
}

/// What has gone over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams received, of whatever content.
    pub received: u64,
    /// Frames sent that the other end must acknowledge at once.
    pub asking: u64,
    pub rtt: Duration,
}

/// The traffic of a connection so far.
pub fn traffic(connection: &Connection) -> Traffic {
    let stats = connection.stats();
    let sent = stats.frame_tx;
    // Those that a device sends. Acknowledgements ask for none (RFC 9000 §13.2).
    let asking = sent.crypto
        + sent.stream
        + sent.ping
        + sent.max_data
        + sent.max_stream_data
        + sent.max_streams_bidi
        + sent.max_streams_uni
        + sent.reset_stream
        + sent.stop_sending
        + sent.new_connection_id
        + sent.retire_connection_id;
    Traffic { received: stats.udp_rx.datagrams, asking, rtt: stats.path.rtt }
}

/// Whether a node that is there takes no connection now: it has no room, or is about to end.
pub fn is_busy(error: &quinn::ConnectionError) -> bool {
    match error {
        quinn::ConnectionError::ConnectionClosed(closed) => {
            closed.error_code == TransportErrorCode::CONNECTION_REFUSED
        }
        _ => false,
    }
}

/// Connects with a certificate.
///
/// # Errors
/// See [`TransportError`].
pub async fn connect(
    endpoint: &Endpoint,
    addr: SocketAddr,
    server_name: &str,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Connection, TransportError> {
    connect_soon(endpoint, addr, server_name, tls, CONNECT_TIMEOUT).await
}

/// The same, and waits no longer than `heard_within` for the node's first word in the handshake of TLS; that it wants a
/// proof of the address first is none. Who has said something is there, and is waited for: a connection that is given up in the midst has cost both ends as much as one that is made.
pub(crate) async fn connect_soon(
    endpoint: &Endpoint,
    addr: SocketAddr,
    server_name: &str,
    tls: Arc<rustls::ClientConfig>,
    heard_within: Duration,
) -> Result<Connection, TransportError> {
    let quic = QuicClientConfig::try_from(tls).map_err(|_| TransportError::Config)?;
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(limits()));
    let mut connecting =
        endpoint.connect_with(config, addr, server_name).map_err(TransportError::Connect)?;
    let whole = async {
        timeout(heard_within, connecting.handshake_data())
            .await
            .map_err(|_| TransportError::Timeout)?
            .map_err(TransportError::Connection)?;
        connecting.await.map_err(TransportError::Connection)
    };
    timeout(CONNECT_TIMEOUT, whole).await.unwrap_or(Err(TransportError::Timeout))
}

/// Sends a frame and reads the answer.
///
/// # Errors
/// See [`TransportError`]; the frame may have arrived all the same.
pub async fn ask(connection: &Connection, frame: &[u8]) -> Result<Reply, TransportError> {
    let exchange = async {
        let (mut send, mut receive) =
            connection.open_bi().await.map_err(TransportError::Connection)?;
        send.write_all(frame).await.map_err(|error| TransportError::Stream(error.to_string()))?;
        send.finish().map_err(|error| TransportError::Stream(error.to_string()))?;
        let reply = receive
            .read_to_end(REPLY_BYTES_MAX)
            .await
            .map_err(|error| TransportError::Stream(error.to_string()))?;
        minicbor::decode(&reply).map_err(|_| TransportError::Reply)
    };
    timeout(REPLY_TIMEOUT, exchange).await.unwrap_or(Err(TransportError::Timeout))
}

/// The next frame that the service sends.
///
/// # Errors
/// The end of the connection, or of the stream.
pub async fn next_frame(connection: &Connection) -> Result<Vec<u8>, TransportError> {
    let mut stream = connection.accept_uni().await.map_err(TransportError::Connection)?;
    stream
        .read_to_end(STREAM_BYTES_MAX)
        .await
        .map_err(|error| TransportError::Stream(error.to_string()))
}

/// Ends a connection on purpose.
pub fn close(connection: &Connection) {
    connection.close(VarInt::from_u32(0), b"");
}

/// A UDP socket that can reach an address.
///
/// # Errors
/// Where no socket can be opened.
pub fn endpoint(to: SocketAddr) -> std::io::Result<Endpoint> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    Endpoint::client(any.parse().map_err(std::io::Error::other)?)
}
