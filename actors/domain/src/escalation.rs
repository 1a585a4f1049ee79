//! Escalation policies: who is asked or told, in which order, and for how long each.
//!
//! A policy is a list of steps that ends in a repetition. [`Policy::after`] is the one way from a step to
//! the next, for tickets and for those who try a policy beforehand.
//!
//! **Invariants:** there is a next step after each one, whatever is stored, so that no policy ends; field
//! numbers are never used again. **Not here:** what a ticket does in a step (`ticket`), the document that
//! an operator writes and what is wrong with it (the policies' package).

use minicbor::{Decode, Encode};

/// Steps of a policy: more than a person can keep apart.
pub const STEPS_MAX: usize = 32;
/// Technicians that one step asks.
pub const TECHNICIANS_MAX: u8 = 32;
/// Technicians that are asked at the same time: those whom a choice names.
pub const AT_ONCE_MAX: u8 = 5;
/// Bytes of the name of a policy, and of who is told.
pub const NAME_BYTES_MAX: usize = 64;
/// Priorities, each with a limit of its own.
pub const PRIORITIES: usize = 5;

/// A named list of steps, as a ticket keeps it for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Policy {
    #[n(0)]
    pub name: String,
    /// Of the document that it is from.
    #[n(1)]
    pub version: u32,
    #[n(2)]
    pub steps: Vec<Step>,
}

/// One step, with how long it is waited for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Step {
    #[n(0)]
    pub act: Act,
    /// Seconds, by priority from 1 on. Nothing in a repetition, which takes no time.
    #[n(1)]
    pub within_s: Vec<u32>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    /// The best technicians that are not too far away are asked, one after the other or several at once.
    #[n(0)]
    Offer {
        #[n(0)]
        technicians: u8,
        /// From the ticket, great circle; none is everybody of the region.
        #[n(1)]
        radius_m: Option<u32>,
        /// Asked at the same time; none is one after the other.
        #[n(2)]
        at_once: Option<u8>,
    },
    /// Somebody is told that nobody has come forward. Technicians are sought meanwhile.
    #[n(1)]
    Tell {
        #[n(0)]
        role: Role,
        #[n(1)]
        name: String,
    },
    /// Goes on with an earlier step, counted from 0.
    #[n(2)]
    Repeat {
        #[n(0)]
        from: u8,
    },
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// The technicians' team lead.
    #[n(0)]
    Lead,
    #[n(1)]
    Dispatcher,
    #[n(2)]
    Person,
    #[n(3)]
    Webhook,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Dispatcher => "dispatcher",
            Self::Person => "person",
            Self::Webhook => "webhook",
        }
    }

    /// Whether somebody can answer.
    pub fn is_person(self) -> bool {
        match self {
            Self::Lead | Self::Dispatcher | Self::Person => true,
            Self::Webhook => false,
        }
    }
}

/// Where in a policy a ticket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Position {
    /// Counted from 0.
    #[n(0)]
    pub step: u8,
    /// How often it began again.
    #[n(1)]
    pub round: u32,
}

impl Policy {
    fn step(&self, index: u8) -> Option<&Step> {
        self.steps.get(usize::from(index))
    }

    pub fn act(&self, at: Position) -> Option<&Act> {
        self.step(at.step).map(|step| &step.act)
    }

    /// The step after this one. What is stored may be of a program that allows more: behind the last step,
    /// and where a repetition leads nowhere, the present one begins again.
    pub fn after(&self, at: Position) -> Position {
        let next = at.step.saturating_add(1);
        let again = |step| Position { step, round: at.round.saturating_add(1) };
        match self.step(next).map(|step| &step.act) {
            Some(Act::Offer { .. } | Act::Tell { .. }) => Position { step: next, round: at.round },
            Some(Act::Repeat { from }) if *from < next => again(*from),
            Some(Act::Repeat { .. }) | None => again(at.step),
        }
    }

    /// Whether the next step asks technicians too: those that were asked are not asked again.
    pub fn goes_on_offering(&self, at: Position) -> bool {
        let after = self.after(at);
        after.round == at.round && matches!(self.act(after), Some(Act::Offer { .. }))
    }

    /// Seconds that the step waits for each answer.
    pub fn within_s(&self, step: u8, priority: u8) -> Option<u64> {
        let limits = &self.step(step)?.within_s;
        let index = usize::from(priority.max(1) - 1).min(limits.len().saturating_sub(1));
        limits.get(index).map(|limit| u64::from(*limit))
    }

    /// The step that offers are made by: where somebody is told, that before it, or else the first.
    fn offering(&self, at: Position) -> Option<u8> {
        let count = u8::try_from(self.steps.len()).unwrap_or(u8::MAX);
        let mut candidates = (0..=at.step.min(count)).rev().chain(0..count);
        candidates.find(|index| {
            self.step(*index).is_some_and(|step| matches!(step.act, Act::Offer { .. }))
        })
    }

    /// Seconds that an offer made now waits for its answer; none where no step makes offers.
    pub fn offer_life_s(&self, at: Position, priority: u8) -> Option<u64> {
        self.within_s(self.offering(at)?, priority)
    }

    /// How far away a technician may be now; none is any distance.
    pub fn radius_m(&self, at: Position) -> Option<u32> {
        match &self.step(self.offering(at)?)?.act {
            Act::Offer { radius_m, .. } => *radius_m,
            Act::Tell { .. } | Act::Repeat { .. } => None,
        }
    }

    /// How many technicians are asked at the same time now.
    pub fn at_once(&self, at: Position) -> u8 {
        let step = self.offering(at).and_then(|step| self.step(step));
        match step.map(|step| &step.act) {
            Some(Act::Offer { at_once, .. }) => at_once.unwrap_or(1).clamp(1, AT_ONCE_MAX),
            Some(Act::Tell { .. } | Act::Repeat { .. }) | None => 1,
        }
    }

    /// Who was told on the way to a place, each once.
    pub fn told(&self, at: Position) -> Vec<(Role, &str)> {
        // Whatever it repeats, it has been at each step that it comes to after as many moves as it has steps,
        // and once more where a step begins again.
        let moves = self.steps.len().saturating_mul(2).saturating_add(1);
        let (mut told, mut place) = (Vec::new(), Position::default());
        for _ in 0..=moves {
            if let Some(Act::Tell { role, name }) = self.act(place)
                && !told.contains(&(*role, name.as_str()))
            {
                told.push((*role, name.as_str()));
            }
            if place == at {
                break;
            }
            place = self.after(place);
        }
        told
    }

    /// The first person of the policy who is told of anything.
    pub fn person(&self) -> Option<(Role, &str)> {
        self.steps.iter().find_map(|step| match &step.act {
            Act::Tell { role, name } if role.is_person() => Some((*role, name.as_str())),
            Act::Offer { .. } | Act::Tell { .. } | Act::Repeat { .. } => None,
        })
    }
}
