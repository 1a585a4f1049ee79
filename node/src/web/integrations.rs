//! REST v1 for integrations: who may report for which customer, and how reports are read.
//!
//! **Invariant:** a key is shown once, when it is made. **Not here:** reports (`intake`).

use actix_web::{HttpResponse, web};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow,
    integration::{self, Integration, Kind, Label, Mapping, Profile, Severity},
    placement::TRIGGERS,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Shared,
    intake::KEY_CHARS,
    operator::Operator,
    problem::Problem,
    rest::{Point, rows},
};
use crate::{
    courier::wire::{WANTED_MAX, Wanted},
    issuer::sha256,
};

/// Of a key: five bits a character, none that is mistaken for another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/integrations", web::post().to(create))
        .route("/integrations", web::get().to(integrations))
        .route("/integrations/{id}/revoke", web::post().to(revoke));
}

/// What a severity means; 1 is the highest, 3 the lowest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSeverity {
    pub name: String,
    pub impact: u8,
    pub urgency: u8,
}

/// What a label with a value means.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    pub name: String,
    pub value: String,
    pub category: u16,
    #[serde(default)]
    pub subcategory: u16,
}

/// An integration to register.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIntegration {
    pub name: String,
    /// `alertmanager` or `pagerduty`.
    pub kind: String,
    pub customer: String,
    /// Where no label says otherwise.
    pub category: u16,
    #[serde(default)]
    pub subcategory: u16,
    /// The customer's unless given.
    pub location: Option<Point>,
    /// The worst first; critical, error, warning and info unless given.
    #[serde(default)]
    pub severities: Vec<NewSeverity>,
    #[serde(default)]
    pub labels: Vec<NewLabel>,
}

/// What was registered. The key is not shown again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    pub id: String,
    pub key: String,
    /// Where its sender posts, on any node of the region.
    pub path: String,
}

/// An integration.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IntegrationView {
    pub id: String,
    pub name: String,
    pub kind: String,
    pub customer: String,
    pub created_ms: u64,
    pub revoked: bool,
}

/// All of the region.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Integrations {
    pub integrations: Vec<IntegrationView>,
}

fn severities(given: Vec<NewSeverity>) -> Vec<Severity> {
    if given.is_empty() {
        let usual = [("critical", 1, 1), ("error", 1, 2), ("warning", 2, 2), ("info", 3, 3)];
        let severity = |(name, impact, urgency): (&str, u8, u8)| Severity {
            name: name.into(),
            impact,
            urgency,
        };
        return usual.map(severity).to_vec();
    }
    let severity =
        |NewSeverity { name, impact, urgency }: NewSeverity| Severity { name, impact, urgency };
    given.into_iter().map(severity).collect()
}

fn profile(new: NewIntegration) -> Result<Profile, Problem> {
    let kind = Kind::from_name(&new.kind).ok_or_else(|| {
        let text = format_args!("kind {:?} is neither alertmanager nor pagerduty", new.kind);
        Problem::invalid(text)
    })?;
    let customer: Option<EntityId> = new.customer.parse().ok();
    let customer = customer.filter(|customer| customer.kind() == EntityKind::Customer);
    let customer = customer.ok_or_else(|| {
        Problem::invalid(format_args!("{:?} is no customer's identifier", new.customer))
    })?;
    let label = |label: NewLabel| {
        let NewLabel { name, value, category, subcategory } = label;
        Label { name, value, category, subcategory }
    };
    let mapping = Mapping {
        category: new.category,
        subcategory: new.subcategory,
        location: new.location.map(Into::into),
        severities: severities(new.severities),
        labels: new.labels.into_iter().map(label).collect(),
    };
    Ok(Profile { name: new.name, kind, customer, mapping })
}

