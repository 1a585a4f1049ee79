//! What the verbs of the command do that send and receive.
//!
//! A message is composed, signed and on the disk before anything is tried on the network, name
//! resolution included. **Invariants:** one process at a time has a device's outbox open; a command
//! that ends by itself leaves alerts and confirmations with the service, for the next `listen`.
//! **Not here:** how a certificate is had (`certificate`), how the service is found (`reach`).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this file is the command's voice")]

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use fieldmesh_device::{
    Client, ClientConfig, Event, Mail, Nodes,
    outbox::FileOutbox,
    session::{Said, Session, SessionParts},
    spawn_among,
    transport::Endpoint,
    wire,
};
use fieldmesh_domain::{
    EntityId, EntityKind,
    message::{
        Act, Answer, CustomerActBody, Location, Pause, ReceiptBody, ReceiptStatus, RequestBody,
        ResponseBody,
    },
};
use fieldmesh_pki::{
    Usage,
    tls::{self, PeerVerifier, client_config},
};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

use crate::{
    ActArgs, ActVerb, AnswerVerb, Cli, Failure, ListenArgs, RequestArgs, RespondArgs, enclosures,
    profile::{Profile, entropy, now_ms},
    reach,
    shown::described,
};

/// The last datagrams of a connection leave by then.
const FAREWELL: Duration = Duration::from_secs(1);

/// The stored device, with its outbox open.
struct Stored {
    profile: Profile,
    session: SessionParts,
}

impl Stored {
    fn open(cli: &Cli) -> Result<Self, Failure> {
        let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
        let now_s = now_ms()() / 1000;
        let path = cli.dir.join("outbox");
        let outbox = FileOutbox::open(&path, &profile.outbox_key, now_s, entropy())
            .map_err(|error| Failure::caused(1, &error))?;
        let failed = |error: std::io::Error| Failure::new(1, error);
        let session = SessionParts {
            me: profile.id,
            keys: profile.keys(&cli.dir, now_s).map_err(failed)?,
            trust: profile.trust().map_err(failed)?,
            outbox: Box::new(outbox),
            clock: now_ms(),
            entropy: entropy(),
        };
        Ok(Self { profile, session })
    }

    fn compose(
        self,
        said: Said,
        body: &impl minicbor::Encode<()>,
    ) -> Result<(Self, [u8; 16]), Failure> {
        let body = minicbor::to_vec(body).map_err(|error| Failure::new(1, error))?;
        let Self { profile, session } = self;
        let mut session = Session::new(session);
        let id = session.compose(said, None, body).map_err(|error| Failure::caused(1, &error))?;
        Ok((Self { profile, session: session.into_parts() }, id))
    }

    /// Connects, and goes on trying.
    async fn connect(self, cli: &Cli, mail: Mail) -> Result<Running, Failure> {
        let unreachable = |why: String| Failure::new(75, format!("no connection: {why}"));
        let known = reach::known(&cli.dir);
        let way = reach::way(&self.profile.devices, &known).await.map_err(unreachable)?;
        let clock = now_ms();
        let verifier = PeerVerifier {
            trust: tls::fixed(Arc::clone(&self.session.trust)),
            now: Arc::new(move || clock() / 1000),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        };
        let credentials = self.profile.credentials();
        let tls = client_config(Arc::new(verifier), Some(&credentials), wire::ALPN)
            .map_err(|error| Failure::new(1, error))?;
        let config = ClientConfig {
            session: self.session,
            endpoint: way.endpoint.clone(),
            addr: way.first,
            server_name: self.profile.host(),
            tls: Arc::new(tls),
            symmetric: cli.symmetric,
        };
        let (client, events) = spawn_among(config, way.others, mail);
        Ok(Running { client, events, endpoint: way.endpoint, dir: cli.dir.clone(), known })
    }
}

/// A device that is connected, or tries.
struct Running {
    client: Client,
    events: mpsc::Receiver<Event>,
    endpoint: Endpoint,
    dir: PathBuf,
    /// What is kept for the next start.
    known: Nodes,
}

impl Running {
    /// Keeps what was learned of the nodes.
    fn keep_nodes(&mut self) {
        let nodes = self.client.nodes();
        if nodes.last.is_none() || nodes == self.known {
            return;
        }
        match reach::keep(&self.dir, &nodes) {
            Ok(()) => self.known = nodes,
            // The next start takes longer where the first node is dead.
            Err(error) => eprintln!("fieldmesh-device: the nodes are not kept: {error}"),
        }
    }

