//! `/v1/dispatch/plan`: the plan of a region's day, as advice.
//!
//! **Invariants:** nothing is changed; one plan at a time, on a thread of its own that ends by its deadline;
//! what is left out is said. **Not here:** planning (`day`), carrying it out (each order is an operator's own,
//! `orders`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{http::StatusCode, web};
use fieldmesh_dispatch::search::WHOLE;
use fieldmesh_domain::{
    EntityId, IndexRow,
    desk::Desk,
    ticket::{Stage, Ticket},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};
use utoipa::ToSchema;

use super::{Shared, operator::Operator, problem::Problem, rest::open_page, whatif::desk};
use crate::{
    courier::wire::WANTED_MAX,
    day::{self, Day, DayPlan, Hand, Job, PLACES_MAX},
    node::Node,
};

/// The longest that a plan is searched for: whoever asks waits as long.
const DEADLINE_MAX_MS: u64 = 15_000;
/// Rows of tickets that are looked at for those that are open: a year of a large region.
const ROWS_MAX: usize = 2_000_000;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.route("/dispatch/plan", web::post().to(plan));
}

/// Whether a plan is being made.
#[derive(Debug, Default)]
pub struct Planner {
    is_busy: AtomicBool,
}

/// Ends with whatever it is held by.
struct Turn(Arc<Planner>);

impl Turn {
    fn take(planner: &Arc<Planner>) -> Result<Self, Problem> {
        if planner.is_busy.swap(true, Ordering::AcqRel) {
            return Err(Problem::busy("another plan is being made: ask again when it is done"));
        }
        Ok(Self(Arc::clone(planner)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

/// What is to be planned.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewPlan {
    /// The node's own unless said.
    pub region: Option<String>,
    /// Milliseconds for the search, at most 15,000.
    pub deadline_ms: u64,
    /// How long the day is, at most 24.
    pub hours: u32,
    /// How long a ticket takes on site, in minutes.
    pub service_min: u32,
    /// Chance follows from it.
    pub seed: u64,
}

impl Default for NewPlan {
    fn default() -> Self {
        Self { region: None, deadline_ms: 10_000, hours: 8, service_min: 45, seed: 1 }
    }
}

/// A plan as advice.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PlanStory {
    pub routes: Vec<RouteStory>,
    pub left: Vec<LeftStory>,
    /// What to order so that it comes true as far as technicians may hold tickets now.
    pub moves: Vec<MoveStory>,
    /// Seconds on the way, at work and waiting, of all together.
    pub working_s: u64,
    /// The same where each ticket goes where it costs least when it is added.
    pub greedy_working_s: u64,
}

/// A technician's route.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RouteStory {
    pub technician: String,
    pub legs: Vec<LegStory>,
    pub working_s: u64,
}

/// A stop; seconds from now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LegStory {
    pub ticket: String,
    pub arrive_s: u64,
    pub end_s: u64,
    /// Accepted or pinned: it is not moved.
    pub fixed: bool,
    /// It is with this technician already.
    pub kept: bool,
    /// Whether it ends by what was promised; none where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_window: Option<bool>,
}

/// A ticket in no route, and why.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LeftStory {
    pub ticket: String,
    pub reason: String,
}

/// A ticket that another technician is to have than has it now, or that nobody has.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MoveStory {
    pub ticket: String,
    pub to: String,
    /// Of the ticket's last offer when it was planned: an order that names it moves nothing that has moved since.
    #[serde(default)]
    pub epoch: u32,
}

/// The plan of a region's day; nothing is changed.
#[utoipa::path(post, path = "/v1/dispatch/plan", request_body = NewPlan, responses((status = 200, body = PlanStory)))]
pub async fn plan(
    _operator: Operator,
    body: web::Json<NewPlan>,
    shared: web::Data<Shared>,
) -> Result<web::Json<PlanStory>, Problem> {
    let NewPlan { region, deadline_ms, hours, service_min, seed } = body.into_inner();
    for (what, value, most) in [
        ("deadline_ms", deadline_ms, DEADLINE_MAX_MS),
        ("hours", hours.into(), 24),
        ("service_min", service_min.into(), 24 * 60),
    ] {
        if !(1..=most).contains(&value) {
            return Err(Problem::invalid(format_args!("{what} is 1 to {most}, not {value}")));
        }
    }
    let turn = Turn::take(&shared.planner)?;
    let (desk, journal) = desk(&shared, region.as_deref()).await?;
    let open = open_tickets(&shared, desk).await?;
    let node = Arc::clone(&shared.node);
    let deadline = Duration::from_millis(deadline_ms);
    let answer = on_a_thread(move || {
        let _turn = turn;
        let state: Desk = journal.state(desk)?;
        let Found { jobs, epochs, unread } = find(&node, &open)?;
        let hands: Vec<Hand> = state
            .technicians
            .into_iter()
            .map(|(id, known)| Hand { id, summary: known.summary })
            .filter(Hand::is_there)
            .collect();
        fits(hands.len() + jobs.len())?;
        let now = Millis(node.clock.now_ms());
        let day = Day { now, hands, jobs, hours, service_min };
        let began = Instant::now();
        let used = || {
            let used = began.elapsed().as_micros() * u128::from(WHOLE) / deadline.as_micros();
            u32::try_from(used).unwrap_or(WHOLE).min(WHOLE)
        };
        let plan = day::plan(&day, seed, used).map_err(Problem::invalid)?;
        Ok(tell(&plan, &epochs, &unread))
    })?;
    let answer = answer.await.map_err(|_| Problem::busy("the plan was not finished"))?;
    answer.map(web::Json)
}

