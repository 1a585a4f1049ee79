//! What this node does to itself on purpose: faults by lease.
//!
//! Whoever runs chaos renews each lease while it lasts; one that is not renewed ends by itself after
//! seconds, and so do all when the process ends. So nothing is broken for longer than somebody looks.
//!
//! **Invariants:** a node takes no lease that neither its configuration allows nor operators have agreed to, and
//! what they agreed to ends with their agreement; what is in force is what the live leases say, and nothing else;
//! ending them needs neither a leader nor another node; each lease counts what it does, where that is done. **Not
//! here:** who may ask (`web::chaos`), when (whoever runs it), agreeing (`agreement`), datagrams (`mesh::faults`).

mod actors;
mod ballast;
mod effect;
mod herd;
mod links;
mod refusal;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use fieldmesh_actors::seams::Clock;
use fieldmesh_chaos::Fault;
use fieldmesh_domain::{placement::Allowance, time::Millis};
use tokio::{sync::watch, time::Instant};

pub(crate) use self::ballast::most_mib;
pub use self::{
    actors::ActorFaults,
    effect::{Effect, Effects},
    refusal::LeaseError,
};
use self::{actors::Wanted, ballast::Ballast, herd::Herd, links::Links};
use crate::{
    agreement::Agreement,
    audit::{Audit, Deed, Event, OfChaos},
    config::chaos::Rule,
    memory,
    mesh::faults::Faults,
};

/// A lease lasts so long at most: whoever is cut off from a node cannot end what it began, and this does.
pub const LEASE_MAX: Duration = Duration::from_secs(5);
/// Leases at a time: a run has a handful.
const LEASES_MAX: usize = 64;
/// Whoever renews its leases is told that they were stopped, and does not begin them anew.
const STOPPED_FOR: Duration = Duration::from_secs(60);
/// How often it is looked whether one has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The wall clock, moved by what is leased.
#[derive(Clone)]
pub struct Moved<C> {
    inner: C,
    by: Arc<Offset>,
}

/// What leases move the wall clock by, and how often somebody was told such a time.
#[derive(Debug, Default)]
struct Offset {
    ms: AtomicI64,
    told: Effects,
}

impl<C: Clock> Clock for Moved<C> {
    fn now_ms(&self) -> u64 {
        let offset_ms = self.by.ms.load(Ordering::Relaxed);
        if offset_ms != 0 {
            self.by.told.happened();
        }
        self.inner.now_ms().saturating_add_signed(offset_ms)
    }
}

/// What befalls the disk.
#[derive(Debug, Default)]
pub struct DiskFaults {
    delay_ms: AtomicU64,
    is_full: AtomicBool,
    is_broken: AtomicBool,
    is_losing_power: AtomicBool,
    /// Syncs that took longer.
    pub slowed: Effects,
    /// Looks for room that found none.
    pub refused: Effects,
    /// Syncs that failed, or that were under way when the power did.
    pub failed: Effects,
}

impl DiskFaults {
    /// How much longer each write takes.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Whether what is written does not come onto the disk.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Whether the next sync is not lived to see.
    pub fn is_losing_power(&self) -> bool {
        self.is_losing_power.load(Ordering::Relaxed)
    }
}

/// How long certificates of customers' devices last at most.
#[derive(Debug, Default)]
pub struct ShortLives {
    life_s: AtomicU64,
    /// Certificates that were issued so.
    pub issued: Effects,
}

impl ShortLives {
    /// Seconds; none: as long as their profile says.
    pub fn life_s(&self) -> Option<u64> {
        Some(self.life_s.load(Ordering::Relaxed)).filter(|life_s| *life_s > 0)
    }
}

#[derive(Debug, Clone)]
struct Lease {
    fault: Fault,
    since: Instant,
    until: Instant,
    effect: Effect,
}

/// A fault that is in force, or was until now.
#[derive(Debug, Clone, Copy)]
pub struct Leased {
    pub number: u64,
    pub fault: Fault,
    /// For so long yet, unless it is renewed.
    pub left: Duration,
    pub effect: u64,
}

