//! Everything that a backup's groups hold, read and replayed.
//!
//! Each entity's history must be one whole hash chain that ends at its head; replayed from its first event
//! it must give the state that a node would load, and the rows that lists read; what the groups told each
//! other must fit together. **Invariant:** nothing is changed. **Not here:** running the groups (`trial`).

use std::collections::BTreeMap;

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{
    Aggregate, Effect, EntityId, EntityKind, IndexRow, attachment::Attachment,
    authority::Authority, customer::Customer, desk::Desk, integration::Integration,
    notifier::Notifier, placement::Placement, registration::Registration, technician::Technician,
    ticket::Ticket,
};
use serde::Serialize;

use super::{
    cut::{Edges, each_row, misfits},
    trial::Trial,
};
use crate::{
    consensus::Group,
    journal::ShardJournal,
    store::{
        StoreError,
        keys::state,
        rows::{self, Head},
    },
};

/// Steps read at once.
const PAGE_STEPS: usize = 256;
/// Faults that are told in words: what is wrong is seen from the first ones.
const FAULTS_TOLD: usize = 20;

/// What was found in a group.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GroupReport {
    pub group: u32,
    pub entities: u64,
    pub events: u64,
    /// Entities whose key was destroyed: they cannot be read by anybody.
    pub erased: u64,
    /// Rows that lists read.
    pub listed: u64,
    /// Rows on their way to other entities.
    pub waiting: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub groups: Vec<GroupReport>,
    /// How many faults there are, and the first of them.
    pub faults: u64,
    pub told: Vec<String>,
}

impl Report {
    fn fault(&mut self, text: impl std::fmt::Display) {
        self.faults += 1;
        if self.told.len() < FAULTS_TOLD {
            self.told.push(text.to_string());
        }
    }
}

/// Reads and replays all groups.
///
/// # Errors
/// A disk that cannot be read; what is wrong with what it holds is in the report.
pub fn check(trial: &Trial, tell: impl Fn(&GroupReport)) -> Result<Report, StoreError> {
    let (mut report, mut edges) = (Report::default(), Vec::new());
    for (group, journal) in &trial.groups {
        let own = Edges::of(group.group, &*group.table())?;
        let mut found = check_group(group, journal, &mut report)?;
        found.waiting = own.waiting() as u64;
        edges.push(own);
        tell(&found);
        report.groups.push(found);
    }
    misfits(&edges).into_iter().for_each(|misfit| report.fault(misfit));
    Ok(report)
}

fn check_group(
    group: &Group,
    journal: &ShardJournal,
    report: &mut Report,
) -> Result<GroupReport, StoreError> {
    let (number, table) = (group.group, group.table());
    let mut found = GroupReport { group: number, ..GroupReport::default() };
    each_row(&*table, state::head_range(), |key, value| {
        let head: Head = rows::decode(key, value)?;
        let id = key.get(1..).and_then(|id| id.try_into().ok());
        let Some(Ok(id)) = id.map(EntityId::from_bytes) else {
            report.fault(format_args!("group {number}: {} is no entity", rows::name(key)));
            return Ok(());
        };
        found.entities += 1;
        match replayed(journal, id, &head) {
            Ok(events) => found.events += events,
            Err(Fault::Journal(JournalError::Erased { .. })) => found.erased += 1,
            Err(fault) => report.fault(format_args!("group {number}: {id}: {fault}")),
        }
        Ok(())
    })?;
    each_row(&*table, state::indexes(), |key, value| {
        found.listed += 1;
        let row: IndexRow = rows::decode(key, value)?;
        let is_whose = table.get(&state::head(&row.id().to_bytes()))?.is_some();
        if state::index(&row.key()) != key || !is_whose {
            report.fault(format_args!("group {number}: row {} is nobody's", rows::name(key)));
        }
        Ok(())
    })?;
    Ok(found)
}

/// What is wrong with an entity.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("an event before version {0} does not decode")]
    Event(u64),
    #[error("the hash chain breaks at version {0}")]
    Chain(u64),
    #[error("the history ends at version {found}, the head says {wanted}")]
    End { found: u64, wanted: u64 },
    #[error("its events do not lead to its state")]
    State,
    #[error("a row that lists read is not as its events leave it")]
    Row,
}

/// Replays an entity; how many events it has.
fn replayed(journal: &ShardJournal, id: EntityId, head: &Head) -> Result<u64, Fault> {
    match id.kind() {
        EntityKind::Customer => replay::<Customer>(journal, id, head),
        EntityKind::Technician => replay::<Technician>(journal, id, head),
        EntityKind::Ticket => replay::<Ticket>(journal, id, head),
        EntityKind::Desk => replay::<Desk>(journal, id, head),
        EntityKind::Registration => replay::<Registration>(journal, id, head),
        EntityKind::Authority => replay::<Authority>(journal, id, head),
        EntityKind::Placement => replay::<Placement>(journal, id, head),
        EntityKind::Notifier => replay::<Notifier>(journal, id, head),
        EntityKind::Integration => replay::<Integration>(journal, id, head),
        EntityKind::Attachment => replay::<Attachment>(journal, id, head),
    }
}

fn replay<A: Aggregate>(journal: &ShardJournal, id: EntityId, head: &Head) -> Result<u64, Fault> {
    let (mut state, mut version, mut chain) = (A::default(), 0, [0; 32]);
    let mut listed: BTreeMap<Vec<u8>, IndexRow> = BTreeMap::new();
    while version < head.version {
        let page = journal.history_page(id, version, PAGE_STEPS)?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            if entry.record.previous != chain || entry.version != version {
                return Err(Fault::Chain(version));
            }
            chain = entry.chain;
            for bytes in &entry.record.events {
                version += 1;
                let event = minicbor::decode(bytes).map_err(|_| Fault::Event(version))?;
                state.evolve(&event);
                for effect in state.react(&event, id) {
                    if let Effect::Index(row) = effect {
                        listed.insert(state::index(&row.key()), row);
                    }
                }
            }
        }
    }
    if version != head.version || chain != head.chain {
        return Err(Fault::End { found: version, wanted: head.version });
    }
    if journal.state::<A>(id)? != state {
        return Err(Fault::State);
    }
    for row in listed.into_values() {
        let stored = journal.row(&row.key())?;
        // What two entities list under one name is the later one's.
        let is_others = stored.as_ref().is_some_and(|stored| stored.id() != id);
        let wanted = Some(row).filter(|row| !matches!(row, IndexRow::Gone { .. }));
        if !is_others && stored != wanted {
            return Err(Fault::Row);
        }
    }
    Ok(version)
}
