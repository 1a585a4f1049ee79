//! The cluster as this node knows it: who is in it, and where its groups live.
//!
//! It follows the placement group's rows as they are applied here, so it may be behind; nothing is
//! decided by it that the log does not check again. A node that joins was told how things were then, and what
//! its log brings of earlier times does not take it back. **Not here:** deciding (`domain::placement`), connections (`mesh`).

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::{
    EntityId, IndexRow, Region,
    placement::{Home, Member, Members, PLACEMENT, Placed, Presence},
};
use tokio::sync::watch;

use crate::mesh;

/// What is known.
pub struct Cluster {
    known: watch::Sender<Arc<Members>>,
    own: Home,
    /// The epoch of what this node was told.
    told: u64,
    on_rise: OnceLock<OnRise>,
}

/// Hears what all nodes understand by now.
type OnRise = Box<dyn Fn(u32) + Send + Sync>;

impl Cluster {
    /// Begins with this node's region, and what the node was told when it joined; nothing for the first
    /// one.
    pub fn new(mut told: Members, own: Home) -> Arc<Self> {
        if told.home(own.region).is_none() {
            told.learn(&IndexRow::Home { home: own.clone(), epoch: told.epoch });
        }
        let (own, epoch) = (Home { slots: Vec::new(), ..own }, told.epoch);
        let known = watch::Sender::new(Arc::new(told));
        Arc::new(Self { known, own, told: epoch, on_rise: OnceLock::new() })
    }

    /// Calls this whenever all nodes understand more, before anybody here knows of it and writes what older ones
    /// would not understand. It must not look at what is known meanwhile. Only the first one is called.
    pub fn on_rise(&self, hears: impl Fn(u32) + Send + Sync + 'static) {
        drop(self.on_rise.set(Box::new(hears)));
    }

    /// This node's region, as it was made: nothing has moved in it.
    pub fn own(&self) -> &Home {
        &self.own
    }

    /// This node's region, as it is now.
    pub fn own_now(&self) -> Home {
        let known = self.known.borrow();
        known.home(self.own.region).unwrap_or(&self.own).clone()
    }

    /// The group of an entity; none where its region is not known here.
    pub fn group_of(&self, entity: EntityId) -> Option<ShardId> {
        self.known.borrow().group_of(entity)
    }

    /// Whether an entity is of this group where nobody moved it. A region's groups are numbered once and
    /// for all.
    pub fn is_natural(&self, entity: EntityId, group: ShardId) -> bool {
        entity.region() != self.own.region || self.own.group_of(entity) == group
    }

    /// What this node's region needs to serve its devices; the placement group first, because the
    /// others tell it things.
    pub fn own_groups(&self) -> impl Iterator<Item = ShardId> {
        [PLACEMENT].into_iter().chain(self.own.groups())
    }

    /// Whether a group is served here: the placement group and this node's region's.
    pub fn is_own(&self, shard: ShardId) -> bool {
        self.own_groups().any(|own| own == shard)
    }

    /// The groups that are to have a replica on a node, of whatever region: those that are placed there.
    pub fn placed_on(&self, number: u64) -> Vec<ShardId> {
        let known = self.known();
        let here =
            |placed: &&Placed| placed.voters.contains(&number) || placed.learners.contains(&number);
        known.groups.iter().filter(here).map(|placed| placed.group).collect()
    }

    pub fn known(&self) -> Arc<Members> {
        Arc::clone(&self.known.borrow())
    }

    /// Tells when something changed.
    pub fn watch(&self) -> watch::Receiver<Arc<Members>> {
        self.known.subscribe()
    }

    /// Takes in what the placement group applied.
    pub fn applied(&self, rows: &[IndexRow]) {
        self.known.send_if_modified(|known| {
            let mut next = Members::clone(known);
            let is_news =
                |row: &&IndexRow| Members::epoch_of(row).is_some_and(|at| at >= self.told);
            let learned = rows.iter().filter(is_news).filter(|row| next.learn(row)).count();
            if learned > 0 {
                let hears = self.on_rise.get().filter(|_| next.level() > known.level());
                if let Some(hears) = hears {
                    hears(next.level());
                }
                *known = Arc::new(next);
            }
            learned > 0
        });
    }

    /// Where a group is to live.
    pub fn placed(&self, group: u32) -> Option<Placed> {
        self.known().placed(group).cloned()
    }

    /// Whether a node is to lead what it can.
    pub fn presence(&self, number: u64) -> Option<Presence> {
        self.known().member(number).map(|own| own.presence)
    }

    /// Whom this node connects to and lets in. What does not parse was refused when it was said.
    pub fn peers(&self) -> Vec<mesh::Member> {
        let known = self.known();
        let living = known.members.iter().filter(|member| member.presence != Presence::Gone);
        living
            .filter_map(|member| {
                let (number, identity) = (member.number, member.identity);
                Some(mesh::Member { number, identity, address: member.mesh.parse().ok()? })
            })
            .collect()
    }

