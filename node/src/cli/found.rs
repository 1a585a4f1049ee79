//! `join --issuing`: this machine becomes the first node of a new region of a cluster that is there.
//!
//! `init --roots` made its keys below the cluster's roots; a root signed its issuing CA, and operators of
//! the cluster introduced that. **Invariant:** each step that was done is not done again, so the command may
//! be repeated until it succeeds. **Not here:** what the directory holds (`deployment::found`), what the
//! cluster demands (`domain::placement`).

use std::path::Path;

use serde_json::json;

use super::{
    CliError, Output,
    join::{posted, undecodable, usage},
    serve::certificates,
    unlock::Unlock,
};
use crate::{
    config::Config,
    deployment::{Deployment, Welcome},
    os::{SystemClock, SystemEntropy},
    store::rows,
    web::cluster::NewMember,
};

pub(super) async fn found(
    config: Config,
    unlock: &Unlock,
    issuing: &Path,
    server: &str,
    member: &NewMember,
    output: &Output,
) -> Result<(), CliError> {
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let token = Deployment::token(&config).map_err(|error| usage(&error))?;
    let secret = unlock.secret(token.is_some())?;
    if Deployment::waits(&config) {
        let certificate = certificates(issuing)?.remove(0);
        let made = Deployment::complete_region(&config, &secret, certificate, &clock, &entropy);
        made.map_err(|error| usage(&error))?;
    }
    let opened = Deployment::open(&config, &secret, &clock, &entropy);
    let (parts, mut keeper) = opened.map_err(|error| usage(&error))?.keeper(config);
    let dir = parts.dir.display();
    if !keeper.waits_for_cluster() {
        let text = format!("{dir} is a node of a cluster already: start it with `fieldmesh node`");
        return Err(CliError::usage(text));
    }
    let answer = posted(server, "/v1/cluster/regions", parts.roots, &parts.node, member).await?;
    let welcome: Welcome = rows::whole(&answer).map_err(undecodable)?;
    keeper.keep_renewed(&entropy).map_err(|error| usage(&error))?;
    keeper.welcome(&welcome).map_err(|error| usage(&error))?;
    let region = &parts.facts.region;
    output.say(format_args!(
        "{dir} is node {}, the first of region {region}: start it with `fieldmesh node`",
        member.number
    ));
    output.result(json!({
        "data_dir": dir.to_string(),
        "number": member.number,
        "region": region,
    }));
    Ok(())
}
