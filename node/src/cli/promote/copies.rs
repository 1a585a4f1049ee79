//! Copies of a lost region's groups, frozen where they are.
//!
//! Where a copy is to be is what the cluster's record says last, and whoever led the group may have been lost before it
//! acted on that: then the node that is to hold it has nothing, or a part, and the one before it everything, also where
//! that is of a region which the policy does not name any more. So each node outside the lost region is asked, and of
//! each group the copy is taken that is furthest. What is not taken is removed once the region is there again.
//!
//! **Invariants:** every group has a copy; a group that others can go on with does not begin again; a group begins again
//! behind everything that any copy of it has, not only the one that is taken; a node that is to hold a group and does not
//! answer is waited for, and one that is not is named; what was there when it was looked at first is not lost silently.
//! **Not here:** making groups of copies (`backup::promotion`).

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::moment;
use crate::{
    backup::promotion::{End, Promotion},
    cli::{
        CliError, Output,
        api::Api,
        backup::{fetch, keep_frozen},
        output::chain,
    },
    store::{StoreError, rocks::Rocks},
    web::{
        backup::{Hold, OfBackup},
        promotion::{CopiesView, CopyView, LostView},
    },
};

/// What a node is asked for.
#[derive(Default)]
struct Ask {
    https: String,
    groups: Vec<u32>,
    /// Those that it is to hold.
    wanted: Vec<u32>,
}

impl Ask {
    /// Nodes of the release before know only how to be asked for what they are to hold.
    async fn of(self, api: &Api, id: &str) -> Result<CopiesView, CliError> {
        let hold = Hold { id: id.to_owned(), groups: self.groups };
        if let Some(found) = api.post_if_there("/v1/promotion/holdings", &hold).await? {
            return Ok(found);
        }
        if self.wanted.is_empty() {
            return Err(CliError::refused(
                "it runs an earlier release, which says nothing of that",
            ));
        }
        api.post("/v1/promotion/copies", &Hold { groups: self.wanted, ..hold }).await
    }
}

/// A node that may have copies, with those that it has.
struct Holder {
    api: Api,
    node: u64,
    copies: Vec<CopyView>,
}

/// The copy of a group that is taken.
struct Taken {
    /// Which of the holders has it.
    holder: usize,
    copy: CopyView,
    end: End,
}

impl Taken {
    fn new(holder: usize, copy: &CopyView) -> Self {
        let (copy, end) = (copy.clone(), End { term: copy.term, last: copy.last });
        Self { holder, copy, end }
    }

    /// The one of two that is further, with what is known of both. A region that began again has later terms, and
    /// maybe fewer entries, than what somebody still has of it from before.
    fn or(self, other: Self) -> Self {
        // An earlier release does not say of which term it is.
        let knows_terms = self.copy.applied_term > 0 && other.copy.applied_term > 0;
        let term = |one: &Self| if knows_terms { one.copy.applied_term } else { 0 };
        let at = |one: &Self| (term(one), one.copy.index, one.copy.heard_ms);
        let committed = |one: &Self| one.copy.index.saturating_add(one.copy.missing);
        let end = End {
            term: self.end.term.max(other.end.term),
            last: self.end.last.max(other.end.last),
        };
        let is_other = at(&other) > at(&self);
        let (mut further, behind) = if is_other { (other, self) } else { (self, other) };
        // One that has more entries of an earlier term is of before, and knows nothing of what there is since.
        if behind.copy.index <= further.copy.index {
            let committed = committed(&further).max(committed(&behind));
            further.copy.missing = committed.saturating_sub(further.copy.index);
        }
        Self { end, ..further }
    }
}

/// Of each group the copy that is furthest, by its number.
fn furthest(found: &[&[CopyView]]) -> Vec<Taken> {
    let mut taken: BTreeMap<u32, Taken> = BTreeMap::new();
    for (holder, copies) in found.iter().enumerate() {
        for copy in *copies {
            let one = Taken::new(holder, copy);
            let further = match taken.remove(&copy.group) {
                Some(known) => known.or(one),
                None => one,
            };
            taken.insert(copy.group, further);
        }
    }
    taken.into_values().collect()
}

