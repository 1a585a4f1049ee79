//! What must hold in a world of several entities, whatever arrives when.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Command, Effect, EntityId, IndexRow, MessageKind,
    message::{Answer, ReceiptBody, ReceiptStatus},
    technician::{self, Holding, Phase, Skill, Technician},
    ticket::{self, Counted, Stage, Ticket},
};

use crate::{
    schedule::{Step, answer},
    world::{SITE, World},
};

/// Timers fired until the world must have come to rest: each of four tickets is refused by each of
/// three technicians, waits and is tried again, several times over.
const ROUNDS: usize = 60;

/// Stages in which somebody has the ticket, with how far the technician then is.
fn phase(stage: Stage) -> Option<Phase> {
    match stage {
        Stage::Offered => Some(Phase::Reserved),
        Stage::Accepted => Some(Phase::Committed),
        Stage::EnRoute => Some(Phase::EnRoute),
        Stage::OnSite | Stage::Paused => Some(Phase::OnSite),
        _ => None,
    }
}

pub(crate) fn no_longer_yours(
    to: EntityId,
    ticket: EntityId,
    correlation: Option<[u8; 16]>,
) -> Effect {
    let (status, ticket) = (ReceiptStatus::NoLongerYours, Some(ticket));
    let body = minicbor::to_vec(ReceiptBody { status, ticket, reason: String::new() }).unwrap();
    Effect::Message { to, kind: MessageKind::Receipt, correlation, body }
}

fn has_parts(technician: &Technician, ticket: &Ticket) -> bool {
    let mut required = ticket.ruled.iter().flat_map(|ruled| &ruled.parts);
    let stock = technician.stock.clone().unwrap_or_default();
    required.all(|part| stock.get(&part.number).is_some_and(|count| *count >= part.count))
}

/// Whether somebody has every skill that rules require for a ticket.
fn has_required(skills: &[Skill], ticket: &Ticket) -> bool {
    let mut required = ticket.ruled.iter().flat_map(|ruled| &ruled.skills);
    required.all(|wanted| {
        let mut own = skills.iter();
        own.any(|own| own.category == wanted.category && own.level >= wanted.level)
    })
}

pub(crate) fn is_waiting(stage: Stage) -> bool {
    stage != Stage::Unknown && !stage.is_final()
}

impl World {
    /// What must follow from an acceptance that is not for the offer in force: nothing else.
    pub(crate) fn refusal_of(&self, to: EntityId, command: &Command) -> Option<Effect> {
        match command {
            Command::Technician(technician::Command::Answer { message_id, body })
                if matches!(body.answer, Answer::Accept { .. })
                    && self.technicians[&to].state.registered =>
            {
                let held = self.technicians[&to].state.holdings.get(&body.ticket);
                let is_current = held.is_some_and(|held| {
                    let is_dead = held.phase == Phase::Reserved && held.expires < self.now;
                    held.offer == body.offer && !is_dead
                });
                (!is_current).then(|| no_longer_yours(to, body.ticket, Some(*message_id)))
            }
            Command::Ticket(ticket::Command::Accept { technician, offer, .. }) => {
                let ticket = &self.tickets.get(&to)?.state;
                if ticket.stage == Stage::Unknown {
                    return None;
                }
                let others = ticket.others.clone().unwrap_or_default();
                let is_counted_on =
                    ticket.technician == Some(*technician) && offer.seq == others.seq;
                let mut beside = others.invited.iter();
                let is_beside = ticket.stage == Stage::Offered
                    && beside.any(|one| (one.technician, one.seq) == (*technician, offer.seq));
                let is_current = phase(ticket.stage).is_some()
                    && (is_counted_on || is_beside)
                    && offer.epoch == ticket.epoch;
                let release = technician::Command::Release { ticket: to, offer: *offer };
                let command = Command::Technician(release);
                (!is_current).then_some(Effect::Tell { to: *technician, command })
            }
            _ => None,
        }
    }

    fn holdings(&self, ticket: EntityId) -> impl Iterator<Item = (EntityId, &Holding)> {
        self.technicians
            .iter()
            .filter_map(move |(id, lived)| Some((*id, lived.state.holdings.get(&ticket)?)))
    }

    /// Takes each step, and looks at the laws in between.
    pub(crate) fn run(&mut self, steps: &[Step]) {
        let mut ended = BTreeMap::new();
        for step in steps {
            self.step(step);
            self.laws(&mut ended);
        }
    }

