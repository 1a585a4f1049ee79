//! What must hold of a ticket under terms: its policy goes on until a person answers, its promises are
//! broken once, a silence ends.

use std::collections::BTreeMap;

use fieldmesh_calendar::sla::Calendar;
use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Ctx, Effect, EntityId, IndexRow, TimerName,
    desk::{self, Desk, Summary},
    escalation::{Act, PRIORITIES, Policy, Position, Role, Step},
    message::{Location, OfferId, Pause, PauseReason, RequestBody},
    notifier::{self, Notice},
    selection::{Choice, Exclusion, Need},
    technician::Skill,
    ticket::{
        Command, Event, Order, Party, Progress, Promise, RefusalReason, Silence, Stage, Target,
        Terms, Ticket,
    },
    time::Millis,
};
use proptest::{collection::vec, option, prelude::*};

use crate::{
    alone::some_ticket,
    world::{self, Lived, customer, technician, through_bytes},
};

pub(crate) const START: Millis = Millis(1_800_000_000_000);

fn body() -> RequestBody {
    let (category, subcategory, impact, urgency) = (1, 1, 3, 1);
    let (location, text) = (Location::default(), String::new());
    RequestBody { category, subcategory, impact, urgency, location, text }
}

pub(crate) fn open(terms: Terms) -> Command {
    let (customer, message_id) = (customer(0), [1; 16]);
    let (body, terms) = (body(), Some(Box::new(terms)));
    let (triage, wishes, background, counted) = (None, None, None, None);
    let tier = 2;
    Command::Open { customer, message_id, body, tier, triage, terms, wishes, background, counted }
}

fn step(act: Act, within_s: u32) -> Step {
    Step { act, within_s: vec![within_s; PRIORITIES] }
}

pub(crate) fn tell(role: Role, name: &str, within_s: u32) -> Step {
    step(Act::Tell { role, name: name.to_owned() }, within_s)
}

pub(crate) fn offer(technicians: u8, radius_m: Option<u32>, within_s: u32) -> Step {
    step(Act::Offer { technicians, radius_m, at_once: None }, within_s)
}

pub(crate) fn repeat(from: u8) -> Step {
    Step { act: Act::Repeat { from }, within_s: vec![] }
}

pub(crate) fn policy(steps: Vec<Step>) -> Policy {
    Policy { name: "p".into(), version: 3, steps }
}

fn target(respond_s: Option<u64>, finish_s: Option<u64>) -> Target {
    Target {
        name: "t".into(),
        version: 4,
        respond_ms: respond_s.map(|seconds| seconds * 1000),
        finish_ms: finish_s.map(|seconds| seconds * 1000),
        calendar: Calendar::Always,
    }
}

/// A ticket with its timers and what it asked.
pub(crate) struct Alone {
    id: EntityId,
    pub(crate) now: Millis,
    pub(crate) ticket: Ticket,
    pub(crate) events: Vec<Event>,
    pub(crate) timers: BTreeMap<u8, (u32, Millis)>,
    pub(crate) need: Option<(Need, u32)>,
    pub(crate) told_itself: Vec<Command>,
    pub(crate) row: Option<IndexRow>,
    pub(crate) told: Vec<Notice>,
    /// Whether every node knows of marks.
    pub(crate) marks: Option<bool>,
}

impl Alone {
    pub(crate) fn new() -> Self {
        Self {
            id: some_ticket(),
            now: START,
            ticket: Ticket::default(),
            events: vec![],
            timers: BTreeMap::new(),
            need: None,
            told_itself: vec![],
            row: None,
            told: vec![],
            marks: Some(true),
        }
    }

    pub(crate) fn opened(terms: Terms) -> Self {
        let mut alone = Self::new();
        alone.ask(&open(terms));
        alone
    }

    pub(crate) fn ask(&mut self, command: &Command) -> Vec<Event> {
        let ctx = Ctx { now: self.now, id: self.id, rule_version: 1 };
        let events = self.ticket.decide(command, &ctx).unwrap_or_default();
        for event in &events {
            assert_eq!(&through_bytes(event), event);
            self.ticket.evolve(event);
            for effect in self.ticket.react(event, self.id) {
                self.follow(effect);
            }
        }
        self.events.extend(events.clone());
        events
    }

    fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::SetTimer { name, generation, due } => {
                self.timers.insert(name as u8, (generation, due));
            }
            Effect::CancelTimer { name } => drop(self.timers.remove(&(name as u8))),
            Effect::Tell { to, command: AnyCommand::Ticket(command) } if to == self.id => {
                self.told_itself.push(command);
            }
            Effect::Tell {
                command: AnyCommand::Desk(desk::Command::Match { need, question, .. }),
                ..
            } => {
                self.need = Some((need, question));
            }
            Effect::Tell {
                command: AnyCommand::Notifier(notifier::Command::Tell(told)), ..
            } => {
                self.told.push(told);
            }
            Effect::Index(row) => self.row = Some(row),
            Effect::Tell { .. } | Effect::Message { .. } => {}
        }
    }

    pub(crate) fn timer(&self, name: TimerName) -> Option<(u32, Millis)> {
        self.timers.get(&(name as u8)).copied()
    }

    /// The next timer fires at its time.
    pub(crate) fn fire_next(&mut self) -> Vec<Event> {
        let next = self.timers.iter().min_by_key(|(name, (_, due))| (*due, **name));
        let (name, (generation, due)) = next.map(|(name, timer)| (*name, *timer)).unwrap();
        self.timers.remove(&name);
        self.now = self.now.max(due);
        let name = TimerName::from_u8(name).unwrap();
        self.ask(&Command::Timer { name, generation, marks: self.marks })
    }

    pub(crate) fn nobody_fits(&mut self) -> Vec<Event> {
        let question = self.ticket.question;
        self.ask(&Command::NobodyFits { choice: Choice::default(), question })
    }

    pub(crate) fn offer_to(&mut self, number: u8) -> Vec<Event> {
        let (technician, question) = (technician(number), self.ticket.question);
        self.ask(&Command::Offer { technician, choice: Choice::default(), question })
    }

    pub(crate) fn current(&self) -> OfferId {
        OfferId { epoch: self.ticket.epoch, seq: 0 }
    }

    pub(crate) fn order(&mut self, order: Order) -> Vec<Event> {
        let id = (self.events.len() as u128).to_be_bytes();
        let (by, marks) = (Party::Operator("ann".into()), self.marks);
        self.ask(&Command::Order { order, by, id, marks })
    }

    pub(crate) fn at(&self) -> Option<(u8, u32)> {
        let escalation = self.ticket.escalation.as_ref()?;
        escalation.due.map(|_| (escalation.at.step, escalation.at.round))
    }
}

fn searches(stage: Stage) -> bool {
    matches!(stage, Stage::Matching | Stage::Offered | Stage::Unfilled)
}

fn holds(alone: &Alone, before: Option<Position>) {
    let Ticket { stage, escalation, promises, technician, .. } = &alone.ticket;
    let timer = |name| alone.timer(name);
    if let Some(escalation) = escalation {
        let running = escalation.due.map(|due| (escalation.generation, due));
        assert_eq!(timer(TimerName::Escalation), running, "{stage:?}");
        assert_eq!(escalation.due.is_some(), searches(*stage), "{stage:?}");
        let next = before.map(|at| escalation.policy.after(at));
        let lawful = [Some(Position::default()), before, next].contains(&Some(escalation.at));
        assert!(lawful, "{before:?} to {:?}", escalation.at);
    }
    if let Some(promises) = promises {
        let next = promises.next_due().map(|due| (promises.generation, Millis(due.0 + 1)));
        assert_eq!(timer(TimerName::Promise), next, "{stage:?}");
        let clocks = [promises.respond, promises.finish].into_iter().flatten();
        for clock in clocks {
            assert_eq!(clock.due.is_some(), clock.since.is_some() && clock.broken_at.is_none());
        }
    }
    // The row says which timers there must be: the auditor goes by it.
    if let Some(IndexRow::Ticket { standing, .. }) = &alone.row {
        let said = standing.unwrap_or_default();
        assert_eq!(said.step.is_some(), timer(TimerName::Escalation).is_some(), "{stage:?}");
        assert_eq!(said.due.is_some(), timer(TimerName::Promise).is_some(), "{stage:?}");
    }
    let has_somebody = matches!(
        stage,
        Stage::Offered | Stage::Accepted | Stage::EnRoute | Stage::OnSite | Stage::Paused
    );
    assert_eq!(
        technician.is_some() && !stage.is_final() && *stage != Stage::Completed,
        has_somebody
    );
    let waits = *stage != Stage::Unknown && !stage.is_final();
    assert_eq!(timer(TimerName::Deadline).is_some(), waits, "{stage:?}");
    let broken = |wanted| {
        let is_it =
            |event: &&Event| matches!(event, Event::Broken { promise, .. } if *promise == wanted);
        alone.events.iter().filter(is_it).count()
    };
    assert!(broken(Promise::Respond) <= 1 && broken(Promise::Finish) <= 1);
}

