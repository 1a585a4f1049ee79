//! A group with one voter in a process of its own, which dies, and what it must have when it starts again.
//!
//! The program `one-group` opens a directory as a node does, says how many entries it has, commits more, and
//! says the number of each once that is acknowledged. Every entry leaves one row that the group itself
//! numbers: an entry that was applied twice would be there twice, and behind a lost one all would move up.
//!
//! **Invariants:** what a process said before it died counts, however late it is read; an entry's content
//! follows from its number. **Not here:** how the group is run (`bin/one-group`), who ends it and when (the
//! tests).

use std::path::{Path, PathBuf};

use fieldmesh_actors::commit::{Commit, Proposal, Tell};
use fieldmesh_domain::EntityId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    group_world::commit,
    process::{Running, text},
};

/// The group, and the shard that its rows are for, which is nowhere.
pub const GROUP: u32 = 7;
pub const ELSEWHERE: u32 = 9;
/// The program ends with this when it found a row that is not as it was committed.
pub const WRONG: i32 = 3;
/// The signal that nobody can catch.
pub const SIGKILL: i32 = 9;
/// One entry in so many is longer than a block of RocksDB's write-ahead log, so that it is written in pieces.
const LARGE_EVERY: u64 = 25;
const LARGE_BYTES: usize = 40_000;

/// What a process is to do.
#[derive(Debug, Clone)]
pub struct Order {
    pub dir: PathBuf,
    /// How many entries it commits; then it ends by itself.
    pub entries: u64,
    /// How many are under way at a time.
    pub together: u64,
    /// After so many it takes a snapshot and makes the log shorter; never at 0.
    pub compact_every: u64,
    /// The step of the store at which it kills itself; none at 0.
    pub dies_at: u64,
}

impl Order {
    /// A few entries, and no harm.
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), entries: 20, together: 4, compact_every: 0, dies_at: 0 }
    }

    /// As the program gets it.
    pub fn read(mut words: impl Iterator<Item = String>) -> Self {
        let dir = words.next().unwrap().into();
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (entries, together) = (number(), number());
        Self { dir, entries, together, compact_every: number(), dies_at: number() }
    }

    /// Starts the process, under a wrapper where one is given.
    pub fn start(&self, wrapper: &[&str]) -> Running {
        let numbers = [self.entries, self.together, self.compact_every, self.dies_at];
        let numbers = numbers.map(|number| number.to_string());
        let numbers = numbers.iter().map(String::as_str);
        let args: Vec<&str> = [text(&self.dir)].into_iter().chain(numbers).collect();
        Running::start_under(wrapper, "one-group", &args)
    }
}

/// What the row of an entry holds.
pub fn record(number: u64) -> Vec<u8> {
    let mut dice = StdRng::seed_from_u64(number);
    let is_large = number.is_multiple_of(LARGE_EVERY);
    let mut record = vec![0; if is_large { LARGE_BYTES } else { dice.random_range(16..1000) }];
    dice.fill(&mut record[..]);
    record
}

/// An entry; the group gives its row the next number, whatever this one says.
pub fn proposal(number: u64) -> Proposal {
    let me = EntityId::placement();
    let row = Tell { to: me, shard: ELSEWHERE, sealed: record(number), from: me };
    let step = commit(me, 0, Vec::new());
    Proposal::Commit(Box::new(Commit { event_count: 0, tells: vec![row], ..step }))
}

/// How many entries a directory must have.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// So many were acknowledged, or found once.
    pub least: u64,
    /// So many more may have been under way.
    under_way: u64,
}

impl Ledger {
    /// Takes in all that a process said that had so many entries under way at a time.
    ///
    /// # Errors
    /// What it said that cannot be.
    pub fn hear(&mut self, said: &str, together: u64) -> Result<(), String> {
        for line in said.lines() {
            let told = line.split_once(' ').map(|(word, number)| (word, number.parse::<u64>()));
            match told {
                Some(("found", Ok(found))) => {
                    let Self { least, under_way } = *self;
                    if found < least {
                        return Err(format!(
                            "{least} entries were acknowledged, {found} are there"
                        ));
                    }
                    if found > least + under_way {
                        return Err(format!(
                            "{least} entries were acknowledged and at most {under_way} under way, \
                             {found} are there"
                        ));
                    }
                    self.least = found;
                }
                Some(("took", Ok(took))) if took == self.least + 1 => self.least = took,
                _ => return Err(format!("after {} entries it said {line:?}", self.least)),
            }
            self.under_way = together;
        }
        Ok(())
    }

    /// The process came to its end: nothing is under way.
    pub fn settle(&mut self) {
        self.under_way = 0;
    }
}

#[test]
fn what_cannot_be_is_noticed() {
    let mut ledger = Ledger::default();
    ledger.hear("found 0\ntook 1\ntook 2\n", 2).unwrap();
    for (said, expected) in [
        ("found 1", "2 entries were acknowledged, 1 are there"),
        ("found 5", "2 entries were acknowledged and at most 2 under way, 5 are there"),
        ("found 2\ntook 4", "after 2 entries it said \"took 4\""),
        ("found 2\ntook 2", "after 2 entries it said \"took 2\""),
        ("wrong row 2", "after 2 entries it said \"wrong row 2\""),
    ] {
        assert_eq!(ledger.clone().hear(said, 2).unwrap_err(), expected);
    }
    ledger.hear("found 4\ntook 5", 1).unwrap();
    ledger.settle();
    assert!(ledger.hear("found 6", 1).is_err(), "nothing was under way");
}
