//! A socket that sends and does not hear: by who forges its address, or finishes nothing that it begins.
//!
//! **Not here:** links that lose, delay and cut ([`crate::link`]).

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use fieldmesh_node::edge;
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

/// A long header of the type Retry (RFC 9000 §17.2.5).
const RETRY: u8 = 0xf0;

/// What is heard all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    Nothing,
    /// That the address is to be proven.
    Retry,
}

#[derive(Debug)]
struct Deaf {
    socket: Arc<dyn AsyncUdpSocket>,
    hears: Hears,
    came: Arc<AtomicUsize>,
}

/// An endpoint at an address, and how many datagrams came to it so far.
pub fn endpoint(address: SocketAddr, hears: Hears) -> (Endpoint, Arc<AtomicUsize>) {
    let came = Arc::new(AtomicUsize::new(0));
    let socket = Deaf { socket: edge::socket(address).unwrap(), hears, came: Arc::clone(&came) };
    let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    let endpoint = Endpoint::new_with_abstract_socket(config, None, Arc::new(socket), runtime);
    (endpoint.unwrap(), came)
}

impl AsyncUdpSocket for Deaf {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let came = ready!(self.socket.poll_recv(cx, bufs, meta))?;
            for (bytes, of) in bufs.iter().zip(&mut meta[..came]) {
                // The kernel may hand over several at once.
                self.came.fetch_add(of.len.div_ceil(of.stride.max(1)), Ordering::SeqCst);
                if self.hears == Hears::Nothing || bytes[0] & RETRY != RETRY {
                    of.len = 0;
                }
            }
            if meta[..came].iter().any(|of| of.len > 0) {
                return Poll::Ready(Ok(came));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
