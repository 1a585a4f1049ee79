//! A region loses all of its machines while faults go on, and begins again on another one with the copies that the first
//! region holds of it: what `fieldmesh promote` does, in the same steps.
//!
//! It is lost at a moment in which each copy is whole, so nothing that was acknowledged may be lost, although nobody
//! waits for copies. Copies are of what their holders know to be committed, which is written down late: until they are
//! frozen no machine loses its power. **Not here:** passphrases, files and HTTPS, which the simulation does not have;
//! regions of which copies lack something (`tests/standby.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::placement::{Command, Members, PLACEMENT, Placed, Policy};
use fieldmesh_node::{
    backup::{
        check::check,
        cut::Edges,
        promotion::{End, Promotion, misplaced, reconcile},
        trial::{Trial, TrialOptions},
    },
    consensus::{codec, standby::StandbyCopy},
    node::Node,
    store::{Engine, Role, simulated::Disk},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Land, World, host, laws,
    node::{Machine, Order},
};
use crate::world::SimEntropy;

/// The region is not lost sooner, and waits for its moment from then on at the latest.
const FIRST_MS: u64 = 3000;
const LAST_MS: u64 = 10_000;
/// How often operators look how far it is.
const LOOK_MS: u64 = 500;
/// What is drawn in a promotion is not what its node draws later.
const PROMOTION_SEED: u64 = 1 << 40;

/// What was frozen of the lost region's groups, and what the placement group told them and took from them.
#[derive(Clone, Default)]
pub(super) struct Copies(Arc<Mutex<Frozen>>);

#[derive(Clone, Default)]
struct Frozen {
    groups: BTreeMap<u32, StandbyCopy>,
    edges: Option<Edges>,
}

/// What a region begins again with.
#[derive(Clone)]
pub(super) struct Given {
    frozen: Frozen,
    edges: Edges,
    record: Members,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The region lives, with copies in the other one.
    Copied,
    Lost,
    /// A machine makes its groups of the copies.
    Promoting,
    Begun,
}

/// A region's loss.
pub(super) struct Loss {
    dice: StdRng,
    land: Arc<Land>,
    from: u64,
    stage: Stage,
    successor: Machine,
    copies: Copies,
}

impl Loss {
    /// Of a region, to which its successor belongs.
    pub(super) fn new(seed: u64, successor: Machine) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0x1055);
        let from = dice.random_range(FIRST_MS..LAST_MS);
        let (land, copies) = (Arc::clone(&successor.land), Copies::default());
        Self { dice, land, from, stage: Stage::Copied, successor, copies }
    }
}

impl World<'_, '_> {
    /// From now on the region may be lost.
    pub(super) fn begin_loss(&mut self) {
        let now = self.now();
        if let Some(loss) = &mut self.loss {
            loss.from += now;
        }
    }

    /// Whether nobody may lose its power, because what it knows is waited for.
    pub(super) fn awaits_copies(&self) -> bool {
        self.loss.as_ref().is_some_and(|loss| loss.stage == Stage::Lost)
    }

    /// The policy that a region is to keep.
    pub(super) fn kept_policy(&self, land: &Land) -> Option<Policy> {
        let loss = self.loss.as_ref().filter(|loss| loss.stage != Stage::Begun)?;
        (loss.land.index == land.index).then(|| Policy::Standby(self.lands[0].region()))
    }

    /// What is still missing for the lost region to be there again.
    pub(super) fn unpromoted(&self) -> Option<String> {
        let loss = self.loss.as_ref().filter(|loss| loss.stage != Stage::Begun)?;
        Some(format!("region {} is {:?}", loss.land.region(), loss.stage))
    }

    /// Goes on with what is due.
    pub(super) fn make_loss(&mut self) {
        let Some(mut loss) = self.loss.take() else { return };
        let is_due = self.is_due(LOOK_MS);
        match loss.stage {
            Stage::Copied if self.now() >= loss.from && self.is_whole(&loss) => {
                self.lose(&loss);
                loss.stage = Stage::Lost;
            }
            Stage::Copied if is_due => self.want_copies(&mut loss),
            Stage::Lost if is_due => {
                if let Some(given) = self.given(&mut loss) {
                    self.note(format_args!("node {} has all copies", loss.successor.number));
                    loss.successor.begins.send_replace(Some(given));
                    loss.stage = Stage::Promoting;
                }
            }
            Stage::Promoting if loss.successor.is_told() => {
                self.machines.push(loss.successor.clone());
                self.seen.promotions += 1;
                loss.stage = Stage::Begun;
            }
            Stage::Copied | Stage::Lost | Stage::Promoting | Stage::Begun => {}
        }
        self.loss = Some(loss);
    }

    fn want_copies(&self, loss: &mut Loss) {
        let region = loss.land.region();
        let policy = Policy::Standby(self.lands[0].region());
        let has = |known: Arc<Members>| known.home(region).is_some_and(|one| one.policy == policy);
        if !self.latest().is_some_and(has) {
            let by = "operator".to_owned();
            let order = Order::Say(Command::SetPolicy { region, policy, by });
            self.ask_some(&mut loss.dice, |_| true, order);
        }
    }

