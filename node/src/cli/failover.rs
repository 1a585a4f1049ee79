//! `bench failover`: nodes killed under load, and how long their shards gave no reply.
//!
//! Each customer asks again and again, whatever happens; what is measured is the time from the death of a
//! node that led a shard to the first receipt, on any device, for a request that was made afterwards in
//! that shard; and how long the shard was silent at most while somebody waited, against the same before. Of a node
//! that is drained also how long each shard that it led committed nothing (`handover`).
//! **Invariant:** the load goes on until the last kill is over, and every request is accounted for; one that is refused is
//! a failure as one that is lost is, because there is nothing in it to refuse. **Not here:** the nodes (`fleet`), silences
//! (`silence`), what became of each request (`tally`).

use std::{collections::BTreeSet, time::Duration};

use clap::Args;
use fieldmesh_actors::commit::ShardId;
use fieldmesh_device::{Client, Event};
use fieldmesh_domain::{
    EntityId,
    message::{Location, ReceiptStatus, RequestBody},
    placement::Home,
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    CliError, Common, Output,
    fleet::{Fleet, NODES_MAX, Shape, on_cluster},
    handover::{Handovers, Said},
    import::progress,
    population::{Population, Work, live, place},
    silence::{Receipt, Silences},
    tally::{Sighting, Tally, percentiles, spread},
};
use crate::web::{
    cluster::ClusterView,
    rest::{NewCustomer, NewSkill, NewTechnician, Point},
};

/// What the technicians can do, and the customers ask for.
const CATEGORY: u16 = 1;
/// A customer's pause between two requests.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// One answers one message after the other, each a commit: more of them than the load needs.
const TECHNICIANS_PER_NODE: usize = 3;
/// What is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Load before a kill, so that it hits work under way.
const WARM: Duration = Duration::from_secs(1);
/// How often it is looked whether a drained node leads anything yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Nodes of the cluster, on this machine.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=NODES_MAX))]
    nodes: u64,
    /// How often a node is killed.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Shards.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: u32,
    /// Customers that ask five times a second each.
    #[arg(long, default_value_t = 24)]
    customers: usize,
    /// Nodes are drained and resumed instead of killed.
    #[arg(long)]
    drain: bool,
}

pub(crate) async fn run(args: &FailoverArgs, output: &Output) -> Result<(), CliError> {
    let shape = Shape::of(args.nodes, args.shards);
    on_cluster(&args.common, shape, output, async |fleet| measure(args, fleet, output).await).await
}

/// The load: customers that ask, and what all devices saw.
struct Load {
    tally: Tally,
    sightings: mpsc::Receiver<Sighting>,
    sent: mpsc::Receiver<Sent>,
    customers: Vec<JoinHandle<()>>,
    shards: u32,
    /// Where there are customers.
    asked: BTreeSet<ShardId>,
    silences: Silences,
}

struct Sent {
    customer: EntityId,
    message_id: [u8; 16],
    at: Instant,
}

/// The shard of a device of the cluster's first region.
fn shard_of(device: EntityId, shards: u32) -> ShardId {
    Home::new(device.region(), 0, shards).group_of(device)
}

impl Load {
    async fn start(args: &FailoverArgs, fleet: &Fleet) -> Result<Self, CliError> {
        let population = Population::new(fleet.api()?, false)?.spread(fleet.devices());
        let (seen, sightings) = mpsc::channel(4096);
        let (tell, sent) = mpsc::channel(4096);
        for number in 0..TECHNICIANS_PER_NODE * fleet.len() {
            let skills = vec![NewSkill { category: CATEGORY, level: 3, expires_ms: None }];
            let (name, capacity) = (format!("technician {number}"), u16::MAX);
            let technician = NewTechnician { name, home: place(number), skills, capacity };
            let enrolled = population.technician(&technician).await?;
            let device = population.connect(enrolled)?;
            tokio::spawn(live(device, Work::Completes, seen.clone()));
        }
        let (shards, mut asked) = (args.shards, BTreeSet::new());
        let mut customers = Vec::with_capacity(args.customers);
        for number in 0..args.customers {
            let (name, location) = (format!("customer {number}"), place(number));
            let customer = NewCustomer { name, location, tier: 2, zone: None };
            let enrolled = population.customer(&customer).await?;
            let device = population.connect(enrolled)?;
            asked.insert(shard_of(device.id, shards));
            let asking = ask(device.id, device.client.clone(), tell.clone());
            tokio::spawn(live(device, Work::Accepts, seen.clone()));
            customers.push(tokio::spawn(asking));
        }
        let (tally, silences) = (Tally::default(), Silences::default());
        Ok(Self { tally, sightings, sent, customers, shards, asked, silences })
    }

