//! Where devices are connected: here, or on another node that said so.
//!
//! **Invariants:** a device has one session, the newest that was heard of; what another node said holds
//! for as long as the stream on which it was said. **Not here:** telling shards and nodes (`courier`).

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_actors::{commit::ShardId, seams::MailItem};
use fieldmesh_domain::EntityId;
use tokio::sync::mpsc;

use super::{
    sums::Sums,
    wire::{Notice, Tally},
};

/// A device that is connected here.
#[derive(Debug, Clone)]
pub struct Session {
    /// Tells this session from an earlier one of the same device.
    pub number: u64,
    pub mail: mpsc::Sender<MailItem>,
    /// What its device says that it understands; 0 where it says nothing of it.
    pub understands: u32,
}

impl Session {
    /// What whoever leads its device's shard is told.
    pub(super) fn told(&self, device: EntityId) -> Notice {
        let understands = Some(self.understands).filter(|understands| *understands > 0);
        Notice::Attached { device, session: self.number, understands }
    }
}

/// A session on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abroad {
    pub(super) node: u64,
    /// Its number there.
    pub(super) session: u64,
    /// The stream on which it was said.
    pub(super) stream: u64,
    /// What was said that the device and the node understand.
    pub(super) understands: u32,
}

/// Where a device is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Here(Session),
    There(Abroad),
}

impl Place {
    /// Whether it is the session with a number on this node, or on another.
    fn is(&self, node: Option<u64>, number: u64) -> bool {
        match self {
            Self::Here(session) => node.is_none() && session.number == number,
            Self::There(abroad) => node == Some(abroad.node) && abroad.session == number,
        }
    }

    /// The node that the session is on, none where it is on this one.
    fn node(&self) -> Option<u64> {
        match self {
            Self::Here(_) => None,
            Self::There(abroad) => Some(abroad.node),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Self::Here(session) => session.number,
            Self::There(abroad) => abroad.session,
        }
    }

    /// What its device understands, and the node that has the session.
    pub(super) fn understands(&self) -> u32 {
        match self {
            Self::Here(session) => session.understands,
            Self::There(abroad) => abroad.understands,
        }
    }

    /// What is told of it, where it is here.
    pub(super) fn told(&self, device: EntityId) -> Option<Notice> {
        match self {
            Self::Here(session) => Some(session.told(device)),
            Self::There(_) => None,
        }
    }
}

