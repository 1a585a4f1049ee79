//! `fieldmesh replay FILE`: a real service desk's log through the whole loop, and what came of it.
//!
//! The server is a process of its own, so that its processor time is its own; callers and assignees
//! are devices in this process, each with its keys, each signing, sealing, opening and answering over
//! QUIC. Technicians hold as many tickets as come: the log does not say how many one can hold.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::Args;
use fieldmesh_device::{Client, Event};
use fieldmesh_domain::{
    EntityId,
    message::{Location, RequestBody},
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    CliError, Common, Output,
    field::{
        Parameters,
        drive::{Stage, drive},
    },
    fleet::{Fleet, NODES_MAX, Shape, Usage, on_cluster},
    import::progress,
    population::{Population, Work, live},
    replay_input::{Incident, Log, load},
    report::{self, Paths, Run},
    strikes::{Befell, Strikes},
    tally::{Sighting, Tally},
};
use crate::web::rest::{NewCustomer, NewSkill, NewTechnician, Point};

/// Enrollments under way at a time.
const ENROLL_AT_ONCE: usize = 16;
/// Requests without a confirmation at a time, at full speed: what keeps two cores busy.
const IN_FLIGHT_MAX: usize = 128;
/// Nodes of a cluster of which one may be cut off.
const NODES_CUT_MIN: u64 = 3;
/// How long the end waits for stragglers without any progress.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// CSV with: opened_at, caller, location, category, subcategory, impact, urgency, assignee.
    file: PathBuf,
    /// How many times faster than the log, or "max".
    #[arg(long, default_value = "max")]
    speed: String,
    /// Requests at most; all of the log unless given.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    /// CSV of cities with latitude and longitude; default: cities.csv beside the log, if there.
    #[arg(long)]
    cities: Option<PathBuf>,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
    /// Shards that customers and technicians are spread over.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
    /// Kill a node with SIGKILL so many times at random moments, one after the other, and start it again.
    #[arg(long, default_value_t = 0)]
    kills: usize,
    /// Cut a node off from the others so many times at random moments, one after the other, for up to fifteen
    /// seconds; devices reach it meanwhile.
    #[arg(long, default_value_t = 0)]
    cuts: usize,
    /// Seal with session keys instead of HPKE for each message.
    #[arg(long)]
    symmetric: bool,
    /// Writes a page about the replay there, and its figures as JSON beside it. Technicians then keep
    /// shifts, travel and work, by a model that the page states, and locations are in one territory unless
    /// --cities says otherwise.
    #[arg(long)]
    report: Option<PathBuf>,
    #[command(flatten)]
    field: Parameters,
}

pub(crate) async fn run(args: &ReplayArgs, output: &Output) -> Result<(), CliError> {
    let speed = match args.speed.as_str() {
        "max" => None,
        text => Some(
            text.parse::<u64>()
                .ok()
                .filter(|speed| *speed > 0)
                .ok_or_else(|| CliError::usage("--speed is a number or max"))?,
        ),
    };
    if args.cuts > 0 && args.nodes < NODES_CUT_MIN {
        let why = "two nodes go on without a third, one alone does not";
        return Err(CliError::usage(format!(
            "--cuts wants --nodes {NODES_CUT_MIN} or more: {why}"
        )));
    }
    let beside = args.file.with_file_name("cities.csv");
    // Trips across the world would fill the days of a report.
    let is_beside = args.report.is_none() && beside.exists();
    let cities = args.cities.clone().or_else(|| is_beside.then_some(beside));
    let paths = args.report.as_deref().map(Paths::of).transpose()?;
    let log = load(&args.file, cities.as_deref(), args.limit)?;
    let shape = Shape { may_be_cut: args.cuts > 0, ..Shape::of(args.nodes, args.shards) };
    match paths {
        None => {
            let replayed = async |fleet: &mut Fleet| replay(args, speed, &log, fleet, output).await;
            on_cluster(&args.common, shape, output, replayed).await
        }
        Some(paths) => {
            let source = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (parameters, nodes) = (args.field, args.nodes);
            let run = Run { paths, source, log: &log, speed, parameters, nodes };
            let replayed = async |fleet: &mut Fleet| reported(args, &run, fleet, output).await;
            on_cluster(&args.common, shape, output, replayed).await
        }
    }
}

/// A replay with modelled technicians, and the report of it.
async fn reported(
    args: &ReplayArgs,
    run: &Run<'_>,
    fleet: &mut Fleet,
    output: &Output,
) -> Result<(), CliError> {
    let log = run.log;
    output.say(format_args!("{} requests; technicians are modelled", log.incidents.len()));
    let population = Population::new(fleet.api()?, args.symmetric)?.spread(fleet.devices());
    let (seen, mut sightings) = mpsc::channel(4096);
    let (customers, technicians) = enroll(log, &population, Work::Shows, seen, output).await?;
    let devices = customers.len() + technicians.len();
    wait_connected(devices, &mut sightings, output).await?;
    let (made, requests) = watch::channel(0);
    let strikes = Strikes::over(log.incidents.len(), args.kills, args.cuts);
    let (api, parameters, speed) = (fleet.api()?, args.field, run.speed);
    let (customers, technicians) = (&customers, &technicians);
    let stage = Stage { log, api, customers, technicians, parameters, speed };
    let load = drive(&stage, &mut sightings, (made, output));
    let (driven, befell) = tokio::try_join!(load, strikes.befall(fleet, requests))?;
    fleet.settled().await?;
    report::write(run, technicians, &driven, befell, &fleet.api()?, output).await
}

