//! Authorities that take over from each other: what is asked, what happened, and what is kept.

use fieldmesh_domain::{
    Command as AnyCommand, EntityId, IndexRow,
    authority::{Command as ToAuthority, Deed, Note},
    placement::{
        Bundle, Ca, Command, Event, Move, Node, Phase, Placement, Proposal, Role, Step, Wanted,
    },
};

use crate::{FINGERPRINT, HASH, ISSUER, KEY, NOON, are_frozen, are_read};

fn authority() -> EntityId {
    EntityId::authority("eu2".parse().unwrap())
}

pub(crate) fn issuing() -> Ca {
    Ca {
        fingerprint: FINGERPRINT,
        certificate: vec![4, 5],
        role: Role::Issuing,
        authority: authority(),
        name: ISSUER,
        signer: KEY,
        not_after: 3,
        phase: Phase::Superseded,
        since: NOON,
        epoch: 7,
        compromised: true,
    }
}

/// It signed itself.
fn root() -> Ca {
    Ca {
        fingerprint: KEY,
        role: Role::Root,
        name: HASH,
        phase: Phase::Active,
        epoch: 1,
        compromised: false,
        ..issuing()
    }
}

fn proposal() -> Proposal {
    Proposal { fingerprint: FINGERPRINT, step: Step::Rollback, by: "op".into(), at: NOON }
}

fn node() -> Node {
    Node { number: 2, epoch: 7, at: NOON }
}

#[test]
fn of_each_authority() {
    are_frozen(&[
        ("8b<print>42040501<aut><issuer><key>0302<noon>07f5", issuing()),
        ("8b<key>42040500<aut><hash><key>0301<noon>01f4", root()),
    ]);
}

#[test]
fn commands() {
    let by = || "op".to_owned();
    let wanted = |step, second_person| {
        Command::Rotate(Wanted { fingerprint: FINGERPRINT, step, by: by(), second_person })
    };
    are_frozen(&[
        ("82028180", Command::Adopt(vec![])),
        ("820281818b<key>42040500<aut><hash><key>0301<noon>01f4", Command::Adopt(vec![root()])),
        (
            "8203828b<print>42040501<aut><issuer><key>0302<noon>07f5626f70",
            Command::Introduce { ca: issuing(), by: by() },
        ),
        ("82048184<print>00626f70f4", wanted(Step::Activate, false)),
        ("82048184<print>01626f70f5", wanted(Step::ActivateCompromised, true)),
        ("82048184<print>02626f70f4", wanted(Step::Rollback, false)),
        ("82048184<print>03626f70f4", wanted(Step::Retire, false)),
        ("82048184<print>04626f70f4", wanted(Step::Remove, false)),
        ("82048184<print>05626f70f5", wanted(Step::Drop, true)),
        ("8205820207", Command::Acknowledge { node: 2, epoch: 7 }),
        ("82068202626f70", Command::ForgetNode { node: 2, by: by() }),
        (
            "8207828b<print>42040501<aut><issuer><key>0302<noon>07f5626f70",
            Command::IntroduceJointly { ca: issuing(), by: by() },
        ),
    ]);
    are_frozen(&[(
        "8206818205820207",
        AnyCommand::Placement(Command::Acknowledge { node: 2, epoch: 7 }),
    )]);
}

#[test]
fn events() {
    let (by, at) = (|| "op".to_owned(), NOON);
    let (from, to, compromised) = (Phase::Active, Phase::Superseded, true);
    let taken = Move { fingerprint: KEY, from, to, compromised };
    let (from, to, compromised) = (Phase::Introduced, Phase::Active, false);
    let moves = vec![taken, Move { fingerprint: FINGERPRINT, from, to, compromised }];
    let alone = Event::Moved { moves: moves.clone(), at, by: by(), proposed_by: None };
    are_frozen(&[
        (
            "820182818b<print>42040501<aut><issuer><key>0302<noon>07f5626f70",
            Event::Introduced { cas: vec![issuing()], by: by() },
        ),
        ("8201828060", Event::Introduced { cas: vec![], by: String::new() }),
        ("82028184<print>02626f70<noon>", Event::Proposed(proposal())),
        ("8203838284<key>0102f584<print>0001f4<noon>626f70", alone),
        (
            "8203848284<key>0102f584<print>0001f4<noon>626f706162",
            Event::Moved { moves, at, by: by(), proposed_by: Some("b".into()) },
        ),
        ("820481830207<noon>", Event::Acknowledged(node())),
        ("82058202626f70", Event::NodeForgotten { node: 2, by: by() }),
    ]);
}

#[test]
fn the_state() {
    let (epoch, cas, nodes) = (7, vec![root(), issuing()], vec![node()]);
    let whole = Bundle { epoch, cas, nodes, proposal: Some(proposal()) };
    let of = |bundle| Placement { revoked: 9, bundle, ..Placement::default() };
    let quiet = Bundle { epoch: 7, nodes: vec![node()], ..Bundle::default() };
    are_frozen(&[
        ("8300830080808400808080", Placement::default()),
        ("8309830080808400808080", Placement { revoked: 9, ..Placement::default() }),
        ("830983078081830207<noon>8400808080", of(quiet)),
        (
            "83098407828b<key>42040500<aut><hash><key>0301<noon>01f48b<print>42040501<aut><issuer><key>0302<noon>07f581830207<noon>84<print>02626f70<noon>8400808080",
            of(whole),
        ),
    ]);
    // From before there were bundles, and before there were members.
    are_read(&[
        ("8100", Placement::default()),
        ("8109", Placement { revoked: 9, ..Placement::default() }),
        ("820983008080", Placement { revoked: 9, ..Placement::default() }),
    ]);
}

#[test]
fn rows() {
    are_frozen(&[
        (
            "8207828b<print>42040501<aut><issuer><key>0302<noon>07f508",
            IndexRow::Ca { ca: issuing(), epoch: 8 },
        ),
        (
            "8207828b<key>42040500<aut><hash><key>0301<noon>01f401",
            IndexRow::Ca { ca: root(), epoch: 1 },
        ),
    ]);
}

#[test]
fn notes_of_the_ledger() {
    let (certificate, from, to) = (FINGERPRINT, Phase::Introduced, Phase::Active);
    let moved = |proposed_by, compromised| Deed::CaMoved {
        certificate,
        from,
        to,
        proposed_by,
        compromised,
    };
    are_frozen(&[
        (
            "820c83<issuer><print>03",
            Deed::CaIntroduced { issuer: ISSUER, certificate, not_after: 3 },
        ),
        ("820d85<print>0001f6f4", moved(None, false)),
        ("820d85<print>0001f6f5", moved(None, true)),
        ("820d85<print>00016162f4", moved(Some("b".into()), false)),
    ]);
    let note = Note { registration: None, by: "op".into(), deed: moved(None, false) };
    are_frozen(&[("82008183f6626f70820d85<print>0001f6f4", ToAuthority::Note(note))]);
}

#[test]
fn numbers_of_names() {
    let phases =
        [Phase::Introduced, Phase::Active, Phase::Superseded, Phase::Retired, Phase::Removed];
    are_frozen(&[("850001020304", phases)]);
    assert_eq!(
        phases.map(Phase::name),
        ["introduced", "active", "superseded", "retired", "removed"]
    );
    are_frozen(&[("820001", [Role::Root, Role::Issuing])]);
    let steps = [
        Step::Activate,
        Step::ActivateCompromised,
        Step::Rollback,
        Step::Retire,
        Step::Remove,
        Step::Drop,
        Step::Introduce,
    ];
    are_frozen(&[("8700010203040506", steps)]);
}
