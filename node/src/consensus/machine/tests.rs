//! Snapshots that are built while others are installed.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_domain::{customer, ticket, time::Millis};
use openraft::vote::leader_id_std::CommittedLeaderId;

use super::*;
use crate::{
    consensus::{Entry, Proposal as Sealed},
    store::{Engine, Role, simulated::Disk},
};

mod slots;

fn machine() -> Machine {
    let table = Disk::default().open("state", Role::State).unwrap();
    Machine::open(7, table, Pulse::default()).unwrap()
}

async fn apply(machine: &mut Machine, range: std::ops::Range<u64>) {
    let entries = range.map(|index| {
        let log_id = LogId::new(CommittedLeaderId::new(1), index);
        Ok((Entry { log_id, payload: EntryPayload::Blank }, None))
    });
    machine.apply(futures_util::stream::iter(entries.collect::<Vec<_>>())).await.unwrap();
}

#[tokio::test]
async fn an_entry_of_a_later_release_is_not_passed_over() {
    let mut machine = machine();
    apply(&mut machine, 0..3).await;
    let later = Proposal::Settle(Settle::default());
    let mut later = rows::encode(&later);
    // The kind of proposal: none that is known.
    later[1] = 0x17;
    let payload = EntryPayload::Normal(Sealed(later.into()));
    let entry = Entry { log_id: LogId::new(CommittedLeaderId::new(1), 3), payload };
    let applied = machine.apply(futures_util::stream::iter([Ok((entry, None))])).await;
    assert!(applied.unwrap_err().to_string().contains("upgrade this node"));
    // It stands where it stood, so that the same entry is applied once it is understood.
    assert_eq!(install::found(&*machine.table).unwrap().applied.map(|id| id.index), Some(2));
}

fn propose(machine: &Machine, index: u64, proposal: &Proposal) -> Outcome {
    let payload = EntryPayload::Normal(Sealed(rows::encode(proposal).into()));
    let log_id = LogId::new(CommittedLeaderId::new(1), index);
    machine.apply_one(Entry { log_id, payload }).unwrap()
}

/// A step of an entity that has one event.
fn commit(entity: EntityId, version: u64, previous: u8, chain: u8) -> Commit {
    Commit {
        entity,
        owner: entity,
        expected_version: version,
        cause: Cause::Operator { command_id: [0; 16] },
        at_ms: 0,
        event_count: 1,
        record: vec![chain],
        chain: [chain; 32],
        snapshot: None,
        new_key: None,
        tells: vec![],
        mail: vec![],
        timers: vec![],
        index: vec![],
        seen: None,
        previous: Some([previous; 32].into()),
    }
}

/// Applies a step of an entity that has one event; what came of it.
fn step(machine: &Machine, index: u64, version: u64, previous: u8, chain: u8) -> Outcome {
    let entity = EntityId::authority("eu1".parse().unwrap());
    let commit = commit(entity, version, previous, chain);
    propose(machine, index, &Proposal::Commit(Box::new(commit)))
}

/// A leader that refused steps for a moment, because it was handing the group over, has an entity reload
/// while a step of before is under way. What is then decided on the older state, one step on top of the
/// other, must not go on from the step that came between: the second fits its version.
#[test]
fn a_step_does_not_go_on_from_a_history_that_it_does_not_know() {
    let machine = machine();
    let applied = Outcome::Decided(Verdict::Applied { tells: vec![] });
    let conflict = |found| Outcome::Decided(Verdict::Conflict { found });
    assert_eq!(step(&machine, 0, 0, 0, 1), applied);
    // Under way when the entity reloaded.
    assert_eq!(step(&machine, 1, 1, 1, 2), applied);
    // Decided by the reloaded entity, which did not see it.
    assert_eq!(step(&machine, 2, 1, 1, 3), conflict(2));
    assert_eq!(step(&machine, 3, 2, 3, 4), conflict(2));
    assert_eq!(step(&machine, 4, 2, 2, 5), applied);
}

fn listed(machine: &Machine, index: u64, row: IndexRow) {
    let mut commit = commit(row.id(), 0, 0, 1);
    commit.index = vec![row];
    let applied = Outcome::Decided(Verdict::Applied { tells: vec![] });
    assert_eq!(propose(machine, index, &Proposal::Commit(Box::new(commit))), applied);
}

