//! What trigger rules said of a ticket when it was opened, and what that leads to.
//!
//! Whoever serves the ticket evaluates the rules and adds their outcome to the command that opens it. The
//! ticket keeps it for ever: later rules do not change what was decided. Without an outcome everything is as
//! the built-in rule has it.
//!
//! Keys say which tickets belong together. The region's desk has those of open tickets; a ticket with keys
//! asks it before anybody is sought, and waits under the first one with the same key. Where the desk does not
//! answer twice, the ticket goes on alone: a key never holds up work. It asks once more where the ticket that it
//! waited under is gone: of many that waited there one is sought for, and not all at once.
//!
//! The desk hears of a hold too: nobody is to wait for weeks under a ticket that nobody works on.
//!
//! **Invariants:** a ticket that waits for the desk's word has a deadline; its notices are sent once, after that
//! word. **Not here:** evaluating rules (`node`), the keys of others (`desk`), waiting for a parent (`group`).

use minicbor::{Decode, Encode};

use super::{Event, Stage, Ticket};
use crate::{
    Effect, EntityId,
    desk::{self, Bond, Key},
    message::PRIORITY_MAX,
    notifier::{DETAIL_BYTES_MAX, Recipient, What},
    selection::Part,
    technician::Skill,
    time::Millis,
};

/// The desk answers in milliseconds; after this long the question was lost.
const COMPARE_LIFE_S: u64 = 20;
/// How often the desk is asked: while it fails over, and once more.
const COMPARES_MAX: u8 = 2;
/// How often it is asked in all: whoever loses one parent after the other goes on alone in the end.
const SEEKS_MAX: u8 = 8;

/// What rules said of one ticket. Lists are bounded by whoever evaluates them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Triage {
    /// Of the rules, as the cluster counts their versions.
    #[n(0)]
    pub version: u32,
    /// The rules whose condition held, in their order, with what they did.
    #[n(1)]
    pub acted: Vec<Acted>,
    /// Those that gave no answer: nothing that they say was done.
    #[n(2)]
    pub failed: Vec<Failed>,
    /// None keeps that of the built-in rule.
    #[n(3)]
    pub priority: Option<u8>,
    /// A technician must have each of them.
    #[n(4)]
    pub skills: Vec<Skill>,
    /// What it has in common with others.
    #[n(5)]
    pub keys: Vec<Key>,
    /// Those that wait under it tell nobody.
    #[n(6)]
    pub inhibits_children: bool,
    #[n(7)]
    pub hold: Option<Hold>,
    /// Who is told, by name.
    #[n(8)]
    pub notify: Vec<String>,
    /// Which webhooks are called, by name.
    #[n(9)]
    pub webhooks: Vec<String>,
    /// The escalation policy that was chosen, by name.
    #[n(10)]
    pub policy: Option<String>,
    /// A technician must have all of them on its van.
    #[cbor(n(11), default)]
    pub parts: Vec<Part>,
}

/// A rule whose condition held.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Acted {
    #[n(0)]
    pub rule: String,
    /// For people; keys are not in it, as they may have something of the customer in them.
    #[n(1)]
    pub did: Vec<String>,
}

/// A rule that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Failed {
    #[n(0)]
    pub rule: String,
    #[n(1)]
    pub why: String,
}

/// Nobody is sought for a while.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hold {
    #[n(0)]
    pub minutes: u32,
    #[n(1)]
    pub reason: String,
}

/// What the ticket itself keeps of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Ruled {
    #[n(0)]
    pub version: u32,
    #[n(1)]
    pub skills: Vec<Skill>,
    #[n(2)]
    pub keys: Vec<Key>,
    #[n(3)]
    pub inhibits_children: bool,
    #[n(4)]
    pub hold: Option<Hold>,
    #[n(5)]
    pub notify: Vec<String>,
    #[n(6)]
    pub webhooks: Vec<String>,
    #[n(7)]
    pub policy: Option<String>,
    /// How often the desk was asked what has the same keys.
    #[n(8)]
    pub compares: u8,
    /// It has answered, or is not asked any more.
    #[n(9)]
    pub is_compared: bool,
    /// Nobody is told of it.
    #[n(10)]
    pub is_silent: bool,
    /// The rules that acted, as notices name them.
    #[cbor(n(11), default)]
    pub because: String,
    #[cbor(n(12), default)]
    pub parts: Vec<Part>,
}

