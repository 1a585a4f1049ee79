//! `recover`: the cluster goes on without regions that are lost for good and took the placement group's majority with them.
//!
//! It is done once, on one node of a region that lives, while that node is stopped; the others then follow it. Afterwards
//! each lost region is brought back by `promote`, or not. **Invariants:** a region of which a node answers is not given up;
//! nothing is done where a majority lives, or where another node that answers has more of the cluster's record; it is
//! on record before it is done. **Not here:** how (`backup::recovery`), bringing a region back (`promote`).

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use clap::Args;
use fieldmesh_actors::seams::Clock as _;
use fieldmesh_domain::{
    Region,
    placement::{Member, Presence},
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::{CliError, Common, Output, api::Api, configuration, output::chain, unlock::Unlock};
use crate::{
    audit::{self, Event},
    backup::recovery::{Record, Recovery},
    cluster::Cluster,
    consensus::{outlive::Stored, restore::At},
    deployment::Deployment,
    os::{SystemClock, SystemEntropy},
    store::rocks::Rocks,
    web::promotion::PositionView,
};

/// A machine that takes no connection within this time is taken for lost.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// A region that is lost for good; may be given more than once.
    #[arg(long, required = true, value_name = "REGION")]
    without: Vec<String>,
    /// Only tell what there is and what may be lost.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn recover(args: &RecoverArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    let usage = |error: &dyn std::error::Error| CliError::usage(chain(error));
    let lost: Result<Vec<Region>, _> = args.without.iter().map(|name| name.parse()).collect();
    let lost = lost.map_err(CliError::usage)?;
    let token = Deployment::token(&config).map_err(|error| usage(&error))?;
    let secret = args.unlock.secret(token.is_some())?;
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let deployment = Deployment::open(&config, &secret, &clock, &entropy);
    let deployment = deployment.map_err(|error| usage(&error))?;
    // Nobody else has the directory as long as the keeper is there.
    let (parts, keeper) = deployment.keeper(config.clone());
    let (dir, node) = (&parts.dir, parts.facts.number);
    let home = parts.facts.home().map_err(|error| usage(&error))?;
    let (db, at) = (dir.join("db"), dir.display());
    let known = Cluster::new(parts.members, home.clone());
    let record = Record::read(&Rocks::new(&db), &known).map_err(|error| usage(&error))?;
    let none = || CliError::usage(format!("{at} has nothing of the cluster's record"));
    let record = record.ok_or_else(none)?;
    let places = Places { record: &record, lost: &lost };
    places.may_go_on(node, home.region)?;
    places.are_silent().await?;
    // The others are asked by it, and the one that is there may have ended since.
    keeper.keep_operator().map_err(|error| usage(&error))?;
    let At { term, index } = record.stored.last;
    let here = PositionView { term, index };
    let silent = places.others_have_no_more(dir, node, here).await?;
    tell(output, node, here, &silent);
    let silent: Vec<u64> = silent.into_iter().map(|(number, _)| number).collect();
    let told = |is_done: bool| {
        let PositionView { term, index } = here;
        json!({ "recovered": is_done, "without": args.without, "number": node, "term": term, "index": index, "silent": silent })
    };
    if args.dry_run {
        output.say("nothing was changed");
        output.result(told(false));
        return Ok(());
    }
    let without = args.without.join(",");
    audit::note_at_once(dir, clock.now_ms(), Event::RegionsGivenUp { without: &without })
        .map_err(|error| CliError::failed(format!("{at}: audit.jsonl: {error}")))?;
    let (clock, entropy) = (Arc::new(clock), Arc::new(entropy));
    let service = parts.service;
    let recovery = Recovery { db, node, lost, home, service, clock, entropy };
    recovery.run().await.map_err(|error| {
        CliError::failed(chain(&error)).within("run this again before the node is started")
    })?;
    output.say(format_args!(
        "the cluster goes on without {without}: start node {node}, and the others follow it; then `fieldmesh promote` brings a region back"
    ));
    output.result(told(true));
    Ok(())
}

fn tell(output: &Output, node: u64, here: PositionView, silent: &[(u64, CliError)]) {
    let PositionView { term, index } = here;
    output.say(format_args!(
        "the cluster's record is on node {node} up to entry {index} of term {term}: what the lost nodes changed in it after that is lost: nodes, places, policies, rules, authorities, and revocations on their way"
    ));
    for (number, error) in silent {
        output.say(format_args!(
            "node {number} was not asked what it has of it ({error}): if it has more, that is lost too"
        ));
    }
}

