//! Which waiting ticket is offered to which technician.
//!
//! Priority 1 is offered at once. The rest is offered at once where technicians are ample, each to
//! whoever costs least; where they are not, all together, so that the total cost is least and as many
//! as possible are offered, the more urgent first. On straight-line distances of 732 places the
//! batch was 4 to 5 % cheaper than greedy with four technicians to a ticket, 28 % with about as many
//! technicians as tickets: it pays where supply is tight.
//!
//! **Invariants:** accepted and pinned work is never moved; an offer is displaced only by priority 1,
//! and never one of priority 1; nobody gets more than its capacity. **Not here:** what a pair costs and
//! which are excluded, which the caller's function says; how long a batch is collected.

mod assignment;

pub use assignment::{AssignError, Costs, SIDE_MAX, assign};

use std::collections::BTreeSet;

/// What cannot wait, and may take an offer from a technician.
pub const MOST_URGENT: u8 = 1;
/// Technicians for each ticket that make supply ample: there greedy loses less than the wait for a
/// batch costs.
pub const AMPLE: usize = 2;

/// Tickets that are matched together: with as many technicians that takes some 50 ms. Of more the most
/// urgent go first.
pub const BATCH_MAX: usize = 1024;

/// A ticket that is to be offered, by the number that the caller gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub ticket: u64,
    /// 1 is the most urgent.
    pub priority: u8,
}

/// How firmly a technician holds a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Not yet answered.
    Offered,
    Accepted,
    /// A person decided so; whatever its state, it stays.
    Pinned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub ticket: u64,
    pub priority: u8,
    pub hold: Hold,
}

/// A technician on shift with what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub capacity: u16,
    pub held: Vec<Held>,
}

/// How offers were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    AtOnce,
    Batched,
}

/// A ticket and a technician, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub ticket: u64,
    pub technician: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How all but priority 1 was chosen.
    pub mode: Mode,
    /// Offers to withdraw first; the ticket is offered anew or is among the unmatched.
    pub displaced: Vec<Pair>,
    pub offers: Vec<Pair>,
    /// Nobody is free, or nobody is possible.
    pub unmatched: Vec<u64>,
}

/// The stated rule, for everything but priority 1, which never waits for a batch.
pub fn mode(waiting: usize, eligible: usize) -> Mode {
    if eligible >= waiting.saturating_mul(AMPLE) { Mode::AtOnce } else { Mode::Batched }
}

/// Chooses offers for tickets in the order of their arrival.
///
/// `cost` says what a ticket costs with a technician that has so many others before it; none if it
/// is out of the question. Ties go to the earlier technician.
pub fn match_waiting(
    waiting: &[Waiting],
    holders: &[Holder],
    cost: impl Fn(u64, usize, u16) -> Option<u32>,
) -> Outcome {
    let mut board =
        Board { holders: holders.to_vec(), cost, displaced: Vec::new(), offers: Vec::new() };
    let mut unmatched = Vec::new();
    let (urgent, mut rest): (Vec<Waiting>, Vec<Waiting>) =
        waiting.iter().partition(|waiting| waiting.priority == MOST_URGENT);
    for one in urgent {
        let Some(technician) = board.free_for(one).or_else(|| board.displace_for(one)) else {
            unmatched.push(one.ticket);
            continue;
        };
        board.offer(one, technician);
    }
    let displaced = board.displaced.iter();
    rest.extend(
        displaced.map(|(pair, priority)| Waiting { ticket: pair.ticket, priority: *priority }),
    );
    rest.sort_by_key(|waiting| waiting.priority);
    let mode = mode(rest.len(), board.eligible(&rest));
    match mode {
        Mode::AtOnce => unmatched.extend(board.at_once(&rest)),
        Mode::Batched => {
            for batch in rest.chunks(BATCH_MAX) {
                unmatched.extend(board.batch(batch));
            }
        }
    }
    let displaced = board.displaced.into_iter().map(|(pair, _)| pair).collect();
    Outcome { mode, displaced, offers: board.offers, unmatched }
}

struct Board<F> {
    holders: Vec<Holder>,
    cost: F,
    /// Withdrawn offers with the tickets' priorities.
    displaced: Vec<(Pair, u8)>,
    offers: Vec<Pair>,
}

impl Holder {
    fn load(&self) -> u16 {
        u16::try_from(self.held.len()).unwrap_or(u16::MAX)
    }

    fn free(&self) -> u16 {
        self.capacity.saturating_sub(self.load())
    }

