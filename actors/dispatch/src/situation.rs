//! The moment that is planned for: where each technician is, what it carries, and what time it is.
//!
//! At the start of a day everybody is at home; during the day some are under way, and what they have
//! begun is behind them. Planning sees only this, so the day plan and dispatch during the day are
//! the same search.
//!
//! **Not here:** how a situation becomes the next one (`online`), what is still to be done (`draft`).

use crate::{
    problem::{DEPOT, Kinds, Problem, Ticks, Window},
    segment::Segment,
};

/// What a technician has behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Where it is, or where it arrives next and is bound to.
    pub(crate) place: usize,
    /// When it is done there.
    pub(crate) ready: Ticks,
    /// When it left home; before that nothing counts.
    pub(crate) departed: Option<Ticks>,
    /// It was at the depot: whatever is needed from then on was taken there.
    pub(crate) is_stocked: bool,
    /// What it carries, as long as it was not.
    pub(crate) parts: Vec<u32>,
}

/// How the rest of a technician's day begins.
#[derive(Debug, Clone)]
pub(crate) struct Outset {
    pub(crate) place: usize,
    pub(crate) home: usize,
    /// What lies behind, as a run that cannot be moved; of no length before it has left home.
    pub(crate) behind: Segment,
    /// Coming home.
    pub(crate) homecoming: Segment,
    /// What the day costs if nothing is added.
    pub(crate) idle_cost: Ticks,
    pub(crate) is_stocked: bool,
    pub(crate) tools: Kinds,
    pub(crate) parts: Vec<u32>,
}

pub(crate) struct Situation<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) now: Ticks,
    pub(crate) outsets: Vec<Outset>,
    /// Each place as a run of one stop; homes are not stops.
    stops: Vec<Segment>,
}

impl Position {
    /// At home, as each day begins.
    pub(crate) fn at_home(problem: &Problem, technician: usize) -> Self {
        let who = &problem.technicians()[technician];
        Self {
            place: problem.home(technician),
            ready: who.shift.open,
            departed: None,
            is_stocked: false,
            parts: who.parts.clone(),
        }
    }

    fn outset(&self, problem: &Problem, technician: usize, now: Ticks) -> Outset {
        let who = &problem.technicians()[technician];
        let home = problem.home(technician);
        let begin = self.ready.max(now);
        let behind = match self.departed {
            None => Segment { duration: 0, earliest: begin, latest: who.shift.close },
            Some(at) => Segment { duration: begin - at, earliest: at, latest: at },
        };
        // At home nothing counts; elsewhere the way home begins now at the earliest.
        let idle_cost = self.departed.map_or(0, |at| {
            let leave = if self.place == home { self.ready } else { begin };
            leave - at + problem.travel(self.place, home)
        });
        let Window { open, close } = who.shift;
        Outset {
            place: self.place,
            home,
            behind,
            homecoming: Segment { duration: 0, earliest: open, latest: close },
            idle_cost,
            is_stocked: self.is_stocked,
            tools: who.tools,
            parts: self.parts.clone(),
        }
    }
}

impl<'a> Situation<'a> {
    pub(crate) fn new(problem: &'a Problem, positions: &[Position], now: Ticks) -> Self {
        let run = |window: Window, duration| Segment {
            duration,
            earliest: window.open,
            latest: window.close,
        };
        let depot = problem.depot();
        let homes = problem.technicians().iter().map(|who| run(who.shift, 0));
        let sites = problem.requests().iter().map(|request| run(request.window, request.service));
        let stops = [run(depot.window, depot.service)].into_iter().chain(homes).chain(sites);
        let outset =
            |(technician, position): (usize, &Position)| position.outset(problem, technician, now);
        Self {
            problem,
            now,
            outsets: positions.iter().enumerate().map(outset).collect(),
            stops: stops.collect(),
        }
    }

    /// Everybody at home at the start of the day.
    pub(crate) fn morning(problem: &'a Problem) -> Self {
        let everyone = 0..problem.technicians().len();
        let positions: Vec<Position> =
            everyone.map(|technician| Position::at_home(problem, technician)).collect();
        Self::new(problem, &positions, 0)
    }

    pub(crate) fn stop(&self, place: usize) -> Segment {
        self.stops[place]
    }

    /// A stop at the depot.
    pub(crate) fn depot(&self) -> Segment {
        self.stops[DEPOT]
    }
}
