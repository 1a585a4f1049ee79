//! A node that has no passphrase yet: it says so, serves what needs no key, and waits for one.
//!
//! What outsiders may read without TLS goes on being served from the directory: the last revocation
//! list and the issuing CA's certificate. The passphrase comes over a socket in the node's
//! directory, which only its owner can reach. **Invariant:** a wrong passphrase changes nothing and
//! costs its sender a second.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    deployment::{Deployment, DeploymentError},
    files,
    os::{SystemClock, SystemEntropy},
    web::sealed::SealedWeb,
};

const SOCKET: &str = "unseal.sock";
/// Bytes of a passphrase at most.
const SECRET_BYTES_MAX: u64 = 4096;
/// Whoever connects has so long to say it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take: a passphrase is stretched on purpose.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// What a wrong one costs.
const PENALTY: Duration = Duration::from_secs(1);
const DONE: &[u8] = b"unsealed";

/// Why a sealed node does not wait.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    #[error("{path} cannot be listened on")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("listen.http = {address} cannot be listened on")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// Why a node was not unsealed.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    #[error("no node waits at {path}")]
    Reach {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Refused(String),
}

fn socket(config: &Config) -> PathBuf {
    config.node.data_dir.join(SOCKET)
}

/// Waits for the passphrase or PIN that opens the deployment; none where the process is to end.
///
/// # Errors
/// See [`SealedError`].
pub async fn wait(
    config: &Config,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Zeroizing<Vec<u8>>>, SealedError> {
    let path = socket(config);
    // Left behind by a process that was killed.
    if path.exists() {
        drop(files::remove(&path));
    }
    let failed = |source| SealedError::Socket { path: path.clone(), source };
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let address = config.listen.http;
    let listening = |source| SealedError::Listen { address, source };
    let public = TcpListener::bind(address).map_err(listening)?;
    let web = SealedWeb::start(public, config.node.data_dir.clone()).map_err(listening)?;
    tracing::warn!("this node is sealed: it serves nothing that needs a key");
    ready(web.address);
    let secret = loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map_err(failed)?.0,
            _ = terminate.recv() => break None,
        };
        if let Some(secret) = hear(config, stream).await {
            break Some(secret);
        }
    };
    web.stop().await;
    drop(files::remove(&path));
    Ok(secret)
}

/// One attempt: the secret if it opens the deployment.
async fn hear(config: &Config, mut stream: UnixStream) -> Option<Zeroizing<Vec<u8>>> {
    let mut secret = Zeroizing::new(Vec::new());
    let mut limited = (&mut stream).take(SECRET_BYTES_MAX);
    timeout(PATIENCE, limited.read_to_end(&mut secret)).await.ok()?.ok()?;
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let (answer, opened) = match Deployment::open(config, &secret, &clock, &entropy) {
        Ok(_) => (DONE.to_vec(), true),
        Err(error) => {
            tracing::warn!(%error, "the node stays sealed");
            sleep(PENALTY).await;
            (error.to_string().into_bytes(), false)
        }
    };
    // Whoever asked and left does not want the answer.
    drop(stream.write_all(&answer).await);
    drop(stream.shutdown().await);
    opened.then_some(secret)
}

/// Gives a waiting node its passphrase or PIN.
///
/// # Errors
/// See [`UnsealError`].
pub async fn unseal(config: &Config, secret: &[u8]) -> Result<(), UnsealError> {
    let path = socket(config);
    let reach = |source| UnsealError::Reach { path: path.clone(), source };
    let mut stream = UnixStream::connect(&path).await.map_err(reach)?;
    stream.write_all(secret).await.map_err(reach)?;
    stream.shutdown().await.map_err(reach)?;
    let mut answer = Vec::new();
    let mut limited = (&mut stream).take(SECRET_BYTES_MAX);
    let in_time = timeout(ANSWER_PATIENCE, limited.read_to_end(&mut answer)).await;
    in_time.map_err(|_| reach(io::ErrorKind::TimedOut.into()))?.map_err(reach)?;
    if answer == DONE {
        Ok(())
    } else {
        Err(UnsealError::Refused(String::from_utf8_lossy(&answer).into_owned()))
    }
}

/// Shared by the handlers of a sealed node.
pub type Dir = Arc<PathBuf>;
