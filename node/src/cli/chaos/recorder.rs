//! Writes the history of a run as it happens.
//!
//! **Invariants:** entries have the order in which they were noted, and their times do not fall; a history
//! that cannot be written ends the run. **Not here:** what it means (`fieldmesh_chaos`).

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fieldmesh_chaos::{
    Entry, Scenario, Watch,
    history::{Operation, What},
};
use tokio::time::Instant;

use crate::{
    cli::CliError,
    files::{self, Access, Appending},
    web::est::hex,
};

/// Where a node is down, what is waited for in the end comes within this or not at all; the verdict is there already.
const WITHOUT_ONE: Duration = Duration::from_secs(5);

/// Takes in what happens, from every task of a run.
pub(super) struct Recorder {
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    file: Appending,
    watch: Watch,
    entries: u64,
    operations: u64,
    /// By the message by which the service knows an operation.
    known: BTreeMap<String, u64>,
    /// Something is down that the run did not take out.
    is_down: bool,
    is_ended: bool,
    failed: Option<String>,
    /// Why nobody is to be struck any more.
    over: Option<String>,
}

impl Recorder {
    pub(super) fn create(path: &Path, scenario: &Scenario) -> Result<Self, CliError> {
        let file = files::open_append(path, Access::Owner);
        let file =
            file.map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
        let watch = Watch::new(scenario);
        let (entries, operations, is_down, is_ended) = (0, 0, false, false);
        let (known, failed, over) = (BTreeMap::new(), None, None);
        let inner =
            Inner { file, watch, entries, operations, known, is_down, is_ended, failed, over };
        Ok(Self { begun: Instant::now(), inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // An entry is counted only once it is written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn note(&self, what: What) {
        let mut inner = self.lock();
        // Under the lock, so that times do not fall.
        let entry = Entry { at_us: self.now_us(), what };
        inner.put(&entry);
    }

    /// Notes that something is asked; the number by which its outcome is told.
    pub(super) fn invoke(&self, by: &str, operation: Operation) -> u64 {
        self.invoke_as(by, |_| operation)
    }

    /// The same, of what has its number in it.
    pub(super) fn invoke_as(&self, by: &str, operation: impl FnOnce(u64) -> Operation) -> u64 {
        let mut inner = self.lock();
        inner.operations += 1;
        let (op, by) = (inner.operations, by.to_owned());
        let operation = operation(op);
        let entry = Entry { at_us: self.now_us(), what: What::Invoked { op, by, operation } };
        inner.put(&entry);
        op
    }

    /// The service knows an operation by this message.
    pub(super) fn is_known_by(&self, op: u64, message: [u8; 16]) {
        self.lock().known.insert(hex(&message), op);
    }

    /// The operation that is known by a message, in hexadecimal.
    pub(super) fn known_by(&self, message: &str) -> Option<u64> {
        self.lock().known.get(message).copied()
    }

    /// Why the run is to be given up now.
    pub(super) fn give_up(&self) -> Option<String> {
        let now_us = self.now_us();
        let mut inner = self.lock();
        let told = inner.failed.clone().or_else(|| inner.over.clone());
        told.or_else(|| inner.watch.reason(now_us))
    }

    /// Why nothing is to be broken now, where nothing was broken yet.
    pub(super) fn is_not_normal(&self) -> Option<String> {
        let (now_us, normal) = (self.now_us(), self.lock().watch.normal());
        normal.reason(now_us)
    }

    /// The run is to be given up, for the first reason that is told.
    pub(super) fn is_over(&self, why: String) {
        self.lock().over.get_or_insert(why);
    }

    /// How long it is worth waiting until all is well, for which so long is granted.
    pub(super) fn patience(&self, granted: Duration) -> Duration {
        if self.lock().is_down { granted.min(WITHOUT_ONE) } else { granted }
    }

    /// The last entry.
    pub(super) fn end(&self) -> Result<(), CliError> {
        let mut inner = self.lock();
        let what = What::Ended { entries: inner.entries };
        inner.put(&Entry { at_us: self.now_us(), what });
        inner.is_ended = true;
        inner.failed.take().map_or(Ok(()), |why| Err(CliError::failed(why)))
    }
}

impl Inner {
    /// Nothing comes behind the last one.
    fn put(&mut self, entry: &Entry) {
        if self.is_ended {
            return;
        }
        self.watch.see(entry);
        self.is_down |= matches!(entry.what, What::Down { .. });
        let written = entry.line().map_err(|error| error.to_string()).and_then(|line| {
            self.file.append(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
        });
        match written {
            Ok(_) => self.entries += 1,
            Err(error) => {
                self.failed.get_or_insert(format!("the history cannot be written: {error}"));
            }
        }
    }
}