impl Lease {
    fn told(&self, number: u64, now: Instant) -> Leased {
        let left = self.until.saturating_duration_since(now);
        Leased { number, fault: self.fault, left, effect: self.effect.count() }
    }

    /// What it moves the wall clock by.
    fn offset_ms(&self, now: Instant) -> i64 {
        let elapsed_ms = now.saturating_duration_since(self.since).as_millis();
        match self.fault {
            Fault::Clock { offset_ms } => offset_ms,
            Fault::Drift { ppm } => {
                i64::try_from(elapsed_ms).unwrap_or(i64::MAX).saturating_mul(ppm) / 1_000_000
            }
            _ => 0,
        }
    }
}

/// Where the nodes of other regions are, by what is known when it is asked.
type Abroad = Box<dyn Fn() -> BTreeSet<IpAddr> + Send + Sync>;

/// The leases of this node, and what they move.
pub struct Chaos {
    /// By the configuration.
    is_enabled: bool,
    agreement: Arc<Agreement>,
    /// Moved by no lease: by it an agreement ends.
    clock: Arc<dyn Clock>,
    /// Of leases that nobody ends.
    audit: Audit,
    leases: Mutex<BTreeMap<u64, Lease>>,
    network: Option<Arc<Faults>>,
    /// Of devices.
    devices: Option<Arc<Faults>>,
    links: Links,
    abroad: OnceLock<Abroad>,
    offset: Arc<Offset>,
    disk: Arc<DiskFaults>,
    actors: Arc<ActorFaults>,
    lives: Arc<ShortLives>,
    ballast: Ballast,
    /// Bytes that this machine has available, where that is known.
    memory: fn() -> Option<u64>,
    herd: Herd,
    /// Until when no lease is taken.
    stopped: Mutex<Option<Instant>>,
}

impl Chaos {
    pub fn new(is_enabled: bool, clock: Arc<dyn Clock>) -> Self {
        Self {
            is_enabled,
            clock,
            audit: Audit::nowhere(),
            agreement: Arc::default(),
            leases: Mutex::default(),
            network: None,
            devices: None,
            links: Links::default(),
            abroad: OnceLock::new(),
            offset: Arc::default(),
            disk: Arc::default(),
            actors: Arc::default(),
            lives: Arc::default(),
            ballast: Ballast::default(),
            memory: memory::available_bytes,
            herd: Herd::default(),
            stopped: Mutex::default(),
        }
    }

    pub fn on_network(self, network: &Arc<Faults>) -> Self {
        Self { network: Some(Arc::clone(network)), ..self }
    }

    pub fn on_devices(self, devices: &Arc<Faults>) -> Self {
        Self { devices: Some(Arc::clone(devices)), ..self }
    }

    /// Where each other node is, by its number; until this is said, there are none.
    pub fn knows_peers(
        &self,
        whereabouts: impl Fn(u64) -> BTreeSet<SocketAddr> + Send + Sync + 'static,
    ) {
        self.links.know(Box::new(whereabouts));
    }

    /// Where the nodes of other regions are; until this is said, there are none.
    pub fn knows_abroad(&self, abroad: impl Fn() -> BTreeSet<IpAddr> + Send + Sync + 'static) {
        // Said once, by whoever starts the node.
        drop(self.abroad.set(Box::new(abroad)));
    }

    fn abroad(&self) -> BTreeSet<IpAddr> {
        self.abroad.get().map(|abroad| abroad()).unwrap_or_default()
    }

    /// What operators agree on is allowed here too.
    pub fn by_agreement(self, agreement: &Arc<Agreement>) -> Self {
        Self { agreement: Arc::clone(agreement), ..self }
    }

    /// Leases that end by themselves are on record here.
    pub fn recorded_in(self, audit: &Audit) -> Self {
        Self { audit: audit.clone(), ..self }
    }

    /// A clock that is as this one is until a lease moves it.
    pub fn on_clock<C: Clock>(&self, inner: C) -> Moved<C> {
        Moved { inner, by: Arc::clone(&self.offset) }
    }

