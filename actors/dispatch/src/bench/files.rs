//! Finds and reads the files of a bench.
//!
//! **Invariants:** files are taken in the order of their names; an error names the file. **Not here:**
//! what is in a file (`instance`).

use std::{collections::BTreeMap, path::Path};

use super::{Bench, BenchError};
use crate::{
    instance::{FormatError, Instance, best_known, release_dates},
    problem::Ticks,
};

pub(super) struct Case {
    /// The file's name without its ending; results are listed under it.
    pub(super) name: String,
    pub(super) instance: Instance,
    pub(super) best: Option<f64>,
    pub(super) days: Vec<Day>,
}

/// Release dates for the requests of a case.
pub(super) struct Day {
    pub(super) name: String,
    pub(super) released: Vec<Option<Ticks>>,
}

pub(super) fn read(bench: &Bench<'_>) -> Result<Vec<Case>, BenchError> {
    let best = match bench.best {
        None => BTreeMap::new(),
        Some(path) => parse(path, best_known)?,
    };
    let online = bench.online.map(text_files).transpose()?.unwrap_or_default();
    let names = text_files(bench.instances)?;
    let limit = bench.limit.unwrap_or(usize::MAX);
    let mut cases = Vec::new();
    for name in names.into_iter().take(limit) {
        let instance = parse(&bench.instances.join(format!("{name}.txt")), Instance::parse)?;
        let prefix = format!("{name}_rd_");
        let mut days = Vec::new();
        if let Some(folder) = bench.online {
            for file in online.iter().filter(|file| file.starts_with(&prefix)) {
                let path = folder.join(format!("{file}.txt"));
                let released = parse(&path, |text| release_dates(text, &instance.problem))?;
                days.push(Day { name: file.clone(), released });
            }
        }
        cases.push(Case { best: best.get(&name).copied(), name, instance, days });
    }
    if cases.is_empty() {
        return Err(BenchError::Empty { path: bench.instances.to_owned() });
    }
    Ok(cases)
}

/// The names of the text files of a folder, sorted and without their ending.
#[expect(clippy::disallowed_methods, reason = "a bench reads the folders that it is given")]
fn text_files(folder: &Path) -> Result<Vec<String>, BenchError> {
    let error = |source| BenchError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".txt"));
        names.extend(name.filter(|name| !name.eq_ignore_ascii_case("readme")).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the files that it is given")]
fn parse<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, FormatError>,
) -> Result<T, BenchError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BenchError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|fault| BenchError::Format { path: path.to_owned(), fault })
}
