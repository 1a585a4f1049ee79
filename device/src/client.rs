//! A running device: a session, driven over QUIC to whichever node of the service takes it.
//!
//! `driver` connects, reconnects, sends and receives; `addresses` knows where to try next, `liveness`
//! when a node is gone, `asks` what is under way.
//!
//! **Invariants:** what was composed is durable before anything is tried; where a node dies and another
//! lives, a device notices nothing but time. **Not here:** what a message is (`session`).

mod addresses;
mod asks;
mod driver;
mod liveness;

pub use addresses::{Nodes, Others};

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use fieldmesh_domain::message::{CustomerActBody, RequestBody, ResponseBody};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    session::{ComposeError, Event, Said, Session, SessionParts},
    transport::Endpoint,
};
use addresses::Addresses;
use driver::Driver;

/// Events that may wait for their reader; the device waits for the reader, not the other way.
const EVENTS_MAX: usize = 256;
/// Commands that may wait.
const COMMANDS_MAX: usize = 64;
/// What a client needs.
pub struct ClientConfig {
    pub session: SessionParts,
    pub endpoint: Endpoint,
    /// The first address to try.
    pub addr: SocketAddr,
    pub server_name: String,
    pub tls: Arc<rustls::ClientConfig>,
    /// Offer session keys on each connection, for devices that talk much.
    pub symmetric: bool,
}

/// Why a client did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Compose(#[from] ComposeError),
    #[error("the message does not encode")]
    Encode,
    #[error("the client has ended")]
    Ended,
}

enum Command {
    Compose {
        said: Said,
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
        reply: oneshot::Sender<Result<[u8; 16], ComposeError>>,
    },
    Waiting(oneshot::Sender<usize>),
    Close,
    End(oneshot::Sender<SessionParts>),
}

/// A running device.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    nodes: watch::Receiver<Nodes>,
}

impl Client {
    async fn compose(
        &self,
        said: Said,
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
    ) -> Result<[u8; 16], ClientError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Compose { said, correlation, body, reply };
        self.commands.send(command).await.map_err(|_| ClientError::Ended)?;
        Ok(answer.await.map_err(|_| ClientError::Ended)??)
    }

    /// Makes a service request; it is signed and durable on return, and sent when possible.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn request(&self, body: &RequestBody) -> Result<[u8; 16], ClientError> {
        let body = minicbor::to_vec(body).map_err(|_| ClientError::Encode)?;
        self.compose(Said::Request, None, body).await
    }

    /// Does something with one of the customer's tickets: cancels it, confirms the work, writes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn act(&self, body: &CustomerActBody) -> Result<[u8; 16], ClientError> {
        let body = minicbor::to_vec(body).map_err(|_| ClientError::Encode)?;
        self.compose(Said::Act, None, body).await
    }

    /// Answers an alert, or reports progress.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn respond(
        &self,
        alert: Option<[u8; 16]>,
        body: &ResponseBody,
    ) -> Result<[u8; 16], ClientError> {
        let body = minicbor::to_vec(body).map_err(|_| ClientError::Encode)?;
        self.compose(Said::Response, alert, body).await
    }

    /// Messages without a receipt.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn waiting(&self) -> Result<usize, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Waiting(reply)).await.map_err(|_| ClientError::Ended)?;
        answer.await.map_err(|_| ClientError::Ended)
    }

    /// The nodes that are known now; more may be with each [`Event::Connected`].
    pub fn nodes(&self) -> Nodes {
        self.nodes.borrow().clone()
    }

    /// Ends the client; what waits stays in the outbox.
    pub async fn close(&self) {
        // Already ended is as good.
        drop(self.commands.send(Command::Close).await);
    }

    /// Ends the client once its events are read, and gives back what its session was made of: with another certificate
    /// it goes on where it was, and what it has received it takes no second time.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn end(&self) -> Result<SessionParts, ClientError> {
        let (reply, parts) = oneshot::channel();
        self.commands.send(Command::End(reply)).await.map_err(|_| ClientError::Ended)?;
        parts.await.map_err(|_| ClientError::Ended)
    }
}

/// What becomes of alerts and confirmations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// They are noted and told.
    Take,
    /// They stay with the service: for programs that end before anybody could read them.
    Leave,
}

/// Starts a device that knows one address, and what the service tells.
pub fn spawn(config: ClientConfig) -> (Client, mpsc::Receiver<Event>) {
    spawn_among(config, Others::default(), Mail::Take)
}

/// Starts a device that sends and takes receipts: alerts and confirmations stay with the service.
pub fn spawn_sender(config: ClientConfig) -> (Client, mpsc::Receiver<Event>) {
    spawn_among(config, Others::default(), Mail::Leave)
}

/// Starts a device that knows more than one address.
pub fn spawn_among(
    config: ClientConfig,
    others: Others,
    mail: Mail,
) -> (Client, mpsc::Receiver<Event>) {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (events, outlet) = mpsc::channel(EVENTS_MAX);
    let ClientConfig { session, endpoint, addr, server_name, tls, symmetric } = config;
    let addresses = Addresses::new(addr, others);
    let (known, nodes) = watch::channel(addresses.nodes(None));
    let random = Arc::clone(&session.entropy);
    let clock = Arc::clone(&session.clock);
    let mut session = Session::new(session);
    if mail == Mail::Leave {
        session.leave_mail();
    }
    let driver = Driver {
        session,
        inbox,
        events,
        untold: VecDeque::new(),
        known,
        endpoint,
        addresses,
        alarms: 0,
        doubted: None,
        server_name,
        tls,
        symmetric,
        random,
        clock,
    };
    tokio::spawn(driver.run());
    (Client { commands, nodes }, outlet)
}