    pub fn disk(&self) -> Arc<DiskFaults> {
        Arc::clone(&self.disk)
    }

    pub fn actors(&self) -> Arc<ActorFaults> {
        Arc::clone(&self.actors)
    }

    pub fn lives(&self) -> Arc<ShortLives> {
        Arc::clone(&self.lives)
    }

    /// Changes whenever all devices are to be sent away.
    pub fn dismissed(&self) -> watch::Receiver<u64> {
        self.herd.subscribe()
    }

    /// Devices that are connected here.
    pub fn connected(&self) -> u64 {
        self.herd.connected()
    }

    /// Sends all devices away at once; they come again. How many.
    ///
    /// # Errors
    /// A node that may not, or on which chaos was stopped; outside a lab, one whose devices may not be back yet.
    pub fn dismiss(&self) -> Result<u64, LeaseError> {
        // Whoever has stopped chaos finds that nobody is sent away behind it.
        let _leases = self.lock();
        self.demand_allowed()?;
        self.demand_going_on()?;
        let connections = self.herd.send_away(self.is_enabled, Instant::now())?;
        tracing::warn!(connections, "CHAOS: this node sends all its devices away, on purpose");
        Ok(connections)
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

    fn demand_going_on(&self) -> Result<(), LeaseError> {
        if self.is_stopped() { Err(LeaseError::Stopped) } else { Ok(()) }
    }

    /// A node that the kernel ends for want of memory looks like one that ended by itself.
    fn demand_memory(&self, fault: Fault) -> Result<(), LeaseError> {
        let Fault::HeldMemory { mib } = fault else { return Ok(()) };
        // Nothing more is taken than is held, and that is not available any more.
        if mib <= self.ballast.held_mib() {
            return Ok(());
        }
        let most_mib = (self.memory)().map_or(mib, most_mib);
        if mib > most_mib { Err(LeaseError::NoMemory { mib, most_mib }) } else { Ok(()) }
    }

    /// Begins a fault, or goes on with it under the same number; whether it was begun.
    ///
    /// # Errors
    /// A node that may not, a fault that needs others, a lab or a larger machine, too many.
    pub fn lease(&self, number: u64, fault: Fault, lasts: Duration) -> Result<bool, LeaseError> {
        // Whoever ends an agreement's leases takes this after the agreement is over.
        let mut leases = self.lock();
        self.demand_allowed()?;
        if !self.is_enabled && !fault.may_be_agreed() {
            return Err(LeaseError::Guarded(fault.name()));
        }
        if !is_own(&fault) {
            return Err(LeaseError::Outside(fault.name()));
        }
        if !fault.is_in_range() {
            return Err(LeaseError::Range(fault.name()));
        }
        let is_abroad = matches!(fault, Fault::Abroad(_));
        if is_abroad && self.abroad().is_empty() {
            return Err(LeaseError::NoOtherRegion(fault.name()));
        }
        if fault.with().is_some_and(|with| self.links.at(with).is_empty()) {
            return Err(LeaseError::NoOtherNode(fault.name()));
        }
        self.demand_going_on()?;
        self.demand_memory(fault)?;
        if leases.len() >= LEASES_MAX && !leases.contains_key(&number) {
            return Err(LeaseError::Many);
        }
        let now = Instant::now();
        let before = leases.get(&number).filter(|before| before.fault == fault);
        let is_new = before.is_none();
        let (since, effect) =
            before.map_or_else(|| (now, Effect::default()), |one| (one.since, one.effect.clone()));
        leases.insert(number, Lease { fault, since, until: now + lasts.min(LEASE_MAX), effect });
        if is_new {
            tracing::warn!(number, ?fault, "CHAOS: this node harms itself on purpose, by a lease");
        }
        // Nodes of other regions come and move.
        if is_new || is_abroad {
            self.follow(&leases);
        }
        Ok(is_new)
    }

    /// Ends a fault; what it was, where it was there.
    pub fn end(&self, number: u64) -> Option<Leased> {
        let mut leases = self.lock();
        let ended = leases.remove(&number);
        self.follow(&leases);
        ended.map(|lease| lease.told(number, Instant::now()))
    }

    /// Ends all of them, and takes none for a while; which.
    pub fn stop(&self) -> Vec<Leased> {
        let until = Instant::now() + STOPPED_FOR;
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.end_all()
    }

    /// Whether it takes no lease, because somebody stopped it.
    pub fn is_stopped(&self) -> bool {
        let stopped = *self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.is_some_and(|until| Instant::now() < until)
    }

    fn end_all(&self) -> Vec<Leased> {
        let mut leases = self.lock();
        let ended = std::mem::take(&mut *leases);
        self.follow(&leases);
        let now = Instant::now();
        ended.iter().map(|(number, lease)| lease.told(*number, now)).collect()
    }

    /// What is broken now.
    pub fn in_force(&self) -> Vec<Leased> {
        let now = Instant::now();
        self.lock().iter().map(|(number, lease)| lease.told(*number, now)).collect()
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
            let ended = self.end_all();
            if !ended.is_empty() {
                let count = ended.len();
                tracing::warn!(count, "CHAOS: leases end, because what allowed them has ended");
            }
            self.record(Deed::LeaseForbidden, &ended);
        }
        is_agreed
    }

