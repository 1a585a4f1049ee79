//! How things are when a run is over: every ticket, what logs have, every replica, the ledger.
//!
//! **Invariant:** what cannot be read is noted as that, and is never taken for well. **Not here:** what must be
//! so (`fieldmesh_chaos`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use fieldmesh_chaos::history::What;
use fieldmesh_domain::EntityId;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::Instant;

use super::{
    ground::Ground,
    nodes::Nodes,
    positions::{self, Ends, Own, Positions},
    recorder::Recorder,
    tickets,
};
use crate::{
    cli::{CliError, Output, api::Api, import::progress},
    files,
    web::{ca::Covered, chaos::ReplicaView},
};

/// Tickets that are read at a time.
const AT_ONCE: usize = 16;
/// A read that fails is tried so often: elections may go on yet.
const TRIES_MAX: u32 = 5;
/// Replicas come to have applied the same within this, once nobody asks any more.
const EVEN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever is enrolled is in the ledger as registered, as invited and with a certificate.
const LEAVES_EACH: u64 = 3;

/// What the ledger must have in the end, and where logs are to be looked at.
pub(super) struct Wanted {
    /// Where it is put while it is looked at.
    pub(super) file: PathBuf,
    /// Its entries before the run.
    pub(super) before: u64,
    /// Whom the run enrolled.
    pub(super) people: Vec<EntityId>,
    /// What else it was told is recorded of them.
    pub(super) recorded: u64,
    /// How far the logs were before the run.
    pub(super) logs: Ends,
}

impl Wanted {
    /// As things are before a run.
    ///
    /// # Errors
    /// What the auditor's commands say; a node that does not say how long the ledger is.
    pub(super) async fn before(
        ground: &mut Ground<'_>,
        nodes: &Nodes,
        file: PathBuf,
    ) -> Result<Self, CliError> {
        if ground.is_shared() {
            // What does not hold before is no fault of the run's.
            export(ground, &file).await?;
            verify(ground, &file).await?;
        }
        let before = recorded(&ground.api()?).await?;
        let (people, logs) = (Vec::new(), positions::ends(&ground.groups(), nodes).await);
        Ok(Self { file, before, people, recorded: 0, logs })
    }

    /// At least so many entries the ledger has in the end: nodes that join have theirs, too.
    fn entries(&self) -> u64 {
        self.before + self.people.len() as u64 * LEAVES_EACH + self.recorded
    }
}

/// Reads all of it into the history.
pub(super) async fn read(
    ground: &mut Ground<'_>,
    all: &[EntityId],
    wanted: &Wanted,
    (recorder, nodes): (&Recorder, &Nodes),
    output: &Output,
) -> Result<(), CliError> {
    let bar = progress(all.len() as u64, output);
    bar.set_message("tickets read again");
    let reads = stream::iter(all).map(async |ticket| {
        let read = ticket_of(*ticket, nodes).await;
        bar.inc(1);
        read
    });
    let reads: Vec<Result<Option<What>, CliError>> =
        reads.buffer_unordered(AT_ONCE).collect().await;
    bar.finish_and_clear();
    let tickets = all_of(reads)?;
    let own = Own::new(recorder, &wanted.people, all);
    let mut positions = Positions::behind(&wanted.logs, nodes, own).await;
    for what in tickets {
        positions.find_messages(&what);
        recorder.note(what);
    }
    positions.note();
    for replica in replicas(nodes, recorder.patience(EVEN_WITHIN)).await? {
        recorder.note(replica);
    }
    recorder.note(ledger(ground, wanted).await);
    Ok(())
}

/// Those that are there, where each was read: beside others, one that could not be would look like one that is lost.
///
/// # Errors
/// Why one could not be read.
fn all_of(reads: Vec<Result<Option<What>, CliError>>) -> Result<Vec<What>, CliError> {
    reads.into_iter().filter_map(Result::transpose).collect()
}

