//! States of a desk at some points of its history, so that nobody goes through all of it for one choice.
//!
//! They are those that somebody came by, kept in memory as the snapshot would have them. Where they get too many,
//! every second one is forgotten and the next ones are further apart.
//!
//! **Invariants:** the memory is bounded; the point that was kept last stays, so that going on from it makes
//! progress. **Not here:** going through (`again`).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{EntityId, desk::Desk, time::Millis};

use super::{Judged, Verdict};
use crate::journal::HistoryEntry;

/// Events between two points at first: read in a tenth of a second or so.
const APART: u64 = 16_384;
/// Bytes of all states together: hundreds of a region with a thousand technicians, two of the largest.
const BYTES_MAX: usize = 128 << 20;

/// Then points are four million events apart: a walk of a minute.
const THINNED_MAX: u32 = 8;

/// Verdicts that are kept, so that whoever asks again has those of before, and who was out of the question for all of
/// them: more than for any ticket, in 24 MB.
const VERDICTS_MAX: usize = 4_096;
const EXCLUDED_MAX: usize = 1 << 20;

/// A ticket's answer: which question it is to, and when it came.
pub(super) type Name = (EntityId, u32, Millis);

/// A point of a history, and the state there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waypoint {
    pub(super) version: u64,
    /// Hash of the step before, and its time.
    pub(super) chain: [u8; 32],
    pub(super) at_ms: u64,
    /// Empty at the beginning.
    state: Vec<u8>,
}

impl Waypoint {
    pub(super) fn state(&self) -> Result<Desk, JournalError> {
        if self.state.is_empty() {
            return Ok(Desk::default());
        }
        minicbor::decode(&self.state)
            .map_err(|error| JournalError::Failed(format!("a desk does not decode: {error}")))
    }

    pub(super) fn with(&self, state: &Desk) -> Self {
        Self { state: minicbor::to_vec(state).unwrap_or_default(), ..*self }
    }

    pub(super) fn passes(&mut self, entry: &HistoryEntry) {
        self.version = entry.version + entry.record.events.len() as u64;
        self.chain = entry.chain;
        self.at_ms = entry.record.at_ms;
        self.state.clear();
    }
}

/// The points that are known of one desk.
#[derive(Debug, Default)]
pub struct Waypoints {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    desk: Option<EntityId>,
    points: BTreeMap<u64, Waypoint>,
    bytes: usize,
    /// How often every second one was forgotten.
    thinned: u32,
    verdicts: BTreeMap<Name, Judged>,
    /// How many are out of the question in all verdicts.
    excluded: usize,
}

impl Waypoints {
    fn with<T>(&self, desk: EntityId, work: impl FnOnce(&mut Kept) -> T) -> T {
        // Each change is whole before the next, and a point that is missing is gone through again.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.desk != Some(desk) {
            *kept = Kept { desk: Some(desk), ..Kept::default() };
        }
        work(&mut kept)
    }

    /// The last point that is not behind a time; the beginning where none is.
    pub(super) fn before(&self, desk: EntityId, at_ms: u64) -> Waypoint {
        self.with(desk, |kept| {
            let before = kept.points.values().rev().find(|point| point.at_ms <= at_ms);
            before.cloned().unwrap_or_default()
        })
    }

    /// Whether the last point before a version is so far away that another one is worth its bytes.
    pub(super) fn is_far(&self, desk: EntityId, version: u64) -> bool {
        self.with(desk, |kept| {
            let last = kept.points.range(..=version).next_back().map_or(0, |(last, _)| *last);
            version - last >= APART << kept.thinned.min(THINNED_MAX)
        })
    }

    pub(super) fn keep(&self, desk: EntityId, point: Waypoint) {
        self.with(desk, |kept| kept.put(point, BYTES_MAX));
    }

    pub(super) fn known(&self, desk: EntityId, name: Name) -> Option<Judged> {
        self.with(desk, |kept| kept.verdicts.get(&name).cloned())
    }

    /// What is not in the history now may be in it after a replica has caught up.
    pub(super) fn judged(&self, desk: EntityId, name: Name, judged: Judged) {
        if judged.verdict == Verdict::Unknown {
            return;
        }
        self.with(desk, |kept| {
            if kept.verdicts.len() >= VERDICTS_MAX || kept.excluded >= EXCLUDED_MAX {
                (kept.verdicts, kept.excluded) = (BTreeMap::new(), 0);
            }
            let excluded = |one: &Judged| one.excluded.as_ref().map_or(0, |all| all.len());
            kept.excluded += excluded(&judged);
            let before = kept.verdicts.insert(name, judged);
            kept.excluded -= before.as_ref().map_or(0, excluded);
        });
    }

    pub(super) fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }
}

impl Kept {
    fn put(&mut self, point: Waypoint, most: usize) {
        let put = point.version;
        self.bytes += point.state.len();
        if let Some(same) = self.points.insert(point.version, point) {
            self.bytes -= same.state.len();
        }
        while self.bytes > most && self.points.len() > 1 {
            let own = self.points.range(..put).count();
            let mut number = 0_usize;
            self.points.retain(|_, _| {
                number += 1;
                (number - 1).abs_diff(own).is_multiple_of(2)
            });
            self.bytes = self.points.values().map(|point| point.state.len()).sum();
            self.thinned += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_they_get_too_many_every_second_one_goes_and_the_newest_stays() {
        let mut kept = Kept::default();
        for version in 1..=9 {
            kept.put(Waypoint { version, state: vec![0; 10], ..Waypoint::default() }, 80);
        }
        assert_eq!(kept.points.keys().copied().collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
        assert_eq!((kept.bytes, kept.thinned), (50, 1));
        // One that is larger than all of the room is there all the same: from it one goes on.
        kept.put(Waypoint { version: 10, state: vec![0; 100], ..Waypoint::default() }, 80);
        assert_eq!(kept.points.keys().copied().collect::<Vec<_>>(), [10]);
        kept.put(Waypoint { version: 10, state: vec![0; 20], ..Waypoint::default() }, 80);
        assert_eq!(kept.bytes, 20);
        // Whoever goes on between two points goes on from there, whatever else there was room for.
        kept.put(Waypoint { version: 1, state: vec![0; 40], ..Waypoint::default() }, 80);
        kept.put(Waypoint { version: 4, state: vec![0; 40], ..Waypoint::default() }, 80);
        assert_eq!(kept.points.keys().copied().collect::<Vec<_>>(), [4]);
    }
}
