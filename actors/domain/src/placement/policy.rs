//! A region's policy: where its data are, and who votes on them.
//!
//! A region is *zone* unless an operator says otherwise: its data stay on its own nodes. With a *standby*
//! region, each of its groups has one learner on a node there, which an operator may begin with when all
//! nodes of the region are lost. With *region*, two nodes at home, two in a second and one in a third
//! region vote: what was acknowledged is in two regions, and each change waits for the distance between
//! them. A region may be named by several; what it holds for them is shared out together.
//!
//! **Invariants:** a node of another region holds nothing unless the policy names its region; it leads only
//! until somebody at home can; while each of three regions has a node, none has a majority under *region*;
//! what a node holds stays where it is as long as that node can have it and has not two more than another.
//! **Not here:** the places within the region (`plan`), beginning again (`changes`).

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::{
    Event, Home, Placed, Placement,
    members::Members,
    plan::{Places, odd},
};
use crate::{Region, Rejection, RejectionCode};

/// The level at which nodes know of policies.
const POLICIES: u32 = 1;
/// Voters under *region*, and how many of them one region may have: any two regions are a majority.
const VOTERS: usize = 5;
const VOTERS_EACH: usize = 2;

/// Where a region's data are, and who votes on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum Policy {
    /// On its own nodes only.
    #[default]
    #[n(0)]
    Zone,
    /// A copy of each group is in another region, which has no vote.
    #[n(1)]
    Standby(#[n(0)] Region),
    /// Nodes of two other regions vote too: as many in the first as at home, fewer in the second.
    #[n(2)]
    Region(#[n(0)] Region, #[n(1)] Region),
}

impl Policy {
    /// The other regions that it names.
    pub fn abroad(self) -> impl Iterator<Item = Region> {
        let (one, other) = match self {
            Self::Zone => (None, None),
            Self::Standby(one) => (Some(one), None),
            Self::Region(one, other) => (Some(one), Some(other)),
        };
        one.into_iter().chain(other)
    }
}

impl Placement {
    pub(super) fn set_policy(
        &self,
        region: Region,
        policy: Policy,
        by: &str,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.members.may_have(region, policy)? {
            return Ok(vec![]);
        }
        let by = by.to_owned();
        Ok(self.with_moves(Event::PolicySet { region, policy, by: by.clone() }, by))
    }
}

impl Members {
    /// Whether a region may have this policy; false where it has it already.
    fn may_have(&self, region: Region, policy: Policy) -> Result<bool, Rejection> {
        let unknown =
            |region| Rejection::new(RejectionCode::Unknown, format!("there is no region {region}"));
        let Some(home) = self.home(region) else { return unknown(region) };
        if home.policy == policy {
            return Ok(false);
        }
        self.all_understand(POLICIES)?;
        let named: Vec<Region> = policy.abroad().collect();
        if named.contains(&region) || matches!(policy, Policy::Region(one, other) if one == other) {
            let text = format!("name regions that are not {region}, each once");
            return Rejection::new(RejectionCode::Invalid, text);
        }
        for other in named {
            if self.home(other).is_none() {
                return unknown(other);
            }
            if self.candidates_of(other).is_empty() {
                let text = format!("region {other} has no node that could hold a copy");
                return Rejection::new(RejectionCode::NotNow, text);
            }
        }
        Ok(true)
    }

    /// The groups that would move if a region had this policy, as they would be.
    pub fn moved_by(&self, region: Region, policy: Policy) -> Vec<Placed> {
        let mut next = self.clone();
        next.set_policy(region, policy);
        next.moves()
    }

    pub(super) fn set_policy(&mut self, region: Region, policy: Policy) {
        self.epoch = self.epoch.saturating_add(1);
        if let Some(home) = self.homes.iter_mut().find(|home| home.region == region) {
            home.policy = policy;
        }
    }

    /// The nodes of a region on which groups may live.
    pub(super) fn candidates_of(&self, region: Region) -> Vec<u64> {
        let own = self.members.iter().filter(|one| one.is_candidate() && one.region() == region);
        own.map(|one| one.number).collect()
    }
}

/// How many voters each region gives under *region*: in turn, as long as it has one to give.
fn shares(now: &Members, regions: [Region; 3]) -> [usize; 3] {
    let able = regions.map(|region| now.candidates_of(region).len().min(VOTERS_EACH));
    let (mut shares, mut left) = ([0; 3], odd(VOTERS, able.iter().sum()));
    for round in 1..=VOTERS_EACH {
        for (share, able) in shares.iter_mut().zip(able) {
            if left > 0 && able >= round {
                (*share, left) = (round, left - 1);
            }
        }
    }
    shares
}

/// How many voters of each of its groups a region has at home; `most` where the policy leaves it alone.
pub(super) fn at_home(now: &Members, home: &Home, most: usize) -> usize {
    match home.policy {
        Policy::Zone | Policy::Standby(_) => most,
        Policy::Region(one, other) => shares(now, [home.region, one, other])[0],
    }
}

/// How many nodes of another region hold each group of a region.
fn abroad(now: &Members, home: &Home, region: Region) -> usize {
    match home.policy {
        Policy::Standby(one) if one == region => 1,
        Policy::Region(one, other) if one == region => shares(now, [home.region, one, other])[1],
        Policy::Region(one, other) if other == region => shares(now, [home.region, one, other])[2],
        _ => 0,
    }
}

/// Adds to a plan of each region's own nodes what is held for it abroad.
pub(super) fn add_abroad(now: &Members, plan: &mut [Placed]) {
    for host in &now.homes {
        let held = held_in(now, host.region);
        for placed in &mut *plan {
            let Some(nodes) = held.get(&placed.group) else { continue };
            let Some(home) = now.home_of(placed.group) else { continue };
            let list = match home.policy {
                Policy::Region(..) => &mut placed.voters,
                _ => &mut placed.learners,
            };
            list.extend(nodes);
            list.sort_unstable();
        }
    }
}

/// Which nodes of a region hold which group of the regions that name it.
fn held_in(now: &Members, region: Region) -> BTreeMap<u32, Vec<u64>> {
    let able = now.candidates_of(region);
    let (mut wanted, mut held) = (BTreeMap::new(), Vec::new());
    for home in &now.homes {
        let many = abroad(now, home, region);
        for group in home.groups().filter(|_| many > 0) {
            wanted.insert(group, many);
            // Whoever has it is to have it still, with a vote or without.
            let had =
                now.placed(group).map(|placed| [&placed.voters[..], &placed.learners].concat());
            let voters = had.unwrap_or_default().into_iter().filter(|one| able.contains(one));
            held.push(Placed { group, voters: voters.collect(), learners: vec![], pinned: false });
        }
    }
    let had: BTreeMap<u32, Vec<u64>> =
        held.iter().map(|one| (one.group, one.voters.clone())).collect();
    let mut places = Places::on(&able);
    for one in &held {
        places.count(&one.voters);
    }
    for one in &mut held {
        places.fit(&mut one.voters, wanted.get(&one.group).copied().unwrap_or(0));
    }
    let is_new = |group: u32, number| !had.get(&group).is_some_and(|had| had.contains(&number));
    while places.even_out(&mut held, is_new) || places.even_out(&mut held, |_, _| true) {}
    held.into_iter().map(|one| (one.group, one.voters)).collect()
}
