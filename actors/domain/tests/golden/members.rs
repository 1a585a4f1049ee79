//! The cluster's nodes and the places of its groups: what is asked, what happened, and what is kept.

use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow,
    effect::RowKey,
    placement::{
        Area, Areas, Command, Event, Home, Member, Members, Placed, Placement, Policy, Presence,
        Slot,
    },
};

use crate::{NOON, are_frozen};

/// The bytes of [`member`].
const MEMBER: &str = "88025065753100046d08080808080808080808616161626163000001";

fn frozen(text: &str) -> String {
    text.replace("<member>", MEMBER)
}

fn member() -> Member {
    let identity = EntityId::new(EntityKind::Registration, "eu1".parse().unwrap(), [8; 10]);
    let at = |text: &str| text.to_owned();
    let (mesh, devices, https) = (at("a"), at("b"), at("c"));
    let (presence, since) = (Presence::Active, fieldmesh_domain::time::Millis(0));
    Member { number: 2, identity, mesh, devices, https, presence, since, level: 1 }
}

fn placed() -> Placed {
    Placed { group: 1, voters: vec![1, 2, 3], learners: vec![4], pinned: true }
}

fn home() -> Home {
    Home::new("eu1".parse().unwrap(), 1, 6)
}

fn with_standby() -> Home {
    Home { policy: Policy::Standby("us1".parse().unwrap()), ..home() }
}

fn with_slots() -> Home {
    let moving = Slot { slot: 5, shard: 2, next: Some(3), last: Some(4), sent: 9 };
    let moved = Slot { slot: 6, shard: 10, next: None, last: None, sent: 8 };
    Home { slots: vec![moving, moved], ..home() }
}

fn areas() -> Areas {
    let area = Area { south_e6: 1, west_e6: -2, north_e6: 3, east_e6: 4 };
    Areas { region: home().region, areas: vec![area], by: by() }
}

fn with_areas() -> Home {
    Home { areas: Some(areas().areas), ..home() }
}

fn spread() -> Home {
    let [one, other] = ["us1", "ap1"].map(|region| region.parse().unwrap());
    Home { policy: Policy::Region(one, other), ..home() }
}

fn by() -> String {
    "op".into()
}

fn table<T>(rows: Vec<(&str, T)>) -> Vec<(String, T)> {
    rows.into_iter().map(|(text, value)| (frozen(text), value)).collect()
}

#[test]
fn commands() {
    let number = 2;
    let rows = table(vec![
        ("820883<member>06626f70", Command::Join { member: member(), shards: 6, by: by() }),
        ("82098202626f70", Command::Drain { number, by: by() }),
        ("820a8202626f70", Command::Resume { number, by: by() }),
        ("820b8202626f70", Command::Leave { number, by: by() }),
        ("820c8102", Command::Left { number }),
        ("820d830183010203626f70", Command::Assign { group: 1, voters: vec![1, 2, 3], by: by() }),
        (
            "820e84<member>06<issuer>626f70",
            Command::Found { member: member(), shards: 6, issuer: [9; 32], by: by() },
        ),
        ("820f83<member>06626f70", Command::Restore { member: member(), shards: 6, by: by() }),
        ("82108102", Command::NotHeard { number }),
        ("82118102", Command::HeardAgain { number }),
        (
            "82128344657531008201814475733100 626f70",
            Command::SetPolicy { region: home().region, policy: with_standby().policy, by: by() },
        ),
        (
            "8212834465753100820080626f70",
            Command::SetPolicy { region: home().region, policy: Policy::Zone, by: by() },
        ),
        (
            "821384446575310082050602626f70",
            Command::MoveSlots { region: home().region, slots: vec![5, 6], to: 2, by: by() },
        ),
        ("82148344657531000502", Command::SlotArrived { region: home().region, slot: 5, at: 2 }),
        ("82158344657531000502", Command::SlotCleared { region: home().region, slot: 5, at: 2 }),
        ("821680", Command::Recite),
        ("82181a8183446575310081 8401210304 626f70", Command::SetAreas(areas())),
        ("82181a8183446575310080626f70", Command::SetAreas(Areas { areas: vec![], ..areas() })),
        ("82181b824465753100626f70", Command::Lose(home().region, by())),
    ]);
    for (text, command) in rows {
        are_frozen(&[(text.replace(' ', "").as_str(), command)]);
    }
}

