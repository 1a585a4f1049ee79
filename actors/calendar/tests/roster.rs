//! Rosters: what is worked when, who does it instead, what is stored, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "roster/overlaps.rs"]
mod overlaps;
#[path = "roster/refused.rs"]
mod refused;
#[path = "roster/rosters.rs"]
mod rosters;
#[path = "roster/stored.rs"]
mod stored;
#[path = "roster/swaps.rs"]
mod swaps;
#[path = "roster/worked.rs"]
mod worked;
