//! Offers of one ticket that several technicians have at the same time: the first who accepts has it.
//!
//! The desk chooses one technician; a step of the policy may ask the next best of the same choice too. Their
//! offers have one epoch and differ in their position. Where many tickets compete for few technicians nobody is
//! asked beside: those belong to the others.
//!
//! **Invariants:** the ticket counts on one of them, which the desk knows; there are others only while it is
//! offered, and whoever does not get it is released. **Not here:** granting an offer (`technician`), choosing
//! (`desk`), how many a step asks (`escalation`).

use minicbor::{Decode, Encode};

use super::{Event, Stage, Ticket};
use crate::{
    Effect, EntityId,
    message::OfferId,
    mutant::{Mutant, is_planted},
    selection::{Choice, Mode},
};

/// A technician with its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Invited {
    #[n(0)]
    pub technician: EntityId,
    /// The position of its offer in the epoch.
    #[n(1)]
    pub seq: u32,
    #[n(2)]
    pub distance_m: u32,
}

/// Who is asked at the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Others {
    /// The position of the offer that the ticket counts on.
    #[n(0)]
    pub seq: u32,
    /// Who has one beside it.
    #[n(1)]
    pub invited: Vec<Invited>,
}

impl Ticket {
    pub(super) fn others(&self) -> &[Invited] {
        self.others.as_ref().map_or(&[], |others| &others.invited)
    }

    pub(super) fn offer_of(&self, invited: &Invited) -> OfferId {
        OfferId { epoch: self.epoch, seq: invited.seq }
    }

    /// The technician that the command is from holds the present offer.
    pub(super) fn is_current(&self, technician: EntityId, offer: OfferId) -> bool {
        let is_chosen = self.technician == Some(technician) || is_planted(Mutant::OfferedTwice);
        is_chosen && self.offer() == offer
    }

    /// The offer that a technician has beside the one that the ticket counts on.
    pub(super) fn invited(&self, technician: EntityId, offer: OfferId) -> Option<Invited> {
        let mut others = self.others().iter().filter(|_| self.stage == Stage::Offered);
        others.find(|one| one.technician == technician && self.offer_of(one) == offer).copied()
    }

    /// Who is asked beside the technician that was chosen.
    pub(super) fn also_offered(&self, chosen: EntityId, choice: &Choice) -> Option<Event> {
        // What is left once every ticket that wants somebody has one.
        let spare = choice.how.as_ref().map_or(u32::MAX, |how| match how.mode {
            Mode::Batched => 0,
            Mode::AtOnce if how.displaced.is_some() => 0,
            Mode::AtOnce => how.room.saturating_sub(how.competing),
        });
        let beside = u32::from(self.at_once().saturating_sub(1)).min(spare);
        let beside = usize::try_from(beside).unwrap_or(0);
        let next = choice.candidates.iter().filter(|one| one.technician != chosen).take(beside);
        let invited = next.zip(1..).map(|(one, seq)| Invited {
            technician: one.technician,
            seq,
            distance_m: one.distance_m,
        });
        let invited: Vec<Invited> = invited.collect();
        (!invited.is_empty()).then_some(Event::AlsoOffered { invited })
    }

    /// The ticket counts on another one of those who were asked.
    pub(super) fn switched_to(&self, invited: Invited) -> Event {
        Event::Switched { technician: invited.technician, seq: invited.seq }
    }

    /// The next of them, where the one that the ticket counted on does not want it.
    pub(super) fn next_invited(&self) -> Option<Event> {
        self.others().first().map(|next| self.switched_to(*next))
    }

    /// Those who were asked beside are not needed, although it is offered still.
    pub(super) fn released_beside(&self) -> Option<Event> {
        let (invited, epoch) = (self.others().to_vec(), self.epoch);
        let is_any = !invited.is_empty() && self.stage == Stage::Offered;
        is_any.then_some(Event::OthersReleased { invited, epoch, were_asked: false })
    }

    /// Adds who is released, before the event that the offer ends with.
    pub(super) fn with_released(&self, mut events: Vec<Event>) -> Vec<Event> {
        if self.others().is_empty() || events.is_empty() {
            return events;
        }
        let mut after = self.clone();
        let mut ended = None;
        for (at, event) in events.iter().enumerate() {
            let before = after.others().to_vec();
            after.evolve_to(event);
            if after.stage != Stage::Offered || after.epoch != self.epoch {
                ended = Some((at, before)).filter(|(_, before)| !before.is_empty());
                break;
            }
        }
        let Some((at, invited)) = ended else { return events };
        let were_asked = events.contains(&Event::OfferExpired);
        events.insert(at, Event::OthersReleased { invited, epoch: self.epoch, were_asked });
        events
    }

    /// What happens to offers that are made.
    pub(super) fn evolve_offers(&mut self, event: &Event) {
        match event {
            Event::OfferExpired => {
                if let Some(technician) = self.technician {
                    self.ask_again(technician);
                }
            }
            Event::OfferRefused { technician, .. } => {
                let was_other = self.other_refused(*technician);
                if !was_other {
                    self.ask_again(*technician);
                }
            }
            Event::Adopted { technician, epoch, seq } => {
                self.technician = Some(*technician);
                self.epoch = *epoch;
                self.others = seq.map(|seq| Others { seq, invited: vec![] });
            }
            Event::AlsoOffered { invited } => {
                self.others = Some(Others { seq: 0, invited: invited.clone() });
            }
            Event::Switched { technician, seq } => self.switched(*technician, *seq),
            Event::OthersReleased { invited, were_asked, .. } => {
                self.others_released(invited, *were_asked);
            }
            _ => {}
        }
    }

    /// What follows for those who are asked at the same time.
    pub(super) fn effects_of_offers(&self, event: &Event, id: EntityId) -> Vec<Effect> {
        match event {
            Event::AlsoOffered { invited } => {
                invited.iter().map(|one| self.invite(id, one)).collect()
            }
            Event::Switched { technician, .. } => vec![self.given(id, *technician), self.index(id)],
            Event::OthersReleased { invited, epoch, .. } => {
                let offer = |seq| OfferId { epoch: *epoch, seq };
                let release = |one: &Invited| self.release(id, one.technician, offer(one.seq));
                invited.iter().map(release).collect()
            }
            _ => vec![],
        }
    }

    fn switched(&mut self, technician: EntityId, seq: u32) {
        let before = self.technician.filter(|before| *before != technician);
        let others = self.others.get_or_insert_default();
        others.invited.retain(|one| one.technician != technician);
        if let Some(technician) = before {
            others.invited.push(Invited { technician, seq: others.seq, distance_m: 0 });
        }
        others.seq = seq;
        self.technician = Some(technician);
        // It was on the one before.
        self.pinned = None;
    }

    fn others_released(&mut self, invited: &[Invited], were_asked: bool) {
        if let Some(others) = &mut self.others {
            others.invited.clear();
        }
        for one in invited.iter().filter(|_| were_asked) {
            self.was_asked(one.technician);
        }
    }

    /// Somebody does not want it; whether that was one of those who were asked beside.
    fn other_refused(&mut self, technician: EntityId) -> bool {
        let Some(others) = &mut self.others else { return false };
        let before = others.invited.len();
        others.invited.retain(|one| one.technician != technician);
        let was_other = others.invited.len() < before;
        if was_other {
            self.was_asked(technician);
        }
        was_other
    }
}
