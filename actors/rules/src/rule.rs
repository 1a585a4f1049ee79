//! Rules as they are stored, and the actions that they may cause.
//!
//! An action is the same type in three stages: its key is the text of an expression where a rule is
//! stored (`Action<String>` in a [`Rule`]), the checked expression inside, and the key itself in an
//! outcome. What no action says stays as it is without rules.
//!
//! **Invariants:** the list of actions is closed; field numbers only grow and are never used again.
//! **Not here:** the document an operator writes (`document`), deciding (`evaluate`).

use minicbor::{Decode, Encode};

/// Rules of a set: each is evaluated for every ticket, and a person has to understand their order.
pub const RULES_MAX: usize = 256;
/// Actions of one rule.
pub const ACTIONS_MAX: usize = 16;
/// Bytes of a name of a rule, a test, a policy, a webhook or of who is notified.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of the reason of a hold: one line.
pub const REASON_BYTES_MAX: usize = 256;
/// Bytes of a key that tickets are compared by: it is stored with each and indexed.
pub const KEY_BYTES_MAX: usize = 256;
/// The least urgent priority; 1 is the most urgent.
pub const PRIORITY_MAX: u8 = 5;
/// The highest level of a skill.
pub const LEVEL_MAX: u8 = 5;
/// Bytes of a part's number.
pub const PART_BYTES_MAX: usize = 64;
/// Minutes of a hold or of a window: a week, as far as counts of tickets go back.
pub const MINUTES_MAX: u32 = 7 * 24 * 60;

/// What a rule does to its ticket; `K` is what says which tickets belong together.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Action<K> {
    /// 1 is the most urgent. The first rule that sets it decides.
    #[n(0)]
    SetPriority(#[n(0)] u8),
    /// Only a technician with the skill is offered the ticket. All of them are required, the
    /// highest level for each category.
    #[n(1)]
    RequireSkill {
        #[n(0)]
        category: u16,
        #[n(1)]
        level: u8,
    },
    /// Open tickets with the same key are worked on as one. The first decides.
    #[n(2)]
    GroupBy {
        #[n(0)]
        key: K,
    },
    /// A ticket with the key of one that is not older than the window is the same ticket. The first
    /// decides.
    #[n(3)]
    Deduplicate {
        #[n(0)]
        key: K,
        #[n(1)]
        window_minutes: u32,
    },
    /// It is not offered before the time is over. The first decides.
    #[n(4)]
    Hold {
        #[n(0)]
        minutes: u32,
        #[n(1)]
        reason: String,
    },
    /// What belongs to this ticket stays silent while it is open. The first decides.
    #[n(5)]
    Inhibit(#[n(0)] Inhibited<K>),
    /// Somebody is told. All of them are.
    #[n(6)]
    Notify {
        #[n(0)]
        who: String,
    },
    /// A webhook is called. All of them are.
    #[n(7)]
    Webhook {
        #[n(0)]
        name: String,
    },
    /// Which policy finds a technician. The first decides.
    #[n(8)]
    Route {
        #[n(0)]
        policy: String,
    },
    /// Only a technician with so many of the part on its van is offered the ticket. All of them are required,
    /// the highest count for each part.
    #[n(9)]
    RequirePart {
        #[n(0)]
        part: String,
        #[n(1)]
        count: u16,
    },
}

/// Which tickets stay silent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Inhibited<K> {
    /// Those grouped under this one.
    #[n(0)]
    Children,
    /// Those with this key.
    #[n(1)]
    Key(#[n(0)] K),
}

/// Kinds of actions, by the name a document gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    SetPriority,
    RequireSkill,
    RequirePart,
    GroupBy,
    Deduplicate,
    Hold,
    Inhibit,
    Notify,
    Webhook,
    Route,
}

impl ActionKind {
    pub const ALL: [Self; 10] = [
        Self::SetPriority,
        Self::RequireSkill,
        Self::RequirePart,
        Self::GroupBy,
        Self::Deduplicate,
        Self::Hold,
        Self::Inhibit,
        Self::Notify,
        Self::Webhook,
        Self::Route,
    ];

    /// As a document writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SetPriority => "set_priority",
            Self::RequireSkill => "require_skill",
            Self::RequirePart => "require_part",
            Self::GroupBy => "group_by",
            Self::Deduplicate => "deduplicate",
            Self::Hold => "hold",
            Self::Inhibit => "inhibit",
            Self::Notify => "notify",
            Self::Webhook => "webhook",
            Self::Route => "route",
        }
    }

    /// Whether the first such action of an outcome decides and later ones do nothing.
    pub fn first_decides(self) -> bool {
        match self {
            Self::SetPriority
            | Self::GroupBy
            | Self::Deduplicate
            | Self::Hold
            | Self::Inhibit
            | Self::Route => true,
            Self::RequireSkill | Self::RequirePart | Self::Notify | Self::Webhook => false,
        }
    }
}