/// What happens to it, in words that always fit.
#[derive(Debug, Clone)]
enum Move {
    Fire,
    Wait(u64),
    Offer(u8),
    NobodyFits,
    Accept,
    Decline,
    Progress(Progress),
    Order(Order),
    SilencesChanged,
    Silence(Option<u64>),
    Rearm,
    Cancel,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let why = String::new;
    let pause = |reason| Progress::Paused(Pause { reason, text: String::new(), minutes: 30 });
    let progress = prop_oneof![
        Just(Progress::EnRoute),
        Just(Progress::OnSite),
        Just(pause(PauseReason::Customer)),
        Just(pause(PauseReason::Parts)),
        Just(Progress::Resumed),
        Just(Progress::Completed { note: why() }),
        Just(Progress::CannotComplete { reason: why() }),
    ];
    let order = prop_oneof![
        4 => Just(Order::Acknowledge),
        4 => Just(Order::Escalate),
        1 => (1_u64..100_000).prop_map(move |left| Order::Hold {
            until: START.after_s(left),
            reason: why()
        }),
        1 => Just(Order::Resume),
        1 => Just(Order::Reassign { to: None, reason: why() }),
        1 => Just(Order::Reassign { to: Some(technician(3)), reason: why() }),
        1 => Just(Order::Reopen { reason: why() }),
        1 => Just(Order::Cancel { reason: why() }),
    ];
    let one = prop_oneof![
        8 => Just(Move::Fire),
        2 => (0_u64..4000).prop_map(Move::Wait),
        6 => (0_u8..4).prop_map(Move::Offer),
        4 => Just(Move::NobodyFits),
        2 => Just(Move::Accept),
        4 => Just(Move::Decline),
        4 => progress.prop_map(Move::Progress),
        4 => order.prop_map(Move::Order),
        1 => Just(Move::SilencesChanged),
        2 => option::of(0_u64..10_000).prop_map(Move::Silence),
        1 => Just(Move::Rearm),
        1 => Just(Move::Cancel),
    ];
    vec(one, 0..80)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let role = prop_oneof![Just(Role::Lead), Just(Role::Webhook)];
    let act = prop_oneof![
        3 => (0_u8..4, option::of(1000_u32..90_000), option::of(0_u8..7))
            .prop_map(|(technicians, radius_m, at_once)| Act::Offer {
                technicians,
                radius_m,
                at_once,
            }),
        2 => role.prop_map(|role| Act::Tell { role, name: "x".into() }),
        // As no document has it, but as it could be stored.
        1 => (0_u8..8).prop_map(|from| Act::Repeat { from }),
    ];
    let one = (act, vec(1_u32..900, 0..6)).prop_map(|(act, within_s)| Step { act, within_s });
    vec(one, 0..6)
}

pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
    steps().prop_map(policy)
}

fn terms() -> impl Strategy<Value = Terms> {
    let spans = (option::of(60_u64..9000), option::of(60_u64..90_000));
    let target = spans.prop_map(|(respond, finish)| target(respond, finish));
    let silence = (0_u64..5000).prop_map(silence);
    (option::of(steps()), option::of(target), option::weighted(0.2, silence))
        .prop_map(|(steps, target, silence)| Terms { policy: steps.map(policy), target, silence })
}

