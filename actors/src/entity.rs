//! The one generic entity actor: load, decide, submit, evolve, answer.
//!
//! Steps that follow from other entities and from timers are submitted one behind the other without
//! waiting for the disk, so that an entity that all others ask (the desk) is not slower than the log.
//! A step for somebody outside waits until those before it are applied, and is waited for itself,
//! because its answer may be "it was done already". **Invariants:** nothing is answered before its
//! step is applied; any other outcome ends the actor, and with it what was decided on top, so that
//! the next ask reloads; a consumed cause is never applied twice. **Not here:** domain rules
//! (`domain`), waking and retiring (`shard`), sealing (`Journal`).

mod awake;
mod pipeline;

use std::{marker::PhantomData, sync::Arc};

use fieldmesh_domain::{
    Aggregate, Command, EntityId, Rejection, attachment::Attachment, authority::Authority,
    customer::Customer, desk::Desk, integration::Integration, notifier::Notifier,
    placement::Placement, registration::Registration, technician::Technician, ticket::Ticket,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub use awake::RULE_VERSION;

use self::{
    awake::{Awake, Decided},
    pipeline::{Pipeline, Step},
};
use crate::{
    admission::{Credit, Place},
    commit::Cause,
    mailroom, outbox,
    seams::{Clock, Guide, Journal, JournalError},
    timers,
};

/// Why an entity stops itself: the next ask reloads it, and its neighbours look at the tables.
pub(crate) const STALE: &str = "state must be reloaded";

/// What an entity answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Committed and applied. A device's message carries its receipt.
    Done { version: u64, receipt: Option<Vec<u8>> },
    /// It was true already; nothing was written. A device's repeated message carries its receipt.
    AlreadyDone { receipt: Option<Vec<u8>> },
}

/// Why an entity did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("the entity refused: {0}")]
    Rejected(Rejection),
    /// Nothing was written; ask again after the delay.
    #[error("too much is waiting, ask again in {retry_after_ms} ms")]
    Busy { retry_after_ms: u32 },
    /// Nothing was written here; another node may lead.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// Nothing was written here, and nothing will be: another shard serves the entity.
    #[error("another shard serves the entity")]
    Moved,
    /// The outcome is open; asking again with the same cause is safe.
    #[error("the outcome is unknown, ask again")]
    Unknown,
    #[error("message id was used before with other content")]
    Forged,
    #[error("sequence number is behind the window")]
    OutOfWindow,
    /// The entity failed three times; it is tried again after ten minutes.
    #[error("the entity is parked after repeated failures")]
    Parked,
    /// Nothing was written, and nothing will be before there is room.
    #[error("the disk of the node that leads is full: it writes again once there is room")]
    Full,
    #[error("the journal failed")]
    Journal(#[source] JournalError),
}

impl AskError {
    /// Whether the same ask may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::NotLeader
                | Self::Moved
                | Self::Unknown
                | Self::Parked
                | Self::Full
                | Self::Journal(_)
        )
    }
}

impl AskError {
    /// Whether the entity in memory may be another than the one in the log.
    fn leaves_state_open(&self) -> bool {
        matches!(
            self,
            Self::Unknown | Self::NotLeader | Self::Moved | Self::Full | Self::Journal(_)
        )
    }
}

/// An ask on its way to an entity.
#[derive(Debug)]
pub struct Ask {
    pub to: EntityId,
    pub command: Command,
    pub cause: Cause,
    pub reply: oneshot::Sender<Result<Answer, AskError>>,
    /// Returned when the ask is answered; absent for asks between entities.
    pub credit: Option<Credit>,
}

/// An ask with its place in the mailbox.
pub(crate) struct Turn {
    pub(crate) ask: Ask,
    pub(crate) place: Place,
}

/// What all entities of a shard share.
pub(crate) struct Deps {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) guide: Arc<dyn Guide>,
    pub(crate) outbox: ActorRef<outbox::Msg>,
    pub(crate) timers: ActorRef<timers::Msg>,
    pub(crate) mailroom: ActorRef<mailroom::Msg>,
}