/// What this node has, and the regions that are lost.
struct Places<'a> {
    record: &'a Record,
    lost: &'a [Region],
}

impl Places<'_> {
    fn nodes(&self, are_lost: bool) -> impl Iterator<Item = &Member> {
        let members = self.record.members.members.iter();
        let living = members.filter(|one| one.presence != Presence::Gone);
        living.filter(move |one| self.lost.contains(&one.region()) == are_lost)
    }

    /// Whether the nodes of the regions that live can decide a group.
    fn decide(&self, stored: &Stored) -> bool {
        let living: BTreeSet<u64> = self.nodes(false).map(|one| one.number).collect();
        stored.halves.iter().all(|half| half.intersection(&living).count() * 2 > half.len())
    }

    /// Whether a node may go on alone without the lost regions, by what it has itself.
    fn may_go_on(&self, node: u64, own: Region) -> Result<(), CliError> {
        let Record { stored, members, own: groups, is_cut_short } = self.record;
        let are_current = stored.is_current && groups.iter().all(|(_, stored)| stored.is_current);
        // Before anything is believed of it; what was cut short was asked before.
        if !are_current && !is_cut_short {
            return Err(CliError::refused(format!(
                "node {node} was not ended in order, and what it has is not all written out: start it, stop it, and run this again"
            )));
        }
        for region in self.lost {
            if *region == own {
                return Err(CliError::usage(format!(
                    "node {node} is of region {region}: run this on a node of another region"
                )));
            }
            if members.home(*region).is_none() {
                return Err(CliError::usage(format!("the cluster has no region {region}")));
            }
        }
        if !self.nodes(false).any(|one| one.number == node) {
            return Err(CliError::refused(format!(
                "node {node} is none of the cluster's any more"
            )));
        }
        if !self.nodes(false).any(Member::is_candidate) {
            return Err(CliError::refused("without them no node is active"));
        }
        if *is_cut_short {
            return Ok(());
        }
        if self.decide(stored) {
            return Err(CliError::refused(
                "the placement group has a majority without them: start those of its nodes that are down, and `fieldmesh promote` brings a region back",
            ));
        }
        match groups.iter().find(|(_, stored)| !self.decide(stored)) {
            None => Ok(()),
            Some((group, _)) => Err(CliError::refused(format!(
                "group {group} of region {own} has no majority without them either: this region cannot go on, do it in one that can"
            ))),
        }
    }

    /// A region that lives is not given up.
    async fn are_silent(&self) -> Result<(), CliError> {
        let asked = self.nodes(true).map(|one| async move { answers(one).await.then_some(one) });
        match join_all(asked).await.into_iter().flatten().next() {
            None => Ok(()),
            Some(Member { number, https, .. }) => Err(CliError::refused(format!(
                "node {number} of a region that is said to be lost answers at {https}: stop it first if it is to be given up"
            ))),
        }
    }

    /// The others that live must not have more than the one that goes on. Who cannot be reached, and why.
    async fn others_have_no_more(
        &self,
        dir: &Path,
        node: u64,
        here: PositionView,
    ) -> Result<Vec<(u64, CliError)>, CliError> {
        let others: Vec<&Member> = self.nodes(false).filter(|one| one.number != node).collect();
        let mut silent = Vec::new();
        if others.is_empty() {
            return Ok(silent);
        }
        let api = Api::from_dir(dir)?;
        let asked = others.into_iter().map(|one| {
            let there = Api { server: one.https.clone(), ..api.clone() };
            async move {
                let found = there.get::<PositionView>("/v1/promotion/position").await;
                // One that answers otherwise, or too late, may have more all the same.
                let is_there = found.is_err() && answers(one).await;
                (one.number, found, is_there)
            }
        });
        for (number, found, is_there) in join_all(asked).await {
            match found {
                Ok(there) if there > here => return Err(self.has_more(number, there, node)),
                Ok(_) => {}
                Err(error) if is_there => {
                    let place = format!(
                        "node {number} answers, and does not say what it has: stop it if it is to be passed over"
                    );
                    return Err(CliError::refused(error).within(place));
                }
                Err(error) => silent.push((number, error)),
            }
        }
        Ok(silent)
    }

    fn has_more(&self, number: u64, there: PositionView, node: u64) -> CliError {
        let (here, PositionView { term, index }) = (self.record.stored.last, there);
        let remedy = if self.record.is_cut_short {
            format!(
                "node {node} was cut short and is of no use any more: let another machine join in its place"
            )
        } else {
            format!("start node {node}, and do it there")
        };
        CliError::refused(format!(
            "node {number} has more of the cluster's record: up to entry {index} of term {term}, and node {node} up to {} of {}: {remedy}",
            here.index, here.term
        ))
    }
}

