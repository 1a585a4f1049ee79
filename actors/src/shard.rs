//! Wakes, supervises and retires the entities of one shard, for one term of leadership.
//!
//! The shard is the supervisor of its subtree. An entity that fails is restarted from the journal by
//! the next ask; after three failures it is parked and the rest goes on. A failure of the outbox, the
//! timers or the mailroom fails the shard, and the node starts it anew from the log.
//!
//! **Invariants:** an entity has at most one actor; an ask enters a mailbox only with a place in it.
//! **Not here:** who owns the shard (`node`), domain rules (`domain`).

use std::{collections::BTreeMap, sync::Arc};

use fieldmesh_domain::{
    Command, EntityId, EntityKind, TimerName, attachment, attachment::Attachment, authority,
    authority::Authority, customer, customer::Customer, desk, desk::Desk, integration,
    integration::Integration, notifier, notifier::Notifier, placement, placement::Placement,
    registration, registration::Registration, technician, technician::Technician, ticket,
    ticket::Ticket,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;

use crate::{
    admission::{Backlog, Credits, Load, RETRY_AFTER_MS},
    commit::{Cause, ShardId},
    entity::{self, Answer, Ask, AskError, Deps, Entity, Hosted, Turn},
    mailroom::{self, Mailroom},
    outbox::{self, Outbox},
    queues::{Held, Queue},
    seams::{Clock, Courier, Guide, Journal, Serves, TimerItem},
    supervisor::Supervisor,
    timers::{self, Timers},
};

/// Failures after which an entity is parked: what it is asked is refused.
const STRIKES_MAX: u8 = 3;
/// A parked entity gets another chance after this long, and after this long old failures are
/// forgotten.
const PARKED_MS: u64 = 10 * 60 * 1000;

/// What a shard needs.
#[derive(Clone)]
pub struct ShardOptions {
    pub shard: ShardId,
    pub clock: Arc<dyn Clock>,
    pub journal: Arc<dyn Journal>,
    pub courier: Arc<dyn Courier>,
    pub guide: Arc<dyn Guide>,
    /// Entities awake at a time: at 8 KiB each, 100,000 are 800 MB.
    pub awake_max: usize,
}

/// Messages of the shard.
#[derive(Debug)]
pub enum Msg {
    Ask(Box<Ask>),
    /// How many entities are awake and parked.
    Census(oneshot::Sender<Census>),
    /// A slot came: its timers are in the table.
    Gained,
}

/// The entities of a shard, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    pub awake: usize,
    pub parked: usize,
}

/// The way into a running shard.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    actor: ActorRef<Msg>,
    mailroom: ActorRef<mailroom::Msg>,
    /// Credits for asks from outside; take one before any expensive work for the ask.
    pub credits: Credits,
    queues: Arc<Held>,
}

impl ShardHandle {
    /// Asks an entity.
    ///
    /// # Errors
    /// The entity's refusal, or why it could not be asked; [`AskError::Unknown`] where the shard
    /// stopped under the ask.
    pub async fn ask(
        &self,
        to: EntityId,
        command: Command,
        cause: Cause,
        credit: Option<crate::admission::Credit>,
    ) -> Result<Answer, AskError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { to, command, cause, reply, credit };
        self.actor.send_message(Msg::Ask(Box::new(ask))).map_err(|_| AskError::NotLeader)?;
        answer.await.unwrap_or(Err(AskError::Unknown))
    }

    /// A device's session began here.
    pub fn attached(&self, device: EntityId) {
        drop(self.mailroom.send_message(mailroom::Msg::Attached { device }));
    }

    /// A device's session ended.
    pub fn detached(&self, device: EntityId) {
        drop(self.mailroom.send_message(mailroom::Msg::Detached { device }));
    }

    /// A device has these messages.
    pub fn acknowledged(&self, device: EntityId, message_ids: Vec<[u8; 16]>) {
        drop(self.mailroom.send_message(mailroom::Msg::Acknowledged { device, message_ids }));
    }

    /// The alerts that were sent to a device and that it has not acknowledged.
    ///
    /// # Errors
    /// [`AskError::NotLeader`] where the shard has stopped.
    pub async fn sent(&self, device: EntityId) -> Result<Vec<mailroom::Sent>, AskError> {
        let (reply, sent) = oneshot::channel();
        let look = mailroom::Msg::Look { device, reply };
        self.mailroom.send_message(look).map_err(|_| AskError::NotLeader)?;
        sent.await.map_err(|_| AskError::NotLeader)
    }

    /// How much of what has a bound it holds now.
    pub fn holds(&self, queue: Queue) -> usize {
        match queue {
            Queue::Asks => self.credits.used(),
            _ => self.queues.of(queue),
        }
    }

    /// Entities came that have timers.
    pub fn has_gained(&self) {
        drop(self.actor.send_message(Msg::Gained));
    }

    /// Counts the entities.
    ///
    /// # Errors
    /// [`AskError::NotLeader`] where the shard has stopped.
    pub async fn census(&self) -> Result<Census, AskError> {
        let (reply, census) = oneshot::channel();
        self.actor.send_message(Msg::Census(reply)).map_err(|_| AskError::NotLeader)?;
        census.await.map_err(|_| AskError::NotLeader)
    }

    /// Ends when the shard has stopped or failed.
    pub async fn ended(&self) {
        if let Err(error) = self.actor.wait(None).await {
            tracing::debug!(%error, "waiting for the shard ended early");
        }
    }

    /// Stops the shard with all below it.
    pub async fn stop(&self) {
        if let Err(error) = self.actor.stop_and_wait(None, None).await {
            tracing::debug!(%error, "the shard was gone already");
        }
    }
}

