//! Reading, planning and dispatching, on made-up towns: no published instance is part of this.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and those of the bench write files"
)]

#[path = "planning/bench.rs"]
mod bench;
#[path = "planning/day.rs"]
mod day;
#[path = "planning/format.rs"]
mod format;
#[path = "planning/online.rs"]
mod online;
#[path = "planning/referee.rs"]
mod referee;
#[path = "planning/town.rs"]
mod town;
