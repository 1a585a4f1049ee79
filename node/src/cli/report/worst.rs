//! The tickets that used the most of their target, each explained: its timeline, who was asked, and why
//! nobody else was.
//!
//! **Invariants:** what is told is bounded per ticket, and says how much was left out; terms of a cost are
//! told as the service names them, those of later releases too. **Not here:** how it looks (`page`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{
    clock::LogClock,
    history::{History, Span},
    target::Target,
};
use crate::{
    cli::field::week::{Minute, civil},
    story::{CandidateStory, ChoiceStory, TicketStory},
};

/// How many tickets are explained: what somebody reads in an hour.
pub(crate) const WORST: usize = 10;
/// Events of a ticket: more is a ticket that went round in circles, which its first ones show.
const EVENTS_MAX: usize = 60;
/// Choices of a ticket, for the same reason.
const CHOICES_MAX: usize = 8;
/// Technicians that are named for one reason of exclusion.
const NAMED_MAX: usize = 5;

/// The worst so far, by the share of the target that was used.
#[derive(Debug, Default)]
pub(crate) struct Ranking(BTreeSet<(Minute, usize)>);

impl Ranking {
    /// A ticket by its incident's position in the log.
    pub(crate) fn add(&mut self, number: usize, history: &History, end: Minute) {
        if history.is_cancelled {
            return;
        }
        let target = Target::of(history.priority);
        let used = target.used(history.opened, history.completed.unwrap_or(end));
        self.0.insert((used * 1000 / target.minutes, number));
        if self.0.len() > WORST {
            self.0.pop_first();
        }
    }

    /// The worst first, with the share of the target that each used, in a thousand.
    pub(crate) fn worst_first(self) -> impl Iterator<Item = (Minute, usize)> {
        self.0.into_iter().rev()
    }
}

/// A ticket explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Worst {
    pub(crate) incident: String,
    pub(crate) ticket: String,
    pub(crate) priority: u8,
    pub(crate) state: String,
    pub(crate) opened: String,
    pub(crate) target: Target,
    pub(crate) used_permille: Minute,
    /// From the opening to the end, night and day.
    pub(crate) lasted_min: Minute,
    pub(crate) reassigned: u32,
    pub(crate) spans: Vec<Stretch>,
    pub(crate) events: Vec<Happening>,
    pub(crate) events_left_out: usize,
    pub(crate) choices: Vec<Told>,
    pub(crate) choices_left_out: usize,
}

/// A span as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Stretch {
    pub(crate) waited_for: &'static str,
    pub(crate) technician: Option<String>,
    pub(crate) minutes: Minute,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Happening {
    pub(crate) at: String,
    pub(crate) event: String,
    pub(crate) detail: String,
    pub(crate) technician: Option<String>,
}

/// A choice of the desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    pub(crate) at: String,
    pub(crate) rule_version: u32,
    pub(crate) chosen: Option<String>,
    /// Best first.
    pub(crate) candidates: Vec<Rated>,
    pub(crate) excluded: Vec<Excluded>,
    pub(crate) excluded_count: u32,
}

/// A candidate with the terms of its cost in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rated {
    pub(crate) technician: String,
    pub(crate) cost_s: u64,
    pub(crate) terms_s: BTreeMap<String, u64>,
}

/// Technicians who were out of the question for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Excluded {
    pub(crate) reason: String,
    pub(crate) count: usize,
    /// Some of them.
    pub(crate) technicians: Vec<String>,
}

/// Names of technicians by their identifiers.
pub(crate) type Names = BTreeMap<String, String>;

pub(crate) fn name(names: &Names, id: &str) -> String {
    names.get(id).cloned().unwrap_or_else(|| id.to_owned())
}

/// Explains a ticket.
pub(crate) fn explain(
    (incident, used_permille): (&str, Minute),
    (story, choices): (&TicketStory, &[ChoiceStory]),
    history: &History,
    clock: &LogClock,
    names: &Names,
) -> Worst {
    let events = story.events.iter().take(EVENTS_MAX).map(|event| Happening {
        at: civil(clock.minute(event.at_ms)),
        event: event.event.clone(),
        detail: event.detail.clone(),
        technician: event.technician.as_ref().map(|id| name(names, id)),
    });
    let ended = history.spans.last().map_or(history.opened, |span| span.to);
    let stretch = |Span { wait, technician, from, to }: &Span| Stretch {
        waited_for: wait.name(),
        technician: technician.clone(),
        minutes: to - from,
    };
    Worst {
        incident: incident.to_owned(),
        ticket: story.id.clone(),
        priority: history.priority,
        state: story.state.clone(),
        opened: civil(history.opened),
        target: Target::of(history.priority),
        used_permille,
        lasted_min: ended - history.opened,
        reassigned: history.reassigned,
        spans: history.spans.iter().map(stretch).collect(),
        events: events.collect(),
        events_left_out: story.events.len().saturating_sub(EVENTS_MAX),
        choices: choices.iter().take(CHOICES_MAX).map(|one| told(one, clock, names)).collect(),
        choices_left_out: choices.len().saturating_sub(CHOICES_MAX),
    }
}

