//! The desk for authorities: which are believed, and how one takes over from another.
//!
//! **Not here:** which step may follow which (`domain::placement`), what a node does about it
//! (`rotation`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::collections::BTreeMap;

use actix_web::{http::StatusCode, web};
use fieldmesh_domain::{
    Command, EntityId, IndexRow,
    effect::RowKey,
    placement::{self, Bundle, Ca, Phase, Role, Step, Wanted},
};
use fieldmesh_pki::CaCertificate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PAGE_ROWS_MAX, has_other, journal};
use crate::{
    deployment::{armour, pem_objects},
    rotation::RotationError,
    web::{Shared, est::hex, operator::Operator, problem::Problem},
};

/// All authorities that were ever believed, and which nodes know them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthoritiesView {
    /// Grows with each change.
    pub epoch: u64,
    pub authorities: Vec<AuthorityView>,
    pub nodes: Vec<NodeView>,
    /// A step that waits for a second operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalView>,
}

/// An issuing CA or a root.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorityView {
    /// SHA-256 of its certificate.
    pub sha256: String,
    pub name: String,
    /// root or issuing.
    pub role: String,
    /// introduced, active, superseded, retired or removed.
    pub phase: String,
    /// Unix milliseconds.
    pub since_ms: u64,
    /// Unix seconds.
    pub not_after_s: u64,
    /// The root that signed it.
    pub signed_by: String,
    /// The bundle's epoch that brought it.
    pub epoch: u64,
    pub compromised: bool,
    /// Certificates in force that it issued; not for roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<u64>,
}

/// How far a node has come in believing them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AuthorityNode)]
pub struct NodeView {
    pub number: u64,
    /// The epoch that it believes.
    pub epoch: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Whether it has yet to say that it believes what is there now.
    pub behind: bool,
}

/// A step that waits for a second operator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProposalView {
    pub sha256: String,
    pub step: String,
    pub by: String,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// A request to be signed by a root.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuingRequest {
    /// PEM.
    pub request: String,
    pub region: String,
    /// What `ca root sign --generation` is to be given.
    pub generation: u32,
}

/// An authority to be introduced.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAuthority {
    /// A root's or an issuing CA's certificate, PEM.
    pub certificate: String,
}

/// A step of a rotation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeStep {
    /// Activates at once, because others may have the key of the one before.
    #[serde(default)]
    pub compromised: bool,
    /// Removes one whose certificates are still in force.
    #[serde(default)]
    pub cut_off: bool,
}

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/ca/authorities", web::get().to(list))
        .route("/ca/authorities", web::post().to(introduce))
        .route("/ca/authorities/requests", web::post().to(request))
        .route("/ca/authorities/{sha256}/{step}", web::post().to(step))
        .route("/ca/nodes/{number}/forget", web::post().to(forget));
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Placement(why) => Self::busy(&why),
            RotationError::Issuer(_) | RotationError::Status(_) => {
                tracing::error!(%error, "an authority was not changed");
                Self::busy("the authority cannot be changed now: see the node's log")
            }
            error => Self::invalid(error),
        }
    }
}

/// Certificates in force, by their issuer's name.
fn in_force(shared: &Shared) -> Result<BTreeMap<[u8; 32], u64>, Problem> {
    let now_s = shared.node.clock.now_ms() / 1000;
    let (journal, mut found, mut after) = (journal(shared)?, BTreeMap::new(), None);
    loop {
        let page = journal.rows(RowKey::CERTIFICATE, after.as_ref(), PAGE_ROWS_MAX)?;
        for row in &page {
            if let IndexRow::Certificate { issuer, not_after, revoked: None, .. } = row
                && *not_after > now_s
            {
                *found.entry(*issuer).or_default() += 1;
            }
        }
        after = page.last().map(IndexRow::key);
        if page.len() < PAGE_ROWS_MAX {
            return Ok(found);
        }
    }
}

