//! quinn's socket on the simulated network.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use fieldmesh_node::edge;
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;
use turmoil::net::UdpSocket;

/// Datagrams that may wait for the endpoint; more are lost, as in a kernel.
const BACKLOG: usize = 1024;
const DATAGRAM_BYTES_MAX: usize = 2048;

/// A simulated socket; a task of its own receives.
pub struct SimulatedSocket {
    socket: Arc<UdpSocket>,
    arrived: Arrived,
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedSocket")
    }
}

impl SimulatedSocket {
    pub async fn bind(port: u16) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(("0.0.0.0", port)).await?);
        let (tell, arrived) = mpsc::channel(BACKLOG);
        let receiving = Arc::clone(&socket);
        tokio::spawn(async move {
            let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
            while let Ok((length, from)) = receiving.recv_from(&mut bytes).await {
                // A full queue loses the datagram.
                drop(tell.try_send((bytes[..length].to_vec(), from)));
            }
        });
        Ok(Self { socket, arrived: Mutex::new(arrived) })
    }
}

/// Datagrams that have arrived, with their senders.
pub(crate) type Arrived = Mutex<mpsc::Receiver<(Vec<u8>, SocketAddr)>>;

/// Gives quinn one of them.
pub(crate) fn poll_arrived(
    arrived: &Arrived,
    cx: &mut Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
    meta: &mut [RecvMeta],
) -> Poll<io::Result<usize>> {
    match arrived.lock().unwrap().poll_recv(cx) {
        Poll::Ready(Some((bytes, addr))) => {
            let len = bytes.len();
            bufs[0][..len].copy_from_slice(&bytes);
            meta[0] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            Poll::Ready(Ok(1))
        }
        Poll::Ready(None) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        Poll::Pending => Poll::Pending,
    }
}

#[derive(Debug)]
pub(crate) struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // An unreachable peer loses the datagram, as on a real network.
        drop(self.socket.try_send_to(transmit.contents, transmit.destination));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        poll_arrived(&self.arrived, cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// An endpoint on the simulated network, whose chance follows from the seed.
pub async fn endpoint(port: u16, server: Option<ServerConfig>, seed: [u8; 32]) -> Endpoint {
    configured(port, server, EndpointConfig::default(), seed).await
}

/// One that is started again and again on the same machine, with another seed each time: whoever goes on
/// with a connection of before is told at once that it is gone (RFC 9000 §10.3), as by a real node.
pub async fn lasting(
    port: u16,
    server: ServerConfig,
    machine: [u8; 32],
    seed: [u8; 32],
) -> Endpoint {
    configured(port, Some(server), edge::endpoint_config(&machine), seed).await
}

async fn configured(
    port: u16,
    server: Option<ServerConfig>,
    mut config: EndpointConfig,
    seed: [u8; 32],
) -> Endpoint {
    let socket = SimulatedSocket::bind(port).await.unwrap();
    config.rng_seed(Some(seed));
    // One turn of the runtime, so that the receiving task runs before the first datagram.
    poll_fn(|_| Poll::Ready(())).await;
    Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), Arc::new(TokioRuntime))
        .unwrap()
}