/// A group that others can go on with by themselves, as far as somebody knows, with the holder that does. A log that ends
/// before the copy that is taken is of before: whoever has more does not vote for its node.
fn decided_by_others(found: &[&[CopyView]], taken: &[Taken]) -> Option<(usize, u32)> {
    let index = |group: u32| {
        let of = taken.iter().find(|one| one.copy.group == group);
        of.map_or(0, |one| one.copy.index)
    };
    found.iter().enumerate().find_map(|(holder, copies)| {
        let mut decided = copies.iter().filter(|copy| copy.others_decide);
        let current = decided.find(|copy| copy.last >= index(copy.group));
        current.map(|copy| (holder, copy.group))
    })
}

/// The first of what was there, by its node, that is not there any more.
fn gone<'a>(
    mut before: impl Iterator<Item = (u64, &'a CopyView)>,
    now: &[Taken],
) -> Option<(u64, &'a CopyView)> {
    let at = |copy: &CopyView| (copy.applied_term, copy.index);
    let is_there = |copy: &CopyView| {
        now.iter().any(|one| one.copy.group == copy.group && at(&one.copy) >= at(copy))
    };
    before.find(|(_, copy)| !is_there(copy))
}

/// Whom to ask for what: each node once.
fn asks(lost: &LostView) -> BTreeMap<u64, Ask> {
    let mut asks: BTreeMap<u64, Ask> = BTreeMap::new();
    for holder in &lost.groups {
        let wanted = holder.nodes.iter().map(|node| (node, true));
        let others = holder.others.iter().map(|node| (node, false));
        for (node, is_wanted) in wanted.chain(others) {
            let ask = asks.entry(node.number).or_default();
            ask.https.clone_from(&node.https);
            ask.groups.push(holder.group);
            if is_wanted {
                ask.wanted.push(holder.group);
            }
        }
    }
    asks
}

/// Up to where a copy has everything, and what it is known to lack.
fn at_hand(node: u64, taken: &Taken) -> String {
    let CopyView { group, index, missing, heard_ms, .. } = &taken.copy;
    let heard = heard_ms.map_or_else(
        || "not heard since the node was started".to_owned(),
        |ms| format!("heard until {}", moment(ms)),
    );
    // Its leader may have acknowledged what is in somebody's log, and was not heard to say so.
    let open = match taken.end.last.saturating_sub(index + missing) {
        0 => String::new(),
        some => format!("; {some} more entries may have been acknowledged, and are not taken"),
    };
    let missing = match missing {
        0 => "nothing is known to be missing".to_owned(),
        some => format!("{some} entries that it had committed are missing"),
    };
    format!(
        "group {group:>5} on node {node}: all up to entry {index}; its leader was {heard}; {missing}{open}"
    )
}

/// Copies of all groups that are frozen where they are.
#[derive(Default)]
pub(super) struct Copies {
    id: String,
    holders: Vec<Holder>,
    taken: Vec<Taken>,
    /// Who did not say what it has, and why.
    silent: Vec<(u64, CliError)>,
}

impl Copies {
    /// Freezes them, in the place of what was frozen by this name before.
    pub(super) async fn freeze(api: &Api, lost: &LostView, id: &str) -> Result<Self, CliError> {
        let asked = join_all(asks(lost).into_iter().map(|(node, ask)| async move {
            let there = Api { server: ask.https.clone(), ..api.clone() };
            let is_wanted = !ask.wanted.is_empty();
            let found = ask.of(&there, id).await;
            (there, node, is_wanted, found)
        }));
        let (mut copies, mut refused) = (Self { id: id.to_owned(), ..Self::default() }, None);
        for (api, node, is_wanted, found) in asked.await {
            match found {
                Ok(view) => copies.holders.push(Holder { api, node, copies: view.copies }),
                Err(error) if is_wanted => refused = Some((node, error)),
                Err(error) => copies.silent.push((node, error)),
            }
        }
        let taken = furthest(&copies.found());
        copies.taken = taken;
        let whole = match refused {
            Some((node, error)) => Err(error.within(format_args!("node {node}"))),
            None => copies.has_all(lost).and_then(|()| copies.is_nobody_elses()),
        };
        if whole.is_err() {
            copies.end().await;
        }
        whole.map(|()| copies)
    }

