//! `restore`: a new data directory for the first node of what goes on of a region whose nodes are lost.
//!
//! **Invariant:** whatever is refused is refused before the directory is made; what fails later takes the
//! directory away again. **Not here:** putting rows in place (`backup::trial`), the deployment's files
//! (`deployment::restore`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use fieldmesh_domain::{
    IndexRow,
    placement::{LEVEL, Member, Members, PLACEMENT, Presence},
    time::Millis,
};
use serde_json::json;

use super::{
    CliError, Common, Output, backup::refused, configuration, join::member, output::chain,
    unlock::Unlock,
};
use crate::{
    backup::{
        archive::{Archive, ArchiveError, Manifest},
        trial::{self, Trial, TrialError, TrialOptions},
    },
    config::Config,
    deployment::{Deployment, DeploymentError, HandOver, Restoring},
    files,
    os::{SystemClock, SystemEntropy},
    store::{keys::state, rocks::Rocks, rows},
    web::cluster::NewMember,
};

/// Whom the cluster's record names.
const BY: &str = "restore";

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// The backup's directory.
    dir: PathBuf,
}

fn deployment(error: &DeploymentError) -> CliError {
    CliError::usage(chain(error))
}

pub(crate) async fn restore(args: &RestoreArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    let new = member(&config)?;
    let dir = &config.node.data_dir;
    empty_dir(dir)?;
    let passphrase = args.unlock.secret(false)?;
    let archive = Archive::open(&args.dir, &passphrase).map_err(|error| refused(&error))?;
    fits(&archive.manifest, &config)?;
    output.say("reading the backup");
    archive.check().map_err(|error| refused(&error))?;
    may_succeed(&members(&archive).map_err(|error| refused(&error))?, &new)?;
    let given = HandOver::decode(archive.secrets())
        .map_err(|error| CliError::usage(format!("the backup's secrets do not decode: {error}")))?;
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let names = [config.cluster.name.as_str(), config.cluster.region.as_str()];
    let index = archive.manifest.index();
    let restoring = Restoring::new(names, index, new.number, &passphrase, &given, &clock, &entropy)
        .map_err(|error| deployment(&error))?;
    let placed = place(&config, &archive, restoring, &new, output).await;
    if placed.is_err()
        && let Err(error) = files::remove_dir(dir)
    {
        output.say(format_args!("{} stays, and is of no use: {error}", dir.display()));
    }
    placed?;
    let dir = dir.display();
    output.say(format_args!(
        "{dir} is node {}, the region's only one: start it with `fieldmesh node`, then let others join",
        new.number
    ));
    output.result(json!({
        "data_dir": dir.to_string(),
        "number": new.number,
        "taken_at_ms": archive.manifest.taken_at_ms,
        "groups": archive.manifest.groups.len(),
    }));
    Ok(())
}

/// Whether a directory can become a node's.
pub(super) fn empty_dir(dir: &Path) -> Result<(), CliError> {
    if Deployment::is_there(dir) {
        return Err(deployment(&DeploymentError::Exists { path: dir.to_owned() }));
    }
    if !files::is_empty_dir(dir) {
        let text = "is not empty: choose another directory, or remove what is there";
        return Err(CliError::usage(format!("{} {text}", dir.display())));
    }
    Ok(())
}

/// Whether a backup is of what the configuration is for.
pub(super) fn fits(of: &Manifest, config: &Config) -> Result<(), CliError> {
    let wanted = &config.cluster;
    for (key, found, wanted) in [
        ("cluster.name", of.cluster.clone(), wanted.name.clone()),
        ("cluster.region", of.region.clone(), wanted.region.clone()),
        ("node.shards", of.shards.to_string(), config.node.shards.to_string()),
    ] {
        if found != wanted {
            return Err(CliError::usage(format!(
                "the backup is of {key} = {found}, the configuration says {wanted}"
            )));
        }
    }
    Ok(())
}

