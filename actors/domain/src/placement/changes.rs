//! How the cluster's nodes change, and with them the places of its groups.
//!
//! **Invariant:** a change of the nodes and the moves that follow from it are one step. **Not here:** what
//! is allowed (`members`), the choice of places (`plan`), the policy of a region (`policy`).

use super::{Ca, Event, Home, Member, Node, Phase, Placed, Placement, Presence, Role};
use crate::{Aggregate as _, Ctx, Effect, IndexRow, Region, Rejection, RejectionCode};

/// Whom a change is laid to that nobody asked for.
pub(super) const BY_ITSELF: &str = "cluster";

fn announced(member: &Member) -> Event {
    let Member { number, mesh, devices, https, level, .. } = member.clone();
    Event::Announced { number, mesh, devices, https, level }
}

impl Placement {
    pub(super) fn join(
        &self,
        wanted: &Member,
        shards: u32,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        let by = by.to_owned();
        if self.members.may_join(wanted, shards)? {
            let region = wanted.region();
            let index = u32::try_from(self.members.homes.len()).unwrap_or(u32::MAX);
            let home = Home::new(region, index, shards);
            let home = self.members.home(region).is_none().then_some(home);
            let (presence, since) = (Presence::Active, ctx.now);
            let member = Member { presence, since, ..wanted.clone() };
            return Ok(self.with_moves(Event::Joined { member, home, by: by.clone() }, by));
        }
        let (said, says) = (self.members.member(wanted.number).map(announced), announced(wanted));
        Ok(if said.as_ref() == Some(&says) { vec![] } else { vec![says] })
    }

    /// All members as they are. Those whose history was shortened by an older release see what is missing.
    pub(super) fn recite(&self) -> Vec<Event> {
        let living = self.members.members.iter().filter(|one| one.presence != Presence::Gone);
        living.map(announced).collect()
    }

    /// A region begins with its first node, below an authority that operators introduced for it.
    pub(super) fn found(
        &self,
        wanted: &Member,
        shards: u32,
        issuer: &[u8; 32],
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        let region = wanted.region();
        if self.members.home(region).is_some() {
            let is_same =
                |known: &Member| (known.number, known.identity) == (wanted.number, wanted.identity);
            if self.members.members.iter().any(is_same) {
                return self.join(wanted, shards, by, ctx);
            }
            let text = format!("region {region} is there already: join it with a token of its own");
            return Rejection::new(RejectionCode::Exists, text);
        }
        self.members.may_grow()?;
        let is_issuer = |ca: &&Ca| {
            ca.name == *issuer
                && ca.role == Role::Issuing
                && ca.phase == Phase::Introduced
                && ca.authority.region() == region
        };
        let Some(ca) = self.bundle.cas.iter().find(is_issuer) else {
            let text =
                format!("no authority of region {region} was introduced: `ca rotate introduce` it");
            return Rejection::new(RejectionCode::NotNow, text);
        };
        if self.bundle.behind(ca.epoch).next().is_some() {
            let text =
                "a node does not know the region's authority yet: `ca rotate status` names it";
            return Rejection::new(RejectionCode::NotNow, text);
        }
        self.join(wanted, shards, by, ctx)
    }

    pub(super) fn become_present(
        &self,
        number: u64,
        presence: Presence,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.members.may_become(number, presence)? {
            return Ok(vec![]);
        }
        let by = by.to_owned();
        let changed = Event::PresenceChanged { number, presence, at: ctx.now, by: by.clone() };
        Ok(self.with_moves(changed, by))
    }

    /// A node that was away takes part again; one that was not goes on as it was.
    pub(super) fn return_to(&self, number: u64, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        let is_away =
            self.members.member(number).is_some_and(|member| member.presence == Presence::Away);
        if !is_away {
            return Ok(vec![]);
        }
        self.become_present(number, Presence::Active, BY_ITSELF, ctx)
    }

