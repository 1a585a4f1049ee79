//! What befalls the simulated cluster: crashes, cuts, full and slow disks, wrong clocks; and operators who
//! give commands all the same.
//!
//! Most crashes hit whoever leads. A machine that loses its power loses what was not synced, or a part of
//! it. What befalls disks alone has its own dice and its own hours, so that the rest of a run is drawn as it
//! would be without. **Not here:** what comes afterwards (`peace`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_domain::{
    EntityId,
    placement::{self, Policy},
};
use fieldmesh_node::store::Role;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{FAULTS, Land, World, host, node::Order, told};

/// The first fault comes so long after everybody is there.
const FIRST_MS: u64 = 500;
/// The longest pause between two faults of disks alone.
const DISK_PAUSE_MS: u64 = 5000;

/// What is mended later.
enum Mend {
    Start(u64),
    /// Hosts, in pairs.
    Join(Vec<(String, String)>),
    /// The disk is as fast as before.
    Speed(u64),
    /// The disk has room again.
    Room(u64),
    Clock(u64),
}

struct Faults<'w, 'a, 'sim> {
    world: &'w mut World<'a, 'sim>,
    dice: StdRng,
    disk_dice: StdRng,
    /// When, and what.
    later: Vec<(u64, Mend)>,
    down: BTreeSet<u64>,
}

impl World<'_, '_> {
    /// Steps with faults for a while; then all is mended.
    pub(super) fn suffer(&mut self) -> Result<(), String> {
        let (began, dice) = (self.now(), StdRng::seed_from_u64(self.plan.seed ^ 0xfa17));
        let until = began + FAULTS.as_millis() as u64;
        let pause_ms = self.plan.pause_ms;
        let has_disks = self.plan.disks && pause_ms.is_some();
        let disk_dice = StdRng::seed_from_u64(self.plan.seed ^ 0xd15c);
        let (mut next, mut next_disk) = (began + FIRST_MS, began + FIRST_MS);
        let (later, down) = (Vec::new(), BTreeSet::new());
        if self.plan.moves && pause_ms.is_some() {
            self.draw_moves();
        }
        self.begin_loss();
        let mut faults = Faults { world: self, dice, disk_dice, later, down };
        loop {
            let now = faults.world.now();
            faults.mend(now, now >= until);
            if now >= until {
                faults.world.note("nothing befalls anybody any more");
                return Ok(());
            }
            if let Some(pause_ms) = pause_ms.filter(|_| now >= next) {
                faults.strike(now);
                next = now + faults.dice.random_range(50..pause_ms);
            }
            if has_disks && now >= next_disk {
                faults.strike_disk(now);
                next_disk = now + faults.disk_dice.random_range(50..DISK_PAUSE_MS);
            }
            faults.world.make_moves();
            faults.world.make_loss();
            if !faults.world.step() {
                return Err("the simulation does not go on".into());
            }
        }
    }
}

