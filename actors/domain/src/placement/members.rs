//! The cluster's nodes, and where its Raft groups live.
//!
//! A node that joined is *active*; *draining*, it leads nothing; *leaving*, its places are given to others;
//! *gone*, neither its number nor its identity is ever used again. Where groups are to live is written down
//! with each change of the nodes; the groups' leaders then make it so.
//!
//! **Invariants:** a number and an identity belong together for good; who votes in a region's groups is of
//! that region, or of one that its policy names; each group has an odd number of voters. **Not here:** the
//! choice of places (`plan`), other regions (`policy`), where people live (`areas`), moving data (`node`).

use core::net::SocketAddr;

use minicbor::{Decode, Encode};

use super::{
    areas::Area,
    leaders::{in_turn, leaders},
    plan::plan,
    policy::Policy,
    slots::Slot,
};
use crate::{EntityId, EntityKind, IndexRow, Region, Rejection, RejectionCode, time::Millis};

/// What a program understands of commands, events and log entries. Raised with each kind that an older one
/// would not know: nobody writes it before every node says that it knows it.
pub const LEVEL: u32 = RUNS;
/// The level of entries that name the history that they go on from, and of regions with a policy.
pub const HISTORIES: u32 = 1;
/// The level of slots that move.
pub const SLOTS_MOVE: u32 = 2;
/// The level of placement's data keys that nodes of every region read.
pub const SHARED_KEYS: u32 = 3;
/// The level of orders, and of what customers and technicians do and write besides requests and answers.
pub const ORDERS: u32 = 4;
/// The level of what operators write for dispatch (rules, policies, rosters), and of what it leads to.
pub const TRIGGERS: u32 = 5;
/// The level of nodes that say how their sessions tally.
pub const TALLIES: u32 = 7;
/// The level of customers whose zone is known.
pub const ZONES: u32 = 8;
/// The level of what is written down of how far an alert has come.
pub const DELIVERIES: u32 = 9;
/// The level of arrivals that are said anew.
pub const ARRIVALS: u32 = 10;
/// The level of regions with areas.
pub const AREAS: u32 = 11;
/// The level of tickets whose rows tell what they are counted by.
pub const COUNTS: u32 = 12;
/// The level of tickets that are marked as overdue, of moves that name the offer that they were planned by, of keys
/// whose tickets have a priority, and of alarms that are acknowledged.
pub const MARKS: u32 = 13;
/// The level of people who are revised and suspended, and of requests that operators make for them.
pub const PEOPLE: u32 = 14;
/// The level of desks that hear where a ticket is by now that somebody has, and of allowances of chaos that two persons
/// agree to; those of level 6 took two machines for them.
pub const SITES: u32 = 15;
/// The level of ledgers that tell of runs of chaos.
pub const RUNS: u32 = 16;
/// The one group that every node takes part in.
pub const PLACEMENT: u32 = 0;
/// The numbers of groups that each region has for itself.
pub const GROUPS_PER_REGION: u32 = 2048;
/// The authority group's number among them: above any shard's.
pub const AUTHORITY: u32 = 1024;
/// Shards of a region: more would end batching (one sync serves all groups, each costs ticks).
pub const SHARDS_MAX: u32 = 64;
/// Regions: their authorities and those that take over fit what a bundle may have.
const REGIONS_MAX: usize = 16;
/// Nodes, those that are gone among them: some dozens at a time, and as many that were replaced.
const MEMBERS_MAX: usize = 256;
/// Replicas that an operator may ask for: five outlive two that fail at once.
const VOTERS_MAX: usize = 5;
/// Voters of a region's group, where it has as many nodes.
pub(super) const REGION_VOTERS: usize = 3;

