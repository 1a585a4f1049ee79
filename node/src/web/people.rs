//! What operators say of customers and technicians that are registered: a technician's skills and van stock, a
//! customer's wishes and zone; and registering the same one once.
//!
//! **Invariants:** the same key names the same entity of the node's region, so that an import may be
//! repeated; a dry run writes nothing; an address that is nobody's is not written. **Not here:** bounds (`domain`),
//! areas (`areas`), one as it is (`standing`), reading files (`cli::import`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_actors::Answer;
use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::{
    Command, EntityId, EntityKind, Region,
    customer::{self, Customer},
    message::Location,
    placement::ZONES,
    selection::Wishes,
    technician::{
        self, Skill, Technician,
        life::{Revision, Word},
    },
    time::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared, areas,
    operator::Operator,
    orders::id_of,
    problem::Problem,
    rest::{NewCustomer, NewSkill, NewTechnician, Point, fresh, region},
    shifts::{DryRun, Outcome, check_level, known, outcome_of, replica, tell, tried},
};
use crate::issuer::sha256;

/// Bytes of a key: what other systems call a record.
const KEY_BYTES_MAX: usize = 128;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/customers", web::post().to(register_customer))
        .route("/customers/{id}/preferences", web::put().to(set_preferences))
        .route("/customers/{id}/zone", web::put().to(set_zone))
        .route("/technicians", web::post().to(register_technician))
        .route("/technicians/{id}/revision", web::post().to(revise));
}

/// Who is registered, and whether really.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Registering {
    /// What another system calls it: the same key again is the same entity.
    key: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// The entity that a key names, or a new one.
fn named(shared: &Shared, kind: EntityKind, key: Option<&str>) -> Result<EntityId, Problem> {
    let Some(key) = key else { return fresh(shared, kind) };
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        let text = format_args!("a key has 1 to {KEY_BYTES_MAX} bytes");
        return Err(Problem::invalid(text));
    }
    called(kind, region(shared)?, key).ok_or_else(|| Problem::invalid("no name"))
}

/// The entity that a key names in a region.
pub(crate) fn called(kind: EntityKind, region: Region, key: &str) -> Option<EntityId> {
    // With its region: or the same key would give two regions' entities one name to be searched by.
    let of = format!("{region}/{key}");
    let hash = sha256(&[&[kind as u8][..], of.as_bytes()].concat());
    hash.split_first_chunk().map(|(name, _)| EntityId::new(kind, region, *name))
}

/// 201 for what is there for the first time, otherwise 200.
pub(super) fn answer(outcome: Outcome) -> HttpResponse {
    let is_new = outcome.outcome == "created" && !outcome.dry_run;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    HttpResponse::build(status).json(outcome)
}

/// Registers a customer. The same key again is the same customer, which must have the same data; its zone is
/// changed where it is another one.
#[utoipa::path(post, path = "/v1/customers", params(Registering), request_body = NewCustomer, responses((status = 201, body = Outcome), (status = 200, body = Outcome)))]
pub async fn register_customer(
    operator: Operator,
    query: web::Query<Registering>,
    body: web::Json<NewCustomer>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let NewCustomer { name, location, tier, zone } = body.into_inner();
    let id = named(&shared, EntityKind::Customer, query.key.as_deref())?;
    let location = location.into();
    let before = match &query.key {
        Some(_) if areas::are_any(&shared) => {
            let known = replica(&shared, id).await?.state::<Customer>(id)?;
            (known.standing != customer::Standing::Unknown).then_some(known.location)
        }
        _ => None,
    };
    let warning = areas::judged(&shared, id.region(), location, before)?;
    let zone = zone.map(|zone| zone_of(Some(&zone), &shared)).transpose()?.flatten();
    let zone = zone.map(|zone| (zone, operator.name));
    // A new customer gets its zone in the same step: one without it is not what was asked for.
    let command = customer::Command::Register { name, location, tier, zone: zone.clone() };
    let set = zone.map(|(zone, by)| customer::Command::SetZone { zone: Some(zone), by });
    if query.dry_run {
        let state: Customer = replica(&shared, id).await?.state(id)?;
        let mut outcome = created(tried(&state, &command, id, &shared)?);
        if let Some(set) = set.filter(|_| outcome == "unchanged") {
            outcome = tried(&state, &set, id, &shared)?;
        }
        return Ok(answer(Outcome::new(id, outcome, true).warned(warning)));
    }
    let done = shared.node.ask(id, Command::Customer(command)).await?;
    let mut outcome = created(outcome_of(&done));
    if let Some(set) = set.filter(|_| outcome == "unchanged") {
        outcome = outcome_of(&shared.node.ask(id, Command::Customer(set)).await?);
    }
    Ok(answer(Outcome::new(id, outcome, false).warned(warning)))
}

/// A zone that may be set.
fn zone_of(zone: Option<&str>, shared: &Shared) -> Result<Option<Zone>, Problem> {
    let zone = zone.map(Zone::new).transpose().map_err(Problem::invalid)?;
    if shared.node.known.known().level() < ZONES {
        let text = "a node runs an older release and does not know of zones: upgrade it first";
        return Err(Problem::busy(text));
    }
    Ok(zone)
}

