//! Drives a session over QUIC: connects, reconnects, sends what is due, acknowledges what came.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fieldmesh_domain::message::{RequestBody, ResponseBody};
use minicbor::bytes::ByteArray;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    session::{ComposeError, Event, Session, SessionParts, Step, Transmit, framed},
    transport::{self, Connection, Endpoint, TransportError},
    wire::{self, Ack, Reply, ServiceKeys},
};

/// Events that may wait for their reader; the device waits for the reader, not the other way.
const EVENTS_MAX: usize = 256;
/// Commands that may wait.
const COMMANDS_MAX: usize = 64;
/// First and longest pause between two attempts to connect.
const CONNECT_MIN_MS: u64 = 100;
const CONNECT_MAX_MS: u64 = 10_000;
/// After so many failures the pause is the longest.
const PAUSES: u32 = 7;
/// Acknowledgements go together: far sooner than the service sends again, and at half of what it
/// sends without one.
const ACK_AFTER: Duration = Duration::from_millis(100);
const ACK_IDS: usize = 32;
/// A client that ends waits this long for its last acknowledgement.
const FAREWELL: Duration = Duration::from_millis(500);
/// The longest sleep, so that nothing waits for ever on a wrong guess.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What a client needs.
pub struct ClientConfig {
    pub session: SessionParts,
    pub endpoint: Endpoint,
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
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
        reply: oneshot::Sender<Result<[u8; 16], ComposeError>>,
    },
    Waiting(oneshot::Sender<usize>),
    Close,
}

/// A running device.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
}

impl Client {
    async fn compose(
        &self,
        correlation: Option<[u8; 16]>,
        body: Vec<u8>,
    ) -> Result<[u8; 16], ClientError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Compose { correlation, body, reply };
        self.commands.send(command).await.map_err(|_| ClientError::Ended)?;
        Ok(answer.await.map_err(|_| ClientError::Ended)??)
    }

    /// Makes a service request; it is signed and durable on return, and sent when possible.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn request(&self, body: &RequestBody) -> Result<[u8; 16], ClientError> {
        self.compose(None, minicbor::to_vec(body).map_err(|_| ClientError::Encode)?).await
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
        self.compose(alert, minicbor::to_vec(body).map_err(|_| ClientError::Encode)?).await
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

    /// Ends the client; what waits stays in the outbox.
    pub async fn close(&self) {
        // Already ended is as good.
        drop(self.commands.send(Command::Close).await);
    }
}

/// Starts a device.
pub fn spawn(config: ClientConfig) -> (Client, mpsc::Receiver<Event>) {
    start(config, |_| {})
}

/// Starts a device that sends and takes receipts: alerts and confirmations stay with the service.
/// For programs that end before anybody could read them.
pub fn spawn_sender(config: ClientConfig) -> (Client, mpsc::Receiver<Event>) {
    start(config, Session::leave_mail)
}

fn start(config: ClientConfig, adjust: fn(&mut Session)) -> (Client, mpsc::Receiver<Event>) {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (events, outlet) = mpsc::channel(EVENTS_MAX);
    let ClientConfig { session, endpoint, addr, server_name, tls, symmetric } = config;
    let random = Arc::clone(&session.entropy);
    let clock = Arc::clone(&session.clock);
    let mut session = Session::new(session);
    adjust(&mut session);
    let driver = Driver {
        session,
        inbox,
        events,
        endpoint,
        addr,
        server_name,
        tls,
        symmetric,
        random,
        clock,
    };
    tokio::spawn(driver.run());
    (Client { commands }, outlet)
}

struct Driver {
    session: Session,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    endpoint: Endpoint,
    addr: SocketAddr,
    server_name: String,
    tls: Arc<rustls::ClientConfig>,
    symmetric: bool,
    random: crate::Entropy,
    clock: crate::Clock,
}

/// Why the driver stops.
struct Closed;

