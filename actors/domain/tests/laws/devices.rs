//! Devices are lost and found: who is served meanwhile, and who is asked.

use std::collections::BTreeMap;

use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::{
    Ctx, EntityId, RejectionCode,
    customer::{self, Customer, Standing},
    message::Location,
    selection::Exclusion,
    technician::Skill,
    ticket::{Event, RefusalReason, Stage},
    time::Millis,
};

use crate::world::{Hand, Lived, World, customer, technician};

/// Technicians of one skill, ever farther away.
fn opened(technicians: usize) -> World {
    let skills = vec![Skill::new(1, 1)];
    let hands = [10_000, 20_000].map(|lon_e6| Hand { capacity: 1, skills: skills.clone(), lon_e6 });
    World::new(&hands[..technicians])
}

impl World {
    fn with(&self, ticket: EntityId) -> (Stage, Option<EntityId>) {
        let ticket = &self.tickets[&ticket].state;
        (ticket.stage, ticket.technician)
    }
}

#[test]
fn a_lost_device_gets_no_offer_until_it_is_found() {
    let mut world = opened(1);
    world.device(technician(0), false);
    world.deliver_all();
    let ticket = world.request(0, 1, 1);
    world.deliver_all();
    assert_eq!(world.with(ticket), (Stage::Unfilled, None));
    let Some(Event::Unfilled { choice, .. }) = world.tickets[&ticket].events.last() else {
        panic!("{:?}", world.tickets[&ticket].events);
    };
    let excluded = choice.excluded.iter().copied().collect::<BTreeMap<_, _>>();
    assert_eq!(excluded, BTreeMap::from([(technician(0), Exclusion::OffShift)]));
    world.device(technician(0), true);
    world.deliver_all();
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.with(ticket), (Stage::Offered, Some(technician(0))));
}

#[test]
fn an_offer_that_crosses_the_loss_goes_to_the_next_best() {
    let mut world = opened(2);
    let ticket = world.request(0, 1, 1);
    // The desk knows nothing of it yet when it chooses.
    world.device(technician(0), false);
    world.deliver(customer(0), ticket);
    let desk = EntityId::desk(ticket.region());
    world.deliver(ticket, desk);
    world.deliver(desk, ticket);
    assert_eq!(world.with(ticket), (Stage::Offered, Some(technician(0))));
    world.deliver_all();
    assert_eq!(world.with(ticket), (Stage::Offered, Some(technician(1))));
    let reason = RefusalReason::NoDevice;
    let refused = Event::OfferRefused { technician: technician(0), reason };
    assert!(world.tickets[&ticket].events.contains(&refused));
    assert_eq!(world.alerts(technician(0)), []);
}

#[test]
fn a_customer_without_a_device_asks_for_nothing() {
    let mut world = opened(1);
    let ticket = world.request(0, 1, 1);
    world.deliver_all();
    let standing = |world: &World| world.customers[&customer(0)].state.standing;
    assert_eq!(standing(&world), Standing::Active);
    world.device(customer(0), false);
    assert_eq!(standing(&world), Standing::Invited);
    let refused = world.request(0, 1, 1);
    world.deliver_all();
    assert!(!world.tickets.contains_key(&refused));
    assert!(world.customers[&customer(0)].state.open.contains(&ticket));
    world.device(customer(0), true);
    assert_eq!(standing(&world), Standing::Active);
}

#[test]
fn who_is_suspended_stays_so_whatever_becomes_of_the_device() {
    let mut lived = Lived::<Customer>::default();
    let ctx = Ctx { now: Millis(0), id: customer(0), rule_version: 1 };
    let mut ask = |command| {
        lived.ask(&command, &ctx).unwrap();
        lived.state.standing
    };
    let keys = || customer::Command::PublishKeys { serial: 1, bundle: vec![1] };
    let (name, location) = ("Ada".to_owned(), Location::default());
    let register = customer::Command::Register { name, location, tier: 1, zone: None };
    assert_eq!(ask(register), Standing::Invited);
    assert_eq!(ask(keys()), Standing::Enrolled);
    assert_eq!(ask(customer::Command::Suspend { by: None }), Standing::Suspended);
    assert_eq!(ask(customer::Command::LoseDevice), Standing::Suspended);
    assert_eq!(ask(customer::Command::Resume { by: None }), Standing::Invited);
    assert_eq!(ask(customer::Command::Suspend { by: None }), Standing::Suspended);
    assert_eq!(ask(keys()), Standing::Suspended);
    assert_eq!(ask(customer::Command::Resume { by: None }), Standing::Active);
}

#[test]
fn older_and_larger_key_bundles_are_refused() {
    let mut lived = Lived::<Customer>::default();
    let ctx = Ctx { now: Millis(0), id: customer(0), rule_version: 1 };
    let (name, location) = ("Ada".to_owned(), Location::default());
    lived.ask(&customer::Command::Register { name, location, tier: 1, zone: None }, &ctx).unwrap();
    let mut publish = |serial, bytes| {
        let command = customer::Command::PublishKeys { serial, bundle: vec![0; bytes] };
        let refusal = lived.ask(&command, &ctx).err().map(|rejection| rejection.code);
        (refusal, lived.state.device.bundle_serial)
    };
    assert_eq!(publish(3, 4096), (None, 3));
    assert_eq!(publish(4, 4097), (Some(RejectionCode::Invalid), 3));
    assert_eq!(publish(2, 1), (Some(RejectionCode::Invalid), 3));
    assert_eq!(publish(3, 1), (None, 3));
    assert_eq!(publish(4, 1), (None, 4));
}

/// A customer without its zone is not what was asked for: there is no step between the two.
#[test]
fn a_customer_is_registered_with_its_zone_in_one_step() {
    let ctx = Ctx { now: Millis(0), id: customer(0), rule_version: 1 };
    let register = |zone: &str| customer::Command::Register {
        name: "Ada".into(),
        location: Location::default(),
        tier: 1,
        zone: Some((Zone::new(zone).unwrap(), "op".into())),
    };
    let mut lived = Lived::<Customer>::default();
    lived.ask(&register("Europe/Berlin"), &ctx).unwrap();
    let zone = Some(Zone::new("Europe/Berlin").unwrap());
    assert_eq!((lived.events.len(), &lived.state.zone), (2, &zone));
    assert_eq!(lived.state.standing, Standing::Invited);
    // One that is there keeps its own.
    for again in ["Europe/Berlin", "Europe/Paris"] {
        lived.ask(&register(again), &ctx).unwrap();
    }
    assert_eq!((lived.events.len(), &lived.state.zone), (2, &zone));
}
