//! `promote`: a region whose nodes are all lost begins again on this machine, with what other regions hold
//! of it.
//!
//! The region's keys come from a backup of it, whatever its age; the data from where they are. Where nodes of other
//! regions vote, as under *region*, and go on with all groups, nothing that was acknowledged is lost: the new node is one
//! more voter. Otherwise, under *standby*, and where those that were to vote did not come to it, the data end where each
//! group's leader was heard last, and under *zone* with the backup; what that may have cost is told before anything is
//! changed. **Invariant:** nothing is changed before everything that could refuse was asked. **Not here:** making groups
//! of copies (`backup::promotion`), which copies (`copies`), whether the region is lost, and whether others go on with it
//! (`web::promotion`).

mod copies;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use fieldmesh_domain::{
    Region,
    placement::{Home, Members, PLACEMENT},
};
use serde_json::{Value, json};

use super::{
    CliError, Common, Output,
    api::Api,
    backup::{new_id, refused},
    configuration,
    join::{member, undecodable, usage},
    output::chain,
    restore::{empty_dir, fits},
    unlock::Unlock,
};
use crate::{
    backup::{
        archive::Archive,
        check::{Report, check},
        cut::Edges,
        promotion::{End, Moving, Promotion, Reconciled, misplaced, misplaced_in, reconcile},
        trial::{Trial, TrialError, TrialOptions},
    },
    config::Config,
    dates::date,
    deployment::{HandOver, Restoring},
    files,
    os::{SystemClock, SystemEntropy},
    store::{Engine as _, Role, rocks::Rocks, rows},
    web::{
        cluster::NewMember,
        promotion::{LostView, Successor},
    },
};
use copies::Copies;

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// A backup of the lost region: for its keys, and for its data where they are nowhere else.
    backup: PathBuf,
    /// Directory with an operator's access to a node of another region: its data directory, or a copy of
    /// addresses.json, root.pem, operator.pem and operator.key in it.
    #[arg(long)]
    operator: PathBuf,
    /// Only tell what there is and what may be lost.
    #[arg(long)]
    dry_run: bool,
}

/// What is so by then, and what to do.
const OUT: &str =
    "the lost nodes are out of the cluster's record; run this again with another node.number";

pub(crate) async fn promote(args: &PromoteArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    let new = member(&config)?;
    empty_dir(&config.node.data_dir)?;
    let passphrase = args.unlock.secret(false)?;
    let archive = Archive::open(&args.backup, &passphrase).map_err(|error| refused(&error))?;
    fits(&archive.manifest, &config)?;
    let api = Api::from_dir(&args.operator)?;
    let region: Region = config.cluster.region.parse().map_err(CliError::usage)?;
    let path = format!("/v1/promotion/regions/{region}");
    let lost: LostView = api.get(&path).await?;
    may_be_promoted(&lost, &config)?;
    let home = home_of(&record(&api).await?, region, new.number)?;
    let given = HandOver::decode(archive.secrets())
        .map_err(|error| CliError::usage(format!("the backup's secrets do not decode: {error}")))?;
    let names = [config.cluster.name.as_str(), config.cluster.region.as_str()];
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    let restoring =
        Restoring::new(names, home.index, new.number, &passphrase, &given, &clock, &entropy);
    let restoring = restoring.map_err(|error| usage(&error))?;
    let id = new_id();
    let data = Data::of(&lost, &api, &archive, &id).await?;
    data.has_all_slots(&home)?;
    data.tell(output);
    if args.dry_run {
        data.end().await;
        output.say("nothing was changed");
        output.result(json!({ "promoted": false, "copies": data.views(), "lost": lost }));
        return Ok(());
    }
    let registration = restoring.registration().map_err(|error| usage(&error))?.to_string();
    let successor = Successor { member: new.clone(), registration };
    if let Err(error) = api.post::<LostView>(&path, &successor).await {
        data.end().await;
        return Err(error);
    }
    // Whatever was still on its way is shut out now: the last word that there is.
    let data = data.again(&lost, &api, &id).await.map_err(|error| error.within(OUT))?;
    let record = record(&api).await?;
    let promoting = Promoting { config: &config, api: &api, home, record, restoring, output };
    let placed = promoting.place(&data, &new).await;
    data.end().await;
    let (report, reconciled) = placed.map_err(|error| {
        let dir = &config.node.data_dir;
        if let Err(error) = files::remove_dir(dir) {
            output.say(format_args!("{} stays, and is of no use: {error}", dir.display()));
        }
        error.within(OUT)
    })?;
    data.tell(output);
    let dir = config.node.data_dir.display();
    output.say(format_args!(
        "{dir} is node {}, the first one of region {region}: start it with `fieldmesh node`, then let others join",
        new.number
    ));
    output.result(json!({
        "promoted": true,
        "data_dir": dir.to_string(),
        "number": new.number,
        "copies": data.views(),
        "groups": report.groups,
        "reconciled": reconciled,
    }));
    Ok(())
}

