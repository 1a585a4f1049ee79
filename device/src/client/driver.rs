//! The loop of a device: finds a node, greets it, serves the connection, goes on to the next.
//!
//! **Invariants:** commands are served at any time, also while a node is sought; a connection that
//! ended leaves nothing under way, so that all of it is sent again on the next one. Whoever does not read
//! the events stops what comes from the service, and nothing else. **Not here:** which address is next
//! (`addresses`), when a node is dead (`liveness`).

use std::{collections::VecDeque, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    COMMANDS_MAX, Command, Nodes,
    addresses::{Addresses, Outcome, PAUSES},
    asks::Asks,
    liveness::{Liveness, Verdict},
};
use crate::{
    outbox::ENTRIES_MAX,
    session::{Event, Received, Session, SessionParts, Step, Transmit},
    transport::{self, Connection, Endpoint, TransportError},
    wire::{Reply, ServiceKeys, close},
};

/// First and longest pause after all addresses failed.
const CONNECT_MIN_MS: u64 = 100;
const CONNECT_MAX_MS: u64 = 10_000;
/// A node that lives has said something by then, also where packets are lost; where others are known,
/// they are worth more than waiting on.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// A hello takes a commit, and perhaps the election of a leader before it, which takes two seconds.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// Hellos on one connection, to a node that is busy.
const HELLOS: u32 = 3;
/// A connection that ended sooner is no better than none.
const STEADY: Duration = Duration::from_secs(1);
/// After a connection of this length an alarm is a new one.
const CALM: Duration = Duration::from_secs(60);
/// Events that wait for their reader: with more, nothing that the service says by itself is taken, and of the
/// connection nothing is told.
const UNTOLD_MAX: usize = 256;
/// Answers to messages that wait are taken as long as a whole outbox has room: a reader that answers where it
/// reads would otherwise wait for room in the outbox that only its reading makes.
const UNTOLD_ANSWERS_MAX: usize = UNTOLD_MAX + ENTRIES_MAX;
/// The longest sleep, so that nothing waits for ever on a wrong guess.
const SLEEP_MAX: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    pub(super) session: Session,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) untold: VecDeque<Event>,
    pub(super) known: watch::Sender<Nodes>,
    pub(super) endpoint: Endpoint,
    pub(super) addresses: Addresses,
    /// False alarms of late, as far as is known.
    pub(super) alarms: u32,
    /// A connection that was given up for its silence, and what had been received on it.
    pub(super) doubted: Option<(Connection, u64)>,
    pub(super) server_name: String,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) symmetric: bool,
    pub(super) random: crate::Entropy,
    pub(super) clock: crate::Clock,
}

/// The driver stops; somebody may want what its session was made of.
struct Closed(Option<oneshot::Sender<SessionParts>>);

/// How a connection, or an attempt at one, ended.
struct End {
    reason: String,
    outcome: Outcome,
    remedy: Option<&'static str>,
}

impl Driver {
    pub(super) async fn run(mut self) {
        let Closed(wanted) = self.go_on().await;
        if let Some(wanted) = wanted {
            for event in self.untold {
                // Whoever reads no more knows what it has read.
                drop(self.events.send(event).await);
            }
            drop(wanted.send(self.session.into_parts()));
        }
    }

    /// From one node to the next, until it is closed.
    async fn go_on(&mut self) -> Closed {
        loop {
            let end = match self.open().await {
                Ok(Ok(connection)) => {
                    self.settle_doubt();
                    match self.attend(&connection).await {
                        Ok(end) => end,
                        Err(closed) => return closed,
                    }
                }
                Ok(Err(error)) => self.not_opened(&error),
                Err(closed) => return closed,
            };
            self.session.disconnected();
            self.tell(vec![Event::Disconnected { reason: end.reason }]);
            if let Some(reason) = end.remedy {
                self.tell(vec![Event::Refused { reason }]);
            }
            if let Some(round) = self.addresses.next(end.outcome)
                && let Err(closed) = self.pause(round).await
            {
                return closed;
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
        let addr = self.addresses.current();
        let call = Call {
            endpoint: self.endpoint.clone(),
            addr,
            server_name: self.server_name.clone(),
            tls: Arc::clone(&self.tls),
            hello,
            alone: !self.addresses.has_others(),
            alarms: self.alarms,
        };
        let greeting = call.greet();
        tokio::pin!(greeting);
        let greeted = loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => self.command(command)?,
                greeted = &mut greeting => break greeted,
                () = tell_next(&self.events, &mut self.untold) => {}
            }
        };
        Ok(greeted.and_then(|Greeted { connection, service, nodes }| {
            if !self.session.welcome(&service) {
                transport::close(&connection);
                return Err(TransportError::Stream("the service's keys are not believed".into()));
            }
            self.addresses.tell(&nodes, &self.random);
            self.known.send_replace(self.addresses.nodes(Some(addr)));
            Ok(connection)
        }))
    }

