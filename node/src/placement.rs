//! Which shard owns an entity.
//!
//! The 1024 slots are spread over the shards by remainder. The number of shards is written down
//! when the cluster is made and does not change on a running cluster. **Not here:** which node leads
//! a shard (`consensus`).

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::EntityId;

/// Most shards a cluster may have: one per slot would end batching (one fsync serves all groups, but
/// each costs ticks and messages), so this stays far below 1024.
pub const SHARDS_MAX: u32 = 64;

/// The map from slots to shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardMap {
    shards: u32,
}

impl ShardMap {
    /// A map over so many shards, at least one and at most [`SHARDS_MAX`].
    pub fn new(shards: u32) -> Self {
        Self { shards: shards.clamp(1, SHARDS_MAX) }
    }

    /// Shards are numbered from 1; 0 is kept for the placement group.
    pub fn shard_of(self, entity: EntityId) -> ShardId {
        1 + u32::from(entity.slot()) % self.shards
    }

    pub fn shards(self) -> impl Iterator<Item = ShardId> {
        1..=self.shards
    }
}
