//! REST v1 for operators: list, show, explain, and where all that is below `/v1` is.
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::{HttpRequest, http::StatusCode, web};
use fieldmesh_actors::commit::ShardId;
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow, Region,
    message::Location,
    mutant::{Mutant, is_planted},
    ticket::{Stage, Standing},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared, areas, attachments, backup, ca, chaos, cluster, delivery, description, health, intake,
    integrations, notices,
    operator::Operator,
    orders, people, plan, policies,
    problem::Problem,
    promotion, rules,
    shifts::{self, own_region},
    slots, standing, submit, watch, whatif,
};
use crate::{
    courier::wire::{WANTED_MAX, Wanted},
    journal::{HistoryEntry, ShardJournal},
    story,
};

/// Rows of a page unless asked otherwise, and at most.
const PAGE_ROWS: usize = 100;
const PAGE_ROWS_MAX: usize = 1000;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/openapi.json", web::get().to(description::openapi))
        .route("/info", web::get().to(info))
        .route("/customers", web::get().to(customers))
        .route("/technicians", web::get().to(technicians))
        .configure(backup::routes)
        .configure(promotion::routes)
        .configure(ca::routes)
        .configure(chaos::routes)
        .configure(cluster::routes)
        .configure(slots::routes)
        .configure(areas::routes)
        .configure(orders::routes)
        .configure(attachments::routes)
        .configure(whatif::routes)
        .configure(plan::routes)
        .configure(notices::routes)
        .configure(people::routes)
        .configure(shifts::routes)
        .configure(health::routes)
        // Behind what has a name of its own below the same paths.
        .configure(standing::routes)
        .configure(submit::routes)
        .configure(policies::routes)
        .configure(intake::routes)
        .configure(integrations::routes)
        .configure(rules::routes)
        .route("/tickets", web::get().to(tickets))
        .route("/tickets/{id}", web::get().to(ticket))
        .route("/tickets/{id}/explanation", web::get().to(explanation))
        .route("/tickets/{id}/triage", web::get().to(triage))
        .route("/watch", web::get().to(watch::watch));
}

/// Where things are.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Info {
    pub region: String,
    /// UDP address for devices.
    pub devices: String,
}

/// Where the node is, for whoever enrolls devices.
#[utoipa::path(get, path = "/v1/info", responses((status = 200, body = Info)))]
pub async fn info(_operator: Operator, shared: web::Data<Shared>) -> web::Json<Info> {
    let info = Info { region: shared.node.region.clone(), devices: shared.devices.to_string() };
    std::future::ready(web::Json(info)).await
}

/// A point on the earth in millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub lat_e6: i32,
    pub lon_e6: i32,
}

impl From<Point> for Location {
    fn from(point: Point) -> Self {
        Self { lat_e6: point.lat_e6, lon_e6: point.lon_e6 }
    }
}

impl From<Location> for Point {
    fn from(Location { lat_e6, lon_e6 }: Location) -> Self {
        Self { lat_e6, lon_e6 }
    }
}

/// A customer to register.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    pub name: String,
    pub location: Point,
    /// 1 is the best service level.
    #[serde(default = "default_tier")]
    pub tier: u8,
    /// The IANA zone of the place, as `Europe/Berlin`; what was said before stays unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

fn default_tier() -> u8 {
    2
}

/// A skill with its level, 1 to 5.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSkill {
    pub category: u16,
    pub level: u8,
    /// Unix milliseconds: it counts until then; for good unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// A technician to register.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTechnician {
    pub name: String,
    pub home: Point,
    pub skills: Vec<NewSkill>,
    /// Tickets held at a time.
    #[serde(default = "default_capacity")]
    pub capacity: u16,
}

fn default_capacity() -> u16 {
    1
}

/// What was made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Created {
    #[schema(value_type = String)]
    pub id: String,
}

pub(super) fn fresh(shared: &Shared, kind: EntityKind) -> Result<EntityId, Problem> {
    let mut random = [0; 10];
    shared.node.entropy.fill(&mut random);
    Ok(EntityId::new(kind, region(shared)?, random))
}

pub(super) fn region(shared: &Shared) -> Result<Region, Problem> {
    shared.node.region.parse().map_err(|_| Problem::invalid("the node's region is not valid"))
}

/// Which rows of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Rows behind this identifier.
    after: Option<String>,
    limit: Option<usize>,
    /// Only rows in this state.
    state: Option<String>,
    /// Of the node's own region unless given; another's node is asked for it.
    region: Option<String>,
}

