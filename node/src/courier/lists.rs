//! Pages of a shard that has no replica here, from other nodes that have one.
//!
//! **Invariant:** what a region counts is asked of its own nodes alone. **Not here:** what they answer
//! (`hosting`), turns and streams (`ways`).

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::IndexRow;

use super::{NodeCourier, wire};

impl NodeCourier {
    /// A page of a list from a node that has a replica of the shard; none where no such answers.
    pub async fn rows(&self, wanted: wire::Wanted) -> Option<Vec<IndexRow>> {
        let ways = self.ways.as_ref()?;
        for node in self.holders(wanted.shard) {
            if let Some(rows) = ways.rows(node, wanted).await {
                return Some(rows);
            }
        }
        None
    }

    /// A page of what was opened in a shard, from another node of the region that has a replica of it; none
    /// where no such answers.
    pub(crate) async fn opened(&self, wanted: wire::OpenedWanted) -> Option<Vec<wire::Opened>> {
        let ways = self.ways.as_ref()?;
        for node in self.holders(wanted.shard).filter(|node| self.is_neighbour(*node)) {
            if let Some(opened) = ways.opened(node, wanted).await {
                return Some(opened);
            }
        }
        None
    }

    /// Other nodes with a replica of a shard, its leader first.
    fn holders(&self, shard: ShardId) -> impl Iterator<Item = u64> {
        let first = self.other_leader(shard);
        let voters = self.known.placed(shard).map_or_else(Vec::new, |placed| placed.voters);
        first.into_iter().chain(voters.into_iter().filter(move |voter| Some(*voter) != first))
    }
}
