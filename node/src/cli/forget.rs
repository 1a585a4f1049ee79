//! `forget-starts`: a node that is not running forgets what it heard of another one's starts.
//!
//! By that an operator overrules the refusal of a directory as older: whose copy it is may then have forgotten votes
//! and what it acknowledged, and nobody notices. **Invariant:** it is on record before it is done. **Not here:** who is
//! refused (`crate::starts`).

use clap::Args;
use fieldmesh_actors::seams::Clock as _;
use serde_json::json;

use super::{CliError, Common, Output, configuration, output::chain};
use crate::{
    audit::{self, Event},
    deployment::Deployment,
    files,
    os::SystemClock,
    starts,
    store::{Engine as _, Role, StoreError, rocks::Rocks},
};

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Number of the other node.
    node: u64,
}

pub(crate) async fn forget(args: &ForgetArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    let (dir, node) = (&config.node.data_dir, args.node);
    let at = dir.display();
    if !Deployment::is_there(dir) {
        return Err(CliError::usage(format!("{at} is no node's directory")));
    }
    let _alone = files::lock_dir(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::ResourceBusy => {
            CliError::usage(format!("{at} is in use: stop this node first"))
        }
        _ => CliError::usage(format!("{at}: {error}")),
    })?;
    let engine = Rocks::new(dir.join("db"));
    let failed = |error: StoreError| CliError::failed(chain(&error));
    if engine.inspect("log", Role::Log).map_err(failed)?.is_none() {
        return Err(CliError::usage(format!("the node of {at} was never started")));
    }
    audit::note_at_once(dir, SystemClock.now_ms(), Event::StartsForgotten { node })
        .map_err(|error| CliError::failed(format!("{at}: audit.jsonl: {error}")))?;
    let log = engine.open("log", Role::Log).map_err(failed)?;
    let known = starts::forget(&*log, node).await.map_err(failed)?;
    match known {
        Some((number, rounds)) => output.say(format_args!(
            "forgot start {number} of node {node}, up to round {rounds} of its log: whatever directory node {node} is started with next is taken in here, also where it has forgotten votes or what it acknowledged"
        )),
        None => output.say(format_args!("nothing was heard here of node {node}'s starts")),
    }
    let (start, rounds) = known.unzip();
    output.result(json!({ "node": node, "start": start, "rounds": rounds }));
    Ok(())
}