fn authority(ca: &Ca, in_force: &BTreeMap<[u8; 32], u64>) -> AuthorityView {
    let name = CaCertificate::read(&ca.certificate).map(|read| read.name).unwrap_or_default();
    let issues = ca.role == Role::Issuing;
    AuthorityView {
        sha256: hex(&ca.fingerprint),
        name,
        role: if issues { "issuing" } else { "root" }.to_owned(),
        phase: ca.phase.name().to_owned(),
        since_ms: ca.since.0,
        not_after_s: ca.not_after,
        signed_by: hex(&ca.signer),
        epoch: ca.epoch,
        compromised: ca.compromised,
        certificates: issues.then(|| in_force.get(&ca.name).copied().unwrap_or_default()),
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Activate | Step::ActivateCompromised => "activate",
        Step::Rollback => "rollback",
        Step::Retire => "retire",
        Step::Remove => "remove",
        Step::Drop => "drop",
        Step::Introduce => "introduce",
    }
}

fn view(shared: &Shared) -> Result<AuthoritiesView, Problem> {
    let Bundle { epoch, cas, nodes, proposal } = shared.rotation.bundle()?;
    let in_force = in_force(shared)?;
    Ok(AuthoritiesView {
        epoch,
        authorities: cas.iter().map(|ca| authority(ca, &in_force)).collect(),
        nodes: nodes
            .iter()
            .map(|node| NodeView {
                number: node.number,
                epoch: node.epoch,
                at_ms: node.at.0,
                behind: node.epoch < epoch,
            })
            .collect(),
        proposal: proposal.map(|proposal| ProposalView {
            sha256: hex(&proposal.fingerprint),
            step: step_name(proposal.step).to_owned(),
            by: proposal.by,
            at_ms: proposal.at.0,
        }),
    })
}

/// Reads and counts where a request may wait for it.
async fn shown(shared: &web::Data<Shared>) -> Result<web::Json<AuthoritiesView>, Problem> {
    let shared = shared.clone();
    let shown = web::block(move || view(&shared)).await;
    shown.map_err(|_| Problem::busy("the authorities cannot be read now"))?.map(web::Json)
}

