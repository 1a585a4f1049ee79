//! Raft groups over the mesh: real QUIC on loopback, real certificates, simulated disks.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

#[path = "groups/asked.rs"]
mod asked;
#[path = "groups/outlived.rs"]
mod outlived;
#[path = "groups/rest.rs"]
mod rest;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::{
    commit::{Proposal, Settle},
    seams::{Courier as _, Pending},
};
use fieldmesh_domain::placement::{AUTHORITY, Home};
use fieldmesh_node::{
    cluster,
    consensus::{
        Group, ProposeError,
        group::{self, GroupOptions, NotTransferred},
        install, left,
        rest::{self as resting, Resting},
        service::Members,
        wire::{self, Answer, Request},
    },
    courier::NodeCourier,
    mesh::{Class, Member, Mesh, Receiving, Sending, Serve},
    os::SystemEntropy,
    starts::Memory,
    store::{
        Batch, Engine, Role,
        keys::state,
        simulated::Disk,
        writer::{LogWriter, OnFatal},
    },
};
use fieldmesh_pki::Kind;
use fieldmesh_tests::{
    group_world::commit,
    live::{now_s, until},
    mesh::{identity, meshed, raw},
    pki::{Authority, REGION},
};
use tokio::task::JoinHandle;

use asked::{Answers, told};

/// That of a region's authority, by which a node knows whether it hears its region.
const GROUP: u32 = AUTHORITY;
/// A tenth of these entries stays behind a snapshot.
const SNAPSHOT_EVERY: u64 = 100;
const SLOW: Duration = Duration::from_secs(30);
const ELECTION_MIN: Duration = Duration::from_millis(300);
/// A group rests that was quiet for so long.
const QUIET: Duration = Duration::from_millis(500);
/// Several elections, the longest of which takes 0.6 s.
const ELECTIONS: Duration = Duration::from_secs(3);

/// One node: what outlives it, and what runs.
struct Node {
    number: u64,
    disk: Disk,
    address: SocketAddr,
    running: Option<Running>,
}

struct Running {
    mesh: Arc<Mesh>,
    group: Group,
    courier: Arc<NodeCourier>,
    serving: JoinHandle<()>,
    resting: Option<JoinHandle<()>>,
    writer: tokio::sync::oneshot::Receiver<()>,
}

struct Cluster {
    authority: Authority,
    members: Vec<Member>,
    nodes: Vec<Node>,
    /// Whether groups rest that are led by a node; none where nobody speaks of it.
    rests: Option<fn(u64) -> bool>,
    /// Whose storage failed, and how.
    failed: Arc<Mutex<Vec<(u64, String)>>>,
}

/// The socket of before goes with the last of its tasks.
async fn free(address: SocketAddr) {
    let bound = async || std::net::UdpSocket::bind(address).ok().map(drop);
    until("the port is free", bound).await;
}

impl Cluster {
    async fn of(count: u64) -> Self {
        Self::resting(count, None).await
    }

    async fn resting(count: u64, rests: Option<fn(u64) -> bool>) -> Self {
        let authority = Authority::new(now_s());
        let nodes: Vec<Node> = (1..=count)
            .map(|number| {
                // The port is taken again at each start.
                let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                let address = probe.local_addr().unwrap();
                Node { number, disk: Disk::default(), address, running: None }
            })
            .collect();
        let members = nodes
            .iter()
            .map(|node| Member {
                number: node.number,
                identity: identity(node.number),
                address: node.address,
            })
            .collect();
        let mut cluster = Self { authority, members, nodes, rests, failed: Arc::default() };
        for at in 0..cluster.nodes.len() {
            cluster.start(at).await;
        }
        cluster
    }

    /// Three that have entries: who leads them, and the others.
    async fn led() -> (Self, [u64; 3]) {
        let cluster = Self::of(3).await;
        cluster.commit(10).await;
        cluster.agree().await;
        let leader = cluster.leader().await;
        (cluster, [leader, leader % 3 + 1, (leader + 1) % 3 + 1])
    }

