//! `bench overload`: what a cluster does that is asked for several times what it can do.
//!
//! First customers ask as fast as they are answered: that is what it can do. Then they ask for so many times as
//! much, whatever the answers; what devices cannot send yet waits in their outboxes. In the end nobody asks, and
//! what waits is served. **Invariant:** every request that a device took is accounted for. **Not here:** the
//! nodes (`fleet`), devices (`population`), what became of each request (`tally`).

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use fieldmesh_device::{Client, Event};
use fieldmesh_domain::{
    EntityId,
    message::{Location, RequestBody},
};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    CliError, Common, Output,
    api::Api,
    fleet::{Fleet, NODES_MAX, Shape, on_cluster},
    import::progress,
    population::{Population, Work, live, place},
    tally::{Sighting, Tally},
};
use crate::web::rest::{NewCustomer, NewSkill, NewTechnician, Point};

/// What the technicians can do, and the customers ask for.
const CATEGORY: u16 = 1;
/// Each has room for a thousand messages that wait.
const CUSTOMERS: usize = 200;
/// A device has eight answers under way, each of which takes a commit: of these there are more than are measured.
const TECHNICIANS: usize = 96;
/// Requests under way while it is measured what the cluster can do.
const UNDER_WAY: usize = 128;
/// Until the rate is a steady one.
const WARM: Duration = Duration::from_secs(5);
/// Where nothing more comes for so long, nothing will.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct OverloadArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Nodes of the cluster, on this machine.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
    /// How many times as much is asked for as can be done.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    times: u32,
    /// How long each of the two is measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=60))]
    seconds: u64,
    /// Devices have a processor of their own, and nodes have the others: what devices do for more than can be done
    /// is then taken from nobody.
    #[arg(long)]
    apart: bool,
}

/// Whoever asks, and what came of it.
struct Load {
    /// Technicians' devices run by themselves: those of customers who ask for too much are other devices, and must
    /// not keep them from answering.
    technicians: Option<Runtime>,
    customers: Vec<(EntityId, Client)>,
    next: usize,
    tally: Tally,
    receipts: usize,
    sightings: mpsc::Receiver<Sighting>,
    /// Requests that a device had no room for.
    not_taken: usize,
}

/// Requests a second.
#[derive(Debug, Clone, Copy)]
struct Rates {
    receipts: f64,
    confirmed: f64,
}

pub(crate) async fn run(args: &OverloadArgs, output: &Output) -> Result<(), CliError> {
    let shape = Shape::of(args.nodes, 6);
    on_cluster(&args.common, shape, output, async |fleet| measure(args, fleet, output).await).await
}

async fn measure(args: &OverloadArgs, fleet: &Fleet, output: &Output) -> Result<(), CliError> {
    let mut load = Load::prepare(fleet, output).await?;
    if args.apart {
        fleet.apart()?;
    }
    let lasts = Duration::from_secs(args.seconds);
    output.say(format_args!("what it can do, for {} s", args.seconds));
    load.as_answered(WARM).await?;
    let peak = load.rates(lasts, async |load| load.as_answered(lasts).await).await?;
    load.settle(output).await?;
    let (resident_before, asked_before) = (resident_mib(fleet)?, load.tally.requests());
    let offered = f64::from(args.times) * peak.confirmed;
    output.say(format_args!("{offered:.0} requests a second, for {} s", args.seconds));
    load.regardless(offered, WARM).await?;
    let over = load.rates(lasts, async |load| load.regardless(offered, lasts).await).await?;
    let (resident_over, waiting) = (resident_mib(fleet)?, load.tally.open());
    let asked = load.tally.requests() - asked_before;
    let began = Instant::now();
    load.settle(output).await?;
    let percent = |part: f64, whole: f64| (1000.0 * part / whole.max(1.0)).round() / 10.0;
    let lost = load.tally.open();
    output.figures(json!({
        "peak_per_s": { "receipts": peak.receipts, "confirmed": peak.confirmed },
        "offered_per_s": offered,
        "overload_per_s": { "receipts": over.receipts, "confirmed": over.confirmed },
        "receipts_percent_of_peak": percent(over.receipts, peak.receipts),
        "confirmed_percent_of_peak": percent(over.confirmed, peak.confirmed),
        "asked": asked,
        "not_taken": load.not_taken,
        "waiting_in_the_end": waiting,
        "served_after_s": began.elapsed().as_secs_f64().round(),
        "lost": lost,
        "refused": load.tally.refused(),
        "duplicates": load.tally.duplicates(),
        "double_assignments": load.tally.double_assignments(),
        "resident_mib_each": { "before": resident_before, "overload": resident_over, "after": resident_mib(fleet)? },
    }));
    let bad = lost + load.tally.duplicates() + load.tally.double_assignments();
    if bad == 0 { Ok(()) } else { Err(CliError::failed(format!("{bad} promises were broken"))) }
}

fn resident_mib(fleet: &Fleet) -> Result<Vec<u64>, CliError> {
    Ok(fleet.footprints()?.iter().map(|footprint| footprint.resident_bytes >> 20).collect())
}

