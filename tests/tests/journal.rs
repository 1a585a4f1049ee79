//! What a journal stores is read by whoever may come to lead its group.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fieldmesh_actors::{
    commit::{Cause, Draft, TimerChange},
    seams::{Journal, JournalError, Loaded, TimerItem, TimerPlace},
};
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow, Region,
    placement::{
        GROUPS_PER_REGION, Home, LEVEL, Member, Members, PLACEMENT, Presence, SHARED_KEYS,
    },
    time::Millis,
};
use fieldmesh_node::{
    cluster::Cluster,
    consensus::{
        Group,
        group::{self, GroupOptions},
    },
    journal::{JournalOptions, ShardJournal},
    os::{SystemClock, SystemEntropy},
    service::Service,
    steps::Steps,
    store::{Engine, Role, simulated::Disk, writer::LogWriter},
};
use fieldmesh_tests::{
    live::now_s,
    mesh::identity_in,
    pki::{Authority, ServiceKit},
};

/// A group that one node has, and journals of nodes of two regions on it.
struct Stand {
    group: Group,
    authorities: Vec<Authority>,
}

impl Stand {
    async fn of(shard: u32) -> Self {
        let engine: Arc<dyn Engine> = Arc::new(Disk::default());
        let log = engine.open("log", Role::Log).unwrap();
        let (writer, task) =
            LogWriter::new(Arc::clone(&log), Arc::clone(&engine), Arc::new(|_| {})).unwrap();
        drop(engine.spawn_writer(Box::pin(task)));
        let options = GroupOptions {
            group: shard,
            shard,
            node: 1,
            seed: 1,
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            snapshot_every: group::SNAPSHOT_EVERY,
            fills_forgetful: false,
            observer: None,
            voters: BTreeSet::from([1]),
            peers: None,
        };
        let group = Group::start(options, &*engine, log, writer, Arc::new(|_| {})).await.unwrap();
        group.leading().wait_for(Option::is_some).await.unwrap();
        group.barrier().await.unwrap();
        Self { group, authorities: Authority::of_regions(&["eu1", "us1"], now_s()) }
    }

    /// As a new leader of that region, whose nodes all understand so much, has it.
    fn journal(&self, region: usize, level: u32) -> ShardJournal {
        let authority = &self.authorities[region];
        let mut members = Members::default();
        for (index, one) in (0..).zip(&self.authorities) {
            let home = Home::new(one.region(), index, 1);
            members.learn(&IndexRow::Home { home, epoch: 1 });
            let number = u64::from(index) + 1;
            let member = member(number, one.region(), level);
            members.learn(&IndexRow::Member { member, epoch: 1 });
        }
        let own = members.home(authority.region()).unwrap().clone();
        ShardJournal::new(JournalOptions {
            group: self.group.clone(),
            known: Cluster::new(members, own),
            service: Arc::new(Service::new(ServiceKit::new(authority).secrets(), now_s()).unwrap()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::default()),
            steps: Steps::new(0),
        })
    }
}

fn member(number: u64, region: Region, level: u32) -> Member {
    Member {
        number,
        identity: identity_in(region, number),
        mesh: "127.0.0.1:1".into(),
        devices: "127.0.0.1:2".into(),
        https: "127.0.0.1:3".into(),
        presence: Presence::Active,
        since: Millis(0),
        level,
    }
}

fn draft(journal: &ShardJournal, entity: EntityId, events: &[&str]) -> Draft {
    let Loaded { version, chain, .. } = journal.load(entity).unwrap();
    Draft {
        entity,
        owner: entity,
        expected_version: version,
        previous: chain,
        cause: Cause::Operator { command_id: [1; 16] },
        at_ms: 1,
        rule_version: 0,
        events: events.iter().map(|event| event.as_bytes().to_vec()).collect(),
        snapshot: None,
        tells: vec![],
        messages: vec![],
        receipt: None,
        timers: vec![],
        index: vec![],
    }
}

async fn step(journal: &ShardJournal, entity: EntityId, events: &[&str]) {
    let draft = draft(journal, entity, events);
    journal.submit(draft).await.unwrap().done.await.unwrap();
}

fn read(journal: &ShardJournal, entity: EntityId) -> Result<String, JournalError> {
    Ok(journal.load(entity)?.events.iter().map(|event| String::from_utf8_lossy(event)).collect())
}

const HOME: usize = 0;
const ABROAD: usize = 1;

#[tokio::test]
async fn a_node_of_each_region_reads_and_goes_on_from_what_the_placement_group_stored() {
    let stand = Stand::of(PLACEMENT).await;
    let entity = EntityId::placement();
    step(&stand.journal(HOME, LEVEL), entity, &["one ", "two "]).await;
    assert_eq!(read(&stand.journal(ABROAD, LEVEL), entity).unwrap(), "one two ");
    step(&stand.journal(ABROAD, LEVEL), entity, &["three"]).await;
    assert_eq!(read(&stand.journal(HOME, LEVEL), entity).unwrap(), "one two three");
}

/// The last level whose nodes read the placement group's entities with their own region's key only.
const APART: u32 = SHARED_KEYS - 1;