fn may_be_promoted(lost: &LostView, config: &Config) -> Result<(), CliError> {
    let region = &config.cluster.region;
    if let Some(number) = lost.alive.first() {
        return Err(CliError::refused(format!(
            "node {number} of region {region} answers: a region that lives is not promoted"
        )));
    }
    if lost.shards != config.node.shards {
        return Err(CliError::usage(format!(
            "node.shards = {}, the region has {}",
            config.node.shards, lost.shards
        )));
    }
    Ok(())
}

/// Where the region's data come from.
enum Data<'a> {
    /// Nodes of other regions that followed.
    Copies(Copies),
    /// Nodes of other regions that vote, and go on with all groups.
    Voters,
    /// Nowhere else.
    Backup(&'a Archive),
}

impl<'a> Data<'a> {
    async fn of(
        lost: &LostView,
        api: &Api,
        archive: &'a Archive,
        id: &str,
    ) -> Result<Self, CliError> {
        if lost.goes_on().map_err(CliError::refused)? {
            return Ok(Self::Voters);
        }
        match lost.policy.policy.as_str() {
            // Those that were to vote may have come as far as to follow, and those that followed before are still there.
            "standby" | "region" => Copies::freeze(api, lost, id).await.map(Self::Copies),
            "zone" => {
                archive.check().map_err(|error| refused(&error))?;
                Ok(Self::Backup(archive))
            }
            other => Err(CliError::failed(format!("policy {other} is of a later release"))),
        }
    }

    /// As it is by now.
    async fn again(self, lost: &LostView, api: &Api, id: &str) -> Result<Self, CliError> {
        match self {
            Self::Copies(first) => {
                Copies::freeze_again(api, lost, id, &first).await.map(Self::Copies)
            }
            data => Ok(data),
        }
    }

    /// A backup that is older than the last move of a slot is of no use, and that is said before anything is changed.
    fn has_all_slots(&self, home: &Home) -> Result<(), CliError> {
        let Self::Backup(archive) = self else { return Ok(()) };
        let misplaced = misplaced_in(archive, home).map_err(|error| usage(&error))?;
        misplaced.map_or(Ok(()), |found| Err(CliError::usage(too_old(found))))
    }

    /// A node that does not hear of it lets go by itself.
    async fn end(&self) {
        if let Self::Copies(copies) = self {
            copies.end().await;
        }
    }

    fn views(&self) -> Vec<Value> {
        match self {
            Self::Copies(copies) => copies.views(),
            Self::Voters | Self::Backup(_) => Vec::new(),
        }
    }

    /// What may be lost.
    fn tell(&self, output: &Output) {
        match self {
            Self::Copies(copies) => copies.tell(output),
            Self::Voters => output.say("others vote: nothing that was acknowledged is lost"),
            Self::Backup(archive) => output.say(format_args!(
                "the data are the backup's: what the region acknowledged after {} is lost",
                moment(archive.manifest.taken_at_ms)
            )),
        }
    }
}

/// A millisecond in UTC.
fn moment(ms: u64) -> String {
    format!("{}.{:03}Z", date(ms / 1000).trim_end_matches('Z'), ms % 1000)
}

/// The data lack a slot that a shard serves.
fn too_old((slot, group): (u16, u32)) -> String {
    format!(
        "slot {slot} was moved and is not in group {group} yet, as far as these data go: use a backup that is younger than the move"
    )
}

/// The cluster's nodes, regions and groups.
async fn record(api: &Api) -> Result<Members, CliError> {
    let bytes = api.bytes("/v1/promotion/record").await?;
    rows::whole(&bytes).map_err(undecodable)
}

/// The region, where a node may become one of it.
fn home_of(record: &Members, region: Region, number: u64) -> Result<Home, CliError> {
    if record.member(number).is_some() {
        return Err(CliError::usage(format!(
            "node.number = {number} is or was another machine's: take one that was never used"
        )));
    }
    let home = record.home(region).cloned();
    home.ok_or_else(|| CliError::usage(format!("the cluster has no region {region}")))
}

/// Takes the rows of the region's groups from a backup.
fn put(
    archive: &Archive,
    promotion: &mut Promotion,
    engine: &Rocks,
    output: &Output,
) -> Result<(), CliError> {
    for part in archive.manifest.groups.iter().filter(|part| part.group != PLACEMENT) {
        let end = End { term: part.term, last: part.index };
        let filling = promotion.begin(engine, part.group, end);
        let filling = filling.map_err(|error| CliError::failed(chain(&error)))?;
        let put = archive.rows(part, |rows| filling.put(rows).map_err(TrialError::from));
        put.map_err(|error| CliError::failed(chain(&error)))?;
        output.say(format_args!("group {}: {} rows", part.group, part.rows));
    }
    Ok(())
}

