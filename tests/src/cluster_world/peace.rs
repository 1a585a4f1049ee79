//! The time after the faults: operators undo what they did, and the cluster must come to be what is wanted,
//! with everything served.
//!
//! **Not here:** whether the replicas agree then (`laws`).

use std::{sync::Arc, time::Duration};

use fieldmesh_domain::placement::{
    self, Home, Member, Members, PLACEMENT, Placed, Policy, Presence,
};

use super::{SEEN_MS, World, laws, node::Order};

/// How long all may take until it is served and as it is wanted: a ticket that nobody took is offered again
/// after a minute.
const PATIENCE: Duration = Duration::from_secs(150);
/// Repetitions that are still under way may yet be seen.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// How often operators look at what is not yet as it was.
const LOOK_MS: u64 = 1000;
/// Voters of a shard whose region has the nodes for them.
const VOTERS: usize = 3;

impl World<'_, '_> {
    /// From the first node to the end.
    pub(super) fn live(&mut self) -> Result<(), String> {
        self.grow()?;
        self.suffer()?;
        self.recover()
    }

    pub(super) fn recover(&mut self) -> Result<(), String> {
        self.until(PATIENCE, SEEN_MS, |world| {
            world.make_moves();
            world.make_loss();
            if world.is_due(LOOK_MS) {
                world.restore();
            }
            world.unserved()
        })?;
        self.note("all is served");
        let end = self.sim.elapsed() + AFTERWARDS;
        while self.sim.elapsed() < end {
            if !self.step() {
                return Err("the simulation does not go on".into());
            }
        }
        self.until(PATIENCE, SEEN_MS, |world| world.unserved())
    }

    fn unserved(&self) -> Option<String> {
        let told = self.told.lock().unwrap();
        if !told.is_done(self.plan.all_requests()) {
            let open: Vec<_> = told.open().collect();
            return Some(format!("{} were asked for, not confirmed: {open:?}", told.requested()));
        }
        drop(told);
        self.unsettled().or_else(|| self.unpromoted())
    }

    /// Operators take back what they did.
    fn restore(&mut self) {
        let Some(known) = self.latest() else { return };
        let by = || "operator".to_owned();
        let mut orders = Vec::new();
        let leaving = self.leaving();
        let is_drained = |one: &&Member| one.presence == Presence::Draining;
        for member in known.members.iter().filter(is_drained) {
            if Some(member.number) == leaving {
                continue;
            }
            orders.push(placement::Command::Resume { number: member.number, by: by() });
        }
        let kept: Vec<u32> = self
            .lands
            .iter()
            .filter(|land| self.kept_policy(land).is_some())
            .map(|land| land.index)
            .collect();
        let is_changed = |home: &&Home| home.policy != Policy::Zone && !kept.contains(&home.index);
        for home in known.homes.iter().filter(is_changed) {
            let (region, policy) = (home.region, Policy::Zone);
            orders.push(placement::Command::SetPolicy { region, policy, by: by() });
        }
        for land in &self.lands {
            let mut all = self.numbers_of(land);
            all.retain(|number| Some(*number) != leaving);
            let Some(last) = all.last_chunk::<VOTERS>() else { continue };
            for group in (1..=land.shards).map(|shard| land.group(shard)) {
                if known.placed(group).is_some_and(|placed| placed.voters.len() < VOTERS) {
                    let voters = last.to_vec();
                    orders.push(placement::Command::Assign { group, voters, by: by() });
                }
            }
        }
        for order in orders {
            let ready = self.machines.iter().find(|machine| machine.ready().is_some());
            ready.map(|machine| machine.order(Order::Say(order)));
        }
    }

    /// What the node that knows most knows of the cluster.
    pub(super) fn latest(&self) -> Option<Arc<Members>> {
        let nodes = self.machines.iter().filter_map(|machine| machine.node());
        let known = nodes.map(|node| node.known.known());
        known.max_by_key(|known| known.epoch)
    }

    /// What is not yet as the placement group wants it.
    pub(super) fn unsettled(&self) -> Option<String> {
        let known = self.latest()?;
        for machine in &self.machines {
            let number = machine.number;
            let Some(node) = machine.ready() else {
                return Some(format!("node {number} does not serve"));
            };
            // Nearly always the epochs say so, which are compared first.
            if node.known.known() != known {
                return Some(format!("node {number} does not know the cluster as it is"));
            }
            let member = known.member(number);
            let is_whole = member.is_some_and(|member| {
                (member.presence, member.level) == (Presence::Active, placement::LEVEL)
            });
            if !is_whole {
                return Some(format!("node {number} is {member:?}"));
            }
        }
        if let Some(what) = self.unmoved(&known) {
            return Some(what);
        }
        let mut slots = known.homes.iter().flat_map(|home| &home.slots);
        if let Some(slot) = slots.find(|slot| slot.is_moving()) {
            return Some(format!("{slot:?} is moving"));
        }
        let groups = self.lands.len() as u32 * (self.plan.shards + 1) + 1;
        if known.groups.len() as u32 != groups {
            return Some(format!("{} groups of {groups} have places", known.groups.len()));
        }
        known.groups.iter().find_map(|placed| self.unsettled_group(&known, placed))
    }

    fn unsettled_group(&self, known: &Members, placed: &Placed) -> Option<String> {
        let Placed { group, voters, learners, .. } = placed;
        let Some(leader) = self.sight.leader(*group) else {
            return Some(format!("nobody leads group {group}"));
        };
        // As whoever asks for a rebalance waits for it.
        if known.preferred(*group) != Some(leader) {
            return Some(format!("group {group} is led by node {leader}"));
        }
        let node = self.machine(leader).node()?;
        let running = node.groups().into_iter().find(|one| one.group == *group)?;
        let replicas = running.replicas();
        let is_wanted = replicas.voters.iter().eq(voters) && replicas.learners.iter().eq(learners);
        if !is_wanted || !running.is_settled() {
            return Some(format!("group {group} is {replicas:?}, and is to be {placed:?}"));
        }
        let mut applied = None;
        for machine in &self.machines {
            let has_it = voters.contains(&machine.number) || learners.contains(&machine.number);
            let disk = &machine.disk;
            match laws::applied(disk, *group) {
                Some(_) if !has_it && *group != PLACEMENT => {
                    return Some(format!("node {} still has group {group}", machine.number));
                }
                found if has_it && *applied.get_or_insert_with(|| found.clone()) != found => {
                    return Some(format!("node {} is behind in group {group}", machine.number));
                }
                _ => {}
            }
            if has_it && !laws::is_at_rest(disk, *group) {
                return Some(format!("group {group} has something to tell, or mail"));
            }
        }
        None
    }
}
