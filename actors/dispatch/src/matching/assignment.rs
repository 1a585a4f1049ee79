//! The assignment problem: rows to columns, as many as possible, and of those ways the cheapest.
//!
//! By shortest augmenting paths after an augmenting row reduction: Jonker and Volgenant, "A shortest
//! augmenting path algorithm for dense and sparse linear assignment problems", Computing 38 (1987),
//! in whole numbers and for any number of rows and columns. A pair that is not allowed costs more
//! than all that are, so it is used only where nothing else is left, and then dropped.
//!
//! **Invariants:** the result is optimal; the same costs give the same result. **Not here:** what the
//! costs mean, and who goes first when not everybody can be served.

use std::collections::BTreeSet;

/// Rows or columns: the costs are a table in memory, and sums of penalties fit into 64 bits.
pub const SIDE_MAX: usize = 4096;
/// Steps of the row reduction for each row. More hardly find anything; without an end, close costs
/// would be outbid one by one.
const REDUCTIONS: usize = 8;
/// Passes of the row reduction, as in the paper: the second finds room that the first one made.
const PASSES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    #[error("{rows} tickets and {columns} free technicians are more than {SIDE_MAX} at once")]
    TooLarge { rows: usize, columns: usize },
}

/// What each pair costs.
#[derive(Debug, Clone)]
pub struct Costs {
    rows: usize,
    columns: usize,
    /// Row by row; none stands for a pair that is not allowed.
    pairs: Vec<Option<u32>>,
}

impl Costs {
    pub fn new(
        rows: usize,
        columns: usize,
        cost: impl Fn(usize, usize) -> Option<u32>,
    ) -> Result<Self, AssignError> {
        if rows.max(columns) > SIDE_MAX {
            return Err(AssignError::TooLarge { rows, columns });
        }
        let pairs = (0..rows * columns).map(|pair| cost(pair / columns, pair % columns)).collect();
        Ok(Self { rows, columns, pairs })
    }

    pub fn get(&self, row: usize, column: usize) -> Option<u32> {
        self.pairs[row * self.columns + column]
    }
}

/// The column of each row.
pub fn assign(costs: &Costs) -> Vec<Option<usize>> {
    let is_tall = costs.rows > costs.columns;
    let solver = if is_tall {
        Solver::new(costs.columns, costs.rows, |row, column| costs.get(column, row))
    } else {
        Solver::new(costs.rows, costs.columns, |row, column| costs.get(row, column))
    };
    let row_of = solver.solve();
    let mut assigned = vec![None; costs.rows];
    for (column, row) in row_of.into_iter().enumerate() {
        let Some(row) = row else { continue };
        let (row, column) = if is_tall { (column, row) } else { (row, column) };
        assigned[row] = costs.get(row, column).map(|_| column);
    }
    assigned
}

/// At most as many rows as columns; each row gets a column, an allowed one or not.
struct Solver {
    columns: usize,
    costs: Vec<i64>,
    /// The price of each column: zero while nobody has it, then falling.
    price: Vec<i64>,
    row_of: Vec<Option<usize>>,
}

impl Solver {
    fn new(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> Option<u32>) -> Self {
        let pair = |pair: usize| cost(pair / columns, pair % columns);
        let highest = (0..rows * columns).filter_map(pair).max().unwrap_or(0);
        let forbidden = (i64::from(highest) + 1) * rows as i64;
        let costs = (0..rows * columns).map(|one| pair(one).map_or(forbidden, i64::from));
        Self {
            columns,
            costs: costs.collect(),
            price: vec![0; columns],
            row_of: vec![None; columns],
        }
    }

    fn solve(mut self) -> Vec<Option<usize>> {
        let rows = self.costs.len().checked_div(self.columns).unwrap_or(0);
        let mut free: Vec<usize> = (0..rows).rev().collect();
        for _ in 0..PASSES {
            free = self.reduce(free);
        }
        for row in free {
            self.augment(row);
        }
        self.row_of
    }

    fn row(&self, row: usize) -> &[i64] {
        &self.costs[row * self.columns..][..self.columns]
    }

    /// Gives each row its best column and makes that cheaper by what the second best is worse; who
    /// had the column before looks again. The rows that are left without one.
    fn reduce(&mut self, mut free: Vec<usize>) -> Vec<usize> {
        let mut left = Vec::new();
        let mut steps = free.len() * REDUCTIONS;
        while let Some(row) = free.pop() {
            if steps == 0 {
                left.push(row);
                continue;
            }
            steps -= 1;
            let ((first, best), (second, next)) = self.two_best(row);
            let gain = next - best;
            // Of two equally good columns a free one hurts nobody.
            let is_other = gain == 0 && self.row_of[first].is_some();
            let column = if is_other { second } else { first };
            self.price[column] -= gain;
            match self.row_of[column].replace(row) {
                None => {}
                Some(before) if gain > 0 => free.push(before),
                Some(before) => left.push(before),
            }
        }
        left
    }