fn fits(places: usize) -> Result<(), Problem> {
    if places <= PLACES_MAX {
        return Ok(());
    }
    let text = format_args!(
        "{places} technicians on shift and open tickets are more than the {PLACES_MAX} of one plan"
    );
    Err(Problem::new(StatusCode::CONFLICT, "refused", text))
}

type Planned = Result<PlanStory, Problem>;

#[expect(
    clippy::disallowed_methods,
    reason = "a plan takes a processor for seconds: no pool has that to spare"
)]
fn on_a_thread(
    work: impl FnOnce() -> Planned + Send + 'static,
) -> Result<oneshot::Receiver<Planned>, Problem> {
    let (tell, told) = oneshot::channel();
    let started = std::thread::Builder::new().name("plan".into()).spawn(move || {
        // Whoever asked may have left.
        drop(tell.send(work()));
    });
    started.map(|_| told).map_err(|error| Problem::busy(format_args!("no thread: {error}")))
}

/// Tickets that somebody is to go to, or is at.
async fn open_tickets(shared: &Shared, desk: EntityId) -> Result<Vec<EntityId>, Problem> {
    let mut open = Vec::new();
    let mut looked_at = 0;
    for shard in shared.node.known.own_groups() {
        let mut from = None;
        loop {
            let page = open_page(shared, shard, from).await?;
            let last = page.last().map(IndexRow::id);
            looked_at += page.len();
            let is_open = |row: &&IndexRow| matches!(row, IndexRow::Ticket { state, .. } if is_planned(*state));
            // The page begins with the one that the page before ended with.
            let new = page.iter().filter(|row| from != Some(row.id())).filter(is_open);
            let is_own = |id: &EntityId| {
                let group = shared.node.known.group_of(*id);
                id.region() == desk.region() && group.is_none_or(|group| group == shard)
            };
            open.extend(new.map(IndexRow::id).filter(is_own));
            if page.len() < WANTED_MAX as usize || looked_at > ROWS_MAX {
                break;
            }
            from = last;
        }
    }
    fits(open.len())?;
    Ok(open)
}

fn is_planned(stage: Stage) -> bool {
    match stage {
        Stage::Matching
        | Stage::Offered
        | Stage::Unfilled
        | Stage::Accepted
        | Stage::EnRoute
        | Stage::OnSite
        | Stage::Paused => true,
        Stage::Unknown
        | Stage::Received
        | Stage::Triaged
        | Stage::Completed
        | Stage::CannotComplete
        | Stage::Cancelled
        | Stage::Closed
        | Stage::Held
        | Stage::Confirmed
        | Stage::Grouped => false,
    }
}

/// The tickets as they are.
#[derive(Default)]
struct Found {
    jobs: Vec<Job>,
    /// Of their last offers.
    epochs: BTreeMap<EntityId, u32>,
    /// Those that no replica here has.
    unread: Vec<EntityId>,
}

fn find(node: &Node, open: &[EntityId]) -> Result<Found, Problem> {
    let mut found = Found::default();
    for id in open {
        let Some(journal) = node.journal_of(*id) else {
            found.unread.push(*id);
            continue;
        };
        let ticket: Ticket = journal.state(*id)?;
        // It may have moved since its row was read.
        if ticket.body.is_none() || !is_planned(ticket.stage) {
            continue;
        }
        found.epochs.insert(*id, ticket.epoch);
        found.jobs.push(Job {
            id: *id,
            need: ticket.need(),
            stage: ticket.stage,
            technician: ticket.technician,
            is_pinned: ticket.is_pinned(),
        });
    }
    Ok(found)
}

fn tell(plan: &DayPlan, epochs: &BTreeMap<EntityId, u32>, unread: &[EntityId]) -> PlanStory {
    let leg = |leg: &day::Leg| LegStory {
        ticket: leg.ticket.to_string(),
        arrive_s: leg.arrive_s,
        end_s: leg.end_s,
        fixed: leg.is_fixed,
        kept: leg.is_kept,
        in_window: leg.is_in_window,
    };
    let route = |route: &day::Route| RouteStory {
        technician: route.technician.to_string(),
        legs: route.legs.iter().map(leg).collect(),
        working_s: route.working_s,
    };
    let left = plan.left.iter().map(|(ticket, why)| (ticket, why.name()));
    let elsewhere = "no replica of its shard is on this node";
    let unread = unread.iter().map(|ticket| (ticket, elsewhere.to_owned()));
    let left =
        left.chain(unread).map(|(ticket, reason)| LeftStory { ticket: ticket.to_string(), reason });
    let moves = plan.moves.iter().map(|one| MoveStory {
        ticket: one.ticket.to_string(),
        to: one.to.to_string(),
        epoch: epochs.get(&one.ticket).copied().unwrap_or(0),
    });
    PlanStory {
        routes: plan.routes.iter().map(route).collect(),
        left: left.collect(),
        moves: moves.collect(),
        working_s: plan.working_s,
        greedy_working_s: plan.greedy_working_s,
    }
}
