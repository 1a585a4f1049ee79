//! A snapshot put in the place of a group's state, so that a crash at any moment leaves one or the other.
//!
//! The snapshot lies whole and synced in a table of its own before the state is touched. From then on
//! until all is copied a mark stands in the state, and a start that finds it copies again.
//!
//! **Invariant:** a state with the mark is never read as a state. The snapshot's table must stay as it is
//! while the mark stands: whoever fills it sees to that. **Not here:** how a snapshot comes
//! here (`transfer`), when openraft wants it (`machine`).

use std::sync::Arc;

use super::{LogId, StoredMembership, codec};
use crate::store::{Batch, Engine, Role, StoreError, Table, keys::GroupId, keys::state, rows};

/// Rows copied per batch.
const PAGE: usize = 1024;

/// Where a group's snapshot lies while it arrives and until it is installed.
pub fn arriving_table(group: GroupId) -> String {
    format!("arriving-{group}")
}

/// Replaces the state by a snapshot that is synced already.
///
/// # Errors
/// Rows that cannot be read or written; the next start tries again.
pub async fn replace(table: &dyn Table, snapshot: &dyn Table) -> Result<(), StoreError> {
    let mut mark = Batch::default();
    mark.put(state::installing(), []);
    table.write(mark)?;
    table.sync().await?;
    copy(table, snapshot).await
}

/// Ends an installation that a crash cut short.
///
/// # Errors
/// As [`replace`]; a snapshot that is not there.
pub async fn resume(
    group: GroupId,
    engine: &dyn Engine,
    table: &dyn Table,
) -> Result<(), StoreError> {
    if table.get(&state::installing())?.is_none() {
        return Ok(());
    }
    tracing::warn!(
        group,
        "a snapshot was being installed when the node ended: it is installed again"
    );
    copy(table, &*arrived(group, engine)?).await
}

fn arrived(group: GroupId, engine: &dyn Engine) -> Result<Arc<dyn Table>, StoreError> {
    let name = arriving_table(group);
    engine.inspect(&name, Role::State)?.ok_or_else(|| StoreError::Corrupt {
        table: name,
        record: "all".into(),
        fact: "the state waits for a snapshot that is not here".into(),
    })
}

/// What a state says of itself: how far it has come, with whom, and up to where by a snapshot.
pub struct Found {
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    pub installed: Option<u64>,
}

/// How far a group will have come once it has started. Changes nothing.
///
/// # Errors
/// Records that cannot be read.
pub fn foresee(
    group: GroupId,
    engine: &dyn Engine,
    table: &dyn Table,
) -> Result<Found, StoreError> {
    if table.get(&state::installing())?.is_none() {
        return found(table);
    }
    let found = found(&*arrived(group, engine)?)?;
    Ok(Found { installed: found.applied.map(|id| id.index), ..found })
}

/// # Errors
/// Records that do not decode.
pub fn found(table: &dyn Table) -> Result<Found, StoreError> {
    let (applied, membership) = match table.get(&state::applied())? {
        Some(value) => codec::decode_applied(&value).map_err(|error| StoreError::Corrupt {
            table: "state".into(),
            record: "applied".into(),
            fact: error.to_string(),
        })?,
        None => Default::default(),
    };
    let installed = rows::read_u64(table, &state::installed())?;
    Ok(Found { applied, membership, installed })
}

async fn copy(table: &dyn Table, snapshot: &dyn Table) -> Result<(), StoreError> {
    let (mark, end) = (state::installing(), vec![u8::MAX]);
    let behind = [&mark[..], &[0]].concat();
    let mut clear = Batch::default();
    clear.delete_range([], mark.clone());
    clear.delete_range(behind, end.clone());
    table.write(clear)?;
    let mut from = Vec::new();
    loop {
        let page = snapshot.scan(&from, &end, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        from.clone_from(last);
        from.push(0);
        let mut batch = Batch::default();
        for (key, value) in page.into_iter().filter(|(key, _)| *key != mark) {
            batch.put(key, value);
        }
        table.write(batch)?;
    }
    let mut end = Batch::default();
    match found(snapshot)?.applied {
        Some(applied) => end.put(state::installed(), applied.index.to_be_bytes()),
        None => end.delete(state::installed()),
    }
    end.delete(mark);
    table.write(end)?;
    table.sync().await
}