    fn not_opened(&mut self, error: &TransportError) -> End {
        if matches!(error, TransportError::Silent) {
            self.alarms = self.alarms.saturating_add(1);
        }
        let mut remedy = None;
        let mut is_busy = matches!(error, TransportError::Busy);
        if let TransportError::Connection(error) = error {
            self.addresses.tell(&transport::elsewhere(error), &self.random);
            remedy = transport::remedy(error);
            is_busy = transport::is_busy(error);
        }
        let outcome = match () {
            () if remedy.is_some() => Outcome::Refused,
            () if is_busy => Outcome::Busy,
            () => Outcome::Failed,
        };
        End { reason: error.to_string(), outcome, remedy }
    }

    /// Who was given up and has been heard since was given up too soon. Nodes may really die one after
    /// the other, and then the device must not be the one that takes longest.
    fn settle_doubt(&mut self) {
        if let Some((connection, received)) = self.doubted.take() {
            if transport::traffic(&connection).received > received {
                self.alarms = self.alarms.saturating_add(1);
            }
            transport::close(&connection);
        }
    }

    /// Waits between two rounds of attempts, and goes on composing meanwhile.
    async fn pause(&mut self, round: u32) -> Result<(), Closed> {
        let longest = CONNECT_MIN_MS.saturating_mul(1 << round.min(PAUSES)).min(CONNECT_MAX_MS);
        let mut jitter = [0];
        (self.random)(&mut jitter);
        let pause =
            sleep(Duration::from_millis(longest / 2 + longest * u64::from(jitter[0]) / 512));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => self.command(command)?,
                () = &mut pause => return Ok(()),
                () = tell_next(&self.events, &mut self.untold) => {}
            }
        }
    }

    /// Serves a connection to its end.
    async fn attend(&mut self, connection: &Connection) -> Result<End, Closed> {
        let began = Instant::now();
        let (frames, mut arrived) = mpsc::channel(COMMANDS_MAX);
        let reader = tokio::spawn(read_frames(connection.clone(), frames));
        let served = self.serve(connection, &mut arrived).await;
        reader.abort();
        let closed = connection.close_reason();
        let lasted = began.elapsed();
        if lasted >= CALM {
            self.alarms = 0;
        }
        if let Ok(Served::Silent) = served {
            let received = transport::traffic(connection).received;
            self.doubted = Some((connection.clone(), received));
        } else {
            transport::close(connection);
        }
        let served = served?;
        let remedy = closed.as_ref().and_then(transport::remedy);
        let code = closed.as_ref().and_then(transport::close_code);
        let is = |known: u32| code == Some(u64::from(known));
        let outcome = match () {
            () if remedy.is_some() => Outcome::Refused,
            () if is(close::REPLACED) => Outcome::Replaced,
            () if lasted < STEADY => Outcome::Failed,
            () if is(close::SHUTTING_DOWN) => Outcome::Left,
            () => Outcome::Ended,
        };
        let reason = match served {
            Served::Silent => TransportError::Silent.to_string(),
            Served::Ended(reason) => reason,
        };
        Ok(End { reason, outcome, remedy })
    }

    async fn serve(
        &mut self,
        connection: &Connection,
        arrived: &mut mpsc::Receiver<Result<Vec<u8>, String>>,
    ) -> Result<Served, Closed> {
        self.tell(vec![Event::Connected]);
        let mut asks = Asks::new(connection);
        let traffic = transport::traffic(connection);
        let mut liveness = Liveness::new(Instant::now(), traffic, self.alarms);
        if self.symmetric
            && let Some(offer) = self.session.offer_symmetric()
        {
            asks.ask(offer.message_id, offer.bytes);
        }
        loop {
            self.send_due(&mut asks);
            let now = Instant::now();
            match liveness.look(now, transport::traffic(connection), asks.are_open()) {
                Verdict::Well => {}
                Verdict::Ask => asks.probe(),
                Verdict::Dead => return Ok(Served::Silent),
            }
            let wake = (now + self.until_due()).min(liveness.next());
            let wake = wake.min(asks.due().unwrap_or(wake));
            let is_read = self.untold.len() < UNTOLD_MAX;
            let is_answered = self.untold.len() < UNTOLD_ANSWERS_MAX;
            tokio::select! {
                biased;
                command = self.inbox.recv() => {
                    if let Err(closed) = self.command(command) {
                        asks.finish().await;
                        return Err(closed);
                    }
                }
                () = tell_next(&self.events, &mut self.untold) => {}
                frame = arrived.recv(), if is_read => match frame {
                    Some(Ok(bytes)) => {
                        let received = self.session.receive(&bytes);
                        self.take(received, &mut asks);
                    }
                    Some(Err(reason)) => return Ok(Served::Ended(reason)),
                    None => return Ok(Served::Ended("the connection ended".to_owned())),
                },
                Some((id, answer)) = asks.answered(), if is_answered => {
                    let events = match answer {
                        Ok(reply) => self.session.replied(id, reply),
                        Err(_) => {
                            self.session.unanswered(id);
                            Vec::new()
                        }
                    };
                    self.tell(events);
                }
                () = sleep_until(wake) => asks.send_due(wake),
            }
        }
    }

    fn take(&mut self, received: Received, asks: &mut Asks) {
        received.acknowledge.into_iter().for_each(|id| asks.acknowledge(id));
        self.tell(received.events);
    }

    fn send_due(&mut self, asks: &mut Asks) {
        let overdue = self.session.overdue();
        self.take(overdue, asks);
        let (transmits, events) = self.session.due();
        self.tell(events);
        for Transmit { message_id, bytes } in transmits {
            let began = Instant::now();
            asks.ask(message_id, bytes);
            let sent = Event::step(Step::Sent, message_id, began);
            self.tell(vec![sent]);
        }
    }

    fn until_due(&self) -> Duration {
        let due = [self.session.next_ms(), self.session.overdue_ms()];
        let next = due.into_iter().flatten().min().unwrap_or(u64::MAX);
        Duration::from_millis(next.saturating_sub((self.clock)()).max(1)).min(SLEEP_MAX)
    }

    fn command(&mut self, command: Option<Command>) -> Result<(), Closed> {
        match command {
            None | Some(Command::Close) => Err(Closed(None)),
            Some(Command::End(wanted)) => Err(Closed(Some(wanted))),
            Some(Command::Compose { said, correlation, body, reply }) => {
                let began = Instant::now();
                let composed = self.session.compose(said, correlation, body);
                let steps = composed.as_ref().ok().map(|id| {
                    let (message_id, took_us) = (*id, 0);
                    let asked =
                        Event::Step { step: Step::Composed, message_id, at: began, took_us };
                    [asked, Event::step(Step::Signed, message_id, began)]
                });
                // Whoever asked and left does not want the answer; the message is kept.
                drop(reply.send(composed));
                self.tell(steps.into_iter().flatten().collect());
                Ok(())
            }
            Some(Command::Waiting(reply)) => {
                let _ = reply.send(self.session.waiting());
                Ok(())
            }
        }
    }

    /// Never waits: whoever reads the events may be waiting for an answer to a command. Of what becomes of
    /// messages nothing is left out.
    fn tell(&mut self, events: Vec<Event>) {
        for event in events {
            let is_passing = match event {
                Event::Step { .. }
                | Event::Connected
                | Event::Disconnected { .. }
                | Event::Refused { .. } => true,
                Event::Receipt { .. }
                | Event::Alert { .. }
                | Event::Confirmation { .. }
                | Event::Note { .. }
                | Event::Expired { .. } => false,
            };
            if !is_passing || self.untold.len() < UNTOLD_MAX {
                self.untold.push_back(event);
            }
        }
    }
}

