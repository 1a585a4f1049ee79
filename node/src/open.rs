//! Which tickets of a shard have not ended: what is looked at again and again need not go through all that ever were.
//!
//! Every replica knows it by the rows that it is shown: those that are there at its start and come with a snapshot or a
//! slot, and each that is written. It is in memory alone, 40 bytes or so for each open ticket.
//!
//! **Invariants:** a ticket that has not ended is here from before its row can be asked for by whoever was told of it;
//! one that is here may have ended or moved since, so whoever looks reads its row. **Not here:** the rows
//! (`journal`), who looks (`auditor`, `web`).

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fieldmesh_domain::{EntityId, EntityKind, IndexRow, effect::RowKey};

use fieldmesh_actors::seams::JournalError;

use crate::journal::ShardJournal;

/// Tickets that are read together.
const PAGE: usize = 256;

/// The open tickets of a shard.
#[derive(Debug, Default)]
pub(crate) struct OpenTickets(Mutex<BTreeSet<EntityId>>);

impl OpenTickets {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<EntityId>> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (mut found, mut after) = (Vec::new(), after);
        while found.len() < limit {
            let ids = self.behind(after, PAGE.min(limit - found.len()));
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            for id in ids {
                found.extend(journal.row(&RowKey::entity(EntityKind::Ticket, id))?);
            }
        }
        Ok(found)
    }
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
}