/// Technicians, each with a device that answers, in the runtime that this runs in.
async fn equip(
    api: Api,
    devices: Vec<SocketAddr>,
    seen: mpsc::Sender<Sighting>,
) -> Result<(), CliError> {
    let population = Population::new(api, false)?.spread(devices);
    for number in 0..TECHNICIANS {
        let skills = vec![NewSkill { category: CATEGORY, level: 3, expires_ms: None }];
        let (name, capacity) = (format!("technician {number}"), u16::MAX);
        let technician = NewTechnician { name, home: place(number), skills, capacity };
        let device = population.connect(population.technician(&technician).await?)?;
        tokio::spawn(live(device, Work::Completes, seen.clone()));
    }
    Ok(())
}

impl Drop for Load {
    /// A runtime that waits for its tasks may not be dropped in another one.
    fn drop(&mut self) {
        self.technicians.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Load {
    async fn prepare(fleet: &Fleet, output: &Output) -> Result<Self, CliError> {
        let population = Population::new(fleet.api()?, false)?.spread(fleet.devices());
        let (seen, sightings) = mpsc::channel(4096);
        let bar = progress(CUSTOMERS as u64, output);
        bar.set_message("devices");
        let technicians = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let technicians = technicians.map_err(CliError::failed)?;
        let (api, devices) = (fleet.api()?, fleet.devices());
        let there = technicians.spawn(equip(api, devices, seen.clone()));
        there.await.map_err(CliError::failed)??;
        let mut customers = Vec::with_capacity(CUSTOMERS);
        for number in 0..CUSTOMERS {
            let (name, location) = (format!("customer {number}"), place(number));
            let customer = NewCustomer { name, location, tier: 2, zone: None };
            let device = population.connect(population.customer(&customer).await?)?;
            customers.push((device.id, device.client.clone()));
            tokio::spawn(live(device, Work::Accepts, seen.clone()));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let (next, receipts, not_taken) = (0, 0, 0);
        let tally = Tally::default();
        let technicians = Some(technicians);
        Ok(Self { technicians, customers, next, tally, receipts, sightings, not_taken })
    }

    /// One request of the next customer.
    async fn ask(&mut self) {
        let Point { lat_e6, lon_e6 } = place(self.next);
        let body = RequestBody {
            category: CATEGORY,
            subcategory: 0,
            impact: 2,
            urgency: 2,
            location: Location { lat_e6, lon_e6 },
            text: "one of too many".into(),
        };
        let (customer, client) = &self.customers[self.next % self.customers.len()];
        self.next += 1;
        let at = Instant::now();
        match client.request(&body).await {
            Ok(id) => self.tally.sent(*customer, id, at),
            Err(_) => self.not_taken += 1,
        }
    }

    fn see(&mut self, sighting: &Sighting) {
        self.receipts += usize::from(matches!(sighting.event, Event::Receipt { .. }));
        self.tally.see(sighting);
    }

    /// Asks as fast as it is answered.
    async fn as_answered(&mut self, lasts: Duration) -> Result<(), CliError> {
        let end = Instant::now() + lasts;
        loop {
            while self.tally.open() < UNDER_WAY {
                self.ask().await;
            }
            tokio::select! {
                sighting = self.sightings.recv() => {
                    let sighting = sighting.ok_or_else(|| CliError::failed("all devices ended"))?;
                    self.see(&sighting);
                }
                () = sleep_until(end) => return Ok(()),
            }
        }
    }

    /// Asks so many times a second, whatever is answered.
    async fn regardless(&mut self, per_s: f64, lasts: Duration) -> Result<(), CliError> {
        let end = Instant::now() + lasts;
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_s.max(1.0)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end) => return Ok(()),
                sighting = self.sightings.recv() => {
                    let sighting = sighting.ok_or_else(|| CliError::failed("all devices ended"))?;
                    self.see(&sighting);
                }
                _ = ticks.tick() => self.ask().await,
            }
        }
    }

    /// What came a second while something was done.
    async fn rates(
        &mut self,
        lasts: Duration,
        work: impl AsyncFnOnce(&mut Self) -> Result<(), CliError>,
    ) -> Result<Rates, CliError> {
        let before = (self.receipts, self.tally.confirmed());
        work(self).await?;
        let rate = |now: usize, before: usize| (now - before) as f64 / lasts.as_secs_f64();
        let (receipts, confirmed) = (self.receipts, self.tally.confirmed());
        Ok(Rates { receipts: rate(receipts, before.0), confirmed: rate(confirmed, before.1) })
    }

    /// Nobody asks any more; until all is served, or nothing more comes.
    async fn settle(&mut self, output: &Output) -> Result<(), CliError> {
        let bar: ProgressBar = progress(self.tally.requests() as u64, output);
        bar.set_message("served");
        while self.tally.open() > 0 {
            match timeout(PATIENCE, self.sightings.recv()).await {
                Ok(Some(sighting)) => self.see(&sighting),
                Ok(None) => return Err(CliError::failed("all devices ended")),
                // What is open yet is counted as lost.
                Err(_) => break,
            }
            bar.set_position(self.tally.confirmed() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }
}