/// Tells the next event once there is room for it; never ends where there is none.
async fn tell_next(events: &mpsc::Sender<Event>, untold: &mut VecDeque<Event>) {
    if untold.is_empty() {
        return std::future::pending().await;
    }
    match events.reserve().await {
        Ok(room) => {
            if let Some(event) = untold.pop_front() {
                room.send(event);
            }
            // All that there is room for by now.
            while let Ok(room) = events.try_reserve() {
                let Some(event) = untold.pop_front() else { return };
                room.send(event);
            }
        }
        // Nobody reads any more.
        Err(_) => untold.clear(),
    }
}

/// How a connection was found to have ended.
#[derive(PartialEq, Eq)]
enum Served {
    /// Nobody said so: nothing came for too long.
    Silent,
    Ended(String),
}

/// An attempt at a node.
struct Call {
    endpoint: Endpoint,
    addr: SocketAddr,
    server_name: String,
    tls: Arc<rustls::ClientConfig>,
    hello: Vec<u8>,
    /// No other address is known: there is nothing to hurry to.
    alone: bool,
    alarms: u32,
}

/// A node that took the device.
struct Greeted {
    connection: Connection,
    service: ServiceKeys,
    nodes: Vec<String>,
}

impl Call {
    /// Connects and says hello.
    async fn greet(self) -> Result<Greeted, TransportError> {
        let Self { endpoint, addr, server_name, tls, hello, alone, alarms } = self;
        let connection = if alone {
            transport::connect(&endpoint, addr, &server_name, tls).await?
        } else {
            transport::connect_soon(&endpoint, addr, &server_name, tls, CONNECT_PATIENCE).await?
        };
        let exchange = soon(alone, HELLO_PATIENCE, hello_to(&connection, &hello));
        let answer = watched(&connection, alarms, exchange).await;
        match answer {
            Ok(Reply::Hello { service, nodes, .. }) => Ok(Greeted { connection, service, nodes }),
            Ok(Reply::Busy { .. }) => {
                transport::close(&connection);
                Err(TransportError::Busy)
            }
            // With TLS 1.3 a client hears only now that its certificate is not believed.
            Err(error) => {
                let error = connection.close_reason().map_or(error, TransportError::Connection);
                transport::close(&connection);
                Err(error)
            }
            Ok(reply) => {
                transport::close(&connection);
                Err(TransportError::Stream(format!("the service is not ready: {reply:?}")))
            }
        }
    }
}

