//! Chaos on a cluster that is in production: what two operators allow together, for a while.
//!
//! One operator proposes an allowance, which waits for a quarter of an hour; another one who says the same puts
//! it in force on every node, where it is a person whom two operators let in, one of them a person who did not
//! propose it. It ends by its time, or at once by any one operator. A row says how things are,
//! and by its times each node knows by itself when it ends.
//!
//! **Invariants:** who proposed an allowance and who approved it are two operators; none lasts longer than four
//! hours; what only waits allows nothing. **Not here:** what is allowed by it (`node`), who is an operator.

use minicbor::{Decode, Encode};

use super::{Event, Placement, members::SITES};
use crate::{
    Ctx, Effect, IndexRow, Rejection, RejectionCode, customer::NAME_BYTES_MAX, time::Millis,
};

/// Of an allowance: as long as people stay with what they break.
pub const ALLOWED_MINUTES_MAX: u32 = 240;
/// Of what it is for.
pub const WHY_BYTES_MAX: usize = 256;
/// A proposal is forgotten after so long: the two operators are at work together.
const PROPOSAL_LIFE_MS: u64 = 15 * MINUTE_MS;
const MINUTE_MS: u64 = 60 * 1000;
/// A node's clock may be so far behind that of who decided; one that is set back further allows nothing.
const BEHIND_MS: u64 = MINUTE_MS;

/// Chaos is allowed for a while.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Allowance {
    #[n(0)]
    pub since: Millis,
    #[n(1)]
    pub until: Millis,
    /// What it is for, as it was proposed.
    #[n(2)]
    pub why: String,
    #[n(3)]
    pub proposed_by: String,
    #[n(4)]
    pub approved_by: String,
}

/// An allowance that waits for a second operator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AllowanceProposal {
    #[n(0)]
    pub minutes: u32,
    #[n(1)]
    pub why: String,
    #[n(2)]
    pub by: String,
    #[n(3)]
    pub at: Millis,
}

/// How it stands with chaos, in the group and in its row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Allowances {
    /// Raised by each change.
    #[n(0)]
    pub epoch: u64,
    /// The last one, maybe past its time.
    #[n(1)]
    pub allowance: Option<Allowance>,
    #[n(2)]
    pub proposal: Option<AllowanceProposal>,
    /// How the last one ended before its time.
    #[n(3)]
    pub ended: Option<Ended>,
}

/// An operator allows nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ended {
    #[n(0)]
    pub at: Millis,
    #[n(1)]
    pub by: String,
}

impl Allowance {
    /// By the clock of whoever asks.
    pub fn is_in_force(&self, now: Millis) -> bool {
        (self.since.0.saturating_sub(BEHIND_MS)..self.until.0).contains(&now.0)
    }
}

impl AllowanceProposal {
    pub fn until(&self) -> Millis {
        Millis(self.at.0.saturating_add(PROPOSAL_LIFE_MS))
    }

    /// Whether a second operator may still agree.
    pub fn waits(&self, now: Millis) -> bool {
        (self.at.0..=self.until().0).contains(&now.0)
    }

    /// Whether an operator who was let in by these persons is a second person: whoever has the shells of two
    /// machines has two operators, and with these may let in a third one, who is nobody else either.
    fn may_be_approved(&self, by: &str, let_in_by: Option<&[String]>) -> Result<(), Rejection> {
        let is_another = |person: &String| *person != self.by && person != by;
        let text = match let_in_by {
            Some(persons) if persons.iter().any(is_another) => return Ok(()),
            Some([_, ..]) => {
                "no person but the one who proposes the allowance, or itself, let this operator in: another one \
                 approves it"
            }
            _ => {
                "this operator is a machine's, or no person let it in beside a second operator: it may propose an \
                 allowance, and a person with an operator's certificate of this region approves it (docs/chaos.md)"
            }
        };
        Rejection::new(RejectionCode::SecondPerson, text)
    }
}

