//! `bench overload`: what a cluster does that is asked for several times what it can do.
//!
//! First customers ask as fast as they are answered, with few and with many requests under way: the most that is done
//! then is what it can do. Then they ask for so many times as much, whatever the answers; what devices cannot send yet
//! waits in their outboxes. In the end nobody asks, and what waits is served. It fails where something was lost or done
//! twice, where much less was done than can be, and where nodes held much more memory. **Invariant:** every request that
//! a device took is accounted for. **Not here:** the nodes (`fleet`), devices (`population`), what became of each request
//! (`tally`).

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use fieldmesh_device::{Client, Event};
use fieldmesh_domain::{
    EntityId,
    message::{Location, RequestBody},
};
use indicatif::ProgressBar;
use serde_json::{Value, json};
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
/// Requests under way while it is measured what the cluster can do: with few it waits for them, and with many for itself.
const UNDER_WAY: [usize; 3] = [32, 128, 512];
/// Of what it can do: whoever does less under load spends the rest on turning away.
const SHARE_MIN: f64 = 0.8;
/// What a node may come to hold: beside twice of what it held its write buffers, and what it keeps of each request (as
/// I10 has it, of a node that is asked for what it can do).
const RESIDENT_MORE_MIB: u64 = 256;
const RESIDENT_EACH_KIB: u64 = 16;
const RESIDENT_MAX_MIB: u64 = 1 << 10;
/// How often nodes told devices to come again, and after how long in all.
const BUSY: &str = "fieldmesh_edge_busy_total";
const BUSY_MS: &str = "fieldmesh_edge_busy_ms_total";
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
    /// How long each is measured: with so many requests under way, and asked for too much.
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

impl Rates {
    fn told(&self) -> Value {
        json!({ "receipts": self.receipts, "confirmed": self.confirmed })
    }
}

/// What was done with so many requests under way.
#[derive(Debug, Clone, Copy)]
struct Level {
    under_way: usize,
    rates: Rates,
}

impl Level {
    fn told(&self) -> Value {
        let Rates { receipts, confirmed } = self.rates;
        json!({ "under_way": self.under_way, "receipts": receipts, "confirmed": confirmed })
    }
}

/// What a cluster that was asked for too much must keep.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Requests that are lost or were done twice.
    wrong: usize,
    /// Of what it can do.
    share_of_peak: f64,
    /// What the node that held most held, and what one may.
    resident_mib: u64,
    resident_max_mib: u64,
}

impl Kept {
    /// What was not kept; empty where all was.
    fn broken(&self) -> Vec<String> {
        let Self { wrong, share_of_peak, resident_mib, resident_max_mib } = *self;
        let mut broken = Vec::new();
        if wrong > 0 {
            broken.push(format!("{wrong} requests were lost or done twice"));
        }
        if share_of_peak.is_nan() || share_of_peak < SHARE_MIN {
            broken.push(format!(
                "{share_of_peak} of what it can do was done, and {SHARE_MIN} is to be"
            ));
        }
        if resident_mib > resident_max_mib {
            broken.push(format!(
                "a node held {resident_mib} MiB, and {resident_max_mib} MiB is its bound"
            ));
        }
        broken
    }
}

fn resident_max_mib(before: &[u64], asked: usize) -> u64 {
    let each = (asked as u64).saturating_mul(RESIDENT_EACH_KIB) / 1024;
    let held = before.iter().max().copied().unwrap_or(0);
    (2 * held + RESIDENT_MORE_MIB).saturating_add(each).min(RESIDENT_MAX_MIB)
}

