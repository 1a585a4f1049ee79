//! Two leaders that go out of one configuration of two halves, each to another of them: a script, in which nothing
//! happens by chance but how long frames take.
//!
//! Of the voters {1, 2, 3} and of {3} alone each has a majority without the other's. One leader goes back to the three, and
//! is cut off before anybody has heard of it; the next one wants to go on to itself alone, and could commit that by
//! itself. Then the first could be voted for by one that has neither, and commit the other half: two leaders, and what one
//! of them acknowledged is lost. It is not voted for by who has an entry of the second's term, so the second may change
//! nothing before that is committed by both halves. Here it waits for long: whoever else answers it lacks so much that a
//! snapshot has to come first, on a disk that is slow.
//!
//! **Not here:** what random faults find (`faults`), what a leader's next step is (the product).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fieldmesh_domain::{IndexRow, placement::Placed};
use fieldmesh_node::{
    cluster::Cluster,
    consensus::{Group, LogId, codec},
    store::{Engine, Role, keys::log, simulated::Disk},
};
use tokio::{runtime::Handle, task::JoinHandle};
use turmoil::Sim;

use super::{GROUP, PATIENCE, Shared, faults::is_well, host};
use crate::world::with_causes;

pub(super) const NODES: u64 = 3;
/// A sync of a disk as it is, and of one on which a snapshot takes longer than it is looked at the second leader.
pub(super) const FAST: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_secs(5);
/// So long it is looked whether the second leader, which a majority answers, changes anything: it would at once.
const LOOKED_FOR: Duration = Duration::from_millis(500);

/// A node that runs, in the hands of a script.
#[derive(Clone)]
pub(super) struct Hand {
    pub(super) group: Group,
    /// The map by which this node makes the group what it is to be.
    pub(super) cluster: Arc<Cluster>,
    pub(super) runtime: Handle,
}

pub(super) type Hands = Arc<Mutex<BTreeMap<u64, Hand>>>;

/// Who has which part.
#[derive(Clone, Copy)]
struct Parts {
    /// Leads first, and goes back to all.
    first: u64,
    /// Leads next, and is to go on to itself alone.
    second: u64,
    /// Votes for either, and has less than both.
    third: u64,
}

struct Script<'a, 'sim> {
    sim: &'a mut Sim<'sim>,
    disks: &'a [Disk],
    seen: &'a Shared,
    hands: &'a Hands,
    /// Of the newest map.
    epoch: u64,
}

/// Plays it to its end, with the first leader coming back before the second has begun its term, or staying away.
pub(super) fn play(
    sim: &mut Sim<'_>,
    disks: &[Disk],
    seen: &Shared,
    hands: &Hands,
    comes_back: bool,
) {
    let mut script = Script { sim, disks, seen, hands, epoch: 0 };
    let played = script.play(comes_back);
    // A group keeps whom it tells its failures, who are to be gone when it is read what they saw.
    hands.lock().unwrap().clear();
    if let Err(fact) = played {
        seen.lock().unwrap().broken.push(fact);
    }
}

fn is_between(group: &Group) -> bool {
    group.replicas().halves.len() == 2
}

impl Script<'_, '_> {
    fn play(&mut self, comes_back: bool) -> Result<(), String> {
        let parts = self.begin()?;
        let term = self.overtake(parts)?;
        self.watch(parts, term)?;
        if comes_back {
            self.bring_back(parts, term)?;
        } else {
            self.let_begin(parts, term)?;
        }
        self.until("all have the same, and one serves", |script| is_well(script.disks, script.seen))
    }