impl Allowances {
    /// The allowance, while it is in force.
    pub fn in_force(&self, now: Millis) -> Option<&Allowance> {
        self.allowance.as_ref().filter(|allowance| allowance.is_in_force(now))
    }

    /// The proposal, while it waits.
    pub fn waiting(&self, now: Millis) -> Option<&AllowanceProposal> {
        self.proposal.as_ref().filter(|proposal| proposal.waits(now))
    }
}

impl Placement {
    pub(super) fn allow_chaos(
        &self,
        minutes: u32,
        why: &str,
        by: &str,
        let_in_by: Option<&[String]>,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        // Who let whom in is looked at since then: a leader of before would take two machines for two persons.
        self.members.all_understand(SITES)?;
        if !(1..=ALLOWED_MINUTES_MAX).contains(&minutes) {
            let text = format!(
                "chaos is allowed for 1 to {ALLOWED_MINUTES_MAX} minutes, not {minutes}: to go on, allow it again"
            );
            return Rejection::new(RejectionCode::Invalid, text);
        }
        if why.trim().is_empty() || why.len() > WHY_BYTES_MAX || why.chars().any(char::is_control) {
            return Rejection::new(
                RejectionCode::Invalid,
                "say in one line of 1 to 256 bytes what chaos is to be allowed for",
            );
        }
        if by.is_empty() || by.len() > NAME_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "a name has 1 to 256 bytes");
        }
        let waiting = self.allowances.as_ref().and_then(|all| all.waiting(ctx.now));
        let (by, since) = (by.to_owned(), ctx.now);
        let Some(first) = waiting.filter(|first| first.minutes == minutes) else {
            let (why, at) = (why.to_owned(), ctx.now);
            return Ok(vec![Event::ChaosProposed(AllowanceProposal { minutes, why, by, at })]);
        };
        if first.by == by {
            return Rejection::new(
                RejectionCode::SecondPerson,
                "a second operator must give the same command within 15 minutes: whoever proposes an allowance \
                 does not approve it",
            );
        }
        first.may_be_approved(&by, let_in_by)?;
        let until = Millis(since.0.saturating_add(u64::from(minutes) * MINUTE_MS));
        let (why, proposed_by, approved_by) = (first.why.clone(), first.by.clone(), by);
        let allowance = Allowance { since, until, why, proposed_by, approved_by };
        Ok(vec![Event::ChaosAllowed(allowance)])
    }

    /// What is past its time by this clock may not be by another's: it is ended too.
    pub(super) fn end_chaos(&self, by: &str, ctx: &Ctx) -> Vec<Event> {
        let is_there = |all: &Allowances| all.allowance.is_some() || all.proposal.is_some();
        let ended = || Event::ChaosEnded(Ended { at: ctx.now, by: by.to_owned() });
        self.allowances.as_ref().filter(|all| is_there(all)).map(|_| ended()).into_iter().collect()
    }

    /// One that is in force goes on until another takes its place.
    pub(super) fn chaos_proposed(&mut self, proposal: &AllowanceProposal) {
        self.allowances_change().proposal = Some(proposal.clone());
    }

    pub(super) fn chaos_allowed(&mut self, allowance: &Allowance) {
        let all = self.allowances_change();
        (all.allowance, all.proposal, all.ended) = (Some(allowance.clone()), None, None);
    }

    pub(super) fn chaos_ended(&mut self, ended: &Ended) {
        let all = self.allowances_change();
        (all.allowance, all.proposal, all.ended) = (None, None, Some(ended.clone()));
    }

    fn allowances_change(&mut self) -> &mut Allowances {
        let all = self.allowances.get_or_insert_default();
        all.epoch = all.epoch.saturating_add(1);
        all
    }

    pub(super) fn allowances_row(&self) -> Vec<Effect> {
        let row = self.allowances.clone().map(IndexRow::Allowances);
        row.map(Effect::Index).into_iter().collect()
    }
}