/// How far a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Presence {
    #[n(0)]
    Active,
    /// It leads nothing.
    #[n(1)]
    Draining,
    /// It is taken out of every group.
    #[n(2)]
    Leaving,
    /// It is in no group any more, and does not come back.
    #[n(3)]
    Gone,
    /// It is not heard of: others have its places until it is.
    #[n(4)]
    Away,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    #[n(0)]
    pub number: u64,
    /// Its registration, as its certificate names it; its region is the node's.
    #[n(1)]
    pub identity: EntityId,
    /// `ADDRESS:PORT` for other nodes.
    #[n(2)]
    pub mesh: String,
    #[n(3)]
    pub devices: String,
    #[n(4)]
    pub https: String,
    #[n(5)]
    pub presence: Presence,
    #[n(6)]
    pub since: Millis,
    /// Up to which [`LEVEL`] it understands what others write.
    #[cbor(n(7), default)]
    pub level: u32,
}

impl Member {
    pub fn region(&self) -> Region {
        self.identity.region()
    }

    /// With the names that the configuration has for them.
    fn addresses(&self) -> [(&'static str, &str); 3] {
        [("mesh", &self.mesh), ("devices", &self.devices), ("https", &self.https)]
    }

    /// Whether groups may live on it.
    pub fn is_candidate(&self) -> bool {
        matches!(self.presence, Presence::Active | Presence::Draining)
    }
}

/// Where a group is to live; both lists are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Placed {
    #[n(0)]
    pub group: u32,
    #[n(1)]
    pub voters: Vec<u64>,
    #[n(2)]
    pub learners: Vec<u64>,
    /// An operator chose the voters.
    #[n(3)]
    pub pinned: bool,
}

/// A region with its groups.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Home {
    #[n(0)]
    pub region: Region,
    #[n(1)]
    pub index: u32,
    #[n(2)]
    pub shards: u32,
    /// Where its data are besides.
    #[cbor(n(3), default)]
    pub policy: Policy,
    /// By slot: those that are not, or not only, where the remainder puts them.
    #[cbor(n(4), default)]
    pub slots: Vec<Slot>,
    /// Where its people live; none, and never empty, where nobody says so.
    #[n(5)]
    pub areas: Option<Vec<Area>>,
}

impl Home {
    /// A region whose data stay at home.
    pub fn new(region: Region, index: u32, shards: u32) -> Self {
        Self { region, index, shards, policy: Policy::Zone, slots: Vec::new(), areas: None }
    }

    pub fn areas(&self) -> &[Area] {
        self.areas.as_deref().unwrap_or_default()
    }

    /// The group of an entity of this region: its slot's shard; the authority and its records are a group
    /// of their own.
    pub fn group_of(&self, entity: EntityId) -> u32 {
        match entity.kind() {
            EntityKind::Placement => PLACEMENT,
            EntityKind::Authority | EntityKind::Registration => self.authority(),
            EntityKind::Customer
            | EntityKind::Technician
            | EntityKind::Ticket
            | EntityKind::Desk
            | EntityKind::Notifier
            | EntityKind::Integration
            | EntityKind::Attachment => self.shard_of(entity.slot()),
        }
    }

    /// The number of the authority's group.
    pub fn authority(&self) -> u32 {
        self.index.saturating_mul(GROUPS_PER_REGION).saturating_add(AUTHORITY)
    }

    /// The numbers of all groups of the region.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        let first = self.index.saturating_mul(GROUPS_PER_REGION);
        (1..=self.shards).map(move |shard| first.saturating_add(shard)).chain([self.authority()])
    }
}

/// Nodes, regions and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Members {
    /// Raised by each change.
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub homes: Vec<Home>,
    /// By number.
    #[n(2)]
    pub members: Vec<Member>,
    /// By number.
    #[n(3)]
    pub groups: Vec<Placed>,
}

/// What is not so is a refusal with this text.
fn demand(
    is_so: bool,
    code: RejectionCode,
    text: impl FnOnce() -> String,
) -> Result<(), Rejection> {
    if is_so { Ok(()) } else { Rejection::new(code, text()) }
}

