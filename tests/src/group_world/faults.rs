//! What befalls the simulated group: crashes, cuts, slow disks; and the peace afterwards.
//!
//! Most crashes hit whoever leads at the moment. A node that crashes loses what it had not synced, or a
//! part of it. **Not here:** what leaders do to themselves (`node`).

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use turmoil::Sim;

use super::{FAULTS, PATIENCE, Plan, Seen, Shared, applied, host, node::STALL};
use crate::world::with_causes;
use fieldmesh_node::store::simulated::Disk;

/// What is mended later.
enum Mend {
    Start(u64),
    Join(Vec<(u64, u64)>),
    /// The disk is as fast as before.
    Speed(u64),
}

struct Faults<'a, 'sim> {
    sim: &'a mut Sim<'sim>,
    disks: &'a [Disk],
    plan: &'a Plan,
    seen: &'a Shared,
    dice: StdRng,
    /// When, and what.
    later: Vec<(u64, Mend)>,
    down: Vec<u64>,
}

/// Steps the simulation with its faults, then without, until all nodes have applied as much and one of
/// them leads and serves.
pub(super) fn drive(sim: &mut Sim<'_>, disks: &[Disk], plan: &Plan, seen: &Shared) {
    let dice = StdRng::seed_from_u64(plan.seed ^ 0xfa17);
    let (later, down) = (Vec::new(), Vec::new());
    let mut faults = Faults { sim, disks, plan, seen, dice, later, down };
    let mut next = 1000;
    loop {
        let now = faults.sim.elapsed().as_millis() as u64;
        let is_over = faults.sim.elapsed() > FAULTS;
        faults.mend(now, is_over);
        if !is_over && now >= next {
            faults.strike(now);
            next = now + faults.dice.random_range(50..faults.plan.pause_ms);
        }
        if is_over && faults.is_well() {
            return;
        }
        if faults.sim.elapsed() > FAULTS + PATIENCE {
            let mut seen = seen.lock().unwrap();
            let Seen { leading, served, .. } = &*seen;
            let fact = format!("the nodes do not come to agree: {leading:?} lead, {served} served");
            return seen.broken.push(fact);
        }
        if let Err(error) = faults.sim.step() {
            let why = with_causes(&*error);
            return seen.lock().unwrap().broken.push(format!("a node ended: {why}"));
        }
    }
}

/// What a leader may take to give the lead away once its disk stands still: until it is noticed, and an
/// election where the disk stood in the way of a transfer.
const GIVEN_AWAY_WITHIN: Duration = Duration::from_millis(3000);

/// A part of the disk of whoever leads stands still until another one leads and serves; then all must agree.
pub(super) fn stand_still(
    sim: &mut Sim<'_>,
    disks: &[Disk],
    plan: &Plan,
    seen: &Shared,
    hold_up: fn(&Disk, Duration),
) {
    let dice = StdRng::seed_from_u64(plan.seed);
    let (later, down) = (Vec::new(), Vec::new());
    let mut faults = Faults { sim, disks, plan, seen, dice, later, down };
    // Of the last term: one that cannot write its log does not come to know that it leads no more.
    let leader = |seen: &Shared| {
        let seen = seen.lock().unwrap();
        seen.leaders.last_key_value().and_then(|(_, leaders)| leaders.first().copied())
    };
    let is_led = faults.until(Duration::from_secs(10), |seen| leader(seen).is_some());
    let Some(stalled) = leader(seen).filter(|_| is_led) else { return };
    let disk = &disks[stalled as usize - 1];
    hold_up(disk, Duration::from_secs(30));
    let before = seen.lock().unwrap().acknowledged();
    let served = |seen: &Shared| seen.lock().unwrap().acknowledged() > before + 20;
    let within = STALL + GIVEN_AWAY_WITHIN;
    let gave = faults.until(within, |seen| leader(seen).is_some_and(|now| now != stalled));
    let is_served = gave && faults.until(Duration::from_secs(5), served);
    if !is_served {
        let fact = if gave {
            format!("nobody serves after node {stalled}, whose disk stands still, led no more")
        } else {
            format!("node {stalled} leads on with a disk that stands still")
        };
        return seen.lock().unwrap().broken.push(fact);
    }
    // Long enough for a transfer or an election that should not come.
    faults.until(Duration::from_secs(3), |seen| leader(seen) == Some(stalled));
    if leader(seen) == Some(stalled) {
        seen.lock().unwrap().broken.push(format!("node {stalled} leads again, and cannot write"));
    }
    hold_up(disk, Duration::ZERO);
    while !faults.is_well() {
        if faults.sim.elapsed() > FAULTS + PATIENCE {
            return seen.lock().unwrap().broken.push("the nodes do not come to agree".into());
        }
        faults.until(Duration::from_millis(100), |_| false);
    }
}

