//! What must hold of slots: each is served by one shard, and goes on only when nothing of it is left.

use fieldmesh_domain::{
    Aggregate, EntityId, EntityKind, Region, RejectionCode,
    ids::SLOTS,
    placement::{Command, GROUPS_PER_REGION, Member},
};
use proptest::prelude::*;

use crate::members::{Cluster, SHARDS, ctx, join, member, region};

fn by() -> String {
    "op".into()
}

fn eu1() -> Region {
    region(1)
}

fn send(slots: &[u16], to: u32) -> Command {
    Command::MoveSlots { region: eu1(), slots: slots.to_vec(), to, by: by() }
}

fn arrived(slot: u16, at: u32) -> Command {
    Command::SlotArrived { region: eu1(), slot, at }
}

fn cleared(slot: u16, at: u32) -> Command {
    Command::SlotCleared { region: eu1(), slot, at }
}

/// Few slots and shards, so that moves meet.
fn command() -> impl Strategy<Value = Command> {
    let (slot, group) = (|| 0..4_u16, || 1..=SHARDS);
    prop_oneof![
        2 => (prop::collection::vec(slot(), 1..4), group())
            .prop_map(|(slots, to)| send(&slots, to)),
        3 => (slot(), group()).prop_map(|(slot, at)| arrived(slot, at)),
        3 => (slot(), group()).prop_map(|(slot, at)| cleared(slot, at)),
    ]
}

/// A customer in a slot.
fn customer(slot: u16) -> EntityId {
    let ids = (0_u32..).map(|number| {
        let mut random = [0; 10];
        random[..4].copy_from_slice(&number.to_be_bytes());
        EntityId::new(EntityKind::Customer, eu1(), random)
    });
    ids.into_iter().find(|id| id.slot() == slot).unwrap()
}

proptest! {
    #[test]
    fn a_slot_is_served_where_it_has_arrived(commands in prop::collection::vec(command(), 1..60)) {
        let mut cluster = Cluster::of(&[join(1)]);
        for command in &commands {
            let before = cluster.members().home(eu1()).unwrap().clone();
            let asked = cluster.ask(command);
            cluster.holds();
            let now = cluster.members().home(eu1()).unwrap();
            for slot in 0..4 {
                let (was, is) = (before.slot(slot), now.slot(slot));
                if was.shard != is.shard {
                    prop_assert_eq!(command, &arrived(slot, is.shard));
                    prop_assert_eq!((was.next, is.next), (Some(is.shard), None));
                    prop_assert_eq!(is.last, Some(was.shard));
                }
                if was.next.is_none() && is.next.is_some() {
                    prop_assert!(!was.is_moving(), "{:?}", was);
                    prop_assert!(is.sent > was.sent, "each move is another one");
                }
                if was.last.is_some() && is.last.is_none() {
                    prop_assert_eq!(command, &cleared(slot, was.last.unwrap()));
                }
                prop_assert!(is.next != Some(is.shard) && is.last != Some(is.shard));
                prop_assert_eq!(cluster.members().group_of(customer(slot)), Some(is.shard));
            }
            // Others stay where they were, and what is at home again is not said.
            prop_assert!(now.slots.iter().all(|one| one.slot < 4));
            prop_assert!(now.slots.windows(2).all(|pair| pair[0].slot < pair[1].slot));
            let is_said = |slot: u16| now.slots.iter().any(|one| one.slot == slot);
            for slot in (0..4).filter(|slot| !is_said(*slot)) {
                prop_assert_eq!(now.shard_of(slot), now.natural(slot));
            }
            if asked.is_ok() {
                prop_assert_eq!(cluster.ask(command), Ok(0), "said again");
            }
        }
    }
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let mut cluster = Cluster::of(&[join(1), join(21)]);
    let (home, other) = (1, GROUPS_PER_REGION + 1);
    for (command, code, words) in [
        (send(&[0], 0), RejectionCode::Invalid, "0 is no shard of region eu1: use 1 to"),
        (send(&[0], 1024), RejectionCode::Invalid, "1024 is no shard"),
        (send(&[0], SHARDS + 1), RejectionCode::Invalid, "is no shard"),
        (send(&[0], other), RejectionCode::Invalid, "is no shard"),
        (send(&[3, SLOTS], 2), RejectionCode::Invalid, "slot 1024: use 0 to 1023"),
    ] {
        let refusal = cluster.state.decide(&command, &ctx(9)).unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(refusal.detail.contains(words), "{refusal}");
    }
    assert_eq!(cluster.ask(&send(&[0], home)), Ok(0), "it is there");
    assert_eq!(cluster.ask(&send(&[0, 1], 2)), Ok(1));
    assert_eq!(cluster.members().home(eu1()).unwrap().slots.len(), 1, "one was there already");
    assert_eq!(cluster.ask(&send(&[0], 3)), Err(RejectionCode::NotNow), "it is on its way");
    assert_eq!(cluster.ask(&arrived(0, 2)), Ok(1));
    assert_eq!(cluster.ask(&send(&[0], 3)), Err(RejectionCode::NotNow), "something is left");
    assert_eq!(cluster.ask(&cleared(0, 1)), Ok(1));
    assert_eq!(cluster.ask(&send(&[0], 3)), Ok(1));
}

/// An older node would look for its entities where they are no more.
#[test]
fn no_slot_moves_before_every_node_knows_of_that() {
    let mut cluster = Cluster::of(&[join(1), join(2)]);
    let older = Member { level: 1, ..member(2) };
    let older = Command::Join { member: older, shards: SHARDS, by: by() };
    assert_eq!(cluster.ask(&older), Ok(1));
    let refusal = cluster.state.decide(&send(&[0], 2), &ctx(9)).unwrap_err();
    assert!(refusal.detail.contains("node 2 runs an older release"), "{refusal}");
}
