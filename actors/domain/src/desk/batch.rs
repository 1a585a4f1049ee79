//! Tickets and technicians of one batch: as many as possible, the more urgent first, and of those ways the
//! one that costs least in all.
//!
//! A technician with room for two is two columns, the second dearer by the work in front of it. Each ticket
//! has columns of its own that stand for nobody: to leave one out costs more the earlier it comes, and the last one
//! more than all ways. How much more makes no difference: sets of tickets that can be served together are such that
//! whoever comes later gets nothing that one before it could have.
//!
//! **Invariants:** nobody gets a technician that is out of the question for it, and no technician more than
//! it has room for; nobody is left out for one that comes later; the same input gives the same result.
//! **Not here:** what a pair costs (`selection`), the search for the cheapest way (`assignment`).

use std::collections::BTreeMap;

use crate::{
    assignment::{Costs, SIDE_MAX, assign},
    ids::EntityId,
    selection::{Candidate, LOAD_S},
};

/// Tickets that are matched together: their step is one entry of the log, of a fifth of a megabyte.
pub const BATCH_MAX: usize = 128;
/// Technicians that are looked at for each ticket: those of a whole batch fit into one table. Where more than
/// so many tickets compete for the same ones, whoever is left over gets the next best.
pub const OPTIONS_MAX: usize = 30;
/// Seconds that a way counts for at most: four months.
const WAY_MAX_S: u64 = 10_000_000;

/// A ticket of a batch: rows come in the order in which tickets are to be served.
#[derive(Debug, Clone)]
pub struct Row {
    /// The cheapest that fit.
    pub options: Vec<Candidate>,
}

/// What it costs to leave a ticket without anybody that so many come after.
pub fn absence_cost(after: usize) -> u64 {
    WAY_MAX_S * (BATCH_MAX as u64 + 1) * (after.min(BATCH_MAX) as u64 + 1)
}

/// What a way costs with so many others before it.
pub fn way_cost(candidate: &Candidate, ahead: u16) -> u64 {
    (u64::from(candidate.cost_s()) + u64::from(LOAD_S) * u64::from(ahead)).min(WAY_MAX_S)
}

/// Who gets whom; none for a ticket that is left out. `room` says how many more a technician may hold.
pub fn match_all(rows: &[Row], room: impl Fn(EntityId) -> u16) -> Vec<Option<EntityId>> {
    let named = rows.iter().flat_map(|row| &row.options).map(|option| option.technician);
    let mut technicians: BTreeMap<EntityId, u16> = named.map(|one| (one, room(one))).collect();
    // Nobody needs more places than there are tickets, and all places must fit into the table.
    let fitting = SIDE_MAX.saturating_sub(rows.len()) / technicians.len().max(1);
    let most = u16::try_from(rows.len().min(fitting)).unwrap_or(u16::MAX);
    technicians.values_mut().for_each(|room| *room = most.min(*room));
    let places = technicians.iter().flat_map(|(id, room)| (0..*room).map(|ahead| (*id, ahead)));
    let places: Vec<(EntityId, u16)> = places.collect();
    let ways: Vec<BTreeMap<EntityId, &Candidate>> = rows
        .iter()
        .map(|row| row.options.iter().map(|option| (option.technician, option)).collect())
        .collect();
    let costs = Costs::new(rows.len(), places.len() + rows.len(), |row, column| {
        let Some((technician, ahead)) = places.get(column) else {
            return Some(absence_cost(rows.len() - row - 1));
        };
        ways[row].get(technician).map(|candidate| way_cost(candidate, *ahead))
    });
    // It is not larger: the places were cut to what fits.
    let Ok(costs) = costs else { return vec![None; rows.len()] };
    let place = |column: Option<usize>| places.get(column?).map(|(technician, _)| *technician);
    assign(&costs).into_iter().map(place).collect()
}
