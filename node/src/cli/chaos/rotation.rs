//! The next issuing CA takes over while requests go on, by the steps of an operator (docs/runbook.md).
//!
//! **Invariant:** a step is taken once every node believes what the one before it brought. **Not here:** what
//! the steps do (`web::ca`).

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::ground::Ground;
use crate::{
    cli::{CliError, api::Api},
    web::ca::{AuthoritiesView, IssuingRequest, NewAuthority, TakeStep},
};

const AUTHORITIES: &str = "/v1/ca/authorities";
/// Nodes say what they believe within seconds; one that is out says so when it is back.
const BELIEVED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Makes the next issuing CA and lets it sign; the one before is superseded, and what it issued stays good.
pub(super) async fn rotate(ground: &mut Ground<'_>) -> Result<(), CliError> {
    let api = ground.api()?;
    let wanted: IssuingRequest = api.post(&format!("{AUTHORITIES}/requests"), &json!({})).await?;
    let signed = ground.fleet()?.sign(&wanted).await?;
    let certificate = String::from_utf8_lossy(&signed).into_owned();
    let before: AuthoritiesView = api.get(AUTHORITIES).await?;
    let _: AuthoritiesView = api.post(AUTHORITIES, &NewAuthority { certificate }).await?;
    let is_new = |sha256: &String| before.authorities.iter().all(|known| known.sha256 != *sha256);
    let next = believed(&api, is_new, "introduced").await?;
    let path = format!("{AUTHORITIES}/{next}/activate");
    let view: AuthoritiesView = api.post(&path, &TakeStep::default()).await?;
    if view.proposal.is_some() {
        // There is another operator, who has to agree.
        let other = ground.api_of(2)?;
        let _: AuthoritiesView = other.post(&path, &TakeStep::default()).await?;
    }
    believed(&api, |sha256| *sha256 == next, "active").await.map(drop)
}

/// Waits until an authority is in a phase and every node believes that; which one it is.
async fn believed(
    api: &Api,
    is_it: impl Fn(&String) -> bool,
    phase: &str,
) -> Result<String, CliError> {
    let until = Instant::now() + BELIEVED_WITHIN;
    loop {
        let view: AuthoritiesView = api.get(AUTHORITIES).await?;
        let is_known = view.nodes.iter().all(|node| !node.behind);
        let found = view.authorities.into_iter().find(|one| is_it(&one.sha256));
        if let Some(found) = found.filter(|one| is_known && one.phase == phase) {
            return Ok(found.sha256);
        }
        if Instant::now() > until {
            let text = format!("the next issuing CA is not {phase} on every node in time");
            return Err(CliError::failed(text));
        }
        sleep(LOOK_EVERY).await;
    }
}
