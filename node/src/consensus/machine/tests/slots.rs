//! Slots that are given away, taken, and cleared; rows that follow their entities.

use fieldmesh_actors::commit::{SlotMove, SlotPage, Tell};
use fieldmesh_domain::{EntityKind, Region};

use super::*;
use crate::{consensus::machine::slots::is_consumed, store::rows::OutboxRow};

/// The group of [`machine`], and two others.
const OWN: ShardId = 7;
const OTHER: ShardId = 8;
const THIRD: ShardId = 9;

fn region() -> Region {
    "eu1".parse().unwrap()
}

fn entity() -> EntityId {
    EntityId::new(EntityKind::Customer, region(), [3; 10])
}

fn slot(sent: u64) -> SlotMove {
    SlotMove { region: region(), slot: entity().slot(), sent }
}

fn done() -> Outcome {
    Outcome::Decided(Verdict::Applied { tells: vec![] })
}

fn not_done() -> Outcome {
    Outcome::Decided(Verdict::Consumed)
}

fn commit_with(cause: Cause, version: u64) -> Proposal {
    Proposal::Commit(Box::new(Commit { cause, previous: None, ..commit(entity(), version, 0, 1) }))
}

fn told(from: ShardId, number: u64) -> Cause {
    Cause::Outbox { from, number }
}

fn page(sent: u64, is_first: bool, is_last: bool, rows: &[(Vec<u8>, Vec<u8>)]) -> Proposal {
    let rows = rows.iter().map(|(key, value)| (key.clone().into(), value.clone().into()));
    Proposal::TakeSlot(SlotPage { slot: slot(sent), is_first, is_last, rows: rows.collect() })
}

fn head(machine: &Machine) -> Option<u64> {
    let key = state::head(&entity().to_bytes());
    rows::read::<Head>(&*machine.table, &key).unwrap().map(|head| head.version)
}

/// What was consumed before the slot went stays consumed; whatever comes later belongs elsewhere.
#[test]
fn a_slot_that_was_given_away_takes_no_commit() {
    let machine = machine();
    assert_eq!(propose(&machine, 1, &commit_with(told(OTHER, 1), 0)), done());
    assert_eq!(propose(&machine, 2, &Proposal::GiveSlot { slot: slot(5), to: OTHER }), done());
    let moved = Outcome::Decided(Verdict::Moved);
    assert_eq!(propose(&machine, 3, &commit_with(told(OTHER, 1), 1)), not_done());
    assert_eq!(propose(&machine, 4, &commit_with(told(OTHER, 2), 1)), moved);
    let operator = Cause::Operator { command_id: [0; 16] };
    assert_eq!(propose(&machine, 5, &commit_with(operator, 1)), moved);
    assert_eq!(head(&machine), Some(1), "nothing has changed");
    // The refused row is not taken: its sender still has it.
    let of_two = is_consumed(&*machine.table, OWN, &told(OTHER, 2)).unwrap();
    assert!(!of_two, "its effect is still to come");
    assert_eq!(propose(&machine, 6, &Proposal::TakeVoid { from: OTHER, number: 2 }), done());
    assert_eq!(propose(&machine, 7, &Proposal::TakeVoid { from: OTHER, number: 2 }), not_done());
    // An older move of the same slot comes late.
    assert_eq!(propose(&machine, 8, &Proposal::GiveSlot { slot: slot(4), to: THIRD }), not_done());
    assert_eq!(propose(&machine, 9, &Proposal::ClearSlot(slot(4))), not_done());
    assert_eq!(head(&machine), Some(1));
    assert_eq!(propose(&machine, 10, &Proposal::ClearSlot(slot(5))), done());
    assert_eq!(head(&machine), None);
}

/// What one entity of a slot said to another is heard before the slot goes, so that it keeps its order.
#[test]
fn a_slots_entities_hear_each_other_out() {
    let machine = machine();
    let tell = |from| Tell { to: entity(), shard: OWN, sealed: vec![1], from };
    let stranger = EntityId::new(EntityKind::Customer, region(), [4; 10]);
    assert_ne!(stranger.slot(), entity().slot());
    let tells = vec![tell(entity()), tell(stranger)];
    let said = Commit { tells, ..commit(entity(), 0, 0, 1) };
    propose(&machine, 1, &Proposal::Commit(Box::new(said)));
    propose(&machine, 2, &Proposal::GiveSlot { slot: slot(5), to: OTHER });
    let moved = Outcome::Decided(Verdict::Moved);
    assert_eq!(propose(&machine, 3, &commit_with(told(OWN, 2), 1)), moved, "a stranger waits");
    assert_eq!(propose(&machine, 4, &commit_with(told(OWN, 1), 1)), done());
    assert_eq!(propose(&machine, 5, &commit_with(told(OWN, 1), 2)), not_done());
    assert_eq!(head(&machine), Some(2));
}