    /// Whether each group's holder abroad has all that any leader can have acknowledged.
    fn is_whole(&self, loss: &Loss) -> bool {
        let Some(known) = self.latest() else { return false };
        let Some(home) = known.home(loss.land.region()) else { return false };
        home.groups().all(|group| {
            let Some((leader, term)) = self.sight.led(group) else { return false };
            let Some(holder) = known.placed(group).and_then(|placed| self.holder(placed)) else {
                return false;
            };
            let leads = laws::applied(&self.machine(leader).disk, group);
            // Who has applied nothing in its own term may not have all of the terms before.
            let is_current = leads.as_ref().is_some_and(|bytes| {
                let applied = codec::decode_applied(bytes).unwrap().0;
                applied.is_some_and(|id| id.leader_id.term == term)
            });
            is_current && holder.ready().is_some() && laws::applied(&holder.disk, group) == leads
        })
    }

    /// Who of the first region has a copy of a group.
    fn holder(&self, placed: &Placed) -> Option<&Machine> {
        let holds = |machine: &&Machine| {
            machine.land.index == 0 && placed.learners.contains(&machine.number)
        };
        self.machines.iter().find(holds)
    }

    /// All machines of the region are gone, with their disks.
    fn lose(&mut self, loss: &Loss) {
        let is_lost = |machine: &Machine| machine.land.index == loss.land.index;
        let (lost, left): (Vec<Machine>, Vec<Machine>) =
            std::mem::take(&mut self.machines).into_iter().partition(is_lost);
        self.machines = left;
        for machine in &lost {
            self.sim.crash(host(machine.number));
            machine.lose_power(|_| 0);
        }
        self.departed.extend(lost);
        self.note(format_args!("region {} is lost", loss.land.region()));
    }

    /// What operators have by now for the region to begin again with, if that is all; else they ask for what is missing.
    fn given(&self, loss: &mut Loss) -> Option<Given> {
        let known = self.latest()?;
        let number = loss.successor.number;
        if known.member(number).is_none() {
            let order = Order::Restore(Box::new(loss.successor.clone()));
            self.ask_some(&mut loss.dice, |_| true, order);
            return None;
        }
        let frozen = loss.copies.0.lock().unwrap().clone();
        let of_region = known.groups.iter().filter(|placed| {
            known.home_of(placed.group).is_some_and(|home| home.index == loss.land.index)
        });
        let missing: Vec<&Placed> =
            of_region.filter(|placed| !frozen.groups.contains_key(&placed.group)).collect();
        if let Some(edges) = frozen.edges.clone().filter(|_| missing.is_empty()) {
            return Some(Given { frozen, edges, record: (*known).clone() });
        }
        for placed in missing {
            if let Some(holder) = self.holder(placed) {
                holder.order(Order::Freeze(placed.group, loss.copies.clone()));
            }
        }
        None
    }
}

/// Freezes what a node has of another region's group, as it is asked to over HTTPS; whether it did.
pub(super) async fn freeze(node: &Node, group: u32, copies: &Copies) -> bool {
    // Whoever the record says is gone is shut out here too, before anything is frozen.
    if !node.courier.catch_up_in_time(PLACEMENT).await {
        return false;
    }
    let known = node.known.known();
    let of_region: BTreeSet<u32> =
        known.home_of(group).into_iter().flat_map(|home| home.groups()).collect();
    let running = node.groups();
    let find = |number: u32| running.iter().find(|one| one.group == number);
    let (Some(held), Some(placement)) = (find(group), find(PLACEMENT)) else { return false };
    let Ok(copy) = held.standby_copy().await else { return false };
    let Ok(edges) = Edges::of(PLACEMENT, &*placement.table()) else { return false };
    let mut frozen = copies.0.lock().unwrap();
    frozen.groups.insert(group, copy);
    frozen.edges = Some(edges.towards(&of_region));
    true
}

/// Makes the region's groups on the machine's disk, runs them there alone, and asks everybody how it stands.
pub(super) async fn promote(machine: &Machine, given: Given, seed: u64) -> turmoil::Result {
    let Machine { number, land, disk, kit, .. } = machine;
    let Given { frozen, edges, record } = given;
    let entropy: Arc<dyn Entropy> = Arc::new(SimEntropy::new(seed ^ PROMOTION_SEED));
    let clock: Arc<dyn Clock> = Arc::new(machine.clock.steady());
    let engine: Arc<dyn Engine> = Arc::new(Disk::clone(disk));
    let home = record.home(land.region()).cloned().ok_or("the region has no record")?;
    let service = kit.secrets();
    let mut promotion = Promotion::new(land.region());
    for (group, copy) in frozen.groups {
        let end = End { term: copy.term, last: copy.last };
        let rows = copy.frozen.table.scan(&[], &[u8::MAX], usize::MAX)?;
        promotion.begin(&*engine, group, end)?.put(rows)?;
    }
    promotion.mend(&edges, &service.region_key, &*entropy)?;
    let moving = promotion.settle_slots(&home)?;
    promotion.end(*number, &*engine.open("log", Role::Log)?).await?;
    let groups: Vec<u32> = home.groups().collect();
    let (node, of_home) = (*number, home.clone());
    let options =
        TrialOptions { engine, groups: &groups, home: of_home, node, service, clock, entropy };
    let trial = Trial::start(options).await?;
    let report = check(&trial, |_| ())?;
    if let Some(first) = report.told.first() {
        return Err(format!("the copies have {} faults: {first}", report.faults).into());
    }
    if let Some((slot, group)) = misplaced(&trial, &home)? {
        return Err(format!("slot {slot} is not in group {group}").into());
    }
    let asked = reconcile(&trial, land.region(), record.epoch, |_| ()).await?;
    trial.stop().await?;
    machine.note(format_args!("begins again with its region: {asked:?}, {moving:?}"));
    machine.be_told(record);
    Ok(())
}
