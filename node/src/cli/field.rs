//! The field as a reported replay models it: technicians with shifts, trips and work, as pure steps.
//!
//! The log of a service desk says when a request came and when it was resolved, and nothing of how
//! technicians spent their days. This model fills that in with draws of a fixed seed, so that two
//! replays of the same log meet the same people. Its figures are assumptions; [`Parameters`] has them
//! all, and the report prints them.
//!
//! **Invariants:** a technician does one thing at a time, in the order accept, en route, on site, end;
//! the same calls lead to the same words; what was planned for a ticket that went to somebody else
//! is not said of the next one. **Not here:** who is chosen (the service), sending
//! (`field/drive`), what came of it (`report`).

pub(crate) mod drive;
pub(crate) mod person;
pub(crate) mod week;

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use fieldmesh_domain::{
    EntityId,
    message::{Location, OfferId},
};
use serde::Serialize;

use self::{person::Person, week::Minute};

/// What a reported replay assumes of technicians, as the command line has it.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct Parameters {
    /// With --report: offers in a hundred that a technician declines.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) decline_percent: u32,
    /// With --report: visits in a hundred that end undone, where the log does not show that the
    /// technician ever handled this subcategory.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) misfit_percent: u32,
    /// With --report: minutes of work on site, on average.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(20..=480))]
    pub(crate) work_minutes: u32,
}

/// A ticket as its technician knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job {
    /// Which incident of the log it is; what is drawn depends on it, not on identifiers of one run.
    pub(crate) number: usize,
    pub(crate) ticket: EntityId,
    pub(crate) offer: OfferId,
    /// The alert that offered it.
    pub(crate) alert: [u8; 16],
    pub(crate) priority: u8,
    pub(crate) place: Location,
    pub(crate) subject: Subject,
}

/// Category and subcategory.
pub(crate) type Subject = (u16, u16);

/// What a technician's device says of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Accept { eta_min: u16 },
    Decline,
    EnRoute,
    OnSite,
    Completed,
    CannotComplete,
}

/// Somebody's word about a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Say {
    /// Position among the technicians.
    pub(crate) who: usize,
    pub(crate) job: Job,
    pub(crate) word: Word,
}

/// What comes next for somebody.
#[derive(Debug, Clone, Copy)]
enum Due {
    Answer(Job),
    /// Looks whether there is something to drive to.
    Begin,
    Arrive(EntityId),
    End(EntityId),
}

/// All technicians with what is ahead of them.
pub(crate) struct Field {
    parameters: Parameters,
    people: Vec<Person>,
    /// By minute, then in the order in which it was planned.
    agenda: BTreeMap<(Minute, u64), (usize, Due)>,
    planned: u64,
}

impl Field {
    pub(crate) fn new(
        parameters: Parameters,
        people: impl Iterator<Item = (Location, BTreeSet<Subject>)>,
    ) -> Self {
        let people = people.enumerate().map(|(who, (home, knows))| Person::new(who, home, knows));
        Self { parameters, people: people.collect(), agenda: BTreeMap::new(), planned: 0 }
    }

    /// When somebody says something next; never where nobody has anything to say.
    pub(crate) fn next(&self) -> Option<Minute> {
        self.agenda.first_key_value().map(|((minute, _), _)| *minute)
    }

    fn plan(&mut self, at: Minute, who: usize, due: Due) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), (who, due));
    }

    /// Somebody's device shows an offer.
    pub(crate) fn alerted(&mut self, now: Minute, who: usize, job: Job) {
        let Some(person) = self.people.get(who) else { return };
        let answers = person.free_from(now, job.priority) + person.answer_minutes(&job);
        self.plan(answers, who, Due::Answer(job));
    }

    /// The service says that a ticket is somebody else's.
    pub(crate) fn lost(&mut self, now: Minute, who: usize, ticket: EntityId) {
        if let Some(person) = self.people.get_mut(who)
            && person.forget(ticket)
        {
            self.plan(now, who, Due::Begin);
        }
    }

    /// All that is said up to now.
    pub(crate) fn say(&mut self, now: Minute) -> Vec<Say> {
        let mut said = Vec::new();
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (who, due) = entry.remove();
            said.extend(self.happens(now, who, due).map(|(job, word)| Say { who, job, word }));
        }
        said
    }

    fn happens(&mut self, now: Minute, who: usize, due: Due) -> Option<(Job, Word)> {
        let parameters = self.parameters;
        let person = self.people.get_mut(who)?;
        match due {
            Due::Answer(job) if person.declines(&job, &parameters) => Some((job, Word::Decline)),
            Due::Answer(job) => {
                let eta_min = person.accept(job, now, &parameters);
                // Behind the acceptance, which the service must have first.
                let begins = person.free_from(now, job.priority) + 1;
                self.plan(begins, who, Due::Begin);
                Some((job, Word::Accept { eta_min }))
            }
            Due::Begin => {
                let (job, from) = person.next_job(now)?;
                if from > now {
                    self.plan(from, who, Due::Begin);
                    return None;
                }
                let arrives = now + person.depart(job, now);
                self.plan(arrives, who, Due::Arrive(job.ticket));
                Some((job, Word::EnRoute))
            }
            Due::Arrive(ticket) => {
                let job = person.arrive(ticket)?;
                let ends = now + person.work_minutes(&job, &parameters);
                self.plan(ends, who, Due::End(ticket));
                Some((job, Word::OnSite))
            }
            Due::End(ticket) => {
                let job = person.finish(ticket, now)?;
                let is_undone = person.is_undone(&job, &parameters);
                self.plan(now + 1, who, Due::Begin);
                Some((job, if is_undone { Word::CannotComplete } else { Word::Completed }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
