//! One authority takes over from another, step by step, with exactly what must follow.

use fieldmesh_domain::{
    Command as AnyCommand, Effect, IndexRow, RejectionCode,
    authority::{self, Deed, Note},
    placement::{Ca, Command, Event, Phase, Step, Wanted},
    time::Millis,
};

use crate::bundles::{Happened, Life, ca, fingerprint, founding, region};

pub(crate) const START: Millis = Millis(1_800_000_000_000);
/// The root in use, and the one ahead.
pub(crate) const ROOT: u8 = 0;
pub(crate) const ROOT2: u8 = 1;
/// A third one, not known to begin with.
pub(crate) const ROOT3: u8 = 2;
/// The first region's issuing ones: that it began with, the next by the same root, one by the second
/// root and one by the third.
pub(crate) const OLD: u8 = 6;
pub(crate) const NEW: u8 = 12;
pub(crate) const BY_ROOT2: u8 = 8;
const BY_ROOT3: u8 = 10;
/// By the second root, with the name of [`NEW`].
const NAMESAKE: u8 = 14;
/// The other region's, by the same root as [`OLD`].
pub(crate) const ELSEWHERE: u8 = 13;

impl Life {
    pub(crate) fn introduce(&mut self, ca: Ca) -> Result<(), RejectionCode> {
        let command = Command::Introduce { ca, by: "ann".into() };
        self.ask(command).map_err(|rejection| rejection.code)
    }

    pub(crate) fn wanted(&mut self, step: Step, number: u8, by: &str) -> Result<(), RejectionCode> {
        let (fingerprint, by) = (fingerprint(number), by.to_owned());
        let command = Command::Rotate(Wanted { fingerprint, step, by, second_person: true });
        self.ask(command).map_err(|rejection| rejection.code)
    }

    /// One operator is enough.
    pub(crate) fn step(&mut self, step: Step, number: u8) -> Result<(), RejectionCode> {
        let (fingerprint, by) = (fingerprint(number), "ann".to_owned());
        let command = Command::Rotate(Wanted { fingerprint, step, by, second_person: false });
        self.ask(command).map_err(|rejection| rejection.code)
    }

    /// A node says that it knows all there is.
    pub(crate) fn knows(&mut self, node: u64) {
        let epoch = self.state.bundle.epoch;
        self.ask(Command::Acknowledge { node, epoch }).unwrap();
    }

    pub(crate) fn phase(&self, number: u8) -> Phase {
        self.state.bundle.by_fingerprint(&fingerprint(number)).unwrap().phase
    }

    pub(crate) fn phases<const N: usize>(&self, numbers: [u8; N]) -> [Phase; N] {
        numbers.map(|number| self.phase(number))
    }

    fn row(&self, number: u8) -> Effect {
        let ca = self.state.bundle.by_fingerprint(&fingerprint(number)).unwrap().clone();
        Effect::Index(IndexRow::Ca { ca, epoch: self.state.bundle.epoch })
    }

    pub(crate) fn last(&self) -> &Happened {
        self.happened.last().unwrap()
    }
}

fn noted(deed: Deed) -> Effect {
    let note = Note { registration: None, by: "ann".into(), deed };
    let command = AnyCommand::Authority(authority::Command::Note(note));
    Effect::Tell { to: region(0), command }
}

fn moved(number: u8, from: Phase, to: Phase) -> Effect {
    let (certificate, proposed_by, compromised) = (fingerprint(number), None, false);
    noted(Deed::CaMoved { certificate, from, to, proposed_by, compromised })
}

/// Others may have the key of one that is superseded.
pub(crate) fn tainted(number: u8, from: Phase) -> Effect {
    let (certificate, to, compromised) = (fingerprint(number), Phase::Superseded, true);
    noted(Deed::CaMoved { certificate, from, to, proposed_by: None, compromised })
}

/// A region with two roots, its issuing authority and two nodes.
pub(crate) fn begun() -> Life {
    let mut life = Life { now: START, ..Life::default() };
    life.ask(Command::Adopt(founding(0, ROOT))).unwrap();
    life.knows(0);
    life.knows(1);
    life
}

/// The next issuing authority signs; the one before may take back.
pub(crate) fn activated(step: Step) -> Life {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    life.knows(0);
    life.knows(1);
    life.step(step, NEW).unwrap();
    life
}

