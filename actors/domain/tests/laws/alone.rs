//! What must hold of each aggregate by itself: repetitions, final stages, replay, any log.

use fieldmesh_domain::{
    Aggregate, Command, Ctx, Effect, EntityId, IndexRow,
    authority::{self, Authority},
    customer::{self, Customer, Standing},
    desk::{self, Desk},
    placement::{self, Placement},
    registration::{self, CERTIFICATES_MAX, Registration},
    technician::{self, Technician},
    ticket::{self, Stage, Ticket},
    time::Millis,
};

use crate::{
    dispatch::is_waiting,
    world::{self, Lived, through_bytes},
};

/// Longest list of technicians that a ticket keeps.
const ASKED_MAX: usize = 64;
/// Bytes of a signed head and what its tree goes on from.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

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
        assert_eq!(lived.state.uncounted(), after.uncounted(), "{command:?} again");
        let again = &lived.events[count..];
        assert!(again.iter().all(A::is_note), "{command:?} again: {again:?}");
    }
    lived.replay_equals_live();
    lived.events
}

/// Whatever a ticket is told: in a stage that waits its deadline runs, in one that does not none, and
/// the customer counts it open as long as it is.
pub(crate) fn waits_with_a_timer(commands: &[(ticket::Command, u64)]) {
    let mut lived = Lived::<Ticket>::default();
    let mut ctx = Ctx { now: Millis(0), id: some_ticket(), rule_version: 1 };
    let (mut timer, mut is_open) = (None, true);
    for (command, pause_ms) in commands {
        ctx.now.0 += pause_ms;
        for effect in lived.ask(command, &ctx).unwrap_or_default() {
            match effect {
                Effect::SetTimer { generation, due, .. } => timer = Some((generation, due)),
                Effect::CancelTimer { .. } => timer = None,
                Effect::Tell { command: Command::Customer(command), .. } => match command {
                    customer::Command::TicketClosed { .. } => is_open = false,
                    customer::Command::TicketReopened { .. } => is_open = true,
                    command => panic!("{command:?}"),
                },
                Effect::Tell { command: Command::Ticket(command), .. } => {
                    use ticket::Command::{ChildAsks, ChildLeaves, ParentSays};
                    let is_of_groups = matches!(
                        command,
                        ChildAsks { .. } | ChildLeaves { .. } | ParentSays { .. }
                    );
                    assert!(is_of_groups, "{command:?}");
                }
                _ => {}
            }
        }
        let Ticket { stage, generation, due, .. } = lived.state;
        assert_eq!(timer, is_waiting(stage).then_some((generation, due)), "{command:?}");
        assert_eq!(is_open, !stage.is_final(), "{command:?}");
    }
}

/// Nodes of an earlier release know every event that nobody ordered: the first sixteen.
pub(crate) fn what_nobody_ordered_is_known(commands: &[(ticket::Command, u64)]) {
    use ticket::{Command, Progress};
    let number = |bytes: Vec<u8>| bytes[1];
    let mut lived = Lived::<Ticket>::default();
    let mut ctx = Ctx { now: Millis(0), id: some_ticket(), rule_version: 1 };
    for (command, pause_ms) in commands {
        ctx.now.0 += pause_ms;
        let is_new = number(minicbor::to_vec(command).unwrap()) > 10;
        let says_new = matches!(
            command,
            Command::Progress { progress: Progress::Paused(_) | Progress::Resumed, .. }
        );
        let has_rules = matches!(command, Command::Open { triage: Some(_), .. });
        let marks = matches!(command, Command::Timer { marks: Some(_), .. });
        // A person asked for it again, under a key.
        let is_again = matches!(command, Command::Open { .. }) && lived.state.stage.is_final();
        if !is_new && !says_new && !has_rules && !marks && !is_again {
            drop(lived.ask(command, &ctx));
        }
    }
    for event in &lived.events {
        assert!(number(minicbor::to_vec(event).unwrap()) < 16, "{event:?}");
    }
    let bytes = minicbor::to_vec(&lived.state).unwrap();
    assert!(bytes[0] <= 0x8f, "it has a field that they do not know");
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

    /// Tells the asker once more and changes nothing, or only counts.
    fn is_note(event: &Self::Event) -> bool;

    /// The state without the number of notes.
    fn uncounted(&self) -> Self {
        self.clone()
    }
}

