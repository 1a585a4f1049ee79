//! Places for handshakes under way, or for connections, shared out by where they come from.
//!
//! A handshake that is not finished holds its place for as long as it is waited for, as does a connection to the web
//! on which little is said, and proving an address costs an attacker who has one nothing. So that nobody takes all
//! places, an address has at most as many as are free (Choudhury and Hahne, *Dynamic queue length thresholds*, 1998):
//! alone it gets half of them, as ten thousand devices behind one carrier's address need, and where N take all they
//! can, one more finds a share of 1/(N + 1).
//!
//! Nor do handshakes take a node's time from whoever is connected: where its tasks wait long for their turn, there are
//! fewer places. That, and not how long a handshake takes, says whether the node is busy: most of a handshake is the
//! way to the device. What an address took before there were fewer counts as no more than it would get now, so that
//! whoever made the node busy keeps nobody else out. **Invariants:** never more places than there were in the beginning,
//! nor fewer than [`PLACES_MIN`]. **Not here:** whether an address is proven (`edge`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Handshakes of devices under way at a time; more are refused, and devices come back.
pub(super) const PLACES: usize = 256;
/// So many there are always: some fifty handshakes a second with devices that are 300 ms away.
const PLACES_MIN: usize = 32;
/// A task that waits longer for its turn waits long. Each answer takes some ten of them.
const LATE: Duration = Duration::from_millis(20);
/// One of so many may be taken by who has not shown that it has the address.
const UNPROVEN: usize = 16;
/// What one subscriber has of IPv6 (RFC 6177): the host half of an address is free to choose.
const SUBSCRIBER: u128 = !0 << 64;

/// All places of an endpoint.
#[derive(Debug)]
pub(crate) struct Places {
    /// How many there are where tasks do not wait.
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    /// How many there are now.
    limit: usize,
    /// How many are taken by all.
    taken: usize,
    /// How many each holds that holds one.
    held: BTreeMap<IpAddr, usize>,
}

impl Table {
    fn free(&self) -> usize {
        let alone = self.limit / 2;
        let taken: usize = self.held.values().map(|mine| (*mine).min(alone)).sum();
        self.limit.saturating_sub(taken)
    }

    fn of(&self, from: IpAddr) -> usize {
        self.held.get(&from).copied().unwrap_or(0)
    }
}

/// The right to one handshake or connection; returns when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Places>,
    from: IpAddr,
}

fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Places {
    /// So many places, all of them free.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let table = Table { limit: most, taken: 0, held: BTreeMap::new() };
        Arc::new(Self { most, table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole after each step.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever says that it comes from there is to prove it first: where more than half of all places are
    /// taken, and where that address has some. Nobody takes more in another's name.
    pub(crate) fn want_proof(&self, from: IpAddr) -> bool {
        let table = self.table();
        table.free() < table.limit / 2 || table.of(prefix(from)) >= self.most / UNPROVEN
    }

    /// Whether more than half of all places are taken.
    pub(crate) fn are_scarce(&self) -> bool {
        let table = self.table();
        table.free() < table.limit / 2
    }

    /// A place for who comes from there, or none where it has its share.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = prefix(from);
        let mut table = self.table();
        let mine = table.of(from);
        if mine >= table.free() || table.taken >= self.most {
            return None;
        }
        table.held.insert(from, mine + 1);
        table.taken += 1;
        Some(Place { of: Arc::clone(self), from })
    }
}

impl Place {
    /// A task of this node waited so long for its turn: there are fewer places, or one more (additive increase,
    /// multiplicative decrease; Chiu and Jain, 1989).
    pub(crate) fn waited(&self, waited: Duration) {
        let mut table = self.of.table();
        table.limit = if waited > LATE { table.limit - table.limit / 16 } else { table.limit + 1 };
        table.limit = table.limit.clamp(PLACES_MIN.min(self.of.most), self.of.most);
        metrics::gauge!("fieldmesh_edge_places").set(table.limit as f64);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.of.table();
        table.taken -= 1;
        if let Some(mine) = table.held.get_mut(&self.from) {
            *mine -= 1;
            if *mine == 0 {
                table.held.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use super::*;

    fn all(places: &Arc<Places>, from: &str) -> Vec<Place> {
        let from: IpAddr = from.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        from_fn(|| places.take(from)).take(2 * PLACES).collect()
    }

    #[test]
    fn who_takes_all_it_can_leaves_as_much_as_it_has() {
        let places = Places::new(PLACES);
        let from: IpAddr = [192, 0, 2, 1].into();
        assert!(!places.want_proof(from));
        let first = all(&places, "192.0.2.1");
        assert_eq!(first.len(), PLACES / 2);
        assert!(places.want_proof(from), "it has many");
        assert!(!places.want_proof([192, 0, 2, 2].into()), "half are free");
        let mut held = vec![first];
        for number in 2..100 {
            let next = all(&places, &format!("192.0.2.{number}"));
            assert!(!next.is_empty() || places.table().free() == 0, "{number}");
            held.push(next);
        }
        assert!(places.want_proof([192, 0, 2, 200].into()));
        assert!(held.iter().map(Vec::len).sum::<usize>() <= PLACES);
        drop(held);
        assert_eq!(all(&places, "192.0.2.1").len(), PLACES / 2, "places come back");
        assert!(places.table().held.is_empty(), "and nobody is remembered who has none");
    }

    #[test]
    fn a_busy_node_has_fewer_places_and_a_quiet_one_has_all_again() {
        let places = Places::new(PLACES);
        let first = all(&places, "192.0.2.1");
        let looked = |waited, times: usize| {
            (0..times).for_each(|_| first[0].waited(waited));
            places.table().limit
        };
        assert_eq!(looked(LATE, 10), PLACES, "that is not long");
        assert!((PLACES / 2..PLACES).contains(&looked(2 * LATE, 4)));
        assert_eq!(looked(2 * LATE, 1000), PLACES_MIN, "some are always there");
        assert!(places.take(IpAddr::from([192, 0, 2, 1])).is_none(), "for nobody who has many");
        let second = all(&places, "192.0.2.2");
        assert_eq!(second.len(), PLACES_MIN / 4, "what was taken before keeps nobody out");
        assert_eq!(looked(Duration::ZERO, 10), PLACES_MIN + 10);
        assert_eq!(looked(Duration::ZERO, 1000), PLACES);
    }

    #[test]
    fn a_subscriber_is_one_whatever_address_it_chooses() {
        let places = Places::new(PLACES);
        let taken = all(&places, "2001:db8:1:2::1");
        assert_eq!(taken.len(), PLACES / 2);
        assert!(places.take(IpAddr::from([0x2001, 0xdb8, 1, 2, 9, 9, 9, 9])).is_none());
        assert!(places.take(IpAddr::from([0x2001, 0xdb8, 1, 3, 0, 0, 0, 1])).is_some());
        // As an endpoint that serves both families sees it.
        let mapped = all(&places, "::ffff:192.0.2.1");
        assert!(!mapped.is_empty());
        assert!(places.take(IpAddr::from([192, 0, 2, 1])).is_none());
    }
}
