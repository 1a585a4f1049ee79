//! The laws of the domain, against random schedules: who holds a ticket, what is final, what is
//! repeatable, what replays, who is chosen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "laws/alone.rs"]
mod alone;
#[path = "laws/arbitrary.rs"]
mod arbitrary;
#[path = "laws/choosing.rs"]
mod choosing;
#[path = "laws/commands.rs"]
mod commands;
#[path = "laws/dispatch.rs"]
mod dispatch;
#[path = "laws/events.rs"]
mod events;
#[path = "laws/saga.rs"]
mod saga;
#[path = "laws/schedule.rs"]
mod schedule;
#[path = "laws/world.rs"]
mod world;

use alone::{any_log_replays, asked_stays_short, each_twice, no_token_is_spent_twice, some_ticket};
use commands::{customer_command, desk_command, technician_command, ticket_command};
use events::{customer_event, desk_event, technician_event, ticket_event};
use fieldmesh_domain::{
    customer::{self, Customer},
    desk::Desk,
    technician::{self, Technician},
    ticket::Ticket,
};
use proptest::{collection::vec, prelude::*};
use schedule::{hands, steps, steps_with_repeats};
use world::World;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Commands, each with the milliseconds that pass before it.
fn schedule<T: core::fmt::Debug>(
    command: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(T, u64)>> {
    vec((command, 0_u64..20_000), 0..80)
}

proptest! {
    #![proptest_config(cases(6000))]

    /// At most one holder, closed is final, each waiting stage has a deadline, replay equals live.
    #[test]
    fn a_world_keeps_its_laws_and_comes_to_rest(hands in hands(), steps in steps()) {
        let mut world = World::new(&hands);
        world.run(&steps);
        world.deliver_all();
        world.all_agree();
        world.converges();
        world.all_agree();
        world.replay_equals_live();
    }

    #[test]
    fn what_arrives_again_breaks_no_law(hands in hands(), steps in steps_with_repeats()) {
        let mut world = World::new(&hands);
        world.run(&steps);
        world.replay_equals_live();
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_repeated_command_yields_no_event_at_a_customer(
        commands in schedule(customer_command()),
    ) {
        let events = each_twice::<Customer>(world::customer(0), &commands);
        no_token_is_spent_twice(events.iter().filter_map(|event| match event {
            customer::Event::Enrollment(change) => Some(change),
            _ => None,
        }));
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_technician(
        commands in schedule(technician_command()),
    ) {
        let events = each_twice::<Technician>(world::technician(0), &commands);
        no_token_is_spent_twice(events.iter().filter_map(|event| match event {
            technician::Event::Enrollment(change) => Some(change),
            _ => None,
        }));
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_ticket(commands in schedule(ticket_command())) {
        each_twice::<Ticket>(some_ticket(), &commands);
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_desk(commands in schedule(desk_command())) {
        each_twice::<Desk>(world::desk(), &commands);
    }

    #[test]
    fn any_log_of_a_customer_replays(events in vec(customer_event(), 0..60)) {
        any_log_replays::<Customer>(world::customer(0), &events);
    }

    #[test]
    fn any_log_of_a_technician_replays(events in vec(technician_event(), 0..60)) {
        any_log_replays::<Technician>(world::technician(0), &events);
    }

    #[test]
    fn any_log_of_a_ticket_replays(events in vec(ticket_event(), 0..600)) {
        asked_stays_short(&any_log_replays::<Ticket>(some_ticket(), &events));
    }

    #[test]
    fn any_log_of_a_desk_replays(events in vec(desk_event(), 0..60)) {
        any_log_replays::<Desk>(world::desk(), &events);
    }
}
