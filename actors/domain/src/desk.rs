//! The desk of a region: knows its technicians' summaries and who works on what, and chooses.
//!
//! A ticket asks with `Match`; the answer is an offer to make, or that nobody fits. The desk counts
//! what it gave out itself, so no technician needs to report its load. Where supply is tight, questions wait a
//! moment for each other and are answered together.
//!
//! **Invariant:** a ticket is given to at most one technician here; a new question takes it back
//! first, and the same question again changes nothing. After a promotion it knows only what it is told anew. **Not here:** granting (`technician`), deadlines and retries (`ticket`), what waits (`board`), whom nobody
//! fits (`queue`) and how what waits is answered (`matching`, `batch`).

pub mod batch;
mod board;
mod known;
mod matching;
mod queue;

pub use batch::BATCH_MAX;
pub use board::{Board, Displaced, Offer, QUIET_MS, WAITING_MAX, WINDOW_MS, Waiting};
pub use known::{Known, PACE_MAX, Summary};
pub use queue::{QUEUE_MAX, REVIEW_S};

mod claims;

pub use claims::{Bond, Claimed, Claims, KEYS_MAX, Key};

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode,
    TimerName,
    message::Location,
    mutant::{Mutant, is_planted},
    selection::{self, CANDIDATES_MAX, Choice, Exclusion, Fit, Need},
    ticket,
    time::Millis,
};