    /// The third falls behind, by more than the others' logs have; they are between two halves, and both know that.
    fn begin(&mut self) -> Result<Parts, String> {
        let first = self.find("all follow one leader", |script| {
            let leader = (1..=NODES).find(|node| script.is(*node, Group::may_change))?;
            let follows = |group: &Group| group.leader() == Some(leader) && group.is_settled();
            (1..=NODES).all(|node| script.is(node, follows)).then_some(leader)
        })?;
        let others: Vec<u64> = (1..=NODES).filter(|node| *node != first).collect();
        let parts = Parts { first, second: others[0], third: others[1] };
        let Parts { second, third, .. } = parts;
        self.part(first, third);
        self.part(second, third);
        self.until("the second has purged what the third lacks", |script| {
            let end = script.last(third).map(|id| id.index);
            script.is(second, |group| group.purged() > end)
        })?;
        let change = self.change(first, BTreeSet::from([second]));
        self.until("the first is between two halves", |script| script.is(first, is_between))?;
        // What makes the second half the whole would come behind a round trip: it is left between, as by whoever ends there.
        change.abort();
        self.until("both know that they are between two halves", |script| {
            let know = |group: &Group| is_between(group) && group.replicas().is_committed;
            script.is(first, know) && script.is(second, know)
        })?;
        Ok(parts)
    }

    /// The first goes back to all, of which nobody hears; the second comes to lead, by the third's vote: in which term.
    fn overtake(&mut self, Parts { first, second, third }: Parts) -> Result<u64, String> {
        self.part(first, second);
        let all: BTreeSet<u64> = (1..=NODES).collect();
        self.want(first, &all);
        self.until("the first goes back to all", |script| {
            script.is(first, |group| group.replicas().halves == [all.clone()])
        })?;
        self.want(second, &BTreeSet::from([second]));
        self.join(second, third);
        let term = self.find("the second leads", |script| script.led(second))?;
        self.disk(third).set_sync_takes(SLOW);
        Ok(term)
    }

    /// The second is answered by a majority of each half, so that it may write, and nothing of its term is committed.
    fn watch(&mut self, parts: Parts, term: u64) -> Result<(), String> {
        let Parts { second, third, .. } = parts;
        self.until("the third answers the second", |script| {
            script.look(parts, term);
            script.hears(second, third)
        })?;
        let end = self.sim.elapsed() + LOOKED_FOR;
        while self.sim.elapsed() < end {
            self.step()?;
            self.look(parts, term);
        }
        if self.has_begun(third, term) {
            return Err(
                "the third had the second's first entry before it was looked for long".into()
            );
        }
        Ok(())
    }

    /// The second's first entry is committed, and then it goes on to itself alone.
    fn let_begin(&mut self, parts: Parts, term: u64) -> Result<(), String> {
        let Parts { first, second, third } = parts;
        self.disk(third).set_sync_takes(FAST);
        self.until("the second may change the group", |script| {
            script.look(parts, term);
            script.is(second, Group::may_change)
        })?;
        self.until("nobody but the second votes", |script| {
            script.want(second, &BTreeSet::from([second]));
            script.is(second, |group| group.is_settled() && group.replicas().voters.len() == 1)
        })?;
        self.join(first, second);
        self.join(first, third);
        Ok(())
    }

    /// The third, which has nothing of the second's term, comes back on the first's side, and votes for that.
    fn bring_back(&mut self, parts: Parts, term: u64) -> Result<(), String> {
        let Parts { first, second, third } = parts;
        self.part(second, third);
        self.crash(third);
        self.disk(third).set_sync_takes(FAST);
        self.join(first, third);
        self.sim.bounce(host(third));
        self.until("the first leads again", |script| {
            script.led(first) > Some(term) && script.is(first, Group::may_change)
        })?;
        let before = self.acknowledged();
        self.until("somebody serves", |script| script.acknowledged() > before)?;
        self.join(first, second);
        self.join(second, third);
        Ok(())
    }

    /// Has the second look anew at what is wanted, and writes down whether it may change the group, or has, while no
    /// other has an entry of its term.
    fn look(&mut self, Parts { second, third, .. }: Parts, term: u64) {
        self.want(second, &BTreeSet::from([second]));
        if self.has_begun(third, term) {
            return;
        }
        let may = self.is(second, Group::may_change);
        let has = !self.is(second, is_between);
        for (is_so, what) in [(may, "may change"), (has, "has changed")] {
            let fact =
                format!("node {second} {what} the group, and no other has an entry of its term");
            let mut seen = self.seen.lock().unwrap();
            if is_so && !seen.broken.contains(&fact) {
                seen.broken.push(fact);
            }
        }
    }

