//! The HTTPS edge on actix-web: enrollment, REST v1, live streams, health, metrics.
//!
//! It runs on threads of its own and reaches the node through [`Node`]. Operators prove themselves
//! with an operator certificate; enrolling devices with a one-time token; everybody else gets
//! health, metrics (no identities), the interface's description and the CA certificates.
//!
//! **Invariants:** bodies are limited, in bytes and in time, before they are read; no address has all connections; every
//! error is an RFC 9457 problem. **Not here:** rules of any kind.

pub mod areas;
pub mod attachments;
pub mod backup;
mod body;
pub mod ca;
pub mod chaos;
pub mod cluster;
mod connections;
mod delivery;
pub mod description;
pub mod documents;
pub mod est;
pub mod health;
pub mod intake;
pub mod integrations;
pub mod notices;
pub mod operator;
pub mod orders;
pub mod people;
pub mod plan;
pub mod policies;
pub mod probes;
pub mod problem;
pub mod promotion;
pub mod public;
pub mod rest;
pub mod rules;
pub mod sealed;
pub mod shifts;
pub mod slots;
pub mod standing;
pub mod submit;
pub mod watch;
pub mod whatif;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
};

use actix_web::{
    App,
    dev::{Server, ServerHandle},
    middleware::from_fn,
    web,
};
use metrics_exporter_prometheus::PrometheusHandle;

use self::connections::{Limits, serve};
use crate::{
    again::Waypoints, backup::Holder, bucket::Rates, chaos::Chaos, issuer::Issuer,
    ledger::HeadSigner, node::Node, rotation::Rotation, status::StatusBoard,
};

/// Largest body of a request: an enrollment is below 8 KiB, a bulk import sends pages.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What every handler may use.
#[derive(Clone)]
pub struct Shared {
    pub node: Arc<Node>,
    /// What is broken here on purpose.
    pub chaos: Arc<Chaos>,
    pub issuer: Arc<Issuer>,
    pub metrics: PrometheusHandle,
    /// Where devices connect, for those who ask.
    pub devices: SocketAddr,
    pub head_signer: Arc<HeadSigner>,
    pub status: Arc<StatusBoard>,
    pub rotation: Arc<Rotation>,
    /// What is held for a backup.
    pub holder: Arc<Holder>,
    pub throttle: Arc<est::Throttle>,
    /// How often integrations reported lately.
    pub senders: Arc<Rates>,
    /// How many pieces of attachments people brought lately.
    pub uploads: Arc<Rates>,
    /// How often devices looked at attachments lately.
    pub fetches: Arc<Rates>,
    pub keys_under_way: est::KeysUnderWay,
    pub planner: Arc<plan::Planner>,
    /// Of the desk, for choices that are decided again.
    pub waypoints: Arc<Waypoints>,
    /// Break base64 bodies into lines: some old clients read no others.
    pub wrap_base64: bool,
    /// Make keys for holders who ask for it.
    pub server_keygen: bool,
}

/// The client's certificate chain, leaf first, as TLS verified it.
#[derive(Clone)]
pub struct PeerChain(pub Vec<Vec<u8>>);

/// A running HTTPS server.
pub struct Web {
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Web {
    /// Serves all on an open listener, on threads of its own.
    ///
    /// # Errors
    /// Where the server cannot start.
    pub fn start(
        listener: TcpListener,
        tls: rustls::ServerConfig,
        workers: usize,
        shared: Shared,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let handle = run(address, move || {
            serve(listener, Some(tls), workers, Limits::default(), move || {
                App::new().wrap(from_fn(body::in_time)).configure(|app| routes(app, &shared))
            })
        })?;
        Ok(Self { address, handle })
    }

    /// Serves what is public and signed, without TLS.
    ///
    /// # Errors
    /// Where the server cannot start.
    pub fn start_public(listener: TcpListener, shared: Shared) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let handle = run(address, move || {
            serve(listener, None, 1, Limits::default(), move || {
                App::new().wrap(from_fn(body::in_time)).configure(|app| public::only(app, &shared))
            })
        })?;
        Ok(Self { address, handle })
    }

    /// Ends the server after the requests under way.
    pub async fn stop(self) {
        self.handle.stop(true).await;
    }
}

/// Runs a server on a thread of its own; its handle once it listens.
fn run(
    address: SocketAddr,
    start: impl FnOnce() -> io::Result<Server> + Send + 'static,
) -> io::Result<ServerHandle> {
    let (tell, told) = mpsc::sync_channel(1);
    spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            match start() {
                Ok(server) => {
                    // Whoever started the server waits for this.
                    drop(tell.send(Ok(server.handle())));
                    if let Err(error) = server.await {
                        tracing::error!(%address, %error, "a web server ended");
                    }
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
    })?;
    told.recv().map_err(|_| io::Error::other("the web server ended while starting"))?
}

#[expect(clippy::disallowed_methods, reason = "actix owns its threads; this is their first")]
fn spawn(serve: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("https".into()).spawn(serve).map(|_| ())
}

fn routes(app: &mut web::ServiceConfig, shared: &Shared) {
    app.app_data(web::Data::new(shared.clone()))
        .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
        .app_data(
            web::JsonConfig::default().limit(BODY_BYTES_MAX).error_handler(problem::from_json),
        )
        .app_data(web::QueryConfig::default().error_handler(problem::from_query))
        .configure(served)
        .default_service(web::to(problem::not_found));
}

/// All that is served over TLS, each described in `description`.
fn served(app: &mut web::ServiceConfig) {
    app.configure(probes::routes)
        .configure(public::routes)
        .configure(intake::events)
        .service(web::scope("/.well-known/est").configure(est::routes))
        .service(web::scope("/v1").configure(rest::routes));
}