/// Technicians of one region; beyond this the region is two.
pub const TECHNICIANS_MAX: usize = 100_000;
/// What cannot wait, and may take an offer from a technician.
const MOST_URGENT: u8 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Desk {
    #[n(0)]
    pub technicians: BTreeMap<EntityId, Known>,
    /// Who works on, or is offered, which ticket.
    #[n(1)]
    pub given: BTreeMap<EntityId, EntityId>,
    /// The question that gave it.
    #[cbor(n(2), default)]
    pub answered: BTreeMap<EntityId, u32>,
    /// The last promotion of its region that it heard of.
    #[n(3)]
    pub promotion: Option<u64>,
    /// None as long as some node does not know of tickets that wait: then each question is answered at once.
    #[n(4)]
    pub board: Option<Board>,
    /// What tickets have in common; none before the first key.
    #[n(5)]
    pub claims: Option<Claims>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Technician {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        summary: Summary,
    },
    #[n(1)]
    Match {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        need: Need,
        /// The ticket counts them; the same one again needs no second answer.
        #[cbor(n(2), default)]
        question: u32,
        /// Offers that a technician may have in a minute, added by whoever serves the desk; none is
        /// any number.
        #[n(6)]
        pace: Option<u16>,
    },
    /// The ticket needs nobody any more.
    #[n(2)]
    Done {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(3)]
    Timer {
        #[n(0)]
        name: TimerName,
        #[n(1)]
        generation: u32,
    },
    /// The region was promoted: what is known here may not be so. Technicians and tickets say it anew,
    /// once they were asked the same after this.
    #[n(4)]
    Reconcile {
        /// Which promotion; the same one again changes nothing.
        #[n(0)]
        promotion: u64,
    },
    /// From a ticket that a technician has, whatever was chosen here.
    #[n(5)]
    Given {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        technician: EntityId,
        /// The ticket's last question.
        #[n(2)]
        question: u32,
        /// Where it is; none from an earlier release.
        #[n(3)]
        place: Option<Location>,
    },
    /// From a ticket that a technician has: it is there by now.
    #[n(12)]
    Moved {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        place: Location,
    },
    /// Every node knows of tickets that wait for each other: from now on they may.
    #[n(20)]
    Gather,
    /// A ticket says what keys it has, and asks which one had them before.
    #[n(10)]
    Claim {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        keys: Vec<Key>,
        /// Those that come under it are to tell nobody.
        #[n(2)]
        inhibits_children: bool,
        /// The ticket's. This and the next are taken out by whoever serves the desk before every node knows of it.
        #[n(3)]
        priority: Option<u8>,
        /// It is held until then, and only says so.
        #[n(4)]
        held_until: Option<Millis>,
    },
    /// A ticket with keys has ended.
    #[n(11)]
    Unclaim {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        keys: Vec<Key>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    TechnicianChanged {
        #[n(0)]
        id: EntityId,
        #[n(1)]
        summary: Summary,
    },
    #[n(1)]
    Chosen {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        technician: EntityId,
        #[n(2)]
        choice: Choice,
        #[cbor(n(3), default)]
        question: u32,
        /// None from a desk that answers each question by itself.
        #[n(4)]
        offer: Option<Offer>,
        /// Where offers are counted.
        #[n(6)]
        at: Option<Millis>,
        /// What the technician counts as given from now on, where that is not one more.
        #[n(7)]
        assigned: Option<u32>,
    },
    #[n(2)]
    NobodyFits {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        choice: Choice,
        #[cbor(n(2), default)]
        question: u32,
    },
    #[n(3)]
    TakenBack {
        #[n(0)]
        ticket: EntityId,
    },
    #[n(4)]
    Reconciled {
        #[n(0)]
        promotion: u64,
    },
    #[n(5)]
    Given {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        technician: EntityId,
        #[n(2)]
        question: u32,
        #[n(3)]
        place: Option<Location>,
    },
    /// A ticket has keys, or is like one that has them.
    #[n(10)]
    Compared {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        keys: Vec<Key>,
        #[n(2)]
        inhibits_children: bool,
        #[n(3)]
        at: Millis,
        #[n(4)]
        like: Option<EntityId>,
        #[n(5)]
        is_silent: bool,
        /// The ticket's.
        #[n(6)]
        priority: Option<u8>,
        /// Where it is held.
        #[n(7)]
        held_until: Option<Millis>,
    },
    #[n(11)]
    Unclaimed {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        keys: Vec<Key>,
    },
    /// A ticket that was given to somebody is elsewhere.
    #[n(12)]
    Moved {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        place: Location,
    },
    /// From now on tickets may wait for each other.
    #[n(20)]
    Gathered,
    /// A question waits for others, until then at most.
    #[n(21)]
    Waits {
        #[n(0)]
        ticket: EntityId,
        #[n(1)]
        need: Need,
        #[n(2)]
        question: u32,
        #[n(3)]
        at: Millis,
        #[n(4)]
        due: Millis,
        /// Offers that a technician may have in a minute, where that is bounded.
        #[n(5)]
        pace: Option<u16>,
        /// It was answered that nobody fits, and is in the queue.
        #[n(6)]
        is_unfilled: Option<bool>,
    },
    /// What waits is answered then.
    #[n(22)]
    Closes {
        #[n(0)]
        due: Millis,
    },
    /// An offer is asked back for one that waits.
    #[n(23)]
    Displacing {
        #[n(0)]
        by: EntityId,
        #[n(1)]
        displaced: Displaced,
    },
}

impl Desk {
    /// Everybody, with what this ticket holds of them already not counted.
    fn options(
        &self,
        ticket: EntityId,
        pace: Option<u16>,
        now: Millis,
    ) -> impl Iterator<Item = Fit<'_>> {
        let held_by = self.given.get(&ticket);
        self.technicians.iter().map(move |(id, known)| match held_by == Some(id) {
            true => known.fit_without(ticket, *id, pace, now),
            false => known.fit(*id, pace, now),
        })
    }

    /// Who is out of the question for a ticket, and why; what is written down of a choice names only some.
    pub fn excluded(
        &self,
        ticket: EntityId,
        need: &Need,
        pace: Option<u16>,
        now: Millis,
    ) -> impl Iterator<Item = (EntityId, Exclusion)> {
        let options = self.options(ticket, pace, now);
        options.filter_map(move |fit| Some((fit.id, selection::exclusion(need, &fit, now)?)))
    }

    fn choose(
        &self,
        ticket: EntityId,
        need: &Need,
        question: u32,
        (rule_version, pace): (u32, Option<u16>),
        now: Millis,
    ) -> Vec<Event> {
        let held_by = self.given.get(&ticket);
        let (fit, choice) =
            selection::sift(need, self.options(ticket, pace, now), rule_version, now);
        let candidates = selection::cheapest(need, &fit, CANDIDATES_MAX, now);
        let choice = Choice { candidates, ..choice };
        let at = pace.map(|_| now);
        let mut events: Vec<Event> =
            held_by.map(|_| Event::TakenBack { ticket }).into_iter().collect();
        events.push(match choice.candidates.first() {
            Some(best) => {
                let technician = best.technician;
                let assigned = selection::caught_up(technician, &fit);
                Event::Chosen { ticket, technician, choice, question, offer: None, at, assigned }
            }
            None => Event::NobodyFits { ticket, choice, question },
        });
        events
    }

    /// The offer is on its way or made: another one would leave the ticket with one technician and
    /// the desk with another.
    fn is_answered(&self, ticket: EntityId, question: u32) -> bool {
        self.answered.get(&ticket).is_some_and(|answered| *answered >= question)
    }

    /// What a ticket says of itself; whatever else was given to somebody is taken back.
    fn give(
        &self,
        ticket: EntityId,
        technician: EntityId,
        (question, place): (u32, Option<Location>),
        now: Millis,
    ) -> Vec<Event> {
        let held_by = self.given.get(&ticket);
        if held_by == Some(&technician) && self.answered.get(&ticket) == Some(&question) {
            return self.does_not_give_way(ticket, technician, now);
        }
        let before = held_by.map(|_| Event::TakenBack { ticket });
        let makes_room = held_by != Some(&technician) && self.makes_room(ticket, now);
        let closes = makes_room.then_some(Event::Closes { due: now });
        let given = Event::Given { ticket, technician, question, place };
        let mut events: Vec<Event> = before.into_iter().chain([given]).chain(closes).collect();
        let board = self.board.as_ref();
        if board.is_some_and(|board| board.asking_back(ticket, technician).next().is_some()) {
            // Whose offer is asked back next follows from who has what by then. That is rare enough for a copy.
            let mut after = self.clone();
            events.iter().for_each(|event| after.evolve(event));
            events.extend(after.does_not_give_way(ticket, technician, now));
        }
        events
    }

    /// A technician is otherwise than it was; those who waited for that are matched now.
    fn changed(&self, id: EntityId, summary: &Summary, now: Millis) -> Vec<Event> {
        let known = self.technicians.get(&id).cloned().unwrap_or_default();
        let known = Known { summary: summary.clone(), ..known };
        let closes = self.is_awaited(id, &known, now).then_some(Event::Closes { due: now });
        let changed = Event::TechnicianChanged { id, summary: summary.clone() };
        [changed].into_iter().chain(closes).collect()
    }

    fn done(&self, ticket: EntityId, now: Millis) -> Vec<Event> {
        if !self.given.contains_key(&ticket) && !self.is_waiting(ticket) {
            return vec![];
        }
        let closes = self.makes_room(ticket, now).then_some(Event::Closes { due: now });
        [Event::TakenBack { ticket }].into_iter().chain(closes).collect()
    }

    fn moved(&self, ticket: EntityId, place: Location) -> Vec<Event> {
        let known = self.given.get(&ticket).and_then(|id| self.technicians.get(id));
        let before = known.and_then(|known| known.place_of(ticket));
        let is_news = before.is_some_and(|before| before != place);
        is_news.then_some(Event::Moved { ticket, place }).into_iter().collect()
    }

    fn given(
        &mut self,
        ticket: EntityId,
        technician: EntityId,
        question: u32,
        place: Option<Location>,
    ) -> &mut Known {
        self.given.insert(ticket, technician);
        self.answered.insert(ticket, question);
        let known = self.technicians.entry(technician).or_default();
        if !is_planted(Mutant::ReservedTwice) {
            known.load = known.load.saturating_add(1);
        }
        if let Some(place) = place {
            known.goes_to(ticket, place);
        }
        known
    }

    fn take_back(&mut self, ticket: EntityId) {
        self.forget_waiting(ticket);
        self.answered.remove(&ticket);
        if let Some(technician) = self.given.remove(&ticket)
            && let Some(known) = self.technicians.get_mut(&technician)
        {
            known.gives_up(ticket);
        }
    }

    fn is_waiting(&self, ticket: EntityId) -> bool {
        self.board.as_ref().is_some_and(|board| board.waiting.contains_key(&ticket))
    }

    fn forget_waiting(&mut self, ticket: EntityId) {
        if let Some(board) = &mut self.board {
            board.forget(ticket);
        }
    }
}