/// Which tickets of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct TicketQuery {
    /// Rows behind this identifier.
    after: Option<String>,
    limit: Option<usize>,
    /// Only rows in this state.
    state: Option<String>,
    /// Of the node's own region unless given; another's node is asked for it.
    region: Option<String>,
    /// Only rows of this priority; 1 is the highest, 5 the lowest.
    priority: Option<u8>,
    /// Only tickets of which a promise was not kept; false for the others.
    breached: Option<bool>,
}

/// What rows must be to be shown.
#[derive(Debug, Default)]
struct Filter {
    state: Option<String>,
    priority: Option<u8>,
    breached: Option<bool>,
}

impl ListQuery {
    fn filter(&self) -> Filter {
        Filter { state: self.state.clone(), ..Filter::default() }
    }
}

impl Filter {
    /// Whether what has ended cannot fit.
    fn is_of_open(&self) -> bool {
        let final_ones = [Stage::Closed, Stage::Cancelled].map(Stage::name);
        self.state.as_deref().is_some_and(|state| !final_ones.contains(&state))
    }

    fn fits(&self, row: &IndexRow) -> bool {
        let (state, priority, is_broken) = match row {
            IndexRow::Ticket { state, priority, standing, .. } => {
                let is_broken = standing.is_some_and(|standing| standing.is_broken);
                (state.name(), Some(*priority), is_broken)
            }
            IndexRow::Technician { state, .. } => (state.name(), None, false),
            IndexRow::Customer { state, .. } => (state.name(), None, false),
            _ => return false,
        };
        self.state.as_deref().is_none_or(|wanted| wanted == state)
            && self.priority.is_none_or(|wanted| Some(wanted) == priority)
            && self.breached.is_none_or(|wanted| wanted == is_broken)
    }
}

/// A row of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RowView {
    pub id: String,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub technician: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<u16>,
    /// How it stands with what was promised and with its escalation policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingView>,
}

/// What lists show of the terms that a ticket was opened under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// When the next promise is broken, Unix milliseconds.
    pub due_ms: Option<u64>,
    /// A promise was not kept.
    pub is_breached: bool,
    /// The step of its escalation policy, counted from 1, while that runs.
    pub step: Option<u32>,
    /// A silence or maintenance window holds it.
    pub is_silenced: bool,
    /// A person has answered, and nobody else is told for a while.
    pub is_acknowledged: bool,
    /// Nothing is heard of work that a technician accepted since then, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_since_ms: Option<u64>,
}

impl StandingView {
    pub(crate) fn of(standing: &Standing) -> Self {
        let Standing { due, is_broken, step, is_silenced, is_answered, overdue_since } = *standing;
        Self {
            due_ms: due.map(|due| due.0),
            is_breached: is_broken,
            step: step.map(|step| u32::from(step) + 1),
            is_silenced,
            is_acknowledged: is_answered,
            overdue_since_ms: overdue_since.map(|since| since.0),
        }
    }

    /// What stands out, for a line of a list.
    pub(crate) fn marks(self) -> String {
        let step = self.step.map(|step| format!(" step {step}"));
        let said = |is_so: bool, mark: &'static str| if is_so { mark } else { "" };
        let (breached, silenced) = (self.is_breached, self.is_silenced);
        [
            said(breached, " BREACHED"),
            said(self.overdue_since_ms.is_some(), " OVERDUE"),
            step.as_deref().unwrap_or_default(),
            said(self.is_acknowledged, " acknowledged"),
            said(silenced, " silenced"),
        ]
        .concat()
    }
}

impl RowView {
    /// None for a row that no list shows.
    pub fn of(row: &IndexRow) -> Option<Self> {
        let plain = |state: &str| Self {
            id: row.id().to_string(),
            state: state.into(),
            priority: None,
            technician: None,
            opened_ms: None,
            load: None,
            standing: None,
        };
        Some(match row {
            IndexRow::Ticket { state, priority, opened_at, technician, standing, .. } => Self {
                priority: Some(*priority),
                technician: technician.map(|id| id.to_string()),
                opened_ms: Some(opened_at.0),
                standing: standing.as_ref().map(StandingView::of),
                ..plain(state.name())
            },
            IndexRow::Technician { state, load, .. } => {
                Self { load: Some(*load), ..plain(state.name()) }
            }
            IndexRow::Customer { state, .. } => plain(state.name()),
            IndexRow::Registration { state, .. } => plain(state.name()),
            IndexRow::Certificate { .. }
            | IndexRow::BoundKey { .. }
            | IndexRow::Revocation { .. }
            | IndexRow::Ca { .. }
            | IndexRow::Member { .. }
            | IndexRow::Home { .. }
            | IndexRow::Placed { .. }
            | IndexRow::Notice { .. }
            | IndexRow::Delivery { .. }
            | IndexRow::Gone { .. }
            | IndexRow::Integration { .. }
            | IndexRow::Document(_)
            | IndexRow::Allowances(_) => return None,
        })
    }
}

