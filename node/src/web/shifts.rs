//! `/v1/technicians/{id}/roster` and `/v1/shifts`: who works when, swaps, going on and off shift by hand.
//!
//! **Invariants:** nothing of this is written before every node knows of it; a dry run asks nothing of an
//! entity. **Not here:** what a roster is (`rosters`), what is right (`domain::technician`), how technicians
//! are (`health`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_actors::{Answer, AskError, commit::ShardId};
use fieldmesh_calendar::{
    civil::Date,
    ical,
    interval::{DAY_MS, UnixMs},
};
use fieldmesh_domain::{
    Command, Ctx, EntityId, EntityKind, IndexRow, Region,
    placement::TRIGGERS,
    technician::{
        self, Technician,
        life::Word,
        swap::{Ended, Given},
    },
    time::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    operator::Operator,
    orders::{id_of, order_id},
    problem::Problem,
    rest::{elsewhere, latest, rows},
};
use crate::{
    courier::wire::{WANTED_MAX, Wanted},
    journal::ShardJournal,
    rosters::RosterText,
};

/// Technicians that one answer looks at: each is read and its roster expanded, some 0.1 ms.
const LOOKED_AT_MAX: usize = 1000;
/// Days that an exported calendar has ahead, and behind: a program that reads it each day shows a year.
const EXPORT_DAYS_AHEAD: u64 = 365;
const EXPORT_DAYS_BEHIND: u64 = 14;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/technicians/{id}/roster", web::get().to(roster))
        .route("/technicians/{id}/roster", web::put().to(set_roster))
        .route("/technicians/{id}/calendar", web::get().to(calendar))
        .route("/technicians/{id}/duty", web::post().to(duty))
        .route("/technicians/{id}/swaps", web::post().to(swap))
        .route("/shifts", web::get().to(who));
}

/// Refuses what an older node would not understand.
pub(super) fn check_level(shared: &Shared) -> Result<(), Problem> {
    if shared.node.known.known().level() < TRIGGERS {
        let text = "a node runs an older release and does not know of rosters: upgrade it first";
        return Err(Problem::busy(text));
    }
    Ok(())
}

/// The replica here that has an entity, caught up.
pub(super) async fn replica(shared: &Shared, id: EntityId) -> Result<ShardJournal, Problem> {
    let shard = shared.node.known.group_of(id);
    let here = shard.filter(|shard| shared.node.courier.has_replica(*shard));
    let here = here.and_then(|shard| Some((shard, shared.node.journal(shard)?)));
    let (shard, journal) = here.ok_or_else(|| elsewhere(shared, id))?;
    latest(shared, shard, "or try again in a moment").await?;
    Ok(journal)
}

/// A technician as it is.
pub(super) async fn known(shared: &Shared, id: EntityId) -> Result<Technician, Problem> {
    let technician: Technician = replica(shared, id).await?.state(id)?;
    if technician.registered { Ok(technician) } else { Err(Problem::missing("such technician")) }
}

fn technician_id(text: &str) -> Result<EntityId, Problem> {
    id_of(text, EntityKind::Technician, "technician")
}

/// A technician's roster, and where it stands by it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RosterView {
    pub technician: String,
    pub duty: String,
    pub on_shift: bool,
    /// None for one that goes on and off shift by hand alone.
    pub roster: Option<RosterText>,
    /// The operator who set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
    /// Unix milliseconds: the end of the shift that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift_ends_ms: Option<u64>,
    /// It is on or off shift by hand, until the roster's next shift starts or ends.
    pub by_hand: bool,
    /// The next change by the roster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_change_ms: Option<u64>,
    pub swaps: Vec<SwapView>,
}

/// A swap in which it gives shifts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SwapView {
    pub swap: String,
    pub date: String,
    pub to: String,
    /// `offered`, `done`, `refused`, `lapsed` or `dropped`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl SwapView {
    fn of(given: &Given, ended: Option<&Ended>) -> Self {
        let (state, why) = match ended {
            None => ("offered", None),
            Some(Ended::Done) => ("done", None),
            Some(Ended::Refused(why)) => ("refused", Some(why.clone())),
            Some(Ended::Lapsed) => ("lapsed", None),
            Some(Ended::Dropped) => ("dropped", None),
        };
        let (swap, date) = (hex(&given.swap), given.date.to_string());
        Self { swap, date, to: given.to.to_string(), state: state.to_owned(), why }
    }
}