    /// Takes in what happens until something is so, for a bounded time.
    async fn until(&mut self, patience: Duration, mut is_so: impl FnMut(&Receipt) -> bool) -> bool {
        let end = Instant::now() + patience;
        loop {
            let next = tokio::select! {
                biased;
                Some(sent) = self.sent.recv() => {
                    self.note(&sent);
                    continue;
                }
                Some(sighting) = self.sightings.recv() => sighting,
                () = tokio::time::sleep_until(end) => return false,
            };
            self.tally.see(&next);
            if let Some(receipt) = self.receipt(&next)
                && is_so(&receipt)
            {
                return true;
            }
        }
    }

    fn note(&mut self, sent: &Sent) {
        self.tally.sent(sent.customer, sent.message_id, sent.at);
        let shard = shard_of(sent.customer, self.shards);
        self.silences.asked(sent.message_id, shard, sent.at);
    }

    fn receipt(&mut self, sighting: &Sighting) -> Option<Receipt> {
        let Event::Receipt { message_id, body } = &sighting.event else { return None };
        let receipt = self.silences.answered(message_id, sighting.at)?;
        (body.status == ReceiptStatus::Received).then_some(receipt)
    }

    /// No more requests; waits for what is under way.
    async fn end(&mut self) {
        for customer in &self.customers {
            customer.abort();
        }
        while let Ok(sent) = self.sent.try_recv() {
            self.note(&sent);
        }
        while self.tally.open() > 0 {
            match timeout(PATIENCE, self.sightings.recv()).await {
                Ok(Some(sighting)) => self.tally.see(&sighting),
                Ok(None) | Err(_) => return,
            }
        }
    }
}

