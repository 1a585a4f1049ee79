//! `fieldmesh demo`: one ticket through all 18 steps of claim 1, with its times.
//!
//! The server runs in this process, in a directory of its own; the devices are real clients with
//! their own keys, which reach it over HTTPS and QUIC like any other. Requests come from a seeded
//! generator with the hourly profile, priority mix and skills of a real service desk.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use fieldmesh_device::{Event, session::Step};
use fieldmesh_domain::{
    EntityId, EntityKind,
    message::{AlertBody, Answer, ConfirmationBody, RequestBody, ResponseBody},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    CliError, Common, Output,
    api::Api,
    configuration,
    population::{Device, Population},
    serve::{start_development, write_addresses},
};
use crate::{
    files,
    generator::Generator,
    node::Node,
    server::Server,
    steps::{Act, Step as NodeStep},
};

/// A ticket is through in milliseconds; after this long something is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Technicians to choose from.
const TECHNICIANS: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// One ticket, then exit. Without it, three.
    #[arg(long)]
    once: bool,
    /// Text of the request.
    #[arg(long)]
    body: Option<String>,
    /// Seed of the generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn run(args: &DemoArgs, output: &Output) -> Result<(), CliError> {
    let temporary = args.common.data_dir.is_none().then(temporary_dir);
    let dir = temporary.clone().or_else(|| args.common.data_dir.clone()).unwrap_or_default();
    let any_port = Some("127.0.0.1:0".to_owned());
    let flags = [
        ("node.data_dir", Some(dir.display().to_string())),
        ("listen.https", any_port.clone()),
        ("listen.devices", any_port),
        ("log.filter", Some("error".to_owned())),
    ];
    let config = configuration(&Common { data_dir: None, ..args.common.clone() }, &flags)?;
    super::start_logging(&config);
    let server = start_development(&config).await?;
    write_addresses(&dir, &server)?;
    let shown = show(args, &server, &dir, output).await;
    server.stop().await;
    if let Some(dir) = temporary
        && let Err(error) = files::remove_dir(&dir)
    {
        tracing::error!(%error, dir = %dir.display(), "the demonstration's directory stays");
    }
    shown
}

fn temporary_dir() -> PathBuf {
    std::env::temp_dir().join(format!("fieldmesh-demo-{}", std::process::id()))
}

async fn show(
    args: &DemoArgs,
    server: &Server,
    dir: &std::path::Path,
    output: &Output,
) -> Result<(), CliError> {
    let population = Population::new(Api::from_dir(dir)?, false)?;
    let mut generator = Generator::new(args.seed);
    output.say("a customer's and five technicians' devices enroll with one-time tokens …");
    let (seen, mut sightings) = mpsc::channel(1024);
    let customer = population.connect(population.customer(&generator.customer()).await?)?;
    let mut technicians = Vec::new();
    for _ in 0..TECHNICIANS {
        technicians
            .push(population.connect(population.technician(&generator.technician()).await?)?);
    }
    let ask = customer.client.clone();
    let customer_id = customer.id;
    tokio::spawn(live(customer, seen.clone()));
    for technician in technicians {
        tokio::spawn(live(technician, seen.clone()));
    }
    wait_connected(&mut sightings).await?;
    let mut tickets = Vec::new();
    for _ in 0..if args.once { 1 } else { 3 } {
        let mut body = generator.request();
        if let Some(text) = &args.body {
            body.text.clone_from(text);
        }
        let story = one_ticket(&ask, &body, &mut sightings, &server.node).await?;
        print(&story, customer_id, output);
        tickets.push(story.as_json());
    }
    output.result(json!({ "tickets": tickets }));
    Ok(())
}

/// Something that a device saw or did.
struct Sighting {
    device: EntityId,
    event: Event,
    at: Instant,
}

