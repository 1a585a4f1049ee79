//! `bench`: what is measured, of a cluster of this machine's own and of the planner. **Not here:** the
//! measurements, each in a file of its own.

use clap::Subcommand;

use super::{CliError, Common, Output, catchup, dispatch, failover, grow, herd, idle, overload};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Kills nodes under load: how long until their shards reply again, and whether anything is lost.
    Failover(failover::FailoverArgs),
    /// Kills a node while much is written: how long and how many bytes until it has it too.
    Catchup(catchup::CatchupArgs),
    /// Adds a node to three that hold data: how much is moved to it, against what it must have.
    Grow(grow::GrowArgs),
    /// Lets a cluster be: its processor time and memory.
    Idle(idle::IdleArgs),
    /// Has all devices of a node lose their connections at once: when they are back, and whom that delays.
    Herd(herd::HerdArgs),
    /// Asks for several times what a cluster can do: what it then does, and that all of it is served.
    Overload(overload::OverloadArgs),
    /// Plans and dispatches published instances: how far from the best that is known.
    Dispatch(dispatch::DispatchArgs),
}

impl BenchVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Failover(args) => &args.common,
            Self::Catchup(args) => &args.common,
            Self::Grow(args) => &args.common,
            Self::Idle(args) => &args.common,
            Self::Herd(args) => &args.common,
            Self::Overload(args) => &args.common,
            Self::Dispatch(args) => &args.common,
        }
    }
}

pub(crate) async fn run(verb: &BenchVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        BenchVerb::Failover(args) => failover::run(args, output).await,
        BenchVerb::Catchup(args) => catchup::run(args, output).await,
        BenchVerb::Grow(args) => grow::run(args, output).await,
        BenchVerb::Idle(args) => idle::run(args, output).await,
        BenchVerb::Herd(args) => herd::run(args, output).await,
        BenchVerb::Overload(args) => overload::run(args, output).await,
        BenchVerb::Dispatch(args) => dispatch::measure(args, output),
    }
}
