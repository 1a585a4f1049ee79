//! The assignment problem: rows to columns, as many as possible, and of those ways the cheapest.
//!
//! By shortest augmenting paths after an augmenting row reduction: Jonker and Volgenant, "A shortest
//! augmenting path algorithm for dense and sparse linear assignment problems", Computing 38 (1987),
//! in whole numbers and for any number of rows and columns. A pair that is not allowed costs more
//! than all that are, so it is used only where nothing else is left, and then dropped.
//!
//! **Invariants:** the result is optimal; the same costs give the same result. **Not here:** what the
//! costs mean, and who goes first when not everybody can be served (`desk`).

/// Rows or columns: the costs are a table in memory, and sums of penalties fit into 64 bits.
pub const SIDE_MAX: usize = 4096;
/// The most that a pair counts for, whatever it is said to cost: [`SIDE_MAX`] of them fit into 64 bits.
pub const COST_MAX: u64 = 1 << 47;
/// Stands for a pair that is not allowed.
const NONE: i64 = -1;
/// Stands for a column that was reached: nothing is nearer.
const REACHED: i64 = i64::MIN;
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
    /// Row by row.
    pairs: Vec<i64>,
}

impl Costs {
    /// # Errors
    /// More rows or columns than [`SIDE_MAX`].
    pub fn new(
        rows: usize,
        columns: usize,
        cost: impl Fn(usize, usize) -> Option<u64>,
    ) -> Result<Self, AssignError> {
        if rows.max(columns) > SIDE_MAX {
            return Err(AssignError::TooLarge { rows, columns });
        }
        let bounded = |cost: u64| cost.min(COST_MAX) as i64;
        let mut pairs = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            pairs.extend((0..columns).map(|column| cost(row, column).map_or(NONE, bounded)));
        }
        Ok(Self { rows, columns, pairs })
    }

    /// None for a pair that is not allowed.
    fn get(&self, row: usize, column: usize) -> Option<i64> {
        Some(self.pairs[row * self.columns + column]).filter(|cost| *cost != NONE)
    }
}

/// The column of each row.
pub fn assign(costs: &Costs) -> Vec<Option<usize>> {
    let is_tall = costs.rows > costs.columns;
    let row_of = Solver::new(costs, is_tall).solve();
    let mut assigned = vec![None; costs.rows];
    for (column, row) in row_of.into_iter().enumerate() {
        let Some(row) = row else { continue };
        let (row, column) = if is_tall { (column, row) } else { (row, column) };
        assigned[row] = costs.get(row, column).map(|_| column);
    }
    assigned
}

/// A table with so many columns, its columns as rows.
fn turned(columns: usize, pairs: &[i64]) -> Vec<i64> {
    let mut turned = Vec::with_capacity(pairs.len());
    for column in 0..columns {
        turned.extend(pairs.iter().skip(column).step_by(columns));
    }
    turned
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
    fn new(Costs { rows, columns, pairs }: &Costs, is_tall: bool) -> Self {
        let highest = pairs.iter().copied().max().unwrap_or(0).max(0);
        let (turned, pairs) = match is_tall {
            true => (*rows, turned(*columns, pairs)),
            false => (*columns, pairs.clone()),
        };
        let forbidden = (highest + 1) * (*rows).min(*columns) as i64;
        let allowed = |cost| if cost == NONE { forbidden } else { cost };
        Self {
            columns: turned,
            costs: pairs.into_iter().map(allowed).collect(),
            price: vec![0; turned],
            row_of: vec![None; turned],
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
        // How far each column is that was not reached for good, and those that were, with how far.
        let mut open: Vec<i64> =
            self.row(start).iter().zip(&self.price).map(|(cost, price)| cost - price).collect();
        let mut reached: Vec<(usize, i64)> = Vec::new();
        let mut from = vec![start; self.columns];
        let Some(mut nearest) =
            (0..self.columns).min_by_key(|at| (open[*at], self.row_of[*at].is_some()))
        else {
            return;
        };
        let (end, shortest) = loop {
            let shortest = open[nearest];
            let Some(row) = self.row_of[nearest] else { break (nearest, shortest) };
            reached.push((nearest, shortest));
            open[nearest] = REACHED;
            let costs = self.row(row);
            let base = costs[nearest] - self.price[nearest] - shortest;
            // A row has a column at hand that nobody has, because there are no fewer columns.
            let mut least = i64::MAX;
            let ways = costs.iter().zip(&self.price).map(|(cost, price)| cost - price - base);
            for (column, ((known, from), way)) in
                open.iter_mut().zip(&mut from).zip(ways).enumerate()
            {
                if way < *known {
                    (*known, *from) = (way, row);
                }
                // Of equally near columns one that nobody has ends the search.
                let is_nearer = *known < least || *known == least && self.row_of[column].is_none();
                if is_nearer && *known != REACHED {
                    (least, nearest) = (*known, column);
                }
            }
        };
        for (column, distance) in reached {
            self.price[column] += distance - shortest;
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
