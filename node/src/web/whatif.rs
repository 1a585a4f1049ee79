//! `/v1/whatif`: what the desk would answer to a ticket that there is not; and a ticket's choices, decided
//! again.
//!
//! **Invariants:** nothing is changed; what takes long is done beside the web's threads and ends in time.
//! **Not here:** deciding (`domain::desk`), histories (`again`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::time::Duration;

use actix_web::web;
use fieldmesh_actors::AskError;
use fieldmesh_domain::{
    Aggregate as _, Command, Ctx, Effect, EntityId, EntityKind, Region,
    customer::{self, Customer},
    desk::Desk,
    integration::Reported,
    message::Location,
    selection::{Choice, Need},
    ticket::{self, Ticket},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    Shared,
    operator::Operator,
    orders::id_of,
    problem::Problem,
    rest::{Point, ReadQuery, elsewhere, history, latest},
    shifts::replica,
    submit::NewTicket,
};
use crate::{
    again::{self, Again, Course, Judged, Verdict, WhatIf},
    journal::ShardJournal,
    story::{self, ChoiceStory},
};

/// A desk's history is gone through for so long at a time: some hundred thousand steps, and less than a client
/// waits.
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// Technicians that may be left out of a question.
const WITHOUT_MAX: usize = 1_000;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/whatif", web::post().to(what_if))
        .route("/tickets/{id}/explanation/again", web::get().to(decide_again));
}

/// A ticket that there is not.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWhatIf {
    pub category: u16,
    /// 1 is the highest, 5 the lowest; with a customer it is what rules, or impact and urgency, make of the request.
    #[serde(default)]
    pub priority: Option<u8>,
    /// Where the customer is unless given.
    #[serde(default)]
    pub location: Option<Point>,
    /// Whose request it would be: rules, the escalation policy, what is promised and what the customer wishes count as if
    /// it were made. Without one nothing but the category, the priority and the place is known.
    #[serde(default)]
    pub customer: Option<String>,
    #[serde(default)]
    pub subcategory: u16,
    /// 1 is the highest, 3 the lowest; 2 unless given, as is urgency.
    #[serde(default)]
    pub impact: Option<u8>,
    #[serde(default)]
    pub urgency: Option<u8>,
    #[serde(default)]
    pub text: String,
    /// Technicians that are not to be counted on.
    #[serde(default)]
    pub without: Vec<String>,
    /// Unix milliseconds; now unless said.
    #[serde(default)]
    pub at_ms: Option<u64>,
    /// The node's own unless said.
    #[serde(default)]
    pub region: Option<String>,
}

/// What the desk would answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WhatIfStory {
    pub choice: ChoiceStory,
    /// It would first wait for others, two seconds at most.
    pub waits: bool,
    /// Nobody has room, but this ticket's offer would be asked back for it.
    pub displaces: Option<String>,
    /// From whom.
    pub displaced_from: Option<String>,
    /// How the ticket would begin, where a customer was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<BeginningStory>,
}

/// How a ticket would begin.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BeginningStory {
    /// `matching`; `triaged`, where it is first compared with others of its keys; `held`, before anybody is sought.
    pub state: String,
    pub priority: u8,
    /// The rules that would act.
    pub rules: Vec<String>,
    /// The escalation policy that it would be under.
    pub policy: Option<String>,
}

/// A choice with what comes of deciding it again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AgainStory {
    pub choice: ChoiceStory,
    /// None where the desk's history does not have it, or nobody chose by rules.
    pub same: Option<bool>,
    /// Who would be chosen, where it is not the same.
    pub instead: Option<String>,
}

/// The desk of a region with its journal here, caught up.
pub(super) async fn desk(
    shared: &Shared,
    region: Option<&str>,
) -> Result<(EntityId, ShardJournal), Problem> {
    let region: Region = region.unwrap_or(&shared.node.region).parse().map_err(Problem::invalid)?;
    let id = EntityId::desk(region);
    let here = shared.node.known.group_of(id);
    let here = here.filter(|shard| shared.node.courier.has_replica(*shard));
    let here = here.and_then(|shard| Some((shard, shared.node.journal(shard)?)));
    let (shard, journal) = here.ok_or_else(|| elsewhere(shared, id))?;
    latest(shared, shard, "or this one later").await?;
    Ok((id, journal))
}

