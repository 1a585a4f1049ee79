//! Judges a plan by walking through it, from the coordinates on: nothing of the search is used here.
//!
//! **Invariant:** what is passed is feasible in the words of the instance: windows, shifts, skills,
//! tools, parts, ways, and that nobody leaves for a request before its release. **Not here:** whether
//! the plan is a good one.

use crate::{
    instance::{Instance, Point, TICKS_PER_UNIT},
    plan::{Plan, Stop, Tour, Visit},
    problem::{Kinds, Technician, Ticks},
};

/// Of a tick, what the calculation of a distance may be off.
const ROUNDING: f64 = 1e-3;

/// What is wrong with a plan; numbers are the instance's identifiers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("the plan has {found} tours for {expected} technicians")]
    Tours { found: usize, expected: usize },
    #[error("technician {technician} does not come home")]
    NotHome { technician: u32 },
    #[error("technician {technician} works outside of the shift")]
    Shift { technician: u32 },
    #[error("technician {technician} is on the way to {stop:?} for less time than it takes")]
    Way { technician: u32, stop: Stop },
    #[error(
        "technician {technician} is at {stop:?} before it opens, after it closes or too briefly"
    )]
    Window { technician: u32, stop: Stop },
    #[error("technician {technician} lacks a skill for request {request}")]
    Skill { technician: u32, request: u32 },
    #[error("technician {technician} lacks a tool for request {request}")]
    Tool { technician: u32, request: u32 },
    #[error("technician {technician} lacks a part for request {request}")]
    Part { technician: u32, request: u32 },
    #[error("technician {technician} leaves for request {request} before it is known")]
    Foresight { technician: u32, request: u32 },
    #[error("request {request} is visited or given up {times} times")]
    Times { request: u32, times: usize },
}

/// The working time of a plan in ticks, if nothing is wrong with it. `released` as in
/// [`crate::online::dispatch_day`]; empty for a day of which everything is known.
pub fn judge(
    instance: &Instance,
    released: &[Option<Ticks>],
    plan: &Plan,
) -> Result<Ticks, Breach> {
    let problem = &instance.problem;
    let (found, expected) = (plan.tours.len(), problem.technicians().len());
    if found != expected {
        return Err(Breach::Tours { found, expected });
    }
    let mut times = vec![0; problem.requests().len()];
    let mut working_time = 0;
    for (technician, tour) in plan.tours.iter().enumerate() {
        working_time += Walk::begin(instance, released, technician, tour)?;
        for visit in &tour.visits {
            if let Stop::Request(request) = visit.stop {
                times[request] += 1;
            }
        }
    }
    for unserved in &plan.unserved {
        times[unserved.request] += 1;
    }
    for (request, times) in problem.requests().iter().zip(times) {
        if times != 1 {
            return Err(Breach::Times { request: request.id, times });
        }
    }
    Ok(working_time)
}

/// A technician on its tour.
struct Walk<'a> {
    instance: &'a Instance,
    who: &'a Technician,
    home: Point,
    at: Point,
    now: Ticks,
    /// None after the depot: everything is at hand.
    carried: Option<(Kinds, Vec<u32>)>,
}

impl<'a> Walk<'a> {
    fn begin(
        instance: &'a Instance,
        released: &[Option<Ticks>],
        technician: usize,
        tour: &Tour,
    ) -> Result<Ticks, Breach> {
        let who = &instance.problem.technicians()[technician];
        let Some((first, last)) = tour.visits.first().zip(tour.visits.last()) else { return Ok(0) };
        if last.stop != Stop::Home {
            return Err(Breach::NotHome { technician: who.id });
        }
        if first.leave < who.shift.open || last.end > who.shift.close {
            return Err(Breach::Shift { technician: who.id });
        }
        let home = instance.homes[technician];
        let carried = Some((who.tools, who.parts.clone()));
        let mut walk = Self { instance, who, home, at: home, now: first.leave, carried };
        for visit in &tour.visits {
            walk.visit(visit)?;
            if let Stop::Request(request) = visit.stop {
                walk.serve(request)?;
                let known = released.get(request).copied().flatten().unwrap_or(0);
                if visit.leave < known {
                    let request = instance.problem.requests()[request].id;
                    return Err(Breach::Foresight { technician: who.id, request });
                }
            }
        }
        Ok(last.end - first.leave)
    }

    fn visit(&mut self, visit: &Visit) -> Result<(), Breach> {
        let (technician, stop) = (self.who.id, visit.stop);
        let problem = &self.instance.problem;
        let (to, window, service) = match stop {
            Stop::Depot => {
                self.carried = None;
                (self.instance.depot, problem.depot().window, problem.depot().service)
            }
            Stop::Home => (self.home, self.who.shift, 0),
            Stop::Request(request) => {
                let request_at = &problem.requests()[request];
                (self.instance.sites[request], request_at.window, request_at.service)
            }
        };
        let (east, north) = (self.at.x - to.x, self.at.y - to.y);
        let way = (east * east + north * north).sqrt() * TICKS_PER_UNIT;
        let travelled = (visit.arrive - visit.leave) as f64;
        if visit.leave < self.now || travelled + ROUNDING < way {
            return Err(Breach::Way { technician, stop });
        }
        let is_open = (window.open..=window.close).contains(&visit.start);
        if !is_open || visit.start < visit.arrive || visit.end < visit.start + service {
            return Err(Breach::Window { technician, stop });
        }
        (self.at, self.now) = (to, visit.end);
        Ok(())
    }

    fn serve(&mut self, request: usize) -> Result<(), Breach> {
        let request = &self.instance.problem.requests()[request];
        let (technician, request_id) = (self.who.id, request.id);
        if !self.who.skills.contains(request.skills) {
            return Err(Breach::Skill { technician, request: request_id });
        }
        let Some((tools, parts)) = &mut self.carried else { return Ok(()) };
        if !tools.contains(request.tools) {
            return Err(Breach::Tool { technician, request: request_id });
        }
        for (carried, taken) in parts.iter_mut().zip(&request.parts) {
            let left = carried.checked_sub(*taken);
            *carried = left.ok_or(Breach::Part { technician, request: request_id })?;
        }
        Ok(())
    }
}