impl Laws for Customer {
    fn moved_lawfully(&self, before: &Self) {
        let is_served = matches!(self.standing, Standing::Enrolled | Standing::Active);
        if self.standing != Standing::Suspended {
            assert_eq!(self.device.present, is_served, "{:?}", self.standing);
        }
        assert!(self.device.bundle_serial >= before.device.bundle_serial);
    }

    /// Its ticket knows whether that is news.
    fn is_note(event: &customer::Event) -> bool {
        matches!(event, customer::Event::Resolved { by, .. } if by.acknowledges == Some(true))
    }
}

impl Laws for Technician {
    fn moved_lawfully(&self, before: &Self) {
        assert!(self.holdings.len() <= usize::from(self.capacity));
        assert!(self.device.bundle_serial >= before.device.bundle_serial);
        for (ticket, held) in &self.holdings {
            let offer = before.holdings.get(ticket).map(|earlier| earlier.offer);
            assert!(self.device.present || offer == Some(held.offer), "{ticket} without a device");
            let doubtful = self.review.as_ref().map(|review| &review.doubtful);
            assert!(
                doubtful.is_none_or(|all| all.keys().all(|one| self.holdings.contains_key(one)))
            );
            if let Some(earlier) = before.holdings.get(ticket) {
                assert!(held.offer >= earlier.offer, "{ticket}");
                assert!(held.offer > earlier.offer || held.phase >= earlier.phase, "{ticket}");
            }
        }
    }

    fn is_note(event: &technician::Event) -> bool {
        use technician::{Event, life::Step};
        matches!(
            event,
            Event::Refused { .. }
                | Event::AnswerNoted { .. }
                | Event::HeldTold { .. }
                | Event::Life(Step::ShiftRefused { .. } | Step::LateSwapRefused { .. })
        )
    }
}

impl Laws for Ticket {
    fn moved_lawfully(&self, before: &Self) {
        let step = (before.stage, self.stage);
        let is_again = step.1 == Stage::Matching && self.asked.is_empty();
        assert!(!before.stage.is_final() || self.stage == before.stage || is_again, "{step:?}");
        let back = [
            (Stage::EnRoute, Stage::Accepted),
            (Stage::OnSite, Stage::Accepted),
            (Stage::OnSite, Stage::EnRoute),
            (Stage::Paused, Stage::Accepted),
            (Stage::Paused, Stage::EnRoute),
        ];
        assert!(!back.contains(&step), "{step:?}");
        if matches!(self.stage, Stage::Matching | Stage::Unfilled | Stage::Held | Stage::Grouped) {
            assert_eq!(
                (self.technician, self.pinned, &self.pause),
                (None, None, &None),
                "{step:?}"
            );
        }
        assert_ne!(self.stage, Stage::Confirmed, "nobody would close it");
        assert!(self.stage != Stage::Grouped || self.parent.is_some());
        assert!(self.children.as_ref().is_none_or(|children| children.len() <= 256));
        assert!((1..=5).contains(&self.priority) || self.stage == Stage::Unknown);
        let notes = self.notes.clone().unwrap_or_default();
        assert!(notes.count >= before.notes.as_ref().map_or(0, |notes| notes.count));
        assert!(notes.last.len() <= 16 && notes.last.is_sorted_by_key(|note| note.number));
        assert!(self.epoch >= before.epoch);
        assert!(self.question >= before.question);
    }

    fn is_note(event: &ticket::Event) -> bool {
        use ticket::Event;
        matches!(
            event,
            Event::LateAcceptRefused { .. }
                | Event::Kept { .. }
                | Event::Adopted { .. }
                | Event::OrderRefused { .. }
                | Event::ChildAnswered { .. }
        )
    }
}

impl Laws for Desk {
    fn moved_lawfully(&self, _: &Self) {
        for (id, known) in &self.technicians {
            let given = self.given.values().filter(|technician| *technician == id).count();
            assert_eq!(usize::from(known.load), given, "{id}");
        }
        assert!(self.given.keys().eq(self.answered.keys()));
        let Some(board) = &self.board else { return };
        assert!(board.waiting.keys().all(|ticket| !self.given.contains_key(ticket)));
        assert!(board.offers.keys().all(|ticket| self.given.contains_key(ticket)));
    }

    fn is_note(event: &desk::Event) -> bool {
        use desk::Event;
        matches!(event, Event::NobodyFits { .. } | Event::Compared { like: Some(_), .. })
    }