/// A device that answers alerts like a person in a hurry, and tells what it sees.
async fn live(mut device: Device, seen: mpsc::Sender<Sighting>) {
    while let Some(event) = device.events.recv().await {
        let alert = match &event {
            Event::Alert { message_id, body, .. } => Some((*message_id, body.clone())),
            _ => None,
        };
        let sighting = Sighting { device: device.id, event, at: Instant::now() };
        if seen.send(sighting).await.is_err() {
            return;
        }
        if let Some((message_id, body)) = alert {
            let AlertBody { ticket, offer, .. } = body;
            let response = ResponseBody { ticket, offer, answer: Answer::Accept { eta_min: 25 } };
            if let Err(error) = device.client.respond(Some(message_id), &response).await {
                tracing::error!(%error, "a technician's device cannot answer");
            }
        }
    }
}

async fn wait_connected(sightings: &mut mpsc::Receiver<Sighting>) -> Result<(), CliError> {
    let all = async {
        let mut connected = 0;
        while connected <= TECHNICIANS {
            match sightings.recv().await?.event {
                Event::Connected => connected += 1,
                Event::Disconnected { reason } => {
                    tracing::error!(reason, "a device lost its connection")
                }
                _ => {}
            }
        }
        Some(())
    };
    match timeout(PATIENCE, all).await {
        Ok(Some(())) => Ok(()),
        Ok(None) | Err(_) => Err(CliError::failed("the devices did not connect")),
    }
}

/// A ticket's way, as devices and node tell it.
struct Story {
    rows: Vec<Row>,
    confirmation: ConfirmationBody,
    total_us: u64,
    /// The node that served it.
    node: u64,
}

struct Row {
    number: usize,
    what: &'static str,
    who: &'static str,
    /// Microseconds since the request began.
    at_us: u64,
    took_us: u64,
}

impl Story {
    fn as_json(&self) -> serde_json::Value {
        let steps: Vec<_> = self
            .rows
            .iter()
            .map(|row| json!({ "step": row.number, "what": row.what, "who": row.who, "where": place(row.who, self.node), "at_us": row.at_us, "took_us": row.took_us }))
            .collect();
        json!({
            "ticket": self.confirmation.ticket.to_string(),
            "technician": self.confirmation.technician.map(|id| id.to_string()),
            "eta_min": self.confirmation.eta_min,
            "total_us": self.total_us,
            "steps": steps,
        })
    }
}

