//! A notifier against any telling, settling and replaying: nothing is lost, nothing is two.
//!
//! **Not here:** that what is repeated changes nothing (`alone`), the bytes (`golden`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    Ctx, Effect, EntityId, IndexRow,
    effect::RowKey,
    notifier::{
        Command, Delivery, Event, KEPT_MAX, Notice, Notifier, Outcome, PENDING_EACH_MAX, Recipient,
        SETTLED_MAX, Settled, Subscription, What,
    },
    ticket::Stage,
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    alone::Laws,
    arbitrary::millis,
    world::{self, Lived},
};

pub(crate) fn notifier() -> EntityId {
    EntityId::notifier("eu1".parse().unwrap())
}

fn recipient() -> impl Strategy<Value = Recipient> {
    prop_oneof![
        1 => Just(Recipient::Webhook("a".into())),
        1 => Just(Recipient::Webhook("b".into())),
        1 => Just(Recipient::Person("a".into())),
        3 => Just(Recipient::Subscribers),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![Just(What::Opened), Just(What::Closed), Just(What::RuleFailed)]
}

fn notice() -> impl Strategy<Value = Notice> {
    (0_u8..6, recipient(), what(), millis()).prop_map(|(id, to, what, at)| Notice {
        id: [id; 16],
        to,
        ticket: world::id(fieldmesh_domain::EntityKind::Ticket, 1),
        what,
        priority: 2,
        stage: Stage::Matching,
        at,
        detail: "so".into(),
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Sent),
        2 => Just(Outcome::Delivered),
        2 => millis().prop_map(|next| Outcome::Failed { next, reason: "no".into() }),
        1 => Just(Outcome::Dead { reason: "never".into() }),
    ]
}

fn settled() -> impl Strategy<Value = Settled> {
    (1_u64..12, 0_u8..4, outcome()).prop_map(|(number, attempt, outcome)| Settled {
        number,
        attempt,
        outcome,
    })
}

fn targets() -> impl Strategy<Value = Vec<Subscription>> {
    let kinds = prop_oneof![Just(0), Just(What::Opened.bit()), Just(u64::MAX)];
    let to = recipient().prop_filter("a name", |to| *to != Recipient::Subscribers);
    vec((to, kinds).prop_map(|(to, kinds)| Subscription { to, kinds }), 0..3)
}

pub(crate) fn notifier_command() -> BoxedStrategy<Command> {
    prop_oneof![
        6 => notice().prop_map(Command::Tell),
        9 => vec(settled(), 1..4).prop_map(Command::Settle),
        2 => (1_u64..12).prop_map(|number| Command::Replay { number }),
        2 => (0_u64..9, targets())
            .prop_map(|(version, targets)| Command::Targets { version, targets }),
        1 => recipient().prop_map(|to| Command::Close { to, reason: "gone".into() }),
        1 => recipient().prop_map(|to| Command::Open { to }),
    ]
    .boxed()
}

pub(crate) fn notifier_event() -> BoxedStrategy<Event> {
    let at = millis;
    prop_oneof![
        (0_u64..12, recipient(), notice(), at()).prop_map(|(number, to, notice, at)| Event::Told {
            number,
            to,
            notice,
            at
        }),
        (settled(), at()).prop_map(|(settled, at)| Event::Settled { settled, at }),
        (0_u64..12, at()).prop_map(|(number, at)| Event::Replayed { number, at }),
        (0_u64..12).prop_map(|number| Event::Forgotten { number }),
        (0_u64..9, targets())
            .prop_map(|(version, targets)| Event::TargetsChanged { version, targets }),
        (recipient(), at()).prop_map(|(to, at)| Event::Closed { to, reason: "no".into(), at }),
        recipient().prop_map(|to| Event::Opened { to }),
    ]
    .boxed()
}

impl Laws for Notifier {
    fn moved_lawfully(&self, before: &Self) {
        let mut waiting = BTreeMap::new();
        for pending in self.pending.values() {
            *waiting.entry(pending.to.clone()).or_insert(0) += 1;
        }
        assert_eq!(self.waiting, waiting);
        assert!(self.waiting.values().all(|waiting| *waiting <= PENDING_EACH_MAX));
        assert!(self.delivered.len() <= KEPT_MAX && self.dead.len() <= KEPT_MAX);
        assert!(self.last >= before.last && self.version >= before.version);
        // What was delivered is not delivered again.
        assert!(before.delivered.iter().all(|number| !self.pending.contains_key(number)));
        // A number that was told is somewhere, and in one place.
        for number in 1..=self.last {
            let places = [
                self.pending.contains_key(&number),
                self.delivered.contains(&number),
                self.dead.contains_key(&number),
            ];
            assert_eq!(places.iter().filter(|is_there| **is_there).count(), 1, "{number}");
        }
    }

    fn is_note(_: &Event) -> bool {
        false
    }
}

/// What lists show of a notifier, from what its events lead to.
#[derive(Default)]
struct Listed(BTreeMap<Vec<u8>, IndexRow>);

impl Listed {
    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Index(row) = effect else { panic!("{effect:?}") };
            assert_eq!(row.id(), notifier());
            let RowKey { kind, name } = row.key();
            assert_eq!(kind, 7);
            match row {
                IndexRow::Gone { .. } => drop(self.0.remove(&name)),
                row => drop(self.0.insert(name, row)),
            }
        }
    }

    fn state(&self, number: u64) -> Delivery {
        match &self.0[&RowKey::delivery(notifier(), number).name] {
            IndexRow::Delivery { state, .. } => *state,
            row => panic!("{row:?}"),
        }
    }
}

