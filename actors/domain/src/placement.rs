//! What every node of the cluster must know, whatever its region: whom to believe, and who is
//! revoked.
//!
//! The revocations themselves are rows, one for each certificate, because there may be hundreds of
//! thousands; each node keeps them in memory and closes the connections of whoever comes to be in
//! them. The authorities are few, and rows too; so are the nodes themselves, and the places of the Raft
//! groups. **Invariant:** what is revoked or removed stays so. **Not here:** why (`registration`,
//! operators).

mod allowance;
mod areas;
mod bundle;
mod changes;
mod documents;
mod leaders;
mod members;
mod plan;
mod policy;
mod rotation;
mod slots;
mod steps;

use minicbor::{Decode, Encode};

pub use self::allowance::{
    ALLOWED_MINUTES_MAX, Allowance, AllowanceProposal, Allowances, Ended, WHY_BYTES_MAX,
};
pub use self::areas::{AREAS_MAX, Area, Areas, Whereabouts};
pub use self::bundle::{Bundle, Ca, Move, Node, Phase, Proposal, Role, Step, Wanted};
pub use self::documents::{DOCUMENT_BYTES_MAX, Document, DocumentKind, VERSIONS_KEPT, Written};
pub use self::members::{
    AREAS, ARRIVALS, AUTHORITY, COUNTS, DELIVERIES, GROUPS_PER_REGION, HISTORIES, Home, LEVEL,
    MARKS, Member, Members, ORDERS, PEOPLE, PLACEMENT, Placed, Presence, RUNS, SHARDS_MAX,
    SHARED_KEYS, SITES, SLOTS_MOVE, TALLIES, TRIGGERS, ZONES,
};
pub use self::policy::Policy;
use self::rotation::{introduction, note};
pub use self::slots::Slot;
use crate::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, IndexRow, Region, Rejection, TimerName,
    authority::Deed, registration::Revocation, time::Millis,
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Placement {
    /// How many certificates were revoked.
    #[n(0)]
    pub revoked: u64,
    #[cbor(n(1), default)]
    pub bundle: Bundle,
    #[cbor(n(2), default)]
    pub members: Members,
    /// What operators wrote, by kind; none before the first.
    #[n(3)]
    pub documents: Option<Vec<Written>>,
    /// Of chaos; none before the first.
    #[n(4)]
    pub allowances: Option<Allowances>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// A certificate is not to be believed any more; told once for each.
    #[n(0)]
    Revoke {
        /// SHA-256 of the issuer's name.
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        /// Unix seconds; afterwards it is not believed anyway.
        #[n(2)]
        not_after: u64,
        #[n(3)]
        revocation: Revocation,
    },
    #[n(1)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
    /// What a region was made with.
    #[n(2)]
    Adopt(#[n(0)] Vec<Ca>),
    #[n(3)]
    Introduce {
        #[n(0)]
        ca: Ca,
        #[n(1)]
        by: String,
    },
    #[n(4)]
    Rotate(#[n(0)] Wanted),
    /// A node believes what a bundle says.
    #[n(5)]
    Acknowledge {
        #[n(0)]
        node: u64,
        #[n(1)]
        epoch: u64,
    },
    /// A node that does not come back holds up no rotation.
    #[n(6)]
    ForgetNode {
        #[n(0)]
        node: u64,
        #[n(1)]
        by: String,
    },
    /// The same as to introduce, where two operators must want it.
    #[n(7)]
    IntroduceJointly {
        #[n(0)]
        ca: Ca,
        #[n(1)]
        by: String,
    },
    /// A node with a certificate becomes a member; one that is says where it is.
    #[n(8)]
    Join {
        /// Its presence and time are not looked at.
        #[n(0)]
        member: Member,
        /// The region's shards, as the node's configuration has them.
        #[n(1)]
        shards: u32,
        #[n(2)]
        by: String,
    },
    /// A node is to lead nothing.
    #[n(9)]
    Drain {
        #[n(0)]
        number: u64,
        #[n(1)]
        by: String,
    },
    #[n(10)]
    Resume {
        #[n(0)]
        number: u64,
        #[n(1)]
        by: String,
    },
    /// A node, maybe a dead one, is to be in no group any more.
    #[n(11)]
    Leave {
        #[n(0)]
        number: u64,
        #[n(1)]
        by: String,
    },
    /// No group has a leaving node among its members any more.
    #[n(12)]
    Left {
        #[n(0)]
        number: u64,
    },
    /// An operator says who votes in a group.
    #[n(13)]
    Assign {
        #[n(0)]
        group: u32,
        #[n(1)]
        voters: Vec<u64>,
        #[n(2)]
        by: String,
    },
    /// A node becomes a member as the first of a new region.
    #[n(14)]
    Found {
        /// Its presence and time are not looked at.
        #[n(0)]
        member: Member,
        /// The region's shards.
        #[n(1)]
        shards: u32,
        /// SHA-256 of the name of the authority that issued the node's certificate.
        #[cbor(n(2), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[n(3)]
        by: String,
    },
    /// All nodes of the region are lost: this one begins with what was backed up of them.
    #[n(15)]
    Restore {
        /// Its presence and time are not looked at.
        #[n(0)]
        member: Member,
        #[n(1)]
        shards: u32,
        #[n(2)]
        by: String,
    },
    /// Its region has not heard of a node for a long time.
    #[n(16)]
    NotHeard {
        #[n(0)]
        number: u64,
    },
    /// It has, of one that was away.
    #[n(17)]
    HeardAgain {
        #[n(0)]
        number: u64,
    },
    /// An operator says where a region's data are to be.
    #[n(18)]
    SetPolicy {
        #[n(0)]
        region: Region,
        #[n(1)]
        policy: Policy,
        #[n(2)]
        by: String,
    },
    /// An operator wants slots to be served by another shard.
    #[n(19)]
    MoveSlots {
        #[n(0)]
        region: Region,
        #[n(1)]
        slots: Vec<u16>,
        /// The shard's group.
        #[n(2)]
        to: u32,
        #[n(3)]
        by: String,
    },
    /// The shard that a slot was sent to has all of it.
    #[n(20)]
    SlotArrived {
        #[n(0)]
        region: Region,
        #[n(1)]
        slot: u16,
        #[n(2)]
        at: u32,
    },
    /// The shard that served a slot before has nothing of it any more.
    #[n(21)]
    SlotCleared {
        #[n(0)]
        region: Region,
        #[n(1)]
        slot: u16,
        #[n(2)]
        at: u32,
    },
    /// The members' rows are to be written anew: an older release leaves out of those that it writes, or copies,
    /// what it does not know. From a node that misses something; each time it says so.
    #[n(22)]
    Recite,
    /// An operator writes a document anew.
    #[n(23)]
    Write {
        #[n(0)]
        kind: DocumentKind,
        #[n(1)]
        text: String,
        /// The version that it is written over; 0 for the first.
        #[n(2)]
        base: u32,
        #[n(3)]
        by: String,
    },
    /// An operator wants chaos to be allowed for a while; another one must want the same.
    #[n(24)]
    AllowChaos {
        #[n(0)]
        minutes: u32,
        #[n(1)]
        why: String,
        #[n(2)]
        by: String,
        /// The persons who let that operator in; none where it is a machine's, or there was no second one.
        #[n(3)]
        let_in_by: Option<Vec<String>>,
    },
    /// An operator wants it to be allowed no more.
    #[n(25)]
    EndChaos {
        #[n(0)]
        by: String,
    },
    /// An operator says where a region's people live.
    #[n(26)]
    SetAreas(#[n(0)] Areas),
    /// All nodes of a region are lost, and the others go on without them; who says so.
    #[n(27)]
    Lose(#[n(0)] Region, #[n(1)] String),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Revoked {
        #[cbor(n(0), with = "minicbor::bytes")]
        issuer: [u8; 32],
        #[cbor(n(1), with = "minicbor::bytes")]
        serial: [u8; 16],
        #[n(2)]
        not_after: u64,
        #[n(3)]
        revocation: Revocation,
    },
    #[n(1)]
    Introduced {
        #[n(0)]
        cas: Vec<Ca>,
        /// An operator, or two; empty for what a region was made with.
        #[n(1)]
        by: String,
    },
    #[n(2)]
    Proposed(#[n(0)] Proposal),
    #[n(3)]
    Moved {
        #[n(0)]
        moves: Vec<Move>,
        #[n(1)]
        at: Millis,
        #[n(2)]
        by: String,
        /// Who had asked for it before.
        #[n(3)]
        proposed_by: Option<String>,
    },
    #[n(4)]
    Acknowledged(#[n(0)] Node),
    #[n(5)]
    NodeForgotten {
        #[n(0)]
        node: u64,
        #[n(1)]
        by: String,
    },
    #[n(6)]
    Joined {
        #[n(0)]
        member: Member,
        /// Its region, where it is the first of it.
        #[n(1)]
        home: Option<Home>,
        #[n(2)]
        by: String,
    },
    /// A node is somewhere else than before, or runs another release.
    #[n(7)]
    Announced {
        #[n(0)]
        number: u64,
        #[n(1)]
        mesh: String,
        #[n(2)]
        devices: String,
        #[n(3)]
        https: String,
        #[cbor(n(4), default)]
        level: u32,
    },
    #[n(8)]
    PresenceChanged {
        #[n(0)]
        number: u64,
        #[n(1)]
        presence: Presence,
        #[n(2)]
        at: Millis,
        #[n(3)]
        by: String,
    },
    /// Groups are to live elsewhere than before.
    #[n(9)]
    Placed {
        #[n(0)]
        groups: Vec<Placed>,
        #[n(1)]
        by: String,
    },
    #[n(10)]
    PolicySet {
        #[n(0)]
        region: Region,
        #[n(1)]
        policy: Policy,
        #[n(2)]
        by: String,
    },
    /// Slots are to be served by another shard.
    #[n(11)]
    SlotsSent {
        #[n(0)]
        region: Region,
        #[n(1)]
        slots: Vec<u16>,
        #[n(2)]
        to: u32,
        #[n(3)]
        by: String,
    },
    /// It is.
    #[n(12)]
    SlotArrived {
        #[n(0)]
        region: Region,
        #[n(1)]
        slot: u16,
    },
    /// Nothing of it is left where it was before.
    #[n(13)]
    SlotCleared {
        #[n(0)]
        region: Region,
        #[n(1)]
        slot: u16,
    },
    #[n(14)]
    Written(#[n(0)] Document),
    #[n(15)]
    ChaosProposed(#[n(0)] AllowanceProposal),
    /// It takes the place of one that was there.
    #[n(16)]
    ChaosAllowed(#[n(0)] Allowance),
    /// Neither an allowance nor a proposal is left.
    #[n(17)]
    ChaosEnded(#[n(0)] Ended),
    #[n(18)]
    AreasSet(#[n(0)] Areas),
}

impl Aggregate for Placement {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Placement;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Revoke { issuer, serial, not_after, revocation } => Ok(vec![Event::Revoked {
                issuer: *issuer,
                serial: *serial,
                not_after: *not_after,
                revocation: *revocation,
            }]),
            Command::Adopt(cas) => self.adopt(cas, ctx),
            Command::Introduce { ca, by } => {
                let new = self.introduce(ca, ctx)?;
                let introduced = |ca| Event::Introduced { cas: vec![ca], by: by.clone() };
                Ok(new.map(introduced).into_iter().collect())
            }
            Command::IntroduceJointly { ca, by } => self.introduce_jointly(ca, by, ctx),
            Command::Rotate(wanted) => self.rotate(wanted, ctx),
            Command::Acknowledge { node, epoch } => self.acknowledge(*node, *epoch, ctx),
            Command::ForgetNode { node, by } => {
                let is_there = self.bundle.nodes.iter().any(|known| known.number == *node);
                let forgotten = Event::NodeForgotten { node: *node, by: by.clone() };
                Ok(if is_there { vec![forgotten] } else { vec![] })
            }
            Command::Join { member, shards, by } => self.join(member, *shards, by, ctx),
            Command::Found { member, shards, issuer, by } => {
                self.found(member, *shards, issuer, by, ctx)
            }
            Command::Drain { number, by } => {
                self.become_present(*number, Presence::Draining, by, ctx)
            }
            Command::Resume { number, by } => {
                self.become_present(*number, Presence::Active, by, ctx)
            }
            Command::Leave { number, by } => {
                self.become_present(*number, Presence::Leaving, by, ctx)
            }
            Command::Left { number } => {
                self.become_present(*number, Presence::Gone, changes::BY_ITSELF, ctx)
            }
            Command::Assign { group, voters, by } => self.assign(*group, voters, by),
            Command::Restore { member, shards, by } => self.restore(member, *shards, by, ctx),
            Command::NotHeard { number } => {
                self.become_present(*number, Presence::Away, changes::BY_ITSELF, ctx)
            }
            Command::HeardAgain { number } => self.return_to(*number, ctx),
            Command::SetPolicy { region, policy, by } => self.set_policy(*region, *policy, by),
            Command::MoveSlots { region, slots, to, by } => {
                self.move_slots(*region, slots, *to, by)
            }
            Command::SlotArrived { region, slot, at } => self.slot_arrived(*region, *slot, *at),
            Command::SlotCleared { region, slot, at } => self.slot_cleared(*region, *slot, *at),
            Command::Recite => Ok(self.recite()),
            Command::Write { kind, text, base, by } => self.write(*kind, text, *base, by, ctx),
            Command::AllowChaos { minutes, why, by, let_in_by } => {
                self.allow_chaos(*minutes, why, by, let_in_by.as_deref(), ctx)
            }
            Command::EndChaos { by } => Ok(self.end_chaos(by, ctx)),
            Command::SetAreas(wanted) => self.set_areas(wanted),
            Command::Lose(region, by) => self.lose(*region, by, ctx),
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Revoked { .. } => self.revoked = self.revoked.saturating_add(1),
            Event::Introduced { cas, .. } => self.bundle.add(cas),
            Event::Proposed(proposal) => self.bundle.proposal = Some(proposal.clone()),
            Event::Moved { moves, at, .. } => self.bundle.apply(moves, *at),
            Event::Acknowledged(node) => self.bundle.acked(*node),
            Event::NodeForgotten { node, .. } => {
                self.bundle.nodes.retain(|known| known.number != *node);
            }
            Event::Joined { member, home, .. } => {
                self.members.joined(member, home.as_ref());
                // A new authority signs only once this one knows it too.
                self.bundle.awaits(member.number, member.since);
            }
            Event::Announced { number, mesh, devices, https, level } => {
                self.members.changed(*number, |member| {
                    member.mesh.clone_from(mesh);
                    member.devices.clone_from(devices);
                    member.https.clone_from(https);
                    member.level = *level;
                });
            }
            Event::PresenceChanged { number, presence, at, .. } => {
                self.members.changed(*number, |member| {
                    (member.presence, member.since) = (*presence, *at);
                });
                if *presence == Presence::Gone {
                    self.bundle.nodes.retain(|known| known.number != *number);
                }
            }
            Event::Placed { groups, .. } => self.members.place(groups),
            Event::PolicySet { region, policy, .. } => self.members.set_policy(*region, *policy),
            Event::SlotsSent { region, slots, to, .. } => {
                self.members.slots_sent(*region, slots, *to);
            }
            Event::SlotArrived { region, slot } => self.members.slot_arrived(*region, *slot),
            Event::SlotCleared { region, slot } => self.members.slot_cleared(*region, *slot),
            Event::Written(document) => self.wrote(document),
            Event::ChaosProposed(proposal) => self.chaos_proposed(proposal),
            Event::ChaosAllowed(allowance) => self.chaos_allowed(allowance),
            Event::ChaosEnded(ended) => self.chaos_ended(ended),
            Event::AreasSet(set) => self.members.set_areas(set),
        }
    }

    fn react(&self, event: &Event, _: EntityId) -> Vec<Effect> {
        match event {
            Event::Revoked { issuer, serial, not_after, revocation } => {
                let (issuer, serial, not_after, revocation) =
                    (*issuer, *serial, *not_after, *revocation);
                vec![Effect::Index(IndexRow::Revocation { issuer, serial, not_after, revocation })]
            }
            Event::Introduced { cas, by } => {
                let mut effects = self.rows(cas.iter().map(|ca| ca.fingerprint));
                effects.extend(cas.iter().map(|ca| introduction(self.ledger_of(ca), ca, by)));
                effects
            }
            Event::Moved { moves, by, proposed_by, .. } => {
                let mut effects = self.rows(moves.iter().map(|one| one.fingerprint));
                effects.extend(moves.iter().filter_map(|one| {
                    let ca = self.bundle.by_fingerprint(&one.fingerprint)?;
                    let (certificate, from, to) = (one.fingerprint, one.from, one.to);
                    let proposed_by = proposed_by.clone();
                    let compromised = one.compromised;
                    let deed = Deed::CaMoved { certificate, from, to, proposed_by, compromised };
                    Some(note(self.ledger_of(ca), by, deed))
                }));
                effects
            }
            Event::Joined { member, home, .. } => {
                let epoch = self.members.epoch;
                let home = home.clone().map(|home| Effect::Index(IndexRow::Home { home, epoch }));
                home.into_iter().chain(self.member_rows(member.number)).collect()
            }
            Event::PolicySet { region, .. }
            | Event::SlotsSent { region, .. }
            | Event::SlotArrived { region, .. }
            | Event::SlotCleared { region, .. }
            | Event::AreasSet(Areas { region, .. }) => self.home_row(*region).into_iter().collect(),
            Event::Announced { number, .. } | Event::PresenceChanged { number, .. } => {
                self.member_rows(*number)
            }
            Event::Placed { groups, .. } => {
                let epoch = self.members.epoch;
                let row = |placed: &Placed| IndexRow::Placed { placed: placed.clone(), epoch };
                groups.iter().map(|placed| Effect::Index(row(placed))).collect()
            }
            Event::Written(document) => vec![Effect::Index(IndexRow::Document(document.clone()))],
            Event::ChaosProposed(_) | Event::ChaosAllowed(_) | Event::ChaosEnded(_) => {
                self.allowances_row()
            }
            Event::Proposed(_) | Event::Acknowledged(_) | Event::NodeForgotten { .. } => vec![],
        }
    }
}