impl RosterView {
    fn of(id: EntityId, technician: &Technician, now_ms: u64) -> Self {
        let known = technician.rostered.as_ref();
        let schedule = known.and_then(|known| known.roster.schedule().ok());
        let next = schedule.and_then(|schedule| schedule.next_change(UnixMs(now_ms)));
        let swaps = technician.swaps.iter();
        let ended = swaps.clone().flat_map(|swaps| &swaps.ended);
        let ended = ended.map(|(given, ended)| SwapView::of(given, Some(ended)));
        let giving = swaps.flat_map(|swaps| &swaps.giving);
        Self {
            technician: id.to_string(),
            duty: technician.duty().name().to_owned(),
            on_shift: technician.on_shift,
            roster: known.map(|known| RosterText::of(&known.roster)),
            set_by: known.map(|known| known.by.clone()),
            shift_ends_ms: known.and_then(|known| known.shift.as_ref()?.ends).map(|ends| ends.0),
            by_hand: known.is_some_and(|known| known.by_hand.is_some()),
            next_change_ms: next.map(|next| next.0),
            swaps: ended.chain(giving.map(|giving| SwapView::of(&giving.given, None))).collect(),
        }
    }
}

/// A technician's roster, and where it stands by it.
#[utoipa::path(get, path = "/v1/technicians/{id}/roster", responses((status = 200, body = RosterView)))]
pub async fn roster(
    _operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RosterView>, Problem> {
    let id = technician_id(&id)?;
    let technician = known(&shared, id).await?;
    Ok(web::Json(RosterView::of(id, &technician, shared.node.clock.now_ms())))
}

/// Whether something is to be done, or only said what would be.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// A roster to set.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoster {
    /// None for one that goes on and off shift by hand alone from now on.
    pub roster: Option<RosterText>,
}

/// What came, or would come, of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    pub id: String,
    /// `created`, `changed` or `unchanged`.
    #[serde(default = "created")]
    pub outcome: String,
    #[serde(default)]
    pub dry_run: bool,
    /// What there is to say of it, though it is not refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A node of the release before says only what it made.
fn created() -> String {
    "created".into()
}

impl Outcome {
    pub(super) fn new(id: EntityId, outcome: &str, dry_run: bool) -> Self {
        Self { id: id.to_string(), outcome: outcome.to_owned(), dry_run, warning: None }
    }

    pub(super) fn warned(self, warning: Option<String>) -> Self {
        Self { warning, ..self }
    }
}

pub(super) fn outcome_of(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done { .. } => "changed",
        Answer::AlreadyDone { .. } => "unchanged",
    }
}

/// What an entity in that state would do.
pub(super) fn tried<A: fieldmesh_domain::Aggregate>(
    state: &A,
    command: &A::Command,
    id: EntityId,
    shared: &Shared,
) -> Result<&'static str, Problem> {
    let now = Millis(shared.node.clock.now_ms());
    let ctx = Ctx { now, id, rule_version: 0 };
    let events = state.decide(command, &ctx).map_err(AskError::Rejected)?;
    Ok(if events.is_empty() { "unchanged" } else { "changed" })
}

/// Tells a technician of its life, or only what it would do.
pub(super) async fn tell(
    shared: &Shared,
    id: EntityId,
    word: Word,
    dry_run: bool,
) -> Result<Outcome, Problem> {
    let command = technician::Command::Life(word);
    if dry_run {
        let state: Technician = replica(shared, id).await?.state(id)?;
        return Ok(Outcome::new(id, tried(&state, &command, id, shared)?, true));
    }
    check_level(shared)?;
    let answer = shared.node.ask(id, Command::Technician(command)).await?;
    Ok(Outcome::new(id, outcome_of(&answer), false))
}

/// Sets or ends a technician's roster.
#[utoipa::path(put, path = "/v1/technicians/{id}/roster", params(DryRun), request_body = NewRoster, responses((status = 200, body = Outcome)))]
pub async fn set_roster(
    operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewRoster>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let id = technician_id(&id)?;
    let roster = body.roster.as_ref().map(RosterText::roster).transpose();
    let roster = roster.map_err(Problem::invalid)?;
    let word = Word::SetRoster { roster, by: operator.name };
    tell(&shared, id, word, query.dry_run).await.map(web::Json)
}

/// What a calendar file has: whole days, because a shift that is cut at its ends has to be cut at a whole minute.
fn exported(now_ms: u64) -> (UnixMs, UnixMs) {
    let today = now_ms - now_ms % DAY_MS;
    let start = today.saturating_sub(EXPORT_DAYS_BEHIND * DAY_MS);
    (UnixMs(start), UnixMs(today).plus(EXPORT_DAYS_AHEAD * DAY_MS))
}