impl Members {
    pub fn member(&self, number: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.number == number)
    }

    pub fn placed(&self, group: u32) -> Option<&Placed> {
        self.groups.iter().find(|placed| placed.group == group)
    }

    pub fn home(&self, region: Region) -> Option<&Home> {
        self.homes.iter().find(|home| home.region == region)
    }

    /// The group of an entity; none where its region is not known.
    pub fn group_of(&self, entity: EntityId) -> Option<u32> {
        match entity.kind() {
            EntityKind::Placement => Some(PLACEMENT),
            _ => self.home(entity.region()).map(|home| home.group_of(entity)),
        }
    }

    /// The region whose group this is; none for the placement group and for numbers that are not given.
    pub fn home_of(&self, group: u32) -> Option<&Home> {
        let home = self.homes.iter().find(|home| home.index == group / GROUPS_PER_REGION)?;
        (group != PLACEMENT && home.groups().any(|own| own == group)).then_some(home)
    }

    /// Who should lead a group: each voter about as many as another. One that leads nothing only where
    /// nobody else votes.
    pub fn preferred(&self, group: u32) -> Option<u64> {
        if let Some(home) = self.home_of(group) {
            return leaders(self, home).get(&group).copied();
        }
        let voters = &self.placed(group)?.voters;
        let is_active = |number: &&u64| {
            self.member(**number).is_some_and(|member| member.presence == Presence::Active)
        };
        let active: Vec<u64> = voters.iter().filter(is_active).copied().collect();
        in_turn(group, if active.is_empty() { voters } else { &active })
    }

    /// What all nodes understand; this program's own level where there is none.
    pub fn level(&self) -> u32 {
        let living = self.members.iter().filter(|member| member.presence != Presence::Gone);
        living.map(|member| member.level).min().unwrap_or(LEVEL)
    }

    /// Whether all nodes understand a level; the first that does not.
    pub(super) fn all_understand(&self, level: u32) -> Result<(), Rejection> {
        let older = self
            .members
            .iter()
            .find(|member| member.presence != Presence::Gone && member.level < level);
        match older {
            None => Ok(()),
            Some(older) => {
                let text = format!(
                    "node {} runs an older release, or has not said which since it was upgraded: upgrade it first",
                    older.number
                );
                Rejection::new(RejectionCode::NotNow, text)
            }
        }
    }

    pub(super) fn is_gone(&self, number: u64) -> bool {
        self.member(number).is_some_and(|member| member.presence == Presence::Gone)
    }

    fn known(&self, number: u64) -> Result<&Member, Rejection> {
        let known = self.member(number).filter(|member| member.presence != Presence::Gone);
        known.map_or_else(
            || Rejection::new(RejectionCode::Unknown, format!("there is no node {number}")),
            Ok,
        )
    }

    /// Whether a node may join as this; false where it is a member already.
    pub(super) fn may_join(&self, wanted: &Member, shards: u32) -> Result<bool, Rejection> {
        let Member { number, identity, .. } = wanted;
        demand(*number > 0, RejectionCode::Invalid, || "nodes are numbered from 1".into())?;
        demand(identity.kind() == EntityKind::Registration, RejectionCode::Invalid, || {
            "a node is named by its registration".into()
        })?;
        self.may_be_at(wanted)?;
        demand((1..=SHARDS_MAX).contains(&shards), RejectionCode::Invalid, || {
            format!("node.shards = {shards}: use 1 to {SHARDS_MAX}")
        })?;
        if let Some(home) = self.home(identity.region()) {
            demand(home.shards == shards, RejectionCode::Invalid, || {
                format!("node.shards = {shards}, the region has {}", home.shards)
            })?;
        }
        for known in &self.members {
            let same = (known.number == *number, known.identity == *identity);
            let is_gone = known.presence == Presence::Gone;
            match same {
                (true, true) if !is_gone => return Ok(false),
                (true, _) => {
                    return Rejection::new(
                        RejectionCode::Exists,
                        format!(
                            "node.number = {number} is or was another machine's: take one that was never used"
                        ),
                    );
                }
                (false, true) => {
                    return Rejection::new(
                        RejectionCode::Exists,
                        format!("the certificate is or was node {}'s", known.number),
                    );
                }
                (false, false) => {}
            }
        }
        demand(self.members.len() < MEMBERS_MAX, RejectionCode::Limit, || {
            format!("there are or were {MEMBERS_MAX} nodes already")
        })?;
        Ok(true)
    }

    /// Whether there may be one more region.
    pub(super) fn may_grow(&self) -> Result<(), Rejection> {
        demand(self.homes.len() < REGIONS_MAX, RejectionCode::Limit, || {
            format!("there are {REGIONS_MAX} regions already")
        })
    }

    /// Whether others can reach a node where it says that it is, and nobody else is there.
    fn may_be_at(&self, wanted: &Member) -> Result<(), Rejection> {
        for (key, text) in wanted.addresses() {
            let address = text.parse::<SocketAddr>();
            let is_usable =
                |at: &SocketAddr| at.port() != 0 && !at.ip().to_canonical().is_unspecified();
            demand(address.as_ref().is_ok_and(is_usable), RejectionCode::Invalid, || {
                format!("advertise.{key} = {text:?} is not an ADDRESS:PORT that others can reach")
            })?;
            // The same address may be written in two ways.
            let is_there = |known: &&Member| {
                known.addresses().into_iter().any(|(of, at)| of == key && at.parse() == address)
            };
            let mut living = self
                .members
                .iter()
                .filter(|known| known.presence != Presence::Gone && known.number != wanted.number);
            if let Some(Member { number, .. }) = living.find(is_there) {
                let text = format!("advertise.{key} = {text:?} is node {number}'s");
                return Rejection::new(RejectionCode::Exists, text);
            }
        }
        Ok(())
    }

    /// Whether a node is to change so; false where it has already.
    pub(super) fn may_become(&self, number: u64, wanted: Presence) -> Result<bool, Rejection> {
        // That it has left may be said again.
        if wanted == Presence::Gone && self.is_gone(number) {
            return Ok(false);
        }
        let known = self.known(number)?;
        if known.presence == wanted {
            return Ok(false);
        }
        let others = self.members.iter().filter(|other| {
            other.number != number
                && other.region() == known.region()
                && other.presence == Presence::Active
        });
        let is_last = others.count() == 0;
        match wanted {
            Presence::Active => {
                demand(known.presence != Presence::Leaving, RejectionCode::NotNow, || {
                    format!("node {number} is leaving: that is not taken back")
                })?;
            }
            Presence::Draining => {
                demand(known.presence == Presence::Active, RejectionCode::NotNow, || {
                    let why = if known.presence == Presence::Away { "away" } else { "leaving" };
                    format!("node {number} is {why}")
                })?;
                demand(!is_last, RejectionCode::NotNow, || {
                    format!("nobody else of region {} could lead", known.region())
                })?;
            }
            Presence::Leaving => demand(!is_last, RejectionCode::NotNow, || {
                format!("region {} would be without an active node", known.region())
            })?,
            // Who is drained is known to be gone for a while, and comes back.
            Presence::Away => {
                demand(known.presence == Presence::Active, RejectionCode::NotNow, || {
                    format!("node {number} is not active")
                })?;
                demand(self.can_spare(known), RejectionCode::NotNow, || {
                    format!("nobody of region {} could take its places", known.region())
                })?;
            }
            Presence::Gone => {
                demand(known.presence == Presence::Leaving, RejectionCode::NotNow, || {
                    format!("node {number} is not leaving")
                })?;
            }
        }
        Ok(true)
    }

    /// Whether a region has as many voters for each group without a node.
    fn can_spare(&self, spared: &Member) -> bool {
        let others = self.members.iter().filter(|other| {
            other.number != spared.number
                && other.region() == spared.region()
                && other.is_candidate()
        });
        others.count() >= REGION_VOTERS
    }

    /// The voters that an operator wants, sorted; none where they are so already.
    pub(super) fn assigned(&self, group: u32, wanted: &[u64]) -> Result<Option<Placed>, Rejection> {
        let unknown =
            || Rejection::new(RejectionCode::Unknown, format!("there is no group {group}"));
        let Some(now) = self.placed(group) else { return unknown() };
        let home = self.home_of(group);
        let is_spread = home.is_some_and(|home| matches!(home.policy, Policy::Region(..)));
        demand(!is_spread, RejectionCode::NotNow, || {
            "who votes in the group follows from its region's policy".into()
        })?;
        let mut voters = wanted.to_vec();
        voters.sort_unstable();
        voters.dedup();
        let is_odd = voters.len() % 2 == 1 && voters.len() <= VOTERS_MAX;
        demand(is_odd && voters.len() == wanted.len(), RejectionCode::Invalid, || {
            "name one, three or five different nodes".into()
        })?;
        let region = home.map(|home| home.region);
        for number in &voters {
            let member = self.known(*number)?;
            demand(member.is_candidate(), RejectionCode::NotNow, || {
                format!("node {number} is leaving or away")
            })?;
            demand(
                region.is_none_or(|own| own == member.region()),
                RejectionCode::Invalid,
                || format!("node {number} is of another region: a region's data stay there"),
            )?;
        }
        if now.pinned && now.voters == voters {
            return Ok(None);
        }
        Ok(Some(Placed { voters, pinned: true, ..now.clone() }))
    }

    /// What changes in the groups' places once the nodes are so.
    pub(super) fn moves(&self) -> Vec<Placed> {
        let wanted = plan(self);
        wanted.into_iter().filter(|placed| self.placed(placed.group) != Some(placed)).collect()
    }

    /// The epoch of a row that the placement group wrote, where it is one of these.
    pub fn epoch_of(row: &IndexRow) -> Option<u64> {
        match row {
            IndexRow::Member { epoch, .. }
            | IndexRow::Home { epoch, .. }
            | IndexRow::Placed { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }

    /// Takes in a row that the placement group wrote; whether it is one of these.
    pub fn learn(&mut self, row: &IndexRow) -> bool {
        let epoch = match row {
            IndexRow::Member { member, epoch } => {
                put(&mut self.members, member, |one| one.number);
                epoch
            }
            IndexRow::Home { home, epoch } => {
                put(&mut self.homes, home, |one| one.index);
                epoch
            }
            IndexRow::Placed { placed, epoch } => {
                put(&mut self.groups, placed, |one| one.group);
                epoch
            }
            _ => return false,
        };
        self.epoch = self.epoch.max(*epoch);
        true
    }

    pub(super) fn joined(&mut self, member: &Member, home: Option<&Home>) {
        self.epoch = self.epoch.saturating_add(1);
        self.homes.extend(home.cloned());
        let at = self.members.partition_point(|known| known.number < member.number);
        self.members.insert(at, member.clone());
    }

    pub(super) fn changed(&mut self, number: u64, change: impl FnOnce(&mut Member)) {
        self.epoch = self.epoch.saturating_add(1);
        self.members.iter_mut().find(|known| known.number == number).map(change);
    }

    pub(super) fn place(&mut self, groups: &[Placed]) {
        self.epoch = self.epoch.saturating_add(1);
        for placed in groups {
            put(&mut self.groups, placed, |one| one.group);
        }
    }
}

/// In the place of what has the same key, or in order.
fn put<T: Clone, K: Ord>(all: &mut Vec<T>, one: &T, key: impl Fn(&T) -> K) {
    match all.binary_search_by_key(&key(one), &key) {
        Ok(at) => all[at] = one.clone(),
        Err(at) => all.insert(at, one.clone()),
    }
}
