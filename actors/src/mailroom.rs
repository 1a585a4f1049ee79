//! Messages for devices: pushed while the device is connected, kept until it acknowledges.
//!
//! What is not worth sending any more is passed over, where its device can be told: that the number does not come is
//! sent in its place, until it is acknowledged. That a device has an alert its ticket is told before the row goes.
//!
//! **Invariants:** a row leaves the table only after its device acknowledged it or that it does not come, or once the
//! device would refuse it; a device without a session costs no memory here. **Not here:** sealing and sockets
//! (`Courier`), what is worth sending (`mail`), deduplication on the device.

mod settling;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_domain::{EntityId, message::OfferId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::{
    commit::Settle,
    mail::{self, About},
    queues::{Held, Queue},
    seams::{Clock, Courier, Journal, MailItem, Pending},
};
use settling::{AGAIN_AFTER, Settling};

/// Rows pushed and not acknowledged per device; the table holds the rest.
pub(crate) const WINDOW_ROWS: usize = 64;
/// A row that is not acknowledged is pushed again after this long.
const RESEND_AFTER_MS: u64 = 5_000;
const TICK: Duration = Duration::from_secs(1);

/// Messages of the mailroom.
#[derive(Debug)]
pub enum Msg {
    /// Mail that was just committed.
    New(Vec<MailItem>),
    /// A device has a session on some node.
    Attached {
        device: EntityId,
    },
    Detached {
        device: EntityId,
    },
    Acknowledged {
        device: EntityId,
        message_ids: Vec<[u8; 16]>,
    },
    /// Whoever waited to hear that a device has a message was told, or could not be told.
    Told {
        device: EntityId,
        message_id: [u8; 16],
        number: u64,
        is_written: bool,
    },
    /// Which alerts a device was sent, as far as nobody was told that they arrived.
    Look {
        device: EntityId,
        reply: oneshot::Sender<Vec<Sent>>,
    },
    /// Mail may have been missed: read the table.
    Rescan,
    Settle,
    /// What could not be settled before.
    SettleAgain,
    Tick,
}

/// An alert that was sent to a device, and of which nobody was told yet that it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub ticket: EntityId,
    pub offer: OfferId,
    /// When it was handed to the present session first, Unix milliseconds.
    pub at_ms: u64,
}

pub(crate) struct Mailroom;

/// A device with a session.
#[derive(Default)]
struct Attached {
    /// Pushed and not acknowledged, by message id.
    waiting: BTreeMap<[u8; 16], Pushed>,
    /// The table holds more than is in the window.
    behind: bool,
}

struct Pushed {
    /// Or what stands in its place.
    mail: MailItem,
    first_ms: u64,
    at_ms: u64,
    /// Its device has it, and whoever waits for that is being told.
    is_acknowledged: bool,
}

impl Pushed {
    fn sent(&self) -> Option<Sent> {
        match self.mail.about {
            About::Alert { ticket, offer, .. } => {
                Some(Sent { ticket, offer, at_ms: self.first_ms })
            }
            About::Withdrawal { .. } | About::Other => None,
        }
    }

    /// Nothing would come of it, and nobody has said that its device has it.
    fn is_over(&self, now_s: u64) -> bool {
        !self.is_acknowledged && !self.mail.is_passed_over() && self.mail.ends_s() <= now_s
    }

    /// It stands there as it is, or that it does not come is news.
    fn holds(&self, row: &MailItem) -> bool {
        self.is_acknowledged || self.mail.is_passed_over() || !row.is_passed_over()
    }
}

pub(crate) struct State {
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    courier: Arc<dyn Courier>,
    queues: Arc<Held>,
    devices: BTreeMap<EntityId, Attached>,
    settling: Settling,
}

