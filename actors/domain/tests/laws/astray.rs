//! Sequences that seem to lead on, and must not: to one that is believed below a root that is not,
//! to two that sign, to a key that others may have, or past a node.

use fieldmesh_domain::{
    RejectionCode,
    placement::{Ca, Command, Event, Phase, Step},
};

use crate::{
    bundles::{Life, ca, fingerprint, founding},
    rotations::{BY_ROOT2, ELSEWHERE, NEW, OLD, ROOT, ROOT2, ROOT3, activated, begun, tainted},
};

/// Refused because something is to be done first; nothing changes.
fn is_not_now(life: &mut Life, step: Step, number: u8) {
    let before = life.state.clone();
    let answer = life.step(step, number);
    assert_eq!(answer, Err(RejectionCode::NotNow), "{step:?} of {number}:\n{}", life.story());
    assert_eq!(life.state, before);
}

/// Accepted, and changes nothing.
fn is_nothing(life: &mut Life, step: Step, number: u8) {
    life.step(step, number).unwrap();
    assert_eq!(life.last().answer, Ok(vec![]), "{step:?} of {number}");
}

fn both_know(life: &mut Life) {
    life.knows(0);
    life.knows(1);
}

fn is_compromised(life: &Life, number: u8) -> bool {
    life.state.bundle.by_fingerprint(&fingerprint(number)).unwrap().compromised
}

/// Nothing is known yet.
fn refusal_to_adopt(cas: Vec<Ca>) -> RejectionCode {
    let mut life = Life::default();
    let rejection = life.ask(Command::Adopt(cas)).unwrap_err();
    assert!(life.state.bundle.cas.is_empty());
    rejection.code
}

fn active(number: u8) -> Ca {
    Ca { phase: Phase::Active, ..ca(number) }
}

#[test]
fn a_rollback_asked_again_removes_nothing() {
    let mut life = activated(Step::Activate);
    life.step(Step::Rollback, NEW).unwrap();
    is_nothing(&mut life, Step::Rollback, NEW);
    is_nothing(&mut life, Step::Rollback, ROOT2);
    assert_eq!(
        life.phases([OLD, NEW, ROOT2]),
        [Phase::Active, Phase::Introduced, Phase::Introduced]
    );
}

#[test]
fn a_root_is_not_dropped_above_one_that_is_believed() {
    let mut life = begun();
    life.step(Step::Activate, ROOT2).unwrap();
    life.introduce(ca(BY_ROOT2)).unwrap();
    both_know(&mut life);
    life.step(Step::Activate, BY_ROOT2).unwrap();
    life.step(Step::Rollback, ROOT2).unwrap();
    is_nothing(&mut life, Step::Rollback, ROOT2);
    // It signs, may take back, and is retired; only then is its root not needed.
    is_not_now(&mut life, Step::Drop, ROOT2);
    life.introduce(ca(NEW)).unwrap();
    both_know(&mut life);
    life.step(Step::Activate, NEW).unwrap();
    is_not_now(&mut life, Step::Drop, ROOT2);
    life.step(Step::Retire, BY_ROOT2).unwrap();
    is_not_now(&mut life, Step::Drop, ROOT2);
    life.step(Step::Remove, BY_ROOT2).unwrap();
    life.step(Step::Drop, ROOT2).unwrap();
    assert_eq!(life.phase(ROOT2), Phase::Removed);
}

#[test]
fn a_root_is_not_dropped_above_one_that_waits() {
    let mut life = begun();
    life.introduce(ca(BY_ROOT2)).unwrap();
    is_not_now(&mut life, Step::Drop, ROOT2);
    life.step(Step::Drop, BY_ROOT2).unwrap();
    life.step(Step::Drop, ROOT2).unwrap();
    for step in [Step::Activate, Step::ActivateCompromised, Step::Rollback, Step::Retire] {
        is_not_now(&mut life, step, ROOT2);
    }
    is_nothing(&mut life, Step::Remove, ROOT2);
}

#[test]
fn nothing_begins_to_sign_below_a_compromised_root() {
    for step in [Step::Activate, Step::ActivateCompromised] {
        let mut life = begun();
        life.introduce(ca(NEW)).unwrap();
        both_know(&mut life);
        life.step(Step::ActivateCompromised, ROOT2).unwrap();
        is_not_now(&mut life, step, NEW);
        life.step(Step::Drop, NEW).unwrap();
        life.introduce(ca(BY_ROOT2)).unwrap();
        both_know(&mut life);
        life.step(step, BY_ROOT2).unwrap();
    }
}

#[test]
fn there_is_no_way_back_below_a_compromised_root() {
    let mut life = begun();
    life.step(Step::ActivateCompromised, ROOT2).unwrap();
    life.introduce(ca(BY_ROOT2)).unwrap();
    both_know(&mut life);
    life.step(Step::Activate, BY_ROOT2).unwrap();
    assert!(is_compromised(&life, ROOT) && !is_compromised(&life, OLD));
    is_not_now(&mut life, Step::Rollback, BY_ROOT2);
    is_not_now(&mut life, Step::Rollback, ROOT2);
    assert_eq!(life.phases([OLD, BY_ROOT2]), [Phase::Superseded, Phase::Active]);
}