impl Driver {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let (reason, remedy) = match self.open().await {
                Ok(Ok(connection)) => {
                    failures = 0;
                    let ended = self.serve(&connection).await;
                    let remedy = connection.close_reason().as_ref().and_then(transport::remedy);
                    transport::close(&connection);
                    match ended {
                        Ok(reason) => (reason, remedy),
                        Err(Closed) => return,
                    }
                }
                Ok(Err(TransportError::Connection(error))) => {
                    let remedy = transport::remedy(&error);
                    (TransportError::Connection(error).to_string(), remedy)
                }
                Ok(Err(error)) => (error.to_string(), None),
                Err(Closed) => return,
            };
            self.session.disconnected();
            self.tell(vec![Event::Disconnected { reason }]).await;
            failures = failures.saturating_add(1);
            if let Some(reason) = remedy {
                self.tell(vec![Event::Refused { reason }]).await;
                // Somebody may re-admit it: it goes on asking, seldom.
                failures = failures.max(PAUSES);
            }
            if self.pause(failures).await.is_err() {
                return;
            }
        }
    }

    /// Connects and greets. Commands are served meanwhile: an attempt may take its whole timeout,
    /// and a message composed then must be on the disk at once.
    async fn open(&mut self) -> Result<Result<Connection, TransportError>, Closed> {
        // The service's identifier is not known before its first word; the hello needs none.
        let hello = match self.session.hello([0; 16]) {
            Ok(hello) => hello,
            Err(error) => return Ok(Err(TransportError::Stream(error.to_string()))),
        };
        let greeting = greet(
            self.endpoint.clone(),
            self.addr,
            self.server_name.clone(),
            Arc::clone(&self.tls),
            hello,
        );
        tokio::pin!(greeting);
        let greeted = loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => self.command(command).await?,
                greeted = &mut greeting => break greeted,
            }
        };
        Ok(greeted.and_then(|(connection, service)| {
            if self.session.welcome(&service) {
                Ok(connection)
            } else {
                transport::close(&connection);
                Err(TransportError::Stream("the service's keys are not believed".into()))
            }
        }))
    }

    /// Waits between two attempts, and goes on composing meanwhile.
    async fn pause(&mut self, failures: u32) -> Result<(), Closed> {
        let longest = CONNECT_MIN_MS.saturating_mul(1 << failures.min(PAUSES)).min(CONNECT_MAX_MS);
        let mut jitter = [0];
        (self.random)(&mut jitter);
        let pause = tokio::time::sleep(Duration::from_millis(
            longest / 2 + longest * u64::from(jitter[0]) / 512,
        ));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => self.command(command).await?,
                () = &mut pause => return Ok(()),
            }
        }
    }

    async fn serve(&mut self, connection: &Connection) -> Result<String, Closed> {
        self.tell(vec![Event::Connected]).await;
        let mut asks = JoinSet::new();
        let mut acks = Acks::default();
        if self.symmetric
            && let Some(offer) = self.session.offer_symmetric()
        {
            ask(&mut asks, connection, offer.message_id, offer.bytes);
        }
        let (frames, mut arrived) = mpsc::channel(COMMANDS_MAX);
        let reader = tokio::spawn(read_frames(connection.clone(), frames));
        let reason = loop {
            let (transmits, events) = self.session.due();
            self.tell(events).await;
            for Transmit { message_id, bytes } in transmits {
                let began = Instant::now();
                ask(&mut asks, connection, message_id, bytes);
                let sent = Event::step(Step::Sent, message_id, began);
                self.tell(vec![sent]).await;
            }
            let now = Instant::now();
            let wake = (now + self.until_due()).min(acks.due.unwrap_or(now + SLEEP_MAX));
            tokio::select! {
                biased;
                command = self.inbox.recv() => {
                    if let Err(closed) = self.command(command).await {
                        reader.abort();
                        acks.send(&mut asks, connection);
                        // What was received need not come again, if the service hears of it.
                        drop(timeout(FAREWELL, asks.join_all()).await);
                        return Err(closed);
                    }
                }
                frame = arrived.recv() => match frame {
                    Some(Ok(bytes)) => {
                        let received = self.session.receive(&bytes);
                        acks.extend(received.acknowledge);
                        if acks.ids.len() >= ACK_IDS {
                            acks.send(&mut asks, connection);
                        }
                        self.tell(received.events).await;
                    }
                    Some(Err(reason)) => break reason,
                    None => break "the connection ended".to_owned(),
                },
                Some(Ok((id, answer))) = asks.join_next() => {
                    let events = match answer {
                        Ok(reply) => self.session.replied(id, reply),
                        Err(_) => {
                            self.session.unanswered(id);
                            Vec::new()
                        }
                    };
                    self.tell(events).await;
                }
                () = tokio::time::sleep_until(wake) => {
                    if acks.due.is_some_and(|due| due <= wake) {
                        acks.send(&mut asks, connection);
                    }
                }
            }
        };
        reader.abort();
        Ok(reason)
    }

    fn until_due(&self) -> Duration {
        let next = self.session.next_ms().unwrap_or(u64::MAX);
        Duration::from_millis(next.saturating_sub((self.clock)()).max(1)).min(SLEEP_MAX)
    }

    async fn command(&mut self, command: Option<Command>) -> Result<(), Closed> {
        match command {
            None | Some(Command::Close) => Err(Closed),
            Some(Command::Compose { correlation, body, reply }) => {
                let began = Instant::now();
                let composed = self.session.compose(correlation, body);
                let steps = composed.as_ref().ok().map(|id| {
                    let (message_id, took_us) = (*id, 0);
                    let asked =
                        Event::Step { step: Step::Composed, message_id, at: began, took_us };
                    [asked, Event::step(Step::Signed, message_id, began)]
                });
                // Whoever asked and left does not want the answer; the message is kept.
                drop(reply.send(composed));
                self.tell(steps.into_iter().flatten().collect()).await;
                Ok(())
            }
            Some(Command::Waiting(reply)) => {
                let _ = reply.send(self.session.waiting());
                Ok(())
            }
        }
    }

    async fn tell(&self, events: Vec<Event>) {
        for event in events {
            // Nobody reads any more.
            drop(self.events.send(event).await);
        }
    }
}