    pub(crate) fn laws(&self, ended: &mut BTreeMap<EntityId, (Stage, usize)>) {
        for lived in self.technicians.values() {
            assert!(lived.state.holdings.len() <= usize::from(lived.state.capacity));
        }
        for (id, lived) in &self.tickets {
            let ticket = &lived.state;
            self.at_most_one_holder(*id, ticket);
            self.every_waiting_state_has_a_deadline(*id, ticket);
            self.the_customer_hears_in_order(*id);
            // Nothing but an order leads out of a stage that is final.
            let reopened = lived.events.iter().filter(|event| **event == ticket::Event::Reopened);
            let end = (ticket.stage, reopened.count());
            let known = ended.get(id).filter(|(_, reopened)| *reopened == end.1);
            assert!(known.is_none_or(|known| *known == end), "{id} had ended: {known:?}, {end:?}");
            if ticket.stage.is_final() {
                ended.insert(*id, end);
            }
        }
        self.lists_show_the_state();
        self.whoever_waits_is_answered_soon();
        self.nobody_is_idle_for_long();
        self.the_desk_counts_what_it_gave();
    }

    /// Whoever is bound to a ticket is the one that it counts, or hears otherwise in a moment.
    fn at_most_one_holder(&self, id: EntityId, ticket: &Ticket) {
        let bound = self.holdings(id).filter(|(_, held)| held.phase > Phase::Reserved);
        let (current, other): (Vec<_>, Vec<_>) = bound.partition(|(technician, held)| {
            phase(ticket.stage) >= Some(Phase::Committed)
                && ticket.technician == Some(*technician)
                && ticket.epoch == held.offer.epoch
        });
        assert!(current.len() <= 1, "{current:?} hold {id}");
        for (technician, held) in other {
            let accepting = self.on_its_way(technician, id, |command| {
                let accept = |command: &ticket::Command| {
                    matches!(command, ticket::Command::Accept { offer, .. } if *offer == held.offer)
                };
                matches!(command, Command::Ticket(command) if accept(command))
            });
            let releasing = self.on_its_way(id, technician, |command| {
                let release = |command: &technician::Command| {
                    matches!(command, technician::Command::Release { offer, .. } if *offer >= held.offer)
                };
                matches!(command, Command::Technician(command) if release(command))
            });
            assert!(accepting || releasing, "{technician} holds {id}, which does not know");
        }
    }

    fn on_its_way(&self, from: EntityId, to: EntityId, wanted: impl Fn(&Command) -> bool) -> bool {
        self.lanes.get(&(from, to)).is_some_and(|lane| lane.iter().any(wanted))
    }

    fn every_waiting_state_has_a_deadline(&self, id: EntityId, ticket: &Ticket) {
        let wanted = is_waiting(ticket.stage).then_some((ticket.generation, ticket.due));
        assert_eq!(self.timers.get(&id).copied(), wanted, "{id} is {:?}", ticket.stage);
    }

    /// R2 first; after it R3 takes it back or R4 ends; after R3 comes the next R2. What is reopened
    /// begins with an R3, wherever it ended, and what is grouped may end with an R4 alone.
    fn the_customer_hears_in_order(&self, id: EntityId) {
        let numbers: Vec<u8> = self.confirmations(id).iter().map(|body| body.number).collect();
        let is_again = self.tickets[&id].events.contains(&ticket::Event::Reopened);
        let mut events = self.tickets[&id].events.iter();
        let is_child = events.any(|event| matches!(event, ticket::Event::Grouped { .. }));
        for pair in numbers.windows(2) {
            let is_right = matches!(pair, [2, 3 | 4] | [3, 2])
                || is_again && matches!(pair, [3 | 4, 3])
                || is_child && matches!(pair, [3, 4]);
            assert!(is_right, "{id} was confirmed as {numbers:?}");
        }
        let first = numbers.first().copied();
        let is_right = matches!(first, None | Some(2))
            || is_again && first == Some(3)
            || is_child && first == Some(4);
        assert!(is_right, "{numbers:?}");
    }

    fn lists_show_the_state(&self) {
        for row in self.index.values() {
            match row {
                IndexRow::Ticket { id, state, priority, technician, counted, .. } => {
                    let ticket = &self.tickets[id].state;
                    let shown = (ticket.stage, ticket.priority, ticket.technician);
                    assert_eq!((*state, *priority, *technician), shown);
                    // Whatever befell it, it is counted by what it was opened with.
                    let category = ticket.body.as_ref().map(|body| body.category);
                    let opened = category.map(|category| Counted { category, site: SITE });
                    assert_eq!(*counted, opened);
                }
                IndexRow::Technician { id, state, load } => {
                    let technician = &self.technicians[id].state;
                    let shown = (technician.duty(), technician.holdings.len());
                    assert_eq!((*state, usize::from(*load)), shown);
                }
                IndexRow::Customer { id, state } => {
                    assert_eq!(*state, self.customers[id].state.standing);
                }
                _ => panic!("no authority here wrote {row:?}"),
            }
        }
    }