/// The level at which most was done.
fn best(levels: &[Level]) -> Option<Level> {
    levels.iter().copied().max_by(|a, b| a.rates.confirmed.total_cmp(&b.rates.confirmed))
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
    let levels = load.levels(lasts, output).await?;
    let peak = best(&levels).ok_or_else(|| CliError::failed("nothing was measured"))?;
    let (resident_before, asked_before) = (resident_mib(fleet)?, load.tally.requests());
    let busy_before = told_busy(fleet).await?;
    let offered = f64::from(args.times) * peak.rates.confirmed;
    output.say(format_args!("{offered:.0} requests a second, for {} s", args.seconds));
    load.regardless(offered, WARM).await?;
    let over = load.rates(lasts, async |load| load.regardless(offered, lasts).await).await?;
    let (resident_over, waiting) = (resident_mib(fleet)?, load.tally.open());
    let asked = load.tally.requests() - asked_before;
    let began = Instant::now();
    load.settle(output).await?;
    let served_after_s = began.elapsed().as_secs_f64().round();
    let (times, ms) = told_busy(fleet).await?;
    let (busy, busy_ms) = (times - busy_before.0, ms - busy_before.1);
    let resident_after = resident_mib(fleet)?;
    let (lost, peak_rates) = (load.tally.open(), peak.rates);
    let kept = Kept {
        wrong: lost + load.tally.duplicates() + load.tally.double_assignments(),
        share_of_peak: share(over.confirmed, peak_rates.confirmed),
        resident_mib: resident_over.iter().chain(&resident_after).max().copied().unwrap_or(0),
        resident_max_mib: resident_max_mib(&resident_before, asked),
    };
    let broken = kept.broken();
    let percent = |part: f64, whole: f64| (1000.0 * part / whole.max(1.0)).round() / 10.0;
    output.figures(json!({
        "peak_per_s": peak_rates.told(),
        "peak_per_second": peak_rates.confirmed,
        "peak_under_way": peak.under_way,
        "levels": levels.iter().map(Level::told).collect::<Vec<_>>(),
        "offered_per_s": offered,
        "overload_per_s": over.told(),
        "receipts_percent_of_peak": percent(over.receipts, peak_rates.receipts),
        "confirmed_percent_of_peak": percent(over.confirmed, peak_rates.confirmed),
        "share_of_peak": kept.share_of_peak,
        "busy": busy,
        "busy_mean_ms": percent(busy_ms as f64, busy as f64) / 100.0,
        "asked": asked,
        "not_taken": load.not_taken,
        "waiting_in_the_end": waiting,
        "served_after_s": served_after_s,
        "lost": lost,
        "refused": load.tally.refused(),
        "duplicates": load.tally.duplicates(),
        "double_assignments": load.tally.double_assignments(),
        "resident_mib_each": { "before": resident_before, "overload": resident_over, "after": resident_after },
        "resident_mib_max": kept.resident_max_mib,
        "broken": broken,
    }));
    if broken.is_empty() { Ok(()) } else { Err(CliError::failed(broken.join("; "))) }
}

/// To a thousandth.
fn share(part: f64, whole: f64) -> f64 {
    (1000.0 * part / whole).round() / 1000.0
}

/// How often devices were told to come again, and milliseconds that they were told in all.
async fn told_busy(fleet: &Fleet) -> Result<(u64, u64), CliError> {
    Ok((fleet.counted(BUSY).await?, fleet.counted(BUSY_MS).await?))
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

    /// What it can do with each number of requests under way.
    async fn levels(&mut self, lasts: Duration, output: &Output) -> Result<Vec<Level>, CliError> {
        let mut levels = Vec::with_capacity(UNDER_WAY.len());
        for under_way in UNDER_WAY {
            let seconds = lasts.as_secs();
            output.say(format_args!("with {under_way} requests under way, for {seconds} s"));
            self.as_answered(under_way, WARM).await?;
            let rates =
                self.rates(lasts, async |load| load.as_answered(under_way, lasts).await).await?;
            self.settle(output).await?;
            levels.push(Level { under_way, rates });
        }
        Ok(levels)
    }

    /// Asks as fast as it is answered.
    async fn as_answered(&mut self, under_way: usize, lasts: Duration) -> Result<(), CliError> {
        let end = Instant::now() + lasts;
        loop {
            while self.tally.open() < under_way {
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

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Kept =
        Kept { wrong: 0, share_of_peak: 0.8, resident_mib: 300, resident_max_mib: 300 };

    #[test]
    fn it_fails_by_what_is_lost_by_what_is_not_done_and_by_what_is_held() {
        assert!(WELL.broken().is_empty());
        let broken = |kept: Kept| kept.broken().len();
        assert_eq!(broken(Kept { wrong: 1, ..WELL }), 1);
        assert_eq!(broken(Kept { share_of_peak: 0.799, ..WELL }), 1);
        assert_eq!(broken(Kept { share_of_peak: share(0.0, 0.0), ..WELL }), 1, "nothing was done");
        assert_eq!(broken(Kept { resident_mib: 301, ..WELL }), 1);
    }

    #[test]
    fn what_a_node_may_hold_follows_from_what_it_held() {
        assert_eq!(resident_max_mib(&[100, 172], 6400), 2 * 172 + 256 + 100);
        assert_eq!(resident_max_mib(&[], 0), RESIDENT_MORE_MIB);
        assert_eq!(resident_max_mib(&[900], usize::MAX), RESIDENT_MAX_MIB);
    }

    #[test]
    fn the_peak_is_where_most_was_done_and_not_where_most_was_asked() {
        let level = |under_way, confirmed| Level {
            under_way,
            rates: Rates { receipts: 1000.0, confirmed },
        };
        let peak = best(&[level(32, 700.0), level(128, 900.0), level(512, 800.0)]);
        assert_eq!(peak.map(|level| level.under_way), Some(128));
        assert!(best(&[]).is_none());
    }
}
