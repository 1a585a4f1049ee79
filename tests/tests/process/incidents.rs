//! A small service desk's log, written in the columns that `fieldmesh replay` needs.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

const CALLERS: usize = 12;
const ASSIGNEES: usize = 7;
const CATEGORIES: usize = 5;

/// Writes the log with cities beside it; every category has somebody who handles it.
pub(crate) fn write(dir: &Path, incidents: usize) -> PathBuf {
    let mut log = String::from(
        "incident,opened_at,caller,location,category,subcategory,impact,urgency,assignee,\
         reassignments,met_sla\n",
    );
    for number in 0..incidents {
        let (hour, minute) = (number / 60 % 24, number % 60);
        // Some incidents of a real log have no assignee, and unknown levels.
        let assignee = match number % 10 {
            9 => String::new(),
            _ => (number % ASSIGNEES).to_string(),
        };
        let level = ["", "1", "2", "3"][number % 4];
        writeln!(
            log,
            "INC{number:07},2026-03-02T{hour:02}:{minute:02},{},{},{},{},{level},2,{assignee},{},{}",
            number * 5 % CALLERS,
            number % 9,
            number % CATEGORIES,
            number % 31,
            number % 2,
            u8::from(number % 3 > 0),
        )
        .unwrap();
    }
    let cities = "name,latitude,longitude\nParis,48.85341,2.3488\nLyon,45.74846,4.84671\n\
                  Nantes,47.21725,-1.55336\n";
    std::fs::write(dir.join("cities.csv"), cities).unwrap();
    let path = dir.join("incidents.csv");
    std::fs::write(&path, log).unwrap();
    path
}
