//! What a sealed node serves: that it is sealed, and what was published before.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, http::StatusCode, web};

use super::{public, run};
use crate::{files, sealed::Dir};

/// The listener of a sealed node.
pub struct SealedWeb {
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl SealedWeb {
    /// # Errors
    /// Where the server cannot start.
    pub fn start(listener: TcpListener, dir: PathBuf) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let dir: Dir = Arc::new(dir);
        let handle = run(address, move || {
            HttpServer::new(move || {
                App::new().app_data(web::Data::new(dir.clone())).configure(routes)
            })
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(listener)
            .map(HttpServer::run)
        })?;
        Ok(Self { address, handle })
    }

    pub async fn stop(self) {
        self.handle.stop(true).await;
    }
}

fn routes(app: &mut web::ServiceConfig) {
    app.route("/healthz", web::get().to(HttpResponse::Ok))
        .route("/readyz", web::get().to(is_sealed))
        .route("/crl/{issuer}.crl", web::get().to(list))
        .route("/ca/{issuer}.cer", web::get().to(issuer))
        .default_service(web::to(is_sealed));
}

async fn is_sealed() -> HttpResponse {
    let answer = serde_json::json!({ "ready": false, "sealed": true });
    std::future::ready(HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE).json(answer)).await
}

fn published(dir: &Path, name: &str, ending: &str, kind: &'static str) -> HttpResponse {
    let is_name = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = public::published(dir, name, ending);
    match files::read(&path) {
        Ok(bytes) if is_name => HttpResponse::Ok().content_type(kind).body(bytes),
        _ => HttpResponse::NotFound().finish(),
    }
}

async fn list(name: web::Path<String>, dir: web::Data<Dir>) -> HttpResponse {
    std::future::ready(published(&dir, &name, "crl", "application/pkix-crl")).await
}

async fn issuer(name: web::Path<String>, dir: web::Data<Dir>) -> HttpResponse {
    std::future::ready(published(&dir, &name, "cer", "application/pkix-cert")).await
}