/// Each notice is told to each of its recipients once, and the rows show where it stands.
pub(crate) fn is_told_once_and_listed(commands: &[(Command, u64)]) {
    let mut lived = Lived::<Notifier>::default();
    let mut ctx = Ctx { now: Millis(0), id: notifier(), rule_version: 1 };
    let (mut listed, mut told) = (Listed::default(), BTreeSet::new());
    for (command, pause_ms) in commands {
        ctx.now.0 += pause_ms;
        let before = lived.events.len();
        listed.take(lived.ask(command, &ctx).unwrap_or_default());
        for event in &lived.events[before..] {
            if let Event::Told { to, notice, .. } = event {
                assert!(*to != Recipient::Subscribers);
                assert!(told.insert((notice.id, to.clone())), "{event:?}");
            }
        }
    }
    let Notifier { pending, delivered, dead, last, .. } = &lived.state;
    assert_eq!(listed.0.len() as u64, 2 * last);
    for (number, pending) in pending {
        let state = listed.state(*number);
        assert!(state.is_pending());
        assert_eq!(state == Delivery::Sent, pending.is_open);
        assert!(pending.attempts > 0 || state == Delivery::Queued);
    }
    assert!(delivered.iter().all(|number| listed.state(*number) == Delivery::Delivered));
    assert!(dead.keys().all(|number| listed.state(*number) == Delivery::Dead));
}

fn notice_of(id: u16, to: Recipient) -> Notice {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    let ticket = world::id(fieldmesh_domain::EntityKind::Ticket, 1);
    let (what, stage, at) = (What::Opened, Stage::Received, Millis(1));
    Notice { id: bytes, to, ticket, what, priority: 1, stage, at, detail: String::new() }
}

fn asked(lived: &mut Lived<Notifier>, command: &Command) -> Vec<Effect> {
    let ctx = Ctx { now: Millis(5), id: notifier(), rule_version: 1 };
    lived.ask(command, &ctx).unwrap()
}

