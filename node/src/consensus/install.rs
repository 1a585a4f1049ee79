//! A snapshot put in the place of a group's state, so that a crash at any moment leaves one or the other.
//!
//! The snapshot lies whole and synced in a table of its own before the state is touched. From then on
//! until all is copied a mark stands in the state, and a start that finds it copies again.
//!
//! **Invariants:** a state with the mark is never read as a state; a table that does not say of itself
//! that it is whole is not copied after a crash. The snapshot's table must stay as it is while the mark
//! stands: whoever fills it sees to that. **Not here:** how a snapshot comes here (`transfer`), when
//! openraft wants it (`machine`).

use std::sync::Arc;

use tokio::task::yield_now;

use super::{LogId, StoredMembership, codec};
use crate::store::{Batch, Engine, Role, StoreError, Table, keys::GroupId, keys::state, rows};

/// Rows copied per batch, and about their bytes: a batch is held in memory twice.
const PAGE: usize = 1024;
const PAGE_BYTES: usize = 1 << 20;

/// Where a group's snapshot lies while it arrives and until it is installed.
pub fn arriving_table(group: GroupId) -> String {
    format!("arriving-{group}")
}

/// Says of a snapshot that all its rows have arrived, and makes them durable.
///
/// # Errors
/// A row that cannot be written.
pub async fn seal(snapshot: &dyn Table, rows: u64) -> Result<(), StoreError> {
    // The last that is written, so it is never there without the others.
    let mut batch = Batch::default();
    batch.put(state::whole(), rows.to_be_bytes());
    snapshot.write(batch)?;
    snapshot.sync().await
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

/// Ends an installation that a crash cut short, and discards what arrived and is not needed.
///
/// # Errors
/// As [`replace`]; a snapshot that is not there.
pub async fn resume(
    group: GroupId,
    engine: &dyn Engine,
    table: &dyn Table,
) -> Result<(), StoreError> {
    if table.get(&state::installing())?.is_some() {
        tracing::warn!(
            group,
            "a snapshot was being installed when the node ended: it is installed again"
        );
        copy(table, &*arrived(group, engine)?).await?;
    }
    engine.discard(&arriving_table(group))
}

fn arrived(group: GroupId, engine: &dyn Engine) -> Result<Arc<dyn Table>, StoreError> {
    let name = arriving_table(group);
    let found = engine.inspect(&name, Role::State)?;
    let corrupt =
        |fact: &str| StoreError::Corrupt { table: name, record: "all".into(), fact: fact.into() };
    let Some(snapshot) = found else {
        return Err(corrupt("the state waits for a snapshot that is not here"));
    };
    if snapshot.get(&state::whole())?.is_none() {
        return Err(corrupt("the state waits for this snapshot, which is not whole"));
    }
    Ok(snapshot)
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
    let (mark, whole, end) = (state::installing(), state::whole(), vec![u8::MAX]);
    let behind = [&mark[..], &[0]].concat();
    let mut clear = Batch::default();
    clear.delete_range([], mark.clone());
    clear.delete_range(behind, end.clone());
    table.write(clear)?;
    let (mut from, mut copied) = (Vec::new(), 0);
    loop {
        let page = snapshot.page(&from, &end, PAGE, PAGE_BYTES)?;
        let Some((last, _)) = page.last() else { break };
        from.clone_from(last);
        from.push(0);
        let mut batch = Batch::default();
        for (key, value) in page.into_iter().filter(|(key, _)| *key != mark && *key != whole) {
            batch.put(key, value);
        }
        copied += batch.ops.len() as u64;
        table.write(batch)?;
        // Others on this thread go on between two pages.
        yield_now().await;
    }
    if let Some(stated) = rows::read_u64(snapshot, &whole)?.filter(|stated| *stated != copied) {
        return Err(StoreError::Corrupt {
            table: "arriving".into(),
            record: "all".into(),
            fact: format!("the snapshot came with {stated} rows and has {copied}"),
        });
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
