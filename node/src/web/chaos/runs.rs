//! `/v1/chaos/runs`: the region's ledger says that a run was begun, by whom and of what, and how it ended.
//!
//! What single faults do to a node is in that node's audit record; this is in the ledger, which is exported and
//! verified. **Invariant:** who is answered knows that it is in the ledger. **Not here:** whether a run may be begun
//! (`cli::chaos::guards`).

use actix_web::{http::StatusCode, web};
use fieldmesh_domain::{authority::Deed, placement::RUNS};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::refused;
use crate::web::{Shared, backup::unhex, operator::Operator, problem::Problem};

/// As long as a scenario's may be.
const NAME_BYTES_MAX: usize = 64;
/// Of a run's own: as many as a program that makes one by chance wants.
const RUN_BYTES_MAX: usize = 32;

/// The last of a run's exit codes.
const EXIT_MAX: u8 = 3;

/// What is run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The scenario's name.
    pub scenario: String,
    /// SHA-256 of the scenario's document, hexadecimal.
    pub document: String,
    pub seed: u64,
    /// `staging` or `production`.
    pub target: String,
}

/// How it ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOver {
    /// 0 passed, 1 a promise was broken, 2 given up, 3 it says nothing.
    pub exit: u8,
}

/// What the ledger has.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    pub run: String,
}

/// Whether it may be written down, where it stays for good.
fn is_word(text: &str, bytes_max: usize) -> bool {
    let is_of_it =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(is_of_it)
}

async fn note(shared: &Shared, by: String, deed: Deed) -> Result<(), Problem> {
    if shared.node.known.known().level() < RUNS {
        let text = "not every node runs this release yet: upgrade the others first";
        return Err(Problem::new(StatusCode::CONFLICT, "refused", text));
    }
    shared.node.note(by, deed).await.map_err(Problem::from)
}

fn named(run: &str) -> Result<String, Problem> {
    if is_word(run, RUN_BYTES_MAX) {
        return Ok(run.to_owned());
    }
    Err(Problem::invalid("a run is named by 1 to 32 letters and digits"))
}

/// Writes down that a run begins, before anything is broken.
#[utoipa::path(
    post,
    path = "/v1/chaos/runs/{run}",
    request_body = NewRun,
    responses((status = 200, body = RunView))
)]
pub(super) async fn begin(
    operator: Operator,
    run: web::Path<String>,
    wanted: web::Json<NewRun>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RunView>, Problem> {
    shared.chaos.demand_allowed().map_err(refused)?;
    let (run, NewRun { scenario, document, seed, target }) = (named(&run)?, wanted.into_inner());
    if !is_word(&scenario, NAME_BYTES_MAX) {
        return Err(Problem::invalid("a scenario is named by 1 to 64 letters, digits and `-`"));
    }
    if !matches!(target.as_str(), "staging" | "production") {
        return Err(Problem::invalid("`target` is staging or production"));
    }
    let document: Option<[u8; 32]> = unhex(&document).and_then(|bytes| bytes.try_into().ok());
    let Some(document) = document else {
        return Err(Problem::invalid("`document` is a SHA-256: 64 hexadecimal digits"));
    };
    let deed = Deed::ChaosBegun { run: run.clone(), scenario, document, seed, target };
    note(&shared, operator.name, deed).await?;
    Ok(web::Json(RunView { run }))
}

/// Writes down how a run ended; also where what allowed it is over.
#[utoipa::path(
    post,
    path = "/v1/chaos/runs/{run}/end",
    request_body = RunOver,
    responses((status = 200, body = RunView))
)]
pub(super) async fn end(
    operator: Operator,
    run: web::Path<String>,
    over: web::Json<RunOver>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RunView>, Problem> {
    let run = named(&run)?;
    if over.exit > EXIT_MAX {
        return Err(Problem::invalid("`exit` is what `fieldmesh chaos run` ends with: 0 to 3"));
    }
    note(&shared, operator.name, Deed::ChaosEnded { run: run.clone(), exit: over.exit }).await?;
    Ok(web::Json(RunView { run }))
}
