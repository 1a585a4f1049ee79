//! A replicated group on several nodes under simulated time, network and disk, with faults; and the laws.
//!
//! Mesh and consensus run as they are. Each node proposes while it leads (`node`), faults come one
//! after the other (`faults`), or as a script has them (`halves`), and when they are over the group must come to agree
//! and serve.
//!
//! Laws: what was acknowledged is on every node in the end, as it was acknowledged; a term has one
//! leader; terms in the log never fall; all nodes have the same log and the same state.

mod faults;
mod halves;
mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use fieldmesh_actors::{
    commit::{Cause, Commit},
    seams::Clock,
};
use fieldmesh_domain::EntityId;
use fieldmesh_node::{
    consensus::codec,
    store::{
        Engine, Role, Row, Table,
        keys::{log, state},
        simulated::Disk,
    },
};
use fieldmesh_pki::Kind;

use self::halves::Hands;
use crate::{
    mesh::identity,
    pki::Authority,
    world::{EPOCH_MS, SimClock},
};

const GROUP: u32 = 7;
/// How long faults go on, and how long the group may take afterwards until all agree and it serves.
const FAULTS: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(40);

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub nodes: u64,
    /// Milliseconds that a sync of each node's disk takes, in turn.
    pub sync_ms: [u64; 5],
    /// The longest pause between two faults.
    pub pause_ms: u64,
}

impl Plan {
    /// The plan of the sweep.
    pub fn of(seed: u64) -> Self {
        let sync_ms = match seed % 4 {
            0 => [0; 5],
            1 => [1, 2, 5, 20, 1],
            2 => [2; 5],
            _ => [60, 1, 1, 80, 1],
        };
        let nodes = if seed.is_multiple_of(3) { 5 } else { 3 };
        Self { seed, nodes, sync_ms, pause_ms: [1200, 2500][(seed / 12) as usize % 2] }
    }
}

/// A commit that was acknowledged: its entity, the version before it, its record.
type Acknowledged = BTreeMap<([u8; 16], u64), Vec<u8>>;

/// What the nodes said.
#[derive(Debug, Default)]
pub struct Seen {
    pub trace: Vec<String>,
    pub broken: Vec<String>,
    /// Crashes of a node that led.
    pub leader_crashes: usize,
    pub crashes: usize,
    pub cuts: usize,
    pub transfers: usize,
    pub changes: usize,
    /// Nodes whose state came from a snapshot in the end.
    pub installed: usize,
    acknowledged: Acknowledged,
    /// Who led in each term.
    leaders: BTreeMap<u64, BTreeSet<u64>>,
    /// Who leads now, and since which term, as far as each node knows.
    leading: BTreeMap<u64, u64>,
    /// Commits acknowledged after the faults were over.
    served: usize,
}

impl Seen {
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// How many terms had a leader.
    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    fn note(&mut self, what: String) {
        self.note_at(SimClock.now_ms() - EPOCH_MS, what);
    }

    fn note_at(&mut self, at_ms: u64, what: String) {
        self.trace.push(format!("{at_ms} {what}"));
    }

    fn leads(&mut self, number: u64, term: u64) {
        self.leading.insert(number, term);
        let of_term = self.leaders.entry(term).or_default();
        if of_term.insert(number) {
            let several = of_term.len() > 1;
            self.note(format!("node {number} leads in term {term}"));
            if several {
                self.broken.push(format!("term {term} has two leaders"));
            }
        }
    }

    fn acknowledge(&mut self, entity: [u8; 16], version: u64, record: Vec<u8>, is_calm: bool) {
        self.served += usize::from(is_calm);
        if let Some(before) = self.acknowledged.insert((entity, version), record)
            && before != self.acknowledged[&(entity, version)]
        {
            self.broken.push(format!("version {version} of {entity:x?} was acknowledged twice"));
        }
    }
}

type Shared = Arc<Mutex<Seen>>;

fn host(number: u64) -> String {
    format!("n{number}")
}

/// One for all runs: what is signed has no part in them.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new(EPOCH_MS / 1000))
}

/// Runs a plan to its end.
pub fn run(plan: Plan) -> Seen {
    with(plan, true, None, faults::drive)
}

/// Runs a plan in which nobody is struck, but the disk of whoever leads stands still for a while. Nobody changes
/// who votes: with two voters of three nodes nothing would be written before the disk goes on.
pub fn run_stalled(plan: Plan) -> Seen {
    run_held_up(plan, Disk::set_sync_takes)
}

/// The same where the log is written as ever, and what is committed is not applied.
pub fn run_unapplied(plan: Plan) -> Seen {
    run_held_up(plan, Disk::hold_up_states)
}

fn run_held_up(plan: Plan, hold_up: fn(&Disk, Duration)) -> Seen {
    with(plan, false, None, |sim, disks, plan, seen| {
        faults::stand_still(sim, disks, plan, seen, hold_up);
    })
}

