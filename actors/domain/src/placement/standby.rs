//! Regions that stand by for others: the policy of a region, and where its copies abroad live.
//!
//! A region is *zone* unless an operator says otherwise: its data stay on its own nodes. With a *standby*
//! region, each of its groups has one learner on a node there, which an operator may begin with when all
//! nodes of the region are lost. Several regions may have the same one; their copies are shared out
//! together.
//!
//! **Invariants:** a node of another region never votes, and holds a copy only where the policy names
//! its region; a copy stays where it is as long as that node can have it and has not two more than
//! another. **Not here:** the places within the region (`plan`), beginning again (`changes`).

use std::collections::BTreeMap;

use super::{
    Event, Home, Placed, Placement,
    members::{Member, Members},
    plan::Places,
};
use crate::{Region, Rejection, RejectionCode};

impl Placement {
    pub(super) fn set_policy(
        &self,
        region: Region,
        standby: Option<Region>,
        by: &str,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.members.may_stand_by(region, standby)? {
            return Ok(vec![]);
        }
        let by = by.to_owned();
        Ok(self.with_moves(Event::PolicySet { region, standby, by: by.clone() }, by))
    }
}

impl Members {
    /// Whether a region may have this policy; false where it has it already.
    fn may_stand_by(&self, region: Region, standby: Option<Region>) -> Result<bool, Rejection> {
        let unknown =
            |region| Rejection::new(RejectionCode::Unknown, format!("there is no region {region}"));
        let Some(home) = self.home(region) else { return unknown(region) };
        if home.standby == standby {
            return Ok(false);
        }
        let Some(other) = standby else { return Ok(true) };
        if other == region {
            let text = format!("region {region} cannot stand by for itself");
            return Rejection::new(RejectionCode::Invalid, text);
        }
        if self.home(other).is_none() {
            return unknown(other);
        }
        if candidates(self, other).is_empty() {
            let text = format!("region {other} has no node that could hold a copy");
            return Rejection::new(RejectionCode::NotNow, text);
        }
        Ok(true)
    }

    pub(super) fn set_standby(&mut self, region: Region, standby: Option<Region>) {
        self.epoch = self.epoch.saturating_add(1);
        if let Some(home) = self.homes.iter_mut().find(|home| home.region == region) {
            home.standby = standby;
        }
    }
}

fn candidates(members: &Members, region: Region) -> Vec<u64> {
    let own = |one: &&Member| one.is_candidate() && one.region() == region;
    members.members.iter().filter(own).map(|one| one.number).collect()
}

/// Adds the copies abroad to the learners of a plan.
pub(super) fn add_copies(now: &Members, plan: &mut [Placed]) {
    for there in &now.homes {
        let copies = copies(now, there.region);
        for placed in &mut *plan {
            if let Some(number) = copies.get(&placed.group) {
                placed.learners.push(*number);
                placed.learners.sort_unstable();
            }
        }
    }
}

/// Which node of a region holds the copy of which group, for all regions that it stands by for.
fn copies(now: &Members, region: Region) -> BTreeMap<u32, u64> {
    let able = candidates(now, region);
    let standing_by = |home: &&Home| home.standby == Some(region);
    let groups = now.homes.iter().filter(standing_by).flat_map(Home::groups);
    // The copy of a group takes the place of its voters: the one who has it is to have it still.
    let mut copies: Vec<Placed> = groups
        .map(|group| {
            let learners = now.placed(group).map(|placed| placed.learners.as_slice());
            let here = learners.unwrap_or_default().iter().find(|one| able.contains(one));
            let voters = here.copied().into_iter().collect();
            Placed { group, voters, learners: Vec::new(), pinned: false }
        })
        .collect();
    let had: BTreeMap<u32, Vec<u64>> =
        copies.iter().map(|copy| (copy.group, copy.voters.clone())).collect();
    let mut places = Places::on(&able);
    for copy in &copies {
        places.count(&copy.voters);
    }
    for copy in &mut copies {
        places.fit(&mut copy.voters, 1);
    }
    let is_new = |group: u32, number| !had.get(&group).is_some_and(|had| had.contains(&number));
    while places.even_out(&mut copies, is_new) || places.even_out(&mut copies, |_, _| true) {}
    let placed = copies.iter().filter_map(|copy| Some((copy.group, *copy.voters.first()?)));
    placed.collect()
}
