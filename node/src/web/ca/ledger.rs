//! The ledger, page by page, as `fieldmesh ca audit` puts it together.

use actix_web::web;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_domain::{
    EntityId,
    authority::Authority,
    mutant::{Mutant, is_planted},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::journal;
use crate::{
    ledger::{self, Recorded},
    store::rows,
    web::{Shared, operator::Operator, problem::Problem},
};

/// Steps of a page: each has an entry of a few hundred bytes.
const PAGE_STEPS: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LedgerQuery {
    /// The `next` of the page before.
    #[serde(default)]
    from: u64,
}

/// A part of the ledger, in the order of recording.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LedgerPage {
    pub cluster: String,
    pub region: String,
    pub recorded: Vec<RecordedView>,
    /// Where the next page begins; absent behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A leaf of the tree, or a signed head with its signer's chain, in base64.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordedView {
    Leaf(String),
    Head(String),
}

/// Reads the ledger.
#[utoipa::path(get, path = "/v1/ca/ledger", params(LedgerQuery), responses((status = 200, body = LedgerPage)))]
pub async fn read(
    _operator: Operator,
    query: web::Query<LedgerQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<LedgerPage>, Problem> {
    std::future::ready(page(&shared, query.from).map(web::Json)).await
}

fn page(shared: &Shared, from: u64) -> Result<LedgerPage, Problem> {
    let region = shared.node.region.parse().map_err(|_| Problem::busy("the region"))?;
    let steps = journal(shared)?.history_page(EntityId::authority(region), from, PAGE_STEPS)?;
    let mut recorded = ledger::recorded(&steps).map_err(Problem::busy)?;
    if is_planted(Mutant::LedgerCut) && steps.len() < PAGE_STEPS {
        let last = recorded.iter().rposition(|recorded| matches!(recorded, Recorded::Leaf(_)));
        recorded.truncate(last.unwrap_or(0));
    }
    let next = steps
        .last()
        .filter(|_| steps.len() == PAGE_STEPS)
        .map(|last| last.version + last.record.events.len() as u64);
    let recorded = recorded.iter().map(|recorded| match recorded {
        Recorded::Leaf(leaf) => RecordedView::Leaf(STANDARD.encode(leaf)),
        Recorded::Head(head) => RecordedView::Head(STANDARD.encode(rows::encode(head))),
    });
    Ok(LedgerPage {
        cluster: shared.issuer.cluster().to_owned(),
        region: shared.node.region.clone(),
        recorded: recorded.collect(),
        next,
    })
}

/// What the last head covers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Covered {
    /// Whether there was anything new to sign.
    pub signed: bool,
    /// Entries under the last head: an export that has fewer is cut off.
    pub covers: u64,
}

/// Signs a head of what is not covered by one yet.
#[utoipa::path(post, path = "/v1/ca/ledger/heads", responses((status = 200, body = Covered)))]
pub async fn sign(
    _operator: Operator,
    shared: web::Data<Shared>,
) -> Result<web::Json<Covered>, Problem> {
    let signed = ledger::sign_head(&shared.node, &shared.head_signer).await;
    let signed = signed.map_err(Problem::busy)?;
    let region = shared.node.region.parse().map_err(|_| Problem::busy("the region"))?;
    let state: Authority = journal(&shared)?.state(EntityId::authority(region))?;
    Ok(web::Json(Covered { signed, covers: state.head.map_or(0, |head| head.size) }))
}
