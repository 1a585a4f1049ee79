//! Tickets of one cause: a grouped ticket has no technician of its own and ends with its parent.
//!
//! An operator groups a ticket, or rules do; it asks its parent whether it may, and once a day whether the parent still
//! lives. A parent that does not answer is gone: then the ticket goes on alone, and so it does where the
//! parent is cancelled, or was done before the ticket asked; one with keys asks the desk first which ticket has
//! them now. Where the parent closes, the work of its children is done too, and each child's customer may object.
//!
//! Whoever watches hears of many tickets of one cause as of a storm, when it begins and when it ends.
//!
//! **Invariants:** a grouped ticket is with nobody and has a deadline; a parent is grouped itself neither
//! before nor after, and has at most 256 children. **Not here:** who may order it (`orders`).

use minicbor::{Decode, Encode};

use super::{Command, Event, Progress, Stage, Ticket, progressed};
use crate::{
    Command as AnyCommand, Effect, EntityId, EntityKind, Rejection, RejectionCode,
    notifier::{Recipient, What},
    time::Millis,
};

/// Tickets with one parent: a storm has more, but then it has several parents.
pub(crate) const CHILDREN_MAX: usize = 256;
/// So many tickets under one parent are a storm: more than customers of one house, and early enough to be told of.
const STORM_CHILDREN: usize = 10;
/// A parent answers as soon as its shard has a leader.
const ANSWER_S: u64 = 3600;
/// A parent is asked again after this.
const ASK_AGAIN_S: u64 = 24 * 3600;
/// What a child's customer reads: which ticket that was is another customer's.
const DONE: &str = "done with another ticket of the same cause";

/// Under which ticket a ticket is grouped.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Parent {
    #[n(0)]
    pub id: EntityId,
    /// It has answered what it was asked last.
    #[n(1)]
    pub has_answered: bool,
}

/// What a parent says to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ParentWord {
    /// The child waits for it.
    #[n(0)]
    Lives,
    /// Its work is done, and so the child's.
    #[n(1)]
    Done,
    /// The child goes on alone.
    #[n(2)]
    Gone,
}

impl Ticket {
    pub(super) fn group(
        &self,
        id: EntityId,
        parent: EntityId,
        now: Millis,
    ) -> Result<Option<Vec<Event>>, Rejection> {
        if parent.kind() != EntityKind::Ticket || parent == id {
            return Rejection::new(RejectionCode::Invalid, "a parent is another ticket");
        }
        let refuse = |detail| Rejection::new(RejectionCode::NotNow, detail);
        match self.stage {
            Stage::Grouped if self.is_child_of(parent) => return Ok(None),
            Stage::Grouped => return refuse("the ticket has another parent: ungroup it first"),
            _ if self.children.as_ref().is_some_and(|children| !children.is_empty()) => {
                return refuse("the ticket has children: group them under the parent instead");
            }
            Stage::Triaged | Stage::Matching | Stage::Offered | Stage::Unfilled | Stage::Held => {}
            stage if stage.is_promised() => {
                return refuse("a technician has accepted the ticket: reassign it first");
            }
            _ => return refuse("the work is done, or the ticket has ended"),
        }
        let grouped = self.grouped_under(parent, now);
        Ok(Some(self.take_back(false, None).into_iter().chain([grouped]).collect()))
    }

    /// It waits for the end of another ticket, which is asked whether it may.
    pub(super) fn grouped_under(&self, parent: EntityId, now: Millis) -> Event {
        Event::Grouped { parent, due: now.after_s(ANSWER_S) }
    }

    pub(super) fn ungroup(&self, now: Millis) -> Option<Vec<Event>> {
        (self.stage == Stage::Grouped).then(|| vec![self.matching(now)])
    }

    fn is_child_of(&self, parent: EntityId) -> bool {
        self.parent.as_ref().is_some_and(|known| known.id == parent)
    }

    /// A day has passed, or the parent has not answered.
    pub(super) fn look_for_parent(&self, now: Millis) -> Vec<Event> {
        let has_answered = self.parent.as_ref().is_some_and(|parent| parent.has_answered);
        if has_answered {
            vec![Event::ParentAsked { due: now.after_s(ANSWER_S) }]
        } else {
            vec![self.without_parent(now)]
        }
    }

    /// It waited under that one last, which did not say that it lives.
    pub(super) fn has_no_word_of(&self, parent: EntityId) -> bool {
        self.parent.as_ref().is_some_and(|known| known.id == parent && !known.has_answered)
    }

    /// A child asks whether its parent lives.
    pub(super) fn child_asks(&self, child: EntityId) -> Vec<Event> {
        let children = self.children.as_ref();
        let is_known = children.is_some_and(|children| children.contains(&child));
        let has_room = children.is_none_or(|children| children.len() < CHILDREN_MAX);
        let word = match self.stage {
            Stage::Closed => ParentWord::Done,
            Stage::Cancelled | Stage::Grouped => ParentWord::Gone,
            // The work is done, and was not this child's: nobody would come for it.
            Stage::Completed if !is_known => ParentWord::Gone,
            _ if is_known || has_room => ParentWord::Lives,
            _ => ParentWord::Gone,
        };
        let joined = word == ParentWord::Lives && !is_known;
        let joined = joined.then_some(Event::ChildJoined { child });
        joined.into_iter().chain([Event::ChildAnswered { child, word }]).collect()
    }