impl<K> Action<K> {
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::SetPriority(_) => ActionKind::SetPriority,
            Self::RequireSkill { .. } => ActionKind::RequireSkill,
            Self::RequirePart { .. } => ActionKind::RequirePart,
            Self::GroupBy { .. } => ActionKind::GroupBy,
            Self::Deduplicate { .. } => ActionKind::Deduplicate,
            Self::Hold { .. } => ActionKind::Hold,
            Self::Inhibit(_) => ActionKind::Inhibit,
            Self::Notify { .. } => ActionKind::Notify,
            Self::Webhook { .. } => ActionKind::Webhook,
            Self::Route { .. } => ActionKind::Route,
        }
    }

    pub(crate) fn key(&self) -> Option<&K> {
        match self {
            Self::GroupBy { key }
            | Self::Deduplicate { key, .. }
            | Self::Inhibit(Inhibited::Key(key)) => Some(key),
            Self::SetPriority(_)
            | Self::RequireSkill { .. }
            | Self::RequirePart { .. }
            | Self::Hold { .. }
            | Self::Inhibit(Inhibited::Children)
            | Self::Notify { .. }
            | Self::Webhook { .. }
            | Self::Route { .. } => None,
        }
    }

    /// The same action in its next stage.
    pub(crate) fn with_key<L, E>(
        &self,
        next: impl FnOnce(&K) -> Result<L, E>,
    ) -> Result<Action<L>, E> {
        Ok(match self {
            Self::SetPriority(priority) => Action::SetPriority(*priority),
            Self::RequireSkill { category, level } => {
                Action::RequireSkill { category: *category, level: *level }
            }
            Self::RequirePart { part, count } => {
                Action::RequirePart { part: part.clone(), count: *count }
            }
            Self::GroupBy { key } => Action::GroupBy { key: next(key)? },
            Self::Deduplicate { key, window_minutes } => {
                Action::Deduplicate { key: next(key)?, window_minutes: *window_minutes }
            }
            Self::Hold { minutes, reason } => {
                Action::Hold { minutes: *minutes, reason: reason.clone() }
            }
            Self::Inhibit(Inhibited::Children) => Action::Inhibit(Inhibited::Children),
            Self::Inhibit(Inhibited::Key(key)) => Action::Inhibit(Inhibited::Key(next(key)?)),
            Self::Notify { who } => Action::Notify { who: who.clone() },
            Self::Webhook { name } => Action::Webhook { name: name.clone() },
            Self::Route { policy } => Action::Route { policy: policy.clone() },
        })
    }
}

/// A condition and what it causes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rule {
    /// What outcomes call it by.
    #[n(0)]
    pub name: String,
    /// CEL that is true or false.
    #[n(1)]
    pub when: String,
    /// Whether no later rule acts where this one did.
    #[n(2)]
    pub stop: bool,
    /// Keys are CEL that gives a text.
    #[n(3)]
    pub actions: Vec<Action<String>>,
}

/// The rules of a region, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct RuleSet {
    /// Recorded with whatever they decide.
    #[n(0)]
    pub version: u32,
    #[n(1)]
    pub rules: Vec<Rule>,
}

/// Whether it can be the name of a rule, a test or something that an action points to.
pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(allowed)
}

/// What of a stored rule is out of its range, as a document would not have it.
pub(crate) fn fault(rule: &Rule) -> Option<String> {
    let minutes = |minutes: u32| (1..=MINUTES_MAX).contains(&minutes);
    let fits = |action: &Action<String>| match action {
        Action::SetPriority(priority) => (1..=PRIORITY_MAX).contains(priority),
        Action::RequireSkill { level, .. } => (1..=LEVEL_MAX).contains(level),
        Action::RequirePart { part, count } => *count > 0 && is_part(part),
        Action::GroupBy { .. } | Action::Inhibit(_) => true,
        Action::Deduplicate { window_minutes, .. } => minutes(*window_minutes),
        Action::Hold { minutes: time, reason } => minutes(*time) && is_reason(reason),
        Action::Notify { who: name }
        | Action::Webhook { name }
        | Action::Route { policy: name } => is_name(name),
    };
    if !is_name(&rule.name) {
        return Some(
            "its name has other than letters, digits, - _ . and @; save it anew".to_owned(),
        );
    }
    let action = rule.actions.iter().find(|action| !fits(action))?;
    Some(format!("`{}` is out of its range; save the rules anew", action.kind().name()))
}

/// Whether it can be a part's number: it is read by people and machines, and has no blanks at its ends.
pub(crate) fn is_part(text: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&text.len())
        && text.trim() == text
        && !text.contains(char::is_control)
}

/// Whether it is one line that says something.
pub(crate) fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.len() <= REASON_BYTES_MAX && !text.contains(char::is_control)
}