async fn replay(
    args: &ReplayArgs,
    speed: Option<u64>,
    log: &Log,
    fleet: &mut Fleet,
    output: &Output,
) -> Result<(), CliError> {
    let placing = match log.cities {
        0 => "locations are placed around one point (no cities.csv)".to_owned(),
        count => format!(
            "locations are placed on {count} real cities by a fixed seed: the placing is assigned, not from the log"
        ),
    };
    output.say(format_args!("{} requests; {placing}", log.incidents.len()));
    let population = Population::new(fleet.api()?, args.symmetric)?.spread(fleet.devices());
    let (seen, mut sightings) = mpsc::channel(4096);
    let (customers, _) = enroll(log, &population, Work::Accepts, seen, output).await?;
    wait_connected(customers.len() + log.assignees.len(), &mut sightings, output).await?;
    let before = fleet.usage().await?;
    let began = Instant::now();
    let (made, requests) = watch::channel(0);
    let strikes = Strikes::over(log.incidents.len(), args.kills, args.cuts);
    let load = send_all(log, speed, &customers, &mut sightings, (made, output));
    let (tally, befell) = tokio::try_join!(load, strikes.befall(fleet, requests))?;
    let took = began.elapsed();
    let usage = fleet.usage().await?.since(&before);
    fleet.settled().await?;
    let unfilled = fleet.count_tickets("unfilled").await?;
    say_figures(&tally, unfilled, took, &usage, (args, befell), output)
}

/// Makes every request when it is due, and waits for what comes of them.
async fn send_all(
    log: &Log,
    speed: Option<u64>,
    customers: &Customers,
    sightings: &mut mpsc::Receiver<Sighting>,
    (made, output): (watch::Sender<usize>, &Output),
) -> Result<Tally, CliError> {
    let (mut tally, began) = (Tally::default(), Instant::now());
    let bar = progress(log.incidents.len() as u64, output);
    bar.set_message("confirmed");
    for (index, incident) in log.incidents.iter().enumerate() {
        made.send_replace(index);
        pace(began, incident, speed, &mut tally, sightings).await;
        let client = customers
            .get(&incident.caller)
            .ok_or_else(|| CliError::failed("a caller has no device"))?;
        let sent = Instant::now();
        let id = client
            .1
            .request(&request(incident))
            .await
            .map_err(|error| CliError::failed(format!("no request: {error}")))?;
        tally.sent(client.0, id, sent);
        while let Ok(sighting) = sightings.try_recv() {
            tally.see(&sighting);
        }
        bar.set_position(tally.confirmed() as u64);
    }
    while tally.open() > 0 {
        match timeout(PATIENCE, sightings.recv()).await {
            Ok(Some(sighting)) => tally.see(&sighting),
            Ok(None) | Err(_) => break,
        }
        bar.set_position(tally.confirmed() as u64);
    }
    bar.finish_and_clear();
    Ok(tally)
}

pub(in crate::cli) fn request(incident: &Incident) -> RequestBody {
    let Incident { place, category, subcategory, impact, urgency, .. } = incident;
    RequestBody {
        category: *category,
        subcategory: *subcategory,
        impact: *impact,
        urgency: *urgency,
        location: Location::from(*place),
        text: format!("category {category}, subcategory {subcategory}"),
    }
}

/// Waits until it is this incident's turn, and counts what comes meanwhile.
async fn pace(
    began: Instant,
    incident: &Incident,
    speed: Option<u64>,
    tally: &mut Tally,
    sightings: &mut mpsc::Receiver<Sighting>,
) {
    if let Some(speed) = speed {
        let due = began + Duration::from_millis(incident.at_min * 60_000 / speed);
        return drain_until(due, tally, sightings).await;
    }
    while tally.open() >= IN_FLIGHT_MAX {
        match timeout(PATIENCE, sightings.recv()).await {
            Ok(Some(sighting)) => tally.see(&sighting),
            Ok(None) | Err(_) => return,
        }
    }
}

async fn drain_until(due: Instant, tally: &mut Tally, sightings: &mut mpsc::Receiver<Sighting>) {
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due) => return,
            sighting = sightings.recv() => match sighting {
                Some(sighting) => tally.see(&sighting),
                None => return,
            },
        }
    }
}

pub(in crate::cli) type Customers = BTreeMap<String, (EntityId, Client)>;

/// An assignee with its device.
pub(in crate::cli) struct Technician {
    /// As the log names it.
    pub(in crate::cli) name: String,
    pub(in crate::cli) id: EntityId,
    pub(in crate::cli) home: Point,
    pub(in crate::cli) client: Client,
}