/// Whether a node takes a connection.
async fn answers(node: &Member) -> bool {
    let connected = timeout(ANSWERS_WITHIN, TcpStream::connect(&node.https)).await;
    matches!(connected, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{
        EntityId, EntityKind,
        placement::{Home, LEVEL, Members},
        time::Millis,
    };

    use super::*;
    use crate::store::{Engine as _, Role, simulated::Disk};

    fn region(number: u64) -> Region {
        if number > 10 { "us1" } else { "eu1" }.parse().unwrap()
    }

    /// Nodes of two regions, those above ten of the second one; some of them gone.
    fn members(numbers: &[u64], gone: &[u64]) -> Members {
        let node = |number: &u64| {
            let id = [u8::try_from(*number).unwrap(); 10];
            let identity = EntityId::new(EntityKind::Registration, region(*number), id);
            let presence = if gone.contains(number) { Presence::Gone } else { Presence::Active };
            let [mesh, devices, https] = [(); 3].map(|()| String::new());
            let (number, since, level) = (*number, Millis(0), LEVEL);
            Member { number, identity, mesh, devices, https, presence, since, level }
        };
        let homes = vec![Home::new(region(1), 0, 1), Home::new(region(11), 1, 1)];
        let members = numbers.iter().map(node).collect();
        Members { members, homes, ..Members::default() }
    }

    fn stored(halves: &[&[u64]]) -> Stored {
        let state = Disk::default().open("state-0", Role::State).unwrap();
        let halves = halves.iter().map(|half| half.iter().copied().collect()).collect();
        let last = At { term: 1, index: 9 };
        Stored { state, last, halves, is_current: true }
    }

    fn record(halves: &[&[u64]]) -> Record {
        let own = vec![(2049, stored(&[&[11]]))];
        let members = members(&[1, 2, 11, 12], &[]);
        Record { stored: stored(halves), members, own, is_cut_short: false }
    }

    fn refused(record: &Record, node: u64, lost: &str) -> String {
        let places = Places { record, lost: &[lost.parse().unwrap()] };
        let refused = places.may_go_on(node, region(node)).err();
        refused.map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_node_goes_on_only_where_the_lost_ones_had_a_majority() {
        for halves in [&[&[1, 2, 11][..]][..], &[&[1, 11]], &[&[11, 12, 2], &[1, 2, 11]]] {
            assert_eq!(refused(&record(halves), 11, "eu1"), "");
        }
        for (halves, node, lost, words) in [
            (&[1, 11, 12][..], 11, "eu1", "has a majority without"),
            (&[1, 2, 11], 1, "eu1", "on a node of another region"),
            (&[1, 2, 11], 13, "eu1", "none of the cluster's"),
            (&[1, 2, 11], 11, "ap1", "no region ap1"),
        ] {
            let text = refused(&record(&[halves]), node, lost);
            assert!(text.contains(words), "{text}");
        }
    }

    /// What it has could be less than it seems, or the region would not come to serve anybody.
    #[test]
    fn a_node_goes_on_only_with_all_that_it_had_and_a_region_that_can() {
        let mut one = record(&[&[1, 2, 11]]);
        one.own.push((2050, stored(&[&[1, 2, 11, 12]])));
        let text = refused(&one, 11, "eu1");
        assert!(text.contains("group 2050") && text.contains("no majority"), "{text}");
        let mut one = record(&[&[1, 2, 11]]);
        one.own[0].1.is_current = false;
        let text = refused(&one, 11, "eu1");
        assert!(text.contains("not ended in order"), "{text}");
        // It was asked before, and what it has may be anything by now.
        one.is_cut_short = true;
        assert_eq!(refused(&one, 11, "eu1"), "");
    }

    #[test]
    fn a_region_that_is_out_is_no_reason_to_do_it_again() {
        let members = members(&[1, 2, 11, 12], &[1, 2]);
        let one = Record { members, ..record(&[&[11]]) };
        let text = refused(&one, 11, "eu1");
        assert!(text.contains("has a majority without"), "{text}");
    }

    #[test]
    fn a_later_term_is_more_than_more_entries() {
        let at = |term, index| PositionView { term, index };
        assert!(at(2, 5) > at(1, 9) && at(2, 6) > at(2, 5));
    }
}
