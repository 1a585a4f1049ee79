//! By which keys a run registers its customers, so that every shard has some.
//!
//! A customer's name follows from the key that it is registered by, and its shard from its name: of keys that nobody
//! else has the first one is taken whose customer is in the shard that is wanted. **Invariant:** of so many customers
//! as there are shards, one after the other, each is in another shard. **Not here:** registering them (`load`).

use fieldmesh_actors::seams::Entropy as _;
use fieldmesh_domain::{EntityId, EntityKind, Region, placement::Home};

use crate::{
    os::SystemEntropy,
    web::{est::hex, people::called},
};

/// Keys that are tried for each shard. All of them miss it once in e^64 times.
const TRIES_EACH: u32 = 64;

/// Where a run's customers are.
pub(super) struct Spread {
    /// No other run has it.
    run: String,
    home: Home,
}

impl Spread {
    /// Over the shards of a region, which is this one of all regions.
    pub(super) fn over(region: Region, (index, shards): (u32, u32)) -> Self {
        let mut random = [0; 8];
        SystemEntropy::default().fill(&mut random);
        Self { run: hex(&random), home: Home::new(region, index, shards) }
    }

    /// The key of the customer with this number.
    pub(super) fn key(&self, number: u32) -> String {
        let shards = self.home.shards.max(1);
        let wanted = self.shards().nth((number % shards) as usize);
        let key = |again: u32| format!("chaos-{}-{number}-{again}", self.run);
        let is_there = |key: &String| {
            let customer = called(EntityKind::Customer, self.home.region, key);
            customer.map(|customer| self.shard_of(customer)) == wanted
        };
        let mut keys = (0..shards.saturating_mul(TRIES_EACH)).map(key);
        keys.find(is_there).unwrap_or_else(|| key(0))
    }

    /// The numbers of the shards.
    fn shards(&self) -> impl Iterator<Item = u32> {
        let authority = self.home.authority();
        self.home.groups().filter(move |group| *group != authority)
    }

    pub(super) fn shard_of(&self, customer: EntityId) -> u32 {
        self.home.group_of(customer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_shard_has_a_customer_before_one_has_two() {
        let region: Region = "eu1".parse().unwrap();
        for (index, shards) in [(0, 1), (0, 6), (2, 64)] {
            let spread = Spread::over(region, (index, shards));
            let shard = |number: u32| {
                let customer = called(EntityKind::Customer, region, &spread.key(number)).unwrap();
                spread.shard_of(customer)
            };
            let first: BTreeSet<u32> = (0..shards).map(shard).collect();
            let next: BTreeSet<u32> = (shards..2 * shards).map(shard).collect();
            let all: BTreeSet<u32> = spread.shards().collect();
            assert_eq!(all.len(), shards as usize);
            assert_eq!((&first, &next), (&all, &all), "{shards} shards");
        }
    }

    #[test]
    fn two_runs_have_no_customer_in_common() {
        let spread = || Spread::over("eu1".parse().unwrap(), (0, 6));
        assert_ne!(spread().key(0), spread().key(0));
    }
}
