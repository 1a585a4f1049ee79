//! The whole life of the bundle: what the operators and nodes of two regions ask, and what follows.
//!
//! What names an authority mostly names one that is known, and what waits for a second operator is
//! asked for again, so that schedules get somewhere. **Not here:** what must hold (`rotating`).

use core::fmt::Write as _;

use fieldmesh_domain::{
    Aggregate, Ctx, Effect, EntityId, Rejection,
    placement::{Ca, Command, Event, Phase, Placement, Proposal, Role, Step, Wanted},
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{records::step, world};

pub(crate) const DAY_MS: u64 = 24 * 3600 * 1000;
/// How long a step waits for a second operator.
pub(crate) const WEEK_MS: u64 = 7 * DAY_MS;
/// Authorities with a smaller number are roots.
const ROOTS: u8 = 3;
const AUTHORITIES: u8 = 15;
/// The last one has the name of another.
const NAMESAKE: u8 = 12;

/// What a schedule does next.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A region begins with a root and an issuing authority, and with a second root ahead.
    Adopt {
        region: u8,
        signer: u8,
    },
    Introduce {
        number: u8,
        by: String,
    },
    /// A step with one of those that are known.
    Rotate {
        nth: u8,
        step: Step,
        by: String,
        second_person: bool,
    },
    /// What waits for a second operator is asked for; else that the newest begins to sign.
    Agree {
        by: String,
    },
    /// A node says what it believes: a few epochs less than there are.
    Acknowledge {
        node: u64,
        behind: u64,
    },
    Forget {
        node: u64,
        by: String,
    },
    /// Something that was asked at any time is asked once more.
    Repeat(u8),
}

/// A command with what was before and what followed.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) at: Millis,
    pub(crate) command: Command,
    pub(crate) before: Placement,
    pub(crate) answer: Result<Vec<Event>, Rejection>,
    pub(crate) after: Placement,
    pub(crate) effects: Vec<Effect>,
}

/// The bundle with all that happened to it.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) now: Millis,
    pub(crate) state: Placement,
    pub(crate) happened: Vec<Happened>,
}

/// A region's authority.
pub(crate) fn region(number: u8) -> EntityId {
    EntityId::authority(["eu1", "eu2"][usize::from(number % 2)].parse().unwrap())
}

pub(crate) fn fingerprint(number: u8) -> [u8; 32] {
    [number; 32]
}

/// Some of the roots sign some of the issuing authorities, of both regions.
pub(crate) fn ca(number: u8) -> Ca {
    let is_root = number < ROOTS;
    let name = if number == AUTHORITIES - 1 { NAMESAKE } else { number };
    Ca {
        fingerprint: fingerprint(number),
        certificate: vec![number],
        role: if is_root { Role::Root } else { Role::Issuing },
        // The last root is the other region's.
        authority: region(number + u8::from(number == ROOTS - 1)),
        name: [100 + name; 32],
        signer: fingerprint(if is_root { number } else { number / 2 % ROOTS }),
        not_after: 1000 + u64::from(number),
        phase: Phase::Introduced,
        since: Millis(0),
        epoch: 0,
        compromised: false,
    }
}

/// What a region was made with: two roots, of which one signed its issuing authority.
pub(crate) fn founding(number: u8, signer: u8) -> Vec<Ca> {
    let (authority, signer) = (region(number), signer % 2);
    let root = |root: u8| {
        let phase = if root == signer { Phase::Active } else { Phase::Introduced };
        Ca { phase, authority, ..ca(root) }
    };
    let issuing = ca(2 * ROOTS + 2 * signer + number % 2);
    vec![root(0), root(1), Ca { phase: Phase::Active, ..issuing }]
}

pub(crate) fn ctx(now: Millis) -> Ctx {
    Ctx { now, id: EntityId::placement(), rule_version: 1 }
}

fn by() -> impl Strategy<Value = String> {
    "[abc]"
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => (0_u8..2, prop_oneof![4 => Just(0_u8), 1 => Just(1)])
            .prop_map(|(region, signer)| Change::Adopt { region, signer }),
        8 => (0..AUTHORITIES, by()).prop_map(|(number, by)| Change::Introduce { number, by }),
        24 => (any::<u8>(), step(), by(), any::<bool>()).prop_map(
            |(nth, step, by, second_person)| Change::Rotate { nth, step, by, second_person }
        ),
        12 => by().prop_map(|by| Change::Agree { by }),
        8 => (0_u64..3, prop_oneof![4 => Just(0_u64), 1 => 0_u64..4])
            .prop_map(|(node, behind)| Change::Acknowledge { node, behind }),
        1 => (0_u64..4, by()).prop_map(|(node, by)| Change::Forget { node, by }),
        3 => any::<u8>().prop_map(Change::Repeat),
    ]
}

