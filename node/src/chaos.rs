//! What this node does to itself on purpose: faults by lease.
//!
//! Whoever runs chaos renews each lease while it lasts; one that is not renewed ends by itself after
//! seconds, and so do all when the process ends. So nothing is broken for longer than somebody looks.
//!
//! **Invariants:** a node takes no lease that neither its configuration allows nor operators have agreed to, and
//! what they agreed to ends with their agreement; what is in force is what the live leases say, and nothing else;
//! ending them needs neither a leader nor another node. **Not here:** who may ask (`web::chaos`), when (whoever
//! runs it), agreeing (`agreement`), datagrams (`mesh::faults`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::seams::Clock;
use fieldmesh_chaos::Fault;
use fieldmesh_domain::{placement::Allowance, time::Millis};
use tokio::{sync::watch, time::Instant};

use crate::{agreement::Agreement, config::chaos::Rule, mesh::faults::Faults};

/// A lease lasts so long at most: whoever is cut off from a node cannot end what it began, and this does.
pub const LEASE_MAX: Duration = Duration::from_secs(5);
/// Leases at a time: a run has a handful.
const LEASES_MAX: usize = 64;
/// Whoever renews its leases is told that they were stopped, and does not begin them anew.
const STOPPED_FOR: Duration = Duration::from_secs(60);
/// How often it is looked whether one has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a lease is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error(
        "chaos is not allowed here: two operators allow it for a while with `fieldmesh chaos allow`; a node of a \
         lab has [chaos] enabled = true"
    )]
    NotAllowed,
    #[error(
        "{0} is for labs, whose nodes have [chaos] enabled = true: what operators allow on a cluster in \
         production leaves clocks right and disks with room"
    )]
    Guarded(&'static str),
    #[error("{0} is not done by a node to itself by a lease")]
    Outside(&'static str),
    #[error("the figures of {0} are out of range: docs/chaos.md")]
    Range(&'static str),
    #[error("chaos was stopped here: for a minute no lease is taken")]
    Stopped,
    #[error("there are {LEASES_MAX} leases already: end some")]
    Many,
}

/// The wall clock, moved by what is leased.
#[derive(Clone)]
pub struct Moved<C> {
    inner: C,
    offset_ms: Arc<AtomicI64>,
}

impl<C: Clock> Clock for Moved<C> {
    fn now_ms(&self) -> u64 {
        self.inner.now_ms().saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }
}

/// What befalls the disk.
#[derive(Debug, Default)]
pub struct DiskFaults {
    delay_ms: AtomicU64,
    is_full: AtomicBool,
}

impl DiskFaults {
    /// How much longer each write takes.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    fault: Fault,
    until: Instant,
}

/// The leases of this node, and what they move.
pub struct Chaos {
    /// By the configuration.
    is_enabled: bool,
    agreement: Arc<Agreement>,
    /// Moved by no lease: by it an agreement ends.
    clock: Arc<dyn Clock>,
    leases: Mutex<BTreeMap<u64, Lease>>,
    network: Option<Arc<Faults>>,
    offset_ms: Arc<AtomicI64>,
    disk: Arc<DiskFaults>,
    dismissed: watch::Sender<u64>,
    /// Until when no lease is taken.
    stopped: Mutex<Option<Instant>>,
}

impl Chaos {
    pub fn new(is_enabled: bool, clock: Arc<dyn Clock>) -> Self {
        Self {
            is_enabled,
            clock,
            agreement: Arc::default(),
            leases: Mutex::default(),
            network: None,
            offset_ms: Arc::default(),
            disk: Arc::default(),
            dismissed: watch::Sender::default(),
            stopped: Mutex::default(),
        }
    }

    pub fn on_network(self, network: &Arc<Faults>) -> Self {
        Self { network: Some(Arc::clone(network)), ..self }
    }

    /// What operators agree on is allowed here too.
    pub fn by_agreement(self, agreement: &Arc<Agreement>) -> Self {
        Self { agreement: Arc::clone(agreement), ..self }
    }

    /// A clock that is as this one is until a lease moves it.
    pub fn on_clock<C: Clock>(&self, inner: C) -> Moved<C> {
        Moved { inner, offset_ms: Arc::clone(&self.offset_ms) }
    }

    pub fn disk(&self) -> Arc<DiskFaults> {
        Arc::clone(&self.disk)
    }

    /// Changes whenever all devices are to be sent away.
    pub fn dismissed(&self) -> watch::Receiver<u64> {
        self.dismissed.subscribe()
    }

    /// Sends all devices away at once; they come again.
    ///
    /// # Errors
    /// A node that may not.
    pub fn dismiss(&self) -> Result<(), LeaseError> {
        self.demand_allowed()?;
        tracing::warn!("CHAOS: this node sends all its devices away, on purpose");
        self.dismissed.send_modify(|times| *times += 1);
        Ok(())
    }

    /// Whether the configuration allows leases.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// What operators agreed, while it is in force.
    pub fn allowance(&self) -> Option<Allowance> {
        self.agreement.known().in_force(Millis(self.clock.now_ms())).cloned()
    }

    /// Whether leases are taken at all.
    ///
    /// # Errors
    /// They are not.
    pub fn demand_allowed(&self) -> Result<(), LeaseError> {
        let is_allowed = self.is_enabled || self.allowance().is_some();
        if is_allowed { Ok(()) } else { Err(LeaseError::NotAllowed) }
    }

    /// Begins a fault, or goes on with it under the same number; whether it was begun.
    ///
    /// # Errors
    /// A node that may not, a fault that needs others or a lab, too many.
    pub fn lease(&self, number: u64, fault: Fault, lasts: Duration) -> Result<bool, LeaseError> {
        // Whoever ends an agreement's leases takes this after the agreement is over.
        let mut leases = self.lock();
        self.demand_allowed()?;
        if !self.is_enabled && !fault.may_be_agreed() {
            return Err(LeaseError::Guarded(fault.name()));
        }
        let is_own = matches!(
            fault,
            Fault::Network(_) | Fault::SlowDisk { .. } | Fault::FullDisk | Fault::Clock { .. }
        );
        if !is_own {
            return Err(LeaseError::Outside(fault.name()));
        }
        if !fault.is_in_range() {
            return Err(LeaseError::Range(fault.name()));
        }
        let stopped = *self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_some_and(|until| Instant::now() < until) {
            return Err(LeaseError::Stopped);
        }
        if leases.len() >= LEASES_MAX && !leases.contains_key(&number) {
            return Err(LeaseError::Many);
        }
        let until = Instant::now() + lasts.min(LEASE_MAX);
        let before = leases.insert(number, Lease { fault, until });
        let is_new = before.is_none_or(|before| before.fault != fault);
        if is_new {
            tracing::warn!(number, ?fault, "CHAOS: this node harms itself on purpose, by a lease");
            self.follow(&leases);
        }
        Ok(is_new)
    }

    /// Ends a fault; whether it was there.
    pub fn end(&self, number: u64) -> bool {
        let mut leases = self.lock();
        let was_there = leases.remove(&number).is_some();
        self.follow(&leases);
        was_there
    }

    /// Ends all of them, and takes none for a while; how many.
    pub fn stop(&self) -> usize {
        let until = Instant::now() + STOPPED_FOR;
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.end_all()
    }

    fn end_all(&self) -> usize {
        let mut leases = self.lock();
        let count = std::mem::take(&mut *leases).len();
        self.follow(&leases);
        count
    }

    /// What is broken now, and for how long yet.
    pub fn in_force(&self) -> Vec<(u64, Fault, Duration)> {
        let now = Instant::now();
        let leases = self.lock();
        let left = |lease: &Lease| lease.until.saturating_duration_since(now);
        leases.iter().map(|(number, lease)| (*number, lease.fault, left(lease))).collect()
    }

    /// Ends what is not renewed or not agreed any more, for as long as the node runs.
    pub async fn keep(self: Arc<Self>) {
        let (mut agreed, mut was_agreed) = (self.agreement.watch(), false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Ok(()) = agreed.changed() => {}
            }
            was_agreed = self.look(was_agreed);
            self.reap(Instant::now());
        }
    }

    /// Ends all leases with an agreement, also where the configuration would allow them; whether there is one.
    fn look(&self, was_agreed: bool) -> bool {
        let is_agreed = self.allowance().is_some();
        if (was_agreed && !is_agreed) || self.demand_allowed().is_err() {
            let count = self.end_all();
            if count > 0 {
                tracing::warn!(count, "CHAOS: leases end, because what allowed them has ended");
            }
        }
        is_agreed
    }

    fn reap(&self, now: Instant) {
        let mut leases = self.lock();
        let before = leases.len();
        leases.retain(|_, lease| now < lease.until);
        if leases.len() < before {
            self.follow(&leases);
        }
    }

    /// Makes it so.
    fn follow(&self, leases: &BTreeMap<u64, Lease>) {
        let (mut rules, mut offset_ms, mut delay_ms, mut is_full) = (Vec::new(), 0, 0, false);
        for lease in leases.values() {
            match lease.fault {
                Fault::Network(network) => rules.extend(Rule::everywhere(&network)),
                Fault::Clock { offset_ms: by } => offset_ms = by.saturating_add(offset_ms),
                Fault::SlowDisk { delay_ms: by } => delay_ms = by.max(delay_ms),
                Fault::FullDisk => is_full = true,
                _ => {}
            }
        }
        if let Some(network) = &self.network {
            network.lease(rules);
        }
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
        self.disk.delay_ms.store(delay_ms, Ordering::Relaxed);
        self.disk.is_full.store(is_full, Ordering::Relaxed);
        metrics::gauge!("fieldmesh_chaos_leases").set(leases.len() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Lease>> {
        // Each change is one insertion or removal.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_chaos::Network;
    use fieldmesh_domain::{
        IndexRow,
        placement::{Allowances, Ended},
    };

    use super::*;
    use crate::audit::Audit;

    struct Noon;

    impl Clock for Noon {
        fn now_ms(&self) -> u64 {
            1_000_000
        }
    }

    const LATE: Fault = Fault::Clock { offset_ms: -1_000 };
    const SLOW: Fault = Fault::SlowDisk { delay_ms: 20 };

    /// Where it is what the test says.
    #[derive(Default)]
    struct Told(AtomicU64);

    impl Clock for Told {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn lab() -> Chaos {
        Chaos::new(true, Arc::new(Noon))
    }

    /// A node in production, on which chaos is allowed until a time.
    fn agreed_until(until_ms: u64) -> (Arc<Chaos>, Arc<Agreement>, Arc<Told>) {
        let (agreement, clock) = (Agreement::new(Audit::nowhere()), Arc::new(Told::default()));
        let (since, until) = (Millis(0), Millis(until_ms));
        let (why, proposed_by, approved_by) = ("a game".into(), "ann".into(), "bob".into());
        let allowance = Some(Allowance { since, until, why, proposed_by, approved_by });
        let row = Allowances { epoch: 2, allowance, ..Allowances::default() };
        agreement.applied(&[IndexRow::Allowances(row)]);
        let chaos = Chaos::new(false, Arc::clone(&clock) as _).by_agreement(&agreement);
        (Arc::new(chaos), agreement, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn what_operators_agreed_leaves_clocks_right_and_disks_with_room() {
        let (chaos, _, _) = agreed_until(60_000);
        assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Ok(true));
        assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Ok(false), "it goes on");
        let guarded = [(LATE, "clock"), (Fault::FullDisk, "disk.full")];
        for (fault, name) in guarded {
            assert_eq!(chaos.lease(2, fault, LEASE_MAX), Err(LeaseError::Guarded(name)));
        }
        assert_eq!(chaos.in_force().len(), 1);
        chaos.dismiss().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_with_the_time_of_what_operators_agreed() {
        let (chaos, _, clock) = agreed_until(60_000);
        let keeps = tokio::spawn(Arc::clone(&chaos).keep());
        chaos.lease(1, SLOW, LEASE_MAX).unwrap();
        clock.0.store(59_999, Ordering::Relaxed);
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert_eq!(chaos.in_force().len(), 1);
        clock.0.store(60_000, Ordering::Relaxed);
        assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Err(LeaseError::NotAllowed));
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert_eq!((chaos.in_force().len(), chaos.disk().delay()), (0, Duration::ZERO));
        keeps.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_at_once_when_an_operator_ends_what_was_agreed() {
        let (chaos, agreement, _) = agreed_until(60_000);
        let keeps = tokio::spawn(Arc::clone(&chaos).keep());
        chaos.lease(1, SLOW, LEASE_MAX).unwrap();
        tokio::task::yield_now().await;
        let ended = Some(Ended { at: Millis(1), by: "cid".into() });
        let row = Allowances { epoch: 3, ended, ..Allowances::default() };
        agreement.applied(&[IndexRow::Allowances(row)]);
        // Time stands still: nobody has looked meanwhile.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!((chaos.in_force().len(), chaos.disk().delay()), (0, Duration::ZERO));
        assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Err(LeaseError::NotAllowed));
        keeps.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_renewed_ends_by_itself() {
        let chaos = lab();
        let (clock, disk) = (chaos.on_clock(Noon), chaos.disk());
        chaos.lease(1, LATE, Duration::from_secs(2)).unwrap();
        chaos.lease(2, SLOW, Duration::from_secs(3600)).unwrap();
        assert_eq!((clock.now_ms(), disk.delay()), (999_000, Duration::from_millis(20)));
        tokio::time::advance(Duration::from_secs(1)).await;
        chaos.lease(1, LATE, Duration::from_secs(2)).unwrap();
        tokio::time::advance(Duration::from_millis(1_900)).await;
        chaos.reap(Instant::now());
        assert_eq!(clock.now_ms(), 999_000, "it was renewed");
        tokio::time::advance(Duration::from_millis(200)).await;
        chaos.reap(Instant::now());
        assert_eq!(clock.now_ms(), 1_000_000);
        assert_eq!(disk.delay(), Duration::from_millis(20));
        tokio::time::advance(LEASE_MAX).await;
        chaos.reap(Instant::now());
        assert_eq!(disk.delay(), Duration::ZERO, "an hour is too long for a lease");
    }

    #[tokio::test(start_paused = true)]
    async fn all_ends_at_once_when_that_is_wanted() {
        let chaos = lab();
        chaos.lease(1, Fault::FullDisk, LEASE_MAX).unwrap();
        chaos.lease(2, LATE, LEASE_MAX).unwrap();
        chaos.lease(3, LATE, LEASE_MAX).unwrap();
        assert!(chaos.disk().is_full());
        assert_eq!(chaos.on_clock(Noon).now_ms(), 998_000, "two of them");
        assert!(chaos.end(2) && !chaos.end(2));
        assert_eq!(chaos.in_force().len(), 2);
        assert_eq!(chaos.stop(), 2);
        assert_eq!(chaos.lease(4, LATE, LEASE_MAX), Err(LeaseError::Stopped));
        assert_eq!((chaos.disk().is_full(), chaos.on_clock(Noon).now_ms()), (false, 1_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_takes_no_lease_that_it_may_not_or_cannot_have() {
        let refusing = Chaos::new(false, Arc::new(Noon));
        assert_eq!(refusing.lease(1, LATE, LEASE_MAX), Err(LeaseError::NotAllowed));
        let chaos = lab();
        assert_eq!(chaos.lease(1, Fault::Kill, LEASE_MAX), Err(LeaseError::Outside("kill")));
        let forever = Fault::SlowDisk { delay_ms: u64::MAX };
        assert_eq!(chaos.lease(1, forever, LEASE_MAX), Err(LeaseError::Range("disk.slow")));
        let before = Network { delay_ms: 1, jitter_ms: 2, ..Network::default() };
        assert!(chaos.lease(1, Fault::Network(before), LEASE_MAX).is_err());
        for number in 0..LEASES_MAX as u64 {
            chaos.lease(number, SLOW, LEASE_MAX).unwrap();
        }
        assert_eq!(chaos.lease(1_000, SLOW, LEASE_MAX), Err(LeaseError::Many));
        chaos.lease(0, LATE, LEASE_MAX).unwrap();
    }
}