/// The shard actor.
pub struct Shard;

impl Shard {
    /// Starts the subtree below `supervisor`.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn start(
        options: ShardOptions,
        supervisor: &Supervisor,
    ) -> Result<ShardHandle, SpawnErr> {
        let (credits, queues) = (Credits::default(), Arc::<Held>::default());
        let (tell, told) = oneshot::channel();
        let arguments = (options, credits.backlog(), Arc::clone(&queues), tell);
        let (actor, _) =
            Actor::spawn_linked(None, Self, arguments, supervisor.actor.get_cell()).await?;
        let mailroom = told
            .await
            .map_err(|_| SpawnErr::StartupFailed("the shard stopped while starting".into()))?;
        Ok(ShardHandle { actor, mailroom, credits, queues })
    }
}

/// An entity's actor.
struct Slot {
    actor: ActorRef<Turn>,
    load: Load,
    used: u64,
    /// What the journal said when it was woken.
    since: u64,
}

pub struct State {
    options: ShardOptions,
    queues: Arc<Held>,
    deps: Arc<Deps>,
    slots: BTreeMap<EntityId, Slot>,
    by_actor: BTreeMap<u64, EntityId>,
    /// Least recently used first.
    idle_order: BTreeMap<u64, EntityId>,
    clock: u64,
    strikes: BTreeMap<EntityId, Strikes>,
}

/// How often an entity failed lately.
#[derive(Debug, Clone, Copy, Default)]
struct Strikes {
    count: u8,
    last_ms: u64,
}

impl Actor for Shard {
    type Msg = Msg;
    type State = State;
    type Arguments = (ShardOptions, Backlog, Arc<Held>, oneshot::Sender<ActorRef<mailroom::Msg>>);

    async fn pre_start(
        &self,
        me: ActorRef<Msg>,
        (options, backlog, queues, started): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let ShardOptions { shard, clock, journal, courier, guide, .. } = options.clone();
        let cell = me.get_cell();
        let held = Arc::clone(&queues);
        let arguments = (shard, Arc::clone(&journal), Arc::clone(&courier), backlog, held);
        let (outbox, _) = Actor::spawn_linked(None, Outbox, arguments, cell.clone()).await?;
        let arguments = timers::Arguments {
            clock: Arc::clone(&clock),
            journal: Arc::clone(&journal),
            shard: me,
            queues: Arc::clone(&queues),
        };
        let (timers, _) = Actor::spawn_linked(None, Timers, arguments, cell.clone()).await?;
        let held = Arc::clone(&queues);
        let arguments = (Arc::clone(&clock), Arc::clone(&journal), courier, held);
        let (mailroom, _) = Actor::spawn_linked(None, Mailroom, arguments, cell).await?;
        // Whoever started the shard and left does not need the way in.
        drop(started.send(mailroom.clone()));
        Ok(State {
            options,
            queues,
            deps: Arc::new(Deps { clock, journal, guide, outbox, timers, mailroom }),
            slots: BTreeMap::new(),
            by_actor: BTreeMap::new(),
            idle_order: BTreeMap::new(),
            clock: 0,
            strikes: BTreeMap::new(),
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Ask(ask) => state.route(&me, *ask),
            Msg::Census(reply) => drop(reply.send(state.census())),
            Msg::Gained => state.deps.timers.send_message(timers::Msg::Rescan)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, failure, reason) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, Some(error), None),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, None, reason),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let Some(entity) = state.forget(cell.get_id().pid()) else {
            let (Some(part), Some(error)) = (state.part(cell.get_id().pid()), failure) else {
                return Ok(());
            };
            return Err(format!("the {part} of shard {}: {error}", state.options.shard).into());
        };
        if let Some(error) = &failure {
            let strikes = state.strike(entity);
            metrics::counter!("fieldmesh_entity_failures_total").increment(1);
            tracing::error!(%entity, %error, strikes, "an entity failed");
        }
        if failure.is_some() || reason.as_deref() == Some(entity::STALE) {
            // The entity may have committed and ended before it told its neighbours.
            state.deps.outbox.send_message(outbox::Msg::Rescan)?;
            state.deps.timers.send_message(timers::Msg::Rescan)?;
            state.deps.mailroom.send_message(mailroom::Msg::Rescan)?;
        }
        Ok(())
    }
}

