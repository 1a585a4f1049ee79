//! One technician of the model: a shift, a place, a list of accepted tickets, and what is drawn for each.
//!
//! **Invariants:** a draw depends on the person, the incident and the offer, and on nothing that differs
//! between two runs; what is begun is finished. **Not here:** when it happens (`field`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{EntityId, message::Location, selection::distance_m};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Job, Parameters, Subject,
    week::{HOUR, Minute, on_shift_from},
};

/// Seed of all draws: fixed, so that runs can be compared.
const SEED: u64 = 7_272_716;
/// Lowest priority that is answered and driven to at any hour; others wait for the shift.
pub(crate) const ON_CALL_PRIORITY: u8 = 2;
/// Minutes until a technician at work answers an offer: none is shorter, none longer.
pub(crate) const ANSWER_MINUTES: std::ops::RangeInclusive<Minute> = 1..=10;
/// Metres a minute on the road, door to door: 50 km/h, the speed that the desk reckons with.
pub(crate) const METRES_PER_MINUTE: u32 = 840;
/// No trip is shorter: the van has to be parked.
pub(crate) const TRIP_MINUTES_MIN: Minute = 5;
/// No work is shorter, and none longer than a shift.
pub(crate) const WORK_MINUTES_MIN: Minute = 15;
pub(crate) const WORK_MINUTES_MAX: Minute = 8 * HOUR;
/// Whoever had nothing to do for so long is at home again.
pub(crate) const HOME_AFTER: Minute = 6 * HOUR;
/// Shifts begin at one of these.
pub(crate) const SHIFT_BEGINS: [Minute; 3] = [7 * HOUR, 8 * HOUR, 9 * HOUR];

/// What is drawn; each has chances of its own.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Answer,
    Decline,
    Work,
    Undone,
}

/// What a technician does with the ticket that it has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    EnRoute,
    OnSite,
}

pub(super) struct Person {
    who: usize,
    home: Location,
    at: Location,
    shift_begins: Minute,
    knows: BTreeSet<Subject>,
    /// Accepted, by priority and then in the order of acceptance; with when.
    list: BTreeMap<(u8, u64), (Job, Minute)>,
    accepted: u64,
    hand: Option<(Job, Doing)>,
    idle_since: Minute,
}

impl Person {
    pub(super) fn new(who: usize, home: Location, knows: BTreeSet<Subject>) -> Self {
        Self {
            who,
            home,
            at: home,
            shift_begins: SHIFT_BEGINS[who % SHIFT_BEGINS.len()],
            knows,
            list: BTreeMap::new(),
            accepted: 0,
            hand: None,
            idle_since: 0,
        }
    }

    fn dice(&self, job: &Job, draw: Draw) -> StdRng {
        let parts = [self.who as u64, job.number as u64, u64::from(job.offer.epoch), draw as u64];
        let mix = |seed: u64, part: u64| {
            (seed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        StdRng::seed_from_u64(parts.into_iter().fold(SEED, mix))
    }

    fn happens(&self, job: &Job, draw: Draw, percent: u32) -> bool {
        self.dice(job, draw).random_range(0..100) < percent
    }

    /// The first minute from now at which it attends to a ticket of this priority.
    pub(super) fn free_from(&self, now: Minute, priority: u8) -> Minute {
        if priority <= ON_CALL_PRIORITY { now } else { on_shift_from(now, self.shift_begins) }
    }

    pub(super) fn answer_minutes(&self, job: &Job) -> Minute {
        self.dice(job, Draw::Answer).random_range(ANSWER_MINUTES)
    }

    pub(super) fn declines(&self, job: &Job, parameters: &Parameters) -> bool {
        self.happens(job, Draw::Decline, parameters.decline_percent)
    }

    /// Whether the visit ends undone: only where the log never showed this technician at such work.
    pub(super) fn is_undone(&self, job: &Job, parameters: &Parameters) -> bool {
        !self.knows.contains(&job.subject)
            && self.happens(job, Draw::Undone, parameters.misfit_percent)
    }

    /// At least the shortest, and as much again as is drawn from an exponential distribution.
    pub(super) fn work_minutes(&self, job: &Job, parameters: &Parameters) -> Minute {
        let spread = Minute::from(parameters.work_minutes).saturating_sub(WORK_MINUTES_MIN);
        let chance: f64 = self.dice(job, Draw::Work).random_range(f64::EPSILON..1.0);
        let more = (-chance.ln() * spread as f64) as Minute;
        (WORK_MINUTES_MIN + more).min(WORK_MINUTES_MAX)
    }

    /// Takes a ticket on its list; the minutes that it tells the customer.
    pub(super) fn accept(&mut self, job: Job, now: Minute, parameters: &Parameters) -> u16 {
        let before = self.list.len() + usize::from(self.hand.is_some());
        let waits = self.free_from(now, job.priority) - now;
        let works = before as Minute * Minute::from(parameters.work_minutes);
        let eta = waits + works + trip_minutes(self.home, job.place);
        self.accepted += 1;
        self.list.insert((job.priority, self.accepted), (job, now));
        u16::try_from(eta).unwrap_or(u16::MAX)
    }

    /// What it drives to next and when, where it has nothing in hand. Nothing that it accepts just now: the service
    /// must have that first, and what is said at the same time may overtake it.
    pub(super) fn next_job(&self, now: Minute) -> Option<(Job, Minute)> {
        if self.hand.is_some() {
            return None;
        }
        let (job, _) = self.list.values().find(|(_, accepted)| *accepted < now)?;
        Some((*job, self.free_from(now, job.priority)))
    }

    /// Leaves for a ticket of its list; minutes on the road.
    pub(super) fn depart(&mut self, job: Job, now: Minute) -> Minute {
        self.list.retain(|_, (listed, _)| listed.ticket != job.ticket);
        if now.saturating_sub(self.idle_since) >= HOME_AFTER {
            self.at = self.home;
        }
        self.hand = Some((job, Doing::EnRoute));
        trip_minutes(self.at, job.place)
    }

    /// Is there.
    pub(super) fn arrive(&mut self, ticket: EntityId) -> Option<Job> {
        let (job, doing) = self.hand.as_mut().filter(|(job, _)| job.ticket == ticket)?;
        *doing = Doing::OnSite;
        Some(*job)
    }

    /// Is done on site.
    pub(super) fn finish(&mut self, ticket: EntityId, now: Minute) -> Option<Job> {
        let is_done = |hand: &mut (Job, Doing)| hand.0.ticket == ticket && hand.1 == Doing::OnSite;
        let (job, _) = self.hand.take_if(is_done)?;
        (self.at, self.idle_since) = (job.place, now);
        Some(job)
    }

    /// Does not have this ticket any more; whether it had it in hand.
    pub(super) fn forget(&mut self, ticket: EntityId) -> bool {
        self.list.retain(|_, (job, _)| job.ticket != ticket);
        self.hand.take_if(|(job, _)| job.ticket == ticket).is_some()
    }
}

pub(super) fn trip_minutes(from: Location, to: Location) -> Minute {
    Minute::from(distance_m(from, to) / METRES_PER_MINUTE).max(TRIP_MINUTES_MIN)
}
