//! The node: engines, transports and the operator's command around the actors.
//!
//! Reading order: [`node`] builds the parts; [`edge`] takes devices' frames, [`intake`] opens and
//! verifies them, `fieldmesh_actors` decides, [`journal`] seals and commits, [`consensus`] and
//! [`store`] make it last. **Not here:** domain rules (`fieldmesh_domain`), the message format
//! (`fieldmesh_envelope`), certificates (`fieldmesh_pki`).

pub mod absences;
pub mod again;
pub mod agreement;
pub mod audit;
pub mod auditor;
pub mod backup;
pub mod bucket;
pub mod channel;
pub mod chaos;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod consensus;
pub mod contact;
pub mod courier;
pub mod dates;
pub mod day;
pub mod departures;
pub mod deployment;
pub mod documents;
pub mod edge;
pub mod files;
pub mod floor;
pub mod generator;
#[cfg(test)]
mod golden;
pub mod guide;
mod hosting;
mod inspection;
pub mod intake;
mod introduction;
pub mod issuer;
pub mod journal;
pub mod leading;
pub mod ledger;
pub mod let_in;
mod memory;
pub mod mesh;
#[cfg(test)]
mod mutated;
mod named;
pub mod node;
pub mod notices;
mod open;
pub mod os;
pub mod own;
pub mod peers;
pub mod register;
pub mod replicas;
pub mod rosters;
pub mod rotation;
pub mod sealed;
pub mod sealing;
pub mod server;
pub mod service;
mod slots;
pub mod starts;
pub mod status;
pub mod steps;
pub mod store;
pub mod story;
pub mod trust;
mod unheard;
pub mod web;
