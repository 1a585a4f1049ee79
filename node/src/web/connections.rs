//! Whose connections the web serves, and how many at a time.
//!
//! Whoever sends the head of a request a byte at a time, or nothing after its first packet, holds a connection for as
//! long as it is waited for. So that nobody holds all of them, and with them what operators would stop a run of chaos by,
//! an address has at most as many as are free ([`Places`]); one more is closed as soon as it was accepted, before TLS.
//! **Invariants:** a connection has a place from its first moment to its last; the head of its first request and its
//! handshake have a deadline. **Not here:** how long a body may take (`body`), who is asking (`operator`).

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

/// Connections per worker; an enrollment holds one for a few milliseconds.
pub(super) const CONNECTIONS_MAX: usize = 4096;
/// Three round trips of a device that is 1 s away, and as long again.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The head of a connection's first request is a packet or two.
const HEAD: Duration = Duration::from_secs(5);
/// Whoever was answered and does not close is not waited for.
const DISCONNECT: Duration = Duration::from_secs(1);

/// Serves a listener's connections, with TLS where there is a configuration for it: so many for each worker.
pub(super) fn serve<A, I, S, B>(
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    workers: usize,
    connections: usize,
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
        .max_concurrent_connections(connections)
        .disable_signals()
        .shutdown_timeout(2);
    let stopping = builder.graceful_shutdown_signal();
    let builder = match tls {
        Some(tls) => builder.listen("https", listener, move || {
            let app = app().into_factory().map_err(|error| error.into().error_response());
            let stopping = stopping.clone();
            let acceptor = TlsAcceptorConfig::default().handshake_timeout(HANDSHAKE);
            let inner = protocol(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(remember_peer)
            .finish(map_config(app, |()| AppConfig::default()))
            .rustls_0_23_with_config(tls.clone(), acceptor);
            Shares { inner, places: Places::new(connections) }
        })?,
        None => builder.listen("http", listener, move || {
            let app = app().into_factory().map_err(|error| error.into().error_response());
            let stopping = stopping.clone();
            let inner = protocol(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .finish(map_config(app, |()| AppConfig::default()))
            .tcp();
            Shares { inner, places: Places::new(connections) }
        })?,
    };
    Ok(builder.run())
}

/// HTTP, with a deadline for all that is waited for; idle connections end with the server.
fn protocol<T, S, F>(stopping: impl Fn() -> F + 'static) -> HttpServiceBuilder<T, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
    F: Future<Output = ()> + 'static,
{
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(stopping)
        .client_request_timeout(HEAD)
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
        let (made, places) = (self.inner.new_service(()), Arc::clone(&self.places));
        Box::pin(async move { made.await.map(|inner| Shares { inner, places }) })
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
        Box::pin(async move {
            let ended = served.await;
            drop(place);
            ended
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::net::SocketAddr;

    use actix_web::{App, HttpResponse, web};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
        time::timeout,
    };

    use super::*;

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

    #[actix_web::test]
    async fn an_address_with_slow_heads_leaves_places_to_others() {
        const SLOW: [u8; 4] = [127, 0, 0, 1];
        const OTHER: [u8; 4] = [127, 0, 0, 2];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let app = || App::new().default_service(web::to(HttpResponse::Ok));
        let server = serve(listener, None, 1, 8, app).unwrap();
        let handle = server.handle();
        actix_web::rt::spawn(server);
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
        let again = async {
            while !answer(connect(SLOW, to, REQUEST).await).await.starts_with("HTTP/1.1 200") {}
        };
        timeout(Duration::from_secs(30), again).await.unwrap();
        handle.stop(false).await;
    }
}
