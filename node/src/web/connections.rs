//! Whose connections the web serves, and how many at a time.
//!
//! Whoever sends the head of a request a byte at a time, or nothing after its first packet, holds a connection for as
//! long as it is waited for. So that nobody holds all of them, and with them what operators would stop a run of chaos by,
//! an address has at most as many as are free ([`Places`]); one more is closed as soon as it was accepted, before TLS.
//! Shares even out only as places come free again, and a connection can be kept alive for ever by a request, or a byte,
//! now and then: where more than half of the places are taken, one that has lasted long ends, and its place goes to
//! whoever has fewer. **Invariants:** a connection has a place from its first moment to its last; the head of its first
//! request and its handshake have a deadline. **Not here:** how long a body may take (`body`), who is asking (`operator`).

use std::{
    fmt,
    future::{Future, ready},
    io,
    net::TcpListener,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{HttpServiceBuilder, Request, Response, TlsAcceptorConfig};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, map_config,
};
use actix_tls::accept::{max_concurrent_tls_connect, rustls_0_23::TlsStream};
use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{AppConfig, Extensions, Server},
    rt::net::TcpStream,
};
use futures_util::future::LocalBoxFuture;

use super::PeerChain;
use crate::edge::places::Places;

/// What the connections of a worker may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    connections: usize,
    /// Until the head of a connection's first request is there.
    head: Duration,
    /// How long a connection may last where more than half of them are taken.
    age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: CONNECTIONS_MAX, head: HEAD, age: AGE }
    }
}

/// Connections per worker; an enrollment holds one for a few milliseconds.
const CONNECTIONS_MAX: usize = 4096;
/// Three round trips of a device that is 1 s away, and as long again.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The head of a connection's first request is a packet or two.
const HEAD: Duration = Duration::from_secs(5);
/// Longer than operators' lists and devices' attachments take; what was cut off is asked for again.
const AGE: Duration = Duration::from_secs(60);
/// Whoever was answered and does not close is not waited for.
const DISCONNECT: Duration = Duration::from_secs(1);

/// Serves a listener's connections, with TLS where there is a configuration for it: so many for each worker.
pub(super) fn serve<A, I, S, B>(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    workers: usize,
    limits: Limits,
    app: A,
) -> io::Result<Server>
where
    A: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    // Handshakes take their places from connections: they need no others, of which an address could take all.
    max_concurrent_tls_connect(CONNECTIONS_MAX);
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(limits.connections)
        .disable_signals()
        .shutdown_timeout(2);
    let stopping = builder.graceful_shutdown_signal();
    let builder = match tls {
        Some(tls) => builder.listen("https", listener, move || {
            let app = app().into_factory().map_err(|error| error.into().error_response());
            let stopping = stopping.clone();
            let acceptor = TlsAcceptorConfig::default().handshake_timeout(HANDSHAKE);
            let inner = protocol(limits.head, move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(remember_peer)
            .finish(map_config(app, |()| AppConfig::default()))
            .rustls_0_23_with_config(tls.clone(), acceptor);
            Shares { inner, age: limits.age, places: Places::new(limits.connections) }
        })?,
        None => builder.listen("http", listener, move || {
            let app = app().into_factory().map_err(|error| error.into().error_response());
            let stopping = stopping.clone();
            let inner = protocol(limits.head, move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .finish(map_config(app, |()| AppConfig::default()))
            .tcp();
            Shares { inner, age: limits.age, places: Places::new(limits.connections) }
        })?,
    };
    Ok(builder.run())
}

/// HTTP, with a deadline for all that is waited for; idle connections end with the server.
fn protocol<T, S, F>(head: Duration, stopping: impl Fn() -> F + 'static) -> HttpServiceBuilder<T, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
    F: Future<Output = ()> + 'static,
{
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(stopping)
        .client_request_timeout(head)
        .client_disconnect_timeout(DISCONNECT)
        .tcp_nodelay(true)
}

fn remember_peer(stream: &TlsStream<TcpStream>, extensions: &mut Extensions) {
    let (_, session) = stream.get_ref();
    if let Some(chain) = session.peer_certificates() {
        extensions.insert(PeerChain(chain.iter().map(|der| der.to_vec()).collect()));
    }
}

/// A worker's service, which begins with no connection of whoever has its share.
struct Shares<T> {
    inner: T,
    age: Duration,
    places: Arc<Places>,
}

impl<F> ServiceFactory<TcpStream> for Shares<F>
where
    F: ServiceFactory<TcpStream, Config = (), Response = ()> + 'static,
{
    type Response = ();
    type Error = F::Error;
    type Config = ();
    type Service = Shares<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (made, age, places) = (self.inner.new_service(()), self.age, Arc::clone(&self.places));
        Box::pin(async move { made.await.map(|inner| Shares { inner, age, places }) })
    }
}

impl<S> Service<TcpStream> for Shares<S>
where
    S: Service<TcpStream, Response = ()> + 'static,
{
    type Response = ();
    type Error = S::Error;
    type Future = LocalBoxFuture<'static, Result<(), S::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        let place = stream.peer_addr().ok().and_then(|peer| self.places.take(peer.ip()));
        let Some(place) = place else {
            metrics::counter!("fieldmesh_web_refused_total").increment(1);
            return Box::pin(ready(Ok(())));
        };
        let served = self.inner.call(stream);
        let (age, places) = (self.age, Arc::clone(&self.places));
        Box::pin(async move {
            let ended = tokio::select! {
                biased;
                ended = served => ended,
                () = until_it_is_in_the_way(age, &places) => Ok(()),
            };
            drop(place);
            ended
        })
    }
}