/// In the order of their names.
pub(in crate::cli) type Technicians = Vec<Technician>;

async fn enroll(
    log: &Log,
    population: &Population,
    work: Work,
    seen: mpsc::Sender<Sighting>,
    output: &Output,
) -> Result<(Customers, Technicians), CliError> {
    let homes: BTreeMap<&str, Point> =
        log.incidents.iter().map(|incident| (incident.caller.as_str(), incident.place)).collect();
    let bar = progress((homes.len() + log.assignees.len()) as u64, output);
    bar.set_message("devices enrolled");
    let technicians = log.assignees.keys().enumerate().map(|(index, name)| {
        let technician = assignee(log, index, name);
        let bar = bar.clone();
        async move {
            let enrolled = population.technician(&technician).await;
            bar.inc(1);
            enrolled.map(|enrolled| (name, technician.home, enrolled))
        }
    });
    let technicians: Vec<_> = stream::iter(technicians).buffered(ENROLL_AT_ONCE).collect().await;
    let mut answering = Technicians::new();
    for technician in technicians {
        let (name, home, enrolled) = technician?;
        let device = population.connect(enrolled)?;
        let (id, client, name) = (device.id, device.client.clone(), name.clone());
        answering.push(Technician { name, id, home, client });
        tokio::spawn(live(device, work, seen.clone()));
    }
    let customers = homes.into_iter().map(|(caller, location)| {
        let customer =
            NewCustomer { name: format!("caller {caller}"), location, tier: 2, zone: None };
        let bar = bar.clone();
        async move {
            let enrolled = population.customer(&customer).await;
            bar.inc(1);
            enrolled.map(|enrolled| (caller.to_owned(), enrolled))
        }
    });
    let customers: Vec<_> =
        stream::iter(customers).buffer_unordered(ENROLL_AT_ONCE).collect().await;
    let mut connected = Customers::new();
    for customer in customers {
        let (caller, enrolled) = customer?;
        let device = population.connect(enrolled)?;
        connected.insert(caller, (device.id, device.client.clone()));
        tokio::spawn(live(device, work, seen.clone()));
    }
    bar.finish_and_clear();
    Ok((connected, answering))
}

/// An assignee as a technician, with the categories that it really handled; its home is where some
/// incident is.
fn assignee(log: &Log, index: usize, name: &str) -> NewTechnician {
    let categories = log.assignees.get(name).into_iter().flatten();
    let skills = categories
        .map(|category| NewSkill { category: *category, level: 3, expires_ms: None })
        .collect();
    let home = log.incidents[index * 7919 % log.incidents.len()].place;
    NewTechnician { name: format!("assignee {name}"), home, skills, capacity: u16::MAX }
}

async fn wait_connected(
    devices: usize,
    sightings: &mut mpsc::Receiver<Sighting>,
    output: &Output,
) -> Result<(), CliError> {
    let mut connected = 0;
    while connected < devices {
        match timeout(PATIENCE, sightings.recv()).await {
            Ok(Some(Sighting { event: Event::Connected, .. })) => connected += 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err(CliError::failed(format!(
                    "only {connected} of {devices} devices connected"
                )));
            }
        }
    }
    output.say(format_args!("{devices} devices connected"));
    Ok(())
}

fn say_figures(
    tally: &Tally,
    unfilled: usize,
    took: Duration,
    usage: &Usage,
    (args, befell): (&ReplayArgs, Befell),
    output: &Output,
) -> Result<(), CliError> {
    let confirmed = tally.confirmed();
    let loops = confirmed.max(1) as u64;
    let floor_us = crate::floor::crypto_floor_us().map_err(CliError::failed)?;
    let cpu_us = usage.cpu_us / loops;
    let lost = tally.open().saturating_sub(unfilled);
    let result = json!({
        "requests": tally.requests(),
        "confirmed": confirmed,
        "unfilled": unfilled,
        "refused": tally.refused(),
        "lost": lost,
        "open": tally.open_ones(),
        "duplicates": tally.duplicates(),
        "double_assignments": tally.double_assignments(),
        "submit_to_receipt_ms": tally.to_receipt(),
        "submit_to_alert_ms": tally.to_alert(),
        "submit_to_confirmation_ms": tally.to_confirmation(),
        "loops_per_second": loops as f64 / took.as_secs_f64(),
        "server_cpu_us_per_loop": cpu_us,
        "crypto_floor_us_per_loop": floor_us,
        "server_cpu_to_floor": cpu_us as f64 / floor_us as f64,
        "fsyncs_per_loop": usage.syncs as f64 / loops as f64,
        "log_rounds": usage.rounds,
        "fsyncs_per_round": usage.syncs as f64 / usage.rounds.max(1) as f64,
        "nodes": args.nodes,
        "kills": befell.kills,
        "cuts": befell.cuts,
        "seconds": took.as_secs_f64(),
    });
    output.figures(result);
    let broken = lost + tally.duplicates() + tally.double_assignments();
    if broken > 0 {
        Err(CliError::failed("a promise was broken: see lost, duplicates, double_assignments"))
    } else {
        Ok(())
    }
}