/// A page of a list; `next` is the `after` of the following one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page {
    pub rows: Vec<RowView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

async fn list(
    shared: &Shared,
    kind: EntityKind,
    query: &ListQuery,
    filter: &Filter,
) -> Result<web::Json<Page>, Problem> {
    own_region(shared, query.region.as_deref())?;
    let after = query
        .after
        .as_deref()
        .map(str::parse::<EntityId>)
        .transpose()
        .map_err(|_| Problem::invalid("after is not an identifier"))?;
    let limit = query.limit.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX);
    let mut rows = Vec::new();
    for shard in shared.node.known.own_groups() {
        rows.extend(matching(shared, shard, kind, after, limit, filter).await?);
    }
    rows.sort_by_key(IndexRow::id);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more || rows.len() == limit).map(|row| row.id().to_string());
    Ok(web::Json(Page { rows: rows.iter().filter_map(RowView::of).collect(), next }))
}

async fn matching(
    shared: &Shared,
    shard: ShardId,
    kind: EntityKind,
    after: Option<EntityId>,
    limit: usize,
    filter: &Filter,
) -> Result<Vec<IndexRow>, Problem> {
    let (mut found, mut from) = (Vec::new(), after);
    let only_open = kind == EntityKind::Ticket && filter.is_of_open();
    loop {
        let page = match only_open {
            true => open_page(shared, shard, from).await?,
            false => {
                rows(shared, Wanted { shard, kind: kind as u8, from, limit: WANTED_MAX }).await?
            }
        };
        let last = page.last().map(IndexRow::id);
        let is_last = page.len() < WANTED_MAX as usize;
        let known = shared.node.known.known();
        let wanted = page.into_iter().filter(|row| {
            // What a slot left behind is listed where it is now.
            let is_own = known.group_of(row.id()).is_none_or(|group| group == shard);
            // The page begins with the one that the page before ended with.
            from != Some(row.id()) && is_own && filter.fits(row)
        });
        found.extend(wanted.take(limit - found.len()));
        if is_last || found.len() == limit {
            return Ok(found);
        }
        from = last;
    }
}

/// A page of a shard's tickets, in which none is missing that is open; the others are not in it where a replica of the
/// shard is here. What a slot left behind may be.
pub(super) async fn open_page(
    shared: &Shared,
    shard: ShardId,
    from: Option<EntityId>,
) -> Result<Vec<IndexRow>, Problem> {
    match shared.node.open_rows(shard, from, WANTED_MAX as usize) {
        Some(page) => Ok(page?),
        None => {
            let kind = EntityKind::Ticket as u8;
            rows(shared, Wanted { shard, kind, from, limit: WANTED_MAX }).await
        }
    }
}

/// A page of a list, wherever a replica of its shard is.
pub(super) async fn rows(shared: &Shared, wanted: Wanted) -> Result<Vec<IndexRow>, Problem> {
    let page = shared.node.rows(wanted).await?;
    page.ok_or_else(|| {
        let shard = wanted.shard;
        Problem::busy(format_args!("no node that has a replica of shard {shard} answers"))
    })
}

