//! The file formats of the technician routing instances of Pillac, Guéret and Medaglia.
//!
//! An instance is a text file: its name; `INFO`, a header, and how many technicians, skills, tools
//! and parts there are; `DEPOT TECHNICIANS AND REQUESTS`, a header, and one row each. The row of the
//! depot comes first, then the technicians, then the requests, with identifier, coordinates, window,
//! service time, and in brackets the skills, the tools and the number of each part. Travel time is
//! the Euclidean distance. Release dates and best-known results are files of their own (`tables`).
//!
//! The problem is described in "A parallel matheuristic for the technician routing and scheduling
//! problem", Optimization Letters 7 (2013).
//!
//! **Invariants:** nothing is guessed: what does not follow the format is refused with its line.
//! **Not here:** opening files (`bench`).

mod row;
mod tables;

pub use tables::{best_known, release_dates};

use std::collections::BTreeSet;

use crate::problem::{Depot, Place, Problem, ProblemError, Request, Technician, Ticks};
use row::{Row, fields};

/// Ticks of one unit of time of a file: the sum of a day's rounding stays below a thousandth.
pub const TICKS_PER_UNIT: f64 = 1e6;

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct FormatError {
    /// Counted from 1; the last one where something is missing.
    pub line: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{found:?} stands where {what} is expected")]
    Value { what: &'static str, found: String },
    #[error("{what} is given {found} times instead of {expected}")]
    Count { what: &'static str, found: usize, expected: usize },
    #[error("the identifier {0} is used twice")]
    Twice(u32),
    #[error("there is no request {0}")]
    Unknown(u32),
    #[error(transparent)]
    Problem(ProblemError),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

impl Point {
    /// Rounded up to a whole tick, so that what is in time here is in time.
    fn travel(self, to: Self) -> Ticks {
        let (east, north) = (self.x - to.x, self.y - to.y);
        // Of these operations every machine makes the same.
        ((east * east + north * north).sqrt() * TICKS_PER_UNIT).ceil() as Ticks
    }
}

/// An instance as the file says it.
#[derive(Debug, Clone)]
pub struct Instance {
    pub name: String,
    pub depot: Point,
    pub homes: Vec<Point>,
    pub sites: Vec<Point>,
    pub problem: Problem,
}

/// How much of each there is.
#[derive(Debug, Clone, Copy)]
struct Info {
    technicians: usize,
    skills: usize,
    tools: usize,
    parts: usize,
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate();
    numbered.map(|(index, line)| (index + 1, line.trim())).filter(|(_, line)| !line.is_empty())
}

impl Instance {
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let end = text.lines().count().max(1);
        let mut lines = lines(text);
        let mut next =
            |what| lines.next().ok_or(FormatError { line: end, fault: Fault::Missing(what) });
        let (_, name) = next("the name")?;
        expect("INFO", next("INFO")?)?;
        next("the header of INFO")?;
        let info = Info::parse(next("the numbers of INFO")?)?;
        let title = "DEPOT TECHNICIANS AND REQUESTS";
        expect(title, next(title)?)?;
        next("the header of the rows")?;
        let rows = lines.map(|(line, text)| Row::parse(line, text, info));
        let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        Self::of_rows(name, &rows, info, end)
    }

    fn of_rows(name: &str, rows: &[Row], info: Info, end: usize) -> Result<Self, FormatError> {
        let mut seen = BTreeSet::new();
        for row in rows {
            if !seen.insert(row.id) {
                return Err(row.error(Fault::Twice(row.id)));
            }
        }
        let missing = |what| FormatError { line: end, fault: Fault::Missing(what) };
        let (depot, others) = rows.split_first().ok_or_else(|| missing("the depot"))?;
        if depot.id != 0 {
            let found = depot.id.to_string();
            return Err(depot.error(Fault::Value { what: "the depot's identifier 0", found }));
        }
        let (crew, requests) = others
            .split_at_checked(info.technicians)
            .ok_or_else(|| missing("a row for each technician"))?;
        let points = |rows: &[Row]| rows.iter().map(|row| row.at).collect::<Vec<Point>>();
        let (homes, sites) = (points(crew), points(requests));
        let at = |place: Place| match place {
            Place::Depot => depot.at,
            Place::Home(technician) => homes[technician],
            Place::Site(request) => sites[request],
        };
        let technicians = crew.iter().map(Row::technician).collect::<Result<_, _>>()?;
        let requests = requests.iter().map(Row::request).collect::<Result<_, _>>()?;
        let depot_stop = Depot { window: depot.window, service: depot.service };
        let travel = |from, to| at(from).travel(at(to));
        let problem = Problem::new(depot_stop, technicians, requests, travel)
            .map_err(|error| FormatError { line: end, fault: Fault::Problem(error) })?;
        Ok(Self { name: name.to_owned(), depot: depot.at, homes, sites, problem })
    }
}

impl Row {
    fn technician(&self) -> Result<Technician, FormatError> {
        if self.service != 0 {
            let found = self.service.to_string();
            return Err(self.error(Fault::Value { what: "a technician's service time 0", found }));
        }
        Ok(Technician {
            id: self.id,
            shift: self.window,
            skills: self.skills,
            tools: self.tools,
            parts: self.parts.clone(),
        })
    }

    fn request(&self) -> Result<Request, FormatError> {
        Ok(Request {
            id: self.id,
            window: self.window,
            service: self.service,
            skills: self.skills,
            tools: self.tools,
            parts: self.parts.clone(),
            only: None,
            weight: 1,
            favours: None,
        })
    }
}

impl Info {
    fn parse((line, text): (usize, &str)) -> Result<Self, FormatError> {
        let [technicians, skills, tools, parts] = fields(line, text, "the numbers of INFO")?;
        let count = |field: &str| {
            let value = || Fault::Value { what: "a number of INFO", found: field.to_owned() };
            field.parse().map_err(|_| FormatError { line, fault: value() })
        };
        Ok(Self {
            technicians: count(technicians)?,
            skills: count(skills)?,
            tools: count(tools)?,
            parts: count(parts)?,
        })
    }
}

fn expect(what: &'static str, (line, found): (usize, &str)) -> Result<(), FormatError> {
    if found == what {
        return Ok(());
    }
    Err(FormatError { line, fault: Fault::Value { what, found: found.to_owned() } })
}
