//! Breaks what a timeline says, when it says, and mends it again.
//!
//! **Invariants:** what was broken is noted once it is, and mended in the end whatever happens; a fault that
//! could not be is noted as that; one that was to be over and began late holds up the next that takes a node. **Not here:** when (`fieldmesh_chaos::Timeline`), whether a node does it to
//! itself or the kernel to the node (`plane`), processes (`fleet`).

mod certificates;
mod disks;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fieldmesh_chaos::{Fault, Phase, Pick, Strike, Target, Timeline, history::What};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    endings::Ending,
    ground::Ground,
    guards::{self, Amid},
    load::Load,
    nodes::{Nodes, Reachable},
    plane::Plane,
    recorder::Recorder,
    rot::Rot,
    rotation,
};
use crate::{
    cli::{CliError, fleet::Unstarted},
    web::chaos::ChaosView,
};

const NOT_AGAIN: &str = "it does not start again";

/// What a run breaks.
pub(super) struct Striker<'a, 'g> {
    pub(super) ground: &'a mut Ground<'g>,
    pub(super) recorder: &'a Recorder,
    pub(super) target: Target,
    /// From when times count.
    pub(super) start: Instant,
    pub(super) nodes: Nodes,
    pub(super) plane: Plane,
    /// Customers' devices that may be revoked, with how their owners are called.
    pub(super) revocable: Vec<String>,
    /// Strikes that are not over.
    pub(super) under_way: BTreeMap<u32, UnderWay>,
    /// Nodes whose files are damaged.
    pub(super) damaged: BTreeMap<u64, Rot>,
    /// Devices whose certificates have ended, by the strike that they ended for.
    pub(super) expired: BTreeMap<u32, Vec<Ending>>,
    pub(super) load: &'a mut Load,
}

/// A strike that is not over.
pub(super) struct UnderWay {
    strike: Strike,
    /// Whom it befalls.
    nodes: Vec<u64>,
    /// It lasts as long as it was to, also where it began late.
    until: Instant,
}

/// What the history says of a node that does not run: of what the run itself could not do the product has no fault.
fn unstarted(node: u64, how: &str, why: &Unstarted) -> What {
    match why {
        Unstarted::Node(error) => What::Down { node: Some(node), why: format!("{how}: {error}") },
        Unstarted::Harness(error) => What::Harness { why: format!("of node {node}: {error}") },
    }
}

impl Striker<'_, '_> {
    /// Strikes until all is over, or the run is given up; in the end all is mended.
    pub(super) async fn run(&mut self, timeline: &Timeline, mut given_up: watch::Receiver<bool>) {
        let mut coming = timeline.0.iter().copied().peekable();
        loop {
            let may_begin = coming.peek().filter(|strike| !self.waits(strike));
            let begin = may_begin.map(|strike| self.start + Duration::from_millis(strike.at_ms));
            let over = self.under_way.iter().map(|(number, one)| (one.until, *number)).min();
            let Some(next) = over.map(|(until, _)| until).into_iter().chain(begin).min() else {
                break;
            };
            tokio::select! {
                biased;
                // Where the run's time is over meanwhile, what is late comes all the same.
                Ok(_) = given_up.wait_for(|is_so| *is_so) => break,
                () = sleep_until(next) => {}
            }
            // What is over makes room for what begins.
            match over.filter(|(until, _)| *until <= next) {
                Some((_, number)) => self.end(number).await,
                None => {
                    if let Some(strike) = coming.next() {
                        if !self.may_strike(&strike).await {
                            break;
                        }
                        self.begin(strike).await;
                    }
                }
            }
        }
        let left: Vec<u32> = self.under_way.keys().copied().collect();
        for number in left {
            self.end(number).await;
        }
    }

    fn waits(&self, strike: &Strike) -> bool {
        self.under_way.values().any(|one| strike.waits_for(&one.strike))
    }

    /// Whether the run goes on; else it is given up.
    async fn may_strike(&self, strike: &Strike) -> bool {
        if let Some(why) = self.recorder.give_up().or_else(|| self.recorder.is_not_normal()) {
            // Whoever watches is told the same, also where it is so no more by then.
            self.recorder.is_over(why);
            return false;
        }
        let Ground::There(there) = &*self.ground else { return true };
        let (own, is_under_way) = (self.plane.leases().numbers().await, self.may_lack());
        let amid = Amid { target: self.target, own, taken: self.taken(), is_under_way };
        match guards::amid(there, strike, &amid).await {
            None => true,
            Some(why) => {
                self.recorder.is_over(why);
                false
            }
        }
    }