/// Runs beside the web's threads.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    web::block(work).await.map_err(|_| Problem::busy("the node is ending"))?
}

pub(super) fn technician(text: &str) -> Result<EntityId, Problem> {
    let id: Option<EntityId> = text.parse().ok();
    let of_kind = id.filter(|id| id.kind() == EntityKind::Technician);
    of_kind.ok_or_else(|| Problem::invalid(format_args!("{text:?} is no technician's identifier")))
}

/// What the desk would answer, without changing anything.
#[utoipa::path(post, path = "/v1/whatif", request_body = NewWhatIf, responses((status = 200, body = WhatIfStory)))]
pub async fn what_if(
    _operator: Operator,
    body: web::Json<NewWhatIf>,
    shared: web::Data<Shared>,
) -> Result<web::Json<WhatIfStory>, Problem> {
    let new = body.into_inner();
    if new.without.len() > WITHOUT_MAX {
        let text = format_args!("at most {WITHOUT_MAX} technicians can be left out");
        return Err(Problem::invalid(text));
    }
    let without: Vec<EntityId> =
        new.without.iter().map(|text| technician(text)).collect::<Result<_, _>>()?;
    let now = Millis(new.at_ms.unwrap_or_else(|| shared.node.clock.now_ms()));
    let of = |text: &String| id_of(text, EntityKind::Customer, "customer");
    let customer = new.customer.as_ref().map(of).transpose()?;
    let region = customer.map(|customer| customer.region().to_string()).or(new.region.clone());
    let (need, begins) = match customer {
        None => (plain(&new)?, None),
        Some(customer) => asked_for(&shared, customer, new, now).await?,
    };
    let (id, journal) = desk(&shared, region.as_deref()).await?;
    let need = (need, shared.node.guide.pace());
    beside(move || {
        let mut desk: Desk = journal.state(id)?;
        desk.technicians.retain(|technician, _| !without.contains(technician));
        let ctx = Ctx { now, id, rule_version: fieldmesh_actors::RULE_VERSION };
        // No ticket has this identifier: theirs are hashes.
        let ticket = EntityId::new(EntityKind::Ticket, id.region(), [0xff; 10]);
        Ok(web::Json(tell(&again::what_if(desk, ticket, need, &ctx), begins, now)))
    })
    .await
}

/// What is asked for without a customer.
fn plain(new: &NewWhatIf) -> Result<Need, Problem> {
    let lacking = || Problem::invalid("say a priority and a location, or for which customer");
    let (priority, location) = new.priority.zip(new.location).ok_or_else(lacking)?;
    let location = Location::from(location);
    if !(1..=5).contains(&priority) {
        return Err(Problem::invalid("a priority is 1 to 5"));
    }
    if !location.is_on_earth() {
        return Err(Problem::invalid("the location is not on earth"));
    }
    Ok(Need::plain(new.category, priority, location, Vec::new()))
}

/// What a customer's ticket would ask the desk for, and how it would begin: the customer and the ticket decide so, and
/// nothing of it is written.
async fn asked_for(
    shared: &Shared,
    id: EntityId,
    new: NewWhatIf,
    now: Millis,
) -> Result<(Need, Option<BeginningStory>), Problem> {
    if new.priority.is_some() {
        let text = "the priority of a customer's request follows from it: leave it out";
        return Err(Problem::invalid(text));
    }
    let mut customer: Customer = replica(shared, id).await?.state(id)?;
    let NewWhatIf { category, subcategory, text, .. } = new;
    let asked = Reported {
        category,
        subcategory,
        impact: new.impact.unwrap_or(NewTicket::MIDDLE),
        urgency: new.urgency.unwrap_or(NewTicket::MIDDLE),
        location: new.location.map(Location::from),
        text,
    };
    // No operator has this key: theirs are hashes.
    let submit = customer::Command::Submit { id: [0xff; 16], asked, by: String::new() };
    let ctx = Ctx { now, id, rule_version: fieldmesh_actors::RULE_VERSION };
    let mut told = None;
    for event in customer.decide(&submit, &ctx).map_err(AskError::Rejected)? {
        customer.evolve(&event);
        told = customer.react(&event, id).into_iter().find_map(|effect| match effect {
            Effect::Tell { to, command: Command::Ticket(command) } => Some((to, command)),
            _ => None,
        });
    }
    let nothing = || Problem::invalid("the customer would ask for nothing");
    let (ticket, mut open) = told.ok_or_else(nothing)?;
    shared.node.guide.what_if(ticket, &mut open, now);
    let mut one = Ticket::default();
    let ctx = Ctx { id: ticket, ..ctx };
    for event in one.decide(&open, &ctx).map_err(AskError::Rejected)? {
        one.evolve(&event);
    }
    let begins = begins(&one, &open);
    Ok((one.need(), Some(begins)))
}

