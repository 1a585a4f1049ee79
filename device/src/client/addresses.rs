//! Where the service may be reached, and where to try next.
//!
//! The addresses stand in a ring: first those that the service told, in an order of this device's own,
//! then those that its owner named. Whoever fails is left for the next in the ring at once; a pause
//! comes only when all of them failed one after the other.
//!
//! **Invariants:** there is always an address to try; a ring of nodes that take a device and drop it
//! again is walked with growing pauses. **Not here:** sockets and sleeping (`driver`).

use std::net::SocketAddr;

use crate::Entropy;

/// Addresses that are kept of what the service tells: a region has fewer nodes for devices, and an
/// answer may not fill a device.
const TOLD_MAX: usize = 16;
/// After so many rounds the pause is the longest.
pub(super) const PAUSES: u32 = 7;

/// The pause of who was told by one of them that it is full, at least: 0.8 to 1.6 s. A node shakes some hundred hands
/// in that time.
const BUSY: u32 = 4;

/// Where a client may find the service beside its first address.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// What the device's owner named; the last resort.
    pub named: Vec<SocketAddr>,
    /// What the service told an earlier client of this device.
    pub told: Vec<SocketAddr>,
}

/// Which nodes a device knows, to be kept for its next start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The one that took the device last.
    pub last: Option<SocketAddr>,
    /// What the service told.
    pub told: Vec<SocketAddr>,
}

/// How it went with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No connection, or one that ended as soon as it had begun.
    Failed,
    /// The node is there and has no room: many come at the same time, and those who come again at once keep it so.
    Busy,
    /// A connection that was of use ended.
    Ended,
    /// The node said that it goes, and others stay.
    Left,
    /// The same device connected somewhere else: two that take turns must not do it without pauses.
    Replaced,
    /// No node takes the device before somebody does something about it.
    Refused,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Addresses {
    named: Vec<SocketAddr>,
    told: Vec<SocketAddr>,
    current: SocketAddr,
    /// Addresses that failed one after the other.
    failed: usize,
    /// Times that all of them did.
    rounds: u32,
}

impl Addresses {
    pub(super) fn new(first: SocketAddr, others: Others) -> Self {
        let Others { named, told } = others;
        let mut ring =
            Self { named: Vec::new(), told: Vec::new(), current: first, failed: 0, rounds: 0 };
        ring.told = distinct(told.into_iter()).take(TOLD_MAX).collect();
        let first = Some(first).filter(|first| !ring.told.contains(first));
        ring.named = distinct(first.into_iter().chain(named)).collect();
        ring
    }

    pub(super) fn current(&self) -> SocketAddr {
        self.current
    }

    pub(super) fn has_others(&self) -> bool {
        self.ring().nth(1).is_some()
    }

    pub(super) fn nodes(&self, last: Option<SocketAddr>) -> Nodes {
        Nodes { last, told: self.told.clone() }
    }

    /// Takes over what the service tells. The same nodes again keep their order; others get one by
    /// this device's own chance, so that not all devices of a dead node go to the same next one.
    pub(super) fn tell(&mut self, nodes: &[String], entropy: &Entropy) {
        let parsed = nodes.iter().filter_map(|node| node.parse().ok()).filter(is_usable);
        let mut told: Vec<SocketAddr> = distinct(parsed).take(TOLD_MAX).collect();
        let is_new = told.len() != self.told.len() || told.iter().any(|at| !self.told.contains(at));
        // An older service says nothing, which takes nothing away.
        if told.is_empty() || !is_new {
            return;
        }
        for last in (1..told.len()).rev() {
            let mut chance = [0; 8];
            entropy(&mut chance);
            // The remainder is below a length that fits.
            told.swap(last, (u64::from_le_bytes(chance) % (last as u64 + 1)) as usize);
        }
        self.told = told;
    }