#[test]
fn a_region_is_adopted_once() {
    let mut life = begun();
    assert_eq!(life.state.bundle.epoch, 1);
    assert_eq!(life.phases([ROOT, ROOT2, OLD]), [Phase::Active, Phase::Introduced, Phase::Active]);
    life.ask(Command::Adopt(founding(0, ROOT))).unwrap();
    assert_eq!(life.last().answer, Ok(vec![]));
    // Another region is below the same root, and not below another.
    life.ask(Command::Adopt(founding(1, ROOT))).unwrap();
    let Ok([Event::Introduced { cas, by }]) = life.last().answer.as_deref() else { panic!() };
    assert_eq!((cas.len(), by.as_str()), (1, ""));
    let other = Ca { phase: Phase::Active, ..ca(ROOT3) };
    let refused = life.ask(Command::Adopt(vec![other])).unwrap_err();
    assert_eq!(refused.code, RejectionCode::Exists);
}

#[test]
fn an_issuing_authority_takes_over() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    let (issuer, certificate, not_after) = (ca(NEW).name, fingerprint(NEW), ca(NEW).not_after);
    let introduced = Deed::CaIntroduced { issuer, certificate, not_after };
    assert_eq!(life.last().effects, [life.row(NEW), noted(introduced)]);
    assert_eq!(life.phases([OLD, NEW]), [Phase::Active, Phase::Introduced]);
    life.knows(0);
    assert_eq!(life.step(Step::Activate, NEW), Err(RejectionCode::NotNow));
    life.knows(1);
    life.now = life.now.after_s(60);
    life.step(Step::Activate, NEW).unwrap();
    assert_eq!(
        life.last().effects,
        [
            life.row(OLD),
            life.row(NEW),
            moved(OLD, Phase::Active, Phase::Superseded),
            moved(NEW, Phase::Introduced, Phase::Active),
        ]
    );
    let signs = life.state.bundle.by_fingerprint(&fingerprint(NEW)).unwrap();
    assert_eq!((signs.since, signs.epoch, life.state.bundle.epoch), (START.after_s(60), 2, 3));
    assert_eq!(life.step(Step::Remove, OLD), Err(RejectionCode::NotNow));
    life.step(Step::Retire, OLD).unwrap();
    assert_eq!(life.last().effects, [life.row(OLD), moved(OLD, Phase::Superseded, Phase::Retired)]);
    assert_eq!(life.step(Step::Rollback, NEW), Err(RejectionCode::NotNow));
    life.step(Step::Remove, OLD).unwrap();
    assert_eq!(life.last().effects, [life.row(OLD), moved(OLD, Phase::Retired, Phase::Removed)]);
    assert_eq!(life.phases([OLD, NEW]), [Phase::Removed, Phase::Active]);
    assert_eq!(life.introduce(ca(OLD)), Err(RejectionCode::Exists));
    let steps = [Step::Activate, Step::ActivateCompromised, Step::Rollback, Step::Retire];
    for step in steps {
        assert_eq!(life.step(step, OLD), Err(RejectionCode::NotNow), "{step:?}");
    }
}

#[test]
fn a_step_that_was_taken_is_taken_once() {
    let mut life = activated(Step::Activate);
    for (step, number) in [(Step::Activate, NEW), (Step::Retire, OLD), (Step::Remove, OLD)] {
        life.step(step, number).unwrap();
        let epoch = life.state.bundle.epoch;
        life.step(step, number).unwrap();
        assert_eq!((&life.last().answer, life.state.bundle.epoch), (&Ok(vec![]), epoch));
    }
}

