//! What becomes on disk of a group that has let this node go: its log and its state are removed.
//!
//! The vote stays: a node that forgot it could give it twice in one term (Raft §5.2), where it is let in
//! again while a candidate of before is still asking. And it stays known how far the log was, the *floor*: whoever
//! lacks what was here, and knows of no configuration without this node, could otherwise be voted for by a log that
//! begins again, and lead without what a majority has (Raft §5.4.1). Below its floor this node votes for nobody, and
//! does not stand; where it is let in again, its log soon is above. Of a group that was left by an earlier release none
//! is known.
//!
//! **Invariants:** the log goes at once, and says that the state is to follow; a group is begun again only
//! when both are gone; a floor only rises. **Not here:** whether a group has let this node go (`courier`).

use super::{LogId, codec, group::state_table, install::arriving_table, log_store};
use crate::store::{
    Batch, Engine, StoreError, Table,
    keys::{GroupId, log},
};

/// Groups of which there may be data: more than a node is ever in.
const GROUPS_MAX: usize = 4096;

/// Groups of which there is a log.
///
/// # Errors
/// A disk that fails.
pub fn begun(records: &dyn Table) -> Result<Vec<GroupId>, StoreError> {
    let mut begun = groups(records, log::vote_range())?;
    let mut failed = Ok(());
    begun.retain(|group| {
        let has_log = has_log(*group, records);
        has_log.unwrap_or_else(|error| {
            failed = Err(error);
            false
        })
    });
    failed.map(|()| begun)
}

/// Groups whose state is still to be removed.
///
/// # Errors
/// A disk that fails.
pub fn unfinished(records: &dyn Table) -> Result<Vec<GroupId>, StoreError> {
    groups(records, log::left_range())
}

fn groups(records: &dyn Table, range: (Vec<u8>, Vec<u8>)) -> Result<Vec<GroupId>, StoreError> {
    let rows = records.scan(&range.0, &range.1, GROUPS_MAX)?;
    Ok(rows.iter().filter_map(|(key, _)| log::group_of(key)).collect())
}

fn has_log(group: GroupId, records: &dyn Table) -> Result<bool, StoreError> {
    let has = |key: Vec<u8>| records.get(&key).map(|row| row.is_some());
    let entries = records.scan(&log::entry(group, 0), &log::entries_end(group), 1)?;
    Ok(!entries.is_empty() || has(log::committed(group))? || has(log::purged(group))?)
}

/// How far this node's log of a group was when it left it last.
///
/// # Errors
/// A disk that fails, or a record that does not decode.
pub fn floor(group: GroupId, records: &dyn Table) -> Result<Option<LogId>, StoreError> {
    let floor = log_store::read(records, &log::floor(group), codec::decode_log_id)?;
    Ok(floor.flatten())
}

/// Removes the log of a group that does not run.
///
/// # Errors
/// A disk that fails.
pub async fn leave(group: GroupId, records: &dyn Table) -> Result<(), StoreError> {
    let floor = floor(group, records)?.max(log_store::last(group, records)?);
    let mut batch = Batch::default();
    batch.put(log::floor(group), codec::encode_log_id(floor.as_ref()));
    batch.delete_range(log::entry(group, 0), log::entries_end(group));
    batch.delete(log::committed(group));
    batch.delete(log::purged(group));
    batch.put(log::left(group), []);
    records.write(batch)?;
    records.sync().await
}

/// Removes the state of a group whose log was removed.
///
/// # Errors
/// A disk that fails, or somebody who reads the state still: try again later.
pub fn finish(group: GroupId, engine: &dyn Engine, records: &dyn Table) -> Result<(), StoreError> {
    engine.discard(&arriving_table(group))?;
    engine.discard(&state_table(group))?;
    let mut batch = Batch::default();
    batch.delete(log::left(group));
    records.write(batch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use openraft::{EntryPayload, entry::RaftEntry as _};

    use super::{
        super::{Entry, Vote},
        *,
    };
    use crate::store::{Role, keys::state, simulated::Disk};

    #[tokio::test]
    async fn a_group_that_is_left_leaves_its_vote() {
        let disk = Disk::new(std::time::Duration::ZERO);
        let records = disk.open("log", Role::Log).unwrap();
        let mut batch = Batch::default();
        let id = |index| LogId::new_term_index(3, index);
        let entry = |index| codec::encode_entry(&Entry::new(id(index), EntryPayload::Blank));
        for group in [1, 2, 3] {
            batch.put(log::vote(group), codec::encode_vote(&Vote::new(4, u64::from(group))));
            batch.put(log::entry(group, 7), entry(7));
        }
        batch.put(log::committed(2), codec::encode_log_id(Some(&id(7))));
        batch.put(log::vote(9), codec::encode_vote(&Vote::new(4, 9)));
        records.write(batch).unwrap();
        let table = disk.open(&state_table(2), Role::State).unwrap();
        let mut batch = Batch::default();
        batch.put(state::applied(), [1]);
        table.write(batch).unwrap();
        drop(table);

        assert_eq!(begun(&*records).unwrap(), [1, 2, 3]);
        leave(2, &*records).await.unwrap();
        assert_eq!(begun(&*records).unwrap(), [1, 3]);
        assert_eq!(unfinished(&*records).unwrap(), [2]);
        finish(2, &disk, &*records).unwrap();
        assert_eq!(unfinished(&*records).unwrap(), [0; 0]);
        assert!(disk.inspect(&state_table(2), Role::State).unwrap().is_none());
        assert_eq!(records.get(&log::vote(2)).unwrap(), Some(codec::encode_vote(&Vote::new(4, 2))));
        assert_eq!(records.get(&log::entry(1, 7)).unwrap(), Some(entry(7)));
        assert_eq!([1, 2].map(|group| floor(group, &*records).unwrap()), [None, Some(id(7))]);
        // Let go again before it had as much.
        let mut batch = Batch::default();
        batch.put(log::entry(2, 5), entry(5));
        records.write(batch).unwrap();
        leave(2, &*records).await.unwrap();
        assert_eq!(floor(2, &*records).unwrap(), Some(id(7)), "a floor only rises");
    }
}
