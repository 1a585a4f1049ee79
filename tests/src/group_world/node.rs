//! One node of the simulated group: starts as the product does, and proposes while it leads.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_actors::{
    commit::{Proposal, Verdict},
    seams::Clock,
};
use fieldmesh_domain::{EntityId, EntityKind, placement::Home};
use fieldmesh_node::{
    cluster::Cluster,
    consensus::{
        Group, Outcome,
        group::{self, GroupOptions},
        service::Members,
    },
    courier::NodeCourier,
    mesh::{self, Member, Mesh, MeshOptions},
    replicas,
    store::{
        Engine, Role,
        health::Limits,
        keys::state,
        rows::{self, Head},
        simulated::Disk,
        writer::{LogWriter, OnFatal},
    },
    trust::Trust,
};
use fieldmesh_pki::tls::Credentials;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::runtime::Handle;

use super::{
    FAULTS, GROUP, Shared, authority, commit,
    halves::{Hand, Hands},
    host,
};
use crate::{
    mesh::identity,
    pki::{CLUSTER, REGION},
    signature, udp,
    world::SimClock,
};

const PORT: u16 = 7444;
/// A snapshot is taken, and the log purged, after so many proposals of a leader.
const COMPACT_EVERY: u64 = 40;
/// And by itself; a tenth of these entries stays behind it.
const SNAPSHOT_EVERY: u64 = 100;
/// The same in a script, which waits until a node that is away needs a snapshot.
const SNAPSHOT_SOON: u64 = 20;
/// A sync that takes longer is a stall.
pub(super) const STALL: Duration = Duration::from_secs(1);
/// Entities that all leaders write to: each version must come from one of them.
const CONTESTED: u8 = 3;

/// Everything one incarnation of a node needs.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) number: u64,
    pub(super) nodes: u64,
    pub(super) seed: u64,
    /// As a leader it changes, now and then, who votes.
    pub(super) changes_voters: bool,
    /// Where a script takes the node from. It then does nothing as a leader but propose.
    pub(super) hands: Option<Hands>,
    pub(super) credentials: Credentials,
    pub(super) disk: Disk,
    pub(super) seen: Shared,
}

pub(super) async fn run(start: Start) -> turmoil::Result {
    let Start { number, nodes, seed, changes_voters, hands, credentials, disk, seen } = start;
    let is_scripted = hands.is_some();
    let clock: Arc<dyn Clock> = Arc::new(SimClock);
    let trust = Trust::new(authority().trust());
    let credentials = signature::live(&credentials);
    let config = mesh::server_config(Arc::clone(&credentials), &trust, &clock)?;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let endpoint = udp::endpoint(PORT, Some(config), bytes).await;
    let (cluster, region) = (CLUSTER.to_owned(), identity(number).region());
    let mesh = Mesh::new(MeshOptions {
        endpoint,
        number,
        region,
        cluster,
        trust,
        credentials,
        clock,
        packs: true,
    })?;
    let members: Vec<Member> = (1..=nodes)
        .map(|number| {
            let address = (turmoil::lookup(host(number)), PORT).into();
            Member { number, identity: identity(number), address }
        })
        .collect();
    mesh.set_members(&members);
    let engine: Arc<dyn Engine> = Arc::new(disk);
    let services = Members::new(Arc::clone(&engine), seed);
    tokio::spawn(Arc::clone(&mesh).run(Arc::clone(&services) as _));
    let log = engine.open("log", Role::Log)?;
    group::inspect(GROUP, &*engine, &*log)?;
    let failed = Arc::clone(&seen);
    let on_fatal: OnFatal = Arc::new(move |error| {
        failed.lock().unwrap().broken.push(format!("node {number} failed: {error}"));
    });
    let (writer, task) =
        LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal))?;
    let _ended = engine.spawn_writer(Box::pin(task));
    let options = GroupOptions {
        group: GROUP,
        shard: GROUP,
        node: number,
        seed,
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        snapshot_every: if is_scripted { SNAPSHOT_SOON } else { SNAPSHOT_EVERY },
        fills_forgetful: false,
        observer: None,
        voters: (1..=nodes).collect(),
        peers: Some((mesh, services)),
    };
    let limits = Limits { stall: STALL, room_min: 0 };
    tokio::spawn(Arc::clone(writer.disk()).run(Arc::clone(&engine), limits));
    let group = Group::start(options, &*engine, log, writer, on_fatal).await?;
    // Unless a script says where the group is to live nobody does, and this only gives way where the disk does not do well.
    let home = Home::new(REGION.parse()?, 0, GROUP);
    let cluster = Cluster::new(Default::default(), home);
    let courier = NodeCourier::new(number, None, Arc::clone(&cluster));
    tokio::spawn(replicas::tend(group.clone(), courier, number));
    tokio::spawn(replicas::abide(group.clone()));
    if let Some(hands) = hands {
        let hand = Hand { group: group.clone(), cluster, runtime: Handle::current() };
        hands.lock().unwrap().insert(number, hand);
    }
    seen.lock().unwrap().note(format!("node {number} starts"));
    tokio::spawn(follow(number, group.clone(), Arc::clone(&seen)));
    let dice = StdRng::seed_from_u64(seed);
    Leader { number, nodes, changes_voters, is_scripted, group, seen, dice, made: 0 }.run().await;
    Ok(())
}