/// An aggregate with its place in the common command.
pub(crate) trait Hosted: Aggregate {
    fn own(command: Command) -> Option<Self::Command>;
}

macro_rules! hosted {
    ($($aggregate:ident => $variant:ident),*) => {$(
        impl Hosted for $aggregate {
            fn own(command: Command) -> Option<Self::Command> {
                match command {
                    Command::$variant(command) => Some(command),
                    _ => None,
                }
            }
        }
    )*};
}
hosted!(
    Customer => Customer, Technician => Technician, Ticket => Ticket, Desk => Desk,
    Registration => Registration, Authority => Authority, Placement => Placement,
    Notifier => Notifier, Integration => Integration, Attachment => Attachment
);

/// The actor of one aggregate kind.
pub(crate) struct Entity<A>(PhantomData<fn() -> A>);

impl<A> Entity<A> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// An entity's actor before and after its first ask.
pub(crate) struct Sleeper<A> {
    id: EntityId,
    deps: Arc<Deps>,
    pipeline: Pipeline,
    awake: Option<Box<Awake<A>>>,
}

impl<A: Hosted> Sleeper<A> {
    /// Loading waits for the first ask: its failure is then the actor's, which the supervisor sees,
    /// and not the start's, which nobody would.
    fn wake(&mut self) -> Result<&mut Awake<A>, JournalError> {
        match &mut self.awake {
            Some(awake) => Ok(awake),
            none => Ok(none.insert(Box::new(Awake::load(self.id, Arc::clone(&self.deps))?))),
        }
    }

    /// One turn: decides, hands the step to the log, and answers or leaves that to the step.
    async fn take(&mut self, me: ActorRef<Turn>, turn: Turn) -> Result<(), ActorProcessingErr> {
        let Turn { ask: Ask { command, cause, reply, credit, .. }, place } = turn;
        let is_internal = cause.is_internal();
        let permit = self.pipeline.enter(is_internal).await;
        // What was decided on top of a step that failed goes with it; the dropped reply says
        // "unknown".
        let Some(permit) = permit else {
            me.stop(Some(STALE.into()));
            return Ok(());
        };
        let awake = match self.wake() {
            Ok(awake) => awake,
            Err(error) => {
                // A caller that left does not want the answer.
                drop(reply.send(Err(AskError::Journal(error.clone()))));
                return Err(error.into());
            }
        };
        let submitted = match awake.decide(command, cause) {
            Ok(Decided::Nothing(answer)) => {
                drop(reply.send(Ok(answer)));
                return Ok(());
            }
            Ok(Decided::Step(prepared)) => awake.submit(*prepared).await,
            Err(error) => Err(error),
        };
        match submitted {
            Ok(submitted) => {
                let may_overlap = is_internal && !submitted.is_barrier;
                let deps = Arc::clone(&self.deps);
                let step = Step { id: self.id, deps, me, permit, reply, place, credit };
                if may_overlap {
                    tokio::spawn(step.finish(submitted));
                } else {
                    step.finish(submitted).await;
                }
            }
            Err(error) => {
                let is_stale = error.leaves_state_open();
                drop(reply.send(Err(error)));
                if is_stale {
                    me.stop(Some(STALE.into()));
                }
            }
        }
        Ok(())
    }
}

impl<A: Hosted> Actor for Entity<A> {
    type Msg = Turn;
    type State = Sleeper<A>;
    type Arguments = (EntityId, Arc<Deps>);

    async fn pre_start(
        &self,
        _me: ActorRef<Turn>,
        (id, deps): Self::Arguments,
    ) -> Result<Sleeper<A>, ActorProcessingErr> {
        Ok(Sleeper { id, deps, pipeline: Pipeline::new(), awake: None })
    }

    async fn handle(
        &self,
        me: ActorRef<Turn>,
        turn: Turn,
        sleeper: &mut Sleeper<A>,
    ) -> Result<(), ActorProcessingErr> {
        // Boxed, because an actor that waits keeps room for what it may come to do: twice.
        Box::pin(sleeper.take(me, turn)).await
    }
}
