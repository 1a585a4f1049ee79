//! `backup verify`: a backup read to its end, and all that it holds replayed, without a node.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    CliError, Common, Output,
    backup::{refused, summary},
    unlock::Unlock,
};
use crate::backup::archive::Archive;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// The backup's directory.
    dir: PathBuf,
}

pub(crate) async fn verify(args: &VerifyArgs, output: &Output) -> Result<(), CliError> {
    let passphrase = args.unlock.secret(false)?;
    let archive = Archive::open(&args.dir, &passphrase).map_err(|error| refused(&error))?;
    archive.check().map_err(|error| refused(&error))?;
    let groups: Vec<_> = archive.manifest.groups.iter().map(summary).collect();
    output.result(json!({ "groups": groups }));
    Ok(())
}
