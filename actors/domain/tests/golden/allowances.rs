//! Allowances of chaos: what is asked, what happened, what is kept, and the row that nodes read.

use fieldmesh_domain::{
    EntityId, IndexRow,
    effect::RowKey,
    placement::{Allowance, AllowanceProposal, Allowances, Command, Ended, Event, Placement},
    time::Millis,
};

use crate::{NOON, are_frozen};

fn allowance() -> Allowance {
    let (why, proposed_by, approved_by) = ("abc".into(), "op".into(), "b".into());
    Allowance { since: Millis(5), until: NOON, why, proposed_by, approved_by }
}

fn proposal() -> AllowanceProposal {
    AllowanceProposal { minutes: 60, why: "abc".into(), by: "op".into(), at: NOON }
}

fn ended() -> Ended {
    Ended { at: NOON, by: "op".into() }
}

fn allowed() -> Allowances {
    Allowances { epoch: 2, allowance: Some(allowance()), ..Allowances::default() }
}

#[test]
fn commands() {
    are_frozen(&[
        (
            "82181883183c63616263626f70",
            Command::AllowChaos {
                minutes: 60,
                why: "abc".into(),
                by: "op".into(),
                let_in_by: None,
            },
        ),
        (
            "82181884183c63616263626f70816162",
            Command::AllowChaos {
                minutes: 60,
                why: "abc".into(),
                by: "op".into(),
                let_in_by: Some(vec!["b".into()]),
            },
        ),
        ("82181981626f70", Command::EndChaos { by: "op".into() }),
    ]);
}

#[test]
fn events() {
    are_frozen(&[
        ("820f8184183c63616263626f70<noon>", Event::ChaosProposed(proposal())),
        ("8210818505<noon>63616263626f706162", Event::ChaosAllowed(allowance())),
        ("82118182<noon>626f70", Event::ChaosEnded(ended())),
    ]);
}

#[test]
fn rows() {
    let row = IndexRow::Allowances(allowed());
    assert_eq!(row.key(), RowKey { kind: 0x28, name: vec![] });
    assert_eq!(row.id(), EntityId::placement());
    let waiting = Allowances { proposal: Some(proposal()), allowance: None, ..allowed() };
    let ended = Allowances { epoch: 3, ended: Some(ended()), ..Allowances::default() };
    are_frozen(&[
        ("82148182028505<noon>63616263626f706162", row),
        ("8214818302f684183c63616263626f70<noon>", IndexRow::Allowances(waiting)),
        ("8214818403f6f682<noon>626f70", IndexRow::Allowances(ended)),
    ]);
}

#[test]
fn the_state() {
    let state = Placement { allowances: Some(allowed()), ..Placement::default() };
    are_frozen(&[
        ("8500830080808400808080f682028505<noon>63616263626f706162", state),
        // As an earlier release wrote it, and as it is before the first proposal.
        ("8300830080808400808080", Placement::default()),
    ]);
}
