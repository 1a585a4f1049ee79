//! Who has an older directory of a node, in the mesh: it is refused by those that know better, and forgotten by the
//! others.
//!
//! **Not here:** what is older (`starts`), whole nodes (`cluster`).

use std::{sync::Arc, time::Duration};

use fieldmesh_node::{
    mesh::{Member, SentAway},
    os::SystemEntropy,
    starts::{GROUPS_AT_REST, Memory},
    store::{
        Engine, Role,
        simulated::Disk,
        writer::{LogWriter, OnFatal},
    },
};
use fieldmesh_tests::{
    live::{now_s, until},
    pki::Authority,
};

use super::{Server, asked, member, server};

/// A node that has a directory, which is started once more.
pub(super) async fn started(authority: &Authority, number: u64, disk: &Disk) -> Server {
    let log = disk.open("log", Role::Log).unwrap();
    let on_fatal: OnFatal = Arc::new(|error| panic!("the log failed: {error}"));
    let (writer, task) =
        LogWriter::new(Arc::clone(&log), Arc::new(disk.clone()), on_fatal).unwrap();
    drop(disk.spawn_writer(Box::pin(task)));
    let server = server(authority, number);
    server.mesh.remember(Memory::begin(&*log, writer, &SystemEntropy::default()).await.unwrap());
    server
}

fn meet(one: &Server, two: &Server) {
    all_meet(&[(1, one), (2, two)]);
}

fn all_meet(servers: &[(u64, &Server)]) {
    let members: Vec<Member> =
        servers.iter().map(|(number, server)| member(*number, server.address)).collect();
    for (_, server) in servers {
        server.mesh.set_members(&members);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_forgotten_a_start_is_sent_away_in_both_directions() {
    is_sent_away_in_both_directions().await;
}

/// Where whoever waits for the greeting always goes on before whoever looks after the connection.
#[tokio::test]
async fn who_has_forgotten_a_start_is_told_so_on_one_thread() {
    is_sent_away_in_both_directions().await;
}

async fn is_sent_away_in_both_directions() {
    let authority = Authority::new(now_s());
    let [first, second] = [(); 2].map(|()| Disk::new(Duration::ZERO));
    let one = started(&authority, 1, &first).await;
    // Who says nothing, as an older release does, is not judged, before and after.
    let is_taken_in = async |two: Server| {
        meet(&one, &two);
        assert_eq!(asked(&one.mesh, 2).await, Ok(1));
        assert_eq!(asked(&two.mesh, 1).await, Ok(2));
        assert_eq!(two.mesh.is_sent_away(), None);
        two.mesh.shut();
    };
    is_taken_in(server(&authority, 2)).await;
    is_taken_in(started(&authority, 2, &second).await).await;
    for is_dialed in [true, false] {
        let older = started(&authority, 2, &Disk::new(Duration::ZERO)).await;
        meet(&one, &older);
        let asked = match is_dialed {
            true => asked(&one.mesh, 2).await,
            false => asked(&older.mesh, 1).await,
        };
        assert!(asked.is_err(), "{asked:?}");
        let why = tokio::time::timeout(Duration::from_secs(5), older.mesh.sent_away());
        let why = why.await.expect("it is told");
        assert!(matches!(&why, SentAway::Older(said) if said.contains("start 1 of node 2")));
        older.mesh.shut();
    }
    assert_eq!(one.mesh.is_sent_away(), None);
    is_taken_in(started(&authority, 2, &second).await).await;
    is_taken_in(server(&authority, 2)).await;
}

/// The first releases say nothing on a connection: they are sent what they read.
#[tokio::test]
async fn who_does_not_say_what_it_reads_is_sent_what_every_release_does() {
    let authority = Authority::new(now_s());
    let (one, same) = (started(&authority, 1, &disk()).await, disk());
    let reads = async |two: &Server| {
        meet(&one, two);
        assert_eq!(one.mesh.reads(2), 0, "nothing was said on a connection");
        assert_eq!(asked(&one.mesh, 2).await, Ok(1));
        one.mesh.reads(2)
    };
    let two = started(&authority, 2, &same).await;
    assert_eq!(reads(&two).await, GROUPS_AT_REST);
    two.mesh.shut();
    // An older release in its place.
    let two = server(&authority, 2);
    assert_eq!(reads(&two).await, 0);
    two.mesh.shut();
    assert_eq!(reads(&started(&authority, 2, &same).await).await, GROUPS_AT_REST);
}

pub(super) fn disk() -> Disk {
    Disk::new(Duration::ZERO)
}

/// Node 1 has heard of a start of node 2 that the node 2 which runs does not know, and node 3 has not.
struct Three {
    one: Server,
    older: Server,
    three: Server,
    /// Of the start that node 1 has heard of.
    second: Disk,
}

impl Three {
    async fn start(authority: &Authority) -> Self {
        let (first, second, third) = (disk(), disk(), disk());
        let one = started(authority, 1, &first).await;
        let two = started(authority, 2, &second).await;
        meet(&one, &two);
        assert_eq!(asked(&two.mesh, 1).await, Ok(2));
        two.mesh.shut();
        let three = started(authority, 3, &third).await;
        let older = started(authority, 2, &disk()).await;
        Self { one, older, three, second }
    }

    fn meet(&self) {
        all_meet(&[(1, &self.one), (2, &self.older), (3, &self.three)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_forgotten_by_whoever_knew_no_better() {
    let authority = Authority::new(now_s());
    let all = Three::start(&authority).await;
    all.meet();
    assert_eq!(asked(&all.older.mesh, 3).await, Ok(2));
    assert!(asked(&all.older.mesh, 1).await.is_err());
    assert!(matches!(all.older.mesh.sent_away().await, SentAway::Older(_)));
    all.older.mesh.part().await;
    all.older.mesh.shut();
    // The right directory is let in, also where the other one was.
    let two = started(&authority, 2, &all.second).await;
    all_meet(&[(1, &all.one), (2, &two), (3, &all.three)]);
    for number in [1, 3] {
        assert_eq!(asked(&two.mesh, number).await, Ok(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_serves_is_ended_by_most_of_the_others_and_not_by_one() {
    let authority = Authority::new(now_s());
    let all = Three::start(&authority).await;
    all_meet(&[(2, &all.older), (3, &all.three)]);
    assert_eq!(asked(&all.older.mesh, 3).await, Ok(2));
    all.older.mesh.taken_in().await;
    all.meet();
    // Node 3 reaches both, and carries nothing from the one to the other.
    assert_eq!(asked(&all.three.mesh, 1).await, Ok(3));
    for _ in 0..2 {
        assert!(asked(&all.older.mesh, 1).await.is_err());
        assert!(asked(&all.one.mesh, 2).await.is_err());
    }
    assert_eq!(all.older.mesh.is_sent_away(), None);
    assert_eq!(asked(&all.older.mesh, 3).await, Ok(2));
    // Where node 1 is the only other one, it is most of them.
    meet(&all.one, &all.older);
    let why = until("it is heeded", async || {
        drop(asked(&all.older.mesh, 1).await);
        all.older.mesh.is_sent_away()
    });
    assert!(matches!(why.await, SentAway::Older(_)));
}
