//! Who works when, and how long something may take: shifts, calendar files, clocks of service levels.
//!
//! [`zone`] knows the zones and holds the one rule by which civil time becomes an instant. [`roster`]
//! is a technician's week with what differs on single dates, spread out to instants. [`ical`] reads
//! and writes calendar files (RFC 5545). [`sla`] counts time while a desk is open.
//!
//! The crate `rrule` was no base for recurrence: where the clocks change it has instances twice and
//! leaves others out.
//!
//! **Invariants:** pure: the same arguments give the same result on every machine, now is an argument
//! and zones come from the database that is built in. What is stored is civil time with the name of a
//! zone, never an offset. Every loop ends at a bound that has a name. **Not here:** who a technician
//! is, timers, what is done when a shift or a service level ends (the domain).

pub mod civil;
pub mod fault;
pub mod ical;
pub mod interval;
pub mod roster;
pub mod shift;
pub mod sla;
pub mod zone;
