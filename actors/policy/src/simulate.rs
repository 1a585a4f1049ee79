//! What becomes of a ticket under a policy: who is asked and told when, in a situation that is made up.
//!
//! The ticket is the very one that the cluster runs, with a clock of its own, a desk that chooses in the
//! order in which the technicians are written, and people who answer as the situation says.
//!
//! **Invariants:** the same policy and situation give the same timeline; it ends when somebody accepts, at
//! the end of the situation's time, or at [`MOMENTS_MAX`]. **Not here:** what a ticket does (the domain).

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, Region, TimerName, desk,
    escalation::{Act, Policy, Position, Role},
    message::{Location, OfferId, RequestBody},
    selection::{CANDIDATES_MAX, Candidate, Choice, Need},
    ticket::{Command, Event, Order, Party, RefusalReason, Terms, Ticket},
    time::Millis,
};

/// Moments of a timeline: more than anybody reads.
pub const MOMENTS_MAX: usize = 1_000;
/// Technicians that a situation may have, as their identifiers count them.
const RESPONDERS_MAX: usize = 256;
/// When it begins; only spans are shown.
const START: Millis = Millis(1_000_000_000_000);

/// A technician of the situation, in the order in which the desk would choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responder {
    pub distance_m: u32,
    pub answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Never,
    Declines { after_s: u64 },
    Accepts { after_s: u64 },
}

/// A person who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    /// The first time it is told is 1.
    pub at_telling: u32,
    pub after_s: u64,
}

/// What is made up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    /// From 1 to 5.
    pub priority: u8,
    pub responders: Vec<Responder>,
    pub people: Vec<Person>,
    /// How long it is looked at.
    pub until_s: u64,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// After the ticket was opened.
    pub at_s: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The step counts from 1, as the document does.
    Step {
        step: u32,
        round: u32,
    },
    Told {
        role: Role,
        name: String,
    },
    /// The technician counts from 1.
    Offered {
        technician: usize,
    },
    Declined {
        technician: usize,
    },
    Expired {
        technician: usize,
    },
    Accepted {
        technician: usize,
    },
    NobodyFits,
    Answered {
        by: String,
    },
}

/// The timeline, in order.
pub fn simulate(policy: &Policy, situation: &Situation) -> Vec<Moment> {
    let Ok(region) = "sim".parse() else { return vec![] };
    let mut play = Play::new(policy, situation, region);
    play.open();
    while play.moments.len() < MOMENTS_MAX && !play.is_over && play.step() {}
    play.moments
}

struct Play<'a> {
    policy: &'a Policy,
    situation: &'a Situation,
    id: EntityId,
    now: Millis,
    ticket: Ticket,
    timers: BTreeMap<u8, (Millis, TimerName, u32)>,
    /// What others say later, in order.
    later: BTreeMap<(Millis, u64), Command>,
    said: u64,
    told: BTreeMap<String, u32>,
    technicians: Vec<EntityId>,
    moments: Vec<Moment>,
    is_over: bool,
}

impl<'a> Play<'a> {
    fn new(policy: &'a Policy, situation: &'a Situation, region: Region) -> Self {
        let id = |kind, number: usize| {
            let mut random = [0; 10];
            random[..8].copy_from_slice(&(number as u64).to_be_bytes());
            EntityId::new(kind, region, random)
        };
        let count = situation.responders.len().min(RESPONDERS_MAX);
        Self {
            policy,
            situation,
            id: id(EntityKind::Ticket, 0),
            now: START,
            ticket: Ticket::default(),
            timers: BTreeMap::new(),
            later: BTreeMap::new(),
            said: 0,
            told: BTreeMap::new(),
            technicians: (0..count).map(|number| id(EntityKind::Technician, number)).collect(),
            moments: Vec::new(),
            is_over: false,
        }
    }

    fn open(&mut self) {
        let priority = self.situation.priority.clamp(1, 5);
        let impact = priority.min(3);
        let body = RequestBody {
            category: 0,
            subcategory: 0,
            impact,
            urgency: priority - impact + 1,
            location: Location::default(),
            text: String::new(),
        };
        let terms = Terms { policy: Some(self.policy.clone()), ..Terms::default() };
        let terms = Some(Box::new(terms));
        let (customer, message_id) = (self.id, [0; 16]);
        let (triage, wishes, background) = (None, None, None);
        let open = Command::Open {
            customer,
            message_id,
            body,
            tier: 2,
            triage,
            terms,
            wishes,
            background,
            counted: None,
        };
        self.ask(&open);
    }

    /// Goes on to whatever comes next; false at the end of the time.
    fn step(&mut self) -> bool {
        let timer = self.timers.values().min_by_key(|(due, name, _)| (*due, *name as u8)).copied();
        let said = self.later.first_key_value().map(|((at, _), _)| *at);
        let next = timer.map(|(due, ..)| due).into_iter().chain(said).min();
        let Some(next) = next.filter(|at| *at <= START.after_s(self.situation.until_s)) else {
            return false;
        };
        self.now = self.now.max(next);
        if said == Some(next)
            && let Some((_, command)) = self.later.pop_first()
        {
            self.ask(&command);
        } else if let Some((_, name, generation)) = timer {
            self.timers.remove(&(name as u8));
            self.ask(&Command::Timer { name, generation, marks: None });
        }
        true
    }

    fn ask(&mut self, command: &Command) {
        let ctx = Ctx { now: self.now, id: self.id, rule_version: 0 };
        // What is refused does not happen.
        for event in self.ticket.decide(command, &ctx).unwrap_or_default() {
            let technician = self.ticket.technician;
            self.ticket.evolve(&event);
            let effects = self.ticket.react(&event, self.id);
            self.note(&event, technician);
            for effect in effects {
                self.follow(effect);
            }
        }
    }

    fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::Tell {
                command: AnyCommand::Desk(desk::Command::Match { need, question, .. }),
                ..
            } => {
                let command = self.choose(&need, question);
                self.say(0, command);
            }
            Effect::SetTimer { name, generation, due } => {
                self.timers.insert(name as u8, (due, name, generation));
            }
            Effect::CancelTimer { name } => drop(self.timers.remove(&(name as u8))),
            Effect::Tell { .. } | Effect::Message { .. } | Effect::Index(_) => {}
        }
    }

    fn choose(&self, need: &Need, question: u32) -> Command {
        let all = self.technicians.iter().zip(&self.situation.responders);
        let fitting = all.filter(|(id, one)| {
            !need.asked.contains(id) && need.radius_m.is_none_or(|max| one.distance_m <= max)
        });
        let best = fitting.take(CANDIDATES_MAX).map(|(id, one)| Candidate {
            technician: *id,
            distance_m: one.distance_m,
            travel_s: 0,
            load_s: 0,
            over_qualification_s: 0,
            fairness_s: 0,
            preferred_s: None,
            lateness_s: None,
        });
        let choice = Choice { candidates: best.collect(), ..Choice::default() };
        match choice.candidates.first().map(|best| best.technician) {
            Some(technician) => Command::Offer { technician, choice, question },
            None => Command::NobodyFits { choice, question },
        }
    }

    fn say(&mut self, after_s: u64, command: Command) {
        self.said += 1;
        self.later.insert((self.now.after_s(after_s), self.said), command);
    }

    fn number(&self, technician: EntityId) -> usize {
        self.technicians.iter().position(|id| *id == technician).map_or(0, |index| index + 1)
    }

    fn note(&mut self, event: &Event, had: Option<EntityId>) {
        let had = had.map_or(0, |technician| self.number(technician));
        let what = match event {
            Event::Escalated { step, round, .. } => {
                self.escalated(Position { step: *step, round: *round });
                return;
            }
            Event::AlsoOffered { invited } => {
                for one in invited.clone() {
                    let seq = one.seq;
                    self.offered(one.technician, OfferId { epoch: self.ticket.epoch, seq });
                    self.add(What::Offered { technician: self.number(one.technician) });
                }
                return;
            }
            Event::OthersReleased { invited, were_asked: true, .. } => {
                for one in invited {
                    self.add(What::Expired { technician: self.number(one.technician) });
                }
                return;
            }
            Event::Offered { technician, epoch, .. } => {
                self.offered(*technician, OfferId { epoch: *epoch, seq: 0 });
                What::Offered { technician: self.number(*technician) }
            }
            Event::OfferRefused { technician, .. } => {
                What::Declined { technician: self.number(*technician) }
            }
            Event::OfferExpired => What::Expired { technician: had },
            Event::Accepted { technician, .. } => {
                self.is_over = true;
                What::Accepted { technician: self.number(*technician) }
            }
            // It goes on being tried: only the first time is news.
            Event::Unfilled { .. } if self.is_known_unfilled() => return,
            Event::Unfilled { .. } => What::NobodyFits,
            Event::Answered { by, .. } => What::Answered { by: by.clone() },
            _ => return,
        };
        self.add(what);
    }

    fn is_known_unfilled(&self) -> bool {
        let last = self.moments.iter().rev().find(|moment| {
            matches!(moment.what, What::NobodyFits | What::Offered { .. } | What::Step { .. })
        });
        last.is_some_and(|moment| match moment.what {
            What::NobodyFits => true,
            What::Step { step, .. } => {
                let index = usize::try_from(step).unwrap_or(0).saturating_sub(1);
                !matches!(self.policy.steps.get(index).map(|one| &one.act), Some(Act::Offer { .. }))
            }
            _ => false,
        })
    }

    fn add(&mut self, what: What) {
        let at_s = self.now.0.saturating_sub(START.0) / 1000;
        self.moments.push(Moment { at_s, what });
    }

    fn escalated(&mut self, at: Position) {
        self.add(What::Step { step: u32::from(at.step) + 1, round: at.round });
        let Some(Act::Tell { role, name }) = self.policy.act(at).cloned() else { return };
        let told = self.told.entry(name.clone()).or_default();
        *told += 1;
        let times = *told;
        let answers = self
            .situation
            .people
            .iter()
            .find(|one| one.name == name && one.at_telling == times && role.is_person());
        let answer = answers.map(|person| (person.after_s, person.name.clone()));
        self.add(What::Told { role, name });
        if let Some((after_s, name)) = answer {
            let (order, by) = (Order::Acknowledge, Party::Operator(name));
            let id = u128::from(self.said).to_be_bytes();
            self.say(after_s, Command::Order { order, by, id, marks: None });
        }
    }

    fn offered(&mut self, technician: EntityId, offer: OfferId) {
        let index = self.number(technician).saturating_sub(1);
        match self.situation.responders.get(index).map(|one| one.answer) {
            Some(Answer::Accepts { after_s }) => {
                let name = format!("technician {}", index + 1);
                self.say(after_s, Command::Accept { technician, offer, name, eta_min: 0 });
            }
            Some(Answer::Declines { after_s }) => {
                let reason = RefusalReason::Declined;
                self.say(after_s, Command::Refused { technician, offer, reason });
            }
            Some(Answer::Never) | None => {}
        }
    }
}