impl State {
    fn route(&mut self, me: &ActorRef<Msg>, ask: Ask) {
        let to = ask.to;
        // Before any work for it.
        if !self.deps.journal.has_room() {
            drop(ask.reply.send(Err(AskError::Full)));
            return;
        }
        let since = match self.deps.journal.serves(to, &ask.cause) {
            Ok(Serves::Since(since)) => since,
            Ok(Serves::Before) => {
                drop(ask.reply.send(Ok(Answer::AlreadyDone { receipt: None })));
                return;
            }
            Ok(Serves::No) => {
                drop(ask.reply.send(Err(AskError::Moved)));
                return;
            }
            Err(error) => {
                drop(ask.reply.send(Err(AskError::Journal(error))));
                return;
            }
        };
        self.forget_older(to, since);
        if self.is_parked(to) {
            drop(ask.reply.send(Err(AskError::Parked)));
            return;
        }
        if !self.slots.contains_key(&to)
            && let Err(error) = self.wake(me, to, since)
        {
            tracing::error!(entity = %to, %error, "an entity cannot be woken");
            drop(ask.reply.send(Err(AskError::Unknown)));
            return;
        }
        self.clock += 1;
        let now = self.clock;
        let Some(slot) = self.slots.get_mut(&to) else {
            return;
        };
        self.idle_order.remove(&slot.used);
        self.idle_order.insert(now, to);
        slot.used = now;
        // What comes from within is bounded where it is sent: by the outbox and the timers.
        let place =
            if ask.cause.is_internal() { Some(slot.load.enter()) } else { slot.load.try_enter() };
        let Some(place) = place else {
            drop(ask.reply.send(Err(AskError::Busy { retry_after_ms: RETRY_AFTER_MS })));
            return;
        };
        // A send fails only where the actor has just ended: the dropped reply says "unknown", and
        // the supervision event that follows makes room for a new actor.
        drop(slot.actor.send_message(Turn { ask, place }));
        self.retire();
    }

    /// An entity that went to another shard and came back is not what it was.
    fn forget_older(&mut self, id: EntityId, since: u64) {
        if let Some(slot) = self.slots.get(&id)
            && slot.since != since
        {
            slot.actor.stop(None);
            let pid = slot.actor.get_id().pid();
            self.forget(pid);
        }
    }

    fn wake(&mut self, me: &ActorRef<Msg>, id: EntityId, since: u64) -> Result<(), SpawnErr> {
        let actor = match id.kind() {
            EntityKind::Customer => self.spawn::<Customer>(me, id),
            EntityKind::Technician => self.spawn::<Technician>(me, id),
            EntityKind::Ticket => self.spawn::<Ticket>(me, id),
            EntityKind::Desk => self.spawn::<Desk>(me, id),
            EntityKind::Registration => self.spawn::<Registration>(me, id),
            EntityKind::Authority => self.spawn::<Authority>(me, id),
            EntityKind::Placement => self.spawn::<Placement>(me, id),
            EntityKind::Notifier => self.spawn::<Notifier>(me, id),
            EntityKind::Integration => self.spawn::<Integration>(me, id),
            EntityKind::Attachment => self.spawn::<Attachment>(me, id),
        }?;
        self.by_actor.insert(actor.get_id().pid(), id);
        self.slots.insert(id, Slot { actor, load: Load::default(), used: 0, since });
        metrics::gauge!("fieldmesh_entities_awake").increment(1);
        Ok(())
    }

    fn spawn<A: Hosted>(
        &self,
        me: &ActorRef<Msg>,
        id: EntityId,
    ) -> Result<ActorRef<Turn>, SpawnErr> {
        let arguments = (id, Arc::clone(&self.deps));
        let (actor, _) = ractor::ActorRuntime::spawn_linked_instant(
            None,
            Entity::<A>::new(),
            arguments,
            me.get_cell(),
        )?;
        Ok(actor)
    }

