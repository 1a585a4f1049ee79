//! How the simulated cluster comes to be: its first node begins, operators let the others in, and people are
//! taken in.
//!
//! **Not here:** where groups come to live (the product), faults (`faults`).

use std::time::Duration;

use fieldmesh_domain::placement::{self, Phase};

use super::{World, authority, node::Order};

/// A node that starts, or is let in, takes so long at most.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// All groups have their places.
const GROWN_WITHIN: Duration = Duration::from_secs(60);

impl World<'_, '_> {
    /// Until every group is on all nodes where it is to be, and everybody was taken in.
    pub(super) fn grow(&mut self) -> Result<(), String> {
        for at in 0..self.machines.len() {
            if at > 0 {
                self.let_in(at)?;
            }
            self.until(STEP_WITHIN, |world| {
                let machine = &world.machines[at];
                machine.ready().is_none().then(|| format!("node {} does not start", machine.number))
            })?;
        }
        self.until(GROWN_WITHIN, |world| world.unsettled())?;
        for land in self.lands.clone() {
            self.machine(land.first).order(Order::Populate);
            self.until(STEP_WITHIN, |_| {
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
        self.until(STEP_WITHIN, |world| {
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
