//! How a node's disk does: well, standing still, or full.
//!
//! Whoever waits for the disk keeps a [`Pulse`], or says in another way since when it [`Waits`]; one watch looks
//! at all of them, and at the room that is left. What all groups of a node share, the log, is the disk itself; what
//! one has alone, its state, is a [`Part`], which may stand still while the others do well. A disk or a part that
//! stood still is called well again only after a while without it, so that nobody leads by turns.
//!
//! **Invariants:** looking never waits for the disk; a part does no better than the disk. **Not here:** what
//! follows from it: who leads (`replicas`), what is refused (`consensus`).

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

/// Those who may wait, as long as they are kept.
#[derive(Default)]
struct Waiters(Mutex<Vec<Weak<dyn Waits>>>);

impl Waiters {
    fn pulse(&self) -> Pulse {
        let pulse = Pulse::default();
        self.look_at(&pulse.0);
        pulse
    }

    fn look_at<T: Waits + 'static>(&self, what: &Arc<T>) {
        let mut waits = lock(&self.0);
        waits.retain(|known| known.strong_count() > 0);
        let what: Weak<T> = Arc::downgrade(what);
        waits.push(what);
    }

    fn longest(&self, now: Instant) -> Duration {
        let waits = lock(&self.0);
        let since = waits.iter().filter_map(Weak::upgrade).filter_map(|one| one.since(now));
        since.map(|since| now.saturating_duration_since(since)).max().unwrap_or_default()
    }

    /// Whether somebody waits too long, or did a while ago; `stood_still` is when that was last.
    fn are_stalled(
        &self,
        now: Instant,
        limits: &Limits,
        stood_still: &mut Option<Instant>,
    ) -> bool {
        if self.longest(now) > limits.stall {
            *stood_still = Some(now);
        }
        stood_still.is_some_and(|since| now - since < CALM)
    }
}

/// The watch over a node's disk.
pub struct DiskWatch {
    waits: Waiters,
    health: watch::Sender<Health>,
    parts: Mutex<Vec<Weak<Part>>>,
}

impl Default for DiskWatch {
    fn default() -> Self {
        let (waits, parts) = Default::default();
        Self { waits, health: watch::Sender::new(Health::Well), parts }
    }
}

/// The watch over what one group has on the disk alone.
pub struct Part {
    name: String,
    waits: Waiters,
    stood_still: Mutex<Option<Instant>>,
    health: watch::Sender<Health>,
}

impl Part {
    /// A pulse that is looked at for as long as it is kept.
    pub fn pulse(&self) -> Pulse {
        self.waits.pulse()
    }

    /// Looks at what may wait for as long as it is kept.
    pub fn look_at<T: Waits + 'static>(&self, what: &Arc<T>) {
        self.waits.look_at(what);
    }

    /// How the part does, and when that changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn look(&self, now: Instant, limits: &Limits, disk: Health) {
        let is_stalled = self.waits.are_stalled(now, limits, &mut lock(&self.stood_still));
        let own = if is_stalled { Health::Stalled } else { Health::Well };
        let (before, health) = (*self.health.borrow(), own.max(disk));
        if health == before {
            return;
        }
        if own > disk {
            tracing::error!(part = self.name, "it stands still: this node does not lead it");
        }
        self.health.send_replace(health);
    }
}

impl DiskWatch {
    /// A pulse that is looked at for as long as it is kept.
    pub fn pulse(&self) -> Pulse {
        self.waits.pulse()
    }

    /// A part of this name, which is looked at for as long as it is kept.
    pub fn part(&self, name: String) -> Arc<Part> {
        let health = watch::Sender::new(*self.health.borrow());
        let (waits, stood_still) = Default::default();
        let part = Arc::new(Part { name, waits, stood_still, health });
        let mut parts = lock(&self.parts);
        parts.retain(|known| known.strong_count() > 0);
        parts.push(Arc::downgrade(&part));
        part
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
        let now = Instant::now();
        let health = self.look_at_disk(now, engine, limits, stood_still);
        let parts: Vec<Arc<Part>> = lock(&self.parts).iter().filter_map(Weak::upgrade).collect();
        parts.iter().for_each(|part| part.look(now, limits, health));
    }

    fn look_at_disk(
        &self,
        now: Instant,
        engine: &dyn Engine,
        limits: &Limits,
        stood_still: &mut Option<Instant>,
    ) -> Health {
        let before = *self.health.borrow();
        let room = engine.room();
        let is_full = room.is_some_and(|room| room < room_min(limits, before));
        let is_stalled = self.waits.are_stalled(now, limits, stood_still);
        let health = match (is_full, is_stalled) {
            (true, _) => Health::Full,
            (_, true) => Health::Stalled,
            _ => Health::Well,
        };
        if health != before {
            self.becomes(health, before, room, engine, limits);
        }
        health
    }

    fn becomes(
        &self,
        health: Health,
        before: Health,
        room: Option<u64>,
        engine: &dyn Engine,
        limits: &Limits,
    ) {
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
    async fn one_part_stands_still_and_the_others_do_well_until_the_disk_does_not() {
        let (watch, disk, mut still) = (DiskWatch::default(), Disk::default(), None);
        let (log, parts) = (watch.pulse(), ["1", "2"].map(|name| watch.part(name.into())));
        let pulses = [parts[0].pulse(), parts[1].pulse()];
        let mut after = async |ms: u64| {
            tokio::time::advance(Duration::from_millis(ms)).await;
            watch.look(&disk, &LIMITS, &mut still);
            let [one, two] = [0, 1].map(|at: usize| *parts[at].health().borrow());
            (*watch.health().borrow(), one, two)
        };
        let waiting = pulses[0].begin();
        let one_stands = (Health::Well, Health::Stalled, Health::Well);
        assert_eq!(after(1100).await, one_stands);
        drop(waiting);
        assert_eq!(after(4000).await, one_stands, "it may begin again");
        assert_eq!(after(2000).await, (Health::Well, Health::Well, Health::Well));
        let waiting = log.begin();
        assert_eq!(after(1100).await, (Health::Stalled, Health::Stalled, Health::Stalled));
        drop(waiting);
        assert_eq!(after(6000).await, (Health::Well, Health::Well, Health::Well));
        disk.set_room(Some(0));
        assert_eq!(after(100).await, (Health::Full, Health::Full, Health::Full));
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