#[test]
fn the_one_before_takes_back() {
    let mut life = activated(Step::Activate);
    life.step(Step::Rollback, NEW).unwrap();
    assert_eq!(
        life.last().effects,
        [
            life.row(NEW),
            life.row(OLD),
            moved(NEW, Phase::Active, Phase::Introduced),
            moved(OLD, Phase::Superseded, Phase::Active),
        ]
    );
    assert_eq!(life.step(Step::Rollback, ROOT3), Err(RejectionCode::Unknown));
    // There is nothing before the one before.
    assert_eq!(life.step(Step::Rollback, OLD), Err(RejectionCode::NotNow));
    life.step(Step::Activate, NEW).unwrap();
    assert_eq!(life.phases([OLD, NEW]), [Phase::Superseded, Phase::Active]);
    life.step(Step::Rollback, NEW).unwrap();
    life.step(Step::Rollback, NEW).unwrap();
    assert_eq!(life.last().answer, Ok(vec![]));
    assert_eq!(life.phases([OLD, NEW]), [Phase::Active, Phase::Introduced]);
    life.step(Step::Drop, NEW).unwrap();
    assert_eq!(life.last().effects, [life.row(NEW), moved(NEW, Phase::Introduced, Phase::Removed)]);
    life.step(Step::Drop, NEW).unwrap();
    assert_eq!(life.last().answer, Ok(vec![]));
    assert_eq!(life.introduce(ca(NEW)), Err(RejectionCode::Exists));
}

#[test]
fn there_is_one_way_back() {
    let mut life = activated(Step::Activate);
    life.introduce(ca(BY_ROOT2)).unwrap();
    life.knows(0);
    life.knows(1);
    life.step(Step::Activate, BY_ROOT2).unwrap();
    assert_eq!(
        life.phases([OLD, NEW, BY_ROOT2]),
        [Phase::Retired, Phase::Superseded, Phase::Active]
    );
    life.step(Step::Rollback, BY_ROOT2).unwrap();
    assert_eq!(life.step(Step::Rollback, NEW), Err(RejectionCode::NotNow));
    for number in [OLD, NEW] {
        assert_eq!(life.step(Step::Drop, number), Err(RejectionCode::NotNow));
    }
}

#[test]
fn what_others_may_have_the_key_of_is_replaced_at_once() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    life.knows(0);
    assert_eq!(life.step(Step::Activate, NEW), Err(RejectionCode::NotNow));
    life.step(Step::ActivateCompromised, NEW).unwrap();
    assert_eq!(
        life.last().effects[2..],
        [tainted(OLD, Phase::Active), moved(NEW, Phase::Introduced, Phase::Active),]
    );
    assert_eq!(life.phases([OLD, NEW]), [Phase::Superseded, Phase::Active]);
    let is_compromised = |life: &Life, number| {
        life.state.bundle.by_fingerprint(&fingerprint(number)).unwrap().compromised
    };
    assert!(is_compromised(&life, OLD) && !is_compromised(&life, NEW));
    assert_eq!(life.step(Step::Rollback, NEW), Err(RejectionCode::NotNow));
    life.step(Step::Retire, OLD).unwrap();
    life.step(Step::Remove, OLD).unwrap();
    assert!(is_compromised(&life, OLD));
}

#[test]
fn a_root_is_replaced() {
    let mut life = begun();
    life.step(Step::Activate, ROOT2).unwrap();
    assert_eq!(life.phases([ROOT, ROOT2]), [Phase::Superseded, Phase::Active]);
    life.introduce(ca(BY_ROOT2)).unwrap();
    life.knows(0);
    life.knows(1);
    life.step(Step::Activate, BY_ROOT2).unwrap();
    life.step(Step::Retire, ROOT).unwrap();
    assert_eq!(life.step(Step::Remove, ROOT), Err(RejectionCode::NotNow));
    life.step(Step::Retire, OLD).unwrap();
    // It is still believed, for what it issued.
    assert_eq!(life.step(Step::Remove, ROOT), Err(RejectionCode::NotNow));
    life.step(Step::Remove, OLD).unwrap();
    life.step(Step::Remove, ROOT).unwrap();
    assert_eq!(
        life.phases([ROOT, ROOT2, OLD, BY_ROOT2]),
        [Phase::Removed, Phase::Active, Phase::Removed, Phase::Active]
    );
}

#[test]
fn what_never_signed_is_dropped_and_not_retired() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    assert_eq!(life.step(Step::Retire, NEW), Err(RejectionCode::NotNow));
    assert_eq!(life.step(Step::Retire, OLD), Err(RejectionCode::NotNow));
    assert_eq!(life.step(Step::Retire, ROOT), Err(RejectionCode::NotNow));
    assert_eq!(life.step(Step::Retire, ROOT2), Err(RejectionCode::NotNow));
    assert_eq!(life.step(Step::Remove, ROOT2), Err(RejectionCode::NotNow));
    life.step(Step::Drop, ROOT2).unwrap();
    assert_eq!(life.phase(ROOT2), Phase::Removed);
}

