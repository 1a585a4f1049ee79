//! A group begun from a state that was backed up: its log begins behind that state, and its only voter
//! is the node that begins it.
//!
//! **Invariants:** the term goes on from the backup's, so that a term still never falls; the log says of
//! itself that all before the state is purged, so that nobody looks for it. **Not here:** where the rows
//! come from (`backup`), who else is to vote (`domain::placement`).

use std::collections::BTreeSet;

use openraft::{Membership, impls::EmptyNode, vote::leader_id_std::CommittedLeaderId};

use super::{LogId, StoredMembership, Vote, codec, group::state_table};
use crate::store::{
    Batch, Engine, Role, Row, StoreError, Table,
    keys::{GroupId, log, state},
};

/// Where a group's state was when it was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub term: u64,
    pub index: u64,
}

/// A group's state table that is being filled.
pub struct Filling {
    pub group: GroupId,
    table: std::sync::Arc<dyn Table>,
}

impl Filling {
    /// Makes the table, which must not be there yet.
    ///
    /// # Errors
    /// A table that is there; a disk that fails.
    pub fn begin(engine: &dyn Engine, group: GroupId) -> Result<Self, StoreError> {
        let name = state_table(group);
        if engine.inspect(&name, Role::State)?.is_some() {
            return Err(StoreError::Corrupt {
                table: name,
                record: "all".into(),
                fact: "the table is there already".into(),
            });
        }
        Ok(Self { group, table: engine.open(&name, Role::State)? })
    }

    /// Takes rows in; those that say how far the old node had come are left out.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn put(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let own = state::of_a_replica();
        let mut batch = Batch::default();
        for (key, value) in rows.into_iter().filter(|(key, _)| !own.contains(key)) {
            batch.put(key, value);
        }
        self.table.write(batch)
    }

    /// What is there by now.
    pub fn table(&self) -> &dyn Table {
        &*self.table
    }

    /// Changes what is there.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.table.write(batch)
    }

    /// Makes the group one that has come so far, with this node alone.
    ///
    /// # Errors
    /// A disk that fails.
    pub async fn end(self, at: At, node: u64, records: &dyn Table) -> Result<(), StoreError> {
        begin_at(self.group, &*self.table, at, node, records).await
    }
}

/// Makes a group one that has come so far, with a node alone, whatever its log had. A crash on the way leaves a state
/// that is ahead of its log.
///
/// # Errors
/// A disk that fails.
pub(super) async fn begin_at(
    group: GroupId,
    table: &dyn Table,
    at: At,
    node: u64,
    records: &dyn Table,
) -> Result<(), StoreError> {
    let id = LogId::new(CommittedLeaderId::new(at.term), at.index);
    let membership = StoredMembership::new(Some(id), alone(node));
    let mut batch = Batch::default();
    batch.put(state::applied(), codec::encode_applied(Some(&id), &membership));
    batch.put(state::installed(), at.index.to_be_bytes());
    table.write(batch)?;
    table.sync().await?;
    // The log last: without it the group is not begun.
    let mut batch = Batch::default();
    batch.delete_range(log::entry(group, 0), log::entries_end(group));
    batch.delete(log::alone(group));
    batch.put(log::purged(group), codec::encode_log_id(Some(&id)));
    batch.put(log::committed(group), codec::encode_log_id(Some(&id)));
    batch.put(log::vote(group), codec::encode_vote(&Vote::new(at.term, node)));
    records.write(batch)?;
    records.sync().await
}

/// One node decides.
pub(super) fn alone(node: u64) -> Membership<u64, EmptyNode> {
    Membership::new_with_defaults(vec![BTreeSet::from([node])], [node])
}
