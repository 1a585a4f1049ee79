//! What can be broken, and where.
//!
//! **Invariants:** a fault that was read can be followed: its figures are in range. Each ends by itself.
//! **Not here:** when it comes (`timeline`), how it is done (the node, and the laboratory).

mod harm;

use serde::{Deserialize, Serialize};

pub(crate) use harm::{Bound, Harm};

/// Longer than any wait between nodes: who wants more wants a partition.
pub(crate) const DELAY_MS_MAX: u64 = 10_000;
/// A day.
pub(crate) const OFFSET_MS_MAX: u64 = 24 * 3_600_000;
/// As much as there is.
pub(crate) const RATE_KBIT_MAX: u64 = 10_000_000;
pub(crate) const FLAP_MS_MAX: u64 = 60_000;
/// A tenth: a clock that gains or loses more is one that jumps.
pub(crate) const DRIFT_PPM_MAX: u64 = 100_000;
/// More than any node has processors.
pub(crate) const THREADS_MAX: u64 = 64;
pub(crate) const HELD_MIB_MAX: u64 = 16 * 1024;
/// Whoever loses more has lost the disk.
pub(crate) const BITS_MAX: u64 = 64;
/// Longer than any run.
pub(crate) const LIFE_S_MAX: u64 = 24 * 3_600;

/// From here on a node counts as one that is out, though not everything of it is gone. Figures are those of nodes in
/// one region, which have a heartbeat each 100 ms and elect within 300 to 600 ms.
///
/// Of a hundred datagrams: with 30 a follower misses three heartbeats in a row once in some eleven seconds, and stands
/// for election; with 10, once in five minutes.
const OUT_LOSS_PERCENT: u64 = 30;
/// There and back: a vote, or an answer to the leader, comes when the next election has begun already. A write to the
/// log that takes so long keeps the answer back as long.
const OUT_DELAY_MS: u64 = 300;
/// Heartbeats of eight groups to two nodes, ten a second of 150 bytes each with what QUIC, UDP and IP add, are 192
/// already, and nothing has been replicated yet.
const OUT_RATE_KBIT: u64 = 256;
/// Of a hundred entities: most of those that it leads answer nobody.
const OUT_ENTITIES_PERCENT: u64 = 50;
/// An entity that takes so long for a step answers hardly anybody in time: a request has several.
const OUT_STEP_MS: u64 = 1_000;
/// By the kernel a node has as much as one of these and one more has of a processor: a ninth, 11 ms of the 100 from one
/// heartbeat to the next, in which it answers those of eight groups and writes its log.
const OUT_THREADS: u64 = 8;

/// From here on a node counts as out for its devices: one that has not heard it within two seconds goes elsewhere.
///
/// Of a hundred datagrams: its first word is several, and there is time for two attempts.
const LONELY_LOSS_PERCENT: u64 = 50;
/// There and back.
const LONELY_DELAY_MS: u64 = 2_000;
/// In two seconds two devices shake hands over it.
const LONELY_RATE_KBIT: u64 = 64;

/// Which way datagrams go, as the node sees it that does the harm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Both,
    In,
    Out,
}

/// What happens to datagrams between a node and others. Nothing of it: all arrive as ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub direction: Direction,
    pub delay_ms: u64,
    /// So much sooner or later at most.
    pub jitter_ms: u64,
    /// Of a hundred; all of them are a partition.
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// Of a hundred, so many overtake.
    pub reorder_percent: u64,
    /// Of a hundred, so many have a bit turned.
    pub corrupt_percent: u64,
    /// Kilobits a second; none: as many as there are.
    pub rate_kbit: Option<u64>,
    /// On for so long, then off for as long, and so on; none: all the time.
    pub flap_ms: Option<u64>,
}