async fn ask(customer: EntityId, client: Client, sent: mpsc::Sender<Sent>) {
    let Point { lat_e6, lon_e6 } = place(0);
    let body = RequestBody {
        category: CATEGORY,
        subcategory: 0,
        impact: 2,
        urgency: 2,
        location: Location { lat_e6, lon_e6 },
        text: "a request under load".into(),
    };
    loop {
        let at = Instant::now();
        let Ok(message_id) = client.request(&body).await else { return };
        if sent.send(Sent { customer, message_id, at }).await.is_err() {
            return;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn measure(args: &FailoverArgs, fleet: &mut Fleet, output: &Output) -> Result<(), CliError> {
    let mut load = Load::start(args, fleet).await?;
    let bar = progress(args.kills as u64, output);
    bar.set_message(if args.drain { "drains" } else { "kills" });
    let mut found = Found::default();
    for kill in 0..args.kills {
        let view = settled(fleet, &mut load).await?;
        load.silences.take(&BTreeSet::new());
        let was = Said::by(fleet).await?;
        load.until(WARM, |_| false).await;
        let victim = kill as u64 % args.nodes + 1;
        let mut shards = led_by(&view, victim);
        shards.retain(|shard| load.asked.contains(shard));
        found.before.extend(load.silences.take(&shards));
        let at = if args.drain { drain(fleet, victim).await? } else { fleet.kill(victim).await? };
        let after = first_replies(&mut load, at, shards.clone()).await?;
        let said: Vec<String> =
            after.iter().map(|(shard, ms)| format!("shard {shard} {ms:.0} ms")).collect();
        bar.println(format!("node {victim}: {}", said.join(", ")));
        found.replies.extend(after.into_iter().map(|(_, ms)| ms));
        if args.drain {
            // What is asked before a shard's turn is answered by who led it.
            drained(fleet, victim, &mut load).await?;
            load.until(WARM, |_| false).await;
            found.handovers.given(victim, &shards, &was, &Said::by(fleet).await?);
            let path = format!("/v1/cluster/members/{victim}/resume");
            let _: Value = fleet.api()?.post(&path, &json!({})).await?;
        } else {
            fleet.restart(victim).await?;
        }
        found.silences.extend(load.silences.take(&shards));
        bar.inc(1);
    }
    bar.finish_and_clear();
    settled(fleet, &mut load).await?;
    load.end().await;
    let unfilled = fleet.count_tickets("unfilled").await?;
    report(args, &load.tally, found, unfilled, output)
}

/// Milliseconds, of each shard that was affected.
#[derive(Default)]
struct Found {
    /// From the death to the first receipt for what was asked afterwards.
    replies: Vec<f64>,
    /// The longest silence.
    silences: Vec<f64>,
    /// The same in the second before.
    before: Vec<f64>,
    /// Of drains.
    handovers: Handovers,
}

/// The groups that a node leads.
fn led_by(view: &ClusterView, node: u64) -> BTreeSet<ShardId> {
    let led = view.groups.iter().filter(|group| group.leader == Some(node));
    led.map(|group| group.group).collect()
}

async fn drain(fleet: &Fleet, victim: u64) -> Result<Instant, CliError> {
    let at = Instant::now();
    let path = format!("/v1/cluster/members/{victim}/drain");
    let _: Value = fleet.api()?.post(&path, &json!({})).await?;
    Ok(at)
}

/// Waits until a node leads nothing any more, while the load goes on.
async fn drained(fleet: &Fleet, node: u64, load: &mut Load) -> Result<(), CliError> {
    let end = Instant::now() + PATIENCE;
    while !led_by(&fleet.view().await?, node).is_empty() {
        if Instant::now() > end {
            return Err(CliError::failed(format!("node {node} is not drained")));
        }
        load.until(LOOK_EVERY, |_| false).await;
    }
    Ok(())
}

/// The load goes on meanwhile.
async fn settled(fleet: &Fleet, load: &mut Load) -> Result<ClusterView, CliError> {
    let settled = fleet.settled();
    tokio::pin!(settled);
    loop {
        tokio::select! {
            view = &mut settled => return view,
            _ = load.until(PATIENCE, |_| false) => {}
        }
    }
}

/// Milliseconds from a moment to the first receipt in each shard for what was asked after it.
async fn first_replies(
    load: &mut Load,
    since: Instant,
    mut shards: BTreeSet<ShardId>,
) -> Result<Vec<(ShardId, f64)>, CliError> {
    let mut replies = Vec::with_capacity(shards.len());
    while !shards.is_empty() {
        let mut found = None;
        let is_it = |receipt: &Receipt| {
            let is_it = receipt.asked >= since && shards.contains(&receipt.shard);
            if is_it {
                found = Some((receipt.shard, (receipt.at - since).as_secs_f64() * 1000.0));
            }
            is_it
        };
        if !load.until(PATIENCE, is_it).await {
            return Err(CliError::failed(format!("no reply any more from shards {shards:?}")));
        }
        if let Some((shard, after_ms)) = found {
            shards.remove(&shard);
            replies.push((shard, after_ms));
        }
    }
    Ok(replies)
}

fn report(
    args: &FailoverArgs,
    tally: &Tally,
    found: Found,
    unfilled: usize,
    output: &Output,
) -> Result<(), CliError> {
    let Found { replies, silences, before, handovers } = found;
    let count = replies.len();
    let [p50, p99, max] = percentiles(replies);
    let lost = tally.open().saturating_sub(unfilled);
    let result = json!({
        "nodes": args.nodes,
        "kills": args.kills,
        "shards_affected": count,
        "first_reply_ms_p50": p50,
        "first_reply_ms_p99": p99,
        "first_reply_ms_max": max,
        "silence_ms": spread(silences),
        "silence_before_ms": spread(before),
        "handovers": handovers.told(),
        "requests": tally.requests(),
        "confirmed": tally.confirmed(),
        "refused": tally.refused(),
        "unfilled": unfilled,
        "lost": lost,
        "open": tally.open_ones(),
        "duplicates": tally.duplicates(),
        "double_assignments": tally.double_assignments(),
        "submit_to_receipt_ms": tally.to_receipt(),
    });
    output.figures(result);
    judged(tally, lost)
}

/// Whether a promise was broken to any device.
fn judged(tally: &Tally, lost: usize) -> Result<(), CliError> {
    match lost + tally.refused() + tally.duplicates() + tally.double_assignments() {
        0 => Ok(()),
        _ => Err(CliError::failed(
            "a promise was broken: see lost, refused, duplicates, double_assignments",
        )),
    }
}

#[cfg(test)]
mod tests {
    use fieldmesh_domain::{EntityKind, Region, message::ReceiptBody};

    use super::*;

    #[test]
    fn a_request_that_is_lost_or_refused_breaks_a_promise()
    -> Result<(), fieldmesh_domain::ids::IdError> {
        let customer = EntityId::new(EntityKind::Customer, "eu1".parse::<Region>()?, [7; 10]);
        let (at, message_id) = (Instant::now(), [1; 16]);
        let mut tally = Tally::default();
        tally.sent(customer, message_id, at);
        assert!(judged(&tally, 0).is_ok());
        assert!(judged(&tally, 1).is_err());
        let (status, reason) = (ReceiptStatus::Invalid, "the node goes".to_owned());
        let event =
            Event::Receipt { message_id, body: ReceiptBody { status, ticket: None, reason } };
        tally.see(&Sighting { who: customer, event, at });
        assert_eq!(tally.open(), 0, "it is not lost");
        assert!(judged(&tally, 0).is_err());
        Ok(())
    }
}