    /// Which holding may be displaced first: the least urgent, of those the latest.
    fn displaceable(&self) -> Option<usize> {
        let movable = |held: &Held| held.hold == Hold::Offered && held.priority > MOST_URGENT;
        let candidates = self.held.iter().enumerate().filter(|(_, held)| movable(held));
        candidates.max_by_key(|(_, held)| held.priority).map(|(index, _)| index)
    }
}

impl<F: Fn(u64, usize, u16) -> Option<u32>> Board<F> {
    /// The free technician that costs least.
    fn free_for(&self, waiting: Waiting) -> Option<usize> {
        let free = self.holders.iter().enumerate().filter(|(_, holder)| holder.free() > 0);
        let costs = free.filter_map(|(technician, holder)| {
            Some(((self.cost)(waiting.ticket, technician, holder.load())?, technician))
        });
        costs.min().map(|(_, technician)| technician)
    }

    /// The technician that costs least of those whose offer may be withdrawn, which is done.
    fn displace_for(&mut self, waiting: Waiting) -> Option<usize> {
        let costs = self.holders.iter().enumerate().filter_map(|(technician, holder)| {
            let index = holder.displaceable()?;
            let ahead = holder.load().saturating_sub(1);
            Some(((self.cost)(waiting.ticket, technician, ahead)?, technician, index))
        });
        let (_, technician, index) = costs.min()?;
        let Held { ticket, priority, .. } = self.holders[technician].held.remove(index);
        self.displaced.push((Pair { ticket, technician }, priority));
        Some(technician)
    }

    fn offer(&mut self, Waiting { ticket, priority }: Waiting, technician: usize) {
        // It holds for the rest of this round: what was just offered is not displaced.
        self.holders[technician].held.push(Held { ticket, priority, hold: Hold::Pinned });
        self.offers.push(Pair { ticket, technician });
    }

    /// How many free technicians are possible for some of the tickets.
    fn eligible(&self, waiting: &[Waiting]) -> usize {
        let is_possible = |(technician, holder): &(usize, &Holder)| {
            let possible = |one: &Waiting| (self.cost)(one.ticket, *technician, holder.load());
            holder.free() > 0 && waiting.iter().any(|one| possible(one).is_some())
        };
        self.holders.iter().enumerate().filter(is_possible).count()
    }

    /// Offers one after the other; the tickets that nobody gets.
    fn at_once(&mut self, waiting: &[Waiting]) -> Vec<u64> {
        let mut left = Vec::new();
        for one in waiting {
            match self.free_for(*one) {
                Some(technician) => self.offer(*one, technician),
                None => left.push(one.ticket),
            }
        }
        left
    }

    /// Offers all together, the most urgent first in `waiting`; the tickets that nobody gets.
    fn batch(&mut self, waiting: &[Waiting]) -> Vec<u64> {
        // Each free place is a column; nobody needs more of them than there are tickets.
        let places = |(technician, holder): (usize, &Holder)| {
            let most = u16::try_from(waiting.len()).unwrap_or(u16::MAX);
            let load = holder.load();
            (0..holder.free().min(most)).map(move |place| (technician, load + place))
        };
        let columns: Vec<(usize, u16)> = self.holders.iter().enumerate().flat_map(places).collect();
        let costs_of = |rows: &[Waiting]| {
            Costs::new(rows.len(), columns.len(), |row, column| {
                let (technician, ahead) = columns[column];
                (self.cost)(rows[row].ticket, technician, ahead)
            })
        };
        // With more free technicians than a table takes, that no batch is made costs little.
        let Ok(costs) = costs_of(waiting) else { return self.at_once(waiting) };
        let mut rows = waiting.to_vec();
        let mut assigned = assign(&costs);
        if assigned.contains(&None) {
            // As many are served as can be; which ones is decided by urgency before cost.
            let served = assignment::first_rows(&costs);
            rows.retain({
                let mut row = 0..;
                move |_| row.next().is_some_and(|row| served.contains(&row))
            });
            let Ok(costs) = costs_of(&rows) else { return self.at_once(waiting) };
            assigned = assign(&costs);
        }
        let chosen: Vec<(Waiting, usize)> = rows
            .iter()
            .zip(&assigned)
            .filter_map(|(one, column)| Some((*one, columns[(*column)?].0)))
            .collect();
        for (one, technician) in &chosen {
            self.offer(*one, *technician);
        }
        let offered: BTreeSet<u64> = chosen.iter().map(|(one, _)| one.ticket).collect();
        let left = waiting.iter().filter(|one| !offered.contains(&one.ticket));
        left.map(|one| one.ticket).collect()
    }
}