/// Names of rules, as many as a notice has room for beside the version.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut list = String::new();
    for name in names {
        if list.len() + name.len() + 32 > DETAIL_BYTES_MAX {
            list.push_str(", …");
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    list
}

impl Triage {
    /// The priority, where a rule set one that there is.
    pub fn valid_priority(&self) -> Option<u8> {
        self.priority.filter(|priority| (1..=PRIORITY_MAX).contains(priority))
    }
}

impl Ticket {
    /// What follows in the step that opens it.
    pub(super) fn first(&self, triage: Option<&Triage>, now: Millis) -> Event {
        match triage {
            Some(triage) if !triage.keys.is_empty() => {
                Event::ParentSought { due: now.after_s(COMPARE_LIFE_S) }
            }
            _ => self.alone(triage.and_then(|triage| triage.hold.as_ref()), now),
        }
    }

    /// The same, once nothing else holds it up any more.
    pub(super) fn first_by_rules(&self, now: Millis) -> Event {
        if self.is_comparing() {
            return Event::ParentSought { due: now.after_s(COMPARE_LIFE_S) };
        }
        // The desk believes it held, and may have given its keys to another one.
        self.without_parent(now)
    }

    /// Nothing has the same key: it is held, or somebody is sought.
    fn alone(&self, hold: Option<&Hold>, now: Millis) -> Event {
        match hold {
            Some(hold) => Event::Held { until: now.after_s(u64::from(hold.minutes) * 60) },
            None => self.matching(now),
        }
    }

    /// The ticket that it waited under is gone: whoever else has its keys now is the next one, or it has them itself.
    pub(super) fn without_parent(&self, now: Millis) -> Event {
        let seeks = self.ruled.as_ref().map_or(SEEKS_MAX, |ruled| ruled.compares);
        if self.joint_keys().is_empty() || seeks >= SEEKS_MAX {
            return self.matching(now);
        }
        Event::ParentSought { due: now.after_s(COMPARE_LIFE_S) }
    }

    /// Those that make tickets wait for each other.
    fn joint_keys(&self) -> Vec<Key> {
        let keys = self.ruled.iter().flat_map(|ruled| &ruled.keys);
        keys.filter(|key| key.bond != Bond::Inhibit).copied().collect()
    }

    fn is_comparing(&self) -> bool {
        self.ruled.as_ref().is_some_and(|ruled| !ruled.keys.is_empty() && !ruled.is_compared)
    }

    /// The desk says which ticket has the same key. Only one that still waits for that follows it: what a
    /// person ordered meanwhile counts.
    pub(super) fn compared(
        &self,
        like: Option<EntityId>,
        is_silent: bool,
        now: Millis,
    ) -> Vec<Event> {
        let (is_first, seeks) = (self.is_comparing(), self.stage == Stage::Triaged);
        if !(is_first || seeks) || self.stage.is_final() {
            return vec![];
        }
        // One that does not wait under that ticket is worked on by itself.
        let parent = like.filter(|parent| seeks && !self.has_no_word_of(*parent));
        let is_silent = is_silent && (like.is_none() || parent.is_some());
        // Whom rules name has heard of it, unless it was silent until now.
        let was_silent = self.ruled.as_ref().is_some_and(|ruled| ruled.is_silent);
        let is_news = is_first || (was_silent && !is_silent);
        let answer = is_news.then_some(Event::Compared { like, is_silent });
        let hold = self.ruled.as_ref().and_then(|ruled| ruled.hold.as_ref());
        let next = match parent {
            Some(parent) => self.grouped_under(parent, now),
            None => self.alone(hold.filter(|_| is_first), now),
        };
        answer.into_iter().chain(seeks.then_some(next)).collect()
    }

    /// The desk has not answered in time.
    pub(super) fn compare_again(&self, now: Millis) -> Vec<Event> {
        let compares = self.ruled.as_ref().map_or(COMPARES_MAX, |ruled| ruled.compares);
        if compares < COMPARES_MAX {
            return vec![Event::ParentSought { due: now.after_s(COMPARE_LIFE_S) }];
        }
        let events = self.compared(None, false, now);
        if events.is_empty() { vec![self.matching(now)] } else { events }
    }

    pub(super) fn triaged(&mut self, priority: u8, triage: Option<&Triage>) {
        self.stage = Stage::Triaged;
        self.priority = priority;
        self.ruled = triage.map(|triage| Ruled {
            version: triage.version,
            skills: triage.skills.clone(),
            parts: triage.parts.clone(),
            keys: triage.keys.clone(),
            inhibits_children: triage.inhibits_children,
            hold: triage.hold.clone(),
            notify: triage.notify.clone(),
            webhooks: triage.webhooks.clone(),
            policy: triage.policy.clone(),
            because: listed(triage.acted.iter().map(|acted| acted.rule.as_str())),
            ..Ruled::default()
        });
    }

    pub(super) fn parent_sought(&mut self, due: Millis) {
        self.stage = Stage::Triaged;
        if let Some(ruled) = &mut self.ruled {
            ruled.compares = ruled.compares.saturating_add(1);
        }
        self.set_due(due);
    }

    pub(super) fn was_compared(&mut self, is_silent: bool) {
        if let Some(ruled) = &mut self.ruled {
            ruled.is_compared = true;
            ruled.is_silent = is_silent;
        }
    }

    /// The desk is asked what has the same keys, and not for ever.
    pub(super) fn seek_parent(&self, id: EntityId) -> Vec<Effect> {
        self.claim(id, None).into_iter().chain([self.deadline(), self.index(id)]).collect()
    }

    /// What follows from what rules said: without keys there is nothing to wait for. That a rule failed is an
    /// alarm whatever is silent.
    pub(super) fn triaged_effects(&self, id: EntityId, triage: Option<&Triage>) -> Vec<Effect> {
        let Some(triage) = triage else { return vec![] };
        let mut effects = Vec::new();
        if !triage.failed.is_empty() {
            let failed = listed(triage.failed.iter().map(|failed| failed.rule.as_str()));
            let detail = format!("rules {}: {failed}", triage.version);
            effects.push(self.notice(
                id,
                Recipient::Subscribers,
                What::RuleFailed,
                0,
                self.opened_at,
                detail,
            ));
        }
        if triage.keys.is_empty() {
            effects.extend(self.notices(id));
        }
        effects
    }

    /// Those hear of it whom rules name, once.
    pub(super) fn notices(&self, id: EntityId) -> Vec<Effect> {
        let Some(ruled) = self.ruled.as_ref().filter(|ruled| !ruled.is_silent) else {
            return vec![];
        };
        let people = ruled.notify.iter().cloned().map(Recipient::Person);
        let told = people.chain(ruled.webhooks.iter().cloned().map(Recipient::Webhook));
        let detail = format!("rules {}: {}", ruled.version, ruled.because);
        let at = self.opened_at;
        told.map(|to| self.notice(id, to, What::RuleMatched, 0, at, detail.clone())).collect()
    }

    /// Says to the desk what keys it has, and until when nobody is to wait for them because it is held.
    pub(super) fn claim(&self, id: EntityId, held_until: Option<Millis>) -> Option<Effect> {
        let ruled = self.ruled.as_ref().filter(|ruled| !ruled.keys.is_empty())?;
        let command = desk::Command::Claim {
            ticket: id,
            keys: ruled.keys.clone(),
            inhibits_children: ruled.inhibits_children,
            priority: Some(self.priority),
            held_until,
        };
        Some(self.tell_desk(id, command))
    }

    /// It is held by a silence. One that has not asked for its keys yet asks when that is over.
    pub(super) fn claim_silenced(&self, id: EntityId, until: Millis) -> Option<Effect> {
        self.claim(id, Some(until)).filter(|_| !self.is_comparing())
    }

    /// Whoever comes later does not wait under it, as it waits itself. What it silences it still does.
    pub(super) fn unclaim_joint(&self, id: EntityId) -> Option<Effect> {
        let keys = Some(self.joint_keys()).filter(|keys| !keys.is_empty())?;
        Some(self.tell_desk(id, desk::Command::Unclaim { ticket: id, keys }))
    }

    /// Nobody waits under it any more.
    pub(super) fn unclaim(&self, id: EntityId) -> Option<Effect> {
        let ruled = self.ruled.as_ref().filter(|ruled| !ruled.keys.is_empty())?;
        let keys = ruled.keys.clone();
        Some(self.tell_desk(id, desk::Command::Unclaim { ticket: id, keys }))
    }

    /// What a technician must have besides the ticket's own category.
    pub(super) fn required_skills(&self) -> Option<Vec<Skill>> {
        let skills = self.ruled.as_ref().map(|ruled| ruled.skills.clone());
        skills.filter(|skills| !skills.is_empty())
    }

    /// What it must have on its van.
    pub(super) fn required_parts(&self) -> Option<Vec<Part>> {
        let parts = self.ruled.as_ref().map(|ruled| ruled.parts.clone());
        parts.filter(|parts| !parts.is_empty())
    }
}