/// Something that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Between a node and all others.
    Network(Network),
    /// Between a node and those of other regions: a kind of its own, so that a release that does not know it refuses.
    Abroad(Network),
    /// Between a node and one other: a kind of its own as that is. Whoever leads is found when it comes, so that a node
    /// is told the other one's number.
    Link { with: Pick, network: Network },
    /// Between a node and its devices.
    Devices(Network),
    /// SIGKILL; it is started again when the fault ends.
    Kill,
    /// SIGSTOP, and SIGCONT when the fault ends.
    Pause,
    /// It gives up what it leads, and takes none of it until the fault ends.
    Drain,
    /// It is ended as an upgrade ends it, and started again at once.
    Restart,
    /// The same, and what is started is the program that runs this, where it was the one before.
    Upgrade,
    /// Every write to its log takes so much longer.
    SlowDisk { delay_ms: u64 },
    /// Its disk takes no more.
    FullDisk,
    /// Its log cannot be written: a node that sees that ends itself, and is started again when the fault ends.
    BrokenDisk,
    /// Its power fails: what its log wrote and did not sync is gone, and it is started again when the fault ends.
    PowerCut,
    /// SIGKILL, and so many bits of its stored files are others when it is started at once; when the fault ends it
    /// is killed, they are what they were, and it is started again.
    FlippedBits { bits: u64 },
    /// Its wall clock is so much ahead, or behind where negative.
    Clock { offset_ms: i64 },
    /// Its wall clock gains so many millionths, or loses them where negative.
    Drift { ppm: i64 },
    /// Of a hundred of its entities, so many fail in the midst of their next step, each once.
    FailingActors { percent: u64 },
    /// Of a hundred of its entities, so many take so much longer for each step.
    SlowActors { percent: u64, delay_ms: u64 },
    /// Of a hundred of its entities, so many stand still.
    StalledActors { percent: u64 },
    /// So many threads of it compute all the time, for nothing.
    BusyProcessor { threads: u64 },
    /// It holds so much memory, for nothing.
    HeldMemory { mib: u64 },
    /// All devices at the node lose their connections at once, and come again.
    Herd,
    /// The certificates of so many devices are revoked while they are connected.
    Revoke { devices: u32 },
    /// The certificates of so many devices end while they are connected; they are renewed when the fault ends.
    Expire { devices: u32 },
    /// What makes that possible: certificates that a node issues to customers' devices end after so long.
    ShortLives { life_s: u64 },
    /// One node more joins, and stays.
    Join,
    /// The next issuing CA takes over from the present one.
    Rotate,
}

/// Whom a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    Node(u64),
    /// Whoever leads a shard then; of any shard where none is named.
    Leader(Option<u32>),
    Random,
    All,
    /// No node: devices.
    Nobody,
}

/// Each kind as a scenario names it, with the fields that it has besides when and whom.
pub const KINDS: &[(&str, &[&str])] = &[
    ("partition", &["direction", "link", "between", "with", "flap", "plane"]),
    ("delay", &["direction", "link", "between", "with", "delay", "jitter", "plane"]),
    ("loss", &["direction", "link", "between", "with", "percent", "plane"]),
    ("duplicate", &["direction", "link", "between", "with", "percent", "plane"]),
    ("reorder", &["direction", "link", "between", "with", "percent", "delay", "jitter", "plane"]),
    ("corrupt", &["direction", "link", "between", "with", "percent", "plane"]),
    ("bandwidth", &["direction", "link", "between", "with", "rate_kbit", "plane"]),
    ("kill", &[]),
    ("pause", &[]),
    ("drain", &[]),
    ("restart", &[]),
    ("upgrade", &[]),
    ("disk.slow", &["delay", "plane"]),
    ("disk.full", &["plane"]),
    ("disk.broken", &["plane"]),
    ("disk.lost", &[]),
    ("disk.flip", &["bits"]),
    ("clock", &["ahead", "behind", "plane"]),
    ("drift", &["ppm", "plane"]),
    ("actor.fail", &["percent"]),
    ("actor.slow", &["percent", "delay"]),
    ("actor.stall", &["percent"]),
    ("cpu", &["threads", "plane"]),
    ("memory", &["mib", "plane"]),
    ("herd", &[]),
    ("revoke", &["devices"]),
    ("expire", &["devices"]),
    ("join", &[]),
    ("rotate", &[]),
];

