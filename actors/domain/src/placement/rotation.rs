//! What operators ask of the authorities becomes events, and entries of the regions' ledgers.
//!
//! **Invariant:** a step that waits for a second operator leads to nothing but the proposal. **Not here:**
//! what a step moves and when (`steps`), who may agree to whom (`bundle`).

use super::{Ca, Event, Phase, Placement, Proposal, Role, Step, Wanted, changes::BY_ITSELF};
use crate::{
    Command as AnyCommand, Ctx, Effect, EntityId, IndexRow, Rejection, RejectionCode,
    authority::{self, Deed, Note},
};

impl Placement {
    /// What a region was made with is known from then on; the first authority of a region that was
    /// introduced by others begins to sign.
    pub(super) fn adopt(&self, cas: &[Ca], ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        let new = self.bundle.adopted(cas)?;
        let (mut next, mut moves) = (self.bundle.clone(), Vec::new());
        next.add(&new);
        for ca in cas {
            if let Some(one) = next.first_active(ca) {
                next.apply(&[one], ctx.now);
                moves.push(one);
            }
        }
        let mut events = Vec::new();
        if !new.is_empty() {
            events.push(Event::Introduced { cas: new, by: String::new() });
        }
        if !moves.is_empty() {
            let (at, by, proposed_by) = (ctx.now, BY_ITSELF.to_owned(), None);
            events.push(Event::Moved { moves, at, by, proposed_by });
        }
        Ok(events)
    }

    /// Where it is written down what becomes of an authority: in its region, or, before there is such a
    /// region, in the first one.
    pub(super) fn ledger_of(&self, ca: &Ca) -> EntityId {
        let first = self.members.homes.first().map(|home| home.region);
        match (self.members.home(ca.authority.region()), first) {
            (None, Some(first)) => EntityId::authority(first),
            _ => ca.authority,
        }
    }

    pub(super) fn rotate(&self, wanted: &Wanted, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        self.has_region(wanted)?;
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

    /// A region's first authority begins to sign with its first node, and not before.
    fn has_region(&self, wanted: &Wanted) -> Result<(), Rejection> {
        let activates = matches!(wanted.step, Step::Activate | Step::ActivateCompromised);
        let ca = self.bundle.by_fingerprint(&wanted.fingerprint);
        let Some(ca) = ca.filter(|ca| activates && ca.role == Role::Issuing) else { return Ok(()) };
        let region = ca.authority.region();
        if self.members.homes.is_empty() || self.members.home(region).is_some() {
            return Ok(());
        }
        let text = format!("region {region} has no node yet: its first one begins to sign with it");
        Rejection::new(RejectionCode::NotNow, text)
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

/// An entry of a region's ledger.
pub(super) fn note(to: EntityId, by: &str, deed: Deed) -> Effect {
    let note = Note { registration: None, by: by.to_owned(), deed };
    let command = AnyCommand::Authority(authority::Command::Note(note));
    Effect::Tell { to, command }
}

pub(super) fn introduction(to: EntityId, ca: &Ca, by: &str) -> Effect {
    let (issuer, certificate, not_after) = (ca.name, ca.fingerprint, ca.not_after);
    note(to, by, Deed::CaIntroduced { issuer, certificate, not_after })
}