/// Changes, each with the milliseconds that pass before it; now and then a clock is set back.
pub(crate) fn changes() -> impl Strategy<Value = Vec<(Change, i64)>> {
    let (day, week) = (DAY_MS.cast_signed(), WEEK_MS.cast_signed());
    let pause = prop_oneof![
        16 => 0_i64..20_000,
        4 => Just(day),
        2 => week - 1..week + 2,
        1 => -day..0,
    ];
    vec((change(), pause), 0..100).prop_map(|mut changes| {
        changes.insert(0, (Change::Adopt { region: 0, signer: 0 }, 0));
        changes
    })
}

impl Life {
    pub(crate) fn run(changes: &[(Change, i64)]) -> Self {
        let mut life = Self::default();
        for (change, pause_ms) in changes {
            life.now.0 = life.now.0.saturating_add_signed(*pause_ms);
            let command = life.command(change);
            // What is refused is kept with the rest.
            let _ = life.ask(command);
        }
        life
    }

    pub(crate) fn ask(&mut self, command: Command) -> Result<(), Rejection> {
        let (at, before) = (self.now, self.state.clone());
        let answer = self.state.decide(&command, &ctx(at));
        let mut effects = Vec::new();
        for event in answer.iter().flatten() {
            self.state.evolve(event);
            effects.extend(self.state.react(event, EntityId::placement()));
        }
        let after = self.state.clone();
        let result = answer.clone().map(|_| ());
        self.happened.push(Happened { at, command, before, answer, after, effects });
        result
    }

    fn command(&self, change: &Change) -> Command {
        match change {
            Change::Adopt { region, signer } => Command::Adopt(founding(*region, *signer)),
            // Where it stands is not for an operator to say.
            Change::Introduce { number, by } => {
                let (phase, epoch, compromised) = (Phase::Active, 99, true);
                let ca = Ca { phase, epoch, compromised, ..ca(*number) };
                Command::Introduce { ca, by: by.clone() }
            }
            Change::Rotate { nth, step, by, second_person } => {
                let known = self.state.bundle.cas.iter().map(|ca| ca.fingerprint);
                let fingerprint = world::nth(known, usize::from(*nth)).filter(|_| *nth < 250);
                Command::Rotate(Wanted {
                    fingerprint: fingerprint.unwrap_or([0xee; 32]),
                    step: *step,
                    by: by.clone(),
                    second_person: *second_person,
                })
            }
            Change::Agree { by } => {
                let waits = self.state.bundle.proposal.as_ref();
                let waits = waits.map(|proposal| (proposal.fingerprint, proposal.step));
                let newest = self.newest().map(|ca| (ca.fingerprint, Step::Activate));
                let (fingerprint, step) =
                    waits.or(newest).unwrap_or((fingerprint(0), Step::Rollback));
                Command::Rotate(Wanted { fingerprint, step, by: by.clone(), second_person: true })
            }
            Change::Acknowledge { node, behind } => {
                let epoch = self.state.bundle.epoch;
                // Now and then more than there is.
                let epoch = if *behind == 3 { epoch + 3 } else { epoch.saturating_sub(*behind) };
                Command::Acknowledge { node: *node, epoch }
            }
            Change::Forget { node, by } => Command::ForgetNode { node: *node, by: by.clone() },
            Change::Repeat(nth) => {
                let asked = self.happened.iter().map(|happened| &happened.command);
                let command = world::nth(asked, usize::from(*nth)).cloned();
                command.unwrap_or(Command::Adopt(vec![]))
            }
        }
    }

    /// The last one that signs nothing yet.
    fn newest(&self) -> Option<&Ca> {
        let mut cas = self.state.bundle.cas.iter().rev();
        cas.find(|ca| ca.phase == Phase::Introduced)
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = (&Happened, &Event)> {
        self.happened.iter().flat_map(|happened| {
            happened.answer.iter().flatten().map(move |event| (happened, event))
        })
    }

    /// What happened, in short.
    pub(crate) fn story(&self) -> String {
        self.events().fold(String::new(), |mut story, (happened, event)| {
            let told = match event {
                Event::Introduced { cas, by } => {
                    let numbers = Vec::from_iter(cas.iter().map(|ca| ca.fingerprint[0]));
                    format!("{by:?} introduces {numbers:?}")
                }
                Event::Proposed(Proposal { fingerprint, step, by, .. }) => {
                    format!("{by:?} wants {step:?} of {}", fingerprint[0])
                }
                Event::Moved { moves, by, .. } => {
                    let moves = moves.iter().map(|one| (one.fingerprint[0], one.from, one.to));
                    format!("{by:?} moves {:?}", Vec::from_iter(moves))
                }
                event => format!("{event:?}"),
            };
            writeln!(story, "{} ms: {told}", happened.at.0).unwrap();
            story
        })
    }
}