    fn uncounted(&self) -> Self {
        let mut state = self.clone();
        for claimed in state.claims.iter_mut().flat_map(|claims| claims.joined.values_mut()) {
            claimed.children = 0;
        }
        state
    }
}

impl Laws for Registration {
    fn moved_lawfully(&self, before: &Self) {
        assert!(self.issued.len() <= CERTIFICATES_MAX);
        assert!(self.issued.len() <= before.issued.len() + 1);
        assert!(before.profile.is_none() || self.profile == before.profile);
        assert!(before.profile.is_none() || self.device == before.device);
        assert!(self.requests == before.requests || self.requests == before.requests + 1);
        if self.banned {
            assert_eq!((&self.token, &self.request, self.newest()), (&None, &None, None));
            assert!(self.issued.iter().all(|issued| issued.revoked.is_some()));
        }
        for old in before.issued.iter().filter(|old| old.revoked.is_some()) {
            let known = self.by_serial(&old.serial);
            assert!(known.is_none_or(|known| known.revoked == old.revoked), "{:?}", old.serial);
        }
    }

    fn is_note(_: &registration::Event) -> bool {
        false
    }
}

impl Laws for Authority {
    fn moved_lawfully(&self, before: &Self) {
        assert!(self.size == before.size || self.size == before.size + 1);
        assert!(self.high_water >= before.high_water);
        let covered = |authority: &Self| authority.head.as_ref().map(|head| head.size);
        assert!(covered(self) >= covered(before));
        assert!(covered(self).is_none_or(|size| size <= self.size), "ahead of its log");
        assert!(covered(self) > covered(before) || self.head == before.head);
    }

    fn is_note(event: &authority::Event) -> bool {
        matches!(event, authority::Event::Noted { .. })
    }

    fn uncounted(&self) -> Self {
        Self { size: 0, ..self.clone() }
    }
}

impl Laws for Placement {
    fn moved_lawfully(&self, before: &Self) {
        assert!(self.revoked == before.revoked || self.revoked == before.revoked + 1);
        let (known, earlier) = (&self.bundle, &before.bundle);
        // A region's roots may be introduced, and its first authority begin to sign, in one step.
        assert!((earlier.epoch..=earlier.epoch + 2).contains(&known.epoch));
        assert!(known.cas.len() >= earlier.cas.len());
        assert!(known.epoch > earlier.epoch || known.cas == earlier.cas);
    }

    fn is_note(event: &placement::Event) -> bool {
        matches!(event, placement::Event::Revoked { .. })
    }

    fn uncounted(&self) -> Self {
        Self { revoked: 0, ..self.clone() }
    }
}

/// Entries are numbered in their order, and none is missing.
pub(crate) fn numbers_have_no_gaps(events: &[authority::Event]) {
    let numbers = events.iter().filter_map(|event| match event {
        authority::Event::Noted { number, .. } => Some(*number),
        authority::Event::HeadSigned(_) => None,
    });
    let numbers = Vec::from_iter(numbers);
    let count = numbers.len() as u64;
    assert_eq!(numbers, Vec::from_iter(0..count));
}

pub(crate) fn heads_are_small(events: &[authority::Event]) {
    for event in events {
        if let authority::Event::HeadSigned(head) = event {
            assert!(head.signed.len() + head.frontier.len() <= HEAD_BYTES_MAX);
        }
    }
}

/// What is revoked is a row that each node reads.
pub(crate) fn each_is_listed(events: &[placement::Event]) {
    for event in events {
        let placement::Event::Revoked { issuer, serial, not_after, revocation } = *event else {
            continue;
        };
        let row = IndexRow::Revocation { issuer, serial, not_after, revocation };
        let effects = Placement::default().react(event, EntityId::placement());
        assert_eq!(effects, [Effect::Index(row)]);
    }
}

/// Whatever the clocks of those who noted it.
pub(crate) fn no_later_time_was_noted(authority: &Authority, events: &[authority::Event]) {
    let times = events.iter().filter_map(|event| match event {
        authority::Event::Noted { at, .. } => Some(*at),
        authority::Event::HeadSigned(_) => None,
    });
    assert_eq!(authority.high_water, times.max().unwrap_or_default());
}

pub(crate) fn asked_stays_short(ticket: &Ticket) {
    assert!(ticket.asked.len() <= ASKED_MAX);
}

pub(crate) fn some_ticket() -> EntityId {
    EntityId::ticket_of(world::customer(0), [0; 16])
}
