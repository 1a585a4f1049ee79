//! What this node holds of a group that another region decides, frozen as that region's last leader left
//! it.
//!
//! Nobody here can say what was acknowledged elsewhere after the last word of that leader. What can be said
//! is exact: up to which entry all is here, how many entries the leader said were committed that are not,
//! and when it was heard last.
//!
//! **Invariant:** a frozen state holds every entry that this node knows to be committed. **Not here:**
//! making a region of such states (`backup::promotion`), groups that are led here (`freeze`).

use std::time::Duration;

use openraft_rt::watch::WatchReceiver as _;
use tokio::time::Instant;

use super::{
    LogId,
    freeze::{Frozen, NotHeld},
    group::Group,
    install,
};

/// Entries are applied in milliseconds; a slow disk needs a moment.
const APPLIED_WITHIN: Duration = Duration::from_secs(5);

/// A group's state as it came to be here.
#[derive(Clone)]
pub struct StandbyCopy {
    pub frozen: Frozen,
    /// The term of the last leader that this node followed.
    pub term: u64,
    /// The last entry of the log here, committed or not.
    pub last: u64,
    /// Entries that were committed and did not come, as far as the leader said so.
    pub missing: u64,
    /// How long ago the leader was heard; none since this node was started.
    pub silent: Option<Duration>,
}

impl Group {
    /// Freezes what is here.
    ///
    /// # Errors
    /// A group that has no state yet; a disk that fails.
    pub async fn standby_copy(&self) -> Result<StandbyCopy, NotHeld> {
        let group = self.group;
        let store = |source| NotHeld::Store { group, source };
        self.table.sync().await.map_err(store)?;
        let (term, last, committed, known) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let index = |id: &Option<LogId>| id.as_ref().map(|id| id.index);
            (
                metrics.vote.leader_id.term,
                metrics.last_log_index.unwrap_or(0),
                index(&metrics.local_committed),
                index(&metrics.cluster_committed).unwrap_or(0),
            )
        };
        let wait = self.raft.wait(Some(APPLIED_WITHIN));
        // Of nothing that has come nothing is applied: that is not waited for.
        let waited = wait.applied_index_at_least(committed, "to be frozen").await;
        waited.map_err(|_| NotHeld::Lapsed { group })?;
        let table = self.table.checkpoint().map_err(store)?;
        let applied = install::found(&*table).map_err(store)?.applied;
        let applied = applied.ok_or(NotHeld::Empty { group })?;
        let frozen = Frozen { group, table, term: applied.leader_id.term, index: applied.index };
        let missing = known.saturating_sub(applied.index);
        let silent = self.heard().map(|at: Instant| at.elapsed());
        Ok(StandbyCopy { frozen, term, last: last.max(applied.index), missing, silent })
    }
}
