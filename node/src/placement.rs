//! Which shard owns an entity.
//!
//! Two groups are shards with entities of their own: the placement group (0) holds what every node of
//! the cluster must know, the authority group what the region's certification authority did. The
//! 1024 slots of all other entities are spread over the rest by remainder; their number is written
//! down when the cluster is made and does not change on a running cluster. **Not here:** which node leads
//! a shard (`consensus`).

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::{EntityId, EntityKind};

/// Most shards a cluster may have: one per slot would end batching (one fsync serves all groups, but
/// each costs ticks and messages), so this stays far below 1024.
pub const SHARDS_MAX: u32 = 64;
/// The cluster-wide group.
pub const PLACEMENT: ShardId = 0;
/// The region's authority: a number that no shard of slots can have.
pub const AUTHORITY: ShardId = 1024;

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

    /// How many shards entities are spread over.
    pub fn count(self) -> u32 {
        self.shards
    }

    pub fn shard_of(self, entity: EntityId) -> ShardId {
        match entity.kind() {
            EntityKind::Placement => PLACEMENT,
            EntityKind::Authority | EntityKind::Registration => AUTHORITY,
            EntityKind::Customer
            | EntityKind::Technician
            | EntityKind::Ticket
            | EntityKind::Desk => 1 + u32::from(entity.slot()) % self.shards,
        }
    }

    /// All groups of a node; the placement group first, because the others tell it things.
    pub fn shards(self) -> impl Iterator<Item = ShardId> {
        [PLACEMENT, AUTHORITY].into_iter().chain(1..=self.shards)
    }
}
