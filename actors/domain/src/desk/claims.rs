//! The keys of a region's open tickets: which of them belong together.
//!
//! Rules give tickets keys. The first one with a key has it until its work is done, it ends or the key's time is
//! over; those that come later with the same key wait under it, so that one cause is worked on once. A key may
//! also silence others: they tell nobody as long as its ticket has it.
//!
//! Nobody waits under a ticket that is less urgent, or that is held: whoever comes then has the key from then on.
//!
//! **Invariants:** a key is had by one ticket; what has one is never itself under another by this table; the
//! table is bounded, and a ticket that finds no room goes on alone. **Not here:** how keys are made (rules),
//! waiting for a parent (`ticket`).

use std::collections::BTreeMap;

use minicbor::{Decode, Encode, bytes::ByteArray};

use super::{Command, Desk, Event};
use crate::{Ctx, EntityId, ticket::CHILDREN_MAX, time::Millis};

/// Keys at a time: what a region opens in some hours, in 2 MB of the desk's state.
const CLAIMS_MAX: usize = 32_768;
/// Keys of one ticket: it is the same as another, is grouped, and silences, at most.
pub const KEYS_MAX: usize = 4;
/// A key that has no time of its own is forgotten after a week, as counts of tickets are.
const CLAIM_LIFE_S: u64 = 7 * 24 * 3600;

/// What a key says of the tickets that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Bond {
    /// They are the same, if the first is not older.
    #[n(0)]
    Duplicate {
        #[n(0)]
        window_s: u32,
    },
    /// They have one cause.
    #[n(1)]
    Group,
    /// They tell nobody while this one is open.
    #[n(2)]
    Inhibit,
}

/// A key, as a hash: what it is made of may have something of the customer in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Key {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub hash: [u8; 16],
    #[n(1)]
    pub bond: Bond,
}

/// Who has a key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claimed {
    #[n(0)]
    pub ticket: EntityId,
    #[n(1)]
    pub since: Millis,
    #[n(2)]
    pub until: Millis,
    /// Those that were sent under it: a ticket takes no more than so many.
    #[n(3)]
    pub children: u32,
    #[n(4)]
    pub inhibits_children: bool,
    /// The ticket's; none from a release that does not say it.
    #[n(5)]
    pub priority: Option<u8>,
    /// Nobody works on the ticket before then.
    #[n(6)]
    pub held_until: Option<Millis>,
}

/// A ticket that says what keys it has.
#[derive(Clone, Copy)]
struct Asker {
    ticket: EntityId,
    priority: Option<u8>,
    inhibits_children: bool,
    held_until: Option<Millis>,
}

/// All keys of a region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Claims {
    /// Under whom others wait.
    #[n(0)]
    pub joined: BTreeMap<ByteArray<16>, Claimed>,
    /// Who silences others.
    #[n(1)]
    pub silenced: BTreeMap<ByteArray<16>, Claimed>,
}

impl Claims {
    /// Who else has a key now and is worked on, has room for one more, and is not less urgent than who asks.
    fn first(&self, asker: Asker, key: &Key, now: Millis) -> Option<&Claimed> {
        let claimed = self.joined.get(&ByteArray::from(key.hash))?;
        let is_near = match key.bond {
            Bond::Duplicate { window_s } => claimed.since.after_s(u64::from(window_s)) >= now,
            Bond::Group => true,
            Bond::Inhibit => false,
        };
        let has_room = (claimed.children as usize) < CHILDREN_MAX;
        let both = claimed.priority.zip(asker.priority);
        let is_as_urgent = both.is_none_or(|(first, own)| first <= own);
        let is_held = claimed.held_until.is_some_and(|until| until > now);
        let is_other = claimed.ticket != asker.ticket && claimed.until >= now;
        let is_usable = is_other && is_near && has_room && is_as_urgent && !is_held;
        is_usable.then_some(claimed)
    }

    fn is_silenced(&self, ticket: EntityId, key: &Key, now: Millis) -> bool {
        let by = self.silenced.get(&ByteArray::from(key.hash));
        key.bond != Bond::Inhibit && by.is_some_and(|by| by.ticket != ticket && by.until >= now)
    }

    /// The ticket that another one is like, and whether that one tells anybody.
    fn compare(&self, asker: Asker, keys: &[Key], now: Millis) -> (Option<EntityId>, bool) {
        let found = keys.iter().find_map(|key| Some((key, self.first(asker, key, now)?)));
        // The same again has been told of already.
        let is_told = found.is_some_and(|(key, first)| {
            first.inhibits_children || matches!(key.bond, Bond::Duplicate { .. })
        });
        let is_silent = is_told || keys.iter().any(|key| self.is_silenced(asker.ticket, key, now));
        (found.map(|(_, first)| first.ticket), is_silent)
    }

    /// Every key of the ticket is its own already, and known to be held as long.
    fn has_all(&self, asker: Asker, keys: &[Key], now: Millis) -> bool {
        keys.iter().all(|key| {
            let claimed = self.of(key.bond).get(&ByteArray::from(key.hash));
            // Whoever else silences others by it does that for this one too.
            let is_shared = key.bond == Bond::Inhibit;
            let is_its = |claimed: &Claimed| {
                claimed.ticket == asker.ticket && claimed.held_until == asker.held_until
            };
            claimed.is_some_and(|claimed| (is_shared || is_its(claimed)) && claimed.until >= now)
        })
    }