/// Whether there is such a customer in this region.
async fn check_customer(shared: &Shared, customer: EntityId) -> Result<(), Problem> {
    if customer.region().to_string() != shared.node.region {
        let (theirs, own) = (customer.region(), &shared.node.region);
        let text = format_args!(
            "the customer is of region {theirs}, and this node of {own}: ask a node of {theirs}"
        );
        return Err(Problem::invalid(text));
    }
    let shard = shared.node.known.group_of(customer);
    let shard = shard.ok_or_else(|| Problem::missing("such region"))?;
    let wanted = Wanted { shard, kind: customer.kind() as u8, from: Some(customer), limit: 1 };
    let found = rows(shared, wanted).await?;
    if found.first().map(IndexRow::id) == Some(customer) {
        Ok(())
    } else {
        Err(Problem::missing("such customer"))
    }
}

/// Registers an integration, and shows its key.
#[utoipa::path(post, path = "/v1/integrations", request_body = NewIntegration, responses((status = 201, body = NewKey)))]
pub async fn create(
    operator: Operator,
    body: web::Json<NewIntegration>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    if shared.node.known.known().level() < TRIGGERS {
        let text = "a node runs an older release and knows no integrations: upgrade it first";
        return Err(Problem::busy(text));
    }
    let profile = profile(body.into_inner())?;
    check_customer(&shared, profile.customer).await?;
    let mut random = Zeroizing::new([0; KEY_CHARS]);
    shared.node.entropy.fill(&mut *random);
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte & 31)]);
    let key: Zeroizing<String> = Zeroizing::new(random.iter().map(letter).collect());
    let hash = sha256(key.as_bytes());
    let id = Integration::id_of(profile.customer.region(), &hash);
    let kind = profile.kind;
    let register = integration::Command::Register { profile, key: hash, by: operator.name };
    shared.node.ask(id, Command::Integration(register)).await?;
    let path = match kind {
        Kind::Alertmanager => format!("/v1/intake/alertmanager/{}", *key),
        Kind::PagerDuty => "/v2/enqueue".to_owned(),
    };
    let shown = NewKey { id: id.to_string(), key: key.as_str().to_owned(), path };
    Ok(HttpResponse::Created().insert_header(("Cache-Control", "no-store")).json(shown))
}

/// Lists integrations, revoked ones too.
#[utoipa::path(get, path = "/v1/integrations", responses((status = 200, body = Integrations)))]
pub async fn integrations(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<Integrations>, Problem> {
    let mut found: Vec<IndexRow> = Vec::new();
    for shard in shared.node.known.own_groups() {
        let mut from = None;
        loop {
            let kind = EntityKind::Integration as u8;
            let page = rows(&shared, Wanted { shard, kind, from, limit: WANTED_MAX }).await?;
            let last = page.last().map(IndexRow::id);
            let is_last = page.len() < WANTED_MAX as usize;
            // A page begins with the one that the page before ended with.
            found.extend(page.into_iter().filter(|row| from != Some(row.id())));
            if is_last || last == from {
                break;
            }
            from = last;
        }
    }
    let integrations = found.into_iter().filter_map(view).collect();
    Ok(web::Json(Integrations { integrations }))
}

fn view(row: IndexRow) -> Option<IntegrationView> {
    let IndexRow::Integration { id, name, kind, customer, created_at, is_revoked } = row else {
        return None;
    };
    let (id, customer, kind) = (id.to_string(), customer.to_string(), kind.name().to_owned());
    Some(IntegrationView {
        id,
        name,
        kind,
        customer,
        created_ms: created_at.0,
        revoked: is_revoked,
    })
}

/// Takes an integration's key out of use, for good.
#[utoipa::path(post, path = "/v1/integrations/{id}/revoke", responses((status = 200)))]
pub async fn revoke(
    operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let id: Option<EntityId> = id.parse().ok();
    let id = id.filter(|id| id.kind() == EntityKind::Integration);
    let id = id.ok_or_else(|| Problem::invalid("this is not an integration's identifier"))?;
    let revoke = integration::Command::Revoke { by: operator.name };
    shared.node.ask(id, Command::Integration(revoke)).await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "id": id.to_string(), "revoked": true })))
}
