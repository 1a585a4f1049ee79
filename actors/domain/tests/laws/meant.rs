//! What must follow from a step of a rotation, worked out from what was before.

use fieldmesh_domain::{
    EntityId, Rejection, RejectionCode,
    authority::Deed,
    placement::{Ca, Event, Move, Phase, Placement, Proposal, Role, Step, Wanted},
    time::Millis,
};

use crate::bundles::WEEK_MS;

/// Of those of one group at most one signs: a region's issuing ones, or the cluster's roots.
pub(crate) type Group = Option<EntityId>;
/// Of an authority: where it was, where it is, and whether others may have its key.
pub(crate) type Moved = ([u8; 32], Phase, Phase, bool);

pub(crate) fn group(ca: &Ca) -> Group {
    (ca.role == Role::Issuing).then_some(ca.authority)
}

pub(crate) fn known<'a>(state: &'a Placement, fingerprint: &[u8; 32]) -> &'a Ca {
    state.bundle.by_fingerprint(fingerprint).unwrap()
}

/// What a step is for.
pub(crate) fn meant(before: &Placement, wanted: &Wanted) -> Vec<Moved> {
    let target = known(before, &wanted.fingerprint);
    let one = |ca: &Ca, to, compromised| (ca.fingerprint, ca.phase, to, compromised);
    let peer = |phase| {
        let mut cas = before.bundle.cas.iter();
        cas.find(|ca| ca.phase == phase && group(ca) == group(target))
    };
    let urgent = wanted.step == Step::ActivateCompromised;
    match (wanted.step, target.phase) {
        (Step::Activate | Step::ActivateCompromised, Phase::Introduced) => {
            let superseded = peer(Phase::Active).map(|ca| one(ca, Phase::Superseded, urgent));
            let retired = peer(Phase::Superseded).map(|ca| one(ca, Phase::Retired, ca.compromised));
            let begins = one(target, Phase::Active, false);
            [superseded, retired, Some(begins)].into_iter().flatten().collect()
        }
        // It may be found out late that others have the key.
        (Step::ActivateCompromised, Phase::Active) => {
            let before = peer(Phase::Superseded).unwrap();
            assert!(!before.compromised);
            vec![one(before, Phase::Superseded, true)]
        }
        (Step::Drop, Phase::Introduced) => vec![one(target, Phase::Removed, target.compromised)],
        (Step::Rollback, Phase::Active) => {
            let again = peer(Phase::Superseded).unwrap();
            vec![one(target, Phase::Introduced, false), one(again, Phase::Active, false)]
        }
        (Step::Retire, Phase::Superseded) => vec![one(target, Phase::Retired, target.compromised)],
        (Step::Remove, Phase::Retired) => vec![one(target, Phase::Removed, target.compromised)],
        step => panic!("{step:?} is no step"),
    }
}

/// The answer to a step, from what it would be without a second operator.
pub(crate) fn agreed(
    alone: Result<Vec<Event>, Rejection>,
    wanted: &Wanted,
    open: Option<&Proposal>,
    at: Millis,
) -> Result<Vec<Event>, Rejection> {
    let Ok([Event::Moved { moves, proposed_by, .. }]) = alone.as_deref() else { return alone };
    assert_eq!(proposed_by, &None);
    if !wanted.second_person {
        return alone;
    }
    let (fingerprint, step, by) = (wanted.fingerprint, wanted.step, wanted.by.clone());
    let same = open.filter(|open| {
        let waited_ms = at.0.checked_sub(open.at.0);
        (open.fingerprint, open.step) == (fingerprint, step)
            && waited_ms.is_some_and(|waited_ms| waited_ms <= WEEK_MS)
    });
    match same {
        None => Ok(vec![Event::Proposed(Proposal { fingerprint, step, by, at })]),
        Some(open) if open.by == by => {
            let detail = "a second operator must give the same command".into();
            Err(Rejection { code: RejectionCode::SecondPerson, detail })
        }
        Some(open) => {
            let (moves, proposed_by) = (moves.clone(), Some(open.by.clone()));
            Ok(vec![Event::Moved { moves, at, by, proposed_by }])
        }
    }
}

/// What the ledger must say, of which certificate, and who did it.
pub(crate) fn notes_of(event: &Event) -> Vec<([u8; 32], String, Deed)> {
    match event {
        Event::Introduced { cas, by } => {
            let note = |ca: &Ca| {
                let (issuer, certificate, not_after) = (ca.name, ca.fingerprint, ca.not_after);
                (certificate, by.clone(), Deed::CaIntroduced { issuer, certificate, not_after })
            };
            cas.iter().map(note).collect()
        }
        Event::Moved { moves, by, proposed_by, .. } => {
            let note = |one: &Move| {
                let Move { fingerprint: certificate, from, to, compromised } = *one;
                let proposed_by = proposed_by.clone();
                let deed = Deed::CaMoved { certificate, from, to, proposed_by, compromised };
                (certificate, by.clone(), deed)
            };
            moves.iter().map(note).collect()
        }
        _ => vec![],
    }
}