/// A leader that was deposed, or whose map is old, must not overwrite what is served here by now.
#[test]
fn pages_of_an_earlier_move_change_nothing() {
    let machine = machine();
    let row = (state::head(&entity().to_bytes()), rows::encode(&Head::default()));
    let later = (row.0.clone(), rows::encode(&Head { version: 9, ..Head::default() }));
    assert_eq!(propose(&machine, 1, &page(5, true, false, std::slice::from_ref(&row))), done());
    // Begun again, because the first attempt was not ended.
    assert_eq!(propose(&machine, 2, &page(5, true, false, &[])), done());
    assert_eq!(head(&machine), None, "what the first attempt brought is gone");
    assert_eq!(propose(&machine, 3, &page(5, false, true, std::slice::from_ref(&row))), done());
    for (index, sent) in [(4, 5), (5, 3)] {
        assert_eq!(propose(&machine, index, &page(sent, true, true, &[])), not_done());
    }
    assert_eq!(propose(&machine, 6, &commit_with(told(OTHER, 1), 0)), done(), "it is served here");
    assert_eq!(propose(&machine, 7, &Proposal::ClearSlot(slot(5))), not_done());
    assert_eq!(head(&machine), Some(1));
    // It goes on, and what was sent here before does not come back.
    assert_eq!(propose(&machine, 8, &Proposal::GiveSlot { slot: slot(6), to: THIRD }), done());
    assert_eq!(
        propose(&machine, 9, &page(5, false, true, std::slice::from_ref(&later))),
        not_done()
    );
    assert_eq!(head(&machine), Some(1));
    // And back again.
    assert_eq!(propose(&machine, 10, &page(7, true, true, std::slice::from_ref(&later))), done());
    assert_eq!(head(&machine), Some(9));
}

/// The timers of a slot go with it, by name and by time; those of others stay.
#[test]
fn a_slots_timers_go_with_it() {
    let machine = machine();
    let timer = |due_ms| TimerChange { name: 0, generation: 1, due_ms: Some(due_ms) };
    let stranger = EntityId::new(EntityKind::Customer, region(), [4; 10]);
    assert_ne!(stranger.slot(), entity().slot());
    for (index, of, due) in [(1, entity(), 50), (2, stranger, 60)] {
        let commit = Commit { timers: vec![timer(due)], ..commit(of, 0, 0, 1) };
        propose(&machine, index, &Proposal::Commit(Box::new(commit)));
    }
    propose(&machine, 3, &Proposal::GiveSlot { slot: slot(5), to: OTHER });
    propose(&machine, 4, &Proposal::ClearSlot(slot(5)));
    let (from, until) = state::timer_range();
    let left: Vec<Vec<u8>> =
        machine.table.scan(&from, &until, 9).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, [state::timer_due(60, &stranger.to_bytes(), 0)]);
}

fn outbox(machine: &Machine) -> Vec<(ShardId, u64, bool, Vec<u8>)> {
    let (from, until) = state::outbox_range();
    let rows = machine.table.scan(&from, &until, 99).unwrap().into_iter();
    rows.map(|(key, value)| {
        let row: OutboxRow = rows::decode(&key, &value).unwrap();
        let number = u64::from_be_bytes(*key.last_chunk::<8>().unwrap());
        (row.tell.shard, number, row.is_void, row.tell.sealed)
    })
    .collect()
}

/// Rows follow their entity in their order, and what waits for their numbers gets those.
#[test]
fn redirected_rows_keep_their_order_and_leave_their_numbers() {
    let machine = machine();
    let tell =
        |shard, sealed: u8| Tell { to: entity(), shard, sealed: vec![sealed], from: entity() };
    let tells = vec![tell(OTHER, 1), tell(OTHER, 2), tell(OWN, 3), tell(THIRD, 4)];
    let speaker = EntityId::desk(region());
    let commit = Commit { tells, ..commit(speaker, 0, 0, 1) };
    propose(&machine, 1, &Proposal::Commit(Box::new(commit)));
    let rows = vec![(OTHER, 1), (OTHER, 2), (OWN, 1), (THIRD, 1)];
    assert_eq!(propose(&machine, 2, &Proposal::Redirect { rows: rows.clone(), to: THIRD }), done());
    let void = |shard, number| (shard, number, true, vec![]);
    let row = |number, sealed: u8| (THIRD, number, false, vec![sealed]);
    let after = [
        void(OTHER, 1),
        void(OTHER, 2),
        void(THIRD, 1),
        row(2, 1),
        row(3, 2),
        row(4, 3),
        row(5, 4),
    ];
    assert_eq!(outbox(&machine), after);
    // Whoever does not know that it was done asks again.
    assert_eq!(propose(&machine, 3, &Proposal::Redirect { rows, to: THIRD }), done());
    assert_eq!(outbox(&machine), after);
}