/// Before all nodes can read it otherwise, it is under the key of its writer's region.
#[tokio::test]
async fn a_cluster_that_is_upgraded_comes_to_be_read_everywhere() {
    let stand = Stand::of(PLACEMENT).await;
    let entity = EntityId::placement();
    step(&stand.journal(HOME, APART), entity, &["one "]).await;
    step(&stand.journal(HOME, APART), entity, &["two "]).await;
    read(&stand.journal(ABROAD, APART), entity).unwrap_err();
    // It is written anew by a node that knew the key already, and not again by the next one.
    let journal = stand.journal(HOME, LEVEL);
    step(&journal, entity, &["three "]).await;
    step(&journal, entity, &["four"]).await;
    assert_eq!(read(&stand.journal(ABROAD, LEVEL), entity).unwrap(), "one two three four");
}

#[tokio::test]
async fn what_a_region_stores_is_read_in_that_region_only() {
    let stand = Stand::of(GROUPS_PER_REGION).await;
    let customer = EntityId::new(EntityKind::Customer, stand.authorities[HOME].region(), [7; 10]);
    step(&stand.journal(HOME, LEVEL), customer, &["secret"]).await;
    assert_eq!(read(&stand.journal(HOME, LEVEL), customer).unwrap(), "secret");
    read(&stand.journal(ABROAD, LEVEL), customer).unwrap_err();
}

#[tokio::test]
async fn the_log_tells_where_a_step_stands_and_nothing_of_one_that_was_refused() {
    let stand = Stand::of(GROUPS_PER_REGION).await;
    let customer = EntityId::new(EntityKind::Customer, stand.authorities[HOME].region(), [7; 10]);
    let journal = stand.journal(HOME, LEVEL);
    let stale = draft(&journal, customer, &["never"]);
    step(&journal, customer, &["one ", "two "]).await;
    let refused = journal.submit(stale).await.unwrap().done.await.unwrap_err();
    assert_eq!(refused, JournalError::Conflict { found: 2 });
    let cause = Cause::Device {
        device: customer,
        message_id: [5; 16],
        content: [6; 32],
        sequence: 1,
        expires_s: now_s(),
    };
    let asked = Draft { cause, ..draft(&journal, customer, &["three"]) };
    journal.submit(asked).await.unwrap().done.await.unwrap();

    let all = journal.steps_behind(0).unwrap();
    let told: Vec<_> =
        all.steps.iter().map(|step| (step.entity, step.version, step.events)).collect();
    assert_eq!(told, [(customer, 0, 2), (customer, 2, 1)]);
    let messages: Vec<_> = all.steps.iter().map(|step| step.message).collect();
    assert_eq!(messages, [None, Some([5; 16])]);
    let [first, last] = [&all.steps[0].id, &all.steps[1].id];
    // The one that was refused stands between them.
    assert_eq!((last.index - first.index, last.leader_id), (2, first.leader_id));
    assert_eq!(journal.position().unwrap().as_ref(), Some(last));
    assert_eq!((all.applied, all.until), (last.index, last.index));
    let behind = journal.steps_behind(first.index).unwrap();
    assert_eq!((behind.from, behind.steps.len()), (first.index + 1, 1));
    let behind = journal.steps_behind(u64::MAX).unwrap();
    assert_eq!((behind.applied, behind.steps.len()), (last.index, 0));
}

/// A shard that opens reads a portion of its timers, and the next one when that has fired.
#[tokio::test]
async fn timers_are_read_in_portions_that_follow_each_other() {
    let stand = Stand::of(GROUPS_PER_REGION).await;
    let journal = stand.journal(HOME, LEVEL);
    let region = stand.authorities[HOME].region();
    let mut stored = Vec::new();
    // Those that are due together are several portions.
    for number in 0..5 {
        let entity = EntityId::new(EntityKind::Customer, region, [number; 10]);
        let timers = [(0, 10), (1, 20), (2, 30 + u64::from(number))];
        let set = |(name, due_ms)| TimerChange { name, generation: 1, due_ms: Some(due_ms) };
        let timers = timers.map(set).to_vec();
        let item = |change: &TimerChange| {
            let TimerChange { name, generation, due_ms } = *change;
            TimerItem { due_ms: due_ms.unwrap(), entity, name, generation }
        };
        stored.extend(timers.iter().map(item));
        let draft = Draft { timers, ..draft(&journal, entity, &["one"]) };
        journal.submit(draft).await.unwrap().done.await.unwrap();
    }
    stored.sort();
    let all = journal.timers(TimerPlace::default(), 100).unwrap();
    assert_eq!((all.items, all.next), (stored.clone(), None));
    let (mut read, mut from) = (Vec::new(), Some(TimerPlace::default()));
    while let Some(place) = from {
        let portion = journal.timers(place, 3).unwrap();
        assert_eq!(portion.items.len(), 3, "15 are 5 portions");
        read.extend(portion.items);
        from = portion.next;
        assert_eq!(from, stored.get(read.len()).map(TimerItem::place));
    }
    assert_eq!(read, stored);
}
