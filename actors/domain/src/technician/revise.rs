//! What operators and the authority say of a technician that is registered: what it can do and has, whether its
//! device is heard, until when it may be believed, whether it is offered anything.
//!
//! **Invariants:** a revision keeps the bounds of a registration; what is so already is no event. **Not
//! here:** who notices that a device is silent (`node`).

use std::collections::BTreeMap;

use super::{
    Event, LEVEL_MAX, Phase, SKILLS_MAX, Skill, Technician,
    life::{Revision, Step},
};
use crate::{
    Rejection, RejectionCode, customer::NAME_BYTES_MAX, ticket::RefusalReason, time::Millis,
};

/// Kinds of parts on a van: each is a drawer.
pub const STOCK_MAX: usize = 512;
/// Bytes of a part's number.
pub const PART_BYTES_MAX: usize = 64;

fn invalid<T>(text: &'static str) -> Result<T, Rejection> {
    Rejection::new(RejectionCode::Invalid, text)
}

/// The bounds of skills, wherever they come from.
pub(super) fn check_skills(skills: &[Skill]) -> Result<(), Rejection> {
    let fits = skills.iter().all(|skill| (1..=LEVEL_MAX).contains(&skill.level));
    if skills.len() > SKILLS_MAX || !fits {
        return invalid("at most 256 skills, with levels 1 to 5");
    }
    Ok(())
}

fn check_stock(stock: &BTreeMap<String, u16>) -> Result<(), Rejection> {
    let fits = stock.keys().all(|part| (1..=PART_BYTES_MAX).contains(&part.len()));
    if stock.len() > STOCK_MAX || !fits {
        return invalid("at most 512 kinds of parts, with numbers of 1 to 64 bytes");
    }
    Ok(())
}

impl Technician {
    /// What is really otherwise.
    pub(super) fn revise(&self, revision: &Revision) -> Result<Vec<Event>, Rejection> {
        let Revision { skills, home, capacity, stock, name } = revision;
        skills.as_deref().map_or(Ok(()), check_skills)?;
        stock.as_ref().map_or(Ok(()), check_stock)?;
        if home.is_some_and(|home| !home.is_on_earth()) {
            return invalid("the home is not on earth");
        }
        if *capacity == Some(0) {
            return invalid("the capacity is at least 1");
        }
        let held = self.holdings.len();
        if capacity.is_some_and(|capacity| usize::from(capacity) < held) {
            let text = format!(
                "the technician holds {held} tickets: reassign some, or wait until they are done"
            );
            return Rejection::new(RejectionCode::NotNow, text);
        }
        if name.as_ref().is_some_and(|name| !(1..=NAME_BYTES_MAX).contains(&name.len())) {
            return invalid("a name has 1 to 256 bytes");
        }
        let has = self.stock.as_ref();
        let revision = Revision {
            skills: skills.clone().filter(|skills| *skills != self.skills),
            home: home.filter(|home| *home != self.home),
            capacity: capacity.filter(|capacity| *capacity != self.capacity),
            stock: stock.clone().filter(|stock| has.map_or(!stock.is_empty(), |has| has != stock)),
            name: name.clone().filter(|name| *name != self.name),
        };
        let is_news = revision != Revision::default();
        Ok(is_news.then_some(Event::from(Step::Revised(revision))).into_iter().collect())
    }

    pub(super) fn revised(&mut self, revision: &Revision) {
        let Revision { skills, home, capacity, stock, name } = revision;
        if let Some(skills) = skills {
            self.skills.clone_from(skills);
        }
        if let Some(name) = name {
            self.name.clone_from(name);
        }
        if let Some(stock) = stock {
            self.stock = Some(stock.clone());
        }
        self.home = home.unwrap_or(self.home);
        self.capacity = capacity.unwrap_or(self.capacity);
    }

    /// What it has accepted it keeps: only a person knows whether somebody else is to go there. Offers that it has
    /// not answered go on at once.
    pub(super) fn suspend(&self, by: &str, now: Millis) -> Vec<Event> {
        if self.suspended {
            return vec![];
        }
        let open = self.holdings.iter().filter(|(_, held)| held.phase == Phase::Reserved);
        let given_up = open.flat_map(|(ticket, held)| {
            let (ticket, offer, reason) = (*ticket, held.offer, RefusalReason::OffShift);
            [held.released(ticket, now), Event::Refused { ticket, offer, reason }]
        });
        [Event::from(Step::Suspended { by: by.to_owned() })].into_iter().chain(given_up).collect()
    }

    pub(super) fn resume(&self, by: &str) -> Vec<Event> {
        let by = by.to_owned();
        self.suspended.then(|| Step::Resumed { by }.into()).into_iter().collect()
    }

    /// Whoever is off shift owes nobody an answer.
    pub(super) fn not_heard(&self, since: Millis) -> Vec<Event> {
        let is_missed = self.on_shift && self.silent_since.is_none();
        is_missed.then_some(Event::from(Step::WentSilent { since })).into_iter().collect()
    }

    pub(super) fn heard(&self) -> Vec<Event> {
        self.silent_since.map(|_| Step::HeardAgain.into()).into_iter().collect()
    }

    pub(super) fn certified(&self, until: u64) -> Vec<Event> {
        let is_news = self.certified_until != Some(until);
        let until = Some(until);
        is_news.then_some(Event::from(Step::Certified { until })).into_iter().collect()
    }

    /// Its device has a certificate, perhaps another than the one that was spoken of.
    pub(super) fn certified_anew(&self) -> Option<Event> {
        self.certified_until.map(|_| Step::Certified { until: None }.into())
    }
}
