//! What applying an entry gave, for the proposer.

use std::fmt;

use fieldmesh_actors::commit::Verdict;

/// The response of the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Outcome {
    /// A blank entry or a membership: nothing to say.
    #[default]
    Nothing,
    Decided(Verdict),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