/// Says hello. A node that is busy for a moment is asked again: to shake hands was the dearer part.
async fn hello_to(connection: &Connection, hello: &[u8]) -> Result<Reply, TransportError> {
    for _ in 1..HELLOS {
        match transport::ask(connection, hello).await? {
            Reply::Busy { retry_after_ms } => {
                sleep(Duration::from_millis(retry_after_ms.into()).min(SLEEP_MAX)).await;
            }
            reply => return Ok(reply),
        }
    }
    transport::ask(connection, hello).await
}

/// Gives something up early, unless there is nothing else to try.
async fn soon<T>(
    alone: bool,
    patience: Duration,
    attempt: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    if alone {
        return attempt.await;
    }
    timeout(patience, attempt).await.unwrap_or(Err(TransportError::Timeout))
}

/// Waits for something from a node only while the node is there.
async fn watched<T>(
    connection: &Connection,
    alarms: u32,
    exchange: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let mut probes = Asks::new(connection);
    let mut liveness = Liveness::new(Instant::now(), transport::traffic(connection), alarms);
    tokio::pin!(exchange);
    loop {
        match liveness.look(Instant::now(), transport::traffic(connection), true) {
            Verdict::Well => {}
            Verdict::Ask => probes.probe(),
            Verdict::Dead => return Err(TransportError::Silent),
        }
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            () = sleep_until(liveness.next()) => {}
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
