//! Where devices are connected: here, or on another node that said so.
//!
//! **Invariants:** a device has one session, the newest that was heard of; what another node said holds
//! for as long as the stream on which it was said. **Not here:** telling shards and nodes (`courier`).

use std::collections::BTreeMap;

use fieldmesh_actors::seams::MailItem;
use fieldmesh_domain::EntityId;
use tokio::sync::mpsc;

/// A device that is connected here.
#[derive(Debug, Clone)]
pub struct Session {
    /// Tells this session from an earlier one of the same device.
    pub number: u64,
    pub mail: mpsc::Sender<MailItem>,
}

/// A session on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abroad {
    pub(super) node: u64,
    /// Its number there.
    pub(super) session: u64,
    /// The stream on which it was said.
    pub(super) stream: u64,
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
}

/// All that is known of devices.
#[derive(Default)]
pub(super) struct Sessions {
    places: BTreeMap<EntityId, Place>,
}

impl Sessions {
    pub(super) fn place(&self, device: EntityId) -> Option<&Place> {
        self.places.get(&device)
    }

    /// The newest session takes the place of what was there; returns the one on another node that is to
    /// end. One that is only said again is the same.
    pub(super) fn attach(&mut self, device: EntityId, place: Place) -> Option<Abroad> {
        let again = match &place {
            Place::There(abroad) => Some((abroad.node, abroad.session)),
            Place::Here(_) => None,
        };
        match self.places.insert(device, place) {
            Some(Place::There(abroad)) => {
                Some(abroad).filter(|abroad| again != Some((abroad.node, abroad.session)))
            }
            Some(Place::Here(_)) | None => None,
        }
    }

    /// Ends a session on this node (none) or another, unless a newer one took its place; whether it did.
    pub(super) fn detach(&mut self, device: EntityId, node: Option<u64>, number: u64) -> bool {
        let is_it = self.places.get(&device).is_some_and(|place| place.is(node, number));
        if is_it {
            self.places.remove(&device);
        }
        is_it
    }

    /// A node has no session of the device after all; whether it was thought to.
    pub(super) fn absent(&mut self, device: EntityId, on: u64) -> bool {
        let is_there = |place: &Place| matches!(place, Place::There(abroad) if abroad.node == on);
        let is_it = self.places.get(&device).is_some_and(is_there);
        if is_it {
            self.places.remove(&device);
        }
        is_it
    }

    /// What was said on a stream does not hold any more; whose sessions those were.
    pub(super) fn forget(&mut self, stream: u64) -> Vec<EntityId> {
        let mut gone = Vec::new();
        self.places.retain(|device, place| {
            let said = matches!(place, Place::There(abroad) if abroad.stream == stream);
            if said {
                gone.push(*device);
            }
            !said
        });
        gone
    }

    /// Devices that are connected somewhere.
    pub(super) fn devices(&self) -> impl Iterator<Item = EntityId> {
        self.places.keys().copied()
    }

    /// Devices that are connected here, with their sessions' numbers.
    pub(super) fn here(&self) -> impl Iterator<Item = (EntityId, u64)> {
        self.places.iter().filter_map(|(device, place)| match place {
            Place::Here(session) => Some((*device, session.number)),
            Place::There(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    fn device() -> EntityId {
        EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [7; 10])
    }

    fn there(node: u64, session: u64, stream: u64) -> Place {
        Place::There(Abroad { node, session, stream })
    }

    fn here(number: u64) -> Place {
        Place::Here(Session { number, mail: mpsc::channel(1).0 })
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
        assert_eq!(sessions.here().collect::<Vec<_>>(), [(device(), 5)]);
        assert!(sessions.detach(device(), None, 5));
        assert!(sessions.place(device()).is_none());
    }

    /// A node says all its sessions again whenever another one leads: none of them must end for that.
    #[test]
    fn a_session_that_is_said_again_replaces_nothing() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.attach(device(), there(2, 5, 1)), None);
        assert_eq!(sessions.attach(device(), there(2, 5, 3)), None);
        let replaced = |session, stream| Some(Abroad { node: 2, session, stream });
        assert_eq!(sessions.attach(device(), there(2, 6, 3)), replaced(5, 3));
        assert_eq!(sessions.attach(device(), there(3, 6, 4)), replaced(6, 3));
        assert!(sessions.attach(device(), here(1)).is_some());
        assert_eq!(sessions.attach(device(), here(2)), None, "it is told by its closed channel");
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
}