    /// Goes on to the next address; with the number of the pause before it, where there is one.
    pub(super) fn next(&mut self, outcome: Outcome) -> Option<u32> {
        let after = self.ring().position(|address| address == self.current).map_or(0, |at| at + 1);
        let next = self.ring().nth(after).or_else(|| self.ring().next());
        self.current = next.unwrap_or(self.current);
        let all = self.ring().count();
        match outcome {
            Outcome::Failed => self.failed += 1,
            Outcome::Busy => {
                (self.failed, self.rounds) = (self.failed + 1, self.rounds.max(BUSY - 1));
            }
            Outcome::Ended => (self.failed, self.rounds) = (1, 0),
            Outcome::Left => (self.failed, self.rounds) = (0, 0),
            Outcome::Replaced => self.failed = all,
            // Somebody may re-admit it: it goes on asking, seldom.
            Outcome::Refused => (self.failed, self.rounds) = (all, self.rounds.max(PAUSES - 1)),
        }
        if self.failed < all {
            return None;
        }
        self.failed = 0;
        self.rounds = self.rounds.saturating_add(1);
        Some(self.rounds)
    }

    fn ring(&self) -> impl Iterator<Item = SocketAddr> {
        let named = self.named.iter().filter(|address| !self.told.contains(address));
        self.told.iter().chain(named).copied()
    }
}