/// The nodes that the backed up cluster had.
fn members(archive: &Archive) -> Result<Members, ArchiveError> {
    let mut members = Members::default();
    let (from, until) = state::indexes();
    for part in archive.manifest.groups.iter().filter(|part| part.group == PLACEMENT) {
        archive.rows(part, |page| {
            let is_index = |key: &Vec<u8>| (&from..&until).contains(&key);
            for (key, value) in page.iter().filter(|(key, _)| is_index(key)) {
                if let Ok(row) = rows::decode::<IndexRow>(key, value) {
                    members.learn(&row);
                }
            }
            Ok::<_, ArchiveError>(())
        })?;
    }
    Ok(members)
}

/// Whether a node can take the place of those that were.
fn may_succeed(members: &Members, new: &NewMember) -> Result<(), CliError> {
    let number = new.number;
    if members.member(number).is_some() {
        return Err(CliError::usage(format!(
            "node.number = {number} is or was another machine's: take one that was never used"
        )));
    }
    let is_elsewhere = |member: &&Member| {
        member.presence != Presence::Gone && member.region().to_string() != new.region
    };
    if let Some(other) = members.members.iter().find(is_elsewhere) {
        return Err(CliError::usage(format!(
            "the cluster had nodes in region {} too: where they live, use `fieldmesh promote`",
            other.region()
        )));
    }
    Ok(())
}

async fn place(
    config: &Config,
    archive: &Archive,
    mut restoring: Restoring,
    new: &NewMember,
    output: &Output,
) -> Result<(), CliError> {
    let failed = |error: &TrialError| CliError::failed(chain(error));
    let dir = Restoring::dir(config).map_err(|error| deployment(&error))?;
    let db = dir.join("db");
    files::make_private_dir(&db)
        .map_err(|error| CliError::failed(format!("{}: {error}", db.display())))?;
    output.say(format_args!("writing {} groups", archive.manifest.groups.len()));
    trial::fill(archive, &db, new.number).await.map_err(|error| failed(&error))?;
    let member = Member {
        number: new.number,
        identity: restoring.registration().map_err(|error| deployment(&error))?,
        mesh: new.mesh.clone(),
        devices: new.devices.clone(),
        https: new.https.clone(),
        presence: Presence::Active,
        since: Millis(0),
        level: LEVEL,
    };
    let trial = Trial::start(TrialOptions {
        engine: Arc::new(Rocks::new(&db)),
        groups: &[PLACEMENT],
        home: archive
            .manifest
            .home()
            .ok_or_else(|| CliError::usage("the backup's region has no name"))?,
        node: new.number,
        service: restoring.service(&SystemClock).map_err(|error| deployment(&error))?,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::default()),
    });
    let trial = trial.await.map_err(|error| failed(&error))?;
    let succeeded = trial.succeed(member, BY).await;
    let stopped = trial.stop().await;
    succeeded.and(stopped).map_err(|error| failed(&error))?;
    restoring.end(dir, &SystemEntropy::default()).map_err(|error| deployment(&error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{EntityId, EntityKind};

    use super::*;

    /// A node of a region, which is or was there.
    fn node(number: u64, region: &str, presence: Presence) -> Member {
        let identity =
            EntityId::new(EntityKind::Registration, region.parse().unwrap(), [number as u8; 10]);
        let [mesh, devices, https] = [(); 3].map(|()| String::new());
        Member { number, identity, mesh, devices, https, presence, since: Millis(0), level: LEVEL }
    }

    #[test]
    fn a_region_is_restored_beside_no_other_that_may_live() {
        let refused = |number: u64, other: Presence| {
            let members = vec![node(1, "eu1", Presence::Active), node(2, "us1", other)];
            let members = Members { members, ..Members::default() };
            let [mesh, devices, https] = [(); 3].map(|()| String::new());
            let (cluster, region) = ("c".to_owned(), "eu1".to_owned());
            let new = NewMember { number, cluster, region, shards: 1, mesh, devices, https };
            may_succeed(&members, &new).err().map(|error| error.to_string())
        };
        for presence in [Presence::Active, Presence::Away, Presence::Draining, Presence::Leaving] {
            let text = refused(3, presence).unwrap();
            assert!(text.contains("nodes in region us1") && text.contains("promote"), "{text}");
        }
        assert_eq!(refused(3, Presence::Gone), None);
        assert!(refused(2, Presence::Gone).unwrap().contains("another machine's"));
    }
}