/// A session as a number that differs from another's but by the chance of one in 2^64.
fn number(device: EntityId, session: u64) -> u64 {
    let text = [&device.to_bytes()[..], &session.to_be_bytes()].concat();
    let hashed = digest(&SHA256, &text);
    hashed.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// A session with its digest.
struct Kept {
    place: Place,
    digest: u64,
}

/// All that is known of devices.
#[derive(Default)]
pub(super) struct Sessions {
    places: BTreeMap<EntityId, Kept>,
    /// Of exactly those in `places`.
    sums: Sums,
}

impl Sessions {
    pub(super) fn place(&self, device: EntityId) -> Option<&Place> {
        self.places.get(&device).map(|kept| &kept.place)
    }

    /// The newest session takes the place of what was there; returns the one on another node that is to
    /// end. One that is only said again is the same.
    pub(super) fn attach(&mut self, device: EntityId, place: Place) -> Option<Abroad> {
        let again = match &place {
            Place::There(abroad) => Some((abroad.node, abroad.session)),
            Place::Here(_) => None,
        };
        let kept = Kept { digest: number(device, place.number()), place };
        self.sums.add(kept.place.node(), device, kept.digest);
        let before = self.places.insert(device, kept)?;
        self.sums.remove(before.place.node(), device, before.digest);
        match before.place {
            Place::There(abroad) => {
                Some(abroad).filter(|abroad| again != Some((abroad.node, abroad.session)))
            }
            Place::Here(_) => None,
        }
    }

    fn remove_if(&mut self, device: EntityId, is_it: impl Fn(&Place) -> bool) -> bool {
        let meant = self.place(device).is_some_and(is_it);
        if meant && let Some(kept) = self.places.remove(&device) {
            self.sums.remove(kept.place.node(), device, kept.digest);
        }
        meant
    }

    /// Ends a session on this node (none) or another, unless a newer one took its place; whether it did.
    pub(super) fn detach(&mut self, device: EntityId, node: Option<u64>, number: u64) -> bool {
        self.remove_if(device, |place| place.is(node, number))
    }

    /// A node has no session of the device after all; whether it was thought to.
    pub(super) fn absent(&mut self, device: EntityId, on: u64) -> bool {
        self.remove_if(device, |place| place.node() == Some(on))
    }

    /// What was said on a stream does not hold any more; whose sessions those were.
    pub(super) fn forget(&mut self, stream: u64) -> Vec<EntityId> {
        self.drop_where(|_, place| matches!(place, Place::There(abroad) if abroad.stream == stream))
    }

    fn drop_where(&mut self, is_gone: impl Fn(EntityId, &Place) -> bool) -> Vec<EntityId> {
        let gone = self.places.extract_if(.., |device, kept| is_gone(*device, &kept.place));
        let gone = gone.map(|(device, kept)| {
            self.sums.remove(kept.place.node(), device, kept.digest);
            device
        });
        gone.collect()
    }

    /// What there is of each shard's devices, by the shard: those that are connected here (none), or that
    /// another node said are there. Which shard serves a device must follow from its region, kind and slot.
    pub(super) fn tallies(
        &self,
        at: Option<u64>,
        shard_of: impl Fn(EntityId) -> Option<ShardId>,
    ) -> BTreeMap<ShardId, Tally> {
        self.sums.tallies(at, shard_of)
    }

    /// The shards of whose devices another node has not what it said it has.
    pub(super) fn unlike(
        &self,
        node: u64,
        tallies: &[Tally],
        shard_of: impl Fn(EntityId) -> Option<ShardId>,
    ) -> BTreeSet<ShardId> {
        let told = self.tallies(Some(node), shard_of);
        let differs = |tally: &&Tally| {
            told.get(&tally.shard).copied().unwrap_or_else(|| Tally::none(tally.shard)) != **tally
        };
        tallies.iter().filter(differs).map(|tally| tally.shard).collect()
    }

    /// What a node said of some devices does not hold any more; whose sessions those were.
    pub(super) fn disbelieve(
        &mut self,
        node: u64,
        is_meant: impl Fn(EntityId) -> bool,
    ) -> Vec<EntityId> {
        self.drop_where(|device, place| place.node() == Some(node) && is_meant(device))
    }

    /// Devices that are connected somewhere.
    pub(super) fn devices(&self) -> impl Iterator<Item = EntityId> {
        self.places.keys().copied()
    }

    /// Devices that are connected here, with their sessions.
    pub(super) fn here(&self) -> impl Iterator<Item = (EntityId, &Session)> {
        self.places.iter().filter_map(|(device, kept)| match &kept.place {
            Place::Here(session) => Some((*device, session)),
            Place::There(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;
    use proptest::prelude::*;

    use super::*;

    fn device() -> EntityId {
        EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [7; 10])
    }

    fn there(node: u64, session: u64, stream: u64) -> Place {
        Place::There(Abroad { node, session, stream, understands: 0 })
    }

    fn here(number: u64) -> Place {
        Place::Here(Session { number, mail: mpsc::channel(1).0, understands: 0 })
    }

    fn numbers(sessions: &Sessions) -> Vec<(EntityId, u64)> {
        sessions.here().map(|(device, session)| (device, session.number)).collect()
    }

    #[test]
    fn an_older_session_ends_nothing() {
        let mut sessions = Sessions::default();
        sessions.attach(device(), there(2, 5, 1));
        sessions.attach(device(), here(5));
        // The same number on another node is another session.
        assert!(!sessions.detach(device(), Some(2), 5));
        assert!(!sessions.absent(device(), 2));
        assert!(sessions.forget(1).is_empty());
        assert_eq!(numbers(&sessions), [(device(), 5)]);
        assert!(sessions.detach(device(), None, 5));
        assert!(sessions.place(device()).is_none());
    }

    /// A node says all its sessions again whenever another one leads: none of them must end for that.
    #[test]
    fn a_session_that_is_said_again_replaces_nothing() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.attach(device(), there(2, 5, 1)), None);
        assert_eq!(sessions.attach(device(), there(2, 5, 3)), None);
        let understands = 0;
        let replaced = |session, stream| Some(Abroad { node: 2, session, stream, understands });
        assert_eq!(sessions.attach(device(), there(2, 6, 3)), replaced(5, 3));
        assert_eq!(sessions.attach(device(), there(3, 6, 4)), replaced(6, 3));
        assert!(sessions.attach(device(), here(1)).is_some());
        assert_eq!(sessions.attach(device(), here(2)), None, "it is told by its closed channel");
    }

    #[test]
    fn what_a_device_understands_is_said_with_its_session() {
        for (understands, said) in [(0, None), (1, Some(1))] {
            let session = Session { number: 5, mail: mpsc::channel(1).0, understands };
            let notice = Notice::Attached { device: device(), session: 5, understands: said };
            assert_eq!(session.told(device()), notice);
            assert_eq!(Place::Here(session).told(device()), Some(notice));
        }
        assert_eq!(there(2, 5, 1).told(device()), None, "that node says it itself");
    }

    #[test]
    fn what_a_stream_said_ends_with_it() {
        let mut sessions = Sessions::default();
        sessions.attach(device(), there(2, 5, 1));
        sessions.attach(device(), there(2, 5, 2));
        assert!(sessions.forget(1).is_empty());
        assert_eq!(sessions.forget(2), [device()]);
        assert!(sessions.place(device()).is_none());
    }

    fn in_slot(slot: u8, last: u8) -> EntityId {
        let mut bytes = device().to_bytes();
        // A customer's kind is the number nought, in front of the slot.
        (bytes[4], bytes[5], bytes[15]) = (0, slot, last);
        EntityId::from_bytes(bytes).unwrap()
    }

    /// Each in a slot of its own.
    fn other(last: u8) -> EntityId {
        in_slot(last, last)
    }

    /// Every session hashed, one after the other.
    fn from_scratch(
        sessions: &Sessions,
        at: Option<u64>,
        shard_of: impl Fn(EntityId) -> Option<ShardId>,
    ) -> BTreeMap<ShardId, Tally> {
        let mut tallies = BTreeMap::new();
        for (device, kept) in &sessions.places {
            let shard = shard_of(*device).filter(|_| kept.place.node() == at);
            let Some(shard) = shard else { continue };
            let tally: &mut Tally = tallies.entry(shard).or_insert_with(|| Tally::none(shard));
            tally.sessions += 1;
            tally.sum = tally.sum.wrapping_add(number(*device, kept.place.number()));
        }
        tallies
    }

    proptest! {
        /// Whatever comes, goes, is said again or taken back, and whichever shard serves a slot by then.
        #[test]
        fn what_is_kept_of_the_sums_is_what_all_sessions_sum_up_to(
            steps in prop::collection::vec((0..7_u8, 0..12_u8, 0..3_u64, 0..3_u64), 0..120),
        ) {
            let mut sessions = Sessions::default();
            for (what, last, node, session) in steps {
                // Three in each slot.
                let device = in_slot(last / 3, last);
                let on = Some(node).filter(|node| *node > 0);
                match what {
                    0 | 1 => {
                        let place =
                            on.map_or_else(|| here(session), |node| there(node, session, session));
                        sessions.attach(device, place);
                    }
                    2 => {
                        sessions.detach(device, on, session);
                    }
                    3 => {
                        sessions.absent(device, node);
                    }
                    4 => {
                        sessions.forget(session);
                    }
                    5 => {
                        sessions.disbelieve(node, |device| device.slot() == u16::from(last % 4));
                    }
                    _ => {
                        let of_another = |device: EntityId| Some(u32::from(device.slot() % 2));
                        prop_assert_eq!(
                            sessions.tallies(on, of_another), from_scratch(&sessions, on, of_another)
                        );
                    }
                }
                for at in [None, Some(1), Some(2)] {
                    // One slot is of a region that is not known.
                    let shard_of =
                        |device: EntityId| Some(u32::from(device.slot())).filter(|shard| *shard != 3);
                    prop_assert_eq!(
                        sessions.tallies(at, shard_of), from_scratch(&sessions, at, shard_of)
                    );
                }
            }
            sessions.disbelieve(1, |_| true);
            sessions.disbelieve(2, |_| true);
            for (device, session) in numbers(&sessions) {
                prop_assert!(sessions.detach(device, None, session));
            }
            prop_assert!(sessions.sums.is_empty(), "nothing is kept of nobody");
        }

        /// Whatever of the notices is lost: who compares and is told again has what is there, and nobody else's
        /// sessions end for that.
        #[test]
        fn whoever_was_told_something_else_has_what_is_there_once_it_is_told_again(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..8_u8, 0..3_u64), 0..40),
        ) {
            let shard_of = |device: EntityId| Some(u32::from(device.slot() % 3));
            let (mut own, mut leader) = (Sessions::default(), Sessions::default());
            leader.attach(other(50), there(3, 1, 2));
            for (attaches, is_heard, last, session) in steps {
                let device = other(last);
                if attaches {
                    own.attach(device, here(session));
                    if is_heard {
                        leader.attach(device, there(2, session, 1));
                    }
                } else {
                    own.detach(device, None, session);
                    if is_heard {
                        leader.detach(device, Some(2), session);
                    }
                }
            }
            let said = own.tallies(None, shard_of);
            let all: Vec<Tally> =
                (0..3).map(|shard| said.get(&shard).copied().unwrap_or_else(|| Tally::none(shard))).collect();
            let again = leader.unlike(2, &all, shard_of);
            leader.disbelieve(2, |device| shard_of(device).is_some_and(|of| again.contains(&of)));
            for (device, session) in numbers(&own) {
                if again.contains(&shard_of(device).unwrap()) {
                    leader.attach(device, there(2, session, 1));
                }
            }
            prop_assert_eq!(leader.tallies(Some(2), shard_of), said);
            prop_assert!(leader.unlike(2, &all, shard_of).is_empty());
            prop_assert!(leader.place(other(50)).is_some());
        }
    }

    #[test]
    fn what_is_here_and_what_was_said_to_be_here_tally_where_they_are_the_same() {
        let shard_of = |device: EntityId| Some(u32::from(device.slot() % 2));
        let (mut own, mut told) = (Sessions::default(), Sessions::default());
        for last in 0..6 {
            own.attach(other(last), here(u64::from(last)));
            // In another order, and beside what others said.
            told.attach(other(5 - last), there(2, u64::from(5 - last), 1));
            told.attach(other(10 + last), there(3, u64::from(last), 2));
        }
        own.attach(other(20), there(2, 1, 1));
        let tallies = || (own.tallies(None, shard_of), told.tallies(Some(2), shard_of));
        let (here, there_) = tallies();
        assert_eq!(here, there_);
        assert_eq!(here.values().map(|tally| tally.sessions).collect::<Vec<_>>(), [3, 3]);

        told.attach(other(1), there(2, 99, 1));
        let changed = told.tallies(Some(2), shard_of);
        assert_eq!((changed[&0], changed[&1].sessions), (here[&0], 3));
        assert_ne!(changed[&1], here[&1], "another session of the same device is another one");

        assert_eq!(told.disbelieve(2, |device| shard_of(device) == Some(1)), [1, 3, 5].map(other));
        assert_eq!(told.tallies(Some(2), shard_of).into_keys().collect::<Vec<_>>(), [0]);
        assert_eq!(told.tallies(Some(3), shard_of).len(), 2, "what others said holds");
    }
}