    /// Whether the last entry of a node's log is of a term, or of one behind it.
    fn has_begun(&self, node: u64, term: u64) -> bool {
        self.last(node).is_some_and(|id| id.leader_id.term >= term)
    }

    fn last(&self, node: u64) -> Option<LogId> {
        last(self.disk(node))
    }

    /// Whether something is so of a node's group; nothing is where it does not run.
    fn is(&self, node: u64, is_so: impl Fn(&Group) -> bool) -> bool {
        self.hands().get(&node).is_some_and(|hand| is_so(&hand.group))
    }

    fn led(&self, node: u64) -> Option<u64> {
        self.hands().get(&node).and_then(|hand| hand.group.led())
    }

    /// Whether a leader heard another one just now.
    fn hears(&self, leader: u64, other: u64) -> bool {
        let Some(Hand { group, runtime, .. }) = self.hands().get(&leader).cloned() else {
            return false;
        };
        // How long ago that was is told by the node's own clock.
        let _inside = runtime.enter();
        group.has_caught_up(other)
    }

    /// Tells a node who is to vote, anew; the others are to follow.
    fn want(&mut self, node: u64, voters: &BTreeSet<u64>) {
        self.epoch += 1;
        let learners = (1..=NODES).filter(|other| !voters.contains(other)).collect();
        let voters = voters.iter().copied().collect();
        let placed = Placed { group: GROUP, voters, learners, pinned: false };
        let row = IndexRow::Placed { placed, epoch: self.epoch };
        if let Some(hand) = self.hands().get(&node) {
            hand.cluster.applied(&[row]);
        }
    }

    /// Has a leader change who votes.
    fn change(&self, leader: u64, voters: BTreeSet<u64>) -> JoinHandle<()> {
        let Hand { group, runtime, .. } = self.hands()[&leader].clone();
        runtime.spawn(async move { drop(group.set_voters(&voters).await) })
    }

    fn part(&self, one: u64, other: u64) {
        self.sim.partition(host(one), host(other));
        self.note(format!("nothing passes between {one} and {other}"));
    }

    fn join(&self, one: u64, other: u64) {
        self.sim.repair(host(one), host(other));
        self.note(format!("{one} and {other} reach each other"));
    }

    /// With all that it has not synced.
    fn crash(&mut self, node: u64) {
        self.hands().remove(&node);
        self.sim.crash(host(node));
        self.disk(node).crash();
        self.note(format!("node {node} crashes"));
    }

    fn acknowledged(&self) -> usize {
        self.seen.lock().unwrap().acknowledged()
    }

    fn hands(&self) -> MutexGuard<'_, BTreeMap<u64, Hand>> {
        self.hands.lock().unwrap()
    }

    fn disk(&self, node: u64) -> &Disk {
        &self.disks[node as usize - 1]
    }

    fn note(&self, what: String) {
        let now = self.sim.elapsed().as_millis() as u64;
        self.seen.lock().unwrap().note_at(now, what);
    }

    fn until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        self.find(what, |script| is_so(script).then_some(()))
    }

    /// Steps until something is found, as long as it may take.
    fn find<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, String> {
        let end = self.sim.elapsed() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                self.note(what.to_owned());
                return Ok(found);
            }
            if self.sim.elapsed() > end {
                return Err(format!("it does not come to be that {what}"));
            }
            self.step()?;
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let stepped = self.sim.step();
        stepped.map(drop).map_err(|error| format!("a node ended: {}", with_causes(&*error)))
    }
}

/// The last entry of a log, synced or not.
fn last(disk: &Disk) -> Option<LogId> {
    let table = disk.open("log", Role::Log).unwrap();
    let found = table.last(&log::entry(GROUP, 0), &log::entries_end(GROUP)).unwrap();
    found.map(|(_, value)| codec::decode_entry(&value).unwrap().log_id)
}
