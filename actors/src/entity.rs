//! The one generic entity actor: load, decide, append, evolve, answer.
//!
//! **Invariants:** nothing is answered before the append returned; any other outcome ends the actor,
//! so that the next ask reloads; a consumed cause is never decided twice. **Not here:** domain rules
//! (`domain`), waking and retiring (`shard`), sealing (`Journal`).

use std::{marker::PhantomData, sync::Arc};

use fieldmesh_domain::{
    Aggregate, Command, Ctx, Effect, EntityId, Rejection,
    customer::Customer,
    desk::Desk,
    technician::Technician,
    ticket::{self, Ticket},
    time::Millis,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::{
    admission::{Credit, Place, RETRY_AFTER_MS},
    commit::{Cause, Draft, DraftMessage, TimerChange},
    mailroom, outbox,
    seams::{Clock, Journal, JournalError, Loaded, Replay},
    timers,
};

/// The version of the built-in rules, recorded with each event.
pub const RULE_VERSION: u32 = 1;
/// A snapshot is worth its bytes once the events behind the last one are as large, and not before
/// this many bytes: replay then costs at most twice the state.
const SNAPSHOT_BYTES_MIN: usize = 4096;
/// A larger state is replayed from its events instead: writing it would hold up its entity.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// Why an entity stops itself: the next ask reloads it, and its neighbours look at the tables.
pub(crate) const STALE: &str = "state must be reloaded";

/// What an entity answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Committed and applied.
    Done { version: u64 },
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
    #[error("the journal failed")]
    Journal(#[source] JournalError),
}

impl AskError {
    /// Whether the same ask may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::NotLeader | Self::Unknown | Self::Parked | Self::Journal(_)
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
    pub(crate) _place: Place,
}

/// What all entities of a shard share.
pub(crate) struct Deps {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<dyn Journal>,
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
hosted!(Customer => Customer, Technician => Technician, Ticket => Ticket, Desk => Desk);

/// The actor of one aggregate kind.
pub(crate) struct Entity<A>(PhantomData<fn() -> A>);

impl<A> Entity<A> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// An entity awake.
pub(crate) struct Awake<A> {
    id: EntityId,
    deps: Arc<Deps>,
    state: A,
    version: u64,
    chain: [u8; 32],
    owner: Option<EntityId>,
    /// Bytes of events since the last snapshot, and bytes of that snapshot.
    since_snapshot: usize,
    snapshot_bytes: usize,
    /// The state is not what the log says: reload.
    stale: bool,
}

/// An entity's actor before and after its first ask.
pub(crate) struct Sleeper<A> {
    id: EntityId,
    deps: Arc<Deps>,
    awake: Option<Awake<A>>,
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
        // Loading waits for the first ask: its failure is then the actor's, which the supervisor
        // sees, and not the start's, which nobody would.
        Ok(Sleeper { id, deps, awake: None })
    }

    async fn handle(
        &self,
        me: ActorRef<Turn>,
        turn: Turn,
        sleeper: &mut Sleeper<A>,
    ) -> Result<(), ActorProcessingErr> {
        let Ask { command, cause, reply, credit, .. } = turn.ask;
        let awake = match &mut sleeper.awake {
            Some(awake) => awake,
            none => match Awake::load(sleeper.id, Arc::clone(&sleeper.deps)) {
                Ok(awake) => none.insert(awake),
                Err(error) => {
                    // A caller that left does not want the answer.
                    drop(reply.send(Err(AskError::Journal(error.clone()))));
                    return Err(error.into());
                }
            },
        };
        let answer = awake.step(command, cause).await;
        // After an open or foreign write the state here is a guess: the next ask reloads it.
        let stale = awake.stale
            || matches!(
                &answer,
                Err(AskError::Unknown | AskError::NotLeader | AskError::Journal(_))
            );
        drop(credit);
        // A caller that left does not want the answer.
        drop(reply.send(answer));
        if stale {
            me.stop(Some(STALE.into()));
        }
        Ok(())
    }
}

/// What a decision leads to, before it is written.
struct Step {
    draft: Draft,
    event_bytes: usize,
}

impl<A: Hosted> Awake<A> {
    fn load(id: EntityId, deps: Arc<Deps>) -> Result<Self, JournalError> {
        let damaged = |error: minicbor::decode::Error| {
            JournalError::Failed(format!("{id} does not decode: {error}"))
        };
        let loaded = deps.journal.load(id)?;
        let snapshot_bytes = loaded.snapshot.as_ref().map_or(0, Vec::len);
        let mut state: A = match &loaded.snapshot {
            Some(bytes) => minicbor::decode(bytes).map_err(damaged)?,
            None => A::default(),
        };
        let mut since_snapshot = 0;
        for bytes in &loaded.events {
            let event: A::Event = minicbor::decode(bytes).map_err(damaged)?;
            state.evolve(&event);
            since_snapshot += bytes.len();
        }
        let Loaded { version, chain, owner, .. } = loaded;
        Ok(Self {
            id,
            deps,
            state,
            version,
            chain,
            owner,
            since_snapshot,
            snapshot_bytes,
            stale: false,
        })
    }

    async fn step(&mut self, command: Command, cause: Cause) -> Result<Answer, AskError> {
        match self.deps.journal.replay(&cause).map_err(AskError::Journal)? {
            Replay::New => {}
            Replay::Repeated { receipt } => {
                return Ok(Answer::AlreadyDone { receipt: Some(receipt) });
            }
            Replay::Forged => return Err(AskError::Forged),
            Replay::OutOfWindow => return Err(AskError::OutOfWindow),
        }
        let ctx =
            Ctx { now: Millis(self.deps.clock.now_ms()), id: self.id, rule_version: RULE_VERSION };
        let owner = self.owner.unwrap_or_else(|| key_owner(self.id, &command));
        let internal = matches!(cause, Cause::Outbox { .. } | Cause::Timer { .. });
        let decided = match A::own(command) {
            Some(command) => self.state.decide(&command, &ctx),
            None => return Err(AskError::Unknown),
        };
        let events = match decided {
            Ok(events) => events,
            // Between entities a refusal is final: the row must go, or it would be told for ever.
            Err(rejection) if internal => {
                tracing::debug!(entity = %self.id, %rejection, "refused");
                metrics::counter!("fieldmesh_tells_refused_total").increment(1);
                Vec::new()
            }
            Err(rejection) => return Err(AskError::Rejected(rejection)),
        };
        if events.is_empty() && !internal {
            return Ok(Answer::AlreadyDone { receipt: None });
        }
        let step = self.prepare(&events, cause, owner, &ctx)?;
        self.write(step).await
    }

    /// Moves the state and collects what follows. The state is ahead of the log until the append
    /// returns; where it fails, the actor ends and the next ask reloads.
    fn prepare(
        &mut self,
        events: &[A::Event],
        cause: Cause,
        owner: EntityId,
        ctx: &Ctx,
    ) -> Result<Step, AskError> {
        let mut draft = Draft {
            entity: self.id,
            owner,
            expected_version: self.version,
            previous: self.chain,
            cause,
            at_ms: ctx.now.0,
            rule_version: ctx.rule_version,
            events: Vec::with_capacity(events.len()),
            snapshot: None,
            tells: Vec::new(),
            messages: Vec::new(),
            timers: Vec::new(),
            index: Vec::new(),
        };
        let mut event_bytes = 0;
        for event in events {
            self.state.evolve(event);
            let bytes = encode(event)?;
            event_bytes += bytes.len();
            draft.events.push(bytes);
            for effect in self.state.react(event, self.id) {
                add_effect(&mut draft, effect);
            }
        }
        if self.since_snapshot + event_bytes >= self.snapshot_bytes.max(SNAPSHOT_BYTES_MIN) {
            let bytes = encode(&self.state)?;
            draft.snapshot = (bytes.len() <= SNAPSHOT_BYTES_MAX).then_some(bytes);
        }
        Ok(Step { draft, event_bytes })
    }

    async fn write(&mut self, step: Step) -> Result<Answer, AskError> {
        let Step { draft, event_bytes } = step;
        let owner = draft.owner;
        let snapshot_bytes = draft.snapshot.as_ref().map(Vec::len);
        let timers = draft.timers.clone();
        let appended = match self.deps.journal.append(draft).await {
            Ok(appended) => appended,
            Err(JournalError::Consumed) => {
                // The state moved in memory for nothing.
                self.stale = event_bytes > 0;
                return Ok(Answer::AlreadyDone { receipt: None });
            }
            Err(JournalError::TooFar) => {
                self.stale = event_bytes > 0;
                return Err(AskError::Busy { retry_after_ms: RETRY_AFTER_MS });
            }
            Err(JournalError::NotLeader) => return Err(AskError::NotLeader),
            Err(JournalError::Unknown | JournalError::Conflict { .. }) => {
                return Err(AskError::Unknown);
            }
            Err(error @ (JournalError::Erased { .. } | JournalError::Failed(_))) => {
                return Err(AskError::Journal(error));
            }
        };
        self.version = appended.version;
        self.chain = appended.chain;
        if event_bytes > 0 {
            self.owner = Some(owner);
        }
        match snapshot_bytes {
            Some(bytes) => (self.snapshot_bytes, self.since_snapshot) = (bytes, 0),
            None => self.since_snapshot += event_bytes,
        }
        // A neighbour that is gone means that the shard is stopping; its rows are in the log.
        if !appended.tells.is_empty() {
            drop(self.deps.outbox.send_message(outbox::Msg::New(appended.tells)));
        }
        if !appended.mail.is_empty() {
            drop(self.deps.mailroom.send_message(mailroom::Msg::New(appended.mail)));
        }
        if !timers.is_empty() {
            drop(self.deps.timers.send_message(timers::Msg::Changed { entity: self.id, timers }));
        }
        Ok(Answer::Done { version: self.version })
    }
}

fn encode<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, AskError> {
    minicbor::to_vec(value).map_err(|error| {
        AskError::Journal(JournalError::Failed(format!("encoding failed: {error}")))
    })
}

/// A ticket's payloads are its customer's, so that erasing the customer erases them.
fn key_owner(id: EntityId, command: &Command) -> EntityId {
    match command {
        Command::Ticket(ticket::Command::Open { customer, .. }) => *customer,
        Command::Ticket(_) | Command::Customer(_) | Command::Technician(_) | Command::Desk(_) => id,
    }
}

fn add_effect(draft: &mut Draft, effect: Effect) {
    match effect {
        Effect::Tell { to, command } => draft.tells.push((to, command)),
        Effect::Message { to, kind, correlation, body } => {
            draft.messages.push(DraftMessage { to, kind, correlation, body });
        }
        Effect::SetTimer { name, generation, due } => {
            draft.timers.push(TimerChange { name: name as u8, generation, due_ms: Some(due.0) })
        }
        Effect::CancelTimer { name } => {
            draft.timers.push(TimerChange { name: name as u8, generation: 0, due_ms: None });
        }
        Effect::Index(row) => draft.index.push(row),
    }
}
