//! `/v1/whatif`: what the desk would answer to a ticket that there is not; and a ticket's choices, decided
//! again.
//!
//! **Invariants:** nothing is changed; what takes long is done beside the web's threads and ends in time.
//! **Not here:** deciding (`domain::desk`), histories (`again`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::time::Duration;

use actix_web::web;
use fieldmesh_domain::{
    Ctx, EntityId, EntityKind, Region,
    desk::Desk,
    message::Location,
    selection::{Choice, Need},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    Shared,
    operator::Operator,
    problem::Problem,
    rest::{Point, ReadQuery, elsewhere, history, latest},
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
    /// 1 is the highest, 5 the lowest.
    pub priority: u8,
    pub location: Point,
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
    let NewWhatIf { category, priority, location, without, at_ms, region } = body.into_inner();
    if !(1..=5).contains(&priority) {
        return Err(Problem::invalid("a priority is 1 to 5"));
    }
    if without.len() > WITHOUT_MAX {
        let text = format_args!("at most {WITHOUT_MAX} technicians can be left out");
        return Err(Problem::invalid(text));
    }
    let without: Vec<EntityId> =
        without.iter().map(|text| technician(text)).collect::<Result<_, _>>()?;
    let (id, journal) = desk(&shared, region.as_deref()).await?;
    let now = Millis(at_ms.unwrap_or_else(|| shared.node.clock.now_ms()));
    let location: Location = location.into();
    if !location.is_on_earth() {
        return Err(Problem::invalid("the location is not on earth"));
    }
    let need = Need::plain(category, priority, location, Vec::new());
    beside(move || {
        let mut desk: Desk = journal.state(id)?;
        desk.technicians.retain(|technician, _| !without.contains(technician));
        let ctx = Ctx { now, id, rule_version: fieldmesh_actors::RULE_VERSION };
        // No ticket has this identifier: theirs are hashes.
        let ticket = EntityId::new(EntityKind::Ticket, id.region(), [0xff; 10]);
        Ok(web::Json(tell(&again::what_if(desk, ticket, need, id, &ctx), now)))
    })
    .await
}

fn tell(found: &WhatIf, now: Millis) -> WhatIfStory {
    let WhatIf { choice, chosen, waits, displaces } = found;
    WhatIfStory {
        choice: story::explain(now.0, *chosen, choice),
        waits: *waits,
        displaces: displaces.map(|(ticket, _)| ticket.to_string()),
        displaced_from: displaces.map(|(_, technician)| technician.to_string()),
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