pub(crate) fn silence(left_s: u64) -> Silence {
    Silence { name: "s".into(), version: 5, until: START.after_s(left_s) }
}

fn play(alone: &mut Alone, step: &Move) {
    let offer = alone.current();
    let technician = alone.ticket.technician.unwrap_or(technician(0));
    match step {
        Move::Fire if alone.timers.is_empty() => {}
        Move::Fire => drop(alone.fire_next()),
        Move::Wait(seconds) => alone.now = alone.now.after_s(*seconds),
        Move::Offer(number) => drop(alone.offer_to(*number)),
        Move::NobodyFits => drop(alone.nobody_fits()),
        Move::Accept => {
            let (name, eta_min) = ("n".into(), 5);
            drop(alone.ask(&Command::Accept { technician, offer, name, eta_min }));
        }
        Move::Decline => {
            let reason = RefusalReason::Declined;
            drop(alone.ask(&Command::Refused { technician, offer, reason }));
        }
        Move::Progress(progress) => {
            let progress = progress.clone();
            drop(alone.ask(&Command::Progress { technician, offer, progress }));
        }
        Move::Order(order) => drop(alone.order(order.clone())),
        Move::SilencesChanged => drop(alone.ask(&Command::SilencesChanged)),
        Move::Silence(left) => {
            if let Some(Command::Reconsider { subject, .. }) = alone.told_itself.pop() {
                let silence = left.map(silence);
                drop(alone.ask(&Command::Reconsider { subject, silence }));
            }
        }
        Move::Rearm => drop(alone.ask(&Command::Rearm)),
        Move::Cancel => drop(alone.ask(&Command::Cancel)),
    }
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// While somebody is sought the policy has a timer, and its steps follow each other; a promise is
    /// broken at most once; whatever the terms, one technician has the ticket or none.
    #[test]
    fn terms_hold_whatever_happens(terms in terms(), moves in moves()) {
        let mut alone = Alone::opened(terms);
        holds(&alone, None);
        for step in &moves {
            let before = alone.ticket.escalation.as_ref().map(|one| one.at);
            play(&mut alone, step);
            holds(&alone, before);
        }
        let mut replayed = Ticket::default();
        alone.events.iter().for_each(|event| replayed.evolve(event));
        prop_assert_eq!(&replayed, &alone.ticket);
        prop_assert_eq!(&through_bytes(&alone.ticket), &alone.ticket);
    }

    /// A ticket without terms does not know of any.
    #[test]
    fn without_terms_nothing_is_added(moves in moves()) {
        let mut alone = Alone::opened(Terms::default());
        alone.marks = None;
        for step in &moves {
            play(&mut alone, step);
        }
        let is_added = |event: &Event| minicbor::to_vec(event).unwrap()[1] == 0x18
            && !matches!(event, Event::Rearmed { .. })
            && minicbor::to_vec(event).unwrap()[2] >= 40;
        prop_assert!(!alone.events.iter().any(is_added), "{:?}", alone.events);
        let is_bare = matches!(alone.row, Some(IndexRow::Ticket { standing: None, .. }));
        prop_assert!(is_bare);
    }
}