async fn one_ticket(
    customer: &fieldmesh_device::Client,
    body: &RequestBody,
    sightings: &mut mpsc::Receiver<Sighting>,
    node: &Node,
) -> Result<Story, CliError> {
    let mut seen = node.steps.watch();
    let began = Instant::now();
    let request = customer
        .request(body)
        .await
        .map_err(|error| CliError::failed(format!("no request: {error}")))?;
    let mut device_steps = Vec::new();
    let confirmed = async {
        while let Some(Sighting { device, event, at }) = sightings.recv().await {
            let since = |at: Instant| micros(at.saturating_duration_since(began));
            match event {
                Event::Step { step, at, took_us, .. } => {
                    device_steps.push((device.kind(), step, since(at), took_us))
                }
                Event::Confirmation { request: Some(id), body, .. }
                    if id == request && body.number == 2 =>
                {
                    return Some((body, since(at)));
                }
                _ => {}
            }
        }
        None
    };
    let Ok(Some((confirmation, total_us))) = timeout(PATIENCE, confirmed).await else {
        return Err(CliError::failed("the request was not confirmed in time"));
    };
    let mut node_steps = Vec::new();
    while let Ok(step) = seen.try_recv() {
        node_steps.push(step);
    }
    let rows = rows(&device_steps, &node_steps, began, total_us);
    Ok(Story { rows, confirmation, total_us, node: node.number })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

type DeviceStep = (EntityKind, Step, u64, u64);

/// Puts what was seen into the order of the claim; each step is searched behind the one before.
fn rows(device: &[DeviceStep], node: &[NodeStep], began: Instant, total_us: u64) -> Vec<Row> {
    use EntityKind::{Customer, Desk, Technician, Ticket};
    let on_device = |kind, step| {
        device
            .iter()
            .find(|seen| seen.0 == kind && seen.1 == step)
            .map_or((0, 0), |seen| (seen.2, seen.3))
    };
    let on_node = |kind, act, after: u64| {
        let seen = node.iter().filter(|step| step.entity.kind() == kind && step.act == act);
        let mut timed =
            seen.map(|step| (micros(step.at.saturating_duration_since(began)), step.took_us));
        timed.find(|(at_us, _)| *at_us >= after).unwrap_or((0, 0))
    };
    let validated = on_node(Customer, Act::Validated, 0);
    let stored = on_node(Customer, Act::Committed, validated.0);
    let triggered = on_node(Ticket, Act::Committed, stored.0);
    let selected = on_node(Desk, Act::Committed, triggered.0);
    let alert = on_node(Technician, Act::Committed, selected.0);
    let answered = on_node(Technician, Act::Decrypted, 0);
    let updated = on_node(Technician, Act::Committed, answered.0);
    let accepted = on_node(Ticket, Act::Committed, answered.0);
    let sent = on_node(Customer, Act::Transmitted, accepted.0);
    let times = [
        on_device(Customer, Step::Composed),
        on_device(Customer, Step::Signed),
        on_device(Customer, Step::Sealed),
        on_device(Customer, Step::Sent),
        on_node(Customer, Act::Decrypted, 0),
        validated,
        stored,
        triggered,
        selected,
        alert,
        on_node(Technician, Act::Encrypted, alert.0),
        on_node(Technician, Act::Transmitted, alert.0),
        on_device(Technician, Step::Opened),
        on_device(Technician, Step::Signed),
        on_device(Technician, Step::Sealed),
        on_device(Technician, Step::Sent),
        (updated.0, updated.1 + answered.1),
        if sent.0 == 0 { (total_us, 0) } else { sent },
    ];
    let rows = STEPS.iter().zip(times).enumerate();
    rows.map(|(index, ((who, what), (at_us, took_us)))| Row {
        number: index + 1,
        who,
        what,
        at_us,
        took_us,
    })
    .collect()
}

/// Who does what in claim 1, in its order.
const STEPS: [(&str, &str); 18] = [
    ("customer's device", "generates the service request"),
    ("customer's device", "signs it (ECDSA P-256)"),
    ("customer's device", "encrypts it (HPKE)"),
    ("customer's device", "transmits it (QUIC, mutual TLS)"),
    ("service", "decrypts it"),
    ("service", "validates signature, chain, replay"),
    ("service", "updates secured information (fsynced)"),
    ("service", "detects the triggering event"),
    ("desk", "selects a technician by itself"),
    ("service", "generates the alert"),
    ("service", "encrypts the alert"),
    ("service", "transmits the alert"),
    ("technician's device", "decrypts the alert"),
    ("technician's device", "generates and signs the response"),
    ("technician's device", "encrypts the response"),
    ("technician's device", "transmits the response"),
    ("service", "decrypts it, updates its information"),
    ("service", "transmits the confirmation"),
];

/// Where a step is done.
fn place(who: &str, node: u64) -> String {
    match who {
        "service" | "desk" => format!("node {node}"),
        _ => "device".to_owned(),
    }
}

fn print(story: &Story, customer: EntityId, output: &Output) {
    output.say(format_args!("\nticket {} of {customer}", story.confirmation.ticket));
    output.say(format_args!(
        "{:>4}  {:<20} {:<8} {:<40} {:>9} {:>9}",
        "step", "who", "where", "what", "at ms", "took ms"
    ));
    let millis = |micros: u64| format!("{}.{:03}", micros / 1000, micros % 1000);
    for row in &story.rows {
        output.say(format_args!(
            "{:>4}  {:<20} {:<8} {:<40} {:>9} {:>9}",
            row.number,
            row.who,
            place(row.who, story.node),
            row.what,
            millis(row.at_us),
            millis(row.took_us)
        ));
    }
    let technician = story.confirmation.technician.map(|id| id.to_string()).unwrap_or_default();
    output.say(format_args!(
        "confirmed to the customer after {} ms: {} ({technician}) arrives in {} min",
        millis(story.total_us),
        story.confirmation.technician_name,
        story.confirmation.eta_min.unwrap_or_default()
    ));
}