#[test]
fn a_full_target_loses_nothing_and_takes_nobody_elses_place() {
    let (full, other) = (Recipient::Webhook("full".into()), Recipient::Webhook("other".into()));
    let mut lived = Lived::<Notifier>::default();
    for id in 0..PENDING_EACH_MAX as u16 + 3 {
        asked(&mut lived, &Command::Tell(notice_of(id, full.clone())));
    }
    assert_eq!(lived.state.waiting[&full], PENDING_EACH_MAX);
    assert_eq!(lived.state.dead.len(), 3);
    asked(&mut lived, &Command::Tell(notice_of(9000, other.clone())));
    assert_eq!(lived.state.waiting[&other], 1);
    // There is room again, and the dead are replayed.
    let settle = |outcome| Command::Settle(vec![Settled { number: 1, attempt: 1, outcome }]);
    asked(&mut lived, &settle(Outcome::Sent));
    asked(&mut lived, &settle(Outcome::Delivered));
    let dead = *lived.state.dead.keys().next().unwrap();
    asked(&mut lived, &Command::Replay { number: dead });
    assert!(lived.state.pending.contains_key(&dead) && lived.state.dead.len() == 2);
    lived.replay_equals_live();
}

#[test]
fn what_is_over_is_kept_for_a_while_and_its_rows_go() {
    let to = Recipient::Person("on-call".into());
    let (mut lived, mut listed) = (Lived::<Notifier>::default(), Listed::default());
    let many = 2 * KEPT_MAX as u64;
    for id in 0..many as u16 {
        listed.take(asked(&mut lived, &Command::Tell(notice_of(id, to.clone()))));
        let number = lived.state.last;
        for outcome in [Outcome::Sent, Outcome::Delivered] {
            let settled = vec![Settled { number, attempt: 1, outcome }];
            listed.take(asked(&mut lived, &Command::Settle(settled)));
        }
    }
    assert_eq!(lived.state.delivered.first(), Some(&(many - KEPT_MAX as u64 + 1)));
    assert_eq!(listed.0.len(), 2 * KEPT_MAX);
}

#[test]
fn a_closed_target_is_told_nothing_until_it_is_opened() {
    let hook = Recipient::Webhook("crm".into());
    let mut lived = Lived::<Notifier>::default();
    let targets = vec![Subscription { to: hook.clone(), kinds: What::Opened.bit() }];
    asked(&mut lived, &Command::Targets { version: 1, targets });
    asked(&mut lived, &Command::Close { to: hook.clone(), reason: "410 Gone".into() });
    asked(&mut lived, &Command::Tell(notice_of(1, Recipient::Subscribers)));
    assert!(lived.state.pending.is_empty() && lived.state.dead.len() == 1);
    asked(&mut lived, &Command::Open { to: hook });
    asked(&mut lived, &Command::Tell(notice_of(2, Recipient::Subscribers)));
    assert_eq!(lived.state.pending.len(), 1);
    let other = Notice { what: What::Closed, ..notice_of(3, Recipient::Subscribers) };
    assert_eq!(asked(&mut lived, &Command::Tell(other)), []);
}

#[test]
fn long_texts_are_cut_and_long_lists_refused() {
    let mut lived = Lived::<Notifier>::default();
    let to = Recipient::Webhook("a".into());
    let long = Notice { detail: "é".repeat(300), ..notice_of(1, to) };
    asked(&mut lived, &Command::Tell(long));
    let Event::Told { notice, .. } = &lived.events[0] else { panic!() };
    assert_eq!(notice.detail, "é".repeat(128));
    let ctx = Ctx { now: Millis(5), id: notifier(), rule_version: 1 };
    let one = Settled { number: 1, attempt: 1, outcome: Outcome::Sent };
    assert!(lived.ask(&Command::Settle(vec![one; SETTLED_MAX + 1]), &ctx).is_err());
    let nameless = notice_of(2, Recipient::Webhook(String::new()));
    assert!(lived.ask(&Command::Tell(nameless), &ctx).is_err());
    assert_eq!(What::ALL.map(|what| What::from_name(what.name())), What::ALL.map(Some));
}