/// Lists the authorities, and the nodes that know them.
#[utoipa::path(get, path = "/v1/ca/authorities", responses((status = 200, body = AuthoritiesView)))]
pub async fn list(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<AuthoritiesView>, Problem> {
    shown(&shared).await
}

/// Makes the key of the region's next issuing CA, and a request for a root to sign.
#[utoipa::path(post, path = "/v1/ca/authorities/requests", responses((status = 200, body = IssuingRequest)))]
pub async fn request(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<IssuingRequest>, Problem> {
    let request = shared.rotation.request().await?;
    let region = shared.issuer.region().to_owned();
    // Each has another name, that of those before is taken.
    let known = shared.node.trust.authorities();
    let names = known.iter().filter(|ca| ca.role == Role::Issuing);
    let numbers = names.filter_map(|ca| {
        let read = CaCertificate::read(&ca.certificate).ok()?;
        read.name
            .strip_prefix(&format!("{} {region} issuing ", shared.issuer.cluster()))?
            .parse()
            .ok()
    });
    let generation = numbers.max().unwrap_or(0_u32).saturating_add(1);
    let request = armour("CERTIFICATE REQUEST", &request);
    Ok(web::Json(IssuingRequest { request, region, generation }))
}

async fn ask(shared: &Shared, command: placement::Command) -> Result<(), Problem> {
    shared.node.ask(EntityId::placement(), Command::Placement(command)).await?;
    Ok(())
}

/// From now on every node believes an authority; it signs nothing yet. A root needs two operators.
#[utoipa::path(post, path = "/v1/ca/authorities", request_body = NewAuthority, responses((status = 200, body = AuthoritiesView)))]
pub async fn introduce(
    operator: Operator,
    body: web::Json<NewAuthority>,
    shared: web::Data<Shared>,
) -> Result<web::Json<AuthoritiesView>, Problem> {
    let found = pem_objects(body.certificate.as_bytes());
    let [der] = found.as_slice() else {
        return Err(Problem::invalid("the body is not one certificate in PEM"));
    };
    let ca = shared.rotation.bring(der).await?;
    // A root is believed by devices too, and whoever has its key is believed with it; one for a new
    // region lets in whoever has that. An issuing CA of this region is below one that is believed, and
    // its key is here.
    let is_own =
        ca.role == Role::Issuing && ca.authority.region() == shared.node.known.own().region;
    let is_joint = !is_own && has_other(&shared, operator.id)?;
    let by = operator.name;
    let command = if is_joint {
        placement::Command::IntroduceJointly { ca, by }
    } else {
        placement::Command::Introduce { ca, by }
    };
    ask(&shared, command).await?;
    shared.rotation.settle_all().await?;
    shown(&shared).await
}

fn fingerprint(text: &str) -> Result<[u8; 32], Problem> {
    let hash = super::key(Some(text)).ok().flatten();
    let hash = hash.ok_or_else(|| Problem::invalid("the authority is 64 hexadecimal digits"))?;
    Ok(*hash)
}

/// One must be of no use to anybody before it is removed, unless that is what is wanted.
fn check_removal(shared: &Shared, wanted: &[u8; 32]) -> Result<(), Problem> {
    let known = shared.node.trust.authorities();
    let issues = |ca: &&Ca| ca.fingerprint == *wanted && ca.role == Role::Issuing;
    let Some(ca) = known.iter().find(issues).filter(|ca| ca.phase != Phase::Removed) else {
        return Ok(());
    };
    match in_force(shared)?.get(&ca.name) {
        None => Ok(()),
        Some(left) => {
            let text = format_args!(
                "{left} of its certificates are in force: wait until they are renewed, or cut them off"
            );
            Err(Problem::new(StatusCode::CONFLICT, "refused", text))
        }
    }
}

/// Takes a step of a rotation, or asks for a second operator's agreement to it.
#[utoipa::path(post, path = "/v1/ca/authorities/{sha256}/{step}", request_body = TakeStep, responses((status = 200, body = AuthoritiesView)))]
pub async fn step(
    operator: Operator,
    path: web::Path<(String, String)>,
    body: web::Json<TakeStep>,
    shared: web::Data<Shared>,
) -> Result<web::Json<AuthoritiesView>, Problem> {
    let (authority, step) = path.into_inner();
    let fingerprint = fingerprint(&authority)?;
    let TakeStep { compromised, cut_off } = body.into_inner();
    let step = match step.as_str() {
        "activate" if compromised => Step::ActivateCompromised,
        "activate" => Step::Activate,
        "rollback" => Step::Rollback,
        "retire" => Step::Retire,
        "remove" => Step::Remove,
        "drop" => Step::Drop,
        _ => {
            return Err(Problem::missing("such step: activate, rollback, retire, remove or drop"));
        }
    };
    if matches!(step, Step::Remove | Step::Drop) && !cut_off {
        check_removal(&shared, &fingerprint)?;
    }
    let second_person = has_other(&shared, operator.id)?;
    let wanted = Wanted { fingerprint, step, by: operator.name, second_person };
    ask(&shared, placement::Command::Rotate(wanted)).await?;
    shared.rotation.settle_all().await?;
    shown(&shared).await
}

/// A node that does not come back holds up no rotation any more.
#[utoipa::path(post, path = "/v1/ca/nodes/{number}/forget", responses((status = 200, body = AuthoritiesView)))]
pub async fn forget(
    operator: Operator,
    number: web::Path<u64>,
    shared: web::Data<Shared>,
) -> Result<web::Json<AuthoritiesView>, Problem> {
    let node = number.into_inner();
    if node == shared.node.number {
        return Err(Problem::invalid("this is the node that answers: it is not gone"));
    }
    if !shared.rotation.bundle()?.nodes.iter().any(|known| known.number == node) {
        return Err(Problem::missing(format_args!("node {node} that is waited for")));
    }
    ask(&shared, placement::Command::ForgetNode { node, by: operator.name }).await?;
    shown(&shared).await
}
