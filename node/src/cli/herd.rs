//! `bench herd`: all devices of a node lose their connections at once, and come again.
//!
//! Devices of customers connect to the first node, and others, who go on asking, to the other nodes. Then the
//! first node sends all of its devices away. **Invariants:** whoever asks is not one of the herd; a request is
//! counted as unanswered only behind a bound. **Not here:** the nodes (`fleet`), devices (`population`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Args;
use fieldmesh_device::Event;
use fieldmesh_domain::message::{Location, RequestBody};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    CliError, Common, Output,
    fleet::{Fleet, NODES_MAX, Shape, on_cluster},
    import::progress,
    population::{Device, Enrolled, Population},
    tally::percentiles,
};
use crate::web::rest::{NewCustomer, Point};

/// The node whose devices are sent away.
const SENT_AWAY: u64 = 1;
/// Enrollments under way.
const AT_ONCE: usize = 32;
/// Sockets of the herd. Each device of the world has one: where ten thousand share one, what its buffer drops is a
/// figure of this machine's and not of the nodes'.
const SOCKETS: usize = 64;
/// Devices that go on asking, each at a node that sends nobody away.
const ASKING: u32 = 8;
/// How long they ask before.
const BEFORE: Duration = Duration::from_secs(10);
/// A herd that is not back by then does not come back.
const PATIENCE: Duration = Duration::from_secs(300);
/// A request that has no receipt by then has none.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct HerdArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Devices that are sent away.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    devices: u64,
    /// Nodes of the cluster, on this machine.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=NODES_MAX))]
    nodes: u64,
    /// Requests a second of those who go on asking.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
}

/// A herd as it comes and goes.
#[derive(Default)]
struct Herd {
    connected: AtomicUsize,
    /// When each came again.
    back: Mutex<Vec<Instant>>,
}

/// Requests of one who goes on asking: when each was made, and when its receipt came.
type Asked = BTreeMap<[u8; 16], (Instant, Option<Instant>)>;

pub(crate) async fn run(args: &HerdArgs, output: &Output) -> Result<(), CliError> {
    let shape = Shape { may_be_cut: true, ..Shape::of(args.nodes, 6) };
    on_cluster(&args.common, shape, output, async |fleet| measure(args, fleet, output).await).await
}

async fn measure(args: &HerdArgs, fleet: &mut Fleet, output: &Output) -> Result<(), CliError> {
    let api = fleet.api_of(SENT_AWAY)?;
    let devices = Population::new(api.clone(), false)?.over(SOCKETS)?;
    let herd = gather(args, devices, output).await?;
    let resident_before = resident_mib(fleet)?;
    let others = fleet.devices().split_off(1);
    let asking = Population::new(fleet.api_of(2)?, false)?.spread(others);
    let (end, ends) = watch::channel(false);
    let mut asks = Vec::new();
    let every = Duration::from_secs(1) * ASKING / args.rate;
    for number in 0..ASKING {
        let enrolled = enrolled(&asking, u64::from(number)).await?;
        asks.push(tokio::spawn(ask(asking.connect(enrolled)?, every, ends.clone())));
    }
    sleep(BEFORE).await;
    output.say(format_args!("{} devices are sent away", args.devices));
    let begun = Instant::now();
    let _: Value = api.post("/v1/chaos/herd", &json!({})).await?;
    let back = come_again(args, &herd, output).await;
    let over = Instant::now();
    end.send_replace(true);
    let mut asked = Asked::new();
    for task in asks {
        asked.append(&mut task.await.map_err(|_| CliError::failed("a device ended"))?);
    }
    let [before, during] = [(begun - BEFORE, begun), (begun, over)].map(|(from, until)| {
        let of = asked.values().filter(|(at, _)| (from..until).contains(at));
        let (answered, unanswered): (Vec<_>, Vec<_>) = of.partition(|(_, done)| done.is_some());
        let took = answered.iter().filter_map(|(at, done)| done.map(|done| ms(done - *at)));
        let [p50, p99, max] = percentiles(took.collect());
        json!({
            "requests": answered.len() + unanswered.len(),
            "unanswered": unanswered.len(),
            "receipt_ms": { "p50": p50, "p99": p99, "max": max },
        })
    });
    let [p50, p99, max] = percentiles(back.iter().map(|at| ms(*at - begun)).collect());
    output.figures(json!({
        "devices": args.devices,
        "connections": back.len(),
        "came_again_ms": { "p50": p50, "p99": p99, "max": max },
        "others_before": before,
        "others_meanwhile": during,
        "resident_mib": { "before": resident_before, "after": resident_mib(fleet)? },
    }));
    let connected = herd.connected.load(Ordering::Relaxed);
    if connected as u64 == args.devices {
        return Ok(());
    }
    Err(CliError::failed(format!("of {} devices {connected} are connected", args.devices)))
}

fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

/// Of the node that sends its devices away.
fn resident_mib(fleet: &Fleet) -> Result<u64, CliError> {
    let footprints = fleet.footprints()?;
    Ok(footprints.first().map_or(0, |footprint| footprint.resident_bytes >> 20))
}

async fn enrolled(population: &Population, number: u64) -> Result<Enrolled, CliError> {
    let location = Point { lat_e6: 48_800_000, lon_e6: 2_300_000 };
    let customer =
        NewCustomer { name: format!("customer {number}"), location, tier: 2, zone: None };
    population.customer(&customer).await
}

/// Enrolls and connects all devices of the herd.
async fn gather(
    args: &HerdArgs,
    population: Population,
    output: &Output,
) -> Result<Arc<Herd>, CliError> {
    let herd = Arc::<Herd>::default();
    let bar = progress(args.devices, output);
    bar.set_message("devices");
    let all = stream::iter(0..args.devices).map(|number| enrolled(&population, number));
    let mut all = all.buffer_unordered(AT_ONCE);
    while let Some(enrolled) = all.next().await {
        tokio::spawn(Arc::clone(&herd).watch(population.connect(enrolled?)?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let until = Instant::now() + PATIENCE;
    while (herd.connected.load(Ordering::Relaxed) as u64) < args.devices {
        if Instant::now() > until {
            return Err(CliError::failed("the devices do not connect"));
        }
        sleep(LOOK_EVERY).await;
    }
    herd.back().clear();
    Ok(herd)
}

/// Waits until all are back; when each was.
async fn come_again(args: &HerdArgs, herd: &Herd, output: &Output) -> Vec<Instant> {
    let bar = progress(args.devices, output);
    bar.set_message("came again");
    let until = Instant::now() + PATIENCE;
    // Some come twice, where the first connection does not last: all are back when all are connected.
    let is_back = || {
        let connected = herd.connected.load(Ordering::Relaxed) as u64;
        connected == args.devices && herd.back().len() as u64 >= args.devices
    };
    while !is_back() && Instant::now() < until {
        bar.set_position(herd.back().len() as u64);
        sleep(LOOK_EVERY).await;
    }
    bar.finish_and_clear();
    herd.back().clone()
}

impl Herd {
    fn back(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        // Each change is one addition.
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees one of it come and go. Who tried and was not let in was not connected: that it hears of an end then
    /// takes nothing away.
    async fn watch(self: Arc<Self>, mut device: Device) {
        let mut is_connected = false;
        while let Some(event) = device.events.recv().await {
            match event {
                Event::Connected if !is_connected => {
                    is_connected = true;
                    self.connected.fetch_add(1, Ordering::Relaxed);
                    self.back().push(Instant::now());
                }
                Event::Disconnected { .. } if is_connected => {
                    is_connected = false;
                    self.connected.fetch_sub(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }
}

/// Asks until it is told to end, and waits for what was asked.
async fn ask(device: Device, every: Duration, mut ends: watch::Receiver<bool>) -> Asked {
    let Device { client, mut events, .. } = device;
    let mut asked = Asked::new();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let location = Location { lat_e6: 48_800_000, lon_e6: 2_300_000 };
    loop {
        tokio::select! {
            () = over(&mut ends) => break,
            event = events.recv() => receipt(&mut asked, event),
            _ = ticks.tick() => {
                let (category, subcategory, text) = (26, 0, "no water".to_owned());
                let body =
                    RequestBody { category, subcategory, impact: 3, urgency: 3, location, text };
                let at = Instant::now();
                // One that cannot even be sent is unanswered.
                let id = client.request(&body).await.unwrap_or_default();
                asked.insert(id, (at, None));
            }
        }
    }
    let left = async {
        while asked.values().any(|(_, done)| done.is_none()) {
            let event = events.recv().await;
            if event.is_none() {
                break;
            }
            receipt(&mut asked, event);
        }
    };
    // What is still missing then is counted.
    drop(timeout(ANSWERED_WITHIN, left).await);
    asked
}

/// Returns when it is over.
async fn over(ends: &mut watch::Receiver<bool>) {
    // It is, too, where whoever says so is gone.
    drop(ends.wait_for(|is_over| *is_over).await);
}

fn receipt(asked: &mut Asked, event: Option<Event>) {
    if let Some(Event::Receipt { message_id, .. }) = event
        && let Some((_, done)) = asked.get_mut(&message_id)
    {
        *done = Some(Instant::now());
    }
}
