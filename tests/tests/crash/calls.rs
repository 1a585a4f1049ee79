//! One call of the store fails, on its files of one kind: what a process does of it, as a table.
//!
//! The call fails once or for good from a moment on that follows from the seed, as on a device that is broken and
//! as on one that is full. The kernel's side of it is held by `strace`, which tells files apart and notes each call
//! that it made fail: a library that stands before `write` also fails those by which the program's own threads wake
//! each other, and never sees how RocksDB reads its log (`fread_unlocked`).
//!
//! **Invariants:** a round whose fault never came fails; whoever starts again without it has all that was
//! acknowledged. **Not here:** the same by a library, and disks that are full (`disk`).

use std::path::Path;

use fieldmesh_node::server::EXIT_STORAGE;
use fieldmesh_tests::{
    crash::{Ledger, Order},
    process::{
        contents::{Contents, place},
        text,
    },
};
use rand::RngExt;
use tempfile::TempDir;

use crate::{damage::base, demand_strace, dice, live_on};

/// What a process does of a call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It ends by its storage and says why.
    Ends,
    /// It goes on to its end.
    GoesOn,
}

/// A call, its files (`#` is any number), how many such calls a thread makes at least, and what is to follow.
///
/// The mark is there to notice a log whose end is lost: without it that is noticed by less, and nothing else is.
const ROUNDS: [(&str, &str, usize, Then); 14] = [
    ("write", "log/#.log", 40, Then::Ends),
    ("write", "log/MANIFEST-#", 2, Then::Ends),
    ("write", "state-7/#.sst", 2, Then::Ends),
    ("write", "state-7/MANIFEST-#", 7, Then::Ends),
    ("pwrite64", "log.mark", 20, Then::GoesOn),
    ("fdatasync", "log/#.log", 40, Then::Ends),
    ("fdatasync", "state-7/#.sst", 2, Then::Ends),
    ("fsync", "state-7", 4, Then::Ends),
    ("read", "log/#.log", 2, Then::Ends),
    ("read", "log/MANIFEST-#", 2, Then::Ends),
    ("read", "state-7/CURRENT", 2, Then::Ends),
    ("read", "log.mark", 1, Then::GoesOn),
    ("pread64", "log/#.sst", 3, Then::Ends),
    ("pread64", "state-7/#.sst", 4, Then::Ends),
];
/// As the kernel calls it, and as it is said.
const ERRORS: [(&str, &str); 2] =
    [("EIO", "Input/output error"), ("ENOSPC", "No space left on device")];
/// Numbers of files are below this: a directory's life of some hundred entries takes some sixty.
const NUMBERS: u32 = 200;
/// Enough for each call above; a snapshot each few entries also takes all that is written of a state.
const ENTRIES: u64 = 400;
const COMPACT_EVERY: u64 = 20;

/// A fault of one round.
#[derive(Debug)]
struct Broken {
    call: &'static str,
    files: &'static str,
    error: &'static str,
    /// The first call that fails, and a `+` where all behind it do.
    when: String,
}

impl Broken {
    fn paths(&self, dir: &Path) -> Vec<String> {
        // As the kernel names what is behind a descriptor.
        let dir = dir.canonicalize().unwrap();
        let path = |name: &str| text(&dir.join(name)).to_owned();
        match self.files.split_once('#') {
            None => vec![path(self.files)],
            Some((before, behind)) => {
                (1..NUMBERS).map(|number| path(&format!("{before}{number:06}{behind}"))).collect()
            }
        }
    }

    /// Lives with it on a copy of a directory, and then without it; how it went.
    async fn befall(&self, copy: &Contents, mut ledger: Ledger, says: &str) -> (Then, String) {
        let (dir, traces) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        place(copy, dir.path());
        let (paths, trace) = (self.paths(dir.path()), traces.path().join("trace"));
        let Self { call, error, when, .. } = self;
        let (calls, inject) =
            (format!("trace={call}"), format!("inject={call}:error={error}:when={when}"));
        // The tracer is the grandchild, so that the process keeps its handle and its end.
        let strace = ["strace", "-D", "-f", "-qq", "-yy", "-s", "0", "-o", text(&trace)];
        let strace = [&strace[..], &["-e", &calls, "-e", &inject]].concat();
        let on = paths.iter().flat_map(|path| ["-P", path]);
        let wrapper: Vec<&str> = strace.into_iter().chain(on).collect();
        let (entries, compact_every) = (ENTRIES, COMPACT_EVERY);
        let order = Order { entries, compact_every, ..Order::of(dir.path()) };
        let ended = order.start(&wrapper).finish().await;
        // A call's line is written before the process runs on.
        let trace = std::fs::read_to_string(&trace).unwrap();
        let came = trace.matches("(INJECTED)").count();
        assert!(came > 0, "{self:?} never came\n{trace}\n{ended}");
        let heard = ledger.hear(&ended.stdout, order.together);
        assert_eq!(heard, Ok(()), "{self:?}: {ended}");
        let is_named = ended.stderr.contains(says) && ended.stderr.contains("table ");
        let then = match ended.code {
            Some(0) => Then::GoesOn,
            Some(EXIT_STORAGE) if is_named => Then::Ends,
            _ => panic!("{self:?} neither ended it by name nor was survived: {ended}"),
        };
        if then == Then::GoesOn {
            ledger.settle();
        }
        let acknowledged = ledger.least;
        live_on(dir.path(), &mut ledger).await;
        let word = if then == Then::Ends { "ended" } else { "went on" };
        (then, format!("{came:>5}  {word:<7}  {acknowledged} acknowledged, all there"))
    }
}

#[tokio::test]
async fn a_call_that_fails_ends_a_group_by_name_and_takes_nothing_acknowledged() {
    demand_strace();
    let (mut dice, (copy, ledger)) = (dice(), base().await);
    println!("call       files               error   when  times  what it did");
    for (call, files, among, expected) in ROUNDS {
        for (error, says) in ERRORS {
            let (first, more) = (dice.random_range(1..=among), dice.random_range(0..2));
            let when = format!("{first}{}", ["", "+"][more]);
            let fault = Broken { call, files, error, when };
            let (then, told) = fault.befall(&copy, ledger.clone(), says).await;
            println!("{call:<10} {files:<19} {error:<7} {:<5}{told}", fault.when);
            assert_eq!(then, expected, "{fault:?}");
        }
    }
}
