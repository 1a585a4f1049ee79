//! Chaos runs: what is broken on purpose, when, and whether every promise held meanwhile.
//!
//! A scenario in TOML says how a cluster is used, what is normal, what is broken and which promises are
//! checked. [`read_scenario`] reads it and says everything that is wrong with it, [`Timeline`] lays out
//! when each fault comes, the same for the same seed, and [`judge`] says from the recorded history alone
//! whether the promises held. Who runs it only records what happened.
//!
//! **Invariants:** pure: no clock, no chance but the scenario's seed, no input or output. A verdict comes
//! from the history alone, so that whoever has the history can check the verdict. What was not seen is
//! never called well. **Not here:** breaking anything, driving devices, drawing the report (the node).

mod fault;
pub mod guard;
pub mod history;
mod judge;
mod promises;
mod scenario;
mod span;
mod steady;
mod timeline;
mod watch;

pub use fault::{Direction, Fault, KINDS, Network, Pick};
pub use history::{Entry, History, HistoryError, Phase};
pub use judge::{Coverage, Effect, Ending, Judgement, ProbeFinding, judge};
pub use promises::{Bounded, Example, FILES, Finding, Limits, Most, Promise, RESIDENT, Verdict};
pub use scenario::{
    Abort, Keys, Probe, QUORUM, Random, Refuses, SCENARIO_BYTES_MAX, Scenario, Target, VOTERS,
    Workload, read_scenario, read_scenario_where,
};
pub use steady::{Comparison, Figures, Mode, Query, measure};
pub use timeline::{PlanError, Strike, Timeline};
pub use watch::{Normal, Watch};
