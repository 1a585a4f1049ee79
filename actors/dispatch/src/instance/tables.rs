//! Release dates, and the best results that are known.
//!
//! A file of release dates says how many requests are dynamic and how many static, then for each
//! when it becomes known, -1 standing for the start of the day. Best-known results are a CSV file
//! with the columns `instance` and `total_working_time`.
//!
//! **Invariant:** each request of the instance has exactly one release date.

use std::collections::BTreeMap;

use super::{
    Fault, FormatError, lines,
    row::{fields, identifier, number, time},
};
use crate::problem::{Problem, Ticks};

/// When each request becomes known; none stands for the start of the day.
pub fn release_dates(text: &str, problem: &Problem) -> Result<Vec<Option<Ticks>>, FormatError> {
    let end = text.lines().count().max(1);
    let mut lines = lines(text).filter(|(_, line)| !line.starts_with('#'));
    let mut next =
        |what| lines.next().ok_or(FormatError { line: end, fault: Fault::Missing(what) });
    next("the header of the counts")?;
    let (counts_line, text) = next("the counts")?;
    let counts: [&str; 2] = fields(counts_line, text, "two counts")?;
    next("the header of the release dates")?;
    let requests = problem.requests().iter().enumerate();
    let index: BTreeMap<u32, usize> = requests.map(|(index, one)| (one.id, index)).collect();
    let mut dates: Vec<Option<Option<Ticks>>> = vec![None; index.len()];
    for (line, text) in lines {
        let [id, date] = fields(line, text, "an identifier and a release date")?;
        let id = identifier(line, id)?;
        let date = match date {
            "-1" => None,
            date => Some(time(line, date, "a release date, or -1")?),
        };
        let request = index.get(&id).ok_or(FormatError { line, fault: Fault::Unknown(id) })?;
        if dates[*request].replace(date).is_some() {
            return Err(FormatError { line, fault: Fault::Twice(id) });
        }
    }
    let dates: Option<Vec<Option<Ticks>>> = dates.into_iter().collect();
    let missing = Fault::Missing("the release date of a request");
    let dates = dates.ok_or(FormatError { line: end, fault: missing })?;
    let dynamic = dates.iter().flatten().count();
    for (what, count, found) in [
        ("a release date", counts[0], dynamic),
        ("a request known from the start", counts[1], dates.len() - dynamic),
    ] {
        let expected = identifier(counts_line, count)? as usize;
        if found != expected {
            let fault = Fault::Count { what, found, expected };
            return Err(FormatError { line: counts_line, fault });
        }
    }
    Ok(dates)
}

/// The total working time of each instance, in units of time.
pub fn best_known(text: &str) -> Result<BTreeMap<String, f64>, FormatError> {
    let end = text.lines().count().max(1);
    let mut lines = lines(text);
    let missing = |what| FormatError { line: end, fault: Fault::Missing(what) };
    let (_, header) = lines.next().ok_or_else(|| missing("the header"))?;
    let header: Vec<&str> = header.split(',').map(str::trim).collect();
    let column = |name| {
        let position = header.iter().position(|column| *column == name);
        position.ok_or(FormatError { line: 1, fault: Fault::Missing(name) })
    };
    let (name, value) = (column("instance")?, column("total_working_time")?);
    let mut best = BTreeMap::new();
    for (line, text) in lines {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        let cell = |index: usize| {
            let what = "a row with all columns";
            let value = || Fault::Value { what, found: text.to_owned() };
            cells.get(index).copied().ok_or_else(|| FormatError { line, fault: value() })
        };
        let what = "a total working time above zero";
        let time = number(line, cell(value)?, what)?;
        if time <= 0.0 {
            let fault = Fault::Value { what, found: cell(value)?.to_owned() };
            return Err(FormatError { line, fault });
        }
        best.insert(cell(name)?.to_owned(), time);
    }
    Ok(best)
}
