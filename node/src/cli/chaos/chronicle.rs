//! What the ledger of a cluster that others use has of a run: that it begins, and how it ended.
//!
//! **Invariant:** what the ledger does not take is not run; where somebody kills the run, it has no end there. **Not
//! here:** single faults, which are in each node's audit record (`web::chaos`).

use std::time::Duration;

use fieldmesh_actors::seams::Entropy as _;
use fieldmesh_chaos::{Scenario, Target};
use tokio::time::sleep;

use crate::{
    cli::{CliError, api::Api},
    issuer::sha256,
    os::SystemEntropy,
    web::{
        chaos::runs::{NewRun, RunOver, RunView},
        est::hex,
    },
};

/// The cluster has come to be whole by then; an election may go on.
const TRIES_MAX: u32 = 10;
const TRY_EVERY: Duration = Duration::from_secs(1);

/// A run that the ledger knows of.
pub(super) struct Chronicle {
    api: Api,
    run: String,
}

impl Chronicle {
    /// Has the ledger say that it begins.
    ///
    /// # Errors
    /// It does not: a node of an earlier release, or an authority group that nobody leads.
    pub(super) async fn begin(
        api: Api,
        scenario: &Scenario,
        document: &[u8],
    ) -> Result<Self, CliError> {
        let mut random = [0; 8];
        SystemEntropy::default().fill(&mut random);
        let run = hex(&random);
        let target = match scenario.target {
            Target::Production => "production",
            Target::Lab | Target::Staging => "staging",
        };
        let wanted = NewRun {
            scenario: scenario.name.clone(),
            document: hex(&sha256(document)),
            seed: scenario.seed,
            target: target.to_owned(),
        };
        let begun = api.post::<RunView>(&format!("/v1/chaos/runs/{run}"), &wanted).await;
        begun.map(|_| Self { api, run }).map_err(|error| {
            CliError::usage(format!("the ledger does not take down that a run begins: {error}"))
        })
    }

    /// The name that the ledger has for it.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Has it say how it ended.
    ///
    /// # Errors
    /// It does not, whoever is asked, for a while.
    pub(super) async fn end(&self, exit: u8) -> Result<(), CliError> {
        let path = format!("/v1/chaos/runs/{}/end", self.run);
        let mut tries = 1;
        loop {
            match self.api.post::<RunView>(&path, &RunOver { exit }).await {
                Ok(_) => return Ok(()),
                Err(error) if tries >= TRIES_MAX => return Err(error.within(&path)),
                Err(_) => tries += 1,
            }
            sleep(TRY_EVERY).await;
        }
    }
}
