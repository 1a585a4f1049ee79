//! Where the other ends of the links are that a node breaks by leases.
//!
//! A node on a machine of its own has an address, one of a lab shares it and has a port; either may be another one after
//! a start. **Invariants:** who is at an address has proven it to the mesh, or is a member that says so; what moved is
//! noticed when it is looked again. **Not here:** what happens to a link (`mesh::faults`), how long (`super`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Mutex, OnceLock, PoisonError},
};

use fieldmesh_chaos::{Fault, Pick};

/// Where a node is, by its number; nowhere where it is no other member.
type Whereabouts = Box<dyn Fn(u64) -> BTreeSet<SocketAddr> + Send + Sync>;
/// By lease.
type Ends = BTreeMap<u64, BTreeSet<SocketAddr>>;

/// The other ends of broken links.
#[derive(Default)]
pub(super) struct Links {
    whereabouts: OnceLock<Whereabouts>,
    /// As they were when they were last followed.
    followed: Mutex<Ends>,
}

impl Links {
    pub(super) fn know(&self, whereabouts: Whereabouts) {
        // Said once, by whoever starts the node.
        drop(self.whereabouts.set(whereabouts));
    }

    /// Where the other end of a link is; nowhere where it is not named by its number.
    pub(super) fn at(&self, with: Pick) -> BTreeSet<SocketAddr> {
        match (with, self.whereabouts.get()) {
            (Pick::Node(number), Some(whereabouts)) => whereabouts(number),
            _ => BTreeSet::new(),
        }
    }

    fn ends(&self, leased: impl Iterator<Item = (u64, Fault)>) -> Ends {
        leased.filter_map(|(lease, fault)| Some((lease, self.at(fault.with()?)))).collect()
    }

    /// Whether an end is elsewhere than when these leases were last followed.
    pub(super) fn have_moved(&self, leased: impl Iterator<Item = (u64, Fault)>) -> bool {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) != self.ends(leased)
    }

    /// Where the ends of the links of these leases are from now on, by lease.
    pub(super) fn follow(&self, leased: impl Iterator<Item = (u64, Fault)>) -> Ends {
        let ends = self.ends(leased);
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&ends);
        ends
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fieldmesh_chaos::Network;

    use super::*;

    #[test]
    fn a_link_goes_to_where_its_other_end_is_now() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let known = Arc::new(Mutex::new(BTreeSet::from([at(1)])));
        let (links, told) = (Links::default(), Arc::clone(&known));
        let network = Network { loss_percent: 100, ..Network::default() };
        let leased = || {
            let link = Fault::Link { with: Pick::Node(2), network };
            [(7, link), (8, Fault::Network(network)), (9, Fault::Devices(network))].into_iter()
        };
        assert!(links.at(Pick::Node(2)).is_empty(), "nobody has said where");
        links.know(Box::new(move |number| match number {
            2 => told.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            _ => BTreeSet::new(),
        }));
        assert_eq!(links.at(Pick::Node(2)), BTreeSet::from([at(1)]));
        for nobody in [Pick::Node(3), Pick::Leader(None), Pick::All, Pick::Random] {
            assert!(links.at(nobody).is_empty(), "{nobody:?}");
        }
        assert!(links.have_moved(leased()));
        assert_eq!(links.follow(leased()), Ends::from([(7, BTreeSet::from([at(1)]))]));
        assert!(!links.have_moved(leased()));
        // It was started again, elsewhere.
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(at(2));
        assert!(links.have_moved(leased()));
        assert_eq!(links.follow(leased()), Ends::from([(7, BTreeSet::from([at(1), at(2)]))]));
        // What has ended moves nobody.
        assert!(links.follow([].into_iter()).is_empty());
        assert!(!links.have_moved([].into_iter()));
    }
}
