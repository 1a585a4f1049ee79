//! What must be so in the end, by what is on the disks: replicas agree, entities are in one shard, histories
//! are whole.
//!
//! **Not here:** what devices saw (`world::people`), who led (`sight`).

use std::{collections::BTreeMap, sync::Arc};

use fieldmesh_domain::{
    EntityId,
    placement::{Members, Placed},
};
use fieldmesh_node::{
    consensus::codec,
    store::{
        Engine, Role, Row, Table,
        keys::{log, state},
        simulated::Disk,
    },
};

use super::World;

/// The state of a group on a disk, where there is one.
fn table(disk: &Disk, group: u32) -> Option<Arc<dyn Table>> {
    disk.inspect(&format!("state-{group}"), Role::State).unwrap()
}

/// The last entry that is applied to a state.
pub(super) fn applied(disk: &Disk, group: u32) -> Option<Vec<u8>> {
    table(disk, group)?.get(&state::applied()).unwrap()
}

/// Whether nothing waits to be told to other entities, or to be acknowledged by a device.
pub(super) fn is_at_rest(disk: &Disk, group: u32) -> bool {
    let Some(table) = table(disk, group) else { return true };
    let is_empty =
        |(from, until): (Vec<u8>, Vec<u8>)| table.scan(&from, &until, 1).unwrap().is_empty();
    // All mail is between that of the first identifier and that of the last.
    let mail = (state::mail(&[0; 16], 0), state::mail_of(&[u8::MAX; 16]).1);
    is_empty(state::outbox_range()) && is_empty(mail)
}

/// What all replicas must have alike: all but how each came to it.
fn rows(disk: &Disk, group: u32) -> Vec<Row> {
    let own = state::of_a_replica();
    let all = table(disk, group).map(|table| table.scan(&[], &[u8::MAX], usize::MAX).unwrap());
    all.into_iter().flatten().filter(|(key, _)| !own.contains(key)).collect()
}

impl World<'_, '_> {
    /// Looks at everything once the cluster is at rest.
    pub(super) fn judge(&mut self) {
        for machine in &self.machines {
            let Some(node) = machine.node() else { continue };
            let of = format!("node {}", machine.number);
            self.told.lock().unwrap().read_histories(&of, &node.journals());
        }
        let Some(known) = self.latest() else { return };
        if !self.plan.loses {
            self.seen.installed = self.installed(&known);
        }
        for placed in &known.groups {
            for fact in self.disagreements(placed).into_iter().chain(self.strays(&known, placed)) {
                self.blame(fact);
            }
        }
    }

    /// How many replicas have a state that came from a snapshot.
    fn installed(&self, known: &Members) -> usize {
        let replicas =
            known.groups.iter().flat_map(|Placed { group, voters, learners, .. }| {
                voters.iter().chain(learners).map(move |number| (*group, *number))
            });
        let states =
            replicas.filter_map(|(group, number)| table(&self.machine(number).disk, group));
        states.filter(|kept| kept.get(&state::installed()).unwrap().is_some()).count()
    }

    /// What differs between the replicas of a group.
    fn disagreements(&self, placed: &Placed) -> Vec<String> {
        let Placed { group, voters, learners, .. } = placed;
        let mut broken = Vec::new();
        let mut first: Option<(u64, Vec<Row>)> = None;
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for number in voters.iter().chain(learners) {
            let disk = &self.machine(*number).disk;
            let own = rows(disk, *group);
            let (of, same) = first.get_or_insert_with(|| (*number, own.clone()));
            if own != *same {
                broken.push(format!("nodes {of} and {number} have other states of group {group}"));
            }
            let (mut term, table) = (0, disk.open("log", Role::Log).unwrap());
            let (from, until) = (log::entry(*group, 0), log::entries_end(*group));
            for (key, value) in table.scan(&from, &until, usize::MAX).unwrap() {
                let id = codec::decode_entry(&value).unwrap().log_id;
                if id.leader_id.term < term {
                    broken
                        .push(format!("on node {number} the term of group {group} falls at {id}"));
                }
                term = id.leader_id.term;
                if *entries.entry(key).or_insert_with(|| value.clone()) != value {
                    broken.push(format!("node {number} has another entry {id} of group {group}"));
                }
            }
        }
        broken
    }

    /// Entities that are in a shard that does not serve them, and tickets that are not in theirs.
    fn strays(&self, known: &Members, placed: &Placed) -> Vec<String> {
        let (group, number) = (placed.group, placed.voters[0]);
        let Some(table) = table(&self.machine(number).disk, group) else {
            return vec![format!("group {group} has no state")];
        };
        let mut broken = Vec::new();
        let (from, until) = state::head_range();
        let heads = table.scan(&from, &until, usize::MAX).unwrap();
        for id in heads.iter().map(|(key, _)| EntityId::from_bytes(key[1..].try_into().unwrap())) {
            let id = id.unwrap();
            if known.group_of(id) != Some(group) {
                broken
                    .push(format!("{id} is in group {group}, served by {:?}", known.group_of(id)));
            }
        }
        let told = self.told.lock().unwrap();
        for ticket in told.received.iter().filter(|id| known.group_of(**id) == Some(group)) {
            if table.get(&state::head(&ticket.to_bytes())).unwrap().is_none() {
                broken.push(format!("{ticket} is not in group {group}, which serves it"));
            }
        }
        broken
    }
}
