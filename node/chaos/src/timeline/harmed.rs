//! Nodes and links that are out by all that befalls datagrams at a moment, where no fault by itself need take one.
//!
//! What a node does to its datagrams befalls those that it sends and those that arrive; so a link has what both of its
//! ends do, and all faults of one moment. **Not here:** links as nodes (`cuts`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
};

use super::Strike;
use crate::fault::{Bound, Fault, Harm, Pick};

/// What befalls the links between nodes, or those to devices.
pub(super) struct Harmed {
    bound: Bound,
    /// Each link.
    all: Harm,
    /// Each link of a node, as that node sees it.
    nodes: BTreeMap<u64, Harm>,
    /// One link each, as the node with the lower number sees it.
    links: BTreeMap<(u64, u64), Harm>,
    /// Those of a node, or one of them: of which is known only when it comes.
    anywhere: Vec<Harm>,
}

/// What is out.
#[derive(Default)]
pub(super) struct Out {
    pub(super) named: BTreeSet<u64>,
    pub(super) cut: BTreeSet<(u64, u64)>,
    pub(super) others: u64,
}

impl Harmed {
    pub(super) fn new(bound: Bound) -> Self {
        let all = Harm::none(bound);
        let (nodes, links, anywhere) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { bound, all, nodes, links, anywhere }
    }

    pub(super) fn add(&mut self, strike: &Strike, harm: Harm) {
        match (strike.pick, strike.fault.with()) {
            (Pick::Nobody, _) => {}
            // A device does nothing of it.
            (Pick::All, None) if matches!(strike.fault, Fault::Devices(_)) => {
                self.all = self.all.and(harm);
            }
            (Pick::All, None) => self.all = self.all.and(harm.at_both_ends()),
            (Pick::Node(node), None) => self.at(node, harm),
            // Whom all others do not hear is out as if it were named itself.
            (Pick::All, Some(Pick::Node(node))) => self.at(node, harm.turned()),
            (Pick::Node(one), Some(Pick::Node(other))) => {
                let harm = if one < other { harm } else { harm.turned() };
                let link = self.links.entry((one.min(other), one.max(other)));
                let link = link.or_insert(Harm::none(self.bound));
                *link = link.and(harm);
            }
            _ if harm != Harm::none(self.bound) => self.anywhere.push(harm),
            // It neither loses nor holds up anything.
            _ => {}
        }
    }

    fn at(&mut self, node: u64, harm: Harm) {
        let all = self.nodes.entry(node).or_insert(Harm::none(self.bound));
        *all = all.and(harm);
    }

    /// Adds what is out by it; false where all of so many nodes are.
    pub(super) fn leaves_some(mut self, nodes: u64, out: &mut Out) -> bool {
        let all = self.all;
        if all.is_beyond() {
            return false;
        }
        // What is out by itself first; whatever else befalls it takes nobody more.
        let is_beyond = |harm: &Harm| all.and(*harm).is_beyond();
        out.named
            .extend(self.nodes.iter().filter(|(_, harm)| is_beyond(harm)).map(|(node, _)| node));
        out.cut.extend(self.links.iter().filter(|(_, harm)| is_beyond(harm)).map(|(link, _)| link));
        out.others += self.anywhere.iter().filter(|harm| is_beyond(harm)).count() as u64;
        self.nodes.retain(|node, _| !out.named.contains(node));
        self.links.retain(|(one, other), harm| {
            !is_beyond(harm) && !out.named.contains(one) && !out.named.contains(other)
        });
        self.anywhere.retain(|harm| !is_beyond(harm));
        let rest = self.nodes.values().chain(self.links.values()).chain(&self.anywhere);
        let most = rest.fold(all, |most, harm| most.and(harm.at_either_end()));
        if !most.is_beyond() {
            return true;
        }
        // They may come together wherever one of them is: without all of those nothing is left that comes together, and
        // one by itself takes nobody.
        let is_alone = self.nodes.is_empty() && self.links.is_empty();
        out.others += (self.anywhere.len() as u64).saturating_sub(u64::from(is_alone));
        // There are no more links than between nodes that are there.
        if self.nodes.len() as u64 > nodes {
            return false;
        }
        if self.bound == Bound::OUT {
            out.cut.extend(self.cut());
        }
        true
    }

    /// Links that are cut by what befalls them and both of their ends.
    fn cut(&self) -> Vec<(u64, u64)> {
        let pairs = self.nodes.keys().flat_map(|one| {
            self.nodes.range((Excluded(one), Unbounded)).map(move |(other, _)| (*one, *other))
        });
        let none = Harm::none(self.bound);
        let is_cut = |link: &(u64, u64)| {
            let at = |node| self.nodes.get(&node).copied().unwrap_or(none);
            let own = self.links.get(link).copied().unwrap_or(none);
            self.all.and(own).and(at(link.0)).and(at(link.1).turned()).is_beyond()
        };
        pairs.chain(self.links.keys().copied()).filter(is_cut).collect()
    }
}