impl Faults<'_, '_, '_> {
    fn any(&mut self) -> u64 {
        let machines = &self.world.machines;
        machines[self.dice.random_range(0..machines.len())].number
    }

    fn land(&mut self) -> Arc<Land> {
        let at = self.dice.random_range(0..self.world.lands.len());
        Arc::clone(&self.world.lands[at])
    }

    fn strike(&mut self, now: u64) {
        match self.dice.random_range(0..16) {
            0..6 => {
                let number = self.leader();
                self.crash(now, number);
            }
            6 => {
                let number = self.any();
                self.crash(now, number);
            }
            7..9 => self.cut_nodes(now),
            9 => self.cut_device(now),
            10 => self.slow(now),
            11 => self.set_clock(now),
            _ => self.command(),
        }
    }

    /// Whoever leads most groups, or any that leads one.
    fn leader(&mut self) -> u64 {
        let leaders = self.world.sight.leaders();
        let most = leaders.iter().max_by_key(|(_, groups)| **groups).map(|(number, _)| *number);
        let any: Vec<u64> = leaders.into_keys().collect();
        match most {
            None => self.any(),
            Some(most) if self.dice.random() => most,
            Some(_) => any[self.dice.random_range(0..any.len())],
        }
    }

    fn crash(&mut self, now: u64, number: u64) {
        if self.world.awaits_copies() || !self.down.insert(number) {
            return;
        }
        let led = self.world.sight.leaders().get(&number).copied().unwrap_or(0);
        self.world.sim.crash(host(number));
        let (is_kept, dice) = (self.dice.random::<bool>(), &mut self.dice);
        let kept = |count| if is_kept { dice.random_range(0..=count) } else { 0 };
        self.world.machine(number).lose_power(kept);
        self.world.seen.crashes += 1;
        self.world.seen.leader_crashes += usize::from(led > 0);
        self.world.note(format_args!("node {number} crashes, and led {led} groups"));
        let back = now + self.dice.random_range(10..1500);
        self.later.push((back, Mend::Start(number)));
    }

    /// Cuts two nodes off each other, one off all others, some off the rest, or a region off the rest; in
    /// both directions or in one.
    fn cut_nodes(&mut self, now: u64) {
        let all: Vec<u64> = self.world.machines.iter().map(|machine| machine.number).collect();
        let side: Vec<u64> = match self.dice.random_range(0..4) {
            0 => vec![self.any()],
            1 => all[..all.len() / 2].to_vec(),
            2 if self.world.lands.len() > 1 => {
                let land = self.land();
                self.world.numbers_of(&land)
            }
            _ => Vec::new(),
        };
        let mut links: Vec<(u64, u64)> = if side.is_empty() {
            let first = self.dice.random_range(0..all.len());
            let second = (first + self.dice.random_range(1..all.len())) % all.len();
            vec![(all[first], all[second])]
        } else {
            let rest = all.iter().filter(|number| !side.contains(number));
            rest.flat_map(|to| side.iter().map(move |from| (*from, *to))).collect()
        };
        let direction = self.dice.random_range(0..4);
        if direction == 0 {
            links.iter_mut().for_each(|(from, to)| std::mem::swap(from, to));
        }
        let arrow = if direction < 2 { "towards" } else { "between" };
        self.world.note(format_args!("nothing passes {arrow} nodes {links:?}"));
        let links = links.into_iter().map(|(from, to)| (host(from), host(to))).collect();
        self.cut(now, links, direction < 2);
    }

    /// Cuts somebody's device, or those on one line, off a node.
    fn cut_device(&mut self, now: u64) {
        let land = self.land();
        let lines: Vec<String> = land.lines().into_iter().map(|(line, _)| line).collect();
        let numbers = self.world.numbers_of(&land);
        if numbers.is_empty() {
            return;
        }
        let line = lines[self.dice.random_range(0..lines.len())].clone();
        let number = numbers[self.dice.random_range(0..numbers.len())];
        self.world.note(format_args!("nothing passes between {line} and node {number}"));
        self.cut(now, vec![(line, host(number))], false);
    }

    fn cut(&mut self, now: u64, links: Vec<(String, String)>, is_one_way: bool) {
        for (from, to) in &links {
            if is_one_way {
                self.world.sim.partition_oneway(from.as_str(), to.as_str());
            } else {
                self.world.sim.partition(from.as_str(), to.as_str());
            }
        }
        self.world.seen.cuts += 1;
        let healed = now + self.dice.random_range(100..3000);
        self.later.push((healed, Mend::Join(links)));
    }

    fn slow(&mut self, now: u64) {
        let (number, takes) = (self.any(), self.dice.random_range(50..1500));
        self.world.machine(number).disk.set_sync_takes(Duration::from_millis(takes));
        self.world.note(format_args!("a sync of node {number} takes {takes} ms"));
        let healed = now + self.dice.random_range(500..3000);
        self.later.push((healed, Mend::Speed(number)));
    }

    /// A disk is full, or slow for its logs or its states alone. States go to it when they are written down,
    /// and their logs end there: whoever is behind then gets the state itself.
    fn strike_disk(&mut self, now: u64) {
        let at = self.disk_dice.random_range(0..self.world.machines.len());
        let (number, takes) =
            (self.world.machines[at].number, self.disk_dice.random_range(50..1500));
        let (kind, lasts) =
            (self.disk_dice.random_range(0..3), self.disk_dice.random_range(300..3000));
        let machine = self.world.machine(number);
        let slow = |role| machine.disk.set_sync_takes_of(role, Duration::from_millis(takes));
        let what = match kind {
            0 => {
                machine.disk.set_room(Some(0));
                "the disk is full".to_owned()
            }
            1 => {
                slow(Role::Log);
                format!("a sync of a log takes {takes} ms")
            }
            _ => {
                slow(Role::State);
                let is_told = machine.order(Order::Compact);
                format!("a sync of a state takes {takes} ms, and it is to compact: {is_told}")
            }
        };
        self.world.note(format_args!("node {number}: {what}"));
        let seen = &mut self.world.seen;
        let (count, mend) = match kind {
            0 => (&mut seen.full_disks, Mend::Room(number)),
            1 => (&mut seen.slow_logs, Mend::Speed(number)),
            _ => (&mut seen.slow_states, Mend::Speed(number)),
        };
        *count += 1;
        self.later.push((now + lasts, mend));
    }

    fn set_clock(&mut self, now: u64) {
        let (number, off_ms) = (self.any(), self.dice.random_range(-60_000..60_000));
        self.world.machine(number).clock.set(off_ms);
        self.world.note(format_args!("the clock of node {number} is {off_ms} ms off"));
        let healed = now + self.dice.random_range(100..5000);
        self.later.push((healed, Mend::Clock(number)));
    }

    /// An operator gives some node that runs a command.
    fn command(&mut self) {
        let by = "operator".to_owned();
        let command = match self.dice.random_range(0..7) {
            0 | 1 => {
                self.world.seen.drains += 1;
                placement::Command::Drain { number: self.any(), by }
            }
            2 => placement::Command::Resume { number: self.any(), by },
            3 => {
                self.world.seen.assignments += 1;
                self.assignment(by)
            }
            4 if self.world.lands.len() > 1 => self.policy(by),
            _ => self.move_of_slots(by),
        };
        let asked = self.any();
        // One that is down takes no orders.
        let is_given = self.world.machine(asked).order(Order::Say(command.clone()));
        self.world.note(format_args!("node {asked} is to say {}: {is_given}", told(&command)));
    }

    /// Who votes in a shard: one node of its region, or as many as may.
    fn assignment(&mut self, by: String) -> placement::Command {
        let alone = self.dice.random::<bool>();
        let shard = self.dice.random_range(1..=self.world.plan.shards);
        let land = self.land();
        let numbers = self.world.numbers_of(&land);
        let voters = match (alone, numbers.len()) {
            (false, 3..) => numbers[..3].to_vec(),
            (_, 0) => vec![land.first],
            (_, many) => vec![numbers[self.dice.random_range(0..many)]],
        };
        placement::Command::Assign { group: land.group(shard), voters, by }
    }

    /// Whether a region's data have a copy in the other one.
    fn policy(&mut self, by: String) -> placement::Command {
        let at = self.dice.random_range(0..self.world.lands.len());
        let [region, other] = [at, 1 - at].map(|at| self.world.lands[at].region());
        let policy = if self.dice.random() { Policy::Standby(other) } else { Policy::Zone };
        let policy = self.world.kept_policy(&self.world.lands[at]).unwrap_or(policy);
        self.world.seen.policies += 1;
        placement::Command::SetPolicy { region, policy, by }
    }

    /// Some slots in which there is somebody are to be served by another shard.
    fn move_of_slots(&mut self, by: String) -> placement::Command {
        let shard = self.dice.random_range(1..=self.world.plan.shards);
        let at = self.dice.random_range(0..self.world.lands.len());
        let land = &self.world.lands[at];
        let region = land.region();
        // The desk is in the first.
        let ids = land.people.iter().map(|person| person.id).chain([EntityId::desk(region)]);
        let inhabited: BTreeSet<u16> = ids.map(EntityId::slot).collect();
        let dice = &mut self.dice;
        let slots = inhabited.into_iter().filter(|_| dice.random_range(0..3) == 0).collect();
        placement::Command::MoveSlots { region, slots, to: land.group(shard), by }
    }

    /// Mends what is due, or all.
    fn mend(&mut self, now: u64, all: bool) {
        if !all && self.later.iter().all(|(at, _)| *at > now) {
            return;
        }
        let (due, later) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| all || *at <= now);
        self.later = later;
        for (_, mend) in due {
            match mend {
                Mend::Start(number) => {
                    self.down.remove(&number);
                    // One that was lost meanwhile stays so.
                    if self.world.machines.iter().any(|machine| machine.number == number) {
                        self.world.sim.bounce(host(number));
                    }
                }
                Mend::Join(links) => {
                    for (from, to) in links {
                        self.world.sim.repair(from.as_str(), to.as_str());
                        self.world.sim.repair_oneway(from.as_str(), to.as_str());
                    }
                }
                Mend::Speed(number) => self.world.machine(number).mend_disk(),
                Mend::Room(number) => self.world.machine(number).disk.set_room(None),
                Mend::Clock(number) => self.world.machine(number).clock.set(0),
            }
        }
    }
}