    fn found(&self) -> Vec<&[CopyView]> {
        self.holders.iter().map(|one| &one.copies[..]).collect()
    }

    /// Whoever can elect a leader by itself does so sooner or later, and there would be two regions.
    fn is_nobody_elses(&self) -> Result<(), CliError> {
        let Some((holder, group)) = decided_by_others(&self.found(), &self.taken) else {
            return Ok(());
        };
        Err(CliError::refused(format!(
            "nodes of other regions are a majority of group {group}, as node {} has it, and nobody leads it: start those \
             that are down, or wait until they have a leader, and try again",
            self.holders[holder].node
        )))
    }

    fn has_all(&self, lost: &LostView) -> Result<(), CliError> {
        let is_taken = |group: u32| self.taken.iter().any(|one| one.copy.group == group);
        let Some(missing) = lost.groups.iter().find(|one| !is_taken(one.group)) else {
            return Ok(());
        };
        let silent: String =
            self.silent.iter().map(|(node, error)| format!("; node {node}: {error}")).collect();
        Err(CliError::refused(format!(
            "nobody who answers has anything of group {}: wait until a node is back that has{silent}",
            missing.group
        )))
    }

    /// Freezes them as they are by now, in the place of what was frozen.
    ///
    /// # Errors
    /// As [`Self::freeze`]; and where somebody had more, and does not answer any more.
    pub(super) async fn freeze_again(
        api: &Api,
        lost: &LostView,
        id: &str,
        first: &Self,
    ) -> Result<Self, CliError> {
        let last = Self::freeze(api, lost, id).await?;
        let Some((node, copy)) = gone(first.each(), &last.taken) else { return Ok(last) };
        last.end().await;
        Err(CliError::refused(format!(
            "node {node} had all of group {} up to entry {}, and does not answer any more",
            copy.group, copy.index
        )))
    }

    /// Fetches the rows of all.
    pub(super) async fn put(
        &self,
        promotion: &mut Promotion,
        engine: &Rocks,
        output: &Output,
    ) -> Result<(), CliError> {
        let first = |one: &Holder| one.copies.first().map(|copy| (one.api.clone(), copy.group));
        let all: Vec<(Api, u32)> = self.holders.iter().filter_map(first).collect();
        tokio::select! {
            put = self.put_each(promotion, engine, output) => put,
            never = keep_frozen(&self.id, &all) => match never {},
        }
    }

    async fn put_each(
        &self,
        promotion: &mut Promotion,
        engine: &Rocks,
        output: &Output,
    ) -> Result<(), CliError> {
        let failed = |error: StoreError| CliError::failed(chain(&error));
        for Taken { holder, copy, end } in &self.taken {
            let (group, there) = (copy.group, &self.holders[*holder].api);
            let filling = promotion.begin(engine, group, *end).map_err(failed)?;
            let mut rows = 0;
            fetch(there, &self.id, group, |_, page| {
                rows += page.len();
                filling.put(page).map_err(failed)
            })
            .await?;
            output.say(format_args!("group {group}: {rows} rows"));
        }
        Ok(())
    }

    pub(super) async fn end(&self) {
        let of = OfBackup { id: self.id.clone() };
        let ended = self.holders.iter().map(|one| one.api.post::<OfBackup>("/v1/backup/end", &of));
        drop(join_all(ended).await);
    }