fn told(choice: &ChoiceStory, clock: &LogClock, names: &Names) -> Told {
    let mut excluded: BTreeMap<&str, Excluded> = BTreeMap::new();
    for one in &choice.excluded {
        let reason = excluded.entry(&one.reason).or_default();
        reason.count += 1;
        if reason.technicians.len() < NAMED_MAX {
            reason.technicians.push(name(names, &one.technician));
        }
    }
    let excluded = excluded.into_iter();
    Told {
        at: civil(clock.minute(choice.at_ms)),
        rule_version: choice.rule_version,
        chosen: choice.chosen.as_ref().map(|id| name(names, id)),
        candidates: choice.candidates.iter().map(|one| rated(one, names)).collect(),
        excluded: excluded
            .map(|(reason, one)| Excluded { reason: reason.to_owned(), ..one })
            .collect(),
        excluded_count: choice.excluded_count,
    }
}

fn rated(candidate: &CandidateStory, names: &Names) -> Rated {
    // By name, so that a term that a later release adds is told too.
    let terms = serde_json::to_value(candidate).unwrap_or_default();
    let terms = terms.as_object().into_iter().flatten();
    let terms_s = terms
        .filter(|(name, _)| *name != "cost_s")
        .filter_map(|(name, value)| Some((name.strip_suffix("_s")?.to_owned(), value.as_u64()?)));
    Rated {
        technician: name(names, &candidate.technician),
        cost_s: Value::from(candidate.cost_s).as_u64().unwrap_or(u64::MAX),
        terms_s: terms_s.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::ExclusionStory;

    #[test]
    fn the_worst_are_those_that_used_most_of_their_target() {
        let mut ranking = Ranking::default();
        for number in 0..30 {
            let completed = Some(60 * number as u64);
            ranking.add(number, &History { priority: 1, completed, ..History::default() }, 0);
        }
        let cancelled = History { priority: 1, is_cancelled: true, ..History::default() };
        ranking.add(99, &cancelled, 1_000_000);
        let worst: Vec<_> = ranking.worst_first().collect();
        assert_eq!(worst.len(), WORST);
        assert_eq!((worst[0], worst[9].1), ((29 * 250, 29), 20));
    }

    #[test]
    fn exclusions_are_counted_by_reason_and_terms_told_by_name() {
        let excluded = (0..9).map(|number| ExclusionStory {
            technician: format!("tec_{number}"),
            reason: if number < 7 { "lacks the skill" } else { "asked already" }.into(),
        });
        let candidate = CandidateStory {
            technician: "tec_a".into(),
            cost_s: 2_100,
            distance_m: 4_200,
            travel_s: 300,
            load_s: 1_800,
            over_qualification_s: 0,
            fairness_s: 0,
            preferred_s: 0,
            lateness_s: None,
        };
        let choice = ChoiceStory {
            at_ms: 0,
            rule_version: 3,
            policy: None,
            chosen: Some("tec_a".into()),
            candidates: vec![candidate],
            excluded: excluded.collect(),
            excluded_count: 9,
            how: None,
            by: None,
        };
        let names = Names::from([("tec_a".to_owned(), "assignee 17".to_owned())]);
        let told = told(&choice, &LogClock::default(), &names);
        assert_eq!(told.chosen.as_deref(), Some("assignee 17"));
        let terms: Vec<(&str, u64)> =
            told.candidates[0].terms_s.iter().map(|(name, s)| (name.as_str(), *s)).collect();
        let expected = [
            ("fairness", 0),
            ("load", 1_800),
            ("over_qualification", 0),
            ("preferred", 0),
            ("travel", 300),
        ];
        assert_eq!(terms, expected);
        let counts: Vec<usize> = told.excluded.iter().map(|one| one.count).collect();
        assert_eq!((counts, told.excluded[1].technicians.len()), (vec![2, 7], NAMED_MAX));
    }
}
