//! The audit record: who was refused and why, who was given what; one JSON object a line.
//!
//! Lines go to `audit.jsonl` in the node's directory, oldest first. A flood of refusals costs a
//! bounded queue and a bounded number of files: what does not fit is counted, and the next line that
//! fits says how many are missing. **Invariant:** no line holds content, secrets or names of
//! persons. **Not here:** metrics (who is not named there), the log for people (`tracing`).

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fieldmesh_chaos::Fault;
use fieldmesh_domain::EntityId;
use serde::{Serialize, Serializer};
use tokio::sync::mpsc;

use crate::files::{self, Access};

/// Lines that may wait for the disk.
const QUEUE_LINES: usize = 4096;
/// A file is put aside when it is this large, and so many of those are kept: 64 MiB in all.
const FILE_BYTES_MAX: u64 = 16 << 20;
const FILES_KEPT: u32 = 3;

/// What is recorded.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A device's connection was refused.
    ConnectionRefused {
        from: SocketAddr,
        why: &'a str,
        detail: &'a str,
    },
    /// A connected device's key bundle was not believed.
    BundleRefused {
        #[serde(serialize_with = "text")]
        device: EntityId,
        why: &'a str,
    },
    /// A connected device's message was dropped.
    MessageRefused {
        #[serde(serialize_with = "text")]
        device: EntityId,
        why: &'a str,
    },
    CertificateIssued {
        #[serde(serialize_with = "text")]
        registration: EntityId,
        serial: &'a str,
        not_after_s: u64,
    },
    EnrollmentRefused {
        user: &'a str,
        status: u16,
        request_id: &'a str,
        why: &'a str,
    },
    /// Somebody at this machine had its node forget what it heard of another node's starts.
    StartsForgotten {
        node: u64,
    },
    /// Somebody at this machine had the cluster go on without regions that are lost.
    RegionsGivenUp {
        without: &'a str,
    },
    /// This node was broken on purpose, or is not any more; or an operator had a part in allowing it.
    Chaos(OfChaos<'a>),
}

/// What was done about chaos.
#[derive(Debug, Serialize)]
pub struct OfChaos<'a> {
    /// An operator; nobody where it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a str>,
    pub what: Deed,
    /// By which lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Fault>,
    /// Of what is over: how often it had its effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<u64>,
    /// Of what was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'a str>,
    /// Of an allowance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposed_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What that was.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A lease was begun; going on with it is not listed.
    Leased,
    LeaseRefused,
    LeaseEnded,
    /// Nobody renewed it.
    LeaseExpired,
    /// It ended with what allowed it.
    LeaseForbidden,
    /// All leases were ended, each of which is listed, too.
    Stopped,
    /// All devices were sent away.
    Herd,
    HerdRefused,
    AllowanceProposed,
    AllowanceBegun,
    AllowanceEnded,
    AllowanceRefused,
}

impl<'a> Event<'a> {
    /// What an operator did.
    pub fn chaos(by: &'a str, what: Deed) -> Self {
        Self::Chaos(OfChaos::by(by, what))
    }
}

impl<'a> OfChaos<'a> {
    /// What nobody did.
    pub fn of(what: Deed) -> Self {
        let (by, fault, why, proposed_by) = (None, None, None, None);
        let (lease, figures, effect, until_ms) = (None, None, None, None);
        Self { by, what, lease, fault, figures, effect, why, proposed_by, until_ms }
    }

    pub fn by(by: &'a str, what: Deed) -> Self {
        Self { by: Some(by), ..Self::of(what) }
    }

    pub fn by_lease(self, number: u64, fault: &Fault) -> Self {
        let (lease, name, figures) = (Some(number), Some(fault.name()), Some(*fault));
        Self { lease, fault: name, figures, ..self }
    }
}

fn text<S: Serializer>(id: &EntityId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    /// Lines before this one that found no place.
    #[serde(skip_serializing_if = "is_zero")]
    missing: u64,
    #[serde(flatten)]
    event: Event<'a>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where events are recorded.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    lines: Option<mpsc::Sender<Vec<u8>>>,
    missing: Arc<AtomicU64>,
}

