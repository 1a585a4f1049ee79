//! Where logs have what the operations of a run did: looked up when it is over, so that it costs those who are
//! measured nothing.
//!
//! A log is read from a node that leads its group, and from others only where that one does not have all of it. What is
//! purged by then, or on a node of a release that does not tell, is left out. **Invariant:** a position is of a step
//! that took effect. **Not here:** what the order of positions must be (`fieldmesh_chaos`), where reads stood
//! (`tickets`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_chaos::history::{Position, What};
use fieldmesh_domain::EntityId;

use super::{nodes::Nodes, recorder::Recorder};
use crate::{
    cli::{CliError, api::Api},
    web::chaos::positions::{PositionsView, StepView},
};

/// By group: the last entry that was applied.
pub(super) type Ends = BTreeMap<u32, u64>;

/// How far the logs of these groups are, by whoever is furthest.
pub(super) async fn ends(groups: &[u32], nodes: &Nodes) -> Ends {
    let mut ends: Ends = groups.iter().map(|group| (*group, 0)).collect();
    for node in nodes.all().values() {
        for (group, end) in &mut ends {
            // Behind all that there is.
            if let Ok(Some(page)) = page(&node.api, *group, u64::MAX).await {
                *end = page.applied.max(*end);
            }
        }
    }
    ends
}

/// None where the node has no replica of the group, or is of a release that does not tell.
async fn page(api: &Api, group: u32, after: u64) -> Result<Option<PositionsView>, CliError> {
    api.find(&format!("/v1/chaos/positions?group={group}&after={after}")).await
}

/// What the logs have.
#[derive(Default)]
pub(super) struct Positions {
    /// By the number of the operation.
    operations: BTreeMap<u64, Position>,
    /// By entity and version before: how many events a step has, and where.
    steps: BTreeMap<(String, u64), (u64, Position)>,
    /// By device and number.
    mail: BTreeMap<(String, u64), Position>,
    /// By the message that a step is an answer to.
    messages: BTreeMap<String, Position>,
}

impl Positions {
    /// Of all that stands behind these ends.
    pub(super) async fn behind(ends: &Ends, nodes: &Nodes) -> Self {
        let (mut positions, mut silent) = (Self::default(), BTreeSet::new());
        let (all, leaders) = (nodes.all(), nodes.leaders());
        for (group, end) in ends {
            let leader = leaders.get(group);
            let first = all.iter().filter(|(number, _)| Some(*number) == leader);
            let others = all.iter().filter(|(number, _)| Some(*number) != leader);
            for (number, node) in first.chain(others) {
                if silent.contains(number) {
                    continue;
                }
                match positions.follow(&node.api, *group, *end).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    // It would not answer for other groups either, which takes long.
                    Err(error) => {
                        tracing::warn!(node = number, %error, "the log is not told");
                        silent.insert(*number);
                    }
                }
            }
        }
        positions
    }

    /// Whether a node has all that stands behind an entry.
    async fn follow(&mut self, api: &Api, group: u32, end: u64) -> Result<bool, CliError> {
        let (mut after, mut has_all) = (end, true);
        loop {
            let Some(page) = page(api, group, after).await? else { return Ok(false) };
            let PositionsView { applied, from, until, steps } = page;
            steps.into_iter().for_each(|step| self.take(group, step));
            has_all &= from <= after.saturating_add(1);
            if until <= after || until >= applied {
                return Ok(has_all);
            }
            after = until;
        }
    }

    fn take(&mut self, group: u32, step: StepView) {
        let StepView { term, index, entity, version, events, message, mail } = step;
        let at = Position { group, term, index, node: None };
        self.steps.insert((entity, version), (u64::from(events), at));
        self.mail.extend(mail.into_iter().map(|mail| ((mail.to, mail.number), at)));
        self.messages.extend(message.map(|message| (message, at)));
    }

    /// Operators' messages are known by the events of their ticket.
    pub(super) fn find_messages(&mut self, what: &What, recorder: &Recorder) {
        let What::Ticket { ticket, events, .. } = what else { return };
        for (number, event) in (0_u64..).zip(events) {
            let op = event.message.as_deref().and_then(|message| recorder.known_by(message));
            if let Some((op, at)) = op.zip(self.of_event(ticket, number)) {
                self.operations.entry(op).or_insert(at);
            }
        }
    }

    /// Of an entity's event, counted from 0.
    fn of_event(&self, entity: &str, number: u64) -> Option<Position> {
        let up_to = (entity.to_owned(), 0)..=(entity.to_owned(), number);
        let ((_, version), (events, at)) = self.steps.range(up_to).next_back()?;
        (number < version + events).then_some(*at)
    }

    /// Writes it into the history: of the run's own operations, and of what these people were told.
    pub(super) fn note(mut self, people: &[EntityId], recorder: &Recorder) {
        for (message, at) in &self.messages {
            if let Some(op) = recorder.known_by(message) {
                self.operations.entry(op).or_insert(*at);
            }
        }
        for (op, at) in self.operations {
            recorder.note(What::Logged { op, at });
        }
        let people: BTreeSet<String> = people.iter().map(EntityId::to_string).collect();
        for ((to, number), at) in self.mail {
            if people.contains(&to) {
                recorder.note(What::MailLogged { to, number, at });
            }
        }
    }
}
