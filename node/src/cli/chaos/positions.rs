//! Where logs have what the operations of a run did: looked up when it is over, so that it costs those who are
//! measured nothing. Of all that a log has only what is the run's own is kept.
//!
//! A log is read from a node that leads its group, and from others only where that one does not have all of it. What is
//! purged by then, or on a node of a release that does not tell, is left out. **Invariant:** a position is of a step
//! that took effect. **Not here:** what the order of positions must be (`fieldmesh_chaos`), where reads stood
//! (`tickets`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

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

/// What is a run's own.
pub(super) struct Own<'a> {
    recorder: &'a Recorder,
    people: BTreeSet<String>,
    tickets: BTreeSet<String>,
}

impl<'a> Own<'a> {
    pub(super) fn new(recorder: &'a Recorder, people: &[EntityId], tickets: &[EntityId]) -> Self {
        let [people, tickets] =
            [people, tickets].map(|ids| ids.iter().map(EntityId::to_string).collect());
        Self { recorder, people, tickets }
    }
}

/// What the logs have.
pub(super) struct Positions<'a> {
    own: Own<'a>,
    /// By the number of the operation.
    operations: BTreeMap<u64, Position>,
    /// By ticket and version before: how many events a step has, and where.
    steps: BTreeMap<(String, u64), (u64, Position)>,
    /// By device and number.
    mail: BTreeMap<(String, u64), Position>,
    /// By operation: the step that its message made of whom it came from.
    messages: BTreeMap<u64, Position>,
}

impl<'a> Positions<'a> {
    /// Of all that stands behind these ends.
    pub(super) async fn behind(before: &Ends, nodes: &Nodes, own: Own<'a>) -> Self {
        let (operations, steps, mail, messages) = Default::default();
        let mut positions = Self { own, operations, steps, mail, messages };
        let (all, leaders, mut silent) = (nodes.all(), nodes.leaders(), BTreeSet::new());
        let groups: Vec<u32> = before.keys().copied().collect();
        // Whoever is asked may not have applied what the others have.
        let latest = ends(&groups, nodes).await;
        for (group, end) in before {
            let span = *end..latest.get(group).copied().unwrap_or(*end);
            let leader = leaders.get(group);
            let first = all.iter().filter(|(number, _)| Some(*number) == leader);
            let others = all.iter().filter(|(number, _)| Some(*number) != leader);
            for (number, node) in first.chain(others) {
                if silent.contains(number) {
                    continue;
                }
                match positions.follow(&node.api, *group, &span).await {
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

    /// Whether a node has all that stands behind an entry, up to another.
    async fn follow(&mut self, api: &Api, group: u32, span: &Range<u64>) -> Result<bool, CliError> {
        let (mut after, mut has_all) = (span.start, true);
        loop {
            let Some(page) = page(api, group, after).await? else { return Ok(false) };
            let PositionsView { applied, from, until, steps } = page;
            steps.into_iter().for_each(|step| self.take(group, step));
            has_all &= from <= after.saturating_add(1);
            if until <= after || until >= applied {
                return Ok(has_all && applied >= span.end);
            }
            after = until;
        }
    }

    fn take(&mut self, group: u32, step: StepView) {
        let StepView { term, index, entity, version, events, message, mail } = step;
        let at = Position { group, term, index, node: None };
        if self.own.tickets.contains(&entity) {
            self.steps.insert((entity, version), (u64::from(events), at));
        }
        let own = mail.into_iter().filter(|mail| self.own.people.contains(&mail.to));
        self.mail.extend(own.map(|mail| ((mail.to, mail.number), at)));
        let op = message.and_then(|message| self.own.recorder.known_by(&message));
        self.messages.extend(op.map(|op| (op, at)));
    }

    /// Operators' messages are known by the events of their ticket.
    pub(super) fn find_messages(&mut self, what: &What) {
        let What::Ticket { ticket, events, .. } = what else { return };
        for (number, event) in (0_u64..).zip(events) {
            let op =
                event.message.as_deref().and_then(|message| self.own.recorder.known_by(message));
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

    /// Writes it into the history.
    pub(super) fn note(mut self) {
        for (op, at) in self.messages {
            self.operations.entry(op).or_insert(at);
        }
        for (op, at) in self.operations {
            self.own.recorder.note(What::Logged { op, at });
        }
        for ((to, number), at) in self.mail {
            self.own.recorder.note(What::MailLogged { to, number, at });
        }
    }
}
