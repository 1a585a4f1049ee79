//! Places for handshakes under way, shared out by where they come from.
//!
//! A handshake that is not finished holds its place for as long as it is waited for, and proving an address costs
//! an attacker who has one nothing. So that nobody takes all places, an address has at most as many as are free
//! (Choudhury and Hahne, *Dynamic queue length thresholds*, 1998): alone it gets half of them, as ten thousand
//! devices behind one carrier's address need, and where N take all they can, one more finds a share of 1/(N + 1).
//! **Invariant:** never more than [`PLACES`]. **Not here:** whether an address is proven (`edge`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Handshakes under way at a time; more are refused, and devices come back.
pub(super) const PLACES: usize = 256;
/// Of which so many by who has not shown that it has the address.
const UNPROVEN: usize = PLACES / 16;
/// What one subscriber has of IPv6 (RFC 6177): the host half of an address is free to choose.
const SUBSCRIBER: u128 = !0 << 64;

/// All places of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many each holds that holds one.
    held: Mutex<BTreeMap<IpAddr, usize>>,
}

/// The right to one handshake; returns when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    from: IpAddr,
}

fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn free(held: &BTreeMap<IpAddr, usize>) -> usize {
    PLACES.saturating_sub(held.values().sum())
}

impl Places {
    fn held(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        // The table is whole after each step.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever says that it comes from there is to prove it first: where more than half of all places are
    /// taken, and where that address has some. Nobody takes more in another's name.
    pub(super) fn want_proof(&self, from: IpAddr) -> bool {
        let held = self.held();
        let mine = held.get(&prefix(from)).copied().unwrap_or(0);
        free(&held) < PLACES / 2 || mine >= UNPROVEN
    }

    /// A place for who comes from there, or none where it has its share.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = prefix(from);
        let mut held = self.held();
        let free = free(&held);
        let mine = held.get(&from).copied().unwrap_or(0);
        if mine >= free {
            return None;
        }
        held.insert(from, mine + 1);
        Some(Place { of: Arc::clone(self), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.of.held();
        if let Some(mine) = held.get_mut(&self.from) {
            *mine -= 1;
            if *mine == 0 {
                held.remove(&self.from);
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
        let places = Arc::new(Places::default());
        let from: IpAddr = [192, 0, 2, 1].into();
        assert!(!places.want_proof(from));
        let first = all(&places, "192.0.2.1");
        assert_eq!(first.len(), PLACES / 2);
        assert!(places.want_proof(from), "it has many");
        assert!(!places.want_proof([192, 0, 2, 2].into()), "half are free");
        let mut held = vec![first];
        for number in 2..100 {
            let next = all(&places, &format!("192.0.2.{number}"));
            assert!(!next.is_empty() || free(&places.held()) == 0, "{number}");
            held.push(next);
        }
        assert!(places.want_proof([192, 0, 2, 200].into()));
        assert!(held.iter().map(Vec::len).sum::<usize>() <= PLACES);
        drop(held);
        assert_eq!(all(&places, "192.0.2.1").len(), PLACES / 2, "places come back");
        assert!(places.held().is_empty(), "and nobody is remembered who has none");
    }

    #[test]
    fn a_subscriber_is_one_whatever_address_it_chooses() {
        let places = Arc::new(Places::default());
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
