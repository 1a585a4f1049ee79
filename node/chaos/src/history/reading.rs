//! Reading a history line by line, and how much memory it takes to judge one.
//!
//! All entries are needed for a verdict: what comes last says what the first ones were worth. Their text is not, and is not
//! held. **Invariant:** what is read is in the order of time, and begins with a scenario of a version that is known.
//! **Not here:** files, and how much memory a machine has (whoever reads).

use super::{AT_US_MAX, Entry, History, HistoryError, VERSION, VERSION_MIN, What};
use crate::scenario::Scenario;

/// Of an entry, besides itself: its operation, which is looked at by promises and by probes, and its part of what each of
/// them collects.
const WORK_BYTES: u64 = 300;
/// What an entry has of text is held in pieces of their own; a short one takes more than it is long.
const TEXT_FACTOR: u64 = 2;

/// Entries of a request with all that follows, and the bytes of their lines: what is asked and answered by its customer
/// and its technician, what both are told, where the logs have that, and the ticket.
const REQUEST: Size = Size { entries: 16, bytes: 2_400 };
const READ: Size = Size { entries: 2, bytes: 300 };
/// With its event in the ticket.
const WRITE: Size = Size { entries: 3, bytes: 500 };
/// Of a node, in a second: some ten figures, twice.
const SAMPLES: Size = Size { entries: 20, bytes: 2_000 };

/// How long a history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub entries: u64,
    /// Of its file.
    pub bytes: u64,
}

impl Size {
    /// Some of what a run leaves.
    pub fn of_a_run(scenario: &Scenario) -> Self {
        let (workload, seconds) = (&scenario.workload, scenario.duration_ms.div_ceil(1000));
        let each_second = [
            (REQUEST, u64::from(workload.rate)),
            (READ, u64::from(workload.reads)),
            (WRITE, u64::from(workload.writes)),
            (SAMPLES, scenario.nodes),
        ];
        let sum = |of: fn(&Self) -> u64| {
            let all = each_second.iter().map(|(size, times)| of(size).saturating_mul(*times));
            all.fold(0, u64::saturating_add).saturating_mul(seconds)
        };
        Self { entries: sum(|size| size.entries), bytes: sum(|size| size.bytes) }
    }

    /// The memory that it takes to judge it, rather more than less: a half more than was measured.
    pub fn memory_bytes(self) -> u64 {
        let each = size_of::<Entry>() as u64 + WORK_BYTES;
        let text = self.bytes.saturating_mul(TEXT_FACTOR);
        self.entries.saturating_mul(each).saturating_add(text)
    }
}

/// A history of which not all lines were read yet.
#[derive(Debug, Default)]
pub struct Reading {
    entries: Vec<Entry>,
    lines: usize,
}

impl Reading {
    /// Takes the next line, with its end where it has one. Only the last line may have none; where it was cut off, it is
    /// left out, and the history is not whole then.
    ///
    /// # Errors
    /// What is no line of a history.
    pub fn line(&mut self, line: &str) -> Result<(), HistoryError> {
        self.lines += 1;
        let number = self.lines;
        let entry: Entry = match serde_json::from_str(line) {
            Ok(entry) => entry,
            Err(_) if !line.ends_with('\n') && number > 1 => return Ok(()),
            Err(source) => return Err(HistoryError::Entry { line: number, source }),
        };
        match (self.entries.last(), &entry.what) {
            (None, What::Begun { version: VERSION_MIN..=VERSION, .. }) => {}
            (None, What::Begun { version, .. }) => return Err(HistoryError::Version(*version)),
            (None, _) => return Err(HistoryError::Headless),
            (Some(last), _) if entry.at_us < last.at_us => {
                return Err(HistoryError::Time { line: number });
            }
            (Some(_), _) => {}
        }
        if entry.at_us > AT_US_MAX {
            return Err(HistoryError::Time { line: number });
        }
        self.entries.push(entry);
        Ok(())
    }

    /// All of it was read.
    ///
    /// # Errors
    /// Where there was nothing.
    pub fn end(self) -> Result<History, HistoryError> {
        if self.entries.is_empty() {
            return Err(HistoryError::Headless);
        }
        Ok(History::of(self.entries))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn scenario(workload: &str, duration: &str) -> Scenario {
        let text =
            format!("name = \"x\"\nduration = \"{duration}\"\nworkload = {{ {workload} }}\n");
        crate::read_scenario(&text).unwrap().value
    }

    #[test]
    fn a_run_is_as_long_as_what_is_asked_in_it() {
        let of = |workload, duration| Size::of_a_run(&scenario(workload, duration));
        let minute = of("rate = 30, reads = 10, writes = 5", "1m");
        // As runs of a minute have: 1,800 requests, 600 reads, 300 messages, and samples of three nodes.
        assert_eq!(minute.entries, 28_800 + 1_200 + 900 + 3_600);
        let hours = of("rate = 30, reads = 10, writes = 5", "6h");
        assert_eq!((hours.entries, hours.bytes), (360 * minute.entries, 360 * minute.bytes));
        let most = of("rate = 10000, reads = 1000, writes = 1000", "6h");
        assert!(most.memory_bytes() > 1 << 40, "{most:?}");
        let endless = Size { entries: u64::MAX, bytes: u64::MAX };
        assert_eq!(endless.memory_bytes(), u64::MAX);
    }

    #[test]
    fn judging_takes_more_memory_than_was_measured() {
        // 198,661 entries with 33 MB of text: 163 MB in all, of which the program has 21 before it reads, and the text 33.
        let measured = Size { entries: 198_661, bytes: 33_120_974 };
        let taken = 110_000_000;
        assert!(
            (taken..2 * taken).contains(&measured.memory_bytes()),
            "{}",
            measured.memory_bytes()
        );
    }

    #[test]
    fn a_later_version_is_refused_by_its_first_line() {
        let begun = |version: u32| {
            let (scenario, document) = (Box::new(scenario("rate = 1", "10s")), String::new());
            let (strikes, shards, product) = (Vec::new(), Vec::new(), String::new());
            let (wall_ms, nodes) = (0, 3);
            let what = What::Begun {
                version,
                scenario,
                document,
                wall_ms,
                product,
                nodes,
                strikes,
                shards,
            };
            Entry { at_us: 0, what }.line().unwrap() + "\n"
        };
        let mut reading = Reading::default();
        assert!(matches!(reading.line(&begun(VERSION + 1)), Err(HistoryError::Version(_))));
        let mut reading = Reading::default();
        reading.line(&begun(VERSION)).unwrap();
        let unknown = "{\"at_us\":1,\"what\":\"of another time\"}";
        let line = reading.line(&format!("{unknown}\n")).unwrap_err();
        assert!(line.to_string().starts_with("line 2"), "{line}");
        let mut cut = Reading::default();
        cut.line(&begun(VERSION)).unwrap();
        cut.line(&unknown[..9]).unwrap();
        let history = cut.end().unwrap();
        assert_eq!((history.entries.len(), history.is_whole), (1, false));
        assert!(matches!(Reading::default().end(), Err(HistoryError::Headless)));
    }
}
