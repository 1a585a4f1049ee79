//! A group of which most voters are lost for good goes on with one node alone, which is not running meanwhile.
//!
//! First the log gets one more entry: this node alone votes. Run so, it commits all that it has, because what was
//! acknowledged may be in its log without this node having heard that it was. Then the group begins again far behind its
//! end, in a far later term: who follows from then on takes a snapshot, whatever else it had, and who comes back
//! from before is nobody's leader. (etcd's `--force-new-cluster` and Consul's `peers.json` are the first half of it.)
//!
//! **Invariants:** nothing that this node has is left out; from the first change to the last a mark stands in the log, with
//! which the node does not start, and each step may be done again. **Not here:** whether the others are lost, and who has
//! most (`cli::recover`).

use std::{collections::BTreeSet, sync::Arc};

use openraft::{EntryPayload, vote::leader_id_std::CommittedLeaderId};

use super::{
    Entry, LogId, Vote, codec,
    group::state_table,
    install, log_store,
    restore::{At, alone, begin_at},
};
use crate::store::{
    Batch, Engine, Role, StoreError, Table,
    keys::{self, GroupId, log},
};

/// Beyond everything that a node of before may have and this one does not know of: more terms and entries than come
/// about while a node is away. Were it further than the group is, what it has would be taken for what the group
/// has: entries that are committed are not compared.
const UNKNOWN_TERMS: u64 = 1 << 16;
const UNKNOWN_ENTRIES: u64 = 1 << 32;
/// Bytes of entries read at once.
const PAGE_BYTES: usize = 1 << 20;

impl At {
    /// Where a group begins again that ended here, as far as is known.
    pub fn far_behind(self) -> Self {
        let (term, index) = (self.term, self.index);
        Self {
            term: term.saturating_add(UNKNOWN_TERMS),
            index: index.saturating_add(UNKNOWN_ENTRIES),
        }
    }
}

/// What a node that is not running has of a group.
pub struct Stored {
    pub state: Arc<dyn Table>,
    /// The end of its log, committed or not.
    pub last: At,
    /// The voters by the last configuration in its log, committed or not; two sets while they change.
    pub halves: Vec<BTreeSet<u64>>,
    /// The state has all that is known to be committed: the node was ended in order.
    pub is_current: bool,
}

/// The state of a group, where this node has it.
///
/// # Errors
/// A table that cannot be read.
pub fn state(group: GroupId, engine: &dyn Engine) -> Result<Option<Arc<dyn Table>>, StoreError> {
    engine.inspect(&state_table(group), Role::State)
}

/// Looks at it and changes nothing. None where it has nothing.
///
/// # Errors
/// Records that cannot be read.
pub fn look(
    group: GroupId,
    engine: &dyn Engine,
    records: &dyn Table,
) -> Result<Option<Stored>, StoreError> {
    let Some(state) = state(group, engine)? else { return Ok(None) };
    let is_installing = state.get(&keys::state::installing())?.is_some();
    let install::Found { applied, membership, .. } = install::found(&*state)?;
    let Some(last) = log_store::last(group, records)?.max(applied) else { return Ok(None) };
    let last = At { term: last.leader_id.term, index: last.index };
    let committed = log_store::read(records, &log::committed(group), codec::decode_log_id)?;
    let is_current = !is_installing && applied >= committed.flatten();
    let from = applied.map_or(0, |id| id.index + 1);
    let halves = match last_halves(group, from, records)? {
        Some(halves) => halves,
        None => membership.membership().get_joint_config().clone(),
    };
    Ok(Some(Stored { state, last, halves, is_current }))
}

/// The voters of the last configuration in the log from an entry on.
fn last_halves(
    group: GroupId,
    from: u64,
    records: &dyn Table,
) -> Result<Option<Vec<BTreeSet<u64>>>, StoreError> {
    let (mut from, until) = (log::entry(group, from), log::entries_end(group));
    let mut halves = None;
    loop {
        let page = records.page(&from, &until, usize::MAX, PAGE_BYTES)?;
        let Some((last, _)) = page.last() else { return Ok(halves) };
        from.clone_from(last);
        from.push(0);
        for (key, value) in &page {
            let entry = log_store::decode(key, value, codec::decode_entry)?;
            if let EntryPayload::Membership(found) = entry.payload {
                halves = Some(found.get_joint_config().clone());
            }
        }
    }
}

/// Whether this was begun and did not come to its end.
///
/// # Errors
/// A disk that fails.
pub fn is_cut_short(records: &dyn Table) -> Result<bool, StoreError> {
    let (from, until) = log::alone_range();
    Ok(!records.scan(&from, &until, 1)?.is_empty())
}

/// Whether the node may start.
///
/// # Errors
/// Where [`is_cut_short`]; a disk that fails.
pub fn check(records: &dyn Table) -> Result<(), StoreError> {
    if is_cut_short(records)? { Err(StoreError::CutShort("recover")) } else { Ok(()) }
}

/// The last term in which this node has voted.
fn voted(group: GroupId, records: &dyn Table) -> Result<u64, StoreError> {
    let vote = log_store::read(records, &log::vote(group), codec::decode_vote)?;
    Ok(vote.map_or(0, |vote: Vote| vote.leader_id.term))
}

/// Has a node alone vote in a group from the end of its log on.
///
/// # Errors
/// A disk that fails.
pub async fn vote_alone(
    group: GroupId,
    node: u64,
    last: At,
    records: &dyn Table,
) -> Result<(), StoreError> {
    let last = LogId::new(CommittedLeaderId::new(last.term), last.index);
    let term = voted(group, records)?.max(last.leader_id.term).saturating_add(1);
    let id = LogId::new(CommittedLeaderId::new(term), last.index.saturating_add(1));
    let entry = Entry { log_id: id, payload: EntryPayload::Membership(alone(node)) };
    let mut batch = Batch::default();
    if log_store::last(group, records)? < Some(last) {
        // The state is ahead of the log, of which nothing is wanted then.
        batch.delete_range(log::entry(group, 0), log::entries_end(group));
        batch.put(log::purged(group), codec::encode_log_id(Some(&last)));
        batch.put(log::committed(group), codec::encode_log_id(Some(&last)));
    }
    batch.put(log::alone(group), []);
    batch.put(log::entry(group, id.index), codec::encode_entry(&entry));
    batch.put(log::vote(group), codec::encode_vote(&Vote::new(term, node)));
    records.write(batch)?;
    records.sync().await
}

/// Has a group that a node alone has run to its end begin again far behind that; where it was. `mend` changes the state
/// before.
///
/// # Errors
/// A state that has nothing applied; a disk that fails.
pub async fn begin_again(
    group: GroupId,
    node: u64,
    (engine, records): (&dyn Engine, &dyn Table),
    mend: impl FnOnce(&dyn Table) -> Result<(), StoreError>,
) -> Result<At, StoreError> {
    let table = &*engine.open(&state_table(group), Role::State)?;
    mend(table)?;
    let applied = install::found(table)?.applied.ok_or_else(|| StoreError::Corrupt {
        table: state_table(group),
        record: "applied".into(),
        fact: "nothing is applied".into(),
    })?;
    let at = At { term: voted(group, records)?.max(applied.leader_id.term), index: applied.index };
    begin_at(group, table, at.far_behind(), node, records).await?;
    Ok(at)
}