/// Whoever counts tickets needs no other rows of before, and hears of each of them: at a start, from a leader,
/// and by a snapshot.
#[tokio::test]
async fn an_observer_of_one_kind_is_shown_what_is_there_and_what_comes() {
    let id = |kind, number| EntityId::new(kind, "eu1".parse().unwrap(), [number; 10]);
    let customer = |number| {
        let (id, state) = (id(EntityKind::Customer, number), customer::Standing::Active);
        IndexRow::Customer { id, state }
    };
    let ticket = |number| IndexRow::Ticket {
        id: id(EntityKind::Ticket, number),
        state: ticket::Stage::Matching,
        priority: 3,
        opened_at: Millis(u64::from(number)),
        technician: None,
        standing: None,
        counted: Some(ticket::Counted { category: 7, site: u64::from(number) }),
    };
    let observed = async |machine: Machine| {
        let (shown, rows) = std::sync::mpsc::sync_channel(64);
        let filling = Arc::<AtomicBool>::default();
        let is_filling = Arc::clone(&filling);
        let show = Arc::new(move |page: &[IndexRow]| {
            let is_filling = is_filling.load(Ordering::Acquire);
            page.iter().for_each(|row| shown.send((row.clone(), is_filling)).unwrap());
        });
        let filling = Some(filling);
        let observer = Observer { show, kind: Some(EntityKind::Ticket), filling };
        (machine.observed(observer).await.unwrap(), rows)
    };
    let machine = machine();
    listed(&machine, 0, customer(1));
    listed(&machine, 1, ticket(1));
    let (mut machine, rows) = observed(machine).await;
    assert_eq!(Vec::from_iter(rows.try_iter()), [(ticket(1), false)]);
    listed(&machine, 2, ticket(2));
    assert_eq!(Vec::from_iter(rows.try_iter()), [(ticket(2), false)]);
    let snapshot = machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let (mut other, rows) = observed(self::machine()).await;
    assert_eq!(rows.try_iter().count(), 0);
    other.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    // Whoever looks meanwhile reads all rows.
    let shown = Vec::from_iter(rows.try_iter());
    assert!(shown.iter().all(|(_, is_filling)| *is_filling));
    let filling = other.observer.as_ref().and_then(|one| one.filling.as_ref()).unwrap();
    assert!(!filling.load(Ordering::Acquire));
    let mut numbers = Vec::from_iter(shown.iter().map(|(row, _)| row.id()));
    numbers.sort_unstable();
    let mut wanted = [ticket(1).id(), ticket(2).id()];
    wanted.sort_unstable();
    assert_eq!(numbers, wanted);
}

fn last(snapshot: &TableSnapshot) -> Option<u64> {
    snapshot.meta.last_log_id.map(|id| id.index)
}

#[tokio::test]
async fn a_snapshot_is_of_the_moment_its_builder_was_made() {
    let mut machine = machine();
    apply(&mut machine, 0..3).await;
    let mut builder = machine.get_snapshot_builder().await;
    // From here on it is built beside what goes on: half of an installation among others.
    apply(&mut machine, 3..5).await;
    let mut half = Batch::default();
    half.delete(state::applied());
    machine.table.write(half).unwrap();
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(last(&built), Some(2));
    assert_eq!(install::found(&*built.snapshot).unwrap().applied, built.meta.last_log_id);
}

#[tokio::test]
async fn an_older_snapshot_does_not_take_the_place_of_a_later_one() {
    let (mut leader, mut follower) = (machine(), machine());
    apply(&mut leader, 0..9).await;
    apply(&mut follower, 0..3).await;
    let mut builder = follower.get_snapshot_builder().await;
    let sent = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();
    follower.install_snapshot(&sent.meta, sent.snapshot).await.unwrap();
    assert_eq!(last(&builder.build_snapshot().await.unwrap()), Some(2));
    let current = follower.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(last(&current), Some(8));
    assert_eq!(install::found(&*current.snapshot).unwrap().applied, current.meta.last_log_id);
}