impl Actor for Mailroom {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<dyn Clock>, Arc<dyn Journal>, Arc<dyn Courier>, Arc<Held>);

    async fn pre_start(
        &self,
        me: ActorRef<Msg>,
        (clock, journal, courier, queues): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        me.send_after(TICK, || Msg::Tick);
        let (devices, settling) = Default::default();
        Ok(State { clock, journal, courier, queues, devices, settling })
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::New(mail) => {
                for item in mail {
                    state.push_new(item);
                }
            }
            Msg::Attached { device } => {
                state.devices.insert(device, Attached { behind: true, ..Attached::default() });
                state.refill(&me, device)?;
            }
            Msg::Detached { device } => {
                state.devices.remove(&device);
            }
            Msg::Acknowledged { device, message_ids } => {
                state.acknowledged(&me, device, &message_ids)?
            }
            Msg::Told { device, message_id, number, is_written } => {
                state.told(&me, device, message_id, number, is_written)?;
            }
            Msg::Look { device, reply } => drop(reply.send(state.sent(device))),
            Msg::Rescan => state.rescan(&me)?,
            Msg::Settle => state.settle(&me, false).await,
            Msg::SettleAgain => state.settle(&me, true).await,
            Msg::Tick => {
                state.resend(&me)?;
                // Devices are many: they are counted when they are looked through anyway.
                let most = state.devices.values().map(|device| device.waiting.len()).max();
                state.queues.is(Queue::Mail, most.unwrap_or(0));
                me.send_after(TICK, || Msg::Tick);
            }
        }
        Ok(())
    }
}

impl State {
    fn push_new(&mut self, mail: MailItem) {
        let Some(device) = self.devices.get_mut(&mail.to) else {
            return;
        };
        let is_full = device.waiting.len() >= WINDOW_ROWS;
        if is_full && !device.waiting.contains_key(&mail.message_id) {
            device.behind = true;
            return;
        }
        // Full or closed sessions are served by the next tick.
        self.courier.push(&mail);
        let now_ms = self.clock.now_ms();
        let pushed = Pushed { mail, first_ms: now_ms, at_ms: now_ms, is_acknowledged: false };
        device.waiting.insert(pushed.mail.message_id, pushed);
    }

    fn sent(&self, device: EntityId) -> Vec<Sent> {
        let waiting = self.devices.get(&device).into_iter().flat_map(|one| one.waiting.values());
        waiting.filter_map(Pushed::sent).collect()
    }

    /// Pushes what the table holds for a device, as far as the window allows.
    fn refill(&mut self, me: &ActorRef<Msg>, to: EntityId) -> Result<(), ActorProcessingErr> {
        let Some(device) = self.devices.get_mut(&to) else {
            return Ok(());
        };
        if !device.behind {
            return Ok(());
        }
        let rows = match self.journal.mail(to, WINDOW_ROWS) {
            Ok(rows) => rows,
            Err(error) => {
                // One device's mail, and nobody else's: it is read again when the device comes again.
                metrics::counter!("fieldmesh_mail_unreadable_total").increment(1);
                tracing::error!(device = %to, %error, "a device's mail cannot be read");
                device.behind = false;
                return Ok(());
            }
        };
        device.behind = !rows.is_all;
        let (now_s, passes) = (self.clock.now_ms() / 1000, self.courier.passes(to));
        let (rows, over) = mail::sorted(rows.items, now_s, passes);
        let (dead, passed): (Vec<_>, Vec<_>) =
            over.into_iter().partition(|row| row.expires_s <= now_s);
        // What its device would refuse would stand in the way of the rest.
        for row in &dead {
            device.waiting.remove(&row.message_id);
        }
        let (settling, waiting) = (&self.settling, &device.waiting);
        let fresh: Vec<MailItem> = rows
            .into_iter()
            .chain(passed.iter().map(MailItem::passed_over))
            .filter(|row| {
                !waiting.get(&row.message_id).is_some_and(|pushed| pushed.holds(row))
                    && !settling.has(to, row.number)
            })
            .collect();
        for mail in fresh {
            self.push_new(mail);
        }
        self.expire(me, dead)
    }

    /// Their devices would refuse these rows, and nobody has acknowledged them: they go.
    fn expire(
        &mut self,
        me: &ActorRef<Msg>,
        rows: Vec<MailItem>,
    ) -> Result<(), ActorProcessingErr> {
        metrics::counter!("fieldmesh_mail_expired_total").increment(rows.len() as u64);
        for row in &rows {
            // A device that is not told waits for a few seconds.
            self.courier.push(&row.passed_over());
        }
        self.settle_later(me, rows.into_iter().map(|row| (row.to, row.number)).collect())
    }

    fn rescan(&mut self, me: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let all: Vec<EntityId> = self.devices.keys().copied().collect();
        for device in self.devices.values_mut() {
            device.behind = true;
        }
        all.into_iter().try_for_each(|id| self.refill(me, id))
    }

