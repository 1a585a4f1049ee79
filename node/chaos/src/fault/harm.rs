//! What befalls the datagrams of a link in all: faults that come together, and those at both of its ends.
//!
//! **Not here:** which faults are of one link (`timeline`).

use super::{
    Direction, Fault, LONELY_DELAY_MS, LONELY_LOSS_PERCENT, LONELY_RATE_KBIT, Network,
    OUT_DELAY_MS, OUT_LOSS_PERCENT, OUT_RATE_KBIT,
};

const ALL_PPM: u64 = 1_000_000;
/// Picoseconds that a bit takes at a kilobit a second: whole numbers also of the fastest line.
const BIT_PS: u64 = 1_000_000_000;

/// From where on a link counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    lost_percent: u64,
    /// There and back.
    late_ms: u64,
    rate_kbit: u64,
}

impl Bound {
    /// Between nodes.
    pub(crate) const OUT: Self =
        Self { lost_percent: OUT_LOSS_PERCENT, late_ms: OUT_DELAY_MS, rate_kbit: OUT_RATE_KBIT };
    /// Between a node and its devices.
    pub(crate) const LONELY: Self = Self {
        lost_percent: LONELY_LOSS_PERCENT,
        late_ms: LONELY_DELAY_MS,
        rate_kbit: LONELY_RATE_KBIT,
    };

    /// So many of a million that are lost, or late, are too many.
    fn is_too_many(&self, ppm: u64) -> bool {
        ppm >= self.lost_percent * (ALL_PPM / 100)
    }
}

/// What befalls datagrams one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    /// Of a million, so many arrive whole.
    kept_ppm: u64,
    /// By which so many are late that the others do not help.
    late_ms: u64,
    /// By which the rest are late of whom most overtake, and how many of a million overtake each time.
    seldom_late_ms: u64,
    in_time_ppm: u64,
}

impl Way {
    const CLEAR: Self =
        Self { kept_ppm: ALL_PPM, late_ms: 0, seldom_late_ms: 0, in_time_ppm: ALL_PPM };

    fn of(network: &Network, bound: Bound) -> Self {
        // What is damaged is thrown away.
        let lost_percent = network.loss_percent.saturating_add(network.corrupt_percent).min(100);
        let kept_ppm = (100 - lost_percent) * (ALL_PPM / 100);
        let in_time_ppm = network.reorder_percent.min(100) * (ALL_PPM / 100);
        let way = Self { kept_ppm, ..Self::CLEAR };
        match network.delay_ms {
            0 => way,
            // Those that overtake are in time; the others are as good as lost.
            late_ms if bound.is_too_many(ALL_PPM - in_time_ppm) => Self { late_ms, ..way },
            seldom_late_ms => Self { seldom_late_ms, in_time_ppm, ..way },
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            kept_ppm: self.kept_ppm * other.kept_ppm / ALL_PPM,
            late_ms: self.late_ms.saturating_add(other.late_ms),
            seldom_late_ms: self.seldom_late_ms.saturating_add(other.seldom_late_ms),
            in_time_ppm: self.in_time_ppm * other.in_time_ppm / ALL_PPM,
        }
    }

    fn late_ms(&self, bound: Bound) -> u64 {
        let is_often = bound.is_too_many(ALL_PPM - self.in_time_ppm);
        self.late_ms.saturating_add(if is_often { self.seldom_late_ms } else { 0 })
    }
}

/// What befalls a link, as one of its nodes sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Harm {
    bound: Bound,
    to: Way,
    from: Way,
    /// So long a bit takes. Rates that one node goes by share a line, so that these add; of two nodes the slower one would
    /// do, and they count as one.
    bit_ps: u64,
}

impl Harm {
    pub(crate) fn none(bound: Bound) -> Self {
        Self { bound, to: Way::CLEAR, from: Way::CLEAR, bit_ps: 0 }
    }

    /// Of what the node does that sees it.
    pub(super) fn of(network: &Network, bound: Bound) -> Self {
        let way = Way::of(network, bound);
        let (to, from) = match network.direction {
            Direction::Both => (way, way),
            Direction::In => (Way::CLEAR, way),
            Direction::Out => (way, Way::CLEAR),
        };
        let bit_ps = network.rate_kbit.map_or(0, |rate| BIT_PS / rate.max(1));
        Self { bound, to, from, bit_ps }
    }

    /// As the other end sees it.
    pub(crate) fn turned(self) -> Self {
        Self { to: self.from, from: self.to, ..self }
    }

    /// Both ends do it: a datagram has it when it is sent, and when it arrives. Of two equal lines in a row each is as wide
    /// as both.
    pub(crate) fn at_both_ends(self) -> Self {
        Self { bit_ps: self.bit_ps, ..self.and(self.turned()) }
    }

    /// At whichever end it may be.
    pub(crate) fn at_either_end(self) -> Self {
        let kept_ppm = self.to.kept_ppm.min(self.from.kept_ppm);
        let in_time_ppm = self.to.in_time_ppm.min(self.from.in_time_ppm);
        let worst = |way: Way| Way { kept_ppm, in_time_ppm, ..way };
        Self { to: worst(self.to), from: worst(self.from), ..self }
    }

    /// Both befall it.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            bound: self.bound,
            to: self.to.and(other.to),
            from: self.from.and(other.from),
            bit_ps: self.bit_ps.saturating_add(other.bit_ps),
        }
    }

    /// Whether too many are lost or come too late there and back, or too few kilobits a second come through.
    pub(crate) fn is_beyond(&self) -> bool {
        let Self { bound, to, from, bit_ps } = *self;
        let is_lossy = [to, from].iter().any(|way| bound.is_too_many(ALL_PPM - way.kept_ppm));
        let late_ms = to.late_ms(bound).saturating_add(from.late_ms(bound));
        is_lossy || late_ms >= bound.late_ms || bit_ps > BIT_PS / bound.rate_kbit
    }
}

impl Fault {
    /// What it does to links of nodes or devices, as the node sees it that does it; none where it does nothing to those
    /// that a quorum of a region needs.
    pub(crate) fn harm(&self) -> Option<Harm> {
        match self {
            Self::Network(network) | Self::Link { network, .. } => {
                Some(Harm::of(network, Bound::OUT))
            }
            Self::Devices(network) => Some(Harm::of(network, Bound::LONELY)),
            _ => None,
        }
    }
}