    /// The identities of those that were removed.
    pub fn gone(&self) -> BTreeSet<EntityId> {
        let known = self.known();
        let gone = known.members.iter().filter(|member| member.presence == Presence::Gone);
        gone.map(|member| member.identity).collect()
    }

    /// Where nodes of other regions than this one are, and none of its own.
    pub fn abroad(&self, region: Region) -> BTreeSet<IpAddr> {
        let (own, others): (Vec<_>, Vec<_>) =
            self.peers().into_iter().partition(|peer| peer.identity.region() == region);
        let own: BTreeSet<IpAddr> = own.iter().map(|peer| peer.address.ip()).collect();
        others.iter().map(|peer| peer.address.ip()).filter(|at| !own.contains(at)).collect()
    }

    /// The other nodes of a node's region.
    pub fn neighbours(&self, number: u64) -> Vec<u64> {
        let known = self.known();
        let Some(own) = known.member(number) else { return Vec::new() };
        let others = known.members.iter().filter(|other| {
            other.number != number
                && other.region() == own.region()
                && other.presence != Presence::Gone
        });
        others.map(|other| other.number).collect()
    }

    /// Where the devices of a node's region may connect, this node's own address first.
    pub fn device_addresses(&self, number: u64) -> Vec<String> {
        let known = self.known();
        let Some(own) = known.member(number) else { return Vec::new() };
        let mut all: Vec<&Member> = serving(&known, own.region()).collect();
        all.sort_by_key(|member| member.number != number);
        all.into_iter().map(|member| member.devices.clone()).collect()
    }

    /// Where the devices of a region may connect.
    pub fn devices_of(&self, region: Region) -> Vec<String> {
        serving(&self.known(), region).map(|member| member.devices.clone()).collect()
    }
}

/// The nodes of a region that take devices.
fn serving(known: &Members, region: Region) -> impl Iterator<Item = &Member> {
    let members = known.members.iter();
    members.filter(move |member| member.presence == Presence::Active && member.region() == region)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::Mutex;

    use fieldmesh_domain::{placement::Policy, time::Millis};

    use super::*;

    fn placed(voters: &[u64], epoch: u64) -> IndexRow {
        let placed = Placed { group: 1, voters: voters.to_vec(), learners: vec![], pinned: false };
        IndexRow::Placed { placed, epoch }
    }

    #[test]
    fn what_all_understand_is_heard_before_it_is_known() {
        let cluster = Cluster::new(Members::default(), Home::new("eu1".parse().unwrap(), 0, 4));
        let member = |number: u64, level: u32, epoch: u64| {
            let at = String::new;
            let (mesh, devices, https) = (at(), at(), at());
            let (presence, since) = (Presence::Active, Millis(0));
            let identity = EntityId::placement();
            let member = Member { number, identity, mesh, devices, https, presence, since, level };
            IndexRow::Member { member, epoch }
        };
        cluster.applied(&[member(1, 5, 1), member(2, 4, 2)]);
        let heard: Arc<Mutex<Vec<(u32, bool)>>> = Arc::default();
        let hears = Arc::clone(&heard);
        let seen = Arc::new(Mutex::new(cluster.watch()));
        let sees = Arc::clone(&seen);
        cluster.on_rise(move |level| {
            let is_known = sees.lock().unwrap().has_changed().unwrap();
            hears.lock().unwrap().push((level, is_known));
        });
        cluster.applied(&[member(1, 6, 3)]);
        assert_eq!(*heard.lock().unwrap(), [], "one of them understands no more than before");
        seen.lock().unwrap().mark_unchanged();
        cluster.applied(&[member(2, 7, 4), member(3, 6, 5)]);
        cluster.applied(&[member(3, 5, 6)]);
        assert_eq!(*heard.lock().unwrap(), [(6, false)], "and what is less is nothing new");
    }

    /// A node that joins applies the placement group's log from its beginning, and starts its groups
    /// meanwhile.
    #[test]
    fn what_a_node_was_told_is_not_taken_back() {
        let own = Home::new("eu1".parse().unwrap(), 0, 4);
        let mut told = Members { epoch: 5, ..Members::default() };
        let moved = Home { policy: Policy::Standby("us1".parse().unwrap()), ..own.clone() };
        told.learn(&IndexRow::Home { home: moved.clone(), epoch: 3 });
        told.learn(&placed(&[13], 5));
        let cluster = Cluster::new(told, own.clone());
        assert_eq!(cluster.own_now(), moved);
        cluster.applied(&[placed(&[11, 12], 2), IndexRow::Home { home: own, epoch: 1 }]);
        assert_eq!(cluster.placed_on(13), [1]);
        assert_eq!(cluster.own_now(), moved);
        cluster.applied(&[placed(&[14], 6)]);
        assert_eq!(cluster.placed_on(14), [1]);
        assert!(cluster.placed_on(13).is_empty());
    }
}