impl Faults<'_, '_> {
    /// Steps until something is so, for a while; whether it was.
    fn until(&mut self, within: Duration, is_so: impl Fn(&Shared) -> bool) -> bool {
        let end = self.sim.elapsed() + within;
        while self.sim.elapsed() < end {
            if is_so(self.seen) {
                return true;
            }
            if self.sim.step().is_err() {
                self.seen.lock().unwrap().broken.push("a node ended".into());
                return false;
            }
        }
        false
    }

    fn note(&self, now: u64, what: String) {
        self.seen.lock().unwrap().note_at(now, what);
    }

    fn any(&mut self) -> u64 {
        self.dice.random_range(1..=self.plan.nodes)
    }

    fn strike(&mut self, now: u64) {
        match self.dice.random_range(0..10) {
            0..6 => {
                let leading = self.seen.lock().unwrap().leading.clone();
                let leader = leading.into_iter().max_by_key(|(_, term)| *term);
                match leader {
                    Some((number, _)) => self.crash(now, number),
                    None => {
                        let number = self.any();
                        self.crash(now, number);
                    }
                }
            }
            6 => {
                let number = self.any();
                self.crash(now, number);
            }
            7 | 8 => self.cut(now),
            _ => self.slow(now),
        }
    }

    fn crash(&mut self, now: u64, number: u64) {
        if self.down.contains(&number) {
            return;
        }
        self.sim.crash(host(number));
        let is_kept = self.dice.random::<bool>();
        let dice = &mut self.dice;
        self.disks[number as usize - 1]
            .crash_keeping(|count| if is_kept { dice.random_range(0..=count) } else { 0 });
        let led = {
            let mut seen = self.seen.lock().unwrap();
            let led = seen.leading.remove(&number).is_some();
            seen.crashes += 1;
            seen.leader_crashes += usize::from(led);
            led
        };
        let role = if led { "leading " } else { "" };
        self.note(now, format!("{role}node {number} crashes"));
        self.down.push(number);
        let back = now + self.dice.random_range(10..1500);
        self.later.push((back, Mend::Start(number)));
    }

    /// Cuts two nodes off each other, one off all others, or some off the rest; in both directions or
    /// in one.
    fn cut(&mut self, now: u64) {
        let nodes = self.plan.nodes;
        let side: Vec<u64> = match self.dice.random_range(0..3) {
            0 => vec![self.any()],
            1 => (1..=nodes / 2).collect(),
            _ => Vec::new(),
        };
        let mut links: Vec<(u64, u64)> = if side.is_empty() {
            let first = self.any();
            let second = (first + self.dice.random_range(0..nodes - 1)) % nodes + 1;
            vec![(first, second)]
        } else {
            let rest = (1..=nodes).filter(|number| !side.contains(number));
            rest.flat_map(|to| side.iter().map(move |from| (*from, to))).collect()
        };
        let direction = self.dice.random_range(0..4);
        if direction == 0 {
            links.iter_mut().for_each(|(from, to)| std::mem::swap(from, to));
        }
        let is_one_way = direction < 2;
        for (from, to) in &links {
            if is_one_way {
                self.sim.partition_oneway(host(*from), host(*to));
            } else {
                self.sim.partition(host(*from), host(*to));
            }
        }
        self.seen.lock().unwrap().cuts += 1;
        let arrow = if is_one_way { "towards" } else { "between" };
        self.note(now, format!("nothing passes {arrow} {links:?}"));
        let healed = now + self.dice.random_range(100..3000);
        self.later.push((healed, Mend::Join(links)));
    }

    fn slow(&mut self, now: u64) {
        let number = self.any();
        let takes = self.dice.random_range(50..1500);
        self.disks[number as usize - 1].set_sync_takes(Duration::from_millis(takes));
        self.note(now, format!("a sync of node {number} takes {takes} ms"));
        let healed = now + self.dice.random_range(500..3000);
        self.later.push((healed, Mend::Speed(number)));
    }

    /// Mends what is due, or all.
    fn mend(&mut self, now: u64, all: bool) {
        let (due, later) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| all || *at <= now);
        self.later = later;
        for (_, mend) in due {
            match mend {
                Mend::Start(number) => {
                    self.down.retain(|down| *down != number);
                    self.sim.bounce(host(number));
                }
                Mend::Join(links) => {
                    for (from, to) in links {
                        self.sim.repair(host(from), host(to));
                        self.sim.repair_oneway(host(from), host(to));
                    }
                }
                Mend::Speed(number) => {
                    let takes = self.plan.sync_ms[number as usize - 1];
                    self.disks[number as usize - 1].set_sync_takes(Duration::from_millis(takes));
                }
            }
        }
    }

    fn is_well(&self) -> bool {
        is_well(self.disks, self.seen)
    }
}

/// Whether somebody leads who has served since faults were over, and all nodes have applied as much.
pub(super) fn is_well(disks: &[Disk], seen: &Shared) -> bool {
    let has_served = {
        let seen = seen.lock().unwrap();
        seen.served > 5 && !seen.leading.is_empty()
    };
    has_served && {
        let first = applied(&disks[0]);
        first.is_some() && disks.iter().all(|disk| applied(disk) == first)
    }
}