async fn ticket_of(ticket: EntityId, nodes: &Nodes) -> Result<Option<What>, CliError> {
    let mut tries = 0;
    loop {
        let api = nodes
            .any(u64::from(tries))
            .ok_or_else(|| CliError::failed("no node can be asked in the end"))?;
        match tickets::story(&api, ticket).await {
            Ok(None) => return Ok(None),
            // A node of the release before does not say which message is which.
            Ok(Some(story)) if tries < TRIES_MAX && !tickets::is_told_apart(&story) => tries += 1,
            Ok(Some(story)) => {
                let events = tickets::happened(&story);
                let (ticket, state) = (story.id, story.state);
                return Ok(Some(What::Ticket { ticket, state, events }));
            }
            Err(error) if tries >= TRIES_MAX => return Err(error.within(ticket)),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What each replica holds, once those of a group have applied the same, or time is up.
async fn replicas(nodes: &Nodes, within: Duration) -> Result<Vec<What>, CliError> {
    let end = Instant::now() + within;
    loop {
        let mut all = Vec::new();
        let mut applied: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (number, node) in nodes.all() {
            let replicas: Vec<ReplicaView> = node.api.get("/v1/chaos/replicas").await?;
            for ReplicaView { group, applied: last, digest } in replicas {
                applied.entry(group).or_default().push(last);
                all.push(What::Replica { group, node: number, applied: last, digest });
            }
        }
        let is_even = |last: &Vec<u64>| last.iter().all(|one| Some(one) == last.first());
        if applied.values().all(is_even) || Instant::now() > end {
            return Ok(all);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many entries the ledger has now, in which its nodes and their invitations are, too. Whether an export has them, the
/// end shows.
///
/// # Errors
/// The node does not say so, for a while: an election may go on.
async fn recorded(api: &Api) -> Result<u64, CliError> {
    let mut tries = 0;
    loop {
        if let Some(said) = enough(covered(api).await, tries) {
            return said;
        }
        tries += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a node says of the ledger's length, unless it is to be asked again. A node that follows may have signed what it does
/// not know to be signed yet; where others go on writing there is always something new, and fewer is less than was there.
fn enough(said: Result<Covered, CliError>, tries: u32) -> Option<Result<u64, CliError>> {
    match said {
        Ok(Covered { signed, covers }) if !signed || tries >= TRIES_MAX => Some(Ok(covers)),
        Err(error) if tries >= TRIES_MAX => Some(Err(error)),
        _ => None,
    }
}

async fn export(ground: &mut Ground<'_>, file: &Path) -> Result<(), CliError> {
    ground.command(&["ca", "audit", "export", &file.to_string_lossy()]).await.map(drop)
}

async fn verify(ground: &mut Ground<'_>, file: &Path) -> Result<u64, CliError> {
    let verified = ground.command(&["ca", "audit", "verify", &file.to_string_lossy()]).await;
    // It says who was enrolled: not for whoever gets the report.
    if let Err(error) = files::remove(file) {
        tracing::warn!(%error, file = %file.display(), "the exported ledger stays");
    }
    let entries = verified?["entries"].as_u64();
    entries.ok_or_else(|| CliError::failed("it is not said how many entries were verified"))
}

/// Entries under the head that is signed now.
async fn covered(api: &Api) -> Result<Covered, CliError> {
    api.post("/v1/ca/ledger/heads", &json!({})).await
}

/// The ledger is exported and verified by the commands that an auditor has.
async fn ledger(ground: &mut Ground<'_>, wanted: &Wanted) -> What {
    // Signed before: what it covers cannot be missing behind it.
    let covered = match ground.api() {
        Ok(api) => covered(&api).await,
        Err(error) => Err(error),
    };
    let covered = match covered {
        Ok(Covered { covers, .. }) => covers,
        Err(error) => return What::Harness { why: format!("no head is signed: {error}") },
    };
    if let Err(error) = export(ground, &wanted.file).await {
        return What::Harness { why: format!("the ledger cannot be exported: {error}") };
    }
    let verified = verify(ground, &wanted.file).await;
    judged(verified, &wanted.file, covered.max(wanted.entries()))
}

/// What the verifier refuses it says of a line of the file; all else says nothing of the ledger.
fn judged(verified: Result<u64, CliError>, file: &Path, wanted: u64) -> What {
    let (holds, entries, why) = match verified {
        Ok(entries) => (true, entries, String::new()),
        Err(error) => (false, 0, error.to_string()),
    };
    if !holds && !why.starts_with(&format!("{}: line ", file.display())) {
        return What::Harness { why: format!("the ledger cannot be verified: {why}") };
    }
    What::Ledger { holds, entries, wanted, why }
}

#[cfg(test)]
mod tests;