struct Promoting<'a> {
    config: &'a Config,
    api: &'a Api,
    home: Home,
    record: Members,
    restoring: Restoring,
    output: &'a Output,
}

impl Promoting<'_> {
    /// Makes the directory.
    async fn place(
        mut self,
        data: &Data<'_>,
        new: &NewMember,
    ) -> Result<(Report, Reconciled), CliError> {
        let dir = Restoring::dir(self.config).map_err(|error| usage(&error))?;
        let db = dir.join("db");
        let failed = |error: std::io::Error| CliError::failed(format!("{}: {error}", db.display()));
        files::make_private_dir(&db).map_err(failed)?;
        let made = match data {
            Data::Voters => {
                self.restoring.follow().map_err(|error| usage(&error))?;
                (Report::default(), Reconciled::default())
            }
            Data::Copies(_) | Data::Backup(_) => {
                self.fill(data, &db, new.number).await?;
                self.reconciled(&db, new.number).await?
            }
        };
        let written = self.restoring.keep_members(dir, &self.record);
        written.map_err(|error| usage(&error))?;
        let ended = self.restoring.end(dir, &SystemEntropy::default());
        ended.map_err(|error| usage(&error))?;
        Ok(made)
    }

    async fn fill(
        &mut self,
        data: &Data<'_>,
        db: &std::path::Path,
        node: u64,
    ) -> Result<(), CliError> {
        let failed = |error: &dyn std::error::Error| CliError::failed(chain(error));
        let engine = Rocks::new(db);
        let records = engine.open("log", Role::Log).map_err(|error| failed(&error))?;
        let mut promotion = Promotion::new(self.home.region);
        match data {
            Data::Copies(copies) => copies.put(&mut promotion, &engine, self.output).await?,
            Data::Backup(archive) => put(archive, &mut promotion, &engine, self.output)?,
            Data::Voters => {}
        }
        let path = format!("/v1/promotion/edges?region={}", self.home.region);
        let edges: Edges = rows::whole(&self.api.bytes(&path).await?).map_err(undecodable)?;
        let service = self.restoring.service(&SystemClock).map_err(|error| usage(&error))?;
        let mended = promotion.mend(&edges, &service.region_key, &SystemEntropy::default());
        let mended = mended.map_err(|error| failed(&error))?;
        self.output.say(format_args!(
            "{} messages between entities are lost, {} more are known to their receivers alone",
            mended.lost, mended.forgotten
        ));
        let moving = promotion.settle_slots(&self.home).map_err(|error| failed(&error))?;
        if moving != Moving::default() {
            let Moving { again, brought } = moving;
            self.output.say(format_args!(
                "{again} slots that were on their way to another shard set out anew, {brought} more had just arrived"
            ));
        }
        promotion.end(node, &*records).await.map_err(|error| failed(&error))
    }

    /// Runs the groups here alone, replays them, and asks everybody how it stands.
    async fn reconciled(
        &mut self,
        db: &std::path::Path,
        node: u64,
    ) -> Result<(Report, Reconciled), CliError> {
        let failed = |error: &TrialError| CliError::failed(chain(error));
        let groups: Vec<u32> = self.home.groups().collect();
        let trial = Trial::start(TrialOptions {
            engine: Arc::new(Rocks::new(db)),
            groups: &groups,
            home: self.home.clone(),
            node,
            service: self.restoring.service(&SystemClock).map_err(|error| usage(&error))?,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::default()),
        });
        let trial = trial.await.map_err(|error| failed(&error))?;
        let done = self.look_through(&trial).await;
        let stopped = trial.stop().await.map_err(|error| failed(&error));
        let done = done?;
        stopped.map(|()| done)
    }

    async fn look_through(&self, trial: &Trial) -> Result<(Report, Reconciled), CliError> {
        let report = check(trial, |found| {
            let (group, entities) = (found.group, found.entities);
            self.output.say(format_args!("group {group}: {entities} entities are whole"));
        });
        let report = report.map_err(|error| CliError::failed(chain(&error)))?;
        if let Some(first) = report.told.first() {
            let faults = report.faults;
            return Err(CliError::failed(format!("the copies have {faults} faults: {first}")));
        }
        let misplaced = misplaced(trial, &self.home);
        if let Some(found) = misplaced.map_err(|error| CliError::failed(chain(&error)))? {
            return Err(CliError::failed(too_old(found)));
        }
        let say = |text: &str| self.output.say(text);
        let done = reconcile(trial, self.home.region, self.record.epoch, say).await;
        done.map(|done| (report, done)).map_err(|error| CliError::failed(chain(&error)))
    }
}