    /// Whether groups may lack a voter by what is under way.
    fn may_lack(&self) -> bool {
        self.under_way.values().any(|one| one.strike.fault.may_take_a_node())
    }

    /// Nodes that strikes under way take out.
    fn taken(&self) -> BTreeSet<u64> {
        let taking = self.under_way.values().filter(|one| one.strike.fault.takes_a_node());
        taking.flat_map(|one| one.nodes.iter().copied()).collect()
    }

    fn note(&self, strike: &Strike, node: Option<u64>, phase: Phase, why: impl ToString) {
        self.felt(strike, node, phase, why, None);
    }

    /// The same, with what it did where that is counted.
    fn felt(
        &self,
        strike: &Strike,
        node: Option<u64>,
        phase: Phase,
        why: impl ToString,
        effect: Option<u64>,
    ) {
        let (number, fault, why) = (strike.number, strike.fault, why.to_string());
        self.recorder.note(What::Fault { strike: number, fault, node, phase, why, effect });
    }

    /// Whom a strike befalls now.
    fn picked(&self, strike: &Strike) -> Vec<u64> {
        let mut there = self.there();
        there.retain(|node| self.between(strike, *node).is_some());
        self.picked_of(strike.pick, strike.dice, there)
    }

    /// Nodes that nothing has taken out.
    fn there(&self) -> Vec<u64> {
        let taken = self.taken();
        self.nodes.all().into_keys().filter(|node| !taken.contains(node)).collect()
    }

    /// The strike as a node is asked for it: the other end of a link is a node by its number. None where there is none.
    fn between(&self, strike: &Strike, node: u64) -> Option<Strike> {
        let Fault::Link { with, network } = strike.fault else { return Some(*strike) };
        let others = self.there().into_iter().filter(|other| *other != node).collect();
        let other = self.picked_of(with, strike.dice, others).first().copied()?;
        Some(Strike { fault: Fault::Link { with: Pick::Node(other), network }, ..*strike })
    }

    /// Of these nodes those that a pick means now.
    fn picked_of(&self, pick: Pick, dice: u64, there: Vec<u64>) -> Vec<u64> {
        let one_of = |all: Vec<u64>| {
            let at = dice % all.len().max(1) as u64;
            all.get(usize::try_from(at).unwrap_or(0)).copied().into_iter().collect()
        };
        match pick {
            Pick::Nobody => Vec::new(),
            Pick::All => there,
            Pick::Node(node) => there.into_iter().filter(|one| *one == node).collect(),
            Pick::Random => one_of(there),
            Pick::Leader(shard) => {
                let leaders = self.nodes.leaders().into_iter();
                let leaders =
                    leaders.filter(|(group, _)| shard.is_none_or(|shard| shard == *group));
                let leaders: BTreeSet<u64> = leaders.map(|(_, node)| node).collect();
                one_of(there.into_iter().filter(|node| leaders.contains(node)).collect())
            }
        }
    }

    async fn begin(&mut self, strike: Strike) {
        match strike.fault {
            Fault::Revoke { devices } => return self.revoke(strike, devices).await,
            Fault::Expire { devices } => return self.expire(strike, devices).await,
            Fault::Join | Fault::Rotate => return self.change(strike).await,
            _ => {}
        }
        let picked = self.picked(&strike);
        if picked.is_empty() {
            return self.note(
                &strike,
                None,
                Phase::Skipped,
                "there was no node that it could befall",
            );
        }
        let nodes = match strike.fault {
            Fault::BrokenDisk | Fault::PowerCut if !self.plane.is_of_the_kernel(&strike) => {
                self.end_by_disk(&strike, picked).await
            }
            Fault::FlippedBits { bits } => self.turn_bits(&strike, picked, bits).await,
            _ => self.harm_each(&strike, picked).await,
        };
        let lasts = Duration::from_millis(strike.until_ms.saturating_sub(strike.at_ms));
        let until = Instant::now() + lasts;
        self.under_way.insert(strike.number, UnderWay { strike, nodes, until });
    }

    /// Those that were harmed.
    async fn harm_each(&mut self, strike: &Strike, picked: Vec<u64>) -> Vec<u64> {
        let mut nodes = Vec::new();
        for node in picked {
            let Some(asked) = self.between(strike, node) else {
                self.note(strike, Some(node), Phase::Skipped, "the link had no other end");
                continue;
            };
            let strike = &asked;
            // It is felt while it is done, and not only behind it.
            let is_long = strike.fault.starts_again();
            if is_long {
                self.note(strike, Some(node), Phase::Installed, "");
            }
            match self.harm(strike, node).await {
                Ok(effect) => {
                    nodes.push(node);
                    if !is_long {
                        let by = self.plane.by(strike);
                        self.felt(strike, Some(node), Phase::Installed, by, effect);
                    }
                }
                Err(error) => self.note(strike, Some(node), Phase::Failed, error),
            }
        }
        nodes
    }