    /// The two columns that cost a row least, with what they cost.
    fn two_best(&self, row: usize) -> ((usize, i64), (usize, i64)) {
        let (mut first, mut second) = ((0, i64::MAX), (0, i64::MAX));
        for (column, (cost, price)) in self.row(row).iter().zip(&self.price).enumerate() {
            let cost = cost - price;
            if cost < second.1 {
                if cost < first.1 {
                    (second, first) = (first, (column, cost));
                } else {
                    second = (column, cost);
                }
            }
        }
        // A single column has no rival: nothing to outbid.
        (first, if second.1 == i64::MAX { first } else { second })
    }

    /// Finds the cheapest way to give a row a column, moving others on the way.
    fn augment(&mut self, start: usize) {
        let mut distance: Vec<i64> =
            self.row(start).iter().zip(&self.price).map(|(cost, price)| cost - price).collect();
        let mut from = vec![start; self.columns];
        // The columns in this order: reached for good, then the rest.
        let mut order: Vec<usize> = (0..self.columns).collect();
        let Some(mut nearest) =
            (0..self.columns).min_by_key(|at| (distance[*at], self.row_of[*at].is_some()))
        else {
            return;
        };
        let mut reached = 0;
        let (end, shortest) = loop {
            let column = order[nearest];
            let shortest = distance[column];
            let Some(row) = self.row_of[column] else { break (column, shortest) };
            order.swap(reached, nearest);
            reached += 1;
            let costs = self.row(row);
            let base = costs[column] - self.price[column] - shortest;
            // A row has a column at hand that nobody has, because there are no fewer columns.
            let mut least = i64::MAX;
            for (at, other) in order.iter().enumerate().skip(reached) {
                let way = costs[*other] - self.price[*other] - base;
                let known = &mut distance[*other];
                if way < *known {
                    *known = way;
                    from[*other] = row;
                }
                // Of equally near columns one that nobody has ends the search.
                let is_nearer = *known < least;
                if is_nearer || *known == least && self.row_of[*other].is_none() {
                    (least, nearest) = (*known, at);
                }
            }
        };
        for column in &order[..reached] {
            self.price[*column] += distance[*column] - shortest;
        }
        self.hand_over(start, end, &from);
    }

    /// Each row on the way back from `end` takes the column after it.
    fn hand_over(&mut self, start: usize, end: usize, from: &[usize]) {
        let mut column = end;
        loop {
            let row = from[column];
            let before = self.row_of.iter().position(|of| *of == Some(row));
            self.row_of[column] = Some(row);
            let Some(before) = before.filter(|_| row != start) else { return };
            column = before;
        }
    }
}

/// A largest set of rows that can all have an allowed column, the first ones before the later ones:
/// by augmenting paths (Kuhn 1955), which never take a column away from a row for good.
pub(super) fn first_rows(costs: &Costs) -> BTreeSet<usize> {
    let mut row_of: Vec<Option<usize>> = vec![None; costs.columns];
    (0..costs.rows).filter(|row| place(costs, *row, &mut row_of)).collect()
}

/// Finds a column for a row by moving others, breadth first.
fn place(costs: &Costs, start: usize, row_of: &mut [Option<usize>]) -> bool {
    let mut from: Vec<Option<usize>> = vec![None; costs.columns];
    let mut queue = vec![start];
    let mut next = 0;
    while let Some(row) = queue.get(next).copied() {
        next += 1;
        for column in 0..costs.columns {
            if from[column].is_some() || costs.get(row, column).is_none() {
                continue;
            }
            from[column] = Some(row);
            if let Some(holder) = row_of[column] {
                queue.push(holder);
                continue;
            }
            hand_back(start, column, &from, row_of);
            return true;
        }
    }
    false
}

/// Each row on the way back from `end` takes the column after it.
fn hand_back(start: usize, end: usize, from: &[Option<usize>], row_of: &mut [Option<usize>]) {
    let mut column = end;
    while let Some(row) = from[column] {
        let before = row_of.iter().position(|of| *of == Some(row));
        row_of[column] = Some(row);
        match before {
            Some(before) if row != start => column = before,
            _ => return,
        }
    }
}
