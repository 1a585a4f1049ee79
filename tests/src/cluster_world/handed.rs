//! A group is given from its only voter to a node that is away, and the voter fails meanwhile.
//!
//! By what is wanted then the voter is to have nothing of the group any more; but nobody else has anything of it yet.
//! **Not here:** failures that are drawn by chance (`faults`), what must be so in the end (`peace`).

use std::{sync::Arc, time::Duration};

use fieldmesh_domain::placement::{Command, Members, Presence};

use super::{SEEN_MS, World, host, node::Order, told};

/// The cluster has what an operator wants.
const STEP_WITHIN: Duration = Duration::from_secs(20);

impl World<'_, '_> {
    /// From the first node to the end.
    pub(super) fn live_handed(&mut self) -> Result<(), String> {
        self.grow()?;
        let land = Arc::clone(&self.lands[0]);
        let (voter, heir, third) = (land.first, land.first + 1, land.first + 2);
        let (group, by) = (land.group(1), || "operator".to_owned());
        let votes = |number: u64| {
            let is_so = move |known: &Members| {
                known.placed(group).is_some_and(|placed| placed.voters == [number])
            };
            (Command::Assign { group, voters: vec![number], by: by() }, is_so)
        };
        let is = |presence: Presence| {
            move |known: &Members| {
                known.member(third).is_some_and(|member| member.presence == presence)
            }
        };
        let (command, is_so) = votes(voter);
        self.say(voter, &command, is_so)?;
        self.until(STEP_WITHIN, SEEN_MS, |world| {
            let is_alone = world.votes_alone(voter, group);
            (!is_alone).then(|| format!("group {group} has other voters than node {voter}"))
        })?;
        self.fail(heir);
        let (command, is_so) = votes(heir);
        self.say(voter, &command, is_so)?;
        // What is committed is on disk with what follows.
        self.say(voter, &Command::Drain { number: third, by: by() }, is(Presence::Draining))?;
        self.say(voter, &Command::Resume { number: third, by: by() }, is(Presence::Active))?;
        self.fail(voter);
        for number in [voter, heir] {
            self.sim.bounce(host(number));
        }
        self.recover()
    }

    /// Has a node say something until it knows that it is so.
    fn say(
        &mut self,
        by: u64,
        command: &Command,
        is_so: impl Fn(&Members) -> bool,
    ) -> Result<(), String> {
        let mut asked = None;
        self.until(STEP_WITHIN, SEEN_MS, |world| {
            let machine = world.machine(by);
            let known = machine.node().map(|node| node.known.known());
            if known.is_some_and(|known| is_so(&known)) {
                return None;
            }
            let second = Some(world.sim.elapsed().as_secs());
            if asked != second {
                asked = second;
                machine.order(Order::Say(command.clone()));
            }
            Some(format!("{} is not so", told(command)))
        })
    }

    /// Whether a node leads a group as its only voter.
    fn votes_alone(&self, number: u64, group: u32) -> bool {
        let Some(node) = self.machine(number).node() else { return false };
        let running = node.groups().into_iter().find(|one| one.group == group);
        running.is_some_and(|group| {
            let is_led = group.led().is_some() && group.is_settled();
            is_led && group.replicas().voters.iter().eq([&number])
        })
    }

    /// A machine loses its power, and what it had not synced.
    fn fail(&mut self, number: u64) {
        self.sim.crash(host(number));
        self.machine(number).lose_power(|_| 0);
        self.seen.crashes += 1;
        self.note(format_args!("node {number} crashes"));
    }
}
