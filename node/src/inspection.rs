//! What a node has stored, read before anything is opened for writing, so that a start that is refused leaves it as it was.
//!
//! **Invariant:** nothing is changed. **Not here:** what a group's records must have (`consensus`), whether others take the
//! directory for older (`starts`).

use std::collections::BTreeSet;

use fieldmesh_actors::commit::ShardId;

use crate::{
    cluster::Cluster,
    consensus::{group, left, outlive},
    node::NodeError,
    store::{Engine, Role, writer},
};

/// Whether a node may start with it.
///
/// # Errors
/// The first record that is damaged or missing; a recovery that was cut short.
pub(crate) fn inspect(engine: &dyn Engine, known: &Cluster) -> Result<(), NodeError> {
    let log = engine.inspect("log", Role::Log).map_err(NodeError::Log)?;
    writer::check(log.as_deref(), engine.mark()).map_err(NodeError::Log)?;
    if let Some(log) = log {
        outlive::check(&*log).map_err(NodeError::Log)?;
        // What is to be removed anyway may be half removed.
        let left = left::unfinished(&*log).map_err(NodeError::Log)?;
        let begun = left::begun(&*log).map_err(NodeError::Log)?;
        let all: BTreeSet<ShardId> = known.own_groups().chain(begun).collect();
        for shard in all.into_iter().filter(|shard| !left.contains(shard)) {
            group::inspect(shard, engine, &*log)?;
        }
    }
    Ok(())
}
