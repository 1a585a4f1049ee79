//! An integration: a program of somebody else that reports alarms for one customer, and how they are read.
//!
//! It proves itself with a key that an operator was shown once; only the key's hash is here, and the identifier
//! follows from it. What it reports becomes a request of its customer by the mapping that the operator gave.
//!
//! **Invariants:** a key that is revoked opens nothing again; what is reported is passed on once for each time
//! that it is reported. **Not here:** formats of senders (`node`), one ticket for each case (`customer`).

use minicbor::{Decode, Encode};

use crate::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, IndexRow, Region,
    Rejection, RejectionCode, TimerName,
    customer::{self, Spokesman},
    message::{Location, TEXT_BYTES_MAX},
    time::Millis,
};

/// Severities and labels that a mapping may name: more is a rule's work.
pub const MAPPED_MAX: usize = 64;
/// Bytes of a severity, and of a label or its value.
pub const WORD_BYTES_MAX: usize = 128;
/// Labels of a report that are looked at.
pub const LABELS_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 64;

/// In which form it reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// The webhook receiver of Prometheus's Alertmanager.
    #[n(0)]
    Alertmanager,
    /// PagerDuty's Events API v2.
    #[n(1)]
    PagerDuty,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Alertmanager, Self::PagerDuty];

    pub fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::PagerDuty => "pagerduty",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a severity means; 1 is the highest, 3 the lowest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Severity {
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub impact: u8,
    #[n(2)]
    pub urgency: u8,
}

/// What a label with a value means.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Label {
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub value: String,
    #[n(2)]
    pub category: u16,
    #[n(3)]
    pub subcategory: u16,
}

/// How reports are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mapping {
    /// Where no label says otherwise.
    #[n(0)]
    pub category: u16,
    #[n(1)]
    pub subcategory: u16,
    /// The customer's unless given.
    #[n(2)]
    pub location: Option<Location>,
    /// The worst first: of several that are reported the first counts. One that is not named here is of the
    /// lowest impact and urgency.
    #[n(3)]
    pub severities: Vec<Severity>,
    /// The first that fits counts.
    #[n(4)]
    pub labels: Vec<Label>,
}

impl Mapping {
    fn check(&self) -> Result<(), Rejection> {
        let Self { location, severities, labels, .. } = self;
        if severities.len() > MAPPED_MAX || labels.len() > MAPPED_MAX {
            return Rejection::new(RejectionCode::Limit, "a mapping has at most 64 of each");
        }
        let is_word = |word: &String| (1..=WORD_BYTES_MAX).contains(&word.len());
        let is_named = severities.iter().all(|severity| is_word(&severity.name))
            && labels.iter().all(|label| is_word(&label.name) && is_word(&label.value));
        if !is_named {
            let text = "a severity, a label and its value have 1 to 128 bytes";
            return Rejection::new(RejectionCode::Invalid, text);
        }
        let is_level = |level: u8| (1..=3).contains(&level);
        if !severities.iter().all(|one| is_level(one.impact) && is_level(one.urgency)) {
            return Rejection::new(RejectionCode::Invalid, "impact and urgency are 1 to 3");
        }
        if location.is_some_and(|location| !location.is_on_earth()) {
            return Rejection::new(RejectionCode::Invalid, "the location is not on earth");
        }
        Ok(())
    }

    fn read(&self, facts: &Facts) -> Reported {
        let named = |severity: &&Severity| facts.severities.contains(&severity.name);
        let severity = self.severities.iter().find(named);
        let (impact, urgency) = severity.map_or((3, 3), |found| (found.impact, found.urgency));
        let has = |label: &&Label| {
            facts.labels.iter().any(|(name, value)| *name == label.name && *value == label.value)
        };
        let label = self.labels.iter().find(has);
        let (category, subcategory) = label
            .map_or((self.category, self.subcategory), |found| (found.category, found.subcategory));
        let mut end = facts.text.len().min(TEXT_BYTES_MAX);
        while !facts.text.is_char_boundary(end) {
            end -= 1;
        }
        let text = facts.text[..end].to_owned();
        Reported { category, subcategory, impact, urgency, location: self.location, text }
    }
}