    /// Waits for the receipt of a message.
    async fn receipt(&mut self, id: [u8; 16], seconds: u64) -> Result<ReceiptBody, Failure> {
        let mut why = "no answer in time".to_owned();
        let wait = async {
            while let Some(event) = self.events.recv().await {
                match event {
                    Event::Receipt { message_id, body } if message_id == id => {
                        return Some(Ok(body));
                    }
                    Event::Disconnected { reason } => why = reason,
                    Event::Refused { reason } => return Some(Err(refused(reason))),
                    Event::Connected => "connected, and no answer in time".clone_into(&mut why),
                    _ => {}
                }
            }
            None
        };
        let received = timeout(Duration::from_secs(seconds), wait).await.ok().flatten();
        received.unwrap_or_else(|| Err(unanswered(&why)))
    }

    /// Ends the connection in order, and shows what had come by then.
    async fn end(mut self, mut show: impl FnMut(&Event)) {
        self.client.close().await;
        while let Some(event) = self.events.recv().await {
            show(&event);
        }
        self.keep_nodes();
        drop(timeout(FAREWELL, self.endpoint.wait_idle()).await);
    }
}

fn refused(remedy: &str) -> Failure {
    Failure::new(3, format!("the service refuses this device: {remedy}"))
}

fn unanswered(why: &str) -> Failure {
    let fact = "no receipt yet: the message is in the outbox and is sent by the next command";
    Failure::new(75, format!("{fact} ({why})"))
}

/// Composes, then sends and waits.
pub(crate) async fn deliver(
    cli: &Cli,
    said: Said,
    body: &impl minicbor::Encode<()>,
    seconds: u64,
) -> Result<Value, Failure> {
    let (stored, id) = Stored::open(cli)?.compose(said, body)?;
    let mut running = match stored.connect(cli, Mail::Leave).await {
        Err(Failure { code: 75, text }) => return Err(unanswered(&text)),
        other => other?,
    };
    let receipt = running.receipt(id, seconds).await;
    running.end(|_| {}).await;
    let receipt = receipt?;
    let ticket = receipt.ticket.map(|id| id.to_string());
    let refused = |fact: &str| {
        let reason = match receipt.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        Err(Failure::new(3, format!("{fact}{reason}")))
    };
    match receipt.status {
        ReceiptStatus::Received => Ok(json!({ "status": "received", "ticket": ticket })),
        ReceiptStatus::Invalid => refused("the service refused the message"),
        ReceiptStatus::Expired => refused("the message expired before the service had it"),
        ReceiptStatus::Replay => refused("the service knows another message with this number"),
        ReceiptStatus::NoLongerYours => refused("the offer is no longer yours"),
    }
}

pub(crate) fn demand(id: EntityId, kind: EntityKind, who: &str) -> Result<(), Failure> {
    if id.kind() == kind {
        return Ok(());
    }
    Err(Failure::new(2, format!("{id} is not a {who}'s device")))
}

pub(crate) async fn request(cli: &Cli, args: &RequestArgs) -> Result<Value, Failure> {
    let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    demand(profile.id, EntityKind::Customer, "customer")?;
    let body = RequestBody {
        category: args.category,
        subcategory: args.subcategory,
        impact: args.impact,
        urgency: args.urgency,
        location: Location { lat_e6: args.lat_e6, lon_e6: args.lon_e6 },
        text: args.text.clone(),
    };
    body.check().map_err(|error| Failure::new(2, error))?;
    deliver(cli, Said::Request, &body, args.wait).await
}

pub(crate) async fn act(cli: &Cli, args: &ActArgs) -> Result<Value, Failure> {
    let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    demand(profile.id, EntityKind::Customer, "customer")?;
    let act = match args.act.clone() {
        ActVerb::Cancel { reason } => Act::Cancel { reason },
        ActVerb::Confirm => Act::Confirm,
        ActVerb::Object { reason } => Act::Object { reason },
        ActVerb::Amend { text, at } => Act::Amend { text, location: at },
        ActVerb::Message { text } => Act::Message { text, enclosure: None },
        ActVerb::Reopen { reason } => Act::Reopen { reason },
    };
    let body = CustomerActBody { ticket: args.ticket, act };
    body.check().map_err(|error| Failure::new(2, error))?;
    deliver(cli, Said::Act, &body, args.wait).await
}

