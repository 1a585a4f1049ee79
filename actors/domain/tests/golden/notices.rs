//! What a notifier is told, writes down and lists.

use fieldmesh_domain::{
    EntityId, IndexRow,
    effect::RowKey,
    notifier::{
        Command, Delivery, Event, Notice, Notifier, Outcome, Pending, Recipient, Settled,
        Subscription, What,
    },
    ticket::Stage,
};

use crate::{MESSAGE, NOON, are_frozen, hex, ticket};

fn notice() -> Notice {
    Notice {
        id: MESSAGE,
        to: Recipient::Subscribers,
        ticket: ticket(),
        what: What::Accepted,
        priority: 2,
        stage: Stage::Accepted,
        at: NOON,
        detail: "so".into(),
    }
}

fn hook() -> Recipient {
    Recipient::Webhook("crm".into())
}

fn settled(outcome: Outcome) -> Settled {
    Settled { number: 7, attempt: 2, outcome }
}

fn notifier() -> EntityId {
    EntityId::notifier("eu1".parse().unwrap())
}

#[test]
fn commands() {
    let reason = || "500".to_owned();
    let person = Recipient::Person("eve".into());
    are_frozen(&[
        ("82008188<msg>820280<tkt>040206<noon>62736f", Command::Tell(notice())),
        (
            "82018184830702820080830702820180830702820282<noon>6335303083070282038163353030",
            Command::Settle(vec![
                settled(Outcome::Sent),
                settled(Outcome::Delivered),
                settled(Outcome::Failed { next: NOON, reason: reason() }),
                settled(Outcome::Dead { reason: reason() }),
            ]),
        ),
        ("82028107", Command::Replay { number: 7 }),
        (
            "8203820381828201816365766511",
            Command::Targets { version: 3, targets: vec![Subscription { to: person, kinds: 17 }] },
        ),
        ("8204828200816363726d63353030", Command::Close { to: hook(), reason: reason() }),
        ("8205818200816363726d", Command::Open { to: hook() }),
    ]);
}

#[test]
fn events() {
    let reason = || "410".to_owned();
    let targets = vec![Subscription { to: hook(), kinds: 17 }];
    are_frozen(&[
        (
            "820084078200816363726d88<msg>820280<tkt>040206<noon>62736f<noon>",
            Event::Told { number: 7, to: hook(), notice: notice(), at: NOON },
        ),
        ("820182830702820080<noon>", Event::Settled { settled: settled(Outcome::Sent), at: NOON }),
        ("82028207<noon>", Event::Replayed { number: 7, at: NOON }),
        ("82038107", Event::Forgotten { number: 7 }),
        ("8204820381828200816363726d11", Event::TargetsChanged { version: 3, targets }),
        (
            "8205838200816363726d63343130<noon>",
            Event::Closed { to: hook(), reason: reason(), at: NOON },
        ),
        ("8206818200816363726d", Event::Opened { to: hook() }),
    ]);
}

#[test]
fn of_a_notifier() {
    let busy = Notifier {
        last: 9,
        pending: [(9, Pending { to: hook(), attempts: 1, is_open: true })].into(),
        waiting: [(hook(), 1)].into(),
        delivered: [7].into(),
        dead: [(8, hook())].into(),
        seen: [MESSAGE.into()].into(),
        seen_before: [].into(),
        version: 3,
        targets: vec![Subscription { to: hook(), kinds: 17 }],
        closed: [(hook(), "410".into())].into(),
    };
    are_frozen(&[
        ("8a00a0a080a080800080a0", Notifier::default()),
        (
            "8a09a109838200816363726d01f5a18200816363726d018107a1088200816363726d81<msg>800381828200816363726d11a18200816363726d63343130",
            busy,
        ),
    ]);
}

#[test]
fn rows() {
    let (id, number) = (notifier(), 7);
    let delivery = IndexRow::Delivery {
        id,
        number,
        state: Delivery::Failed,
        attempts: 2,
        at: NOON,
        next: NOON,
        reason: "500".into(),
    };
    let RowKey { kind, name } = RowKey::notice(id, number);
    assert_eq!(
        (kind, hex(&name).as_str()),
        (7, "65753100c40000000000000000000000000000000000000700")
    );
    let told = IndexRow::Notice { id, number, to: hook(), notice: notice() };
    assert_eq!(told.key(), RowKey::notice(id, number));
    assert_eq!(delivery.key(), RowKey::delivery(id, number));
    let gone = IndexRow::Gone { id, kind, name };
    assert_eq!(gone.key(), told.key());
    are_frozen(&[
        (
            "8210845065753100c40000000000000000000000078200816363726d88<msg>820280<tkt>040206<noon>62736f",
            told,
        ),
        ("8211875065753100c40000000000000000000000070302<noon><noon>63353030", delivery),
        (
            "8212835065753100c4000000000000000000000007581965753100c40000000000000000000000000000000000000700",
            gone,
        ),
    ]);
}
