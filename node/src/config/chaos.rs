//! `[chaos]`: what the node does on purpose to datagrams between it and other nodes.
//!
//! **Invariant:** a rule that could be read is one that can be followed. **Not here:** following it
//! (`mesh::faults`).

use std::net::{IpAddr, SocketAddr};

use fieldmesh_chaos::{Direction, Network};
use serde::Deserialize;

/// Longer than any wait of the mesh: who wants more wants a black hole.
const DELAY_MS_MAX: u64 = 10_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosConfig {
    pub enabled: bool,
    pub rules: Vec<Rule>,
}

/// What happens to datagrams of some peers; each by its own chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rule {
    pub peers: Peers,
    direction: Direction,
    pub delay_ms: u64,
    /// A datagram is so much sooner or later, at most; it may overtake another.
    pub jitter_ms: u64,
    /// 100 is a black hole.
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// So many of a hundred are not delayed, and overtake.
    pub reorder_percent: u64,
    /// Of so many of a hundred a bit is turned.
    pub corrupt_percent: u64,
    /// Kilobits a second in each direction; 0: as many as there are.
    pub rate_kbit: u64,
    /// In force for so long, then not for as long, and so on; 0: always.
    pub flap_ms: u64,
}

/// Which way a datagram goes, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    In,
    Out,
}

/// A network; or one socket of it, where nodes share an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peers {
    network: IpAddr,
    bits: u32,
    port: Option<u16>,
}

/// A rule as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    peer: String,
    direction: Direction,
    delay_ms: u64,
    jitter_ms: u64,
    loss_percent: u64,
    duplicate_percent: u64,
    reorder_percent: u64,
    corrupt_percent: u64,
    rate_kbit: u64,
    flap_ms: u64,
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { peer, direction, delay_ms, jitter_ms, .. } = written;
        let Written { loss_percent, duplicate_percent, reorder_percent, .. } = written;
        let Written { corrupt_percent, rate_kbit, flap_ms, .. } = written;
        let refused = |key: &str, value: &dyn std::fmt::Display, reason: &str| {
            Err(format!("{key} = {value} of a rule in chaos.rules is refused: {reason}"))
        };
        let Some(peers) = Peers::read(&peer) else {
            let reason = "use an address like 10.0.0.2, or a network like 10.0.0.0/24";
            return refused("peer", &format!("{peer:?}"), reason);
        };
        if delay_ms > DELAY_MS_MAX {
            return refused("delay_ms", &delay_ms, "use 0 to 10000");
        }
        if jitter_ms > delay_ms {
            return refused("jitter_ms", &jitter_ms, "it is at most delay_ms");
        }
        for (key, percent) in [
            ("loss_percent", loss_percent),
            ("duplicate_percent", duplicate_percent),
            ("reorder_percent", reorder_percent),
            ("corrupt_percent", corrupt_percent),
        ] {
            if percent > 100 {
                return refused(key, &percent, "use 0 to 100");
            }
        }
        Ok(Self {
            peers,
            direction,
            delay_ms,
            jitter_ms,
            loss_percent,
            duplicate_percent,
            reorder_percent,
            corrupt_percent,
            rate_kbit,
            flap_ms,
        })
    }
}

impl Rule {
    /// The same for every peer, whatever its family of addresses; the figures are in their range.
    pub fn everywhere(network: &Network) -> [Self; 2] {
        let families = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u16; 8])];
        families.map(|of| Self::with(network, Peers { network: of, bits: 0, port: None }))
    }

    /// For one machine.
    pub fn about(peer: IpAddr, network: &Network) -> Self {
        Self::with(network, Peers::at(peer, None))
    }

    /// For one peer, and no other on its machine.
    pub fn at(peer: SocketAddr, network: &Network) -> Self {
        Self::with(network, Peers::at(peer.ip(), Some(peer.port())))
    }

    fn with(network: &Network, peers: Peers) -> Self {
        Self {
            peers,
            direction: network.direction,
            delay_ms: network.delay_ms,
            jitter_ms: network.jitter_ms,
            loss_percent: network.loss_percent,
            duplicate_percent: network.duplicate_percent,
            reorder_percent: network.reorder_percent,
            corrupt_percent: network.corrupt_percent,
            rate_kbit: network.rate_kbit.unwrap_or(0),
            flap_ms: network.flap_ms.unwrap_or(0),
        }
    }

    /// Whether it is about a datagram of a peer.
    pub fn is_about(&self, peer: SocketAddr, way: Way) -> bool {
        let is_this_way = match self.direction {
            Direction::Both => true,
            Direction::In => way == Way::In,
            Direction::Out => way == Way::Out,
        };
        is_this_way && self.peers.have(peer)
    }
}