    fn the_desk_counts_what_it_gave(&self) {
        let desk = &self.desk.state;
        for (id, known) in &desk.technicians {
            let given = desk.given.values().filter(|technician| *technician == id).count();
            assert_eq!(usize::from(known.load), given, "{id}");
            let mut sites = known.sites.iter().flatten();
            assert!(sites.all(|(ticket, _)| desk.given.get(ticket) == Some(id)), "{id}: {known:?}");
        }
    }

    /// Once everything has arrived, all agree on who has which ticket.
    pub(crate) fn all_agree(&self) {
        assert!(self.lanes.is_empty());
        let opened = self.tickets.iter().filter(|(_, lived)| lived.state.stage != Stage::Unknown);
        for (id, lived) in opened {
            let ticket = &lived.state;
            let wanted = ticket.technician.zip(phase(ticket.stage));
            let held: BTreeMap<_, _> =
                self.holdings(*id).map(|(technician, held)| (technician, held.phase)).collect();
            let beside = ticket.others.iter().flat_map(|others| &others.invited);
            let beside = beside.map(|one| (one.technician, Phase::Reserved));
            let all: BTreeMap<_, _> = wanted.into_iter().chain(beside).collect();
            assert_eq!(held, all, "{id} is {:?}", ticket.stage);
            let given = self.desk.state.given.get(id).copied();
            assert_eq!(given, wanted.map(|(technician, _)| technician), "{id}");
            let customer = &self.customers[&ticket.customer.unwrap()].state;
            assert_eq!(customer.open.contains(id), is_waiting(ticket.stage), "{id}");
            assert_ne!(ticket.stage, Stage::Matching, "the desk left {id} without an answer");
        }
        let known = self.desk.state.technicians.values();
        for (id, place) in known.flat_map(|known| known.sites.iter().flatten()) {
            let body = self.tickets[id].state.body.as_ref();
            assert_eq!(body.map(|body| body.location), Some(*place), "{id} is elsewhere");
        }
        for (id, lived) in self.technicians.iter().filter(|(_, lived)| lived.state.registered) {
            let technician = &lived.state;
            let known = &self.desk.state.technicians[id].summary;
            assert_eq!(known.on_shift, technician.on_shift && technician.device.present);
            assert_eq!((&known.skills, known.capacity), (&technician.skills, technician.capacity));
        }
    }

    /// Everything arrives at once, and every device accepts what it may.
    pub(crate) fn accept_all(&mut self) {
        loop {
            self.deliver_all();
            let (technicians, now) = (self.technicians.iter(), self.now);
            let mut offered = technicians.flat_map(|(id, lived)| {
                let held = lived.state.holdings.iter();
                held.map(move |(ticket, held)| (*id, *ticket, held.clone()))
            });
            let next =
                offered.rfind(|(_, _, held)| held.phase == Phase::Reserved && held.expires >= now);
            let Some((technician, ticket, held)) = next else {
                return;
            };
            self.answer(technician, ticket, held.offer, answer(0));
        }
    }

    /// The rest of the world behaves from here on: whoever can be helped is helped.
    pub(crate) fn converges(&mut self) {
        for _ in 0..ROUNDS {
            self.accept_all();
            let waiting = self.tickets.iter().filter(|(_, lived)| {
                use Stage::{Matching, Offered, Triaged, Unfilled};
                matches!(lived.state.stage, Triaged | Matching | Offered | Unfilled)
            });
            let next = waiting.map(|(id, lived)| (lived.state.due, *id)).min();
            let Some((_, id)) = next else {
                break;
            };
            self.fire(id);
        }
        self.accept_all();
        for (id, lived_ticket) in &self.tickets {
            match lived_ticket.state.stage {
                Stage::Unfilled => {
                    let body = lived_ticket.state.body.as_ref().unwrap();
                    let free = self.technicians.values().find(|lived| {
                        let technician = &lived.state;
                        let mut skills = technician.skills.iter();
                        technician.on_shift
                            && technician.device.present
                            && technician.holdings.len() < usize::from(technician.capacity)
                            && skills.any(|skill| skill.category == body.category)
                            && has_required(&technician.skills, &lived_ticket.state)
                            && has_parts(technician, &lived_ticket.state)
                    });
                    assert!(free.is_none_or(|_| false), "{id} waits although somebody is free");
                    assert!(self.timers.contains_key(id));
                }
                stage @ (Stage::Triaged | Stage::Matching | Stage::Offered) => {
                    panic!("{id} is {stage:?}")
                }
                _ => {}
            }
        }
    }

    pub(crate) fn replay_equals_live(&self) {
        self.customers.values().for_each(|lived| lived.replay_equals_live());
        self.technicians.values().for_each(|lived| lived.replay_equals_live());
        self.tickets.values().for_each(|lived| lived.replay_equals_live());
        self.desk.replay_equals_live();
    }
}
