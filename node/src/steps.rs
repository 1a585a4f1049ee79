//! What the node does for a message, as it does it: the steps of the claim, with their times.
//!
//! Steps are for people who watch (`fieldmesh demo`, `/v1/watch`): they may be lost when a watcher is
//! slow, and nothing depends on them. They name entities, never content.

use fieldmesh_domain::{EntityId, IndexRow};
use tokio::{sync::broadcast, time::Instant};

/// Steps a slow watcher may fall behind before it loses some.
const BACKLOG: usize = 1024;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A device's message was decrypted (claim steps 5 and 17).
    Decrypted,
    /// Its signature, identity and validity were checked (6 and 17).
    Validated,
    /// An entity's events were sealed and committed (7, 8, 9, 10, 17).
    Committed,
    /// A message for a device was encrypted (11 and 18).
    Encrypted,
    /// It was handed to the network (12 and 18).
    Transmitted,
}

/// One step.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct Step {
    pub act: Act,
    /// The entity that was changed, or whose device the message is from or for.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub entity: EntityId,
    /// Unix microseconds when the step ended.
    pub at_us: u64,
    pub took_us: u64,
    /// The same moment for whoever shares this process's clock.
    #[serde(skip)]
    pub at: Instant,
}

fn as_text<S: serde::Serializer>(id: &EntityId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

/// Where steps are told and watched.
#[derive(Debug, Clone)]
pub struct Steps {
    started: Instant,
    started_us: u64,
    watchers: broadcast::Sender<Step>,
    rows: broadcast::Sender<IndexRow>,
}

impl Steps {
    /// Starts counting at a wall-clock time, in milliseconds.
    pub fn new(now_ms: u64) -> Self {
        let (watchers, _) = broadcast::channel(BACKLOG);
        let (rows, _) = broadcast::channel(BACKLOG);
        Self { started: Instant::now(), started_us: now_ms * 1000, watchers, rows }
    }

    pub fn watch(&self) -> broadcast::Receiver<Step> {
        self.watchers.subscribe()
    }

    /// Index rows as they are committed: what lists show.
    pub fn watch_rows(&self) -> broadcast::Receiver<IndexRow> {
        self.rows.subscribe()
    }

    /// Tells that rows were committed.
    pub fn committed(&self, rows: Vec<IndexRow>) {
        for row in rows {
            // Nobody listens.
            drop(self.rows.send(row));
        }
    }

    /// Tells that something that began at `began` is done.
    pub fn done(&self, act: Act, entity: EntityId, began: Instant) {
        if self.watchers.receiver_count() == 0 {
            return;
        }
        let now = Instant::now();
        let micros = |from: Instant| u64::try_from((now - from).as_micros()).unwrap_or(u64::MAX);
        let step = Step {
            act,
            entity,
            at_us: self.started_us + micros(self.started),
            took_us: micros(began),
            at: now,
        };
        // Nobody listens any more.
        drop(self.watchers.send(step));
    }
}