    /// Others wait under the ticket by this key.
    fn is_joined_under(&self, ticket: EntityId, key: &Key, now: Millis) -> bool {
        let claimed = self.joined.get(&ByteArray::from(key.hash));
        let is_its = |claimed: &Claimed| claimed.ticket == ticket && claimed.until >= now;
        key.bond != Bond::Inhibit && claimed.is_some_and(is_its)
    }

    fn of(&self, bond: Bond) -> &BTreeMap<ByteArray<16>, Claimed> {
        match bond {
            Bond::Duplicate { .. } | Bond::Group => &self.joined,
            Bond::Inhibit => &self.silenced,
        }
    }

    fn of_mut(&mut self, bond: Bond) -> &mut BTreeMap<ByteArray<16>, Claimed> {
        match bond {
            Bond::Duplicate { .. } | Bond::Group => &mut self.joined,
            Bond::Inhibit => &mut self.silenced,
        }
    }

    fn len(&self) -> usize {
        self.joined.len().saturating_add(self.silenced.len())
    }

    fn has_room(&mut self, now: Millis) -> bool {
        if self.len() >= CLAIMS_MAX {
            self.joined.retain(|_, claimed| claimed.until >= now);
            self.silenced.retain(|_, claimed| claimed.until >= now);
        }
        self.len() < CLAIMS_MAX
    }

    fn put(&mut self, asker: Asker, key: &Key, at: Millis) {
        let Asker { ticket, priority, inhibits_children, held_until } = asker;
        let life_s = match key.bond {
            Bond::Duplicate { window_s } => u64::from(window_s),
            Bond::Group | Bond::Inhibit => CLAIM_LIFE_S,
        };
        let until = at.after_s(life_s);
        let hash = ByteArray::from(key.hash);
        let has_room = self.has_room(at);
        let known = self.of_mut(key.bond);
        // One that is the same and of the group by one key has it for the longer of both.
        let claimed = Claimed {
            ticket,
            since: at,
            until,
            children: 0,
            inhibits_children,
            priority,
            held_until,
        };
        match known.get_mut(&hash) {
            Some(own) if own.ticket == ticket && own.until >= at => {
                own.until = own.until.max(until);
                own.held_until = held_until;
            }
            // Who silences others goes on as long as it said.
            Some(other) if key.bond == Bond::Inhibit && other.until >= at => {}
            Some(other) => *other = claimed,
            None if has_room => drop(known.insert(hash, claimed)),
            None => {}
        }
    }
}

impl Desk {
    /// A ticket asks what has the same keys, or says until when it is held.
    pub(super) fn claim(&self, command: &Command, ctx: &Ctx) -> Vec<Event> {
        let Command::Claim { ticket, keys, inhibits_children, priority, held_until } = command
        else {
            return vec![];
        };
        let (ticket, inhibits_children, now) = (*ticket, *inhibits_children, ctx.now);
        let (priority, held_until) = (*priority, *held_until);
        let asker = Asker { ticket, priority, inhibits_children, held_until };
        let mut keys: Vec<Key> = keys.iter().take(KEYS_MAX).copied().collect();
        let claims = self.claims.as_ref();
        if held_until.is_some() {
            // One that is held takes no key, it only keeps what it has.
            let is_its =
                |key: &Key| claims.is_some_and(|all| all.is_joined_under(ticket, key, now));
            keys.retain(is_its);
            if keys.is_empty() {
                return vec![];
            }
        }
        if claims.is_some_and(|claims| claims.has_all(asker, &keys, now)) {
            // The answer is on its way, or the ticket has it.
            return vec![];
        }
        let none = (None, false);
        let (like, is_silent) = claims.map_or(none, |claims| claims.compare(asker, &keys, now));
        vec![Event::Compared {
            ticket,
            keys,
            inhibits_children,
            at: now,
            like,
            is_silent,
            priority,
            held_until,
        }]
    }

    pub(super) fn unclaim(&self, ticket: EntityId, keys: &[Key]) -> Vec<Event> {
        let has_one = self.claims.as_ref().is_some_and(|claims| {
            keys.iter().any(|key| {
                let claimed = claims.of(key.bond).get(&ByteArray::from(key.hash));
                claimed.is_some_and(|claimed| claimed.ticket == ticket)
            })
        });
        if has_one { vec![Event::Unclaimed { ticket, keys: keys.to_vec() }] } else { vec![] }
    }

    pub(super) fn compared(&mut self, event: &Event) {
        let Event::Compared {
            ticket, keys, inhibits_children, at, like, priority, held_until, ..
        } = event
        else {
            return;
        };
        let (ticket, inhibits_children) = (*ticket, *inhibits_children);
        let (priority, held_until) = (*priority, *held_until);
        let asker = Asker { ticket, priority, inhibits_children, held_until };
        let claims = self.claims.get_or_insert_default();
        for key in keys.iter().take(KEYS_MAX) {
            match (key.bond, like) {
                (Bond::Inhibit, _) | (_, None) => claims.put(asker, key, *at),
                (_, Some(first)) => {
                    let known = claims.joined.get_mut(&ByteArray::from(key.hash));
                    match known {
                        Some(known) if known.ticket == *first => {
                            known.children = known.children.saturating_add(1);
                        }
                        Some(own) if own.ticket == ticket => own.held_until = held_until,
                        _ => {}
                    }
                }
            }
        }
    }

    pub(super) fn unclaimed(&mut self, ticket: EntityId, keys: &[Key]) {
        let Some(claims) = &mut self.claims else { return };
        for key in keys {
            let hash = ByteArray::from(key.hash);
            let known = claims.of_mut(key.bond);
            if known.get(&hash).is_some_and(|claimed| claimed.ticket == ticket) {
                known.remove(&hash);
            }
        }
    }
}
