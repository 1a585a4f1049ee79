//! What operators ask of the authorities becomes events, and entries of the regions' ledgers.
//!
//! **Invariant:** a step that waits for a second operator leads to nothing but the proposal. **Not here:**
//! what a step moves and when (`steps`), who may agree to whom (`bundle`).

use super::{Ca, Event, Phase, Placement, Proposal, Step, Wanted};
use crate::{
    Command as AnyCommand, Ctx, Effect, IndexRow, Rejection,
    authority::{self, Deed, Note},
};

impl Placement {
    pub(super) fn rotate(&self, wanted: &Wanted, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        let moves = self.bundle.moves(wanted)?;
        if moves.is_empty() {
            return Ok(vec![]);
        }
        let (by, at) = (wanted.by.clone(), ctx.now);
        if self.bundle.waits(wanted, at)? {
            let (fingerprint, step) = (wanted.fingerprint, wanted.step);
            return Ok(vec![Event::Proposed(Proposal { fingerprint, step, by, at })]);
        }
        let proposal = self.bundle.proposal.as_ref().filter(|_| wanted.second_person);
        let proposed_by = proposal.map(|proposal| proposal.by.clone());
        Ok(vec![Event::Moved { moves, at, by, proposed_by }])
    }

    pub(super) fn introduce(&self, ca: &Ca, ctx: &Ctx) -> Result<Option<Ca>, Rejection> {
        let (phase, since, compromised) = (Phase::Introduced, ctx.now, false);
        let ca = Ca { phase, since, compromised, ..ca.clone() };
        Ok(self.bundle.is_new(&ca)?.then_some(ca))
    }

    pub(super) fn introduce_jointly(
        &self,
        ca: &Ca,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        let Some(ca) = self.introduce(ca, ctx)? else { return Ok(vec![]) };
        let (fingerprint, step, at) = (ca.fingerprint, Step::Introduce, ctx.now);
        let wanted = Wanted { fingerprint, step, by: by.to_owned(), second_person: true };
        if self.bundle.waits(&wanted, at)? {
            let by = wanted.by;
            return Ok(vec![Event::Proposed(Proposal { fingerprint, step, by, at })]);
        }
        let first = self.bundle.proposal.as_ref().map(|first| first.by.as_str());
        let by = format!("{} and {by}", first.unwrap_or_default());
        Ok(vec![Event::Introduced { cas: vec![ca], by }])
    }

    pub(super) fn rows(&self, fingerprints: impl Iterator<Item = [u8; 32]>) -> Vec<Effect> {
        let epoch = self.bundle.epoch;
        fingerprints
            .filter_map(|fingerprint| self.bundle.by_fingerprint(&fingerprint))
            .map(|ca| Effect::Index(IndexRow::Ca { ca: ca.clone(), epoch }))
            .collect()
    }
}

/// An entry of the ledger of the region that the authority is from.
pub(super) fn note(ca: &Ca, by: &str, deed: Deed) -> Effect {
    let note = Note { registration: None, by: by.to_owned(), deed };
    let command = AnyCommand::Authority(authority::Command::Note(note));
    Effect::Tell { to: ca.authority, command }
}

pub(super) fn introduction(ca: &Ca, by: &str) -> Effect {
    let (issuer, certificate, not_after) = (ca.name, ca.fingerprint, ca.not_after);
    note(ca, by, Deed::CaIntroduced { issuer, certificate, not_after })
}