    async fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let id = identity(node.number).to_bytes();
        free(node.address).await;
        let (mesh, _, _) = meshed(&self.authority, node.number, Kind::Node, id, node.address);
        mesh.set_members(&self.members);
        let engine: Arc<dyn Engine> = Arc::new(node.disk.clone());
        let services = Members::new(Arc::clone(&engine), node.number);
        let voters: BTreeSet<u64> = self.members.iter().map(|member| member.number).collect();
        let courier = NodeCourier::new(node.number, Some(Arc::clone(&mesh)), told(&voters));
        let (members, answers) = (Arc::clone(&services), Arc::clone(&courier));
        let answers = Arc::new(Answers { members, courier: answers });
        let serving = tokio::spawn(Arc::clone(&mesh).run(answers));
        let log = engine.open("log", Role::Log).unwrap();
        let (failed, number) = (Arc::clone(&self.failed), node.number);
        let on_fatal: OnFatal =
            Arc::new(move |error| failed.lock().unwrap().push((number, error.to_string())));
        let (log_writer, task) =
            LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::clone(&on_fatal)).unwrap();
        let writer = engine.spawn_writer(Box::pin(task));
        let resting = match self.rests {
            Some(rests) => {
                let entropy = SystemEntropy::default();
                let memory = Memory::begin(&*log, log_writer.clone(), &entropy);
                mesh.remember(memory.await.unwrap());
                let after = rests(number).then_some(QUIET);
                let resting = Resting { every: ELECTION_MIN, after };
                let (members, mesh) = (Arc::clone(&services), Arc::clone(&mesh));
                Some(tokio::spawn(resting::keep(members, mesh, resting)))
            }
            None => None,
        };
        let options = GroupOptions {
            group: GROUP,
            shard: GROUP,
            node: node.number,
            seed: node.number,
            heartbeat: Duration::from_millis(100),
            election_min: ELECTION_MIN,
            election_max: Duration::from_millis(600),
            snapshot_every: SNAPSHOT_EVERY,
            fills_forgetful: false,
            observer: None,
            voters,
            peers: Some((Arc::clone(&mesh), services)),
        };
        let group = Group::start(options, &*engine, log, log_writer, on_fatal).await.unwrap();
        courier.add_group(GROUP, group.clone());
        node.running = Some(Running { mesh, group, courier, serving, resting, writer });
    }

    /// Ends a node at once; its disk stays.
    async fn stop(&mut self, number: u64) {
        let node = self.nodes.iter_mut().find(|node| node.number == number).unwrap();
        let running = node.running.take().unwrap();
        let Running { mesh, group, courier, serving, resting, writer } = running;
        [Some(serving), resting].into_iter().flatten().for_each(|task| task.abort());
        mesh.shut();
        courier.remove_group(GROUP);
        group.stop().await;
        drop((group, courier, mesh));
        tokio::time::timeout(SLOW, writer).await.expect("the writer ends").ok();
    }

    fn running(&self) -> impl Iterator<Item = (u64, &Group)> {
        self.nodes.iter().filter_map(|node| Some((node.number, &node.running.as_ref()?.group)))
    }

    /// A node that runs.
    fn node(&self, number: u64) -> &Running {
        let node = self.nodes.iter().find(|node| node.number == number).unwrap();
        node.running.as_ref().unwrap()
    }

    fn group(&self, number: u64) -> &Group {
        self.running().find(|(own, _)| *own == number).unwrap().1
    }

    /// Who leads and can commit.
    async fn leader(&self) -> u64 {
        let look = async || {
            for (number, group) in self.running() {
                if group.leading().borrow().is_some() && group.barrier().await.is_ok() {
                    return Some(number);
                }
            }
            None
        };
        until("somebody leads", look).await
    }

    /// Commits so many entries, whoever leads.
    async fn commit(&self, count: usize) {
        let mut left = count;
        while left > 0 {
            let leader = self.leader().await;
            match self.group(leader).propose(&Proposal::Settle(Settle::default())).await {
                Ok(_) => left -= 1,
                Err(ProposeError::NotLeader { .. } | ProposeError::Unknown) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until each running node has applied what the leader has.
    async fn agree(&self) {
        let leader = self.leader().await;
        let wanted = self.group(leader).applied();
        let applied =
            async || self.running().all(|(_, group)| group.applied() >= wanted).then_some(());
        until("each has applied it", applied).await;
        assert_eq!(*self.failed.lock().unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_outlives_its_leader() {
    let mut cluster = Cluster::of(3).await;
    cluster.commit(100).await;
    cluster.agree().await;
    let first = cluster.leader().await;
    cluster.stop(first).await;
    cluster.commit(100).await;
    assert_ne!(cluster.leader().await, first);
    cluster.start(first as usize - 1).await;
    cluster.agree().await;
    // Each that leads now is no other in the log than the ones before: two of three are enough.
    let second = cluster.leader().await;
    cluster.stop(second).await;
    cluster.commit(10).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_committed() {
    let mut cluster = Cluster::of(3).await;
    cluster.commit(10).await;
    let leader = cluster.leader().await;
    for number in (1..=3).filter(|number| *number != leader) {
        cluster.stop(number).await;
    }
    let settle = Proposal::Settle(Settle::default());
    let alone = cluster.group(leader).propose(&settle);
    let outcome = tokio::time::timeout(Duration::from_secs(2), alone).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "{outcome:?}");
    for at in (0..3).filter(|at| *at as u64 + 1 != leader) {
        cluster.start(at).await;
    }
    cluster.commit(10).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent() {
    let (cluster, [leader, next, _]) = Cluster::led().await;
    let refused = cluster.group(leader).transfer(9).await;
    assert!(matches!(refused, Err(NotTransferred::NoVoter(9))), "{refused:?}");
    let refused = cluster.group(next).transfer(leader).await;
    assert!(matches!(refused, Err(NotTransferred::NotLeader)), "{refused:?}");
    // Who is asked for what it does already must not stop to take writes for it.
    let refused = cluster.group(leader).transfer(leader).await;
    assert!(matches!(refused, Err(NotTransferred::Leads(_))), "{refused:?}");
    cluster.group(leader).propose(&Proposal::Settle(Settle::default())).await.expect("it leads on");
    cluster.group(leader).transfer(next).await.unwrap();
    let mut leading = cluster.group(next).leading();
    let led = tokio::time::timeout(SLOW, leading.wait_for(Option::is_some));
    led.await.expect("it leads").unwrap();
    cluster.commit(10).await;
    assert_eq!(cluster.leader().await, next);
    // Each member says the same of who leads, and only the leader that it does.
    let term = until("it leads", async || cluster.group(next).led()).await;
    let agrees = |(number, group): (u64, &Group)| {
        let led = (number == next).then_some(term);
        group.last_leader() == Some((term, next)) && group.led() == led
    };
    until("each knows it", async || cluster.running().all(agrees).then_some(())).await;
}

/// So an outbox tells the next leader what the last one did not take, instead of when its pause is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_another_leader_hears_when_there_is_one() {
    let (cluster, [leader, next, third]) = Cluster::led().await;
    let home = Home::new(REGION.parse().unwrap(), 0, 1);
    let known = cluster::Cluster::new(Default::default(), home);
    let courier = NodeCourier::new(third, None, known);
    courier.add_group(GROUP, cluster.group(third).clone());
    let before = cluster.group(third).leader();
    let led_anew = courier.led_anew(GROUP);
    cluster.group(leader).transfer(next).await.unwrap();
    tokio::time::timeout(SLOW, led_anew).await.expect("it hears of it");
    assert_ne!(cluster.group(third).leader(), before);
}

/// A leader of openraft that hands over serves nobody any more, whether anybody takes it or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_that_nobody_takes_stays_where_it_was() {
    let (mut cluster, [leader, dead, third]) = Cluster::led().await;
    // Who is asked has died, and the other one does not stand by itself.
    cluster.group(third).set_may_campaign(false);
    cluster.stop(dead).await;
    let handed = cluster.group(leader).hand_to(dead).await;
    assert!(matches!(handed, Err(NotTransferred::NotTaken(to)) if to == dead), "{handed:?}");
    assert_eq!(cluster.leader().await, leader);
    cluster.commit(10).await;
    cluster.group(leader).hand_to(third).await.unwrap();
    assert_eq!(cluster.leader().await, third);
    cluster.commit(10).await;
    cluster.start(dead as usize - 1).await;
    cluster.agree().await;
}

/// A node on which the group does not run, and what it is asked there.
#[derive(Default)]
struct Bystander {
    /// Whether it heard of the group at all, and the terms that it was asked for.
    is_known: AtomicBool,
    votes: Mutex<Vec<u64>>,
    pre_votes: Mutex<Vec<u64>>,
}

impl Serve for Bystander {
    fn serve(
        self: Arc<Self>,
        _from: u64,
        class: Class,
        mut send: Sending,
        mut receive: Receiving,
    ) -> Pending<()> {
        Box::pin(async move {
            self.is_known.store(true, Ordering::SeqCst);
            if class == Class::Consensus
                && let Ok(Some(frame)) = receive.frame(wire::APPEND_BYTES_MAX).await
            {
                let (_, request) = wire::addressee(&frame).unwrap();
                match Request::decode(request).unwrap() {
                    Request::Vote(asked) => {
                        self.votes.lock().unwrap().push(asked.vote.leader_id.term);
                    }
                    Request::PreVote(asked) => {
                        self.pre_votes.lock().unwrap().push(asked.vote.leader_id.term);
                    }
                    Request::Append(_) | Request::Transfer(_) => {}
                }
            }
            drop(send.frame(&Answer::Absent.encode()).await);
            send.finish();
        })
    }
}

/// Whoever takes a group up again ends one term for it, and then asks first whether it may stand: however long nobody
/// answers, it does not come back with a term that ends whoever leads by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_group_up_again_and_is_alone_ends_no_more_terms() {
    let (mut cluster, [leader, dead, third]) = Cluster::led().await;
    cluster.stop(dead).await;
    cluster.stop(third).await;
    let address = cluster.nodes[third as usize - 1].address;
    free(address).await;
    let id = identity(third).to_bytes();
    let (mesh, _, _) = meshed(&cluster.authority, third, Kind::Node, id, address);
    mesh.set_members(&cluster.members);
    let bystander = Arc::new(Bystander::default());
    let serving = tokio::spawn(Arc::clone(&mesh).run(Arc::clone(&bystander) as _));
    let is_known = async || bystander.is_known.load(Ordering::SeqCst).then_some(());
    until("the leader finds it", is_known).await;
    let term = cluster.group(leader).led().unwrap();

    let group = cluster.group(leader).clone();
    let handing = tokio::spawn(async move { group.hand_to(dead).await });
    // Those that it asks for by itself are as many again; some tries are among so many.
    let many = async || (bystander.pre_votes.lock().unwrap().len() >= 8).then_some(());
    until("it asks whether it may stand", many).await;
    // One term is of whoever was asked, the other one its own.
    assert_eq!(cluster.group(leader).term_behind().await, Some(term + 2));
    let votes = bystander.votes.lock().unwrap().clone();
    assert!(votes.iter().all(|asked| *asked == term + 2), "{votes:?} after {term}");

    serving.abort();
    mesh.shut();
    drop((mesh, bystander));
    cluster.start(third as usize - 1).await;
    let handed = tokio::time::timeout(SLOW, handing).await.expect("somebody leads").unwrap();
    match handed {
        // The one that came back may stand, too.
        Ok(()) | Err(NotTransferred::NotTaken(_)) => {}
        Err(error) => panic!("{error}"),
    }
    cluster.commit(10).await;
    cluster.start(dead as usize - 1).await;
    cluster.agree().await;
}

/// Or whoever lacks what was acknowledged could lead by the vote of a node that had it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_and_is_let_in_again_votes_for_nobody_who_has_less_than_it_had() {
    let (mut cluster, [leader, behind, left]) = Cluster::led().await;
    cluster.stop(behind).await;
    cluster.commit(10).await;
    cluster.agree().await;
    let acknowledged = cluster.group(left).applied();
    cluster.stop(left).await;
    cluster.stop(leader).await;
    let disk = cluster.nodes[left as usize - 1].disk.clone();
    let log = disk.open("log", Role::Log).unwrap();
    left::leave(GROUP, &*log).await.unwrap();
    left::finish(GROUP, &disk, &*log).unwrap();
    drop(log);
    cluster.start(behind as usize - 1).await;
    cluster.start(left as usize - 1).await;
    let led = tokio::time::timeout(ELECTIONS, cluster.leader()).await;
    assert!(led.is_err(), "{led:?} leads without what was acknowledged");
    cluster.start(leader as usize - 1).await;
    cluster.agree().await;
    assert!(cluster.group(behind).applied() > acknowledged);
}

/// Or it would remove what it has acknowledged since, by what a leader said before that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_let_in_again_since_a_leader_let_it_go_knows_that() {
    let (cluster, [leader, other, third]) = Cluster::led().await;
    let (leads, own) = (cluster.group(leader), cluster.group(third));
    leads.set_voters(&BTreeSet::from([leader, other])).await.unwrap();
    leads.remove_learners(&BTreeSet::from([third])).await.unwrap();
    let said = leads.read_index().await.unwrap();
    assert!(!own.has_since(said, third));
    leads.add_learners(&BTreeSet::from([third])).await.unwrap();
    leads.set_voters(&BTreeSet::from([leader, other, third])).await.unwrap();
    cluster.agree().await;
    own.stop().await;
    assert!(own.has_since(said, third), "whoever ended hears of nothing more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_for_long_gets_a_snapshot() {
    let mut cluster = Cluster::of(3).await;
    cluster.commit(10).await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    cluster.stop(away).await;
    cluster.commit(200).await;
    let leader = cluster.leader().await;
    cluster.group(leader).compact().await.unwrap();
    let purged = async || (cluster.group(leader).purged() > Some(150)).then_some(());
    until("the log is short", purged).await;
    cluster.start(away as usize - 1).await;
    cluster.agree().await;
    // What was installed outlives a restart.
    cluster.stop(away).await;
    cluster.start(away as usize - 1).await;
    cluster.commit(10).await;
    cluster.agree().await;
    // So it does where the power went while it was being installed.
    cluster.stop(away).await;
    let disk = cluster.nodes[away as usize - 1].disk.clone();
    let table = disk.open(&format!("state-{GROUP}"), Role::State).unwrap();
    let name = format!("arriving-{GROUP}");
    assert!(disk.inspect(&name, Role::State).unwrap().is_none(), "what is installed goes");
    let arrived = disk.open(&name, Role::State).unwrap();
    let rows = table.scan(&[], &[u8::MAX], usize::MAX).unwrap();
    let count = rows.len() as u64;
    let mut whole = Batch::default();
    rows.into_iter().for_each(|(key, value)| whole.put(key, value));
    arrived.write(whole).unwrap();
    arrived.sync().await.unwrap();
    let mut half = Batch::default();
    half.put(state::installing(), []);
    half.delete(state::applied());
    table.write(half).unwrap();
    table.sync().await.unwrap();
    // What has not arrived whole is not taken.
    let log = disk.open("log", Role::Log).unwrap();
    let refused = group::inspect(GROUP, &disk, &*log).unwrap_err();
    assert!(format!("{refused:?}").contains("which is not whole"), "{refused:?}");
    install::seal(&*arrived, count).await.unwrap();
    disk.crash();
    group::inspect(GROUP, &disk, &*log).unwrap();
    cluster.start(away as usize - 1).await;
    assert!(table.get(&state::installing()).unwrap().is_none());
    cluster.commit(10).await;
    cluster.agree().await;
    // Without the snapshot there is nothing to go on with, and nothing is touched.
    cluster.stop(away).await;
    let mut half = Batch::default();
    half.put(state::installing(), []);
    table.write(half).unwrap();
    let refused = group::inspect(GROUP, &disk, &*log).unwrap_err();
    assert!(format!("{refused:?}").contains("waits for a snapshot"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_storage_fails_is_noticed() {
    let (cluster, [leader, follower, _]) = Cluster::led().await;
    // Nobody proposes to it: only its group knows.
    let entity = identity(9);
    let mut damage = Batch::default();
    damage.put(state::head(&entity.to_bytes()), [0xff]);
    cluster.group(follower).table().write(damage).unwrap();
    let commit = Proposal::Commit(Box::new(commit(entity, 0, vec![1])));
    cluster.group(leader).propose(&commit).await.unwrap();
    let noticed = async || cluster.failed.lock().unwrap().pop();
    let (number, why) = until("somebody notices", noticed).await;
    assert_eq!(number, follower);
    assert!(why.contains(&format!("of group {GROUP}")), "{why}");
}

/// Somebody with a member's certificate who keeps to no rules, on each class of streams: what is malformed
/// ends its stream, and the group goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_do_nothing_to_a_group() {
    let mut cluster = Cluster::of(3).await;
    cluster.commit(5).await;
    let leader = cluster.leader().await;
    let other = 1 + leader % 3;
    // Who lets it in knows nobody else of that name who answers.
    let rogue = 6 - leader - other;
    cluster.stop(rogue).await;
    for target in [leader, other] {
        let at = cluster.nodes.iter().find(|node| node.number == target).unwrap().address;
        let raw = raw(&cluster.authority, identity(rogue), at).await;
        for round in 0..400_u32 {
            let noise = hash(round);
            let length = usize::from(noise[0]) % 24;
            // For the group, and what is no message; and each kind of stream, relayed ones too.
            let frame = [&GROUP.to_be_bytes()[..], &noise[1..1 + length]].concat();
            let size = u32::try_from(frame.len()).unwrap() + u32::from(noise[30] % 3);
            let class = [noise[31] % 9];
            let bytes = [&class[..], &size.to_be_bytes(), &frame].concat();
            let (mut send, mut receive) = raw.open_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
            if round % 50 == 0 {
                let end = tokio::time::timeout(SLOW, receive.read_to_end(1 << 16)).await;
                end.expect("the stream ends").ok();
            }
        }
    }
    cluster.start(rogue as usize - 1).await;
    cluster.commit(5).await;
    cluster.agree().await;
}

fn hash(number: u32) -> [u8; 32] {
    fieldmesh_node::issuer::sha256(&number.to_be_bytes())
}
