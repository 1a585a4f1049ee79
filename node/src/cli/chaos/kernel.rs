//! What the kernel of a laboratory does to nodes, and when: cables, datagrams, clocks, shares of the machine.
//!
//! Whatever is broken now says how all of it has to be, and what is not so yet is made so: when something begins or
//! ends, and from time to time, because cables come and go, clocks drift, and a node comes to need memory.
//!
//! **Invariants:** what is in force is what is broken now, and nothing else; what cannot be made so is an error of
//! whoever began it, or of the run. **Not here:** how it is done (`lab`), what a node does to itself (`leases`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fieldmesh_chaos::{Direction, Fault, Network, Pick, history::What};
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::recorder::Recorder;
use crate::cli::{
    CliError,
    fleet::ABROAD,
    lab::{Dropped, Lab, Share, disks::SmallDisk},
};

/// How often it is looked whether a cable is to come or go, and where a clock is by now: half of the shortest time
/// for which a cable is away.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A clock that drifts is set so exactly.
const STEP_MS: i64 = 10;
/// Bytes that pass at once where fewer a second are let through: two of the largest datagrams.
const BURST: u64 = 3_000;
/// And not what nodes ask each other's whereabouts by: who cannot ask is in the end not heard either.
const DATAGRAMS: &str = "ether type ip";
/// Bytes a second that a kilobit a second is.
const BYTES_OF_KBIT: u64 = 125;

/// What is broken, by strike and node, and since when.
type Broken = BTreeMap<(u32, u64), (Fault, Instant)>;

/// What the kernel does to nodes.
pub(super) struct Kernel {
    lab: Arc<Lab>,
    state: Arc<Mutex<State>>,
    looks: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    broken: Broken,
    /// As it was made.
    made: Made,
}

/// How everything has to be, or is; who is not named is as ever.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    /// Nodes whose cable to other nodes is pulled.
    pulled: BTreeSet<u64>,
    /// Datagrams between nodes that are stopped by anything else.
    dropped: Vec<Dropped>,
    /// How far clocks are ahead, in milliseconds.
    clocks: BTreeMap<u64, i64>,
    shares: BTreeMap<u64, Share>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

impl Kernel {
    pub(super) fn new(lab: Arc<Lab>, recorder: Arc<Recorder>) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let (looked_at, of) = (Arc::clone(&state), Arc::clone(&lab));
        let looks = tokio::spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                if let Err(why) = looked_at.lock().await.follow(&of).await {
                    let why = format!("what befalls the nodes is not as it should be: {why}");
                    return recorder.note(What::Harness { why });
                }
            }
        });
        Self { lab, state, looks }
    }

    pub(super) async fn fill(&self, disk: &SmallDisk) -> Result<(), CliError> {
        self.lab.fill(disk).await
    }

    pub(super) async fn break_disk(&self, process: Option<u32>) -> Result<(), CliError> {
        self.lab.break_disk(process).await
    }

    pub(super) async fn begin(&self, strike: u32, node: u64, fault: Fault) -> Result<(), CliError> {
        let mut state = self.state.lock().await;
        state.broken.insert((strike, node), (fault, Instant::now()));
        let made = state.follow(&self.lab).await;
        if made.is_err() {
            state.broken.remove(&(strike, node));
        }
        made.map_err(CliError::failed)
    }

    /// Mends it; how many datagrams it stopped, where these were counted.
    pub(super) async fn end(&self, strike: u32, node: u64) -> Result<Option<u64>, CliError> {
        let mut state = self.state.lock().await;
        let ended = state.broken.remove(&(strike, node));
        state.follow(&self.lab).await.map_err(CliError::failed)?;
        let Some(counter) = ended.and_then(|(fault, _)| counted_by(strike, node, fault)) else {
            return Ok(None);
        };
        let stopped = self.lab.stopped(&counter).await;
        let stopped = stopped.map_err(|why| format!("what it did is not known: {why}"));
        stopped.map(Some).map_err(CliError::failed)
    }
}

impl State {
    /// Makes it as it has to be now.
    async fn follow(&mut self, lab: &Lab) -> Result<(), String> {
        let (wanted, made) = (Made::of(&self.broken, Instant::now()), &mut self.made);
        let changed: Vec<u64> = wanted.pulled.symmetric_difference(&made.pulled).copied().collect();
        for node in changed {
            let is_pulled = wanted.pulled.contains(&node);
            lab.plug(node, !is_pulled).await?;
            // What fails later leaves what is known of the rest right.
            if is_pulled {
                made.pulled.insert(node)
            } else {
                made.pulled.remove(&node)
            };
        }
        if wanted.dropped != made.dropped {
            lab.stop_only(&wanted.dropped).await?;
            made.dropped = wanted.dropped;
        }
        for (node, offset_ms) in changes(&wanted.clocks, &made.clocks) {
            lab.set_clock(node, offset_ms)?;
            made.clocks.insert(node, offset_ms);
        }
        for (node, share) in changes(&wanted.shares, &made.shares) {
            lab.limit(node, share)?;
            made.shares.insert(node, share);
        }
        Ok(())
    }
}

