//! What the desk knows of a technician: what it was told of it, and what it gave it.
//!
//! **Invariants:** the load is the number of tickets that the desk knows it to have; their places are in the order in
//! which they were given. **Not here:** who is chosen (`selection`), how much of it a technician grants (`technician`).

use minicbor::{Decode, Encode};

use crate::{
    EntityId,
    message::Location,
    selection::{Circumstances, Fit},
    technician::Skill,
    time::Millis,
};

/// The span in which a technician's offers are counted.
const PACE_S: u64 = 60;
/// Offers of a minute that are counted: one a second is more than anybody reads.
pub const PACE_MAX: u16 = 60;

/// What the desk knows of a technician.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Summary {
    /// On shift, not suspended, and with a device.
    #[n(0)]
    pub on_shift: bool,
    #[n(1)]
    pub skills: Vec<Skill>,
    #[n(2)]
    pub home: Location,
    #[n(3)]
    pub capacity: u16,
    /// Where more is known of it.
    #[n(4)]
    pub circumstances: Option<Circumstances>,
}

/// A technician with what the desk gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Known {
    #[n(0)]
    pub summary: Summary,
    #[n(1)]
    pub load: u16,
    /// Tickets given so far, for fairness; what is long behind others is made up to ten of them.
    #[n(2)]
    pub assigned: u32,
    /// When it was chosen lately, oldest first; none while nobody counts.
    #[n(6)]
    pub chosen_at: Option<Vec<Millis>>,
    /// Where the tickets are that it has, in the order in which they were given; none where it has none.
    #[n(7)]
    pub sites: Option<Vec<(EntityId, Location)>>,
}

impl Known {
    /// It was chosen as often as it may be within a minute.
    fn is_paced(&self, pace: u16, now: Millis) -> bool {
        let lately = |at: &&Millis| at.after_s(PACE_S) > now;
        let count = self.chosen_at.iter().flatten().filter(lately).count();
        count >= usize::from(pace)
    }

    /// As it is when a ticket that it has is with nobody.
    pub(super) fn without(&self, ticket: EntityId) -> Self {
        let mut without = self.clone();
        without.gives_up(ticket);
        without
    }

    pub(super) fn gives_up(&mut self, ticket: EntityId) {
        self.load = self.load.saturating_sub(1);
        self.leaves(ticket);
    }

    fn leaves(&mut self, ticket: EntityId) {
        if let Some(sites) = &mut self.sites {
            sites.retain(|(known, _)| *known != ticket);
        }
        if self.sites.as_ref().is_some_and(Vec::is_empty) {
            self.sites = None;
        }
    }

    pub(super) fn goes_to(&mut self, ticket: EntityId, place: Location) {
        self.leaves(ticket);
        self.sites.get_or_insert_default().push((ticket, place));
    }

    /// Where a ticket is that it has, if somebody said.
    pub(super) fn place_of(&self, ticket: EntityId) -> Option<Location> {
        let mut sites = self.sites.iter().flatten();
        sites.find(|(known, _)| *known == ticket).map(|(_, place)| *place)
    }

    /// It is elsewhere; its turn is the same.
    pub(super) fn is_elsewhere(&mut self, ticket: EntityId, place: Location) {
        for (known, site) in self.sites.iter_mut().flatten() {
            if *known == ticket {
                *site = place;
            }
        }
    }

    pub(super) fn count_chosen(&mut self, at: Millis) {
        let chosen_at = self.chosen_at.get_or_insert_default();
        chosen_at.retain(|before| before.after_s(PACE_S) > at);
        if chosen_at.len() >= usize::from(PACE_MAX) {
            chosen_at.remove(0);
        }
        chosen_at.push(at);
    }

    /// With so many offers in a minute at most, where there is such a bound.
    pub(super) fn fit(&self, id: EntityId, pace: Option<u16>, now: Millis) -> Fit<'_> {
        let last = self.sites.as_ref().and_then(|sites| sites.last());
        let Summary { on_shift, skills, home, capacity, circumstances } = &self.summary;
        Fit {
            id,
            on_shift: *on_shift,
            skills,
            home: *home,
            from: last.map(|(_, place)| *place),
            capacity: *capacity,
            load: self.load,
            assigned: self.assigned,
            circumstances: circumstances.as_ref(),
            is_paced: pace.is_some_and(|pace| self.is_paced(pace, now)),
        }
    }

    /// The same as if a ticket that it has were with nobody.
    pub(super) fn fit_without(
        &self,
        ticket: EntityId,
        id: EntityId,
        pace: Option<u16>,
        now: Millis,
    ) -> Fit<'_> {
        let mut others = self.sites.iter().flatten().rev().filter(|(known, _)| *known != ticket);
        let fit = self.fit(id, pace, now);
        Fit {
            load: fit.load.saturating_sub(1),
            from: others.next().map(|(_, place)| *place),
            ..fit
        }
    }
}