fn begins(one: &Ticket, open: &ticket::Command) -> BeginningStory {
    let (rules, policy) = match open {
        ticket::Command::Open { triage, terms, .. } => {
            let acted = triage.iter().flat_map(|triage| &triage.acted);
            let policy = terms.as_ref().and_then(|terms| terms.policy.as_ref());
            let policy = policy.map(|policy| policy.name.clone());
            (acted.map(|acted| acted.rule.clone()).collect(), policy)
        }
        _ => (Vec::new(), None),
    };
    BeginningStory { state: one.stage.name().to_owned(), priority: one.priority, rules, policy }
}

fn tell(found: &WhatIf, begins: Option<BeginningStory>, now: Millis) -> WhatIfStory {
    let WhatIf { choice, chosen, waits, displaces } = found;
    WhatIfStory {
        choice: story::explain(now.0, *chosen, choice),
        waits: *waits,
        displaces: displaces.map(|(ticket, _)| ticket.to_string()),
        displaced_from: displaces.map(|(_, technician)| technician.to_string()),
        begins,
    }
}

/// The title of an answer that another ask goes on from.
pub const UNDER_WAY: &str = "under-way";

fn under_way(version: u64) -> Problem {
    let text = format_args!(
        "the desk's history is gone through up to its event {version}, and goes on from there when you ask again"
    );
    Problem { title: UNDER_WAY, ..Problem::busy(text) }
}

/// A ticket's choices, each decided again from what the desk knew then. Where its history is long, the answer is
/// 503 with the title `under-way`, and asking again goes on.
#[utoipa::path(get, path = "/v1/tickets/{id}/explanation/again", params(ReadQuery), responses((status = 200, body = Vec<AgainStory>)))]
pub async fn decide_again(
    _operator: Operator,
    id: web::Path<String>,
    query: web::Query<ReadQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Vec<AgainStory>>, Problem> {
    let (ticket, history) = history(&shared, &id, &query).await?;
    let (desk, journal) = desk(&shared, Some(&ticket.region().to_string())).await?;
    let began = Instant::now();
    beside(move || {
        let answers = again::answers(&history)?;
        let goes_on = || began.elapsed() < AGAIN_MAX;
        let read = |version| journal.history_page(desk, version, again::PAGE);
        let course = Course { desk, waypoints: &shared.waypoints, read };
        let found = again::decide(ticket, &answers, &course, goes_on)?;
        let judged = match found {
            Again::Decided(judged) => judged,
            Again::UnderWay(version) => return Err(under_way(version)),
        };
        let mut answers = answers.iter().zip(judged);
        let choices = story::choices(&history)?.into_iter();
        let stories = choices.map(|mut choice| {
            // An operator's choice is nothing that the desk decided.
            let answer = if choice.by.is_none() { answers.next() } else { None };
            let (verdict, excluded) = match answer {
                Some((answer, Judged { verdict, excluded })) => {
                    (Some(verdict), excluded.map(|all| (answer, all)))
                }
                None => (None, None),
            };
            if let Some((answer, all)) = excluded {
                let lacking = answer.choice.lacking.clone();
                let all = Choice { excluded: all.to_vec(), lacking, ..Choice::default() };
                choice.excluded = story::explain(choice.at_ms, None, &all).excluded;
            }
            let same = match verdict {
                None | Some(Verdict::Unknown) => None,
                Some(Verdict::Same) => Some(true),
                Some(Verdict::Differs { .. }) => Some(false),
            };
            let instead = match verdict {
                Some(Verdict::Differs { chosen }) => {
                    Some(chosen.map_or_else(|| "nobody".to_owned(), |id| id.to_string()))
                }
                _ => None,
            };
            AgainStory { choice, same, instead }
        });
        Ok(web::Json(stories.collect()))
    })
    .await
}
