//! `/v1/technicians/health`: what keeps technicians from work although nobody said so.
//!
//! **Invariants:** each complaint names what is wrong and, where it is a matter of time, until when. **Not
//! here:** noticing that a device is silent (`unheard`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::collections::BTreeSet;

use actix_web::web;
use fieldmesh_calendar::interval::UnixMs;
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow, effect::RowKey, technician::Technician, time::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shared,
    operator::Operator,
    problem::Problem,
    shifts::{own_region, page},
};

/// A certificate that ends within so many days is told: a technician's is renewed ten days before.
const CERTIFICATE_DAYS: u64 = 7;
/// A skill that expires within so many days: a course has to be booked.
const SKILL_DAYS: u64 = 30;
const DAY_MS: u64 = 24 * 3600 * 1000;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.route("/technicians/health", web::get().to(health));
}

/// What is wrong with a technician.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Complaint {
    pub technician: String,
    /// `no_device`, `no_key`, `no_roster`, `no_shift_ahead`, `roster_unreadable`, `unreachable`,
    /// `certificate_ends`, `skill_expires` or `skill_expired`.
    pub what: String,
    /// For people.
    pub detail: String,
    /// Unix milliseconds: when it becomes so, or since when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// How a region's technicians are; `next` is the `after` of the following page.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub looked_at: usize,
    pub complaints: Vec<Complaint>,
    /// Categories of work that a shift needs, or that somebody of this page has or had the skill for.
    pub skills_wanted: Vec<u16>,
    /// Those that somebody of this page has now.
    pub skills_in_force: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Whose health.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct HealthQuery {
    /// The node's own unless given; another's node is asked for it.
    region: Option<String>,
    /// Behind this technician.
    after: Option<String>,
}

/// What keeps technicians from work although nobody said so.
#[utoipa::path(get, path = "/v1/technicians/health", params(HealthQuery), responses((status = 200, body = Health)))]
pub async fn health(
    _operator: Operator,
    query: web::Query<HealthQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Health>, Problem> {
    own_region(&shared, query.region.as_deref())?;
    let now_ms = shared.node.clock.now_ms();
    let (technicians, next) = page(&shared, query.after.as_deref()).await?;
    let mut complaints = Vec::new();
    for (id, technician) in &technicians {
        let ends_s = certificate_end(&shared, *id)?;
        complaints.extend(complaints_of(*id, technician, ends_s, now_ms));
    }
    let all = technicians.iter().map(|(_, technician)| technician);
    let (wanted, in_force) = skills_of(all, now_ms);
    Ok(web::Json(Health {
        looked_at: technicians.len(),
        complaints,
        skills_wanted: wanted.into_iter().collect(),
        skills_in_force: in_force.into_iter().collect(),
        next: next.map(|id| id.to_string()),
    }))
}

/// When the certificate of a technician's device ends, Unix seconds, as the authority has it.
fn certificate_end(shared: &Shared, id: EntityId) -> Result<Option<u64>, Problem> {
    let Some(authority) = shared.node.authority() else { return Ok(None) };
    let key = RowKey::entity(EntityKind::Registration, EntityId::registration_of(id));
    Ok(match authority.row(&key)? {
        Some(IndexRow::Registration { not_after, .. }) => not_after,
        _ => None,
    })
}

fn complaints_of(
    id: EntityId,
    technician: &Technician,
    certificate_ends_s: Option<u64>,
    now_ms: u64,
) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut complain = |what: &str, detail: String, at_ms| {
        let (technician, what) = (id.to_string(), what.to_owned());
        found.push(Complaint { technician, what, detail, at_ms });
    };
    if !technician.device.present {
        let text = "it has no device with a certificate; make a token for one: fieldmesh ca token";
        complain("no_device", text.into(), None);
    } else if technician.device.bundle_serial == 0 {
        let text =
            "its device has published no key: nothing can be sealed for it until it connects";
        complain("no_key", text.into(), None);
    }
    if let Some(since) = technician.silent_since {
        let text = "its device is not connected although it is on shift";
        complain("unreachable", text.into(), Some(since.0));
    }
    let ends_ms = certificate_ends_s.map(|ends| ends.saturating_mul(1000));
    if let Some(ends) = ends_ms.filter(|ends| *ends < now_ms + CERTIFICATE_DAYS * DAY_MS) {
        let text = "its device's certificate ends; the device renews it when it connects";
        complain("certificate_ends", text.into(), Some(ends));
    }
    match technician.rostered.as_ref().map(|known| known.roster.schedule()) {
        None => complain("no_roster", "it goes on and off shift by hand alone".into(), None),
        Some(Err(faults)) => complain("roster_unreadable", faults.to_string(), None),
        Some(Ok(schedule)) => {
            let now = UnixMs(now_ms);
            if !schedule.is_on(now) && schedule.next_change(now).is_none() {
                let text = "its roster has no shift ahead; set another one";
                complain("no_shift_ahead", text.into(), None);
            }
        }
    }
    for skill in &technician.skills {
        let Some(Millis(expires)) = skill.expires else { continue };
        let category = skill.category;
        if expires <= now_ms {
            let text = format!("its skill {category} has expired");
            complain("skill_expired", text, Some(expires));
        } else if expires < now_ms + SKILL_DAYS * DAY_MS {
            complain("skill_expires", format!("its skill {category} expires"), Some(expires));
        }
    }
    found
}

/// Categories that somebody is to have, and those that somebody has.
fn skills_of<'a>(
    technicians: impl Iterator<Item = &'a Technician>,
    now_ms: u64,
) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let (mut wanted, mut in_force) = (BTreeSet::new(), BTreeSet::new());
    for technician in technicians {
        for skill in &technician.skills {
            wanted.insert(skill.category);
            if skill.counts_at(Millis(now_ms)) {
                in_force.insert(skill.category);
            }
        }
        let rows = technician.rostered.iter().flat_map(|known| &known.roster.rows);
        wanted.extend(rows.filter_map(|row| row.shift.skill));
    }
    (wanted, in_force)
}
