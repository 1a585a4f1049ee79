//! The steps of an entity that are under way to the log.
//!
//! **Invariant:** a step is finished in its own task, whatever becomes of the actor: its caller is
//! answered and its rows are told once it is applied.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fieldmesh_domain::EntityId;
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Answer, AskError, Deps, STALE, Turn};
use crate::{
    admission::{Credit, Place, RETRY_AFTER_MS},
    commit::TimerChange,
    mailroom, outbox,
    seams::{Appended, JournalError, Pending},
    timers,
};

/// Steps of one entity under way: more than a round of the log holds of one entity when the disk is
/// slow, and a bound on what is decided in vain when one fails.
const UNDER_WAY_MAX: u32 = 64;

/// Admits steps.
pub(super) struct Pipeline {
    places: Arc<Semaphore>,
    is_broken: Arc<AtomicBool>,
}

/// The right to one step, or to be the only one.
pub(super) struct Permit {
    _places: OwnedSemaphorePermit,
    is_broken: Arc<AtomicBool>,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        let places = Arc::new(Semaphore::new(UNDER_WAY_MAX as usize));
        Self { places, is_broken: Arc::default() }
    }

    /// Waits for a place, or for all of them; none once a step has failed.
    pub(super) async fn enter(&self, may_overlap: bool) -> Option<Permit> {
        let wanted = if may_overlap { 1 } else { UNDER_WAY_MAX };
        let places = Arc::clone(&self.places).acquire_many_owned(wanted).await.ok()?;
        let is_broken = Arc::clone(&self.is_broken);
        (!is_broken.load(Ordering::Acquire)).then_some(Permit { _places: places, is_broken })
    }
}

/// A step that the log has been handed.
pub(super) struct Submitted {
    pub(super) version: u64,
    /// The state in memory counts on it.
    pub(super) moved: bool,
    /// No other step may be decided before this one is applied.
    pub(super) is_barrier: bool,
    pub(super) timers: Vec<TimerChange>,
    pub(super) receipt: Option<Vec<u8>>,
    pub(super) done: Pending<Result<Appended, JournalError>>,
}

/// Everything that waits for a step.
pub(super) struct Step {
    pub(super) id: EntityId,
    pub(super) deps: Arc<Deps>,
    pub(super) me: ActorRef<Turn>,
    pub(super) permit: Permit,
    pub(super) reply: oneshot::Sender<Result<Answer, AskError>>,
    pub(super) place: Place,
    pub(super) credit: Option<Credit>,
}

impl Step {
    /// Waits until the step is applied, tells the neighbours and answers.
    pub(super) async fn finish(self, submitted: Submitted) {
        let Submitted { version, moved, timers, receipt, done, .. } = submitted;
        let (answer, is_stale) = match done.await {
            Ok(appended) => {
                self.tell(appended, timers);
                (Ok(Answer::Done { version, receipt }), false)
            }
            Err(JournalError::Consumed) => (Ok(Answer::AlreadyDone { receipt: None }), moved),
            Err(JournalError::TooFar) => {
                (Err(AskError::Busy { retry_after_ms: RETRY_AFTER_MS }), moved)
            }
            Err(JournalError::NotLeader) => (Err(AskError::NotLeader), true),
            Err(JournalError::Moved) => (Err(AskError::Moved), true),
            Err(JournalError::Full) => (Err(AskError::Full), true),
            Err(JournalError::Unknown | JournalError::Conflict { .. }) => {
                (Err(AskError::Unknown), true)
            }
            Err(error @ (JournalError::Erased { .. } | JournalError::Failed(_))) => {
                (Err(AskError::Journal(error)), true)
            }
        };
        let is_answered = answer.is_ok();
        if is_stale {
            self.permit.is_broken.store(true, Ordering::Release);
            self.me.stop(Some(STALE.into()));
        }
        // A caller that left does not want the answer.
        drop(self.reply.send(answer));
        drop((self.permit, self.place));
        if let Some(credit) = self.credit.filter(|_| is_answered) {
            credit.answered();
        }
    }

    /// A neighbour that is gone means that the shard is stopping; its rows are in the log.
    fn tell(&self, appended: Appended, timers: Vec<TimerChange>) {
        if !appended.tells.is_empty() {
            drop(self.deps.outbox.send_message(outbox::Msg::New(appended.tells)));
        }
        if !appended.mail.is_empty() {
            drop(self.deps.mailroom.send_message(mailroom::Msg::New(appended.mail)));
        }
        if !timers.is_empty() {
            drop(self.deps.timers.send_message(timers::Msg::Changed { entity: self.id, timers }));
        }
    }
}