impl Peers {
    fn at(peer: IpAddr, port: Option<u16>) -> Self {
        let network = peer.to_canonical();
        let bits = if network.is_ipv4() { 32 } else { 128 };
        Self { network, bits, port }
    }

    /// `ADDRESS` or `ADDRESS/BITS`.
    fn read(text: &str) -> Option<Self> {
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().ok()?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Self { network, bits, port: None })
    }

    fn have(&self, peer: SocketAddr) -> bool {
        if self.port.is_some_and(|port| port != peer.port()) {
            return false;
        }
        // A socket for both families names an old address in the new form.
        match (self.network, peer.ip().to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                let differ = u128::from(network.to_bits() ^ peer.to_bits());
                differ >> (32 - self.bits) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                let differ = network.to_bits() ^ peer.to_bits();
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn peers_are_an_address_or_a_network() {
        for (peers, peer, are) in [
            ("10.0.0.2", "10.0.0.2", true),
            ("10.0.0.2", "10.0.0.3", false),
            ("10.0.0.0/24", "10.0.0.3", true),
            ("10.0.0.0/24", "10.0.1.3", false),
            ("10.0.0.2", "::ffff:10.0.0.2", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let read = Peers::read(peers).unwrap();
            let peer = SocketAddr::new(peer.parse().unwrap(), 7445);
            assert_eq!(read.have(peer), are, "{peers} and {peer}");
        }
        for wrong in ["", "x", "10.0.0.2:7445", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/x"]
        {
            assert_eq!(Peers::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_rule_is_for_its_direction() {
        let rule = |direction| {
            let written = Written { peer: "10.0.0.2".into(), direction, ..Written::default() };
            Rule::try_from(written).unwrap()
        };
        let peer = "10.0.0.2:7445".parse().unwrap();
        let ways = |direction| [Way::In, Way::Out].map(|way| rule(direction).is_about(peer, way));
        assert_eq!(ways(Direction::Both), [true, true]);
        assert_eq!(ways(Direction::In), [true, false]);
        assert_eq!(ways(Direction::Out), [false, true]);
    }

    #[test]
    fn of_those_that_share_an_address_one_is_meant() {
        let cut = Network { loss_percent: 100, ..Network::default() };
        for (at, peer, is_meant) in [
            ("127.0.0.1:7445", "127.0.0.1:7445", true),
            ("127.0.0.1:7445", "127.0.0.1:7446", false),
            ("127.0.0.1:7445", "127.0.0.2:7445", false),
            ("127.0.0.1:7445", "[::ffff:127.0.0.1]:7445", true),
            ("[::ffff:127.0.0.1]:7445", "127.0.0.1:7445", true),
            ("[2001:db8::1]:7445", "[2001:db8::1]:7445", true),
            ("[2001:db8::1]:7445", "[2001:db8::1]:7446", false),
        ] {
            let rule = Rule::at(at.parse().unwrap(), &cut);
            assert_eq!(rule.is_about(peer.parse().unwrap(), Way::In), is_meant, "{at} and {peer}");
            let machine = Rule::about(at.parse::<SocketAddr>().unwrap().ip(), &cut);
            assert_eq!(
                machine.is_about(peer.parse().unwrap(), Way::In),
                is_meant || peer.ends_with("6"),
                "{at} and {peer}"
            );
        }
    }
}
