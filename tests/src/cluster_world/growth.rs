//! How the simulated cluster comes to be: its first node begins, operators let the others in, and people with
//! their devices are taken in.
//!
//! **Not here:** where groups come to live (the product), faults (`faults`).

use std::{cell::Cell, sync::Arc, time::Duration};

use fieldmesh_domain::placement::{self, Phase};
use tokio::task::JoinSet;
use turmoil::Sim;

use super::{
    FAULTS, Land, Plan, SEEN_MS, World, authority, host,
    node::{self, Machine, Order},
};
use crate::world::people::{Habits, Person, Shared, live};

/// A node that starts, or is let in, takes so long at most.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// All groups have their places.
const GROWN_WITHIN: Duration = Duration::from_secs(60);
/// What is cheap is looked at in each step.
const EACH_MS: u64 = 1;

impl World<'_, '_> {
    /// Until every group is on all nodes where it is to be, and everybody was taken in.
    pub(super) fn grow(&mut self) -> Result<(), String> {
        for at in 0..self.machines.len() {
            if at > 0 {
                self.let_in(at)?;
            }
            self.until(STEP_WITHIN, EACH_MS, |world| {
                let machine = &world.machines[at];
                machine.ready().is_none().then(|| format!("node {} does not start", machine.number))
            })?;
        }
        let every_ms = if self.plan.eager { EACH_MS } else { SEEN_MS };
        self.until(GROWN_WITHIN, every_ms, |world| world.unsettled())?;
        if !self.plan.eager {
            host_devices(self.sim, &self.plan, &self.lands, &self.told);
        }
        for land in self.lands.clone() {
            self.machine(land.first).order(Order::Populate);
            self.until(STEP_WITHIN, EACH_MS, |_| {
                let is_open = *land.is_open.borrow();
                (!is_open).then(|| format!("nobody lives in {}", land.region()))
            })?;
        }
        self.note("everybody is there");
        Ok(())
    }

    /// An operator of its region lets a node in; of a new region, one of the first region, where its authority
    /// is introduced before.
    fn let_in(&mut self, at: usize) -> Result<(), String> {
        let machine = self.machines[at].clone();
        let is_founder = machine.number == machine.land.first;
        let by = self.machine(if is_founder { self.lands[0].first } else { machine.land.first });
        let by = by.clone();
        if is_founder {
            let ca = authority::issuing(&machine.land, Phase::Introduced);
            by.order(Order::Say(placement::Command::Introduce { ca, by: "operator".into() }));
        }
        let mut asked = None;
        self.until(STEP_WITHIN, EACH_MS, |world| {
            // Nodes may not know the region's authority yet.
            let second = Some(world.sim.elapsed().as_secs());
            if asked != second {
                asked = second;
                by.order(Order::Admit(Box::new(machine.clone())));
            }
            (!machine.is_told()).then(|| format!("node {} is not let in", machine.number))
        })
    }
}

/// Puts the nodes on the network.
pub(super) fn host_nodes(sim: &mut Sim<'_>, plan: &Plan, machines: &[Machine]) {
    for machine in machines {
        let (machine, incarnation) = (machine.clone(), Cell::new(0));
        let seed = plan.seed * 100_000 + machine.number * 1000;
        sim.host(host(machine.number), move || {
            incarnation.set(incarnation.get() + 1);
            node::run(machine.clone(), seed + incarnation.get())
        });
    }
}

/// Puts the devices on the network. Until people are taken in they have nothing to do.
pub(super) fn host_devices(sim: &mut Sim<'_>, plan: &Plan, lands: &[Arc<Land>], told: &Shared) {
    for land in lands {
        let habits = |person: &Person| {
            let index = land.people.iter().position(|one| one.id == person.id).unwrap();
            // People know where the region will be if it is lost.
            let mut nodes: Vec<String> = land.numbers().chain(land.successor).map(host).collect();
            let first = index % nodes.len();
            nodes.rotate_left(first);
            let pause_ms = FAULTS.as_millis() as u64 * 3 / 2 / plan.requests as u64;
            let seed = plan.seed * 1000 + u64::from(land.index) * 100 + index as u64 * 2;
            let late = plan.late && index <= plan.customers;
            Habits { nodes, requests: plan.requests, pause_ms, seed, late }
        };
        for (line, owners) in land.lines() {
            let owners: Vec<(Person, Habits)> =
                owners.into_iter().map(|one| (one.clone(), habits(one))).collect();
            let (land, told) = (Arc::clone(land), Arc::clone(told));
            sim.host(line, move || together(owners.clone(), Arc::clone(&land), Arc::clone(&told)));
        }
    }
}

/// The devices on one host.
async fn together(owners: Vec<(Person, Habits)>, land: Arc<Land>, told: Shared) -> turmoil::Result {
    let mut devices = JoinSet::new();
    for (person, habits) in owners {
        devices.spawn_local(dwell(person, Arc::clone(&land), habits, Arc::clone(&told)));
    }
    while let Some(ended) = devices.join_next().await {
        ended??;
    }
    Ok(())
}

/// Somebody's device, from when everybody was taken in.
async fn dwell(person: Person, land: Arc<Land>, habits: Habits, told: Shared) -> turmoil::Result {
    land.is_open.subscribe().wait_for(|is_open| *is_open).await?;
    live(person, Arc::clone(&land.authority), habits, told).await
}