/// Runs two leaders that go out of one configuration of two halves, each to another of them. The first one, which nobody
/// heard, comes back before the second has committed anything in its term, or once that has gone on.
pub fn run_halves(seed: u64, comes_back: bool) -> Seen {
    let hands = Hands::default();
    let sync_ms = [halves::FAST.as_millis() as u64; 5];
    let plan = Plan { seed, nodes: halves::NODES, sync_ms, pause_ms: 0 };
    with(plan, false, Some(&hands), |sim, disks, _, seen| {
        halves::play(sim, disks, seen, &hands, comes_back);
    })
}

fn with(
    plan: Plan,
    changes_voters: bool,
    hands: Option<&Hands>,
    drive: impl FnOnce(&mut turmoil::Sim<'_>, &[Disk], &Plan, &Shared),
) -> Seen {
    let seen = Shared::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .simulation_duration(FAULTS + PATIENCE * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .udp_capacity(4096)
        .build();
    let disks: Vec<Disk> = plan.sync_ms[..plan.nodes as usize]
        .iter()
        .map(|takes| Disk::new(Duration::from_millis(*takes)))
        .collect();
    let incarnations = Arc::new(Mutex::new(plan.seed * 1000));
    for number in 1..=plan.nodes {
        let id = identity(number).to_bytes();
        let start = node::Start {
            number,
            nodes: plan.nodes,
            seed: 0,
            changes_voters,
            hands: hands.cloned(),
            credentials: authority().credentials(Kind::Node, id),
            disk: disks[number as usize - 1].clone(),
            seen: Arc::clone(&seen),
        };
        let incarnations = Arc::clone(&incarnations);
        sim.host(host(number), move || {
            let mut next = incarnations.lock().unwrap();
            *next += 1;
            node::run(node::Start { seed: *next, ..start.clone() })
        });
    }
    drive(&mut sim, &disks, &plan, &seen);
    drop(sim);
    let mut seen =
        Arc::into_inner(seen).map_or_else(Seen::default, |seen| seen.into_inner().unwrap());
    let broken = compare(&disks, &seen.acknowledged);
    seen.broken.extend(broken);
    let installed = |disk: &&Disk| table(disk).get(&state::installed()).unwrap().is_some();
    seen.installed = disks.iter().filter(installed).count();
    seen
}

fn table(disk: &Disk) -> Arc<dyn Table> {
    disk.open(&format!("state-{GROUP}"), Role::State).unwrap()
}

/// What all nodes must have alike: all but what each says of itself.
fn rows(disk: &Disk) -> Vec<Row> {
    let own = state::applied()[0];
    let all = table(disk).scan(&[], &[u8::MAX], usize::MAX).unwrap();
    all.into_iter().filter(|(key, _)| key[0] != own).collect()
}

/// The last entry that is applied to a state.
fn applied(disk: &Disk) -> Option<Vec<u8>> {
    table(disk).get(&state::applied()).unwrap()
}

/// What differs between nodes, or is missing on one.
fn compare(disks: &[Disk], acknowledged: &Acknowledged) -> Vec<String> {
    let mut broken = Vec::new();
    let first = rows(&disks[0]);
    let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (at, disk) in disks.iter().enumerate() {
        let (number, table) = (at + 1, table(disk));
        for ((entity, version), record) in acknowledged {
            let found = table.get(&state::events(entity, *version)).unwrap();
            if found.as_ref() != Some(record) {
                let name = format!("version {version} of {entity:x?}");
                broken.push(format!("{name} was acknowledged and is not on node {number}"));
            }
        }
        if rows(disk) != first {
            broken.push(format!("node {number} has another state than node 1"));
        }
        let mut term = 0;
        let log = disk.open("log", Role::Log).unwrap();
        let (from, until) = (log::entry(GROUP, 0), log::entries_end(GROUP));
        for (key, value) in log.scan(&from, &until, usize::MAX).unwrap() {
            let id = codec::decode_entry(&value).unwrap().log_id;
            if id.leader_id.term < term {
                broken.push(format!("on node {number} the term falls at entry {}", id.index));
            }
            term = id.leader_id.term;
            if *entries.entry(key).or_insert_with(|| value.clone()) != value {
                broken.push(format!("node {number} has another entry {}", id.index));
            }
        }
    }
    broken
}

/// A commit of one record to an entity, and nothing else.
pub fn commit(entity: EntityId, expected_version: u64, record: Vec<u8>) -> Commit {
    Commit {
        entity,
        owner: entity,
        expected_version,
        cause: Cause::Operator { command_id: [0; 16] },
        at_ms: 0,
        event_count: 1,
        record,
        chain: [0; 32],
        snapshot: None,
        new_key: None,
        tells: vec![],
        mail: vec![],
        timers: vec![],
        index: vec![],
        seen: None,
        previous: None,
    }
}
