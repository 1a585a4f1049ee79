//! The cluster's nodes and the places of its groups: what is asked, what happened, and what is kept.

use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow,
    effect::RowKey,
    placement::{Command, Event, Home, Member, Members, Placed, Placement, Presence},
};

use crate::{NOON, are_frozen};

/// The bytes of [`member`].
const MEMBER: &str = "87025065753100046d080808080808080808086161616261630000";

fn frozen(text: &str) -> String {
    text.replace("<member>", MEMBER)
}

fn member() -> Member {
    let identity = EntityId::new(EntityKind::Registration, "eu1".parse().unwrap(), [8; 10]);
    let at = |text: &str| text.to_owned();
    let (mesh, devices, https) = (at("a"), at("b"), at("c"));
    let (presence, since) = (Presence::Active, fieldmesh_domain::time::Millis(0));
    Member { number: 2, identity, mesh, devices, https, presence, since }
}

fn placed() -> Placed {
    Placed { group: 1, voters: vec![1, 2, 3], learners: vec![4], pinned: true }
}

fn home() -> Home {
    Home { region: "eu1".parse().unwrap(), index: 1, shards: 6, standby: None }
}

fn with_standby() -> Home {
    Home { standby: Some("us1".parse().unwrap()), ..home() }
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
            "821283446575310044757331 00626f70",
            Command::SetPolicy { region: home().region, standby: with_standby().standby, by: by() },
        ),
        (
            "8212834465753100f6626f70",
            Command::SetPolicy { region: home().region, standby: None, by: by() },
        ),
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
            "820683<member>834465753100<home>626f70",
            Event::Joined { member: member(), home: Some(home()), by: by() },
        ),
        ("820683<member>f6626f70", Event::Joined { member: member(), home: None, by: by() }),
        ("82078402616161626163", Event::Announced { number, mesh, devices, https }),
        ("8208840202<noon>626f70", Event::PresenceChanged { number, presence, at, by: by() }),
        (
            "8208840204<noon>626f70",
            Event::PresenceChanged { number, presence: Presence::Away, at, by: by() },
        ),
        ("8209828184018301020381 04f5626f70", Event::Placed { groups: vec![placed()], by: by() }),
        (
            "820a8344657531004475733100 626f70",
            Event::PolicySet { region: home().region, standby: with_standby().standby, by: by() },
        ),
        (
            "820a834465753100f6626f70",
            Event::PolicySet { region: home().region, standby: None, by: by() },
        ),
    ]);
    for (text, event) in rows {
        let text = text.replace("<home>", "0106").replace(' ', "");
        are_frozen(&[(text.as_str(), event)]);
    }
}

#[test]
fn rows() {
    let epoch = 7;
    let rows = table(vec![
        ("820882<member>07", IndexRow::Member { member: member(), epoch }),
        ("82098283446575310001 0607", IndexRow::Home { home: home(), epoch }),
        ("82098284446575310001 06447573310007", IndexRow::Home { home: with_standby(), epoch }),
        ("820a82840183010203810 4f507", IndexRow::Placed { placed: placed(), epoch }),
    ]);
    for (text, row) in rows {
        are_frozen(&[(text.replace(' ', "").as_str(), row)]);
    }
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
    let text = frozen("830083008080840781834465753100010681<member>818401830102038104f5");
    are_frozen(&[(text.as_str(), Placement { members, ..Placement::default() })]);
}
