//! Which tickets of a shard have not ended: what is looked at again and again need not go through all that ever were.
//!
//! Every replica knows it by the rows that it is shown: those that are there at its start and come with a snapshot or a
//! slot, and each that is written. It is in memory alone, 40 bytes or so for each open ticket.
//!
//! **Invariants:** a ticket that has not ended is here from before its row can be asked for by whoever was told of it,
//! but for the while in which a snapshot's rows are shown, when all rows are read instead; one that is here may have ended
//! or moved since, so whoever looks reads its row. **Not here:** the rows
//! (`journal`), who looks (`auditor`, `web`).

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fieldmesh_domain::{EntityId, EntityKind, IndexRow, effect::RowKey};

use fieldmesh_actors::seams::JournalError;

use crate::journal::ShardJournal;

/// Tickets that are read together.
const PAGE: usize = 256;

/// The open tickets of a shard.
#[derive(Debug, Default)]
pub(crate) struct OpenTickets {
    ids: Mutex<BTreeSet<EntityId>>,
    /// Rows were put in place of others, and not all of them are shown yet.
    is_filling: Arc<AtomicBool>,
}

fn is_open(row: &IndexRow) -> bool {
    matches!(row, IndexRow::Ticket { state, .. } if !state.is_final())
}

impl OpenTickets {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<EntityId>> {
        // Each change is one insertion or removal.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether rows take the place of others, for whoever puts them there.
    pub(crate) fn filling(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_filling)
    }

    fn is_filling(&self) -> bool {
        self.is_filling.load(Ordering::Acquire)
    }

    /// Takes in rows as they are in the table by now.
    pub(crate) fn applied(&self, rows: &[IndexRow]) {
        let tickets = rows.iter().filter_map(|row| match row {
            IndexRow::Ticket { id, state, .. } => Some((*id, state.is_final())),
            _ => None,
        });
        let mut open = self.lock();
        for (id, has_ended) in tickets {
            if has_ended {
                open.remove(&id);
            } else {
                open.insert(id);
            }
        }
    }

    pub(crate) fn has(&self, id: EntityId) -> bool {
        self.lock().contains(&id)
    }

    /// The next ones behind a ticket, by their identifiers.
    pub(crate) fn behind(&self, after: Option<EntityId>, limit: usize) -> Vec<EntityId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.lock().range((from, Bound::Unbounded)).take(limit).copied().collect()
    }

    /// The rows of the next ones; fewer than so many are the last.
    ///
    /// # Errors
    /// A failed read.
    pub(crate) fn rows(
        &self,
        journal: &ShardJournal,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<IndexRow>, JournalError> {
        let (mut found, mut at) = (Vec::new(), after);
        while found.len() < limit && !self.is_filling() {
            let ids = self.behind(at, PAGE.min(limit - found.len()));
            let Some(last) = ids.last() else { break };
            at = Some(*last);
            for id in ids {
                let read = || journal.row(&RowKey::entity(EntityKind::Ticket, id));
                found.extend(self.looked_at(id, read)?);
            }
        }
        // Also where that began meanwhile.
        if self.is_filling() { all_rows(journal, after, limit) } else { Ok(found) }
    }

    /// The row of one that is open by what is known, which is known no more where it is not.
    fn looked_at(
        &self,
        id: EntityId,
        read: impl Fn() -> Result<Option<IndexRow>, JournalError>,
    ) -> Result<Option<IndexRow>, JournalError> {
        if let Some(row) = read()?.filter(is_open) {
            return Ok(Some(row));
        }
        self.lock().remove(&id);
        // It may have been written and shown between the two: rows are shown once they are written.
        let row = read()?.filter(is_open);
        if row.is_some() {
            self.lock().insert(id);
        }
        Ok(row)
    }
}

/// The same by all rows that there are.
fn all_rows(
    journal: &ShardJournal,
    after: Option<EntityId>,
    limit: usize,
) -> Result<Vec<IndexRow>, JournalError> {
    let (mut found, mut after) = (Vec::new(), after);
    while found.len() < limit {
        let rows = journal.index(EntityKind::Ticket, after, PAGE)?;
        let is_last = rows.len() < PAGE;
        after = rows.last().map(IndexRow::id);
        found.extend(rows.into_iter().filter(is_open).take(limit - found.len()));
        if is_last {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{ticket::Stage, time::Millis};

    use super::*;

    fn row(number: u8, state: Stage) -> IndexRow {
        IndexRow::Ticket {
            id: EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [number; 10]),
            state,
            priority: 3,
            opened_at: Millis(1),
            technician: None,
            standing: None,
            counted: None,
        }
    }

    #[test]
    fn what_has_ended_is_not_open_until_it_is_reopened() {
        let open = OpenTickets::default();
        let first = row(1, Stage::Matching);
        open.applied(&[first.clone(), row(2, Stage::Closed), row(3, Stage::Held)]);
        let both: BTreeSet<EntityId> = [first.id(), row(3, Stage::Held).id()].into();
        assert!(open.behind(None, 9).iter().eq(&both));
        let [low, high] = [both.first(), both.last()].map(|id| *id.unwrap());
        assert_eq!((open.behind(None, 1), open.behind(Some(low), 9)), (vec![low], vec![high]));
        open.applied(&[row(1, Stage::Cancelled), row(3, Stage::Closed)]);
        assert!(open.behind(None, 9).is_empty() && !open.has(first.id()));
        open.applied(std::slice::from_ref(&first));
        assert!(open.has(first.id()));
    }

    #[test]
    fn one_that_has_ended_unseen_is_known_no_more_and_one_that_was_reopened_meanwhile_is() {
        let open = OpenTickets::default();
        let (first, second) = (row(1, Stage::Matching), row(2, Stage::Matching));
        open.applied(&[first.clone(), second.clone()]);
        let seen = open.looked_at(first.id(), || Ok(Some(first.clone()))).unwrap();
        assert!(seen.is_some() && open.has(first.id()));
        for gone in [None, Some(row(1, Stage::Closed))] {
            open.applied(std::slice::from_ref(&first));
            assert_eq!(open.looked_at(first.id(), || Ok(gone.clone())).unwrap(), None);
            assert!(!open.has(first.id()) && open.has(second.id()));
        }
        // Its row is written, and shown, between two looks.
        let looks = std::cell::Cell::new(0);
        let read = || {
            looks.set(looks.get() + 1);
            Ok((looks.get() > 1).then(|| second.clone()))
        };
        assert_eq!(open.looked_at(second.id(), read).unwrap(), Some(second.clone()));
        assert!(open.has(second.id()));
    }
}