    pub(super) fn views(&self) -> Vec<Value> {
        let view = |(node, copy): (u64, &CopyView)| json!({ "node": node, "copy": copy });
        self.each().map(view).collect()
    }

    fn each(&self) -> impl Iterator<Item = (u64, &CopyView)> {
        self.taken.iter().map(|one| (self.holders[one.holder].node, &one.copy))
    }

    /// What there is, and what may be lost.
    pub(super) fn tell(&self, output: &Output) {
        output.say(
            "what a group acknowledged after its leader was heard last is lost, and what was on its way then:",
        );
        for one in &self.taken {
            output.say(at_hand(self.holders[one.holder].node, one));
        }
        for (node, error) in &self.silent {
            output.say(format_args!(
                "node {node} does not say what it has, and whatever only it has is lost: {error}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::{
        cluster::PolicyView,
        promotion::{HolderView, NodeView},
    };

    fn copy(group: u32, at: (u64, u64), missing: u64, heard_ms: u64) -> CopyView {
        let (applied_term, index) = at;
        let heard_ms = Some(heard_ms);
        let (term, last) = (applied_term, index);
        let others_decide = false;
        CopyView { group, index, applied_term, term, last, missing, heard_ms, others_decide }
    }

    fn of(taken: &Taken) -> (u32, usize, u64, u64) {
        (taken.copy.group, taken.holder, taken.copy.index, taken.copy.missing)
    }

    /// The record names the second node, which had just begun to follow; the first one has everything.
    #[test]
    fn of_each_group_the_furthest_copy_is_taken_wherever_it_is() {
        let (whole, part) = (copy(1, (3, 90), 0, 10), copy(1, (3, 40), 55, 20));
        let (one, two) = ([whole, copy(2, (3, 7), 0, 10)], [part, copy(3, (3, 8), 1, 20)]);
        for (this, that, first) in [(&one[..], &two[..], 0), (&two[..], &one[..], 1)] {
            let taken = furthest(&[this, that]);
            // The leader told the other of entries that neither has.
            let expected = [(1, first, 90, 5), (2, first, 7, 0), (3, 1 - first, 8, 1)];
            assert_eq!(taken.iter().map(of).collect::<Vec<_>>(), expected);
        }
        assert!(furthest(&[&[], &[]]).is_empty());
    }

    /// Nobody who follows later may keep what is not in the copy that was taken.
    #[test]
    fn a_group_goes_on_behind_all_copies() {
        let ahead = CopyView { last: 95, term: 9, ..copy(1, (3, 80), 0, 10) };
        let taken = furthest(&[&[ahead], &[copy(1, (3, 90), 0, 10)]]);
        let ends = taken.iter().map(|one| (one.copy.index, one.end.term, one.end.last));
        assert_eq!(ends.collect::<Vec<_>>(), [(90, 9, 95)]);
    }

    #[test]
    fn what_may_be_lost_is_told_of_each_group() {
        let told = |found: &[&[CopyView]]| at_hand(7, &furthest(found)[0]);
        let whole = told(&[&[copy(1, (3, 90), 0, 0)]]);
        let begin = "group     1 on node 7: all up to entry 90; its leader was heard until ";
        assert!(whole.starts_with(begin), "{whole}");
        assert!(whole.ends_with("; nothing is known to be missing"), "{whole}");
        // Another node heard of entries that nobody has.
        let missing = told(&[&[copy(1, (3, 90), 0, 0)], &[copy(1, (3, 40), 53, 0)]]);
        assert!(missing.ends_with("; 3 entries that it had committed are missing"), "{missing}");
        // Somebody's log has entries of which nobody heard that they count.
        let ahead = CopyView { last: 95, ..copy(1, (3, 80), 10, 0) };
        let open = told(&[&[copy(1, (3, 90), 0, 0)], &[ahead]]);
        let more = "; nothing is known to be missing; 5 more entries may have been acknowledged, and are not taken";
        assert!(open.ends_with(more), "{open}");
        let never = CopyView { heard_ms: None, ..copy(1, (3, 90), 0, 0) };
        let never = told(&[&[never]]);
        assert!(never.contains("its leader was not heard since the node was started"), "{never}");
    }

    /// The node that had more stopped between the two looks.
    #[test]
    fn what_was_there_is_missed() {
        let before = [copy(1, (3, 90), 0, 10), copy(2, (3, 7), 0, 10)];
        let missed = |now: &[CopyView]| {
            let before = before.iter().map(|one| (1, one));
            gone(before, &furthest(&[now])).map(|(_, one)| one.group)
        };
        assert_eq!(missed(&[copy(1, (3, 40), 55, 20), copy(2, (3, 8), 0, 10)]), Some(1));
        assert_eq!(missed(&[copy(1, (3, 91), 0, 20), copy(2, (3, 7), 0, 10)]), None);
        assert_eq!(missed(&[copy(1, (4, 91), 0, 20)]), Some(2));
    }

    /// An earlier release does not say of which term a copy is.
    #[test]
    fn copies_of_an_earlier_release_are_compared_by_their_entries() {
        let (old, new) = (copy(1, (0, 90), 0, 10), copy(1, (3, 40), 0, 20));
        let (old, new) = ([old], [new]);
        for found in [[&old[..], &new], [&new, &old]] {
            let taken = furthest(&found);
            assert_eq!(taken.iter().map(|one| one.copy.index).collect::<Vec<_>>(), [90]);
        }
    }

    /// What was left over from before a region began again is longer, and is not what it has now.
    #[test]
    fn what_is_of_a_later_term_is_further() {
        let (before, since) = (copy(1, (3, 900), 0, 90), copy(1, (5, 850), 0, 10));
        for found in [[&before, &since], [&since, &before]] {
            let found = found.map(std::slice::from_ref);
            // Nobody misses what was before.
            let taken = furthest(&found);
            let taken = taken.iter().map(|one| (one.copy.index, one.copy.missing));
            assert_eq!(taken.collect::<Vec<_>>(), [(850, 0)]);
        }
    }

    /// Two of five were lost, and the others have no leader yet.
    #[test]
    fn a_group_that_others_can_go_on_with_does_not_begin_again() {
        let votes = |at, last| CopyView { others_decide: true, last, ..copy(1, at, 0, 10) };
        let of = |found: &[&[CopyView]]| decided_by_others(found, &furthest(found));
        let follows = [copy(1, (3, 90), 0, 10)];
        assert_eq!(of(&[&follows, &[votes((3, 90), 90)]]), Some((1, 1)));
        assert_eq!(of(&[&follows, &[votes((3, 40), 95)]]), Some((1, 1)), "more is in its log");
        assert_eq!(of(&[&follows, &[votes((3, 40), 40)]]), None, "so it was once");
        assert_eq!(of(&[&follows, &[copy(2, (3, 7), 0, 10)]]), None);
    }

    #[test]
    fn each_node_is_asked_once_for_all_that_it_may_have() {
        let node = |number| NodeView { number, https: format!("10.0.0.{number}:8443") };
        let holder = |group, wanted: u64, other: u64| HolderView {
            group,
            nodes: vec![node(wanted)],
            others: vec![node(other)],
        };
        let lost = LostView {
            cluster: "one".into(),
            shards: 2,
            policy: PolicyView { policy: "standby".into(), regions: vec!["eu1".into()] },
            alive: Vec::new(),
            groups: vec![holder(1, 2, 1), holder(2, 2, 1)],
            decided: None,
        };
        let asks = asks(&lost).into_iter();
        let asks: Vec<_> = asks.map(|(node, ask)| (node, ask.groups, ask.wanted)).collect();
        assert_eq!(asks, [(1, vec![1, 2], vec![]), (2, vec![1, 2], vec![1, 2])]);
    }
}
