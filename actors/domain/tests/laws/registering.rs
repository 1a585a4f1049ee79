//! The whole life of a registration: what it is asked, what it answers, and what follows.
//!
//! Each certificate has a serial number of its own, as the authority promises; what names a
//! certificate names one of those that are known, so that schedules get somewhere. **Not here:**
//! what must hold (`registered`).

use core::fmt::Write as _;
use std::collections::BTreeSet;

use fieldmesh_domain::{
    Aggregate, Ctx, Effect, EntityId, Rejection,
    registration::{Command, Event, Issued, Proof, Registration, Request},
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    commands::{register, registration_command},
    world,
};

/// What a schedule does next.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    Ask(Box<Command>),
    /// Something that was asked at any time is asked once more.
    Repeat(u8),
}

/// An event with what was before and what followed.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) at: Millis,
    pub(crate) command: Command,
    pub(crate) before: Registration,
    pub(crate) event: Event,
    pub(crate) after: Registration,
    pub(crate) effects: Vec<Effect>,
}

/// A registration with all that happened to it.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) now: Millis,
    pub(crate) state: Registration,
    pub(crate) happened: Vec<Happened>,
    asked: Vec<Command>,
    serials: u8,
}

pub(crate) fn id() -> EntityId {
    EntityId::registration_of(world::customer(0))
}

/// Registered first, then anything, with the milliseconds that pass before it.
pub(crate) fn moves() -> impl Strategy<Value = Vec<(Move, u64)>> {
    begun(registration_command().prop_map(ask))
}

/// The same, and anything may arrive again at any time.
pub(crate) fn moves_with_repeats() -> impl Strategy<Value = Vec<(Move, u64)>> {
    begun(prop_oneof![
        4 => registration_command().prop_map(ask),
        1 => any::<u8>().prop_map(Move::Repeat),
    ])
}

fn ask(command: Command) -> Move {
    Move::Ask(Box::new(command))
}

fn begun(next: impl Strategy<Value = Move>) -> impl Strategy<Value = Vec<(Move, u64)>> {
    (register(), vec((next, 0_u64..20_000), 0..80)).prop_map(|(register, mut moves)| {
        moves.insert(0, (ask(register), 0));
        moves
    })
}

impl Life {
    pub(crate) fn new(now: Millis) -> Self {
        Self { now, ..Self::default() }
    }

    /// Makes each move; `look` sees the life in between.
    pub(crate) fn run(moves: &[(Move, u64)], mut look: impl FnMut(&Self)) -> Self {
        let mut life = Self::default();
        for (next, pause_ms) in moves {
            life.now.0 += pause_ms;
            let command = match next {
                Move::Ask(command) => life.named(command),
                Move::Repeat(number) => life.asked[usize::from(*number) % life.asked.len()].clone(),
            };
            // What is refused changes nothing.
            let _ = life.ask(command);
            look(&life);
        }
        life
    }

    pub(crate) fn ctx(&self) -> Ctx {
        Ctx { now: self.now, id: id(), rule_version: 1 }
    }

    pub(crate) fn ask(&mut self, command: Command) -> Result<(), Rejection> {
        self.asked.push(command.clone());
        for event in self.state.decide(&command, &self.ctx())? {
            let before = self.state.clone();
            self.state.evolve(&event);
            let effects = self.state.react(&event, id());
            let (at, command, after) = (self.now, command.clone(), self.state.clone());
            self.happened.push(Happened { at, command, before, event, after, effects });
        }
        Ok(())
    }

    /// The command with a new serial number for a new certificate, and with one that is known where
    /// it names another.
    fn named(&mut self, command: &Command) -> Command {
        let mut command = command.clone();
        match &mut command {
            Command::Enroll(issued) => {
                self.serials += 1;
                issued.serial = [self.serials; 16];
                if let Proof::Certificate(serial) = &mut issued.proof {
                    *serial = self.known(*serial);
                }
            }
            Command::Revoke { serial: Some(serial), .. } => *serial = self.known(*serial),
            _ => {}
        }
        command
    }

    fn known(&self, serial: [u8; 16]) -> [u8; 16] {
        let known = self.state.issued.iter().map(|issued| issued.serial);
        world::nth(known, usize::from(serial[0])).unwrap_or(serial)
    }

    /// What happened, in short.
    pub(crate) fn story(&self) -> String {
        self.happened.iter().fold(String::new(), |mut story, happened| {
            let at_s = happened.at.0 / 1000;
            let told = match &happened.event {
                Event::Invited(token) => format!("token {} is given", token.hash[0]),
                Event::Requested { request, .. } => {
                    let Request { token_hash, public_key_hash, .. } = request;
                    format!("token {} asks for key {}", token_hash[0], public_key_hash[0])
                }
                Event::Enrolled { issued, forgotten, .. } => {
                    let proof = match issued.proof {
                        Proof::Token(hash) => format!("token {}", hash[0]),
                        Proof::Certificate(serial) => format!("certificate {}", serial[0]),
                    };
                    let Issued { serial, public_key_hash, not_after, .. } = issued;
                    let (serial, key) = (serial[0], public_key_hash[0]);
                    format!(
                        "{proof} gets certificate {serial} for key {key} until {not_after} s, \
                         {forgotten} forgotten"
                    )
                }
                Event::Revoked { serials, .. } => {
                    let serials = Vec::from_iter(serials.iter().map(|serial| serial[0]));
                    format!("certificates {serials:?} are revoked")
                }
                event => format!("{event:?}"),
            };
            writeln!(story, "{at_s} s: {told}").unwrap();
            story
        })
    }

    pub(crate) fn enrolled(&self) -> impl Iterator<Item = (&Happened, &Issued)> {
        self.happened.iter().filter_map(|happened| match &happened.event {
            Event::Enrolled { issued, .. } => Some((happened, issued)),
            _ => None,
        })
    }

    /// The serial numbers that were revoked.
    pub(crate) fn revoked(&self) -> BTreeSet<[u8; 16]> {
        let serials = self.happened.iter().filter_map(|happened| match &happened.event {
            Event::Revoked { serials, .. } => Some(serials),
            _ => None,
        });
        serials.flatten().map(|serial| **serial).collect()
    }
}
