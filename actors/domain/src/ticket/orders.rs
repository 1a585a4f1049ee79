//! What people order of a ticket: operators anything, the customer what is its own.
//!
//! Each order leads to events that begin with [`Event::Ordered`], which says who wants it, or it is
//! already true, or it is refused with what to do instead. The customer acts by a device that has its
//! receipt by then, so a refusal is told to it as an event of its own.
//!
//! A pin is on the technician that has the ticket, and ends with it: nothing that plans or displaces
//! takes the ticket from a pinned technician. Deadlines go on: an offer that is not answered expires,
//! or a ticket would wait for ever for one who sleeps. Another order of an operator is free to end it.
//!
//! **Invariants:** a ticket that is held is with nobody; no order moves a ticket that has ended, but
//! the one that reopens it, and only for seven days. **Not here:** what follows (`effects`), what the
//! customer's device may say (`message`).

use minicbor::{Decode, Encode, bytes::ByteArray};

use super::{Event, Reader, Stage, Ticket, notes::Said};
use crate::{
    Ctx, EntityId, EntityKind, Rejection, RejectionCode,
    customer::NAME_BYTES_MAX,
    encoded,
    ids::fnv1a,
    message::{Amendment, Enclosure, NoteFrom, check_eta, check_message, check_text},
    placement::{ARRIVALS, MARKS, ORDERS, TRIGGERS},
    time::Millis,
};

/// A ticket may be held for three months: what is longer is a new request.
const HOLD_MAX_S: u64 = 90 * 24 * 3600;
/// Orders that are known when they come again: whoever had no answer asks again within minutes.
const OBEYED_MAX: usize = 16;
/// A ticket may be reopened for a week after its end.
const REOPEN_LIFE_S: u64 = 7 * 24 * 3600;