#[test]
fn a_node_that_is_forgotten_holds_nothing_up() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    life.knows(0);
    assert_eq!(life.step(Step::Activate, NEW), Err(RejectionCode::NotNow));
    let behind = Vec::from_iter(life.state.bundle.behind(2).map(|node| node.number));
    assert_eq!(behind, [1]);
    let forget = || Command::ForgetNode { node: 1, by: "ann".into() };
    life.ask(forget()).unwrap();
    assert_eq!(life.last().effects, []);
    life.ask(forget()).unwrap();
    assert_eq!(life.last().answer, Ok(vec![]));
    life.step(Step::Activate, NEW).unwrap();
    // It comes back, and is waited for again.
    life.ask(Command::Acknowledge { node: 1, epoch: 1 }).unwrap();
    life.introduce(ca(BY_ROOT2)).unwrap();
    life.knows(0);
    assert_eq!(life.step(Step::Activate, BY_ROOT2), Err(RejectionCode::NotNow));
    // More than there is counts as all there is.
    life.ask(Command::Acknowledge { node: 1, epoch: u64::MAX }).unwrap();
    let node = life.state.bundle.nodes.iter().find(|node| node.number == 1).unwrap();
    assert_eq!(node.epoch, life.state.bundle.epoch);
    life.step(Step::Activate, BY_ROOT2).unwrap();
}

#[test]
fn a_name_is_not_used_again() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    life.step(Step::Drop, NEW).unwrap();
    assert_eq!(life.introduce(ca(NAMESAKE)), Err(RejectionCode::Exists));
    life.introduce(ca(BY_ROOT2)).unwrap();
}

#[test]
fn one_issuing_authority_waits_at_a_time() {
    let mut life = begun();
    life.introduce(ca(NEW)).unwrap();
    assert_eq!(life.introduce(ca(BY_ROOT2)), Err(RejectionCode::Exists));
    // Elsewhere one may wait too, and so may roots.
    life.introduce(ca(ELSEWHERE)).unwrap();
    life.introduce(ca(ROOT3)).unwrap();
    life.step(Step::Drop, NEW).unwrap();
    life.introduce(ca(BY_ROOT2)).unwrap();
}

#[test]
fn an_issuing_authority_is_below_a_root_that_is_believed() {
    let mut life = begun();
    assert_eq!(life.introduce(ca(BY_ROOT3)), Err(RejectionCode::Invalid));
    let below_issuing = Ca { signer: fingerprint(OLD), ..ca(NEW) };
    assert_eq!(life.introduce(below_issuing), Err(RejectionCode::Invalid));
    life.introduce(ca(ROOT3)).unwrap();
    life.step(Step::Drop, ROOT3).unwrap();
    assert_eq!(life.introduce(ca(BY_ROOT3)), Err(RejectionCode::Invalid));
    life.step(Step::ActivateCompromised, ROOT2).unwrap();
    assert_eq!(life.introduce(ca(NEW)), Err(RejectionCode::Invalid));
    life.introduce(ca(BY_ROOT2)).unwrap();
}

#[test]
fn there_is_room_for_64_authorities_and_1024_nodes() {
    let mut life = begun();
    let large = |bytes| Ca { certificate: vec![0; bytes], ..ca(NEW) };
    assert_eq!(life.introduce(large(4097)), Err(RejectionCode::Invalid));
    life.introduce(large(4096)).unwrap();
    for number in 150..210 {
        life.introduce(Ca { fingerprint: [number; 32], name: [number; 32], ..ca(ROOT3) }).unwrap();
    }
    assert_eq!(life.state.bundle.cas.len(), 64);
    assert_eq!(life.introduce(ca(ROOT3)), Err(RejectionCode::Limit));
    let adopted = life.ask(Command::Adopt(vec![ca(ROOT3)])).unwrap_err();
    assert_eq!(adopted.code, RejectionCode::Limit);
    for node in 2..1024 {
        life.knows(node);
    }
    let refused = life.ask(Command::Acknowledge { node: 1024, epoch: 1 }).unwrap_err();
    assert_eq!(refused.code, RejectionCode::Limit);
    life.knows(0);
}