/// Connects and says hello.
async fn greet(
    endpoint: Endpoint,
    addr: SocketAddr,
    server_name: String,
    tls: Arc<rustls::ClientConfig>,
    hello: Vec<u8>,
) -> Result<(Connection, ServiceKeys), TransportError> {
    let connection = transport::connect(&endpoint, addr, &server_name, tls).await?;
    match transport::ask(&connection, &hello).await {
        Ok(Reply::Hello { service, .. }) => Ok((connection, service)),
        // With TLS 1.3 a client hears only now that its certificate is not believed.
        Err(error) => Err(connection.close_reason().map_or(error, TransportError::Connection)),
        Ok(reply) => {
            transport::close(&connection);
            Err(TransportError::Stream(format!("the service is not ready: {reply:?}")))
        }
    }
}

type Answered = ([u8; 16], Result<Reply, TransportError>);

fn ask(asks: &mut JoinSet<Answered>, connection: &Connection, id: [u8; 16], bytes: Vec<u8>) {
    let connection = connection.clone();
    asks.spawn(async move { (id, transport::ask(&connection, &bytes).await) });
}

/// Messages received and not yet acknowledged.
#[derive(Default)]
struct Acks {
    ids: Vec<[u8; 16]>,
    /// When the oldest of them is to be acknowledged.
    due: Option<Instant>,
}

impl Acks {
    fn extend(&mut self, received: Option<[u8; 16]>) {
        if let Some(id) = received {
            self.ids.push(id);
            self.due.get_or_insert_with(|| Instant::now() + ACK_AFTER);
        }
    }

    /// The answer says nothing: what was not taken comes again.
    fn send(&mut self, asks: &mut JoinSet<Answered>, connection: &Connection) {
        self.due = None;
        if self.ids.is_empty() {
            return;
        }
        let message_ids = std::mem::take(&mut self.ids).into_iter().map(ByteArray::from).collect();
        if let Ok(payload) = minicbor::to_vec(Ack { message_ids }) {
            ask(asks, connection, [0; 16], framed([0; 16], [0; 16], wire::ACK, &payload));
        }
    }
}

async fn read_frames(connection: Connection, frames: mpsc::Sender<Result<Vec<u8>, String>>) {
    loop {
        let frame = transport::next_frame(&connection).await;
        let ended = matches!(frame, Err(TransportError::Connection(_)));
        let frame = match frame {
            Err(TransportError::Stream(_)) => continue,
            frame => frame.map_err(|error| error.to_string()),
        };
        if frames.send(frame).await.is_err() || ended {
            return;
        }
    }
}