/// The counter that has what a fault stops, from its beginning on. A cable that is pulled has none: what nobody takes
/// from a node is seen nowhere.
fn counted_by(strike: u32, node: u64, fault: Fault) -> Option<String> {
    let since = Instant::now();
    let alone = Made::of(&Broken::from([((strike, node), (fault, since))]), since);
    alone.dropped.into_iter().next().map(|dropped| dropped.counter)
}

/// What is to be set, and to what: who is not wanted otherwise is to be as ever.
fn changes<T: Copy + Default + PartialEq>(
    wanted: &BTreeMap<u64, T>,
    made: &BTreeMap<u64, T>,
) -> Vec<(u64, T)> {
    let of = |all: &BTreeMap<u64, T>, node: &u64| all.get(node).copied().unwrap_or_default();
    let nodes: BTreeSet<&u64> = wanted.keys().chain(made.keys()).collect();
    let changed = nodes.into_iter().filter(|node| of(wanted, node) != of(made, node));
    changed.map(|node| (*node, of(wanted, node))).collect()
}

impl Made {
    /// How everything has to be, because of what is broken.
    fn of(broken: &Broken, now: Instant) -> Self {
        let mut made = Self::default();
        for ((strike, node), (fault, since)) in broken {
            let elapsed_ms = now.saturating_duration_since(*since).as_millis();
            let elapsed_ms = i64::try_from(elapsed_ms).unwrap_or(i64::MAX);
            let whose = (*strike, *node);
            match *fault {
                Fault::Network(network) => made.datagrams(whose, &network, None, elapsed_ms),
                Fault::Abroad(network) => {
                    made.datagrams(whose, &network, Some(ABROAD), elapsed_ms);
                }
                Fault::Link { with: Pick::Node(other), network } => {
                    made.datagrams(whose, &network, Some(other), elapsed_ms);
                }
                Fault::Clock { offset_ms } => made.clock(*node, offset_ms),
                Fault::Drift { ppm } => {
                    let offset_ms = elapsed_ms.saturating_mul(ppm) / 1_000_000;
                    made.clock(*node, offset_ms - offset_ms % STEP_MS);
                }
                Fault::BusyProcessor { threads } => {
                    let share = made.shares.entry(*node).or_default();
                    share.rivals = share.rivals.max(threads);
                }
                Fault::HeldMemory { mib } => {
                    let share = made.shares.entry(*node).or_default();
                    share.taken_mib = share.taken_mib.max(mib);
                }
                _ => {}
            }
        }
        made
    }

    fn clock(&mut self, node: u64, offset_ms: i64) {
        let clock = self.clocks.entry(node).or_default();
        *clock = clock.saturating_add(offset_ms);
    }

