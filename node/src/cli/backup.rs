//! `backup`: a region's state and secrets into a directory that the passphrase opens, and back into
//! view.
//!
//! This command is what brings the groups to one moment: it holds all of them, each at its leader, before
//! it lets the first go. **Invariant:** a backup of which a group was not held all along is not taken; the
//! attempt is repeated. **Not here:** what the directory looks like (`backup::archive`), restoring
//! (`restore`).

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use fieldmesh_actors::seams::{Clock as _, Entropy as _};
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use tokio::time::interval;

use super::{CliError, Common, Output, api::Api, configuration, output::chain, unlock::Unlock};
use crate::{
    backup::archive::{ArchiveError, FORMAT, GroupPart, Manifest, Writing},
    config::Config,
    consensus::transfer,
    deployment::Deployment,
    issuer::sha256,
    os::{SystemClock, SystemEntropy},
    store::Row,
    web::{
        backup::{FrozenView, HeldView, Hold, OfBackup},
        cluster::ClusterView,
    },
};

/// A leader may change while groups are held: it is tried again so often, after this pause.
const TRIES: u32 = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A node lets go of what nobody asked for in two minutes.
const ASKED_EVERY: Duration = Duration::from_secs(20);
/// No key of a row is behind this one.
const BEHIND_ALL: &str = "ff";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    verb: Option<BackupVerb>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// Directory to be made. It is called DIR.unfinished until it is whole.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum BackupVerb {
    /// Reads a backup to its end and replays all that it holds; needs no node.
    Verify(super::verify::VerifyArgs),
}

impl BackupArgs {
    pub(crate) fn common(&self) -> &Common {
        match &self.verb {
            Some(BackupVerb::Verify(args)) => &args.common,
            None => &self.common,
        }
    }
}

pub(crate) fn refused(error: &ArchiveError) -> CliError {
    CliError::usage(chain(error))
}

pub(crate) async fn run(args: &BackupArgs, output: &Output) -> Result<(), CliError> {
    match &args.verb {
        Some(BackupVerb::Verify(args)) => super::verify::verify(args, output).await,
        None => take(args, output).await,
    }
}

async fn take(args: &BackupArgs, output: &Output) -> Result<(), CliError> {
    let out = args.out.as_ref().ok_or_else(|| CliError::usage("say where to: --out DIR"))?;
    let config = configuration(&args.common, &[])?;
    let passphrase = args.unlock.secret(false)?;
    // A passphrase that is wrong is said before anybody is held up.
    let secrets = |config: &Config| {
        Deployment::for_backup(config, &passphrase).map_err(|error| CliError::usage(chain(&error)))
    };
    let (facts, _) = secrets(&config)?;
    let api = Api::from_dir(&config.node.data_dir)?;
    let entropy = SystemEntropy::default();
    let writing = Writing::begin(out, &entropy).map_err(|error| refused(&error))?;
    let frozen = Frozen::of(&api, &facts.region, output).await?;
    let fetched = frozen.fetch(&writing, &entropy, output).await;
    frozen.end().await;
    let groups = fetched?;
    // After the groups: a key that came meanwhile is there, and one that went is not needed.
    let (_, given) = secrets(&config)?;
    let manifest = Manifest {
        format: FORMAT,
        cluster: facts.cluster,
        region: facts.region,
        shards: facts.shards,
        taken_at_ms: frozen.at_ms,
        groups,
        certificates: given.certificates().map(|der| sha256(der).into()).collect(),
    };
    writing
        .end(&manifest, &given.encode(), &passphrase, &entropy)
        .map_err(|error| refused(&error))?;
    let bytes: u64 = manifest.groups.iter().map(|part| part.bytes).sum();
    let rows: u64 = manifest.groups.iter().map(|part| part.rows).sum();
    output.say(format_args!(
        "{} holds {} groups, {rows} rows, {bytes} bytes; all groups as they were {} ms apart at most",
        out.display(),
        manifest.groups.len(),
        frozen.held_ms
    ));
    output.result(json!({
        "dir": out.display().to_string(),
        "taken_at_ms": manifest.taken_at_ms,
        "held_ms": frozen.held_ms,
        "bytes": bytes,
        "rows": rows,
        "groups": manifest.groups.iter().map(summary).collect::<Vec<_>>(),
    }));
    Ok(())
}

