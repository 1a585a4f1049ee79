//! Messages for devices: pushed while the device is connected, kept until it acknowledges.
//!
//! **Invariants:** a row leaves the table only after its device acknowledged it; a device without a
//! session costs no memory here. **Not here:** sealing and sockets (`Courier`), deduplication on
//! the device.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fieldmesh_domain::EntityId;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    commit::Settle,
    seams::{Clock, Courier, Journal, MailItem},
};

/// Rows pushed and not acknowledged per device; the table holds the rest.
const WINDOW_ROWS: usize = 64;
/// A row that is not acknowledged is pushed again after this long.
const RESEND_AFTER_MS: u64 = 5_000;
const TICK: Duration = Duration::from_secs(1);
/// Acknowledged rows are deleted together: after this many, or this long.
const SETTLE_ROWS: usize = 128;
const SETTLE_AFTER: Duration = Duration::from_millis(20);

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
    /// Mail may have been missed: read the table.
    Rescan,
    Settle,
    Tick,
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
    mail: MailItem,
    at_ms: u64,
}

pub(crate) struct State {
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    courier: Arc<dyn Courier>,
    devices: BTreeMap<EntityId, Attached>,
    settled: Vec<(EntityId, u64)>,
}

impl Actor for Mailroom {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<dyn Clock>, Arc<dyn Journal>, Arc<dyn Courier>);

    async fn pre_start(
        &self,
        me: ActorRef<Msg>,
        (clock, journal, courier): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        me.send_after(TICK, || Msg::Tick);
        Ok(State { clock, journal, courier, devices: BTreeMap::new(), settled: Vec::new() })
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
            Msg::Rescan => state.rescan(&me)?,
            Msg::Settle => state.settle().await,
            Msg::Tick => {
                state.resend(&me)?;
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
        if device.waiting.len() >= WINDOW_ROWS {
            device.behind = true;
            return;
        }
        // Full or closed sessions are served by the next tick.
        self.courier.push(&mail);
        device.waiting.insert(mail.message_id, Pushed { mail, at_ms: self.clock.now_ms() });
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
        // Its device would refuse what has expired, and it would stand in the way of what has not.
        let now_s = self.clock.now_ms() / 1000;
        let (rows, expired): (Vec<_>, Vec<_>) =
            rows.items.into_iter().partition(|row| row.expires_s > now_s);
        let settled = &self.settled;
        let fresh: Vec<MailItem> = rows
            .into_iter()
            .filter(|row| {
                !device.waiting.contains_key(&row.message_id)
                    && !settled.contains(&(to, row.number))
            })
            .collect();
        for mail in fresh {
            self.push_new(mail);
        }
        metrics::counter!("fieldmesh_mail_expired_total").increment(expired.len() as u64);
        self.settle_later(me, expired.into_iter().map(|mail| (to, mail.number)).collect())
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
        let numbers = ids.iter().filter_map(|id| device.waiting.remove(id));
        let numbers = numbers.map(|pushed| (to, pushed.mail.number)).collect();
        self.settle_later(me, numbers)?;
        self.refill(me, to)
    }

    fn settle_later(
        &mut self,
        me: &ActorRef<Msg>,
        rows: Vec<(EntityId, u64)>,
    ) -> Result<(), ActorProcessingErr> {
        let was_empty = self.settled.is_empty();
        self.settled.extend(rows);
        if was_empty && !self.settled.is_empty() {
            me.send_after(SETTLE_AFTER, || Msg::Settle);
        }
        if self.settled.len() >= SETTLE_ROWS {
            me.send_message(Msg::Settle)?;
        }
        Ok(())
    }

    async fn settle(&mut self) {
        if self.settled.is_empty() {
            return;
        }
        let mail = std::mem::take(&mut self.settled);
        if let Err(error) = self.journal.settle(Settle { mail, ..Settle::default() }).await {
            // The rows stay; the device is sent them again at its next connection, and drops what
            // it has seen.
            tracing::debug!(%error, "acknowledged mail stays until it is acknowledged again");
        }
    }

    fn resend(&mut self, me: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        let now = self.clock.now_ms();
        let (mut behind, mut expired) = (Vec::new(), Vec::new());
        for (id, device) in &mut self.devices {
            device.waiting.retain(|_, pushed| {
                let is_alive = pushed.mail.expires_s > now / 1000;
                if !is_alive {
                    expired.push((*id, pushed.mail.number));
                }
                is_alive
            });
            for pushed in
                device.waiting.values_mut().filter(|pushed| pushed.at_ms + RESEND_AFTER_MS <= now)
            {
                metrics::counter!("fieldmesh_mail_resent_total").increment(1);
                self.courier.push(&pushed.mail);
                pushed.at_ms = now;
            }
            if device.behind && device.waiting.len() < WINDOW_ROWS / 2 {
                behind.push(*id);
            }
        }
        self.settle_later(me, expired)?;
        behind.into_iter().try_for_each(|id| self.refill(me, id))
    }
}
