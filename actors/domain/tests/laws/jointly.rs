//! What two operators must want: who agrees to what, and how long the first one's wish counts.

use fieldmesh_domain::{
    RejectionCode,
    placement::{Command, Event, Move, Phase, Step},
    time::Millis,
};

use crate::{
    bundles::{DAY_MS, Life, WEEK_MS, ca, fingerprint},
    rotations::{ROOT2, ROOT3, begun},
};

#[test]
fn a_second_operator_has_a_week() {
    for (late_ms, after) in [(0, Phase::Active), (1, Phase::Introduced)] {
        let mut life = begun();
        life.wanted(Step::Activate, ROOT2, "ann").unwrap();
        assert_eq!((&life.last().effects, life.phase(ROOT2)), (&vec![], Phase::Introduced));
        assert_eq!(life.wanted(Step::Activate, ROOT2, "ann"), Err(RejectionCode::SecondPerson));
        life.now.0 += WEEK_MS + late_ms;
        life.wanted(Step::Activate, ROOT2, "bob").unwrap();
        assert_eq!(life.phase(ROOT2), after);
    }
}

#[test]
fn two_operators_introduce_a_root() {
    let mut life = begun();
    let jointly = |life: &mut Life, by: &str| {
        life.ask(Command::IntroduceJointly { ca: ca(ROOT3), by: by.into() }).map_err(|r| r.code)
    };
    jointly(&mut life, "ann").unwrap();
    assert_eq!(life.state.bundle.by_fingerprint(&fingerprint(ROOT3)), None);
    assert_eq!(jointly(&mut life, "ann"), Err(RejectionCode::SecondPerson));
    jointly(&mut life, "bob").unwrap();
    assert_eq!((life.phase(ROOT3), &life.state.bundle.proposal), (Phase::Introduced, &None));
    let Ok([Event::Introduced { by, .. }]) = life.last().answer.as_deref() else { panic!() };
    assert_eq!(by, "ann and bob");
    jointly(&mut life, "cid").unwrap();
    assert_eq!(life.last().answer.as_deref(), Ok(&[][..]));
}

#[test]
fn two_operators_want_the_same_step() {
    let mut life = begun();
    life.wanted(Step::Activate, ROOT2, "ann").unwrap();
    // A step of another kind, or of another authority, is another one.
    life.wanted(Step::Drop, ROOT2, "bob").unwrap();
    life.introduce(ca(ROOT3)).unwrap();
    life.knows(0);
    life.knows(1);
    life.wanted(Step::Drop, ROOT3, "cid").unwrap();
    life.wanted(Step::Activate, ROOT2, "bob").unwrap();
    assert_eq!(life.phase(ROOT2), Phase::Introduced);
    life.wanted(Step::Activate, ROOT2, "ann").unwrap();
    let Ok([Event::Moved { moves, by, proposed_by, .. }]) = life.last().answer.as_deref() else {
        panic!("{:?}", life.last());
    };
    assert_eq!((by.as_str(), proposed_by.as_deref()), ("ann", Some("bob")));
    assert!(moves.contains(&Move {
        fingerprint: fingerprint(ROOT2),
        from: Phase::Introduced,
        to: Phase::Active,
        compromised: false,
    }));
    assert_eq!(life.state.bundle.proposal, None);
}

#[test]
fn nobody_agrees_before_it_was_proposed() {
    let mut life = begun();
    life.now = Millis(life.now.0 + 10 * WEEK_MS);
    life.wanted(Step::Activate, ROOT2, "ann").unwrap();
    life.now = Millis(life.now.0 - DAY_MS);
    life.wanted(Step::Activate, ROOT2, "bob").unwrap();
    assert_eq!(life.phase(ROOT2), Phase::Introduced);
    // What waits now is the second one's.
    life.wanted(Step::Activate, ROOT2, "ann").unwrap();
    assert_eq!(life.phase(ROOT2), Phase::Active);
}