/// Nobody answers: the lead, then the dispatcher again and again.
#[test]
fn a_policy_goes_on_until_somebody_answers() {
    let steps = vec![
        offer(2, Some(20_000), 60),
        offer(1, None, 60),
        tell(Role::Lead, "lead", 300),
        tell(Role::Dispatcher, "duty", 600),
        repeat(3),
    ];
    let mut alone = Alone::opened(Terms { policy: Some(policy(steps)), ..Terms::default() });
    assert_eq!((alone.at(), alone.need.clone().unwrap().0.radius_m), (Some((0, 0)), Some(20_000)));
    alone.offer_to(0);
    assert_eq!(alone.ticket.due, alone.now.after_s(60));
    alone.fire_next();
    assert_eq!(alone.at(), Some((0, 0)));
    alone.offer_to(1);
    // The second one sleeps too: the next step asks further away, and neither of them again.
    alone.fire_next();
    let (need, _) = alone.need.clone().unwrap();
    assert_eq!((alone.at(), need.radius_m), (Some((1, 0)), None));
    assert_eq!(need.asked, [technician(0), technician(1)]);
    alone.nobody_fits();
    let lead = alone.now;
    assert_eq!(
        (alone.at(), alone.timer(TimerName::Escalation).unwrap().1),
        (Some((2, 0)), lead.after_s(300))
    );
    // Meanwhile it is tried again and again.
    let mut told = vec![];
    while alone.now <= lead.after_s(300 + 600 * 3) {
        for event in alone.fire_next() {
            match event {
                Event::MatchAsked { .. } => drop(alone.nobody_fits()),
                Event::Escalated { step, round, at, .. } => told.push((step, round, at)),
                _ => {}
            }
        }
    }
    let at = |times: u64| lead.after_s(300 + 600 * times);
    assert_eq!(told[..4], [(3, 0, at(0)), (3, 1, at(1)), (3, 2, at(2)), (3, 3, at(3))]);
    // A person answers, and forgets.
    let answered = alone.now;
    alone.order(Order::Acknowledge);
    assert_eq!(alone.order(Order::Acknowledge), []);
    while alone.now < answered.after_s(1800) {
        for event in alone.fire_next() {
            let told = matches!(event, Event::Escalated { .. });
            assert!(!told || alone.now >= answered.after_s(1800));
            if matches!(event, Event::MatchAsked { .. }) {
                alone.nobody_fits();
            }
        }
    }
    assert_eq!(alone.at().map(|(step, _)| step), Some(3));
}

/// What one does who is not told of anything yet is no answer, and an answer ends with a technician.
#[test]
fn orders_answer_only_what_was_told() {
    let steps = vec![offer(1, None, 60), tell(Role::Lead, "lead", 300), repeat(1)];
    let mut alone = Alone::opened(Terms { policy: Some(policy(steps)), ..Terms::default() });
    alone.order(Order::Message {
        to: fieldmesh_domain::ticket::Reader::Customer,
        text: "x".into(),
        enclosure: None,
    });
    assert_eq!(alone.ticket.escalation.as_ref().unwrap().answered_by, None);
    alone.order(Order::Escalate);
    assert_eq!(alone.at(), Some((1, 0)));
    alone.order(Order::Reassign { to: Some(technician(1)), reason: String::new() });
    assert_eq!(alone.ticket.escalation.as_ref().unwrap().answered_by.as_deref(), Some("ann"));
    let (technician, offer) = (technician(1), alone.current());
    alone.ask(&Command::Accept { technician, offer, name: "n".into(), eta_min: 5 });
    assert_eq!((alone.at(), alone.timer(TimerName::Escalation)), (None, None));
    // The search begins again, and the policy with it.
    let reason = "gone".to_owned();
    alone.ask(&Command::Progress {
        technician,
        offer,
        progress: Progress::CannotComplete { reason },
    });
    assert_eq!(alone.at(), Some((0, 0)));
}