impl Fault {
    /// The kind by which scenarios and reports name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Network(network)
            | Self::Abroad(network)
            | Self::Link { network, .. }
            | Self::Devices(network) => network.name(),
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Drain => "drain",
            Self::Restart => "restart",
            Self::Upgrade => "upgrade",
            Self::SlowDisk { .. } => "disk.slow",
            Self::FullDisk => "disk.full",
            Self::BrokenDisk => "disk.broken",
            Self::PowerCut => "disk.lost",
            Self::FlippedBits { .. } => "disk.flip",
            Self::Clock { .. } => "clock",
            Self::Drift { .. } => "drift",
            Self::FailingActors { .. } => "actor.fail",
            Self::SlowActors { .. } => "actor.slow",
            Self::StalledActors { .. } => "actor.stall",
            Self::BusyProcessor { .. } => "cpu",
            Self::HeldMemory { .. } => "memory",
            Self::Herd => "herd",
            Self::Revoke { .. } => "revoke",
            Self::Expire { .. } | Self::ShortLives { .. } => "expire",
            Self::Join => "join",
            Self::Rotate => "rotate",
        }
    }

    /// What its effect is counted in, by whoever does it: what was counted and is 0 was not there. None: what is done
    /// shows it by itself, or it fails. A process has ended (also of a disk that breaks or loses its power, with all
    /// that it counted), is stopped, or is another one; bits are others; the cluster has committed that a node leads
    /// nothing, joined, or that a certificate is revoked or an authority another.
    pub fn counted(&self) -> Option<&'static str> {
        match self {
            Self::Network(_) | Self::Abroad(_) | Self::Link { .. } | Self::Devices(_) => {
                Some("datagrams")
            }
            Self::SlowDisk { .. } => Some("syncs"),
            // Each node looks for room all the time, also where nobody writes.
            Self::FullDisk => Some("looks for room"),
            Self::Clock { .. } | Self::Drift { .. } => Some("looks at the clock"),
            Self::FailingActors { .. } => Some("entities"),
            Self::SlowActors { .. } | Self::StalledActors { .. } => Some("steps of entities"),
            Self::BusyProcessor { .. } => Some("rounds of computing"),
            Self::HeldMemory { .. } => Some("MiB"),
            Self::Herd => Some("connections"),
            Self::Expire { .. } => Some("devices"),
            Self::ShortLives { .. } => Some("certificates"),
            Self::Kill
            | Self::Pause
            | Self::Drain
            | Self::Restart
            | Self::Upgrade
            | Self::BrokenDisk
            | Self::PowerCut
            | Self::FlippedBits { .. }
            | Self::Revoke { .. }
            | Self::Join
            | Self::Rotate => None,
        }
    }

    /// Whether its figures are such as a scenario may have: what comes from elsewhere is not believed.
    pub fn is_in_range(&self) -> bool {
        match *self {
            Self::Network(network)
            | Self::Abroad(network)
            | Self::Link { network, .. }
            | Self::Devices(network) => network.is_in_range(),
            Self::SlowDisk { delay_ms } => delay_ms <= DELAY_MS_MAX,
            Self::Clock { offset_ms } => offset_ms.unsigned_abs() <= OFFSET_MS_MAX,
            Self::Drift { ppm } => (1..=DRIFT_PPM_MAX).contains(&ppm.unsigned_abs()),
            Self::FailingActors { percent } | Self::StalledActors { percent } => percent <= 100,
            Self::SlowActors { percent, delay_ms } => percent <= 100 && delay_ms <= DELAY_MS_MAX,
            Self::BusyProcessor { threads } => threads <= THREADS_MAX,
            Self::HeldMemory { mib } => mib <= HELD_MIB_MAX,
            Self::FlippedBits { bits } => bits <= BITS_MAX,
            Self::ShortLives { life_s } => (1..=LIFE_S_MAX).contains(&life_s),
            _ => true,
        }
    }

    /// The other end, where it is of one link.
    pub fn with(&self) -> Option<Pick> {
        match self {
            Self::Link { with, .. } => Some(*with),
            _ => None,
        }
    }

    /// Whether the node that it befalls may stop serving, wholly or because little of it comes through in time: such
    /// nodes count against a quorum. Of a link one of the two nodes does: without it all others hear each other.
    /// Which faults together take one that none of them takes by itself, a timeline knows.
    pub fn may_take_a_node(&self) -> bool {
        if let Some(harm) = self.harm() {
            return harm.is_beyond();
        }
        match *self {
            Self::SlowDisk { delay_ms } => delay_ms >= OUT_DELAY_MS,
            Self::StalledActors { percent } => percent >= OUT_ENTITIES_PERCENT,
            Self::SlowActors { percent, delay_ms } => {
                percent >= OUT_ENTITIES_PERCENT && delay_ms >= OUT_STEP_MS
            }
            Self::BusyProcessor { threads } => threads >= OUT_THREADS,
            _ => self.takes_a_node(),
        }
    }

    /// Whether it takes the node that it befalls out altogether: nothing else befalls that one meanwhile.
    pub fn takes_a_node(&self) -> bool {
        match self {
            Self::Network(network) => network.loss_percent == 100 || network.corrupt_percent == 100,
            Self::Kill
            | Self::Pause
            | Self::Drain
            | Self::Restart
            | Self::Upgrade
            | Self::FullDisk
            | Self::BrokenDisk
            | Self::PowerCut
            | Self::FlippedBits { .. } => true,
            _ => false,
        }
    }

    /// Whether a node does it to itself when it is asked; the others need whoever runs its process.
    pub fn is_inside(&self) -> bool {
        !matches!(
            self,
            Self::Kill
                | Self::Pause
                | Self::Restart
                | Self::Upgrade
                | Self::BrokenDisk
                | Self::PowerCut
                | Self::FlippedBits { .. }
                | Self::Join
                | Self::Rotate
        )
    }

    /// Whether it befalls no node of those that are there.
    pub fn has_no_pick(&self) -> bool {
        matches!(self, Self::Revoke { .. } | Self::Expire { .. } | Self::Join | Self::Rotate)
    }

    /// Whether the node is ended in order and started at once.
    pub fn starts_again(&self) -> bool {
        matches!(self, Self::Restart | Self::Upgrade)
    }

    /// Whether devices that were connected where it befalls are not any more.
    pub fn ends_connections(&self) -> bool {
        let leaves = match self {
            Self::Pause | Self::Drain | Self::Herd => true,
            Self::Devices(network) => network.may_take_devices(),
            _ => false,
        };
        leaves || self.ends_the_process() || self.starts_again()
    }

    /// Whether devices that are connected where it befalls feel it by themselves, whatever becomes of requests.
    pub fn is_felt_by_devices(&self) -> bool {
        self.ends_connections() || matches!(self, Self::Devices(_))
    }

    /// Devices that it befalls wherever they are: those of whoever runs it.
    pub fn devices(&self) -> Option<u32> {
        match self {
            Self::Revoke { devices } | Self::Expire { devices } => Some(*devices),
            _ => None,
        }
    }

    /// Whether it is over as soon as it is done.
    pub fn is_done_at_once(&self) -> bool {
        let lasts = matches!(self, Self::Expire { .. });
        self.starts_again() || *self == Self::Herd || (self.has_no_pick() && !lasts)
    }

    /// Whether it ends the node's process, so that somebody has to start it again.
    pub fn ends_the_process(&self) -> bool {
        matches!(self, Self::Kill | Self::BrokenDisk | Self::PowerCut | Self::FlippedBits { .. })
    }

    /// Whether operators' agreement is enough for a node to do it: a clock that jumps moves real promises, a
    /// full disk or memory may not be the node's alone, an entity that failed thrice is parked for minutes, and
    /// real devices have their certificates from any node.
    pub fn may_be_agreed(&self) -> bool {
        !matches!(
            self,
            Self::Clock { .. }
                | Self::Drift { .. }
                | Self::FullDisk
                | Self::BrokenDisk
                | Self::PowerCut
                | Self::FlippedBits { .. }
                | Self::HeldMemory { .. }
                | Self::FailingActors { .. }
                | Self::Expire { .. }
                | Self::ShortLives { .. }
        )
    }

    /// Whether a cluster that serves customers may be asked for it: not for what stays where a run is killed, as a
    /// drained node does.
    pub fn may_befall_production(&self) -> bool {
        self.is_inside()
            && self.may_be_agreed()
            && !matches!(self, Self::Revoke { .. } | Self::Drain)
    }
}

impl Network {
    fn is_in_range(&self) -> bool {
        let percents =
            [self.loss_percent, self.duplicate_percent, self.reorder_percent, self.corrupt_percent];
        self.delay_ms <= DELAY_MS_MAX
            && self.jitter_ms <= self.delay_ms
            && percents.iter().all(|percent| *percent <= 100)
            && self.rate_kbit.is_none_or(|rate| (1..=RATE_KBIT_MAX).contains(&rate))
            && self.flap_ms.is_none_or(|flap| (1..=FLAP_MS_MAX).contains(&flap))
    }

    fn may_take_devices(&self) -> bool {
        Harm::of(self, Bound::LONELY).is_beyond()
    }

    fn name(&self) -> &'static str {
        match self {
            Self { loss_percent: 100, .. } => "partition",
            Self { reorder_percent: 1.., .. } => "reorder",
            Self { delay_ms: 1.., .. } => "delay",
            Self { loss_percent: 1.., .. } => "loss",
            Self { duplicate_percent: 1.., .. } => "duplicate",
            Self { corrupt_percent: 1.., .. } => "corrupt",
            Self { rate_kbit: Some(_), .. } => "bandwidth",
            _ => "network",
        }
    }
}

#[cfg(test)]
mod tests;