/// A group of a backup as JSON.
pub(crate) fn summary(part: &GroupPart) -> serde_json::Value {
    let GroupPart { group, term, index, rows, bytes, .. } = part;
    json!({ "group": group, "term": term, "index": index, "rows": rows, "bytes": bytes })
}

/// A name for what is frozen.
pub(super) fn new_id() -> String {
    let mut random = [0; 16];
    SystemEntropy::default().fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node with the groups that it leads.
struct Leader {
    api: Api,
    groups: Vec<u32>,
}

/// Groups frozen at one moment, each at its leader.
struct Frozen {
    id: String,
    leaders: Vec<Leader>,
    groups: Vec<FrozenView>,
    /// A time at which all of them were held.
    at_ms: u64,
    /// For how long they were.
    held_ms: u64,
}

impl Frozen {
    async fn of(api: &Api, region: &str, output: &Output) -> Result<Self, CliError> {
        let id = new_id();
        let mut tries = 1;
        loop {
            match Self::try_of(api, region, &id).await {
                Ok(frozen) => {
                    let (groups, ms) = (frozen.groups.len(), frozen.held_ms);
                    output.say(format_args!("{groups} groups were held for {ms} ms"));
                    return Ok(frozen);
                }
                Err(error) if tries >= TRIES => return Err(error),
                Err(error) => output.say(format_args!("not yet: {error}")),
            }
            tries += 1;
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    async fn try_of(api: &Api, region: &str, id: &str) -> Result<Self, CliError> {
        let leaders = leaders(api, region).await?;
        let clock = SystemClock;
        let began = clock.now_ms();
        let held = join_all(leaders.iter().map(|leader| leader.hold(id))).await;
        let at_ms = clock.now_ms();
        // In any case: what is held must not wait for its time to be up.
        let released = match held.iter().all(Result::is_ok) {
            true => try_join_all(leaders.iter().map(|leader| leader.say(id, "release"))).await,
            false => Ok(Vec::new()),
        };
        let held_ms = clock.now_ms().saturating_sub(began);
        let held: Result<Vec<HeldView>, CliError> = held.into_iter().collect();
        let groups = held.and_then(|held| released.map(|_| held));
        let groups = groups.map(|held| held.into_iter().flat_map(|one| one.groups).collect());
        let frozen = |groups| Self { id: id.to_owned(), leaders, groups, at_ms, held_ms };
        match groups {
            Ok(groups) => Ok(frozen(groups)),
            Err(error) => {
                frozen(Vec::new()).end().await;
                Err(error)
            }
        }
    }

    /// Writes the rows of all groups down.
    async fn fetch(
        &self,
        writing: &Writing,
        entropy: &SystemEntropy,
        output: &Output,
    ) -> Result<Vec<GroupPart>, CliError> {
        let first =
            |leader: &Leader| leader.groups.first().map(|group| (leader.api.clone(), *group));
        let others: Vec<(Api, u32)> = self.leaders.iter().filter_map(first).collect();
        tokio::select! {
            parts = self.fetch_each(writing, entropy, output) => parts,
            never = keep_frozen(&self.id, &others) => match never {},
        }
    }

    async fn fetch_each(
        &self,
        writing: &Writing,
        entropy: &SystemEntropy,
        output: &Output,
    ) -> Result<Vec<GroupPart>, CliError> {
        let mut parts = Vec::with_capacity(self.groups.len());
        for leader in &self.leaders {
            for group in self.groups.iter().filter(|one| leader.groups.contains(&one.group)) {
                let part = leader.fetch(&self.id, group, writing, entropy).await?;
                output.say(format_args!(
                    "group {}: {} rows, {} bytes",
                    part.group, part.rows, part.bytes
                ));
                parts.push(part);
            }
        }
        parts.sort_unstable_by_key(|part| part.group);
        Ok(parts)
    }

    async fn end(&self) {
        // A node that does not hear of it lets go by itself.
        drop(join_all(self.leaders.iter().map(|leader| leader.say(&self.id, "end"))).await);
    }
}

/// Who leads the placement group and those of a region.
async fn leaders(api: &Api, region: &str) -> Result<Vec<Leader>, CliError> {
    let view: ClusterView = api.get("/v1/cluster").await?;
    let mut leaders: BTreeMap<u64, Leader> = BTreeMap::new();
    for group in &view.groups {
        match &group.region {
            // Others' groups may be voted on here too.
            Some(other) if other != region => continue,
            None if group.kind != "placement" => {
                let text =
                    "the node does not say whose its groups are: use the program that it runs";
                return Err(CliError::failed(text));
            }
            _ => {}
        }
        let number = group.leader.ok_or_else(|| {
            CliError::failed(format!("nobody leads group {}: wait, or repair it", group.group))
        })?;
        let member = view.members.iter().find(|member| member.number == number);
        let member = member
            .ok_or_else(|| CliError::failed(format!("node {number} leads and is no member")))?;
        let server = member.https.clone();
        leaders
            .entry(number)
            .or_insert_with(|| Leader { api: Api { server, ..api.clone() }, groups: Vec::new() })
            .groups
            .push(group.group);
    }
    Ok(leaders.into_values().collect())
}

impl Leader {
    async fn hold(&self, id: &str) -> Result<HeldView, CliError> {
        let hold = Hold { id: id.to_owned(), groups: self.groups.clone() };
        self.api.post("/v1/backup/hold", &hold).await
    }

    async fn say(&self, id: &str, what: &str) -> Result<OfBackup, CliError> {
        let of = OfBackup { id: id.to_owned() };
        self.api.post(&format!("/v1/backup/{what}"), &of).await
    }

    async fn fetch(
        &self,
        id: &str,
        group: &FrozenView,
        writing: &Writing,
        entropy: &SystemEntropy,
    ) -> Result<GroupPart, CliError> {
        let number = group.group;
        let mut file = writing.group(number, group.term, group.index).map_err(|e| refused(&e))?;
        fetch(&self.api, id, number, |piece, rows| {
            file.piece(piece, rows.len() as u64, entropy).map_err(|error| refused(&error))
        })
        .await?;
        file.end(entropy).map_err(|error| refused(&error))
    }
}

/// Asks each node, of one of its groups, for what is behind all rows: nothing, but that keeps frozen what is fetched
/// only after what others have.
pub(super) async fn keep_frozen(id: &str, nodes: &[(Api, u32)]) -> Infallible {
    let mut again = interval(ASKED_EVERY);
    loop {
        again.tick().await;
        let asked = nodes.iter().map(async |(node, group)| {
            let path = format!("/v1/backup/rows?id={id}&group={group}&behind={BEHIND_ALL}");
            // Where it is gone all the same, whoever fetches it is told.
            drop(node.bytes(&path).await);
        });
        join_all(asked).await;
    }
}

/// Gives the rows of a frozen group to `take`, page by page: as they came, and what is in them.
pub(super) async fn fetch(
    there: &Api,
    id: &str,
    group: u32,
    mut take: impl FnMut(&[u8], Vec<Row>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut behind = String::new();
    loop {
        let path = format!("/v1/backup/rows?id={id}&group={group}&behind={behind}");
        let piece = there.bytes(&path).await?;
        let damaged = |why: &str| CliError::failed(format!("the rows of group {group} came {why}"));
        let Ok(Ok(rows)) = transfer::read_piece(&piece) else { return Err(damaged("damaged")) };
        let Some((last, _)) = rows.last() else { return Ok(()) };
        let next: String = last.iter().map(|byte| format!("{byte:02x}")).collect();
        if next <= behind {
            return Err(damaged("out of order"));
        }
        take(&piece, rows)?;
        behind = next;
    }
}