/// Lists tickets.
#[utoipa::path(get, path = "/v1/tickets", params(TicketQuery), responses((status = 200, body = Page)))]
pub async fn tickets(
    _operator: Operator,
    query: web::Query<TicketQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Page>, Problem> {
    let TicketQuery { after, limit, state, region, priority, breached } = query.into_inner();
    if priority.is_some_and(|priority| !(1..=5).contains(&priority)) {
        return Err(Problem::invalid("a priority is 1, the highest, to 5"));
    }
    let filter = Filter { state, priority, breached };
    let query = ListQuery { after, limit, state: None, region };
    list(&shared, EntityKind::Ticket, &query, &filter).await
}

/// Lists customers.
#[utoipa::path(get, path = "/v1/customers", params(ListQuery), responses((status = 200, body = Page)))]
pub async fn customers(
    _operator: Operator,
    query: web::Query<ListQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Page>, Problem> {
    list(&shared, EntityKind::Customer, &query, &query.filter()).await
}

/// Lists technicians.
#[utoipa::path(get, path = "/v1/technicians", params(ListQuery), responses((status = 200, body = Page)))]
pub async fn technicians(
    _operator: Operator,
    query: web::Query<ListQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Page>, Problem> {
    list(&shared, EntityKind::Technician, &query, &query.filter()).await
}

/// An entity whose history no replica here has.
pub(super) fn elsewhere(shared: &Shared, id: EntityId) -> Problem {
    let known = shared.node.known.known();
    let Some(shard) = known.group_of(id) else { return Problem::missing("such region") };
    let voters = known.placed(shard).map_or(&[][..], |placed| &placed.voters);
    let at = voters.iter().filter_map(|voter| known.member(*voter));
    let elsewhere: Vec<String> = at.map(|node| node.https.clone()).collect();
    let at = elsewhere.join(" or ");
    let detail = format_args!("shard {shard} has no replica on this node: ask the one at {at}");
    let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "elsewhere", detail);
    Problem { elsewhere, ..problem }
}

/// How recent an answer has to be.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    /// Answer from what this node has, even where it cannot tell whether that is the last word.
    #[serde(default)]
    stale: bool,
}

/// Has the replica here catch up with what was acknowledged before now; `otherwise` is what to do where
/// it cannot.
pub(super) async fn latest(
    shared: &Shared,
    shard: ShardId,
    otherwise: &str,
) -> Result<(), Problem> {
    if is_planted(Mutant::StaleRead) || shared.node.courier.catch_up_in_time(shard).await {
        return Ok(());
    }
    Err(Problem::busy(format_args!(
        "nobody who leads shard {shard} answers, so this node cannot tell the last word: ask another \
         node, {otherwise}"
    )))
}

pub(super) async fn history(
    shared: &Shared,
    id: &str,
    query: &ReadQuery,
) -> Result<(EntityId, Vec<HistoryEntry>), Problem> {
    let (id, journal) = replica(shared, id, query).await?;
    Ok((id, of_one(&journal, id)?))
}

/// The replica here of a ticket's shard, with all that was acknowledged before now.
async fn replica(
    shared: &Shared,
    id: &str,
    query: &ReadQuery,
) -> Result<(EntityId, ShardJournal), Problem> {
    let id: EntityId = id.parse().map_err(|_| Problem::invalid("this is not an identifier"))?;
    if id.kind() != EntityKind::Ticket {
        return Err(Problem::invalid("this is not a ticket's identifier"));
    }
    let here = shared.node.known.group_of(id);
    let here = here.filter(|shard| shared.node.courier.has_replica(*shard));
    let here = here.and_then(|shard| Some((shard, shared.node.journal(shard)?)));
    let (shard, journal) = here.ok_or_else(|| elsewhere(shared, id))?;
    if !query.stale {
        latest(shared, shard, "or this one with stale=true (--stale) for what it has").await?;
    }
    Ok((id, journal))
}

fn of_one(journal: &ShardJournal, id: EntityId) -> Result<Vec<HistoryEntry>, Problem> {
    let history = journal.history(id)?;
    if history.is_empty() { Err(Problem::missing("such ticket")) } else { Ok(history) }
}

/// A ticket with its history, whose hash chain was checked.
#[utoipa::path(get, path = "/v1/tickets/{id}", params(ReadQuery, ("Prefer" = Option<String>, Header, description = "`position`: the answer says where the replica that gave it was.")), responses((status = 200, body = story::TicketStory)))]
pub async fn ticket(
    _operator: Operator,
    request: HttpRequest,
    id: web::Path<String>,
    query: web::Query<ReadQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<story::TicketStory>, Problem> {
    let (id, journal) = replica(&shared, &id, &query).await?;
    // Before the history is read, which so has at least what stands there.
    let position = chaos::positions::preferred(&request, &journal, shared.node.number)?;
    let history = of_one(&journal, id)?;
    let mut story = story::tell(id, &history)?;
    story.position = position;
    delivery::complete(&shared, &history, &mut story).await;
    story.warning = areas::noted(&shared, id.region(), &history)?;
    Ok(web::Json(story))
}

/// What trigger rules said of it; null where there were none.
#[utoipa::path(get, path = "/v1/tickets/{id}/triage", params(ReadQuery), responses((status = 200, body = Option<story::TriageStory>)))]
pub async fn triage(
    _operator: Operator,
    id: web::Path<String>,
    query: web::Query<ReadQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Option<story::TriageStory>>, Problem> {
    let (_, history) = history(&shared, &id, &query).await?;
    story::triage(&history).map(web::Json).map_err(Problem::from)
}

/// Why its technicians were chosen.
#[utoipa::path(get, path = "/v1/tickets/{id}/explanation", params(ReadQuery), responses((status = 200, body = story::ChoiceStory)))]
pub async fn explanation(
    _operator: Operator,
    id: web::Path<String>,
    query: web::Query<ReadQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Vec<story::ChoiceStory>>, Problem> {
    let (_, history) = history(&shared, &id, &query).await?;
    story::choices(&history).map(web::Json).map_err(Problem::from)
}