    /// What befalls those to and from a node; with another node, those between the two.
    fn datagrams(
        &mut self,
        (strike, node): (u32, u64),
        network: &Network,
        with: Option<u64>,
        elapsed_ms: i64,
    ) {
        let is_away = network.flap_ms.is_some_and(|flap_ms| {
            let turn = elapsed_ms.unsigned_abs().checked_div(flap_ms).unwrap_or(0);
            turn % 2 == 1
        });
        if is_away {
            return;
        }
        let what = match (network.loss_percent, network.rate_kbit) {
            (100, _) if network.direction == Direction::Both && with.is_none() => {
                self.pulled.insert(node);
                return;
            }
            (100, _) => String::new(),
            (0, Some(kbit)) => {
                let rate = kbit.saturating_mul(BYTES_OF_KBIT);
                format!(" limit rate over {rate} bytes/second burst {BURST} bytes")
            }
            (percent, _) => format!(" numgen random mod 100 < {percent}"),
        };
        // As the bridge sees it: what comes in there is what goes out of the node.
        let way = |of_own: &str, of_other: &str| {
            let other = with.map(|with| format!(" {of_other} \"mesh{with}\"")).unwrap_or_default();
            let which = format!("{of_own} \"mesh{node}\"{other} {DATAGRAMS}{what}");
            Dropped { which, counter: format!("strike{strike}_node{node}") }
        };
        if network.direction != Direction::Out {
            self.dropped.push(way("oifname", "iifname"));
        }
        if network.direction != Direction::In {
            self.dropped.push(way("iifname", "oifname"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(broken: &[(u64, Fault)], after_ms: u64) -> Made {
        let since = Instant::now();
        let all =
            (0..).zip(broken).map(|(strike, (node, fault))| ((strike, *node), (*fault, since)));
        Made::of(&all.collect(), since + Duration::from_millis(after_ms))
    }

    fn which(made: &Made) -> Vec<&str> {
        made.dropped.iter().map(|dropped| dropped.which.as_str()).collect()
    }

    #[test]
    fn what_stops_datagrams_is_counted_by_strike_and_node_also_where_it_comes_and_goes() {
        let cut = Network { loss_percent: 100, ..Network::default() };
        let one_way = Network { direction: Direction::In, flap_ms: Some(300), ..cut };
        let link = Fault::Link { with: Pick::Node(3), network: one_way };
        assert_eq!(counted_by(4, 2, link).as_deref(), Some("strike4_node2"));
        for uncounted in [Fault::Network(cut), Fault::Clock { offset_ms: 5 }, Fault::FullDisk] {
            assert_eq!(counted_by(4, 2, uncounted), None, "{uncounted:?}");
        }
        // While it is away it stops nothing, and its counter is the same behind that.
        assert!(made(&[(2, link)], 300).dropped.is_empty());
        assert_eq!(made(&[(2, link)], 600).dropped, made(&[(2, link)], 0).dropped);
    }

    #[test]
    fn a_partition_is_a_pulled_cable_and_one_way_one_region_or_one_node_is_not() {
        let cut = Network { loss_percent: 100, ..Network::default() };
        let one_way = |direction| Network { direction, ..cut };
        let link = |network| Fault::Link { with: Pick::Node(3), network };
        let all = made(&[(2, Fault::Network(cut))], 0);
        assert_eq!((all.pulled, all.dropped), (BTreeSet::from([2]), Vec::new()));
        for (fault, rules) in [
            (Fault::Network(one_way(Direction::In)), &["oifname \"mesh2\" ether type ip"][..]),
            (Fault::Network(one_way(Direction::Out)), &["iifname \"mesh2\" ether type ip"]),
            (
                Fault::Abroad(cut),
                &[
                    "oifname \"mesh2\" iifname \"mesh8\" ether type ip",
                    "iifname \"mesh2\" oifname \"mesh8\" ether type ip",
                ],
            ),
            (
                link(cut),
                &[
                    "oifname \"mesh2\" iifname \"mesh3\" ether type ip",
                    "iifname \"mesh2\" oifname \"mesh3\" ether type ip",
                ],
            ),
            (link(one_way(Direction::In)), &["oifname \"mesh2\" iifname \"mesh3\" ether type ip"]),
            (
                link(Network { loss_percent: 5, ..one_way(Direction::Out) }),
                &["iifname \"mesh2\" oifname \"mesh3\" ether type ip numgen random mod 100 < 5"],
            ),
        ] {
            let made = made(&[(2, fault)], 0);
            assert!(made.pulled.is_empty(), "{fault:?}");
            assert_eq!(which(&made), rules);
        }
        let flapping = Fault::Network(Network { flap_ms: Some(300), ..cut });
        for (after_ms, is_pulled) in [(0, true), (299, true), (300, false), (650, true)] {
            let now = made(&[(1, flapping)], after_ms).pulled;
            assert_eq!(now.contains(&1), is_pulled, "{after_ms}");
        }
    }

    #[test]
    fn what_comes_together_adds_up_and_what_is_over_is_as_ever() {
        let loss = Fault::Network(Network { loss_percent: 5, ..Network::default() });
        let slow = Fault::Network(Network { rate_kbit: Some(100), ..Network::default() });
        let both = made(&[(1, loss), (3, slow)], 0);
        assert_eq!(
            which(&both),
            [
                "oifname \"mesh1\" ether type ip numgen random mod 100 < 5",
                "iifname \"mesh1\" ether type ip numgen random mod 100 < 5",
                "oifname \"mesh3\" ether type ip limit rate over 12500 bytes/second burst 3000 bytes",
                "iifname \"mesh3\" ether type ip limit rate over 12500 bytes/second burst 3000 bytes",
            ]
        );
        let counters: BTreeSet<&str> =
            both.dropped.iter().map(|dropped| dropped.counter.as_str()).collect();
        assert_eq!(counters, BTreeSet::from(["strike0_node1", "strike1_node3"]));
        let (ahead, drift) = (Fault::Clock { offset_ms: 5_000 }, Fault::Drift { ppm: -100_000 });
        let busy = Fault::BusyProcessor { threads: 3 };
        let before = made(&[(1, ahead), (1, drift), (2, busy)], 2_000);
        assert_eq!(before.clocks, BTreeMap::from([(1, 4_800)]));
        assert_eq!(before.shares, BTreeMap::from([(2, Share { rivals: 3, taken_mib: 0 })]));
        let after = made(&[], 0);
        assert_eq!(after, Made::default());
        assert_eq!(changes(&after.clocks, &before.clocks), [(1, 0)]);
        assert_eq!(changes(&after.shares, &before.shares), [(2, Share::default())]);
        assert!(changes(&before.clocks, &before.clocks).is_empty());
    }
}