impl Aggregate for Desk {
    type Command = Command;
    type Event = Event;
    const KIND: EntityKind = EntityKind::Desk;

    fn decide(&self, command: &Command, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Technician { id, summary } => match self.technicians.get(id) {
                Some(known) if known.summary == *summary => Ok(vec![]),
                None if self.technicians.len() >= TECHNICIANS_MAX => {
                    Rejection::new(RejectionCode::Limit, "the desk knows 100,000 technicians")
                }
                _ => Ok(self.changed(*id, summary, ctx.now)),
            },
            Command::Match { ticket, question, .. } if self.is_answered(*ticket, *question) => {
                Ok(vec![])
            }
            Command::Match { ticket, need, question, pace } => Ok(match &self.board {
                Some(board) => self.asked(board, (*ticket, need, *question, *pace), ctx),
                None => {
                    let (rules, pace) = (ctx.rule_version, *pace);
                    self.choose(*ticket, need, *question, (rules, pace), ctx.now)
                }
            }),
            Command::Done { ticket } => Ok(self.done(*ticket, ctx.now)),
            Command::Reconcile { promotion } => Ok(if self.promotion >= Some(*promotion) {
                vec![]
            } else {
                vec![Event::Reconciled { promotion: *promotion }]
            }),
            Command::Given { ticket, technician, question, place } => {
                Ok(self.give(*ticket, *technician, (*question, *place), ctx.now))
            }
            Command::Moved { ticket, place } => Ok(self.moved(*ticket, *place)),
            Command::Gather => Ok(match self.board {
                Some(_) => vec![],
                None => vec![Event::Gathered],
            }),
            Command::Timer { name: TimerName::Batch, generation } => {
                let board = self.board.as_ref();
                Ok(board.map_or(vec![], |board| self.close(board, *generation, ctx)))
            }
            Command::Claim { .. } => Ok(self.claim(command, ctx)),
            Command::Unclaim { ticket, keys } => Ok(self.unclaim(*ticket, keys)),
            Command::Timer { .. } => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::TechnicianChanged { id, summary } => {
                self.technicians.entry(*id).or_default().summary.clone_from(summary);
            }
            Event::Chosen { ticket, technician, question, offer, at, assigned, .. } => {
                let place = offer.and_then(|offer| offer.place);
                let known = self.given(*ticket, *technician, *question, place);
                known.assigned = assigned.unwrap_or(known.assigned.saturating_add(1));
                if let Some(at) = at {
                    known.count_chosen(*at);
                }
                if let Some((board, offer)) = self.board.as_mut().zip(*offer) {
                    board.offered(*ticket, offer);
                }
            }
            Event::Given { ticket, technician, question, place } => {
                self.forget_waiting(*ticket);
                self.given(*ticket, *technician, *question, *place);
            }
            Event::Moved { ticket, place } => {
                let given = self.given.get(ticket);
                if let Some(known) = given.and_then(|id| self.technicians.get_mut(id)) {
                    known.is_elsewhere(*ticket, *place);
                }
            }
            // Nobody tells it of technicians and tickets that are lost: it begins anew.
            Event::Reconciled { promotion } => {
                let board = self.board.as_ref().map(|_| Board::default());
                *self = Self { promotion: Some(*promotion), board, ..Self::default() };
            }
            Event::TakenBack { ticket } => self.take_back(*ticket),
            Event::NobodyFits { ticket, .. } => self.forget_waiting(*ticket),
            Event::Gathered => self.board = Some(Board::default()),
            Event::Waits { ticket, need, question, at, due, pace, is_unfilled } => {
                let board = self.board.get_or_insert_default();
                let (need, question, since, pace) = (need.clone(), *question, *at, *pace);
                let (displacing, is_unfilled) = (None, *is_unfilled);
                let waiting = Waiting { need, question, since, displacing, pace, is_unfilled };
                board.waits(*ticket, waiting, *due);
            }
            Event::Closes { due } => self.board.get_or_insert_default().closes(*due),
            Event::Displacing { by, displaced } => {
                self.board.get_or_insert_default().displacing(*by, *displaced);
            }
            Event::Compared { .. } => self.compared(event),
            Event::Unclaimed { ticket, keys } => self.unclaimed(*ticket, keys),
        }
    }

    fn react(&self, event: &Event, _id: EntityId) -> Vec<Effect> {
        let tell = |ticket: &EntityId, command| {
            vec![Effect::Tell { to: *ticket, command: AnyCommand::Ticket(command) }]
        };
        match event {
            Event::Chosen { ticket, technician, choice, question, .. } => {
                let (technician, choice) = (*technician, choice.clone());
                let question = *question;
                tell(ticket, ticket::Command::Offer { technician, choice, question })
            }
            Event::NobodyFits { ticket, choice, question } => {
                let (choice, question) = (choice.clone(), *question);
                tell(ticket, ticket::Command::NobodyFits { choice, question })
            }
            Event::Waits { .. } | Event::Closes { .. } => {
                self.board.iter().map(Board::timer).collect()
            }
            Event::Displacing { by, displaced: Displaced { ticket, .. } } => {
                let question = self.answered.get(ticket).copied().unwrap_or_default();
                tell(ticket, ticket::Command::Displace { by_ticket: *by, question })
            }
            Event::Compared { ticket, like, is_silent, .. } => {
                let (like, is_silent) = (*like, *is_silent);
                tell(ticket, ticket::Command::Compared { like, is_silent })
            }
            Event::Unclaimed { .. }
            | Event::TechnicianChanged { .. }
            | Event::TakenBack { .. }
            | Event::Given { .. }
            | Event::Moved { .. }
            | Event::Gathered
            | Event::Reconciled { .. } => vec![],
        }
    }
}
