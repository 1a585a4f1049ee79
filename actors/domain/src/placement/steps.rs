//! What each step of a rotation moves, and when it may be taken.
//!
//! **Invariant:** a step that was taken already moves nothing; one whose time has not come is refused
//! with what is to be done first. **Not here:** second operators (`bundle`), what nodes do (`node`).

use super::bundle::{Bundle, Ca, Move, Phase, Role, Step, Wanted};
use crate::{Rejection, RejectionCode};

fn not_now<T>(why: &'static str) -> Result<T, Rejection> {
    Rejection::new(RejectionCode::NotNow, why)
}

fn to(ca: &Ca, to: Phase) -> Move {
    Move { fingerprint: ca.fingerprint, from: ca.phase, to, compromised: ca.compromised }
}

impl Bundle {
    /// What a step does, if it may be taken now.
    pub(super) fn moves(&self, wanted: &Wanted) -> Result<Vec<Move>, Rejection> {
        let Some(ca) = self.by_fingerprint(&wanted.fingerprint) else {
            return Rejection::new(RejectionCode::Unknown, "there is no such authority");
        };
        match wanted.step {
            Step::Introduce => Ok(vec![]),
            Step::Activate => self.activate(ca, false),
            Step::ActivateCompromised => self.activate(ca, true),
            Step::Rollback => self.roll_back(ca),
            Step::Drop => match ca.phase {
                Phase::Removed => Ok(vec![]),
                Phase::Introduced => self.remove(ca),
                _ => not_now("only one that was introduced, and does not sign, can be dropped"),
            },
            Step::Retire => match ca.phase {
                Phase::Superseded => Ok(vec![to(ca, Phase::Retired)]),
                Phase::Retired => Ok(vec![]),
                _ => not_now("only one that another took over from can be retired"),
            },
            Step::Remove => match ca.phase {
                Phase::Removed => Ok(vec![]),
                Phase::Retired => self.remove(ca),
                _ => not_now("retire it first"),
            },
        }
    }

    fn activate(&self, ca: &Ca, is_urgent: bool) -> Result<Vec<Move>, Rejection> {
        match ca.phase {
            Phase::Introduced => {}
            // That the one before was compromised may be found out late.
            Phase::Active if is_urgent => return Ok(self.taint(ca)),
            Phase::Active => return Ok(vec![]),
            _ => return not_now("its time has passed"),
        }
        if !self.has_signer(ca) {
            return not_now(
                "its root does not sign any more: drop it, and have another one signed",
            );
        }
        let before = self.peer(ca, Phase::Active);
        let is_urgent = is_urgent && before.is_some();
        if !is_urgent && self.behind(ca.epoch).next().is_some() {
            return not_now(
                "a node does not know it yet: `ca rotate status` names it; wait, or forget the node",
            );
        }
        let mut moves = Vec::new();
        if let Some(before) = before {
            // There is one way back, not a choice of them.
            let older = self.peer(ca, Phase::Superseded);
            moves.extend(older.map(|older| to(older, Phase::Retired)));
            let compromised = is_urgent || before.compromised;
            moves.push(Move { compromised, ..to(before, Phase::Superseded) });
        }
        moves.push(to(ca, Phase::Active));
        Ok(moves)
    }

    /// Ends the way back from an active one.
    fn taint(&self, ca: &Ca) -> Vec<Move> {
        let before = self.peer(ca, Phase::Superseded).filter(|before| !before.compromised);
        let taint = |before: &Ca| Move { compromised: true, ..to(before, Phase::Superseded) };
        before.map(taint).into_iter().collect()
    }

    fn roll_back(&self, ca: &Ca) -> Result<Vec<Move>, Rejection> {
        match ca.phase {
            Phase::Active => {}
            // It was taken before, or there is nothing to take back.
            Phase::Introduced => return Ok(vec![]),
            _ => return not_now("it is not active"),
        }
        let Some(before) = self.peer(ca, Phase::Superseded) else {
            return not_now("there is none before it, or that one is retired already");
        };
        if before.compromised {
            return not_now("the one before is compromised: there is no way back to it");
        }
        if self.by_fingerprint(&before.signer).is_some_and(|root| root.compromised) {
            return not_now(
                "the root of the one before is compromised: there is no way back to it",
            );
        }
        if ca.role == Role::Issuing && self.peer(ca, Phase::Introduced).is_some() {
            return not_now("another one waits to be activated: drop that first");
        }
        Ok(vec![to(ca, Phase::Introduced), to(before, Phase::Active)])
    }

    fn remove(&self, ca: &Ca) -> Result<Vec<Move>, Rejection> {
        let is_below = |other: &Ca| {
            other.role == Role::Issuing
                && other.phase != Phase::Removed
                && other.signer == ca.fingerprint
        };
        if ca.role == Role::Root && self.cas.iter().any(is_below) {
            return not_now(
                "an issuing authority that it signed is still believed: remove that first",
            );
        }
        Ok(vec![to(ca, Phase::Removed)])
    }
}