    pub(super) fn child_leaves(&self, child: EntityId) -> Vec<Event> {
        let is_known = self.children.as_ref().is_some_and(|children| children.contains(&child));
        if is_known { vec![Event::ChildLeft { child }] } else { vec![] }
    }

    pub(super) fn parent_says(
        &self,
        parent: EntityId,
        word: ParentWord,
        now: Millis,
    ) -> Vec<Event> {
        let known = self.parent.as_ref().filter(|known| known.id == parent);
        let Some(known) = known.filter(|_| self.stage == Stage::Grouped) else { return vec![] };
        match word {
            ParentWord::Lives if known.has_answered => vec![],
            ParentWord::Lives => vec![Event::ParentLives { due: now.after_s(ASK_AGAIN_S) }],
            ParentWord::Done => {
                let note = DONE.to_owned();
                vec![progressed(Progress::Completed { note }, now)]
            }
            ParentWord::Gone => vec![self.without_parent(now)],
        }
    }

    pub(super) fn grouped(&mut self, parent: EntityId, due: Millis) {
        self.stage = Stage::Grouped;
        self.parent = Some(Parent { id: parent, has_answered: false });
        self.asked.clear();
        self.tries = 0;
        self.set_due(due);
    }

    pub(super) fn parent_answered(&mut self, has_answered: bool, due: Millis) {
        if let Some(parent) = &mut self.parent {
            parent.has_answered = has_answered;
        }
        self.set_due(due);
    }

    pub(super) fn child_joined(&mut self, child: EntityId) {
        let children = self.children.get_or_insert_default();
        if children.len() < CHILDREN_MAX {
            children.insert(child);
        }
    }

    pub(super) fn child_left(&mut self, child: EntityId) {
        if let Some(children) = &mut self.children {
            children.remove(&child);
        }
    }

    fn waiting(&self) -> usize {
        self.children.as_ref().map_or(0, |children| children.len())
    }

    /// Told with the child that makes it one.
    pub(super) fn storm_begins(&self, id: EntityId, child: EntityId) -> Option<Effect> {
        // Those that join one whose work is done waited under it before.
        let begins = self.waiting() == STORM_CHILDREN && self.stage != Stage::Completed;
        begins.then(|| self.storm(id, child, "begins: tickets that wait under this one are"))
    }

    /// Told with the child that makes it none any more; those who leave once the ticket has ended leave no storm.
    pub(super) fn storm_ebbs(&self, id: EntityId, child: EntityId) -> Option<Effect> {
        let ends = self.waiting() + 1 == STORM_CHILDREN && !self.stage.is_final();
        ends.then(|| self.storm(id, child, "ends: tickets that wait under this one still are"))
    }

    /// Told with the end of the ticket that they waited for.
    pub(super) fn storm_ends(&self, id: EntityId) -> Option<Effect> {
        let ends = self.waiting() >= STORM_CHILDREN;
        ends.then(|| self.storm(id, id, "ends with this one: tickets that waited under it were"))
    }

    fn storm(&self, id: EntityId, because: EntityId, told: &str) -> Effect {
        let detail = format!("{told} {}", self.waiting());
        // What begins again because of another child, or later, is told again.
        let [.., a, b, c, d, e, f, g, h] = because.to_bytes();
        let said = u64::from(told.starts_with("begins"));
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ said;
        let number = number ^ u64::from(self.generation) << 32 ^ u64::from(self.epoch) << 1;
        self.notice(id, Recipient::Subscribers, What::Storm, number, Millis(0), detail)
    }

    pub(super) fn ask_parent(&self, id: EntityId) -> Option<Effect> {
        self.tell_parent(Command::ChildAsks { child: id })
    }

    /// It does not wait for its parent any more.
    pub(super) fn leave_parent(&self, id: EntityId) -> Option<Effect> {
        self.tell_parent(Command::ChildLeaves { child: id })
    }

    fn tell_parent(&self, command: Command) -> Option<Effect> {
        let parent = self.parent.as_ref().filter(|_| self.stage == Stage::Grouped)?;
        Some(Effect::Tell { to: parent.id, command: AnyCommand::Ticket(command) })
    }

    /// What its children hear of its end.
    pub(super) fn tell_children(&self, id: EntityId, word: ParentWord) -> Vec<Effect> {
        self.children.iter().flatten().map(|child| says(id, *child, word)).collect()
    }
}

pub(super) fn says(parent: EntityId, child: EntityId, word: ParentWord) -> Effect {
    let command = Command::ParentSays { parent, word };
    Effect::Tell { to: child, command: AnyCommand::Ticket(command) }
}