/// Writes down when the node leads.
async fn follow(number: u64, group: Group, seen: Shared) {
    let mut leading = group.leading();
    loop {
        let term = *leading.borrow_and_update();
        {
            let mut seen = seen.lock().unwrap();
            match term {
                Some(term) => seen.leads(number, term),
                None => drop(seen.leading.remove(&number)),
            }
        }
        if leading.changed().await.is_err() {
            return;
        }
    }
}

fn is_calm() -> bool {
    turmoil::sim_elapsed().unwrap_or_default() > FAULTS
}

/// What a node does while it leads.
struct Leader {
    number: u64,
    nodes: u64,
    changes_voters: bool,
    is_scripted: bool,
    group: Group,
    seen: Shared,
    dice: StdRng,
    made: u64,
}

impl Leader {
    async fn run(mut self) {
        let mut leading = self.group.leading();
        loop {
            let pause = Duration::from_millis(self.dice.random_range(1..60));
            // A few commits are enough to show that it serves.
            let is_done = is_calm() && self.seen.lock().unwrap().served > 5;
            if leading.borrow_and_update().is_none() || is_done {
                drop(tokio::time::timeout(pause, leading.changed()).await);
                continue;
            }
            self.propose().await;
            if !is_calm() && !self.is_scripted {
                self.disturb().await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn propose(&mut self) {
        let (entity, version) = if self.dice.random_range(0..3) == 0 {
            let entity = entity([self.dice.random_range(0..CONTESTED); 10]);
            let head = state::head(&entity.to_bytes());
            let head: Option<Head> = rows::read(&*self.group.table(), &head).unwrap();
            (entity, head.unwrap_or_default().version)
        } else {
            (entity(self.dice.random()), 0)
        };
        let mut record = vec![0; self.dice.random_range(16..2000)];
        self.dice.fill(&mut record[..]);
        let commit = commit(entity, version, record.clone());
        let outcome = self.group.propose(&Proposal::Commit(Box::new(commit))).await;
        if let Ok(Outcome::Decided(Verdict::Applied { .. })) = outcome {
            let mut seen = self.seen.lock().unwrap();
            seen.acknowledge(entity.to_bytes(), version, record, is_calm());
        }
        self.made += 1;
    }

    /// Now and then compacts, sends leadership elsewhere, or changes who votes.
    async fn disturb(&mut self) {
        if self.made.is_multiple_of(COMPACT_EVERY) {
            let group = self.group.clone();
            tokio::spawn(async move { group.compact().await });
        }
        match self.dice.random_range(0..120) {
            0 | 1 => {
                let to = self.dice.random_range(1..=self.nodes);
                let sent = self.group.transfer(to).await.is_ok();
                let mut seen = self.seen.lock().unwrap();
                seen.transfers += usize::from(sent);
                let number = self.number;
                seen.note(format!("node {number} sends leadership to {to}: {sent}"));
            }
            2 if self.changes_voters => self.change_voters(),
            _ => {}
        }
    }

    /// Makes others vote: more than half of the nodes, so that there is a quorum in most hours. Who does
    /// not vote follows.
    fn change_voters(&mut self) {
        let mut voters: BTreeSet<u64> = (1..=self.nodes).collect();
        for _ in 0..self.dice.random_range(0..=(self.nodes - 1) / 2) {
            voters.remove(&self.dice.random_range(1..=self.nodes));
        }
        // It waits for whoever is away, so others go on meanwhile.
        let (group, seen, number) = (self.group.clone(), Arc::clone(&self.seen), self.number);
        seen.lock().unwrap().note(format!("node {number} wants {voters:?} to vote"));
        tokio::spawn(async move {
            let changed = group.set_voters(&voters).await.is_ok();
            let mut seen = seen.lock().unwrap();
            seen.changes += usize::from(changed);
            seen.note(format!("node {number} makes {voters:?} vote: {changed}"));
        });
    }
}

fn entity(id: [u8; 10]) -> EntityId {
    EntityId::new(EntityKind::Ticket, REGION.parse().unwrap(), id)
}