/// Whether something can be sent there: a node that told where it listens may have said "anywhere".
fn is_usable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut seen = Vec::new();
    addresses.filter(move |address| {
        let is_first = !seen.contains(address);
        if is_first {
            seen.push(*address);
        }
        is_first
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::{collections::BTreeSet, sync::Arc};

    use super::*;

    fn at(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 7443))
    }

    fn text(numbers: &[u8]) -> Vec<String> {
        numbers.iter().map(|number| at(*number).to_string()).collect()
    }

    fn entropy(byte: u8) -> Entropy {
        Arc::new(move |bytes| bytes.fill(byte))
    }

    fn ring(named: &[u8], told: &[u8]) -> Addresses {
        let others = |numbers: &[u8]| numbers.iter().copied().map(at).collect();
        Addresses::new(at(named[0]), Others { named: others(&named[1..]), told: others(told) })
    }

    #[test]
    fn one_address_is_tried_again_after_growing_pauses() {
        let mut alone = ring(&[1], &[]);
        assert!(!alone.has_others());
        for round in 1..20 {
            assert_eq!(alone.next(Outcome::Failed), Some(round));
            assert_eq!(alone.current(), at(1));
        }
        assert_eq!(alone.next(Outcome::Ended), Some(1), "a connection of use begins anew");
        assert_eq!(alone.next(Outcome::Left), None, "it may be back already");
        assert_eq!(alone.next(Outcome::Failed), Some(1));
    }

    #[test]
    fn who_was_told_that_a_node_is_full_pauses_longer() {
        let mut addresses = ring(&[1, 2, 3], &[]);
        assert_eq!(addresses.next(Outcome::Failed), None);
        assert_eq!(addresses.next(Outcome::Busy), None, "another one may have room");
        assert_eq!(addresses.next(Outcome::Failed), Some(BUSY));
        let rounds: Vec<u32> = (0..9).filter_map(|_| addresses.next(Outcome::Busy)).collect();
        assert_eq!(rounds, [BUSY + 1, BUSY + 2, BUSY + 3], "and longer each time");
        assert_eq!(addresses.next(Outcome::Ended), None, "who was let in begins anew");
        addresses.next(Outcome::Failed);
        assert_eq!(addresses.next(Outcome::Failed), Some(1));
    }

    #[test]
    fn every_address_is_tried_at_once_and_a_pause_follows_the_last() {
        let mut addresses = ring(&[1, 2, 1, 3], &[]);
        for round in 1..4 {
            let mut tried = vec![addresses.current()];
            for _ in 0..2 {
                assert_eq!(addresses.next(Outcome::Failed), None);
                tried.push(addresses.current());
            }
            assert_eq!(tried, [at(1), at(2), at(3)]);
            assert_eq!(addresses.next(Outcome::Failed), Some(round));
        }
        // The one that was lost has failed once already.
        assert_eq!(addresses.next(Outcome::Ended), None);
        assert_eq!(addresses.next(Outcome::Failed), None);
        assert_eq!(addresses.next(Outcome::Failed), Some(1));
    }

    #[test]
    fn what_is_told_comes_first_and_what_was_named_last() {
        let mut addresses = ring(&[1], &[]);
        addresses.tell(&text(&[2, 3]), &entropy(0));
        let mut visited = Vec::new();
        for _ in 0..3 {
            addresses.next(Outcome::Left);
            visited.push(addresses.current());
        }
        assert_eq!(BTreeSet::from_iter(visited[..2].to_vec()), BTreeSet::from([at(2), at(3)]));
        assert_eq!(visited[2], at(1));
        // Told anew: those of before are gone, and so is the place of the current one.
        addresses.tell(&text(&[5, 6]), &entropy(0));
        addresses.next(Outcome::Left);
        let told = addresses.nodes(None).told;
        assert_eq!(addresses.current(), told[0]);
        assert_eq!(BTreeSet::from_iter(told), BTreeSet::from([at(5), at(6)]));
        addresses.tell(&[], &entropy(0));
        assert_eq!(addresses.nodes(None).told.len(), 2, "silence takes nothing away");
    }

    #[test]
    fn only_addresses_count_and_no_more_than_sixteen() {
        let mut addresses = ring(&[1], &[]);
        let bad = ["", "localhost:7443", "10.0.0.2", "0.0.0.0:7443", "[::]:1", "10.0.0.2:0"];
        addresses.tell(&bad.map(str::to_owned), &entropy(0));
        assert!(!addresses.has_others());
        let many: Vec<u8> = (0..=255).chain(0..=255).collect();
        addresses.tell(&text(&many), &entropy(7));
        assert_eq!(BTreeSet::from_iter(addresses.nodes(None).told).len(), TOLD_MAX);
        addresses.tell(&["[2001:db8::1]:7443".to_owned()], &entropy(0));
        assert_eq!(addresses.nodes(None).told, ["[2001:db8::1]:7443".parse().unwrap()]);
    }

    #[test]
    fn devices_of_one_node_go_to_different_ones() {
        let mut next = BTreeSet::new();
        for byte in 0..64 {
            let mut addresses = ring(&[1], &[]);
            addresses.tell(&text(&[1, 2, 3, 4]), &entropy(byte));
            let order = addresses.nodes(None);
            addresses.tell(&text(&[4, 3, 2, 1]), &entropy(byte + 1));
            assert_eq!(addresses.nodes(None), order, "the same nodes keep their order");
            addresses.next(Outcome::Ended);
            next.insert(addresses.current());
        }
        assert_eq!(next, BTreeSet::from([at(2), at(3), at(4)]));
    }

    #[test]
    fn whoever_is_dropped_at_once_everywhere_pauses() {
        let mut addresses = ring(&[1, 2], &[]);
        let paused: Vec<u32> = (0..6).filter_map(|_| addresses.next(Outcome::Failed)).collect();
        assert_eq!(paused, [1, 2, 3]);
        assert_eq!(addresses.next(Outcome::Replaced), Some(4), "two devices do not take turns");
        assert_eq!(addresses.next(Outcome::Refused), Some(PAUSES));
        assert_eq!(addresses.next(Outcome::Refused), Some(PAUSES + 1));
    }

    #[test]
    fn a_restart_begins_where_the_device_was() {
        let mut addresses = ring(&[2, 9], &[3, 2]);
        assert_eq!(addresses.current(), at(2));
        let mut visited = Vec::new();
        for _ in 0..3 {
            addresses.next(Outcome::Left);
            visited.push(addresses.current());
        }
        assert_eq!(visited, [at(9), at(3), at(2)]);
    }
}