    /// Retires the least recently used entities above the limit, unless they are at work. Those keep no other one
    /// awake.
    fn retire(&mut self) {
        let above = self.slots.len().saturating_sub(self.options.awake_max);
        let idle = first_idle(&self.idle_order, above, |id| {
            self.slots.get(id).is_some_and(|slot| slot.load.is_idle())
        });
        let at_work = above - idle.len();
        for id in idle {
            let Some(slot) = self.slots.get(&id) else { continue };
            slot.actor.stop(None);
            let pid = slot.actor.get_id().pid();
            self.forget(pid);
        }
        self.queues.is(Queue::Awake, self.slots.len() - at_work);
    }

    fn forget(&mut self, pid: u64) -> Option<EntityId> {
        let id = self.by_actor.remove(&pid)?;
        if let Some(slot) = self.slots.remove(&id) {
            self.idle_order.remove(&slot.used);
            metrics::gauge!("fieldmesh_entities_awake").decrement(1);
        }
        Some(id)
    }

    /// What an actor is that is no entity's.
    fn part(&self, pid: u64) -> Option<&'static str> {
        let Deps { outbox, timers, mailroom, .. } = &*self.deps;
        let parts = [
            (outbox.get_id(), "outbox"),
            (timers.get_id(), "timers"),
            (mailroom.get_id(), "mailroom"),
        ];
        parts.into_iter().find(|(part, _)| part.pid() == pid).map(|(_, name)| name)
    }

    /// Counts a failure, and forgets those of long ago.
    fn strike(&mut self, entity: EntityId) -> u8 {
        let now_ms = self.options.clock.now_ms();
        self.strikes.retain(|_, strikes| strikes.last_ms + PARKED_MS > now_ms);
        let strikes = self.strikes.entry(entity).or_default();
        *strikes = Strikes { count: strikes.count.saturating_add(1), last_ms: now_ms };
        strikes.count
    }

    fn is_parked(&self, entity: EntityId) -> bool {
        let now_ms = self.options.clock.now_ms();
        self.strikes.get(&entity).is_some_and(|strikes| {
            strikes.count >= STRIKES_MAX && strikes.last_ms + PARKED_MS > now_ms
        })
    }

    fn census(&self) -> Census {
        let parked = self.strikes.keys().filter(|entity| self.is_parked(**entity)).count();
        Census { awake: self.slots.len(), parked }
    }
}

/// So many of those that were used least lately, without those that are at work.
fn first_idle(
    order: &BTreeMap<u64, EntityId>,
    count: usize,
    is_idle: impl Fn(&EntityId) -> bool,
) -> Vec<EntityId> {
    order.values().filter(|id| is_idle(id)).take(count).copied().collect()
}

/// The command that a due timer is for its entity; none for a name this program does not know.
pub(crate) fn timer_command(timer: TimerItem) -> Option<Command> {
    let (name, generation) = (TimerName::from_u8(timer.name)?, timer.generation);
    Some(match timer.entity.kind() {
        EntityKind::Customer => Command::Customer(customer::Command::Timer { name, generation }),
        EntityKind::Technician => {
            Command::Technician(technician::Command::Timer { name, generation })
        }
        EntityKind::Ticket => {
            Command::Ticket(ticket::Command::Timer { name, generation, marks: None })
        }
        EntityKind::Desk => Command::Desk(desk::Command::Timer { name, generation }),
        EntityKind::Registration => {
            Command::Registration(registration::Command::Timer { name, generation })
        }
        EntityKind::Authority => Command::Authority(authority::Command::Timer { name, generation }),
        EntityKind::Placement => Command::Placement(placement::Command::Timer { name, generation }),
        EntityKind::Notifier => Command::Notifier(notifier::Command::Timer { name, generation }),
        EntityKind::Integration => {
            Command::Integration(integration::Command::Timer { name, generation })
        }
        EntityKind::Attachment => {
            Command::Attachment(attachment::Command::Timer { name, generation })
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn who_is_at_work_is_not_retired_and_keeps_no_other_one_awake() {
        let of = |at: u8| EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [at; 10]);
        let order: BTreeMap<u64, EntityId> = (1..=4).map(|at| (u64::from(at), of(at))).collect();
        let is_idle = |id: &EntityId| *id != of(1) && *id != of(3);
        assert_eq!(first_idle(&order, 1, is_idle), [of(2)]);
        assert_eq!(first_idle(&order, 3, is_idle), [of(2), of(4)]);
        assert_eq!(first_idle(&order, 0, is_idle), []);
    }
}
