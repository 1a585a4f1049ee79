//! The bench: what it reads, what it says, and what it refuses.

use std::{cell::Cell, fs, path::Path, time::Duration};

use fieldmesh_dispatch::bench::{Bench, Budget, Report, run};

use crate::town::{Size, releases_text, text, town};

const SIZE: Size = Size { technicians: 4, requests: 10 };
const BUDGET: Budget = Budget {
    day: Duration::from_millis(50),
    start: Duration::from_millis(20),
    release: Duration::from_millis(10),
};

/// Runs with a clock that moves on each time it is read.
fn bench(bench: &Bench<'_>) -> Result<(Report, Vec<usize>), String> {
    let time = Cell::new(Duration::ZERO);
    let elapsed = || {
        time.set(time.get() + Duration::from_micros(500));
        time.get()
    };
    let mut seen = Vec::new();
    let report = run(bench, &elapsed, &mut |progress| seen.push(progress.done));
    report.map(|report| (report, seen)).map_err(|error| error.to_string())
}

fn write(folder: &Path) {
    fs::create_dir(folder.join("releases")).unwrap();
    fs::write(folder.join("README.txt"), "not an instance").unwrap();
    for seed in 1..=3 {
        fs::write(folder.join(format!("T{seed}.txt")), text(seed, SIZE)).unwrap();
        let dates = releases_text(seed, &town(seed, SIZE));
        fs::write(folder.join(format!("releases/T{seed}_rd_50.txt")), dates).unwrap();
    }
    fs::write(folder.join("best.csv"), "instance,total_working_time\nT1,500\nT2,500\n").unwrap();
}

#[test]
fn the_report_has_the_figures_of_all_and_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path);
    let (online, best) = (path.join("releases"), path.join("best.csv"));
    let given = Bench {
        instances: path,
        online: Some(&online),
        best: Some(&best),
        limit: None,
        budget: BUDGET,
        seed: 1,
    };
    let (report, seen) = bench(&given).unwrap();
    assert_eq!((report.instances, report.rows.len()), (3, 3));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    // Of the third no best result is known: it does not count in the means.
    assert_eq!(report.rows[2].planned.gap_percent, None);
    let mean = report.rows[..2].iter().filter_map(|row| row.planned.gap_percent).sum::<f64>() / 2.0;
    assert_eq!(report.static_gap_percent, Some(mean));
    let json = serde_json::to_value(&report).unwrap();
    for key in
        ["instances", "static_gap_percent", "online_gap_percent", "greedy_gap_percent", "unserved"]
    {
        assert!(json.get(key).is_some(), "{key}");
    }
    // The same again, because the clock is the same.
    assert_eq!(bench(&given).unwrap().0, report);
    let (limited, _) = bench(&Bench { limit: Some(1), online: None, best: None, ..given }).unwrap();
    assert_eq!((limited.instances, limited.rows[0].instance.as_str()), (1, "T1"));
    assert_eq!((limited.static_gap_percent, limited.online_gap_percent), (None, None));
}

#[test]
fn a_bad_file_is_named_before_anything_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path);
    let online = path.join("releases");
    let given = Bench {
        instances: path,
        online: Some(&online),
        best: None,
        limit: None,
        budget: BUDGET,
        seed: 1,
    };
    let dates = online.join("T3_rd_50.txt");
    fs::write(&dates, "Dyn Stat\n0 0\nID RD\n77 1\n").unwrap();
    let refusal = format!("{}: line 4: there is no request 77", dates.display());
    assert_eq!(bench(&given).unwrap_err(), refusal);
    fs::remove_file(&dates).unwrap();
    fs::write(path.join("T4.txt"), "T4\n").unwrap();
    let refusal = format!("{}: line 1: INFO is missing", path.join("T4.txt").display());
    assert_eq!(bench(&given).unwrap_err(), refusal);
    let empty = tempfile::tempdir().unwrap();
    let refusal = bench(&Bench { instances: empty.path(), ..given }).unwrap_err();
    assert!(refusal.ends_with("there is no instance in this folder"), "{refusal}");
}
