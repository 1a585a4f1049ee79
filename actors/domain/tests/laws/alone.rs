//! What must hold of each aggregate by itself: repetitions, final stages, replay, any log.

use fieldmesh_domain::{
    Aggregate, Ctx, EntityId,
    customer::{self, Customer, Standing},
    desk::{self, Desk},
    enrollment::Change,
    technician::{self, Technician},
    ticket::{self, Stage, Ticket},
    time::Millis,
};

use crate::world::{self, Lived, through_bytes};

/// Longest list of technicians that a ticket keeps.
const ASKED_MAX: usize = 64;

/// Asks one entity each command twice; the second time changes nothing, whatever the first did.
/// Returns the events.
pub(crate) fn each_twice<A: Laws>(id: EntityId, commands: &[(A::Command, u64)]) -> Vec<A::Event>
where
    A::Command: PartialEq,
{
    let mut lived = Lived::<A>::default();
    let mut ctx = Ctx { now: Millis(0), id, rule_version: 1 };
    for (command, pause_ms) in commands {
        assert_eq!(&through_bytes(command), command);
        ctx.now.0 += pause_ms;
        let before = lived.state.clone();
        if lived.ask(command, &ctx).is_err() {
            continue;
        }
        lived.state.moved_lawfully(&before);
        let (after, count) = (lived.state.clone(), lived.events.len());
        lived.ask(command, &ctx).unwrap();
        assert_eq!(lived.state, after, "{command:?} again");
        let again = &lived.events[count..];
        assert!(again.iter().all(A::is_note), "{command:?} again: {again:?}");
    }
    lived.replay_equals_live();
    lived.events
}

/// Moves a state by any events; it neither panics nor becomes unreadable.
pub(crate) fn any_log_replays<A: Aggregate>(id: EntityId, events: &[A::Event]) -> A {
    let mut state = A::default();
    for event in events {
        assert_eq!(&through_bytes(event), event);
        state.evolve(event);
        drop(state.react(event, id));
    }
    assert_eq!(through_bytes(&state), state);
    state
}

/// What a single step must keep.
pub(crate) trait Laws: Aggregate {
    fn moved_lawfully(&self, before: &Self);

    /// Tells the asker once more and changes nothing.
    fn is_note(event: &Self::Event) -> bool;
}

impl Laws for Customer {
    fn moved_lawfully(&self, before: &Self) {
        let enrolled = self.enrollment.issued.is_some();
        assert!(enrolled || !matches!(self.standing, Standing::Enrolled | Standing::Active));
        assert!(self.enrollment.bundle_serial >= before.enrollment.bundle_serial);
    }

    fn is_note(_: &customer::Event) -> bool {
        false
    }
}

impl Laws for Technician {
    fn moved_lawfully(&self, before: &Self) {
        assert!(self.holdings.len() <= usize::from(self.capacity));
        assert!(self.enrollment.bundle_serial >= before.enrollment.bundle_serial);
        for (ticket, held) in &self.holdings {
            if let Some(earlier) = before.holdings.get(ticket) {
                assert!(held.offer >= earlier.offer, "{ticket}");
                assert!(held.offer > earlier.offer || held.phase >= earlier.phase, "{ticket}");
            }
        }
    }

    fn is_note(event: &technician::Event) -> bool {
        matches!(event, technician::Event::Refused { .. } | technician::Event::AnswerNoted { .. })
    }
}

impl Laws for Ticket {
    fn moved_lawfully(&self, before: &Self) {
        let step = (before.stage, self.stage);
        assert!(!before.stage.is_final() || self.stage == before.stage, "{step:?}");
        let back = [
            (Stage::EnRoute, Stage::Accepted),
            (Stage::OnSite, Stage::Accepted),
            (Stage::OnSite, Stage::EnRoute),
        ];
        assert!(!back.contains(&step), "{step:?}");
        assert!(self.epoch >= before.epoch && self.epoch - before.epoch <= 1);
        assert!(self.question >= before.question);
    }

    fn is_note(event: &ticket::Event) -> bool {
        matches!(event, ticket::Event::LateAcceptRefused { .. })
    }
}

impl Laws for Desk {
    fn moved_lawfully(&self, _: &Self) {
        for (id, known) in &self.technicians {
            let given = self.given.values().filter(|technician| *technician == id).count();
            assert_eq!(usize::from(known.load), given, "{id}");
        }
        assert!(self.given.keys().eq(self.answered.keys()));
    }

    fn is_note(event: &desk::Event) -> bool {
        matches!(event, desk::Event::NobodyFits { .. })
    }
}

/// A token that was just spent is never spent again.
pub(crate) fn no_token_is_spent_twice<'a>(changes: impl Iterator<Item = &'a Change>) {
    let spent: Vec<[u8; 32]> = changes
        .filter_map(|change| match change {
            Change::Enrolled(issued) => Some(issued.token_hash),
            Change::Invited(_) | Change::KeysPublished { .. } => None,
        })
        .collect();
    assert!(spent.windows(2).all(|pair| pair[0] != pair[1]), "{spent:?}");
}

pub(crate) fn asked_stays_short(ticket: &Ticket) {
    assert!(ticket.asked.len() <= ASKED_MAX);
}

pub(crate) fn some_ticket() -> EntityId {
    EntityId::ticket_of(world::customer(0), [0; 16])
}
