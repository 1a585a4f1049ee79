//! A machine joins and another one leaves for good while faults go on, as operators have it.
//!
//! Both are drawn from dice of their own, so that the rest of a run is drawn as it would be without them. Whatever
//! befalls the cluster meanwhile, operators repeat what they want until it is so, each time to some node that serves.
//! Who leaves is one of those that devices know from the beginning, and another one of its region stays. **Not here:**
//! where groups come to live (the product), how a node hears that it was removed (`node`), what else must be so in the
//! end (`peace`).

use std::{slice, sync::Arc};

use fieldmesh_domain::placement::{Command, Members, PLACEMENT, Presence};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    World, growth, host,
    node::{Machine, Order},
};

/// Neither begins before, nor after so long.
const FIRST_MS: u64 = 500;
const JOINS_BY_MS: u64 = 8000;
const LEAVES_BY_MS: u64 = 15_000;
/// How often operators look how far it is.
const LOOK_MS: u64 = 1000;

/// What operators want of the cluster's machines.
pub(super) struct Moves {
    dice: StdRng,
    joins_at: u64,
    leaves_at: u64,
    joining: Option<u64>,
    leaving: Option<u64>,
}

impl World<'_, '_> {
    /// From now on machines come and go.
    pub(super) fn draw_moves(&mut self) {
        let (began, mut dice) = (self.now(), StdRng::seed_from_u64(self.plan.seed ^ 0x6017));
        let joins_at = began + dice.random_range(FIRST_MS..JOINS_BY_MS);
        let leaves_at = began + dice.random_range(FIRST_MS..LEAVES_BY_MS);
        self.moves = Some(Moves { dice, joins_at, leaves_at, joining: None, leaving: None });
    }

    /// Goes on with what is due.
    pub(super) fn make_moves(&mut self) {
        let Some(mut moves) = self.moves.take() else { return };
        let now = self.now();
        if moves.joining.is_none() && now >= moves.joins_at {
            moves.joining = Some(self.add_machine(&mut moves.dice));
        }
        if moves.leaving.is_none() && now >= moves.leaves_at {
            moves.leaving = Some(self.one_to_leave(&mut moves.dice));
        }
        if self.is_due(LOOK_MS) {
            self.go_on(&mut moves);
        }
        self.moves = Some(moves);
    }

    /// A machine of some region, whose node waits to be let in.
    fn add_machine(&mut self, dice: &mut StdRng) -> u64 {
        let land = Arc::clone(&self.lands[dice.random_range(0..self.lands.len())]);
        let number = land.first + land.nodes;
        let sync_ms = self.plan.sync_ms[dice.random_range(0..self.plan.sync_ms.len())];
        let machine = Machine::new(number, &land, sync_ms, &self.told);
        growth::host_nodes(self.sim, &self.plan, slice::from_ref(&machine));
        self.machines.push(machine);
        self.seen.joins += 1;
        self.note(format_args!("node {number} is there to join"));
        number
    }

    fn one_to_leave(&self, dice: &mut StdRng) -> u64 {
        let able: Vec<u64> = self
            .lands
            .iter()
            .filter(|land| land.nodes > 1)
            .flat_map(|land| land.numbers())
            .collect();
        let number = able[dice.random_range(0..able.len())];
        self.note(format_args!("node {number} is to leave"));
        number
    }

    fn go_on(&self, moves: &mut Moves) {
        let Some(known) = self.latest() else { return };
        let joining = moves.joining.map(|number| self.machine(number));
        if let Some(machine) = joining.filter(|machine| !machine.is_told()) {
            // An operator of its region lets it in.
            let index = machine.land.index;
            let order = Order::Admit(Box::new(machine.clone()));
            self.ask_some(&mut moves.dice, |by| by.land.index == index, order);
        }
        let Some(number) = moves.leaving else { return };
        let by = "operator".to_owned();
        let command = match known.member(number).map(|member| member.presence) {
            Some(Presence::Active) => Command::Drain { number, by },
            Some(Presence::Draining | Presence::Away) => Command::Leave { number, by },
            Some(Presence::Leaving | Presence::Gone) | None => return,
        };
        self.ask_some(&mut moves.dice, |_| true, Order::Say(command));
    }

    /// Gives some node that serves an order.
    pub(super) fn ask_some(&self, dice: &mut StdRng, may: impl Fn(&Machine) -> bool, order: Order) {
        let serves = |by: &&Machine| may(by) && by.ready().is_some();
        let able: Vec<&Machine> = self.machines.iter().filter(serves).collect();
        if !able.is_empty() {
            able[dice.random_range(0..able.len())].order(order);
        }
    }

    /// Ends the node that was told that it was removed, as the server does.
    pub(super) fn end_removed(&mut self) {
        let Some(at) = self.machines.iter().position(Machine::is_removed) else { return };
        let machine = self.machines.remove(at);
        self.sim.crash(host(machine.number));
        // The machine has its power.
        machine.lose_power(|written| written);
        self.seen.leaves += 1;
        self.note(format_args!("node {} ends", machine.number));
        self.departed.push(machine);
    }

    /// The node that is to leave, or has left.
    pub(super) fn leaving(&self) -> Option<u64> {
        self.moves.as_ref()?.leaving
    }

    /// What is not yet as operators want the machines to be. That who joined serves, and has what it is to have, is seen
    /// to where all are.
    pub(super) fn unmoved(&self, known: &Members) -> Option<String> {
        let moves = self.moves.as_ref()?;
        let places = |number: u64| {
            let has = |voters: &[u64], learners: &[u64]| {
                voters.contains(&number) || learners.contains(&number)
            };
            let all = known.groups.iter().filter(|one| has(&one.voters, &one.learners));
            all.map(|placed| placed.group).collect::<Vec<u32>>()
        };
        let (Some(joining), Some(leaving)) = (moves.joining, moves.leaving) else {
            return Some("nobody has come, or gone".into());
        };
        if places(joining).iter().all(|group| *group == PLACEMENT) {
            return Some(format!("node {joining} has no group of its region"));
        }
        if known.member(leaving).is_none_or(|member| member.presence != Presence::Gone) {
            return Some(format!("node {leaving} is {:?}", known.member(leaving)));
        }
        if !places(leaving).is_empty() {
            return Some(format!("node {leaving} has groups {:?}", places(leaving)));
        }
        let runs = self.machines.iter().any(|machine| machine.number == leaving);
        runs.then(|| format!("node {leaving} was removed, and runs"))
    }
}