/// A technician's shifts as a calendar file.
#[utoipa::path(get, path = "/v1/technicians/{id}/calendar", responses((status = 200, content_type = "text/calendar")))]
pub async fn calendar(
    _operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let id = technician_id(&id)?;
    let technician = known(&shared, id).await?;
    let rostered = technician.rostered.as_ref();
    let rostered = rostered.ok_or_else(|| Problem::missing("roster of this technician"))?;
    let failed = |why: String| Problem::new(StatusCode::CONFLICT, "refused", why);
    let schedule = rostered.roster.schedule().map_err(|faults| failed(faults.to_string()))?;
    let now_ms = shared.node.clock.now_ms();
    let (start, end) = exported(now_ms);
    let file = ical::shifts(&schedule, start, end, &id.to_string(), "On shift");
    let file = file.map_err(|error| failed(error.to_string()))?;
    let text = ical::export(&file, UnixMs(now_ms)).map_err(|error| failed(error.to_string()))?;
    Ok(HttpResponse::Ok().content_type("text/calendar; charset=utf-8").body(text))
}

/// On or off shift by hand.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDuty {
    pub on_shift: bool,
}

/// Puts a technician on or off shift; on top of a roster until its next shift starts or ends.
#[utoipa::path(post, path = "/v1/technicians/{id}/duty", request_body = NewDuty, responses((status = 200, body = Outcome)))]
pub async fn duty(
    _operator: Operator,
    id: web::Path<String>,
    body: web::Json<NewDuty>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let id = technician_id(&id)?;
    let command = match body.on_shift {
        true => technician::Command::GoOnShift,
        false => technician::Command::GoOffShift,
    };
    let answer = shared.node.ask(id, Command::Technician(command)).await?;
    Ok(web::Json(Outcome::new(id, outcome_of(&answer), false)))
}

/// Shifts to give away.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSwap {
    /// On which they start, as `2026-12-24`.
    pub date: String,
    /// The technician who takes them over.
    pub to: String,
}

/// A swap that has begun; how it ends is in the giver's roster.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SwapBegun {
    pub swap: String,
}

/// Has a technician give its shifts of a date to another one.
#[utoipa::path(post, path = "/v1/technicians/{id}/swaps", request_body = NewSwap, responses((status = 202, body = SwapBegun)))]
pub async fn swap(
    request: actix_web::HttpRequest,
    operator: Operator,
    id: web::Path<String>,
    body: web::Json<NewSwap>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let (id, to) = (technician_id(&id)?, technician_id(&body.to)?);
    let swap = order_id(&request, &operator, &shared)?;
    let date = Date::parse(&body.date).map_err(Problem::invalid)?;
    check_level(&shared)?;
    let given = Given { swap, date, to, by: operator.name };
    let command = technician::Command::Life(Word::GiveShift(given));
    shared.node.ask(id, Command::Technician(command)).await?;
    Ok(HttpResponse::Accepted().json(SwapBegun { swap: hex(&swap) }))
}

/// Whose shifts, and when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct WhoQuery {
    /// As `2026-12-24T22:30:00Z`; now unless given.
    at: Option<String>,
    /// The node's own unless given; another's node is asked for it.
    region: Option<String>,
    /// Behind this technician.
    after: Option<String>,
}

/// A technician that is on shift then.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OnShift {
    pub technician: String,
    /// Unix milliseconds; none where no end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// By hand, on top of a roster or without one.
    pub by_hand: bool,
}

/// Who is on shift at an instant; `next` is the `after` of the following page.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WhoPage {
    pub at_ms: u64,
    pub on_shift: Vec<OnShift>,
    /// Technicians without a roster: nobody knows of another time than now.
    pub without_roster: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Who is on shift at an instant.
