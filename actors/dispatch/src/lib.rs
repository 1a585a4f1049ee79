//! Who does what, and when: planning a day, dispatching during it.
//!
//! [`plan::plan_day`] plans a day of which all is known: routes of technicians with skills, tools and parts to requests with windows, as advice.
//! [`online::dispatch_day`] goes through a day during which requests become known. [`bench::run`]
//! measures the latter two on published instances and is what the command line calls.
//!
//! Published planners were no base for this: `vrp-pragmatic` fixes a vehicle's skills for the whole
//! tour, so a tool that is fetched at the depot cannot be said, its reload refills a vehicle to what
//! it began with, and it has threads and a clock of its own.
//!
//! **Invariants:** pure. Time, seeds and budgets come in as arguments; the same arguments give the
//! same result on every machine, because every decision is made in whole numbers. Only `bench` reads
//! files. **Not here:** tickets, offers, their states and who is offered what (the domain), clocks, threads.

pub mod bench;
mod draft;
pub mod instance;
pub mod online;
pub mod plan;
pub mod problem;
mod random;
pub mod referee;
mod route;
pub mod search;
mod segment;
mod situation;