    /// A node believes what a bundle says. One that is gone is not waited for, and its last word, where it
    /// comes late, must not change that.
    pub(super) fn acknowledge(
        &self,
        number: u64,
        epoch: u64,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        let epoch = epoch.min(self.bundle.epoch);
        if self.members.is_gone(number) || self.bundle.knows_node(number, epoch)? {
            return Ok(vec![]);
        }
        Ok(vec![Event::Acknowledged(Node { number, epoch, at: ctx.now })])
    }

    pub(super) fn assign(
        &self,
        group: u32,
        voters: &[u64],
        by: &str,
    ) -> Result<Vec<Event>, Rejection> {
        let Some(placed) = self.members.assigned(group, voters)? else { return Ok(vec![]) };
        let mut next = self.members.clone();
        next.place(&[placed]);
        // The plan knows who follows, and what the choice means for the others.
        let moved = next.moves();
        next.place(&moved);
        let is_new = |placed: &&Placed| self.members.placed(placed.group) != Some(*placed);
        let groups = next.groups.iter().filter(is_new).cloned().collect();
        Ok(vec![Event::Placed { groups, by: by.to_owned() }])
    }

    /// The region's nodes are gone at once, and another one begins in their place. Where it may be is
    /// decided after they are gone: it may well have the address of one of them. The region's policy stays,
    /// and with it the copies abroad.
    pub(super) fn restore(
        &self,
        wanted: &Member,
        shards: u32,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        let (next, mut events) = self.without(wanted.region(), by, ctx);
        events.extend(next.join(wanted, shards, by, ctx)?);
        Ok(events)
    }

    /// The region's nodes are gone at once, and nobody begins in their place yet. Its groups have no voters at home
    /// until somebody does; the copies abroad stay.
    pub(super) fn lose(
        &self,
        region: Region,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        if self.members.home(region).is_none() {
            let text = format!("the cluster has no region {region}");
            return Rejection::new(RejectionCode::Unknown, text);
        }
        let (next, mut events) = self.without(region, by, ctx);
        if !next.members.members.iter().any(Member::is_candidate) {
            let text = format!("without region {region} there is no active node");
            return Rejection::new(RejectionCode::NotNow, text);
        }
        let groups = next.members.moves();
        if !events.is_empty() && !groups.is_empty() {
            events.push(Event::Placed { groups, by: by.to_owned() });
        }
        Ok(events)
    }

    /// All nodes of a region are gone, and what happens with that.
    fn without(&self, region: Region, by: &str, ctx: &Ctx) -> (Self, Vec<Event>) {
        let is_lost = |one: &&Member| one.region() == region && one.presence != Presence::Gone;
        let lost = self.members.members.iter().filter(is_lost);
        let gone = |one: &Member| {
            let (number, presence, by) = (one.number, Presence::Gone, by.to_owned());
            Event::PresenceChanged { number, presence, at: ctx.now, by }
        };
        let events: Vec<Event> = lost.map(gone).collect();
        let mut next = self.clone();
        events.iter().for_each(|event| next.evolve(event));
        (next, events)
    }

    /// A change of the nodes, and what follows from it for the groups.
    pub(super) fn with_moves(&self, event: Event, by: String) -> Vec<Event> {
        let mut next = self.clone();
        next.evolve(&event);
        let groups = next.members.moves();
        let placed = (!groups.is_empty()).then_some(Event::Placed { groups, by });
        [event].into_iter().chain(placed).collect()
    }

    pub(super) fn home_row(&self, region: Region) -> Option<Effect> {
        let (home, epoch) = (self.members.home(region)?.clone(), self.members.epoch);
        Some(Effect::Index(IndexRow::Home { home, epoch }))
    }

    pub(super) fn member_rows(&self, number: u64) -> Vec<Effect> {
        let epoch = self.members.epoch;
        let member = self.members.member(number).cloned();
        member.map(|member| Effect::Index(IndexRow::Member { member, epoch })).into_iter().collect()
    }
}