    fn reap(&self, now: Instant) {
        let mut leases = self.lock();
        let is_over = |_: &u64, lease: &mut Lease| lease.until <= now;
        let ended: BTreeMap<u64, Lease> = leases.extract_if(.., is_over).collect();
        if !ended.is_empty() || self.links.have_moved(leased(&leases)) {
            self.follow(&leases);
        }
        // What drifts is elsewhere by now.
        self.move_clock(&leases, now);
        drop(leases);
        let ended: Vec<Leased> =
            ended.iter().map(|(number, lease)| lease.told(*number, now)).collect();
        self.record(Deed::LeaseExpired, &ended);
    }

    /// Of leases that nobody ended.
    fn record(&self, what: Deed, ended: &[Leased]) {
        for Leased { number, fault, effect, .. } in ended {
            let of = OfChaos { effect: Some(*effect), ..OfChaos::of(what) };
            let event = Event::Chaos(of.by_lease(*number, fault));
            self.audit.note(self.clock.now_ms(), event);
        }
    }

    fn move_clock(&self, leases: &BTreeMap<u64, Lease>, now: Instant) {
        let moving = leases.values().map(|lease| (lease.offset_ms(now), &lease.effect));
        let moving: Vec<(i64, &Effect)> = moving.filter(|(by_ms, _)| *by_ms != 0).collect();
        let ms = moving.iter().map(|(by_ms, _)| *by_ms).fold(0, i64::saturating_add);
        self.offset.ms.store(ms, Ordering::Relaxed);
        self.offset.told.follow(moving.into_iter().map(|(_, effect)| effect.clone()).collect());
    }