#[test]
fn nothing_comes_below_a_retired_root() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    both_know(&mut life);
    life.step(Step::Activate, ROOT2).unwrap();
    life.step(Step::Retire, ROOT).unwrap();
    is_nothing(&mut life, Step::Retire, ROOT);
    is_not_now(&mut life, Step::Activate, NEW);
    is_not_now(&mut life, Step::ActivateCompromised, NEW);
    assert_eq!(life.introduce(ca(ELSEWHERE)), Err(RejectionCode::Invalid));
    let adopted = life.ask(Command::Adopt(vec![active(ELSEWHERE)])).unwrap_err();
    assert_eq!(adopted.code, RejectionCode::Invalid);
    // A superseded one still signs.
    let mut life = begun();
    life.step(Step::Activate, ROOT2).unwrap();
    life.introduce(ca(NEW)).unwrap();
    both_know(&mut life);
    life.step(Step::Activate, NEW).unwrap();
}

#[test]
fn a_list_to_adopt_is_checked_against_itself() {
    assert_eq!(refusal_to_adopt(vec![active(ROOT), active(ROOT2)]), RejectionCode::Exists);
    let two_sign = vec![active(ROOT), active(OLD), active(NEW)];
    assert_eq!(refusal_to_adopt(two_sign), RejectionCode::Exists);
    let two_wait = vec![active(ROOT), ca(OLD), ca(NEW)];
    assert_eq!(refusal_to_adopt(two_wait), RejectionCode::Exists);
    let namesakes = vec![active(ROOT), Ca { name: ca(ROOT).name, ..ca(ROOT2) }];
    assert_eq!(refusal_to_adopt(namesakes), RejectionCode::Exists);
    let roots =
        (0..80).map(|number| Ca { fingerprint: [number; 32], name: [number; 32], ..ca(ROOT) });
    assert_eq!(refusal_to_adopt(roots.clone().collect()), RejectionCode::Limit);
    let mut life = Life::default();
    life.ask(Command::Adopt(roots.take(64).collect())).unwrap();
    assert_eq!(life.state.bundle.cas.len(), 64);
    // One may sign and the next wait, in each region.
    let mut life = Life::default();
    life.ask(Command::Adopt(vec![active(ROOT), active(OLD), ca(NEW), ca(ELSEWHERE)])).unwrap();
}

#[test]
fn what_is_twice_in_a_list_is_adopted_once() {
    let mut life = Life::default();
    let twice = [founding(0, ROOT), founding(0, ROOT)].concat();
    life.ask(Command::Adopt(twice)).unwrap();
    let Ok([Event::Introduced { cas, .. }]) = life.last().answer.as_deref() else { panic!() };
    assert_eq!((cas.len(), life.state.bundle.cas.len()), (3, 3));
}

#[test]
fn what_is_adopted_signs_or_waits_below_a_root_that_signs() {
    for phase in [Phase::Superseded, Phase::Retired, Phase::Removed] {
        assert_eq!(refusal_to_adopt(vec![Ca { phase, ..ca(ROOT) }]), RejectionCode::Invalid);
    }
    let compromised = Ca { compromised: true, ..active(ROOT) };
    assert_eq!(refusal_to_adopt(vec![compromised]), RejectionCode::Invalid);
    // Its root is not there, comes later, or is none.
    assert_eq!(refusal_to_adopt(vec![active(OLD)]), RejectionCode::Invalid);
    assert_eq!(refusal_to_adopt(vec![active(OLD), active(ROOT)]), RejectionCode::Invalid);
    let below_issuing = Ca { signer: fingerprint(OLD), ..ca(NEW) };
    let cas = vec![active(ROOT), active(OLD), below_issuing];
    assert_eq!(refusal_to_adopt(cas), RejectionCode::Invalid);
    let mut life = begun();
    let other = Ca { name: ca(ROOT).name, ..active(ELSEWHERE) };
    assert_eq!(life.ask(Command::Adopt(vec![other])).unwrap_err().code, RejectionCode::Exists);
    life.step(Step::ActivateCompromised, ROOT2).unwrap();
    let below = life.ask(Command::Adopt(vec![active(ELSEWHERE)])).unwrap_err();
    assert_eq!(below.code, RejectionCode::Invalid);
}

#[test]
fn a_compromise_is_found_out_late() {
    let mut life = activated(Step::Activate);
    assert!(!is_compromised(&life, OLD));
    life.step(Step::ActivateCompromised, NEW).unwrap();
    assert_eq!(life.last().effects[1..], [tainted(OLD, Phase::Superseded)]);
    assert!(is_compromised(&life, OLD) && !is_compromised(&life, NEW));
    assert_eq!(life.phases([OLD, NEW]), [Phase::Superseded, Phase::Active]);
    is_nothing(&mut life, Step::ActivateCompromised, NEW);
    is_not_now(&mut life, Step::Rollback, NEW);
    // There is none before this one.
    is_nothing(&mut life, Step::ActivateCompromised, ROOT);
}

#[test]
fn there_is_no_hurry_where_nothing_signs() {
    let mut life = begun();
    life.introduce(ca(ELSEWHERE)).unwrap();
    is_not_now(&mut life, Step::ActivateCompromised, ELSEWHERE);
    both_know(&mut life);
    life.step(Step::ActivateCompromised, ELSEWHERE).unwrap();
    assert_eq!(life.phase(ELSEWHERE), Phase::Active);
}

#[test]
fn one_that_waits_is_dropped_before_another_gives_back() {
    let mut life = activated(Step::Activate);
    life.introduce(ca(BY_ROOT2)).unwrap();
    is_not_now(&mut life, Step::Rollback, NEW);
    life.step(Step::Drop, BY_ROOT2).unwrap();
    life.step(Step::Rollback, NEW).unwrap();
    // Of roots several may wait.
    life.introduce(ca(ROOT3)).unwrap();
    both_know(&mut life);
    life.step(Step::Activate, ROOT2).unwrap();
    life.step(Step::Rollback, ROOT2).unwrap();
    assert_eq!(life.phases([ROOT2, ROOT3]), [Phase::Introduced, Phase::Introduced]);
}