pub(super) fn created(outcome: &'static str) -> &'static str {
    if outcome == "changed" { "created" } else { outcome }
}

fn skills(skills: &[NewSkill]) -> Vec<Skill> {
    let skill = |skill: &NewSkill| Skill {
        expires: skill.expires_ms.map(Millis),
        ..Skill::new(skill.category, skill.level)
    };
    skills.iter().map(skill).collect()
}

/// Registers a technician, on shift. The same key again is the same technician: what is otherwise of it is
/// changed.
#[utoipa::path(post, path = "/v1/technicians", params(Registering), request_body = NewTechnician, responses((status = 201, body = Outcome), (status = 200, body = Outcome)))]
pub async fn register_technician(
    _operator: Operator,
    query: web::Query<Registering>,
    body: web::Json<NewTechnician>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let new = body.into_inner();
    let id = named(&shared, EntityKind::Technician, query.key.as_deref())?;
    if new.skills.iter().any(|skill| skill.expires_ms.is_some()) {
        check_level(&shared)?;
    }
    let (home, skills) = (new.home.into(), skills(&new.skills));
    let known = match &query.key {
        Some(_) => replica(&shared, id).await?.state::<Technician>(id)?,
        None => Technician::default(),
    };
    let before = known.registered.then_some(known.home);
    let warning = areas::judged(&shared, id.region(), home, before)?;
    let register = technician::Command::Register {
        name: new.name.clone(),
        skills: skills.clone(),
        home,
        capacity: new.capacity,
        shift: technician::Shift::Always,
    };
    let revision = Revision {
        name: Some(new.name),
        skills: Some(skills),
        home: Some(home),
        capacity: Some(new.capacity),
        stock: None,
    };
    if known.registered {
        let outcome = tell(&shared, id, Word::Revise(revision), query.dry_run).await?;
        return Ok(answer(outcome.warned(warning)));
    }
    if query.dry_run {
        let outcome = created(tried(&Technician::default(), &register, id, &shared)?);
        return Ok(answer(Outcome::new(id, outcome, true).warned(warning)));
    }
    let registered = shared.node.ask(id, Command::Technician(register)).await?;
    if matches!(registered, Answer::Done { .. }) {
        let on_shift = Command::Technician(technician::Command::GoOnShift);
        shared.node.ask(id, on_shift).await?;
    }
    let outcome = created(outcome_of(&registered));
    Ok(answer(Outcome::new(id, outcome, false).warned(warning)))
}

/// What is otherwise of a technician; what is not said stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevision {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Point>,
    /// All that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skills: Option<Vec<NewSkill>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u16>,
    /// All parts on its van by number, with how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<BTreeMap<String, u16>>,
}

/// Changes what a technician can do and has. Where its home is in no region's area, the answer warns of it.
#[utoipa::path(post, path = "/v1/technicians/{id}/revision", params(DryRun), request_body = NewRevision, responses((status = 200, body = Outcome)))]
pub async fn revise(
    _operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewRevision>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let id = id_of(&id, EntityKind::Technician, "technician")?;
    let NewRevision { name, home, skills: has, capacity, stock } = body.into_inner();
    let (home, has) = (home.map(Location::from), has.map(|has| skills(&has)));
    let warning = match home {
        Some(home) => areas::judged(&shared, id.region(), home, None)?,
        // It stays where it is: what there is to say of that.
        None if areas::are_any(&shared) => {
            let home = known(&shared, id).await?.home;
            areas::judged(&shared, id.region(), home, Some(home))?
        }
        None => None,
    };
    let revision = Revision { skills: has, home, capacity, stock, name };
    let outcome = tell(&shared, id, Word::Revise(revision), query.dry_run).await?;
    Ok(web::Json(outcome.warned(warning)))
}

/// The time that a customer's clocks show.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewZone {
    /// A zone of the IANA database, as `Europe/Berlin`; none for that of the region.
    pub zone: Option<String>,
}

/// Sets which time a customer's clocks show, from its next request on.
#[utoipa::path(put, path = "/v1/customers/{id}/zone", params(DryRun), request_body = NewZone, responses((status = 200, body = Outcome)))]
pub async fn set_zone(
    operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewZone>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let id = id_of(&id, EntityKind::Customer, "customer")?;
    let zone = zone_of(body.zone.as_deref(), &shared)?;
    let command = customer::Command::SetZone { zone, by: operator.name };
    if query.dry_run {
        let state: Customer = replica(&shared, id).await?.state(id)?;
        let outcome = tried(&state, &command, id, &shared)?;
        return Ok(web::Json(Outcome::new(id, outcome, true)));
    }
    let done = shared.node.ask(id, Command::Customer(command)).await?;
    Ok(web::Json(Outcome::new(id, outcome_of(&done), false)))
}

/// A customer's wishes: all of them, the others end.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreferences {
    /// Technicians that it would like to see.
    #[serde(default)]
    pub preferred: Vec<String>,
    /// Technicians that never come to it.
    #[serde(default)]
    pub blocked: Vec<String>,
}

/// Sets which technicians a customer would like to see, and which not, from its next request on.
#[utoipa::path(put, path = "/v1/customers/{id}/preferences", params(DryRun), request_body = NewPreferences, responses((status = 200, body = Outcome)))]
pub async fn set_preferences(
    operator: Operator,
    id: web::Path<String>,
    query: web::Query<DryRun>,
    body: web::Json<NewPreferences>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Outcome>, Problem> {
    let id = id_of(&id, EntityKind::Customer, "customer")?;
    let all = |texts: &[String]| {
        let ids = texts.iter().map(|text| id_of(text, EntityKind::Technician, "technician"));
        ids.collect::<Result<_, _>>()
    };
    let wishes = Wishes { preferred: all(&body.preferred)?, blocked: all(&body.blocked)? };
    let command = customer::Command::SetPreferences { wishes, by: operator.name };
    if query.dry_run {
        let state: Customer = replica(&shared, id).await?.state(id)?;
        let outcome = tried(&state, &command, id, &shared)?;
        return Ok(web::Json(Outcome::new(id, outcome, true)));
    }
    check_level(&shared)?;
    let done = shared.node.ask(id, Command::Customer(command)).await?;
    Ok(web::Json(Outcome::new(id, outcome_of(&done), false)))
}
