//! An entity in memory: loaded from the journal, asked to decide, moved by its events.

use std::sync::Arc;

use fieldmesh_domain::{
    Command, Ctx, Effect, EntityId, MessageKind, attachment, ticket, time::Millis,
};

use super::{Answer, AskError, Deps, Hosted, pipeline::Submitted};
use crate::{
    commit::{Cause, Draft, DraftMessage, TimerChange},
    seams::{JournalError, Loaded, Replay},
};

/// The version of the built-in rules, recorded with each event.
pub const RULE_VERSION: u32 = 1;
/// A snapshot is worth its bytes once the events behind the last one are as large, and not before
/// this many bytes: replay then costs at most twice the state.
const SNAPSHOT_BYTES_MIN: usize = 4096;
/// A larger state is replayed from its events instead: writing it would hold up its entity.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// An entity awake. Its state is ahead of the log by the steps that are under way; where one of them
/// fails, the actor ends and the next ask reloads.
pub(super) struct Awake<A> {
    id: EntityId,
    deps: Arc<Deps>,
    state: A,
    version: u64,
    chain: [u8; 32],
    owner: Option<EntityId>,
    /// When its last step was. Who led then may have a clock that is ahead: time never falls all the same.
    at: Millis,
    /// Bytes of events since the last snapshot, and bytes of that snapshot.
    since_snapshot: usize,
    snapshot_bytes: usize,
}

/// What came of a command.
pub(super) enum Decided {
    /// It was true already.
    Nothing(Answer),
    Step(Box<Prepared>),
}

/// What a decision leads to, before it is written.
pub(super) struct Prepared {
    draft: Draft,
    event_bytes: usize,
}

impl<A: Hosted> Awake<A> {
    pub(super) fn load(id: EntityId, deps: Arc<Deps>) -> Result<Self, JournalError> {
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
        let Loaded { version, chain, owner, at_ms, .. } = loaded;
        let at = Millis(at_ms);
        Ok(Self { id, deps, state, version, chain, owner, at, since_snapshot, snapshot_bytes })
    }

    /// What the entity makes of a command.
    ///
    /// # Errors
    /// Its refusal, or what replay protection or the journal have against it.
    pub(super) fn decide(&mut self, command: Command, cause: Cause) -> Result<Decided, AskError> {
        match self.deps.journal.replay(&cause).map_err(AskError::Journal)? {
            Replay::New => {}
            Replay::Repeated { receipt } => {
                return Ok(Decided::Nothing(Answer::AlreadyDone { receipt: Some(receipt) }));
            }
            Replay::Forged => return Err(AskError::Forged),
            Replay::OutOfWindow => return Err(AskError::OutOfWindow),
        }
        let now = self.at.max(Millis(self.deps.clock.now_ms()));
        let ctx = Ctx { now, id: self.id, rule_version: RULE_VERSION };
        let command = self.deps.guide.guide(self.id, command, now);
        let owner = self.owner.unwrap_or_else(|| key_owner(self.id, &command));
        let internal = cause.is_internal();
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
            return Ok(Decided::Nothing(Answer::AlreadyDone { receipt: None }));
        }
        self.prepare(&events, cause, owner, &ctx).map(|step| Decided::Step(Box::new(step)))
    }

    /// Moves the state and collects what follows.
    fn prepare(
        &mut self,
        events: &[A::Event],
        cause: Cause,
        owner: EntityId,
        ctx: &Ctx,
    ) -> Result<Prepared, AskError> {
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
            receipt: None,
            timers: Vec::new(),
            index: Vec::new(),
        };
        if !events.is_empty() {
            self.at = ctx.now;
        }
        let mut event_bytes = 0;
        for event in events {
            self.state.evolve(event);
            let bytes = encode(event)?;
            event_bytes += bytes.len();
            draft.events.push(bytes);
            for effect in self.state.react(event, self.id) {
                let is_said = match &effect {
                    Effect::Tell { to, command } => self.deps.guide.tells(*to, command),
                    Effect::Message { to, .. } if A::is_courtesy(event) => {
                        !self.deps.guide.spares(*to)
                    }
                    _ => true,
                };
                if is_said {
                    add_effect(&mut draft, effect);
                }
            }
        }
        take_receipt(&mut draft);
        if self.since_snapshot + event_bytes >= self.snapshot_bytes.max(SNAPSHOT_BYTES_MIN) {
            let bytes = encode(&self.state)?;
            draft.snapshot = (bytes.len() <= SNAPSHOT_BYTES_MAX).then_some(bytes);
        }
        Ok(Prepared { draft, event_bytes })
    }

    /// Hands the step to the log, behind all that were handed over before.
    ///
    /// # Errors
    /// Where it was not taken; the state here has moved all the same.
    pub(super) async fn submit(&mut self, prepared: Prepared) -> Result<Submitted, AskError> {
        let Prepared { draft, event_bytes } = prepared;
        let owner = draft.owner;
        let snapshot_bytes = draft.snapshot.as_ref().map(Vec::len);
        let (timers, receipt) = (draft.timers.clone(), draft.receipt.clone());
        let queued = match self.deps.journal.submit(draft).await {
            Ok(queued) => queued,
            Err(JournalError::NotLeader) => return Err(AskError::NotLeader),
            Err(JournalError::Full) => return Err(AskError::Full),
            Err(error) => return Err(AskError::Journal(error)),
        };
        (self.version, self.chain) = (queued.version, queued.chain);
        if event_bytes > 0 {
            self.owner = Some(owner);
        }
        match snapshot_bytes {
            Some(bytes) => (self.snapshot_bytes, self.since_snapshot) = (bytes, 0),
            None => self.since_snapshot += event_bytes,
        }
        Ok(Submitted {
            version: queued.version,
            moved: event_bytes > 0,
            is_barrier: queued.is_barrier,
            timers,
            receipt,
            done: queued.done,
        })
    }
}

fn encode<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, AskError> {
    minicbor::to_vec(value).map_err(|error| {
        AskError::Journal(JournalError::Failed(format!("encoding failed: {error}")))
    })
}

/// What a ticket and its attachments hold is its customer's, so that erasing the customer erases them.
fn key_owner(id: EntityId, command: &Command) -> EntityId {
    match command {
        Command::Ticket(ticket::Command::Open { customer, .. })
        | Command::Attachment(attachment::Command::Store { customer, .. }) => *customer,
        _ => id,
    }
}

/// The receipt for the very message that caused the step is its answer, not another message.
fn take_receipt(draft: &mut Draft) {
    let Cause::Device { message_id, .. } = draft.cause else { return };
    let is_receipt = |message: &DraftMessage| {
        message.kind == MessageKind::Receipt && message.correlation == Some(message_id)
    };
    if let Some(at) = draft.messages.iter().position(is_receipt) {
        draft.receipt = Some(draft.messages.remove(at).body);
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