#[test]
fn events() {
    let (number, at) = (2, NOON);
    let presence = Presence::Leaving;
    let (mesh, devices, https) = ("a".to_owned(), "b".to_owned(), "c".to_owned());
    let rows = table(vec![
        (
            "820683<member>854465753100<home>626f70",
            Event::Joined { member: member(), home: Some(home()), by: by() },
        ),
        ("820683<member>f6626f70", Event::Joined { member: member(), home: None, by: by() }),
        ("8207850261616162616301", Event::Announced { number, mesh, devices, https, level: 1 }),
        ("8208840202<noon>626f70", Event::PresenceChanged { number, presence, at, by: by() }),
        (
            "8208840204<noon>626f70",
            Event::PresenceChanged { number, presence: Presence::Away, at, by: by() },
        ),
        ("8209828184018301020381 04f5626f70", Event::Placed { groups: vec![placed()], by: by() }),
        (
            "820a8344657531008201814475733100 626f70",
            Event::PolicySet { region: home().region, policy: with_standby().policy, by: by() },
        ),
        (
            "820a834465753100820080626f70",
            Event::PolicySet { region: home().region, policy: Policy::Zone, by: by() },
        ),
        (
            "820b84446575310082050602626f70",
            Event::SlotsSent { region: home().region, slots: vec![5, 6], to: 2, by: by() },
        ),
        ("820c82446575310005", Event::SlotArrived { region: home().region, slot: 5 }),
        ("820d82446575310005", Event::SlotCleared { region: home().region, slot: 5 }),
        ("82128183446575310081 8401210304 626f70", Event::AreasSet(areas())),
        ("82128183446575310080626f70", Event::AreasSet(Areas { areas: vec![], ..areas() })),
    ]);
    for (text, event) in rows {
        let text = text.replace("<home>", "010682008080").replace(' ', "");
        are_frozen(&[(text.as_str(), event)]);
    }
}

#[test]
fn rows() {
    let epoch = 7;
    let rows = table(vec![
        ("820882<member>07", IndexRow::Member { member: member(), epoch }),
        ("82098285446575310001 068200808007", IndexRow::Home { home: home(), epoch }),
        (
            "82098285446575310001 0682018144757331008007",
            IndexRow::Home { home: with_standby(), epoch },
        ),
        (
            "82098285446575310001 06820282447573310044617031 008007",
            IndexRow::Home { home: spread(), epoch },
        ),
        (
            "82098285446575310001 06820080 828505020304 0985060af6f60807",
            IndexRow::Home { home: with_slots(), epoch },
        ),
        (
            "82098286446575310001 0682008080 81 8401210304 07",
            IndexRow::Home { home: with_areas(), epoch },
        ),
        ("820a82840183010203810 4f507", IndexRow::Placed { placed: placed(), epoch }),
    ]);
    for (text, row) in rows {
        are_frozen(&[(text.replace(' ', "").as_str(), row)]);
    }
}

/// Nodes did not say once what they understand: that is level 0.
#[test]
fn a_node_without_a_level_is_read() {
    let [old, new] = [MEMBER.replacen("88", "87", 1), MEMBER.to_owned()];
    let old: Vec<u8> = (0..old.len() - 2)
        .step_by(2)
        .map(|at| u8::from_str_radix(&old[at..at + 2], 16).unwrap())
        .collect();
    let read: Member = minicbor::decode(&old).unwrap();
    assert_eq!(read, Member { level: 0, ..member() }, "{new}");
}

/// Regions had no policy once: that is *zone*.
#[test]
fn a_region_without_a_policy_is_read() {
    let bytes = [0x82, 9, 0x82, 0x83, 0x44, b'e', b'u', b'1', 0, 1, 6, 7];
    let row: IndexRow = minicbor::decode(&bytes).unwrap();
    assert_eq!(row, IndexRow::Home { home: home(), epoch: 7 });
}

/// Slots stayed where they were once.
#[test]
fn a_region_without_slots_is_read() {
    let bytes = [0x82, 9, 0x82, 0x84, 0x44, b'e', b'u', b'1', 0, 1, 6, 0x82, 0, 0x80, 7];
    let row: IndexRow = minicbor::decode(&bytes).unwrap();
    assert_eq!(row, IndexRow::Home { home: home(), epoch: 7 });
}

#[test]
fn the_names_of_rows() {
    let epoch = 7;
    for (row, kind, name) in [
        (IndexRow::Member { member: member(), epoch }, 0x24, vec![0, 0, 0, 0, 0, 0, 0, 2]),
        (IndexRow::Home { home: home(), epoch }, 0x25, vec![0, 0, 0, 1]),
        (IndexRow::Placed { placed: placed(), epoch }, 0x26, vec![0, 0, 0, 1]),
    ] {
        assert_eq!(row.key(), RowKey { kind, name }, "{row:?}");
        assert_eq!(row.id(), EntityId::placement());
    }
}

#[test]
fn the_state() {
    let (homes, members, groups) = (vec![home()], vec![member()], vec![placed()]);
    let members = Members { epoch: 7, homes, members, groups };
    let text = frozen("83008300808084078185446575310001068200808081<member>818401830102038104f5");
    are_frozen(&[(text.as_str(), Placement { members, ..Placement::default() })]);
}
