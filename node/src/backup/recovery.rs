//! The cluster's record made to go on without regions that are lost for good, by one node of another that is not running.
//!
//! The placement group lost its majority with them. The node runs it alone for a moment (`trial`), in which it applies
//! what it has and takes the lost nodes out, and leaves it so that the others follow (`consensus::outlive`).
//!
//! **Invariants:** what the region's own groups were told, and took, as far as this node knows, is not given again.
//! **Not here:** what is asked before (`cli::recover`), the lost regions' own groups (`promotion`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use fieldmesh_actors::seams::{Clock, Entropy};
use fieldmesh_domain::{
    IndexRow, Region,
    placement::{self, Home, Members, PLACEMENT},
};
use tokio::time::{Instant, sleep};

use super::{
    cut::{Edges, each_row},
    promotion::put,
    trial::{Trial, TrialError, TrialOptions},
};
use crate::{
    cluster::Cluster,
    consensus::{
        left,
        outlive::{self, Stored},
        restore::At,
    },
    inspection::inspect,
    node::NodeError,
    service::ServiceSecrets,
    store::{Batch, Engine, Role, StoreError, Table, keys::state, rocks::Rocks, rows},
};

/// Whom the cluster's record names.
const BY: &str = "recover";

/// How soon what a trial had open is closed, and how often that is tried.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(50);

/// The cluster's record as a node has it that is not running, and its region's own groups.
pub struct Record {
    pub stored: Stored,
    pub members: Members,
    /// The region's groups that are here, by their numbers.
    pub own: Vec<(u32, Stored)>,
    /// A recovery was begun here and did not come to its end.
    pub is_cut_short: bool,
}

impl Record {
    /// Reads it and changes nothing. None where the node has nothing of it.
    ///
    /// # Errors
    /// Records that are damaged, or cannot be read.
    pub fn read(engine: &dyn Engine, known: &Cluster) -> Result<Option<Self>, NodeError> {
        let Some(log) = engine.inspect("log", Role::Log).map_err(NodeError::Log)? else {
            return Ok(None);
        };
        let is_cut_short = outlive::is_cut_short(&*log).map_err(NodeError::Log)?;
        // Otherwise it was looked through before it was begun.
        if !is_cut_short {
            inspect(engine, known)?;
        }
        Self::of(engine, &*log, known.own(), is_cut_short).map_err(NodeError::Log)
    }

    fn of(
        engine: &dyn Engine,
        log: &dyn Table,
        home: &Home,
        is_cut_short: bool,
    ) -> Result<Option<Self>, StoreError> {
        let Some(stored) = outlive::look(PLACEMENT, engine, log)? else { return Ok(None) };
        let mut members = Members::default();
        each_row(&*stored.state, state::indexes(), |key, value| {
            members.learn(&rows::decode::<IndexRow>(key, value)?);
            Ok(())
        })?;
        let mut own = Vec::new();
        for group in whole_groups(home, log)? {
            own.extend(outlive::look(group, engine, log)?.map(|stored| (group, stored)));
        }
        Ok(Some(Self { stored, members, own, is_cut_short }))
    }
}

/// What goes on, and without whom.
pub struct Recovery {
    /// The node's tables.
    pub db: PathBuf,
    pub node: u64,
    pub lost: Vec<Region>,
    pub home: Home,
    pub service: ServiceSecrets,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Recovery {
    /// Does it; where the record ended. May be done again, also where it was cut short.
    ///
    /// # Errors
    /// Damaged storage; what the record has against it.
    pub async fn run(self) -> Result<At, TrialError> {
        let (db, node) = (self.db.clone(), self.node);
        let home = self.home.clone();
        self.take_out().await?;
        let engine = Rocks::new(&db);
        let records = reopened(&engine).await?;
        let groups = whole_groups(&home, &*records)?;
        let mend = |placement: &dyn Table| mend(placement, &engine, &groups);
        Ok(outlive::begin_again(PLACEMENT, node, (&engine, &*records), mend).await?)
    }

    /// The node alone commits what it has, and takes the lost nodes out.
    async fn take_out(self) -> Result<(), TrialError> {
        let Self { db, node, lost, home, service, clock, entropy } = self;
        {
            let engine = Rocks::new(&db);
            let records = engine.open("log", Role::Log)?;
            if let Some(Stored { last, .. }) = outlive::look(PLACEMENT, &engine, &*records)? {
                outlive::vote_alone(PLACEMENT, node, last, &*records).await?;
            }
        }
        let (engine, groups) = (Arc::new(Rocks::new(&db)), &[PLACEMENT]);
        let options = TrialOptions { engine, groups, home, node, service, clock, entropy };
        let trial = Trial::start(options).await?;
        let mut done = Ok(());
        for region in lost {
            let lose = placement::Command::Lose(region, BY.to_owned());
            done = match done {
                Ok(()) => trial.order(lose).await,
                refused => refused,
            };
        }
        done.and(trial.stop().await)
    }
}

/// A region's groups without those that this node has left, which may be half removed.
fn whole_groups(home: &Home, log: &dyn Table) -> Result<Vec<u32>, StoreError> {
    let left = left::unfinished(log)?;
    Ok(home.groups().filter(|group| !left.contains(group)).collect())
}

/// What was open before is closed by tasks, a moment after their groups have ended.
async fn reopened(engine: &Rocks) -> Result<Arc<dyn Table>, StoreError> {
    let until = Instant::now() + CLOSED_WITHIN;
    loop {
        match engine.open("log", Role::Log) {
            Err(_) if Instant::now() < until => sleep(TRY_EVERY).await,
            opened => return opened,
        }
    }
}

/// What the record's group told the region's own, and took from them, as those have it here: it may have ended before.
fn mend(table: &dyn Table, engine: &dyn Engine, groups: &[u32]) -> Result<(), StoreError> {
    let (own, mut batch) = (Edges::of(PLACEMENT, table)?, Batch::default());
    for group in groups {
        let Some(other) = outlive::state(*group, engine)? else { continue };
        let other = Edges::of(*group, &*other)?;
        put(&mut batch, *group, &own.mend(&other), &other.mend(&own));
    }
    table.write(batch)
}
