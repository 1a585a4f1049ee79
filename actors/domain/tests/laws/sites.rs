//! Where the desk believes a ticket to be that a technician has: from there it reckons the way to the next one.
//!
//! **Not here:** the place of one that nobody has, which is in the question (`orders`, `resting`).

use fieldmesh_domain::{
    EntityId,
    message::{Act, Amendment, Location},
    technician::Skill,
    ticket::{Order, Stage},
};

use crate::world::{Hand, World, customer, technician};

const THERE: Location = Location { lat_e6: 0, lon_e6: 50_000 };

fn sites(world: &World) -> Vec<(EntityId, Location)> {
    world.desk.state.technicians[&technician(0)].sites.clone().unwrap_or_default()
}

fn amend(text: Option<&str>, location: Option<Location>) -> Order {
    Order::Amend(Amendment { text: text.map(Into::into), priority: None, location })
}

#[test]
fn the_desk_hears_where_a_ticket_is_that_somebody_has() {
    let skills = vec![Skill::new(1, 1)];
    let mut world = World::gathering(&[Hand { capacity: 2, skills, lon_e6: 10_000 }]);
    let first = world.asks(1, 3);
    world.deliver_all();
    world.accepts(0, first, 1);
    world.deliver_all();
    let second = world.asks(1, 3);
    world.deliver_all();
    assert_eq!(world.stands(first).0, Stage::Accepted);
    assert_eq!(world.stands(second), (Stage::Offered, Some(technician(0)), 1));
    let here = Location::default();
    assert_eq!(sites(&world), [(first, here), (second, here)]);
    // In the order in which they were given, as ever.
    world.order(first, amend(None, Some(THERE)));
    world.deliver_all();
    assert_eq!(sites(&world), [(first, THERE), (second, here)]);
    world.act(customer(1), second, Act::Amend { text: None, location: Some(THERE) });
    world.deliver_all();
    assert_eq!(sites(&world), [(first, THERE), (second, THERE)]);
    let events = world.desk.events.len();
    world.order(first, amend(Some("it leaks more"), None));
    world.order(first, amend(Some("it leaks much"), Some(THERE)));
    world.deliver_all();
    assert_eq!(world.desk.events.len(), events, "it is where it was");
    world.all_agree();
    world.order(first, Order::Cancel { reason: "it stopped".into() });
    world.deliver_all();
    assert_eq!(sites(&world), [(second, THERE)]);
    world.all_agree();
    world.replay_equals_live();
}
