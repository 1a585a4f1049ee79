//! `backup verify`: a backup read to its end, and all that it holds replayed, without a node.
//!
//! The groups are put in place in a scratch directory beside the backup, which is removed again; it holds
//! no more than a node's own disk. **Not here:** what is looked for (`backup::check`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde_json::json;

use super::{
    CliError, Common, Output,
    backup::{refused, summary},
    output::chain,
    unlock::Unlock,
};
use crate::{
    backup::{
        archive::Archive,
        check::{Report, check},
        trial::{self, Trial, TrialError, TrialOptions},
    },
    deployment::{HandOver, Restoring},
    files,
    os::{SystemClock, SystemEntropy},
    store::rocks::Rocks,
};

/// The number of the node that reads: it never meets another.
const READER: u64 = 1;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// The backup's directory.
    dir: PathBuf,
    /// Directory to put the groups in place in, which must not be there; DIR.verify unless given.
    #[arg(long)]
    scratch: Option<PathBuf>,
}

pub(crate) async fn verify(args: &VerifyArgs, output: &Output) -> Result<(), CliError> {
    let passphrase = args.unlock.secret(false)?;
    let archive = Archive::open(&args.dir, &passphrase).map_err(|error| refused(&error))?;
    output.say("reading the backup");
    archive.check().map_err(|error| refused(&error))?;
    let scratch = args.scratch.clone();
    let scratch = scratch.unwrap_or_else(|| args.dir.with_added_extension("verify"));
    if scratch.exists() {
        let text = "is there already: remove it, or choose another with --scratch";
        return Err(CliError::usage(format!("{} {text}", scratch.display())));
    }
    let failed =
        |error: std::io::Error| CliError::failed(format!("{}: {error}", scratch.display()));
    files::make_private_dir(&scratch).map_err(failed)?;
    let report = replay(&archive, &scratch, &passphrase, output).await;
    files::remove_dir(&scratch).map_err(failed)?;
    let report = report?;
    let manifest = &archive.manifest;
    let hex = |hash: &[u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    output.result(json!({
        "cluster": manifest.cluster,
        "region": manifest.region,
        "taken_at_ms": manifest.taken_at_ms,
        "certificates": manifest.certificates.iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
        "files": manifest.groups.iter().map(summary).collect::<Vec<_>>(),
        "groups": report.groups,
        "faults": report.faults,
        "told": report.told,
    }));
    if report.faults == 0 {
        output.say("whole: every history is a chain that leads to its state, and the groups fit");
        return Ok(());
    }
    report.told.iter().for_each(|fault| output.say(fault));
    let first = report.told.first().map_or("", String::as_str);
    Err(CliError::failed(format!("the backup has {} faults; the first: {first}", report.faults)))
}

async fn replay(
    archive: &Archive,
    scratch: &Path,
    passphrase: &[u8],
    output: &Output,
) -> Result<Report, CliError> {
    let failed = |error: &TrialError| CliError::failed(chain(error));
    let usage = |error: &dyn std::error::Error| CliError::usage(chain(error));
    let given = HandOver::decode(archive.secrets()).map_err(|error| usage(&error))?;
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let manifest = &archive.manifest;
    let names = [manifest.cluster.as_str(), manifest.region.as_str()];
    let keys =
        Restoring::new(names, manifest.index(), READER, passphrase, &given, &clock, &entropy);
    let service = keys.and_then(|mut keys| keys.service(&clock)).map_err(|error| usage(&error))?;
    trial::fill(archive, scratch, READER).await.map_err(|error| failed(&error))?;
    let groups: Vec<u32> = manifest.groups.iter().map(|part| part.group).collect();
    let trial = Trial::start(TrialOptions {
        engine: Arc::new(Rocks::new(scratch)),
        groups: &groups,
        home: manifest.home().ok_or_else(|| CliError::usage("the backup's region has no name"))?,
        node: READER,
        service,
        clock: Arc::new(clock),
        entropy: Arc::new(entropy),
    });
    let trial = trial.await.map_err(|error| failed(&error))?;
    let report = check(&trial, |found| {
        output.say(format_args!(
            "group {}: {} entities, {} events, {} listed, {} waiting, {} erased",
            found.group, found.entities, found.events, found.listed, found.waiting, found.erased
        ));
    });
    let stopped = trial.stop().await;
    let report = report.map_err(|error| CliError::failed(chain(&error)))?;
    stopped.map_err(|error| failed(&error))?;
    Ok(report)
}