/// What a sender says of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    /// Of several alarms under one name.
    #[n(0)]
    pub severities: Vec<String>,
    #[n(1)]
    pub labels: Vec<(String, String)>,
    #[n(2)]
    pub text: String,
}

/// What is asked for a customer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reported {
    #[n(0)]
    pub category: u16,
    #[n(1)]
    pub subcategory: u16,
    #[n(2)]
    pub impact: u8,
    #[n(3)]
    pub urgency: u8,
    #[n(4)]
    pub location: Option<Location>,
    #[n(5)]
    pub text: String,
}

/// Who an integration is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Profile {
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub kind: Kind,
    #[n(2)]
    pub customer: EntityId,
    #[n(3)]
    pub mapping: Mapping,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Integration {
    #[n(0)]
    pub profile: Option<Profile>,
    /// SHA-256 of its key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: [u8; 32],
    #[n(2)]
    pub created_at: Millis,
    #[n(3)]
    pub is_revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Register {
        #[n(0)]
        profile: Profile,
        #[cbor(n(1), with = "minicbor::bytes")]
        key: [u8; 32],
        /// The operator.
        #[n(2)]
        by: String,
    },
    #[n(1)]
    Revoke {
        #[n(0)]
        by: String,
    },
    /// There is an alarm.
    #[n(2)]
    Trigger {
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        #[n(1)]
        kind: Kind,
        /// SHA-256 of the name that the sender has for it.
        #[cbor(n(2), with = "minicbor::bytes")]
        case: [u8; 32],
        #[n(3)]
        facts: Facts,
    },
    /// It is over.
    #[n(3)]
    Resolve {
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        #[n(1)]
        kind: Kind,
        #[cbor(n(2), with = "minicbor::bytes")]
        case: [u8; 32],
    },
    #[n(4)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
    /// A person knows of it.
    #[n(5)]
    Acknowledge {
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        #[n(1)]
        kind: Kind,
        #[cbor(n(2), with = "minicbor::bytes")]
        case: [u8; 32],
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Registered {
        #[n(0)]
        profile: Profile,
        #[cbor(n(1), with = "minicbor::bytes")]
        key: [u8; 32],
        #[n(2)]
        by: String,
        #[n(3)]
        at: Millis,
    },
    #[n(1)]
    Revoked {
        #[n(0)]
        by: String,
        #[n(1)]
        at: Millis,
    },
    #[n(2)]
    Triggered {
        #[cbor(n(0), with = "minicbor::bytes")]
        case: [u8; 32],
        #[n(1)]
        reported: Reported,
        #[n(2)]
        at: Millis,
    },
    #[n(3)]
    Resolved {
        #[cbor(n(0), with = "minicbor::bytes")]
        case: [u8; 32],
        #[n(1)]
        at: Millis,
    },
    #[n(4)]
    Acknowledged {
        #[cbor(n(0), with = "minicbor::bytes")]
        case: [u8; 32],
        #[n(1)]
        at: Millis,
    },
}

/// Takes as long for any two.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

impl Integration {
    /// The one that a key is of, in a region.
    pub fn id_of(region: Region, key: &[u8; 32]) -> EntityId {
        let mut random = [0; 10];
        // Not the beginning: an identifier is in lists, and says nothing of what the key is checked by.
        random.copy_from_slice(&key[22..]);
        EntityId::new(EntityKind::Integration, region, random)
    }

    fn register(
        &self,
        profile: &Profile,
        key: [u8; 32],
        by: &str,
        now: Millis,
    ) -> Result<Vec<Event>, Rejection> {
        if let Some(known) = &self.profile {
            let is_same = known == profile && is_same(&self.key, &key);
            return if is_same {
                Ok(vec![])
            } else {
                Rejection::new(RejectionCode::Exists, "another integration has this key")
            };
        }
        if profile.name.is_empty() || profile.name.len() > NAME_BYTES_MAX {
            let text = "an integration's name has 1 to 64 bytes";
            return Rejection::new(RejectionCode::Invalid, text);
        }
        if profile.customer.kind() != EntityKind::Customer {
            let text = "an integration reports for a customer";
            return Rejection::new(RejectionCode::Invalid, text);
        }
        profile.mapping.check()?;
        Ok(vec![Event::Registered { profile: profile.clone(), key, by: by.to_owned(), at: now }])
    }

    /// Whom it reports for. A wrong key, another form and a key that was revoked look the same.
    fn admit(&self, key: &[u8; 32], kind: Kind) -> Result<&Profile, Rejection> {
        let known = self
            .profile
            .as_ref()
            .filter(|profile| is_same(&self.key, key) && !self.is_revoked && profile.kind == kind);
        match known {
            Some(profile) => Ok(profile),
            None => Rejection::new(RejectionCode::Denied, "the key is not known"),
        }
    }
}

impl Aggregate for Integration {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Integration;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Register { profile, key, by } => self.register(profile, *key, by, ctx.now),
            Command::Revoke { .. } if self.profile.is_none() => {
                Rejection::new(RejectionCode::Unknown, "there is no such integration")
            }
            Command::Revoke { .. } if self.is_revoked => Ok(vec![]),
            Command::Revoke { by } => Ok(vec![Event::Revoked { by: by.clone(), at: ctx.now }]),
            Command::Trigger { key, kind, case, facts } => {
                let reported = self.admit(key, *kind)?.mapping.read(facts);
                Ok(vec![Event::Triggered { case: *case, reported, at: ctx.now }])
            }
            Command::Resolve { key, kind, case } => {
                self.admit(key, *kind)?;
                Ok(vec![Event::Resolved { case: *case, at: ctx.now }])
            }
            Command::Acknowledge { key, kind, case } => {
                self.admit(key, *kind)?;
                Ok(vec![Event::Acknowledged { case: *case, at: ctx.now }])
            }
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Registered { profile, key, at, .. } => {
                self.profile = Some(profile.clone());
                self.key = *key;
                self.created_at = *at;
            }
            Event::Revoked { .. } => self.is_revoked = true,
            Event::Triggered { .. } | Event::Resolved { .. } | Event::Acknowledged { .. } => {}
        }
    }

    fn react(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        let Some(Profile { name, kind, customer, .. }) = &self.profile else { return vec![] };
        let acknowledges = matches!(event, Event::Acknowledged { .. }).then_some(true);
        let by = Spokesman { id, name: name.clone(), acknowledges };
        let tell =
            |command| vec![Effect::Tell { to: *customer, command: AnyCommand::Customer(command) }];
        match event {
            Event::Registered { .. } | Event::Revoked { .. } => {
                vec![Effect::Index(IndexRow::Integration {
                    id,
                    name: name.clone(),
                    kind: *kind,
                    customer: *customer,
                    created_at: self.created_at,
                    is_revoked: self.is_revoked,
                })]
            }
            Event::Triggered { case, reported, .. } => {
                let (case, reported) = (of(id, *case), reported.clone());
                tell(customer::Command::Report { by, case, reported })
            }
            Event::Resolved { case, .. } | Event::Acknowledged { case, .. } => {
                tell(customer::Command::Resolve { by, case: of(id, *case) })
            }
        }
    }
}

/// A case as the customer knows it: two integrations may have the same name for theirs.
fn of(id: EntityId, case: [u8; 32]) -> [u8; 32] {
    let mut own = case;
    own.iter_mut().zip(id.to_bytes()).for_each(|(byte, id)| *byte ^= id);
    own
}