/// Ends where places are scarce and a connection has lasted so long, or twice, or thrice.
async fn until_it_is_in_the_way(age: Duration, places: &Places) {
    loop {
        tokio::time::sleep(age).await;
        if places.are_scarce() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::net::SocketAddr;

    use actix_web::{App, HttpResponse, dev::ServerHandle, web};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
        time::timeout,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";

    /// A connection from an address of this machine, on which this was said.
    async fn connect(from: [u8; 4], to: SocketAddr, said: &[u8]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream
    }

    /// All that is answered; nothing where the connection was refused.
    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A connection that is closed before its request was read may be reset.
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    /// A server with eight places, of which slow heads are waited for longer than a test lasts.
    fn server(age: Duration) -> (SocketAddr, ServerHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let app = || App::new().default_service(web::to(HttpResponse::Ok));
        let limits = Limits { connections: 8, head: LONG, age };
        let server = serve(listener, None, 1, limits, app).unwrap();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        (to, handle)
    }

    async fn is_served(from: [u8; 4], to: SocketAddr) {
        let served = async {
            while !answer(connect(from, to, REQUEST).await).await.starts_with("HTTP/1.1 200") {}
        };
        timeout(LONG, served).await.unwrap();
    }

    /// By a byte now and then a connection is kept for ever, and four addresses hold all there are.
    #[actix_web::test]
    async fn connections_that_last_make_place_where_it_is_scarce() {
        let (to, handle) = server(Duration::from_millis(200));
        let mut slow = Vec::new();
        for (last, places) in [(1, 4), (2, 2), (3, 1), (4, 1)] {
            for _ in 0..places {
                slow.push(connect([127, 0, 0, last], to, b"GET / HT").await);
            }
        }
        is_served([127, 0, 0, 5], to).await;
        drop(slow);
        handle.stop(false).await;
    }

    #[actix_web::test]
    async fn an_address_with_slow_heads_leaves_places_to_others() {
        const SLOW: [u8; 4] = [127, 0, 0, 1];
        const OTHER: [u8; 4] = [127, 0, 0, 2];
        let (to, handle) = server(LONG);
        let mut slow = Vec::new();
        for _ in 0..4 {
            slow.push(connect(SLOW, to, b"GET / HT").await);
        }
        // More than there are places: each would be waited for, and hold what others need.
        for _ in 0..8 {
            assert_eq!(answer(connect(SLOW, to, b"").await).await, "", "it has its share");
        }
        let other = answer(connect(OTHER, to, REQUEST).await).await;
        assert!(other.starts_with("HTTP/1.1 200"), "others are served: {other}");
        drop(slow);
        is_served(SLOW, to).await;
        handle.stop(false).await;
    }
}