    /// What it did, where that is known at once.
    async fn harm(&mut self, strike: &Strike, node: u64) -> Result<Option<u64>, CliError> {
        let api = self.nodes.all().remove(&node).map(|node| node.api);
        let api = api.ok_or_else(|| CliError::failed(format!("node {node} is out already")))?;
        match strike.fault {
            Fault::Kill => {
                self.nodes.is_out(node);
                self.ground.fleet()?.kill(node).await?;
            }
            Fault::Pause => {
                self.nodes.is_out(node);
                self.ground.fleet()?.pause(node)?;
            }
            Fault::Restart | Fault::Upgrade => {
                self.nodes.is_out(node);
                let fleet = self.ground.fleet()?;
                fleet.terminate(node).await?;
                if strike.fault == Fault::Upgrade {
                    fleet.upgrade(node)?;
                }
                if let Err(why) = self.start(node).await {
                    self.recorder.note(unstarted(node, NOT_AGAIN, &why));
                    // What was not mended does not count as over.
                    if let Unstarted::Harness(error) = why {
                        return Err(error);
                    }
                }
            }
            Fault::Drain => {
                let path = format!("/v1/cluster/members/{node}/drain");
                let _: Value = api.post(&path, &json!({})).await?;
            }
            Fault::Herd => {
                let view: ChaosView = api.post("/v1/chaos/herd", &json!({})).await?;
                return Ok(view.effect);
            }
            Fault::BrokenDisk => {
                self.nodes.is_out(node);
                // It may end before it answers.
                let asked = self.plane.begin(strike, node, api, self.ground).await;
                match self.ground.fleet()?.ends(node).await {
                    Ok(code) => self.is_ended_by_disk(node, code),
                    Err(error) => {
                        self.is_back(node)?;
                        return Err(asked.err().unwrap_or(error));
                    }
                }
            }
            _ => self.plane.begin(strike, node, api, self.ground).await?,
        }
        Ok(None)
    }

    async fn start(&mut self, node: u64) -> Result<(), Unstarted> {
        self.ground.fleet()?.restart(node).await?;
        self.is_back(node).map_err(Unstarted::Harness)
    }

    /// From now on it can be asked.
    fn is_back(&mut self, node: u64) -> Result<(), CliError> {
        let (api, process) = (self.ground.api_of(node)?, self.ground.process_of(node)?);
        self.nodes.is_back(node, Reachable { api, process });
        Ok(())
    }

    async fn end(&mut self, number: u32) {
        let Some(UnderWay { strike, nodes, .. }) = self.under_way.remove(&number) else { return };
        if strike.fault.ends_the_process() {
            return self.start_again(&strike, &nodes).await;
        }
        if matches!(strike.fault, Fault::Expire { .. }) {
            return self.renew(&strike).await;
        }
        for node in nodes {
            match self.heal(&strike, node).await {
                Ok(effect) => self.felt(&strike, Some(node), Phase::Ended, "", effect),
                Err(error) => {
                    let why = format!("fault {number} of node {node} does not end: {error}");
                    self.recorder.note(What::Harness { why });
                }
            }
        }
    }

    /// What it did, where that is known now.
    async fn heal(&mut self, strike: &Strike, node: u64) -> Result<Option<u64>, CliError> {
        match strike.fault {
            Fault::Pause => {
                self.ground.fleet()?.go_on(node)?;
                self.is_back(node)?;
            }
            fault if fault.is_done_at_once() => {}
            Fault::Drain => {
                let path = format!("/v1/cluster/members/{node}/resume");
                let _: Value = self.ground.api()?.post(&path, &json!({})).await?;
            }
            _ => return self.plane.end(strike, node, self.ground).await,
        }
        Ok(None)
    }

    /// What changes the cluster itself, and stays.
    async fn change(&mut self, strike: Strike) {
        // It is felt while it is done.
        self.note(&strike, None, Phase::Installed, "");
        let changed = match strike.fault {
            Fault::Join => self.join().await,
            _ => rotation::rotate(self.ground).await,
        };
        match changed {
            Ok(()) => self.note(&strike, None, Phase::Ended, ""),
            Err(error) => self.note(&strike, None, Phase::Failed, error),
        }
    }

    async fn join(&mut self) -> Result<(), CliError> {
        let fleet = self.ground.fleet()?;
        fleet.grow().await?;
        let node = fleet.len() as u64;
        self.is_back(node)
    }
}

#[cfg(test)]
mod tests;