pub(crate) async fn respond(cli: &Cli, args: &RespondArgs) -> Result<Value, Failure> {
    let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    demand(profile.id, EntityKind::Technician, "technician")?;
    let answer = match args.answer.clone() {
        AnswerVerb::Accept { eta_min } => Answer::Accept { eta_min },
        AnswerVerb::Decline { reason } => Answer::Decline { reason },
        AnswerVerb::EnRoute => Answer::EnRoute,
        AnswerVerb::OnSite => Answer::OnSite,
        AnswerVerb::Complete { note } => Answer::Completed { note },
        AnswerVerb::CannotComplete { reason } => Answer::CannotComplete { reason },
        AnswerVerb::Pause { reason, minutes, text } => {
            Answer::Pause(Pause { reason, text, minutes })
        }
        AnswerVerb::Resume => Answer::Resume,
        AnswerVerb::Seen => Answer::Seen,
        AnswerVerb::Eta { minutes } => Answer::Eta { eta_min: minutes },
        AnswerVerb::Message { text } => Answer::Message { text, enclosure: None },
    };
    let body = ResponseBody { ticket: args.ticket, offer: args.offer, answer };
    body.check().map_err(|error| Failure::new(2, error))?;
    deliver(cli, Said::Response, &body, args.wait).await
}

pub(crate) async fn listen(cli: &Cli, args: &ListenArgs) -> Result<Value, Failure> {
    let mut running = Stored::open(cli)?.connect(cli, Mail::Take).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::new(1, error))?;
    let until = tokio::time::sleep(Duration::from_secs(args.seconds));
    tokio::pin!(until);
    let (mut count, mut connected, mut why) = (0, false, "no answer in time".to_owned());
    let mut show = |event: &Event| {
        match event {
            Event::Connected => {
                connected = true;
                eprintln!("fieldmesh-device: connected");
            }
            Event::Disconnected { reason } => {
                reason.clone_into(&mut why);
                eprintln!("fieldmesh-device: not connected: {reason}");
            }
            _ => {}
        }
        if let Some(value) = described(event) {
            println!("{value}");
        }
        if let Event::Note { body, .. } = event
            && let Err(error) = enclosures::keep(&cli.dir, body)
        {
            eprintln!("fieldmesh-device: what opens an attachment is not kept: {error}");
        }
        let is_mail =
            matches!(event, Event::Alert { .. } | Event::Confirmation { .. } | Event::Note { .. });
        count += u64::from(is_mail);
        count
    };
    let mut refusal = None;
    // Listening ends by number, by time or by whoever started it; all are fine.
    loop {
        tokio::select! {
            event = running.events.recv() => {
                let Some(event) = event else { break };
                let shown = show(&event);
                if event == Event::Connected {
                    // Whoever listens may be ended without a word.
                    running.keep_nodes();
                }
                if let Event::Refused { reason } = event {
                    refusal = Some(reason);
                    break;
                }
                if args.limit.is_some_and(|limit| shown >= limit) {
                    break;
                }
            }
            () = &mut until => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    running
        .end(|event| {
            show(event);
        })
        .await;
    if let Some(remedy) = refusal {
        return Err(refused(remedy));
    }
    if !connected {
        return Err(Failure::new(75, format!("no connection: {why}")));
    }
    Ok(json!({ "messages": count }))
}

pub(crate) fn status(cli: &Cli) -> Result<Value, Failure> {
    let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    let memory = FileOutbox::look(&cli.dir.join("outbox"), &profile.outbox_key)
        .map_err(|error| Failure::caused(1, &error))?;
    let chain = profile.credentials().chain;
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let trust = profile.trust().map_err(|error| Failure::new(1, error))?;
    let certificate = match chain.split_first() {
        Some((leaf, rest)) => trust.verify(leaf, rest, Usage::ClientAuth, now_ms()() / 1000),
        None => return Err(Failure::new(1, "the device has no certificate")),
    };
    let certificate = match certificate {
        Ok(certificate) => json!({ "valid": true, "until_s": certificate.not_after }),
        Err(error) => json!({ "valid": false, "why": error.to_string() }),
    };
    let waiting = memory.entries.len();
    let nodes = reach::known(&cli.dir);
    let texts =
        |nodes: Vec<SocketAddr>| nodes.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
    Ok(json!({
        "id": profile.id.to_string(),
        "service": profile.devices,
        "nodes": texts(nodes.told),
        "last_node": nodes.last.map(|node| node.to_string()),
        "certificate": certificate,
        "waiting": waiting,
    }))
}