impl Audit {
    /// Records nothing: for simulations, which have no files.
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// Records to whoever looks.
    #[cfg(test)]
    pub(crate) fn looked_at() -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (lines, queue) = mpsc::channel(QUEUE_LINES);
        (Self { lines: Some(lines), missing: Arc::default() }, queue)
    }

    /// Records into `audit.jsonl` in a directory.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn in_dir(dir: &Path) -> io::Result<Self> {
        let path = dir.join("audit.jsonl");
        let file = files::open_append(&path, Access::Owner)?;
        let (lines, queue) = mpsc::channel(QUEUE_LINES);
        tokio::spawn(write(path, file, queue));
        Ok(Self { lines: Some(lines), missing: Arc::default() })
    }

    /// Records an event; never waits.
    pub fn note(&self, at_ms: u64, event: Event<'_>) {
        let Some(lines) = &self.lines else { return };
        let missing = self.missing.swap(0, Ordering::Relaxed);
        let line = serde_json::to_vec(&Line { at_ms, missing, event });
        let kept = line.is_ok_and(|mut line| {
            line.push(b'\n');
            lines.try_send(line).is_ok()
        });
        if !kept {
            self.missing.fetch_add(missing + 1, Ordering::Relaxed);
            metrics::counter!("fieldmesh_audit_lines_missing_total").increment(1);
        }
    }
}

/// Records an event of a node that does not run.
///
/// # Errors
/// Where the file cannot be written.
pub fn note_at_once(dir: &Path, at_ms: u64, event: Event<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line { at_ms, missing: 0, event })?;
    line.push(b'\n');
    files::open_append(&dir.join("audit.jsonl"), Access::Owner)?.append(&line).map(drop)
}

async fn write(path: PathBuf, mut file: files::Appending, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut lines) = queue.recv().await {
        while let Ok(more) = queue.try_recv() {
            lines.extend(more);
        }
        let written = file.append(&lines).and_then(|bytes| {
            if bytes >= FILE_BYTES_MAX {
                file = files::put_aside(&path, FILES_KEPT, Access::Owner)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(%error, path = %path.display(), "audit lines are lost");
            metrics::counter!("fieldmesh_audit_lines_missing_total").increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_line_says_what_happened_and_how_many_are_missing() {
        let device = "dsk_eu1_r0000000000000000000".parse().unwrap();
        let event = Event::MessageRefused { device, why: "malformed" };
        let line = serde_json::to_string(&Line { at_ms: 5, missing: 0, event }).unwrap();
        assert_eq!(
            line,
            r#"{"at_ms":5,"event":"message_refused","device":"dsk_eu1_r0000000000000000000","why":"malformed"}"#
        );
        let event = Event::chaos("op", Deed::AllowanceEnded);
        let line = serde_json::to_string(&Line { at_ms: 5, missing: 0, event }).unwrap();
        assert_eq!(line, r#"{"at_ms":5,"event":"chaos","by":"op","what":"allowance_ended"}"#);
        let slow = Fault::SlowDisk { delay_ms: 20 };
        let event = Event::Chaos(
            OfChaos { effect: Some(7), ..OfChaos::of(Deed::LeaseExpired) }.by_lease(3, &slow),
        );
        let line = serde_json::to_string(&Line { at_ms: 5, missing: 0, event }).unwrap();
        assert_eq!(
            line,
            r#"{"at_ms":5,"event":"chaos","what":"lease_expired","lease":3,"fault":"disk.slow","figures":{"kind":"slow_disk","delay_ms":20},"effect":7}"#
        );
        let (lines, queue) = mpsc::channel(1);
        let audit = Audit { lines: Some(lines), missing: Arc::default() };
        for why in ["first", "second", "third"] {
            audit.note(0, Event::MessageRefused { device, why });
        }
        assert_eq!(audit.missing.load(Ordering::Relaxed), 2);
        drop(queue);
    }
}