#[utoipa::path(get, path = "/v1/shifts", params(WhoQuery), responses((status = 200, body = WhoPage)))]
pub async fn who(
    _operator: Operator,
    query: web::Query<WhoQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<WhoPage>, Problem> {
    let now_ms = shared.node.clock.now_ms();
    let at = query.at.as_deref().map(instant).transpose()?;
    own_region(&shared, query.region.as_deref())?;
    let (technicians, next) = page(&shared, query.after.as_deref()).await?;
    let mut answer = WhoPage {
        at_ms: at.unwrap_or(now_ms),
        on_shift: Vec::new(),
        without_roster: 0,
        next: next.map(|id| id.to_string()),
    };
    for (id, technician) in technicians {
        answer.without_roster += usize::from(technician.rostered.is_none());
        answer.on_shift.extend(on_shift(id, &technician, at, now_ms));
    }
    Ok(web::Json(answer))
}

fn instant(text: &str) -> Result<u64, Problem> {
    let at: Option<jiff::Timestamp> = text.parse().ok();
    let ms = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    ms.ok_or_else(|| {
        Problem::invalid(format_args!("{text:?} is no instant; write it as 2026-12-24T22:30:00Z"))
    })
}

fn on_shift(
    id: EntityId,
    technician: &Technician,
    at: Option<u64>,
    now_ms: u64,
) -> Option<OnShift> {
    let rostered = technician.rostered.as_ref();
    let schedule = rostered.and_then(|known| known.roster.schedule().ok());
    let is_on = match (at, &schedule) {
        // Now is what it really does; another time what is planned.
        (None, _) => technician.on_shift,
        (Some(at), Some(schedule)) => schedule.is_on(UnixMs(at)),
        (Some(_), None) => false,
    };
    let then = UnixMs(at.unwrap_or(now_ms));
    let by_hand = rostered.is_none_or(|known| at.is_none() && known.by_hand.is_some());
    let until = schedule.filter(|_| !by_hand).and_then(|schedule| schedule.next_change(then));
    let until_ms = until.map(|until| until.0);
    is_on.then(|| OnShift { technician: id.to_string(), until_ms, by_hand })
}

/// Refuses a question about another region, naming nodes that can answer it.
pub(super) fn own_region(shared: &Shared, region: Option<&str>) -> Result<(), Problem> {
    let Some(region) = region.filter(|region| *region != shared.node.region) else {
        return Ok(());
    };
    let no_region = || Problem::missing(format_args!("region {region:?} in this cluster"));
    let region: Region = region.parse().map_err(|_| no_region())?;
    let known = shared.node.known.known();
    let nodes = known.members.iter().filter(|node| node.region() == region && node.is_candidate());
    let elsewhere: Vec<String> = nodes.map(|node| node.https.clone()).collect();
    if elsewhere.is_empty() {
        return Err(no_region());
    }
    let at = elsewhere.join(" or ");
    let detail = format_args!("region {region} is served by other nodes: ask the one at {at}");
    let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "elsewhere", detail);
    Err(Problem { elsewhere, ..problem })
}

/// The states of the region's next technicians behind one, in the order of their identifiers.
pub(super) async fn page(
    shared: &Shared,
    after: Option<&str>,
) -> Result<(Vec<(EntityId, Technician)>, Option<EntityId>), Problem> {
    let after = after.map(technician_id).transpose()?;
    let mut found: BTreeMap<EntityId, ShardId> = BTreeMap::new();
    for shard in shared.node.known.own_groups() {
        found.extend(ids_behind(shared, shard, after).await?.into_iter().map(|id| (id, shard)));
    }
    let is_more = found.len() > LOOKED_AT_MAX;
    let found: Vec<(EntityId, ShardId)> = found.into_iter().take(LOOKED_AT_MAX).collect();
    let next = found.last().filter(|_| is_more).map(|(id, _)| *id);
    let mut journals: BTreeMap<ShardId, ShardJournal> = BTreeMap::new();
    for (id, shard) in &found {
        if !journals.contains_key(shard) {
            journals.insert(*shard, replica(shared, *id).await?);
        }
    }
    // Hundreds of reads and expansions are not for a thread that serves others.
    let read = move || {
        let states = found.into_iter().filter_map(|(id, shard)| {
            let state = journals.get(&shard)?.state::<Technician>(id);
            Some(state.map(|state| (id, state)))
        });
        states.collect::<Result<Vec<_>, _>>()
    };
    let states = web::block(read).await.map_err(|_| Problem::busy("the node is ending"))??;
    Ok((states.into_iter().filter(|(_, state)| state.registered).collect(), next))
}

/// The next technicians of a shard; one more than is looked at tells that there are more.
async fn ids_behind(
    shared: &Shared,
    shard: ShardId,
    after: Option<EntityId>,
) -> Result<Vec<EntityId>, Problem> {
    let (mut ids, mut from, kind) = (Vec::new(), after, EntityKind::Technician as u8);
    loop {
        let page = rows(shared, Wanted { shard, kind, from, limit: WANTED_MAX }).await?;
        let is_last = page.len() < WANTED_MAX as usize;
        let last = page.last().map(IndexRow::id);
        // A page begins with the one that the page before ended with.
        ids.extend(page.iter().map(IndexRow::id).filter(|id| Some(*id) > from));
        if is_last || ids.len() > LOOKED_AT_MAX {
            return Ok(ids);
        }
        from = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_begins_and_ends_with_a_day_whatever_the_time_is() {
        for now_ms in [0, 1, DAY_MS - 1, 1_795_938_600_123] {
            let (start, end) = exported(now_ms);
            assert_eq!((start.0 % DAY_MS, end.0 % DAY_MS), (0, 0), "{now_ms}");
            assert!(start.0 <= now_ms && now_ms < end.0, "{now_ms}");
        }
    }
}