    /// Makes it so.
    fn follow(&self, leases: &BTreeMap<u64, Lease>) {
        let (mut rules, mut delay_ms, mut actors) = (Vec::new(), 0, Wanted::default());
        let (mut threads, mut mib, mut shortest_s) = (0, 0, None::<u64>);
        let (mut of_devices, mut ends) = (Vec::new(), self.links.follow(leased(leases)));
        for (number, lease) in leases {
            match lease.fault {
                Fault::Link { network, .. } => {
                    let ends = ends.remove(number).unwrap_or_default();
                    let at = |at| (Rule::at(at, &network), lease.effect.clone());
                    rules.extend(ends.into_iter().map(at));
                }
                Fault::Devices(network) => {
                    let rule = |rule| (rule, lease.effect.clone());
                    of_devices.extend(Rule::everywhere(&network).map(rule));
                }
                Fault::Abroad(network) => {
                    let about = |at| (Rule::about(at, &network), lease.effect.clone());
                    rules.extend(self.abroad().into_iter().map(about));
                }
                Fault::Network(network) => {
                    let rule = |rule| (rule, lease.effect.clone());
                    rules.extend(Rule::everywhere(&network).map(rule));
                }
                Fault::SlowDisk { delay_ms: by } => delay_ms = by.max(delay_ms),
                Fault::BusyProcessor { threads: more } => threads = more.max(threads),
                Fault::HeldMemory { mib: more } => mib = more.max(mib),
                Fault::ShortLives { life_s } => {
                    shortest_s = shortest_s.into_iter().chain([life_s]).min();
                }
                fault => actors.add(&fault),
            }
        }
        let is_leased = |fault| leases.values().any(|lease| lease.fault == fault);
        self.count(leases);
        if let Some(network) = &self.network {
            network.lease(rules);
        }
        if let Some(devices) = &self.devices {
            devices.lease(of_devices);
        }
        self.move_clock(leases, Instant::now());
        self.disk.delay_ms.store(delay_ms, Ordering::Relaxed);
        self.disk.is_full.store(is_leased(Fault::FullDisk), Ordering::Relaxed);
        self.disk.is_broken.store(is_leased(Fault::BrokenDisk), Ordering::Relaxed);
        self.disk.is_losing_power.store(is_leased(Fault::PowerCut), Ordering::Relaxed);
        self.lives.life_s.store(shortest_s.unwrap_or(0), Ordering::Relaxed);
        self.actors.follow(&actors);
        self.ballast.follow(threads, mib);
        metrics::gauge!("fieldmesh_chaos_leases").set(leases.len() as f64);
    }

    /// Whoever does what leases want counts for them from now on; for the network and the clock that is said with what
    /// is to be done.
    fn count(&self, leases: &BTreeMap<u64, Lease>) {
        let follow = |effects: &Effects, is_of: fn(&Fault) -> bool| {
            let of = leases.values().filter(|lease| is_of(&lease.fault));
            effects.follow(of.map(|lease| lease.effect.clone()).collect());
        };
        let (disk, actors, ballast) = (&self.disk, &self.actors, &self.ballast);
        follow(&disk.slowed, |fault| matches!(fault, Fault::SlowDisk { .. }));
        follow(&disk.refused, |fault| *fault == Fault::FullDisk);
        follow(&disk.failed, |fault| matches!(fault, Fault::BrokenDisk | Fault::PowerCut));
        follow(&actors.failures, |fault| matches!(fault, Fault::FailingActors { .. }));
        follow(&actors.stalls, |fault| matches!(fault, Fault::StalledActors { .. }));
        follow(&actors.delays, |fault| matches!(fault, Fault::SlowActors { .. }));
        follow(&self.lives.issued, |fault| matches!(fault, Fault::ShortLives { .. }));
        follow(&ballast.computing, |fault| matches!(fault, Fault::BusyProcessor { .. }));
        follow(&ballast.holding, |fault| matches!(fault, Fault::HeldMemory { .. }));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Lease>> {
        // Each change is one insertion or removal.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By number, what is leased.
fn leased(leases: &BTreeMap<u64, Lease>) -> impl Iterator<Item = (u64, Fault)> {
    leases.iter().map(|(number, lease)| (*number, lease.fault))
}

/// Whether a node does it to itself by a lease: it needs nobody else, and is over when the lease is.
fn is_own(fault: &Fault) -> bool {
    match fault {
        Fault::Network(_)
        | Fault::Abroad(_)
        | Fault::Link { .. }
        | Fault::Devices(_)
        | Fault::SlowDisk { .. }
        | Fault::FullDisk
        | Fault::BrokenDisk
        | Fault::PowerCut
        | Fault::Clock { .. }
        | Fault::Drift { .. }
        | Fault::FailingActors { .. }
        | Fault::SlowActors { .. }
        | Fault::StalledActors { .. }
        | Fault::BusyProcessor { .. }
        | Fault::HeldMemory { .. }
        | Fault::ShortLives { .. } => true,
        Fault::Kill
        | Fault::Pause
        | Fault::Drain
        | Fault::Restart
        | Fault::Upgrade
        | Fault::FlippedBits { .. }
        | Fault::Herd
        | Fault::Revoke { .. }
        | Fault::Expire { .. }
        | Fault::Join
        | Fault::Rotate => false,
    }
}

#[cfg(test)]
mod tests;