/// Who orders.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Party {
    /// By name.
    #[n(0)]
    Operator(#[n(0)] String),
    #[n(1)]
    Customer(#[n(0)] EntityId),
    /// A program that reports for the customer, by the name that an operator gave it.
    #[n(2)]
    Integration(#[n(0)] String),
}

impl Party {
    pub(super) fn as_writer(&self) -> NoteFrom {
        match self {
            Self::Operator(name) | Self::Integration(name) => NoteFrom::Operator(name.clone()),
            Self::Customer(_) => NoteFrom::Customer,
        }
    }

    pub(super) fn is_operator(&self) -> bool {
        matches!(self, Self::Operator(_) | Self::Integration(_))
    }
}

/// An order that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Obeyed {
    #[n(0)]
    pub id: ByteArray<16>,
    /// Tells what was ordered from anything else.
    #[n(1)]
    pub hash: u64,
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Order {
    /// Nobody is sought until then.
    #[n(0)]
    Hold {
        #[n(0)]
        until: Millis,
        #[n(1)]
        reason: String,
    },
    /// Ends a hold before its time.
    #[n(1)]
    Resume,
    #[n(2)]
    Cancel {
        #[n(0)]
        reason: String,
    },
    /// Takes it from whoever has it, for this technician or whoever fits best.
    #[n(3)]
    Reassign {
        #[n(0)]
        to: Option<EntityId>,
        #[n(1)]
        reason: String,
    },
    #[n(4)]
    Pin,
    #[n(5)]
    Unpin,
    #[n(6)]
    Amend(#[n(0)] Amendment),
    #[n(7)]
    Reopen {
        #[n(0)]
        reason: String,
    },
    /// The work is done.
    #[n(8)]
    Confirm,
    /// The work is not done, although the technician says so.
    #[n(9)]
    Object {
        #[n(0)]
        reason: String,
    },
    #[n(10)]
    Message {
        #[n(0)]
        to: Reader,
        #[n(1)]
        text: String,
        #[n(2)]
        enclosure: Option<Enclosure>,
    },
    /// Another ticket is of the same cause: its end is this one's.
    #[n(11)]
    Group {
        #[n(0)]
        parent: EntityId,
    },
    #[n(12)]
    Ungroup,
    /// A person knows of it: nobody else is told for a while.
    #[n(16)]
    Acknowledge,
    /// The next step of its policy, at once.
    #[n(17)]
    Escalate,
    /// Its technician comes at another time than it said, from now on.
    #[n(18)]
    Eta {
        #[n(0)]
        eta_min: u16,
    },
    /// For this technician, as a plan has it: only where the ticket still is as the plan saw it, with nobody's
    /// promise and no later offer.
    #[n(19)]
    Move {
        #[n(0)]
        to: EntityId,
        /// Of its last offer then.
        #[n(1)]
        epoch: u32,
        #[n(2)]
        reason: String,
    },
}

impl Order {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "hold",
            Self::Resume => "resume",
            Self::Cancel { .. } => "cancel",
            Self::Reassign { .. } => "reassign",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Amend(_) => "amend",
            Self::Reopen { .. } => "reopen",
            Self::Confirm => "confirm",
            Self::Object { .. } => "object",
            Self::Message { .. } => "message",
            Self::Group { .. } => "group",
            Self::Ungroup => "ungroup",
            Self::Acknowledge => "acknowledge",
            Self::Escalate => "escalate",
            Self::Eta { .. } => "eta",
            Self::Move { .. } => "move",
        }
    }

    /// Whether it is known only since there are trigger rules, escalation policies and attachments.
    fn is_of_triggers(&self) -> bool {
        matches!(
            self,
            Self::Acknowledge | Self::Escalate | Self::Message { enclosure: Some(_), .. }
        )
    }

    /// What every node must understand before anybody orders it.
    pub fn level(&self) -> u32 {
        match self {
            Self::Eta { .. } => ARRIVALS,
            Self::Move { .. } => MARKS,
            _ if self.is_of_triggers() => TRIGGERS,
            _ => ORDERS,
        }
    }

    /// # Errors
    /// The first value that is out of range.
    fn check(&self) -> Result<(), Rejection> {
        match self {
            Self::Hold { reason, .. }
            | Self::Cancel { reason }
            | Self::Reassign { reason, .. }
            | Self::Move { reason, .. }
            | Self::Reopen { reason }
            | Self::Object { reason } => check_text(reason),
            Self::Amend(amendment) => amendment.check(),
            Self::Message { text, enclosure, .. } => check_message(text, enclosure.as_ref()),
            Self::Eta { eta_min } => check_eta(*eta_min),
            Self::Resume
            | Self::Pin
            | Self::Unpin
            | Self::Confirm
            | Self::Group { .. }
            | Self::Ungroup
            | Self::Acknowledge
            | Self::Escalate => Ok(()),
        }
    }

    /// What a customer may order of its own ticket.
    fn is_for_customers(&self) -> bool {
        match self {
            Self::Cancel { .. }
            | Self::Reopen { .. }
            | Self::Confirm
            | Self::Object { .. }
            | Self::Message { to: Reader::Technician, .. } => true,
            Self::Amend(amendment) => amendment.priority.is_none(),
            Self::Hold { .. }
            | Self::Resume
            | Self::Reassign { .. }
            | Self::Pin
            | Self::Unpin
            | Self::Group { .. }
            | Self::Ungroup
            | Self::Acknowledge
            | Self::Escalate
            | Self::Eta { .. }
            | Self::Move { .. }
            | Self::Message { .. } => false,
        }
    }
}

pub(super) fn hash(order: &Order) -> u64 {
    fnv1a(&encoded(order))
}

pub(super) fn not_now<T>(detail: &'static str) -> Result<T, Rejection> {
    Rejection::new(RejectionCode::NotNow, detail)
}

impl Ticket {
    pub(super) fn order(
        &self,
        order: (&Order, Option<bool>),
        by: &Party,
        id: [u8; 16],
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        match by {
            Party::Operator(name) | Party::Integration(name) => {
                if name.is_empty() || name.len() > NAME_BYTES_MAX {
                    return Rejection::new(RejectionCode::Invalid, "a name has 1 to 256 bytes");
                }
                self.ordered_by(order, by, id, ctx)
            }
            // Whether there is such a ticket is nobody else's business.
            Party::Customer(customer) if self.customer != Some(*customer) => {
                Rejection::new(RejectionCode::Unknown, "there is no such ticket")
            }
            Party::Customer(_) => {
                Ok(self.ordered_by(order, by, id, ctx).unwrap_or_else(|rejection| {
                    vec![Event::OrderRefused { id, why: rejection.detail.into_owned() }]
                }))
            }
        }
    }

    fn ordered_by(
        &self,
        (order, marks): (&Order, Option<bool>),
        by: &Party,
        id: [u8; 16],
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        order.check()?;
        if !by.is_operator() && !order.is_for_customers() {
            return Rejection::new(RejectionCode::Denied, "only an operator can order this");
        }
        if let Some(obeyed) = self.obeyed.iter().flatten().find(|obeyed| *obeyed.id == id) {
            if obeyed.hash == hash(order) {
                return Ok(vec![]);
            }
            let text = "something else was ordered under this idempotency key: use another";
            return Rejection::new(RejectionCode::Invalid, text);
        }
        let follows = match order {
            Order::Message { to, text, enclosure } => {
                let said = Said { id, text, enclosure: enclosure.as_ref() };
                return self.note(by.as_writer(), *to, said);
            }
            Order::Hold { until, .. } => self.hold(*until, ctx.now)?,
            Order::Resume => self.resume(ctx.now)?,
            Order::Cancel { .. } => self.cancel_ordered()?,
            Order::Reassign { to, .. } => self.reassign(*to, ctx.now)?,
            Order::Pin => self.pin()?,
            Order::Unpin => self.is_pinned().then(Vec::new),
            Order::Amend(amendment) => self.amend(amendment, ctx.now)?,
            Order::Reopen { .. } => self.reopen(ctx.now)?,
            Order::Confirm => self.confirm_ordered()?,
            Order::Object { .. } => self.object(ctx.now)?,
            Order::Group { parent } => self.group(ctx.id, *parent, ctx.now)?,
            Order::Ungroup => self.ungroup(ctx.now),
            Order::Acknowledge => self.acknowledge(by)?,
            Order::Escalate => self.escalate_ordered()?,
            Order::Eta { eta_min } => self.eta_ordered(*eta_min, ctx.now)?,
            Order::Move { to, epoch, .. } => self.move_planned(*to, *epoch, ctx.now)?,
        };
        Ok(follows.map_or(vec![], |follows| {
            let is_above = marks.filter(|_| order.is_above_silences(by));
            let (order, by, at) = (order.clone(), by.clone(), ctx.now);
            let ordered = Event::Ordered { order, by, at, id: Some(id.into()), is_above };
            [ordered].into_iter().chain(follows).collect()
        }))
    }

    pub(super) fn obeyed(
        &mut self,
        order: &Order,
        id: Option<ByteArray<16>>,
        is_above: Option<bool>,
    ) {
        self.is_above = self.is_above.or(is_above);
        let Some(id) = id else { return };
        let obeyed = self.obeyed.get_or_insert_default();
        if obeyed.len() >= OBEYED_MAX {
            obeyed.remove(0);
        }
        obeyed.push(Obeyed { id, hash: hash(order) });
    }

    pub fn is_pinned(&self) -> bool {
        self.pinned == Some(true)
    }

    /// Takes it from whoever has it.
    pub(super) fn take_back(
        &self,
        is_excluded: bool,
        displaced_by: Option<EntityId>,
    ) -> Option<Event> {
        let technician = self.technician.filter(|_| self.stage.phase().is_some())?;
        let was_promised = self.stage.is_promised();
        Some(Event::TakenBack { technician, was_promised, is_excluded, displaced_by })
    }

    fn hold(&self, until: Millis, now: Millis) -> Result<Option<Vec<Event>>, Rejection> {
        if until <= now || until > now.after_s(HOLD_MAX_S) {
            return Rejection::new(
                RejectionCode::Invalid,
                "a hold ends in the future, and within 90 days",
            );
        }
        match self.stage {
            Stage::Held if self.due == until => Ok(None),
            Stage::Triaged | Stage::Matching | Stage::Offered | Stage::Unfilled | Stage::Held => {
                let taken_back = self.take_back(false, None).into_iter();
                Ok(Some(taken_back.chain([Event::Held { until }]).collect()))
            }
            stage if stage.is_promised() => not_now(
                "a technician has accepted the ticket: reassign it, or let the technician pause",
            ),
            Stage::Grouped => not_now("the ticket waits for another one: ungroup it first"),
            Stage::Completed => not_now("the work is done and nobody is sought"),
            _ => not_now("the ticket has ended: reopen it first"),
        }
    }

    fn resume(&self, now: Millis) -> Result<Option<Vec<Event>>, Rejection> {
        match self.stage {
            Stage::Held => Ok(Some(vec![self.matching(now)])),
            Stage::Paused => not_now("the technician paused the work, and resumes it"),
            stage if stage.is_final() => not_now("the ticket has ended: reopen it"),
            _ => Ok(None),
        }
    }

    fn cancel_ordered(&self) -> Result<Option<Vec<Event>>, Rejection> {
        match self.stage {
            Stage::Cancelled => Ok(None),
            Stage::Completed => not_now("the work is done: object to it, or confirm it"),
            Stage::Closed => not_now("the work is done and the ticket is closed"),
            _ => Ok(Some(vec![Event::Cancelled])),
        }
    }

    fn reassign(&self, to: Option<EntityId>, now: Millis) -> Result<Option<Vec<Event>>, Rejection> {
        if to.is_some_and(|to| to.kind() != EntityKind::Technician) {
            return Rejection::new(RejectionCode::Invalid, "a ticket is given to a technician");
        }
        let has_somebody = self.stage.phase().is_some();
        match self.stage {
            // The one who has the offer is meant, and nobody beside.
            _ if has_somebody && to.is_some() && to == self.technician => {
                return Ok(self.released_beside().map(|released| vec![released]));
            }
            Stage::Matching if to.is_none() => return Ok(None),
            Stage::Triaged | Stage::Matching | Stage::Unfilled => {}
            _ if has_somebody => {}
            Stage::Held => return not_now("the ticket is held: resume it first"),
            Stage::Grouped => {
                return not_now("the ticket waits for another one: ungroup it first");
            }
            _ => return not_now("the work is done, or the ticket has ended: reopen it first"),
        }
        let next = match to {
            Some(technician) => Event::Assigned {
                technician,
                epoch: self.next_epoch(),
                due: now.after_s(self.offer_life_s()),
            },
            None => self.matching(now),
        };
        Ok(Some(self.take_back(true, None).into_iter().chain([next]).collect()))
    }

    /// Whoever planned looked at the ticket some time ago, and it is moved only as it was then.
    fn move_planned(
        &self,
        to: EntityId,
        epoch: u32,
        now: Millis,
    ) -> Result<Option<Vec<Event>>, Rejection> {
        match self.stage {
            stage if stage.is_promised() => not_now("a technician has accepted the ticket"),
            _ if self.is_pinned() => not_now("the ticket is pinned to who has its offer"),
            _ if self.epoch != epoch => not_now("the ticket was offered anew since it was planned"),
            _ => self.reassign(Some(to), now),
        }
    }

    fn pin(&self) -> Result<Option<Vec<Event>>, Rejection> {
        if self.stage.phase().is_none() {
            return not_now("no technician has the ticket: assign it to one, then pin it");
        }
        Ok((!self.is_pinned()).then(|| self.released_beside().into_iter().collect()))
    }

    /// A desk that is asked already, or has it in its queue, is asked anew: it may choose another one.
    fn amend(&self, amendment: &Amendment, now: Millis) -> Result<Option<Vec<Event>>, Rejection> {
        if self.stage == Stage::Completed || self.stage.is_final() {
            return not_now("the work is done, or the ticket has ended: reopen it, then amend it");
        }
        let Some(body) = &self.body else { return Ok(None) };
        let Amendment { text, priority, location } = amendment;
        let changes = text.as_ref().is_some_and(|text| *text != body.text)
            || priority.is_some_and(|priority| priority != self.priority)
            || location.is_some_and(|location| location != body.location);
        let is_sought = matches!(self.stage, Stage::Matching | Stage::Unfilled);
        let asked = is_sought.then(|| self.matching(now));
        Ok(changes.then(|| asked.into_iter().collect()))
    }

    fn reopen(&self, now: Millis) -> Result<Option<Vec<Event>>, Rejection> {
        if self.stage.is_final() && now > self.ended_at.unwrap_or(self.due).after_s(REOPEN_LIFE_S) {
            return not_now(
                "a ticket can be reopened for 7 days after its end: make a new request",
            );
        }
        let ended = self.stage == Stage::Completed || self.stage.is_final();
        // Its end frees those who wait under it; one whose work is not done after all has them still.
        let keeps_children = self.stage == Stage::Completed;
        let children = self.children.iter().flatten().filter(|_| keeps_children);
        let kept = children.map(|child| Event::ChildJoined { child: *child });
        let reopened = [Event::Reopened].into_iter().chain(kept).chain([self.matching(now)]);
        Ok(ended.then(|| reopened.collect()))
    }

    fn confirm_ordered(&self) -> Result<Option<Vec<Event>>, Rejection> {
        match self.stage {
            Stage::Completed => Ok(Some(vec![Event::Closed])),
            Stage::Closed => Ok(None),
            Stage::Cancelled => not_now("the ticket is cancelled: nothing was completed"),
            _ => not_now("the work is not completed yet"),
        }
    }

    fn object(&self, now: Millis) -> Result<Option<Vec<Event>>, Rejection> {
        if self.stage.is_final() {
            return not_now("the ticket has ended: reopen it");
        }
        self.reopen(now)
    }

    /// The desk needs the technician more urgently: an offer is taken back, a promise is not, and the desk hears so.
    pub(super) fn displace(&self, by_ticket: EntityId, question: u32, now: Millis) -> Vec<Event> {
        if self.question != question {
            return vec![];
        }
        let may = self.stage == Stage::Offered && self.priority > 1 && !self.is_pinned();
        match self.take_back(false, Some(by_ticket)).filter(|_| may) {
            Some(taken_back) => vec![taken_back, self.matching(now)],
            None => self.stays().into_iter().collect(),
        }
    }

    /// Who has it is said once more. Where several are asked at once, nobody is sure of it yet.
    fn stays(&self) -> Option<Event> {
        let is_had = self.stage.phase().is_some() && self.others().is_empty();
        let technician = self.technician.filter(|_| is_had)?;
        let (epoch, seq) = (self.epoch, self.others.as_ref().map(|others| others.seq));
        Some(Event::Adopted { technician, epoch, seq })
    }

    pub(super) fn ordered(&mut self, order: &Order, at: Millis) {
        match order {
            Order::Pin => self.pinned = Some(true),
            Order::Unpin => self.pinned = None,
            Order::Amend(amendment) => {
                self.amended(amendment);
                self.count_note();
            }
            Order::Confirm => {
                self.stage = Stage::Confirmed;
                self.ended_at = Some(at);
            }
            Order::Cancel { .. } => {
                self.ended_at = Some(at);
                self.count_note();
            }
            Order::Hold { .. } => self.count_note(),
            Order::Resume
            | Order::Reassign { .. }
            | Order::Reopen { .. }
            | Order::Object { .. }
            | Order::Group { .. }
            | Order::Ungroup
            | Order::Acknowledge
            | Order::Escalate
            | Order::Eta { .. }
            | Order::Move { .. }
            | Order::Message { .. } => {}
        }
    }

    fn amended(&mut self, amendment: &Amendment) {
        let Amendment { text, priority, location } = amendment;
        if let Some(body) = &mut self.body {
            body.text = text.clone().unwrap_or_else(|| core::mem::take(&mut body.text));
            body.location = location.unwrap_or(body.location);
        }
        self.priority = priority.unwrap_or(self.priority);
        if self.stage == Stage::Matching {
            self.question = self.question.wrapping_add(1);
        }
    }

    /// Nobody has it any more, and so nobody is pinned.
    pub(super) fn taken_back(&mut self, technician: EntityId, is_excluded: bool) {
        if is_excluded {
            self.ask_again(technician);
        }
        self.technician = None;
        self.pinned = None;
        self.pause = None;
    }

    /// Whoever did not want it before may want it when the time has come.
    pub(super) fn held_until(&mut self, until: Millis) {
        self.stage = Stage::Held;
        self.silence = None;
        self.asked.clear();
        self.tries = 0;
        self.set_due(until);
    }

    pub(super) fn reopened(&mut self) {
        self.skip_lost();
        self.technician = None;
        self.technician_name.clear();
        self.asked.clear();
        self.tries = 0;
        self.ended_at = None;
        self.pinned = None;
        self.pause = None;
        self.parent = None;
        self.children = None;
    }
}