#[test]
fn clocks_stand_while_the_ticket_is_held_or_waits_for_the_customer() {
    let target = Some(target(Some(600), Some(3600)));
    let mut alone = Alone::opened(Terms { target, ..Terms::default() });
    let dues = |alone: &Alone| {
        let promises = alone.ticket.promises.clone().unwrap();
        (promises.respond.unwrap().due, promises.finish.unwrap().due)
    };
    let after = |seconds| Some(START.after_s(seconds));
    assert_eq!(dues(&alone), (after(600), after(3600)));
    alone.now = START.after_s(100);
    alone.order(Order::Hold { until: START.after_s(1000), reason: String::new() });
    assert_eq!((dues(&alone), alone.timer(TimerName::Promise)), ((None, None), None));
    alone.now = START.after_s(400);
    alone.order(Order::Resume);
    // Three hundred seconds do not count.
    assert_eq!(dues(&alone), (after(900), after(3900)));
    alone.offer_to(0);
    let (technician, offer) = (technician(0), alone.current());
    alone.ask(&Command::Accept { technician, offer, name: "n".into(), eta_min: 5 });
    assert_eq!(dues(&alone), (None, after(3900)));
    let pause = |reason| Progress::Paused(Pause { reason, text: String::new(), minutes: 600 });
    let say = |alone: &mut Alone, at, progress| {
        alone.now = START.after_s(at);
        alone.ask(&Command::Progress { technician, offer, progress });
    };
    say(&mut alone, 500, Progress::OnSite);
    say(&mut alone, 600, pause(PauseReason::Parts));
    assert_eq!(dues(&alone).1, after(3900));
    say(&mut alone, 700, pause(PauseReason::Customer));
    assert_eq!(dues(&alone).1, None);
    say(&mut alone, 1700, Progress::Resumed);
    assert_eq!(dues(&alone).1, after(4900));
    // At the very instant it is kept, a millisecond later it is broken, once and visibly.
    alone.now = START.after_s(4900);
    alone.ask(&Command::SilencesChanged);
    assert!(!alone.ticket.promises.as_ref().unwrap().is_broken());
    let (generation, due) = alone.timer(TimerName::Promise).unwrap();
    assert_eq!(due, Millis(START.after_s(4900).0 + 1));
    alone.now = due;
    let name = TimerName::Promise;
    let broken = alone.ask(&Command::Timer { name, generation, marks: None });
    assert_eq!(broken, [Event::Broken { promise: Promise::Finish, at: due }]);
    let Some(IndexRow::Ticket { standing: Some(standing), .. }) = &alone.row else { panic!() };
    assert!(standing.is_broken);
}

/// Whatever of its timers is lost runs again.
#[test]
fn timers_that_are_lost_are_set_anew() {
    let steps = vec![tell(Role::Lead, "lead", 300), repeat(0)];
    let target = Some(target(Some(600), Some(3600)));
    let mut alone = Alone::opened(Terms { policy: Some(policy(steps)), target, silence: None });
    alone.timers.clear();
    alone.ask(&Command::Rearm);
    assert_eq!(alone.timers.len(), 3);
    alone.ask(&Command::Cancel);
    assert_eq!(alone.ask(&Command::Rearm), []);
    assert_eq!(alone.timers.len(), 0);
}

/// A storm of tickets does not reach one person: what is beyond waits, and says why.
#[test]
fn a_technician_is_asked_only_so_often_in_a_minute() {
    let mut desk = Lived::<Desk>::default();
    let id = world::desk();
    let ask = |desk: &mut Lived<Desk>, number: u8, priority, at_s| {
        let need = Need::plain(1, priority, Location::default(), vec![]);
        let ctx = Ctx { now: START.after_s(at_s), id, rule_version: 1 };
        let ticket = EntityId::ticket_of(customer(0), [number; 16]);
        let command = desk::Command::Match { ticket, need, question: 1, pace: Some(2) };
        desk.ask(&command, &ctx).unwrap();
        match desk.events.last().unwrap() {
            desk::Event::Chosen { .. } => None,
            desk::Event::NobodyFits { choice, .. } => Some(choice.excluded[0].1),
            event => panic!("{event:?}"),
        }
    };
    let (skills, home) = (vec![Skill::new(1, 1)], Location::default());
    let summary = Summary { on_shift: true, skills, home, capacity: 99, circumstances: None };
    let known = desk::Command::Technician { id: technician(0), summary };
    desk.ask(&known, &Ctx { now: START, id, rule_version: 1 }).unwrap();
    assert_eq!(ask(&mut desk, 0, 3, 0), None);
    assert_eq!(ask(&mut desk, 1, 3, 10), None);
    assert_eq!(ask(&mut desk, 2, 3, 59), Some(Exclusion::Paced));
    // Priority 1 is exempt, and counts.
    assert_eq!(ask(&mut desk, 3, 1, 59), None);
    assert_eq!(ask(&mut desk, 2, 3, 61), Some(Exclusion::Paced));
    assert_eq!(ask(&mut desk, 2, 3, 70), None);
    desk.replay_equals_live();
}