    fn acknowledged(
        &mut self,
        me: &ActorRef<Msg>,
        to: EntityId,
        ids: &[[u8; 16]],
    ) -> Result<(), ActorProcessingErr> {
        let Some(device) = self.devices.get_mut(&to) else {
            return Ok(());
        };
        let mut numbers = Vec::new();
        for id in ids {
            let Some(pushed) = device.waiting.get_mut(id).filter(|one| !one.is_acknowledged) else {
                continue;
            };
            let number = pushed.mail.number;
            if pushed.mail.is_passed_over() {
                metrics::counter!("fieldmesh_mail_expired_total").increment(1);
            }
            match self.courier.delivered(&pushed.mail) {
                Some(told) => {
                    pushed.is_acknowledged = true;
                    wait(me.clone(), to, *id, number, told);
                }
                None => {
                    device.waiting.remove(id);
                    numbers.push((to, number));
                }
            }
        }
        self.settle_later(me, numbers)?;
        self.refill(me, to)
    }

    /// What could not be told is sent again, and so acknowledged again.
    fn told(
        &mut self,
        me: &ActorRef<Msg>,
        to: EntityId,
        id: [u8; 16],
        number: u64,
        is_written: bool,
    ) -> Result<(), ActorProcessingErr> {
        let device = self.devices.get_mut(&to);
        if !is_written {
            if let Some(pushed) = device.and_then(|device| device.waiting.get_mut(&id)) {
                pushed.is_acknowledged = false;
            }
            return Ok(());
        }
        if let Some(device) = device {
            device.waiting.remove(&id);
        }
        self.settle_later(me, vec![(to, number)])?;
        self.refill(me, to)
    }

    fn settle_later(
        &mut self,
        me: &ActorRef<Msg>,
        rows: Vec<(EntityId, u64)>,
    ) -> Result<(), ActorProcessingErr> {
        match self.settling.add(rows) {
            None => {}
            Some(Duration::ZERO) => me.send_message(Msg::Settle)?,
            Some(after) => drop(me.send_after(after, || Msg::Settle)),
        }
        Ok(())
    }

    async fn settle(&mut self, me: &ActorRef<Msg>, is_again: bool) {
        let mail = self.settling.take(is_again);
        if mail.is_empty() {
            return;
        }
        let settled = self.journal.settle(Settle { mail: mail.clone(), ..Settle::default() }).await;
        let Err(error) = settled else { return };
        tracing::debug!(%error, "acknowledged mail could not be removed");
        if self.settling.put_off(mail) {
            me.send_after(AGAIN_AFTER, || Msg::SettleAgain);
        }
    }

    fn resend(&mut self, me: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let now = self.clock.now_ms();
        let (mut behind, mut dead) = (Vec::new(), Vec::new());
        for (id, device) in &mut self.devices {
            let is_dead = |_: &_, pushed: &mut Pushed| pushed.mail.expires_s <= now / 1000;
            dead.extend(device.waiting.extract_if(.., is_dead).map(|(_, pushed)| pushed.mail));
            let is_over = |pushed: &Pushed| pushed.is_over(now / 1000);
            if device.waiting.values().any(is_over) && self.courier.passes(*id) {
                for pushed in device.waiting.values_mut().filter(|pushed| is_over(pushed)) {
                    pushed.mail = pushed.mail.passed_over();
                    self.courier.push(&pushed.mail);
                    pushed.at_ms = now;
                }
            }
            let is_due = |pushed: &&mut Pushed| {
                !pushed.is_acknowledged && pushed.at_ms + RESEND_AFTER_MS <= now
            };
            for pushed in device.waiting.values_mut().filter(is_due) {
                metrics::counter!("fieldmesh_mail_resent_total").increment(1);
                self.courier.push(&pushed.mail);
                pushed.at_ms = now;
            }
            if device.behind && device.waiting.len() < WINDOW_ROWS / 2 {
                behind.push(*id);
            }
        }
        self.expire(me, dead)?;
        behind.into_iter().try_for_each(|id| self.refill(me, id))
    }
}

/// Tells the mailroom what came of it.
fn wait(
    me: ActorRef<Msg>,
    device: EntityId,
    message_id: [u8; 16],
    number: u64,
    told: Pending<bool>,
) {
    // No more than a window of each device's.
    tokio::spawn(async move {
        let is_written = told.await;
        // The mailroom is gone with its shard; the row is in the table.
        drop(me.send_message(Msg::Told { device, message_id, number, is_written }));
    });
}
