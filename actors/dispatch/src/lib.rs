//! Who does what, and when: matching offers with technicians, planning a day, dispatching during it.
//!
//! **Invariants:** pure. Time, seeds and budgets come in as arguments; the same arguments give the
//! same result. Only `bench` reads files. **Not here:** tickets, offers and their states (the domain).

pub mod bench;
mod draft;
pub mod instance;
pub mod matching;
pub mod online;
pub mod plan;
pub mod problem;
mod random;
pub mod referee;
mod route;
pub mod search;
mod segment;
mod situation;
