//! How a node's disk does: well, standing still, or full.
//!
//! Whoever waits for the disk keeps a [`Pulse`], or says in another way since when it [`Waits`]; one watch looks
//! at all of them, and at the room that is left. A disk that stood still is called well again only after a while
//! without it, so that nobody leads by turns.
//!
//! **Invariant:** looking never waits for the disk. **Not here:** what follows from it: who leads
//! (`replicas`), what is refused (`consensus`).

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::Engine;

/// How often it is looked: well below what counts as a stall.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long a disk must have answered before it is called well again.
const CALM: Duration = Duration::from_secs(5);

/// How the disk does; the worse the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Well,
    /// Something waits for it longer than it may.
    Stalled,
    /// Less room is left than must be.
    Full,
}

/// What counts as not well.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A longer wait is a stall.
    pub stall: Duration,
    /// Bytes that must be left.
    pub room_min: u64,
}

/// What may wait for the disk.
pub trait Waits: Send + Sync {
    /// From when on it waits, as it is now; what is yet to come does not count yet.
    fn since(&self, now: Instant) -> Option<Instant>;
}

/// Whether somebody waits for the disk, and since when; for one that waits for one thing at a time.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// A wait begins; it ends when what is returned is dropped.
    pub fn begin(&self) -> Waiting<'_> {
        self.begin_long(Duration::ZERO)
    }

    /// The same of what is much at once: it may take so long before it is waited for at all.
    pub fn begin_long(&self, takes: Duration) -> Waiting<'_> {
        *lock(&self.0) = Some(Instant::now() + takes);
        Waiting(self)
    }

    /// Whether something goes on that may take longer.
    pub fn is_excused(&self, now: Instant) -> bool {
        lock(&self.0).is_some_and(|from| from > now)
    }
}

impl Waits for Mutex<Option<Instant>> {
    fn since(&self, _now: Instant) -> Option<Instant> {
        *lock(self)
    }
}

/// A wait for the disk.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Pulse);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each change is one assignment or push.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watch over a node's disk.
pub struct DiskWatch {
    waits: Mutex<Vec<Weak<dyn Waits>>>,
    health: watch::Sender<Health>,
}

impl Default for DiskWatch {
    fn default() -> Self {
        Self { waits: Mutex::default(), health: watch::Sender::new(Health::Well) }
    }
}

impl DiskWatch {
    /// A pulse that is looked at for as long as it is kept.
    pub fn pulse(&self) -> Pulse {
        let pulse = Pulse::default();
        self.look_at(&pulse.0);
        pulse
    }

    /// Looks at what may wait for as long as it is kept.
    pub fn look_at<T: Waits + 'static>(&self, what: &Arc<T>) {
        let mut waits = lock(&self.waits);
        waits.retain(|known| known.strong_count() > 0);
        let what: Weak<T> = Arc::downgrade(what);
        waits.push(what);
    }

    /// How the disk does, and when that changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Looks for as long as the node runs.
    pub async fn run(self: Arc<Self>, engine: Arc<dyn Engine>, limits: Limits) {
        let mut stood_still = None;
        loop {
            self.look(&*engine, &limits, &mut stood_still);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks once; `stood_still` is when the disk last did.
    pub fn look(&self, engine: &dyn Engine, limits: &Limits, stood_still: &mut Option<Instant>) {
        let (now, before) = (Instant::now(), *self.health.borrow());
        if self.longest_wait(now) > limits.stall {
            *stood_still = Some(now);
        }
        let room = engine.room();
        let is_full = room.is_some_and(|room| room < room_min(limits, before));
        let is_stalled = stood_still.is_some_and(|since| now - since < CALM);
        let health = match (is_full, is_stalled) {
            (true, _) => Health::Full,
            (_, true) => Health::Stalled,
            _ => Health::Well,
        };
        if health == before {
            return;
        }
        let (room, wanted) = (room.unwrap_or(0), limits.room_min);
        match health {
            Health::Well => tracing::warn!(room, "the disk is well again"),
            Health::Stalled => tracing::error!("the disk stands still: this node leads nothing"),
            Health::Full => {
                tracing::error!(
                    room,
                    wanted,
                    "the disk is full: nothing is written until there is room"
                );
            }
        }
        metrics::gauge!("fieldmesh_disk_health").set(f64::from(health as u8));
        self.health.send_replace(health);
        // Last, and never because the disk stands still: this writes to it.
        if (health == Health::Full) != (before == Health::Full) {
            engine.keep_reserve(health != Health::Full);
        }
    }

    fn longest_wait(&self, now: Instant) -> Duration {
        let waits = lock(&self.waits);
        let since = waits.iter().filter_map(Weak::upgrade).filter_map(|one| one.since(now));
        since.map(|since| now.saturating_duration_since(since)).max().unwrap_or_default()
    }
}

/// Room comes and goes with each file: a quarter more must be there before it counts again.
fn room_min(limits: &Limits, before: Health) -> u64 {
    let more = if before == Health::Full { limits.room_min / 4 } else { 0 };
    limits.room_min.saturating_add(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::simulated::Disk;

    const LIMITS: Limits = Limits { stall: Duration::from_secs(1), room_min: 1000 };

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_is_a_stall_until_it_was_over_for_a_while() {
        let (watch, disk, mut still) = (DiskWatch::default(), Disk::default(), None);
        let (health, pulse) = (watch.health(), watch.pulse());
        let mut after = async |ms: u64| {
            tokio::time::advance(Duration::from_millis(ms)).await;
            watch.look(&disk, &LIMITS, &mut still);
            *health.borrow()
        };
        let waiting = pulse.begin();
        assert_eq!(after(900).await, Health::Well);
        assert_eq!(after(200).await, Health::Stalled);
        drop(waiting);
        assert_eq!(after(1000).await, Health::Stalled, "it may begin again");
        let again = pulse.begin();
        assert_eq!(after(500).await, Health::Stalled);
        drop(again);
        assert_eq!(after(4000).await, Health::Well);
        let much = pulse.begin_long(Duration::from_secs(15));
        assert!(pulse.is_excused(Instant::now()));
        assert_eq!(after(15_900).await, Health::Well, "it may take so long");
        assert!(!pulse.is_excused(Instant::now()));
        assert_eq!(after(200).await, Health::Stalled);
        drop(much);
        drop(pulse);
        assert_eq!(after(60_000).await, Health::Well, "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_is_full_below_its_floor_and_until_there_is_more_than_that() {
        let (watch, disk, mut still) = (DiskWatch::default(), Disk::default(), None);
        let health = watch.health();
        let mut with = |room: Option<u64>| {
            disk.set_room(room);
            watch.look(&disk, &LIMITS, &mut still);
            *health.borrow()
        };
        assert_eq!(with(None), Health::Well, "a disk that does not say how much");
        assert_eq!(with(Some(1000)), Health::Well);
        assert_eq!(with(Some(999)), Health::Full);
        assert_eq!(with(Some(1249)), Health::Full);
        assert_eq!(with(Some(1250)), Health::Well);
    }
}
