//! The laws of the domain, against random schedules: who holds a ticket, what is final, what is
//! repeatable, what replays, who is chosen, who gets a certificate, whose certificates are believed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "laws/allowances.rs"]
mod allowances;
#[path = "laws/alone.rs"]
mod alone;
#[path = "laws/arbitrary.rs"]
mod arbitrary;
#[path = "laws/areas.rs"]
mod areas;
#[path = "laws/arrival.rs"]
mod arrival;
#[path = "laws/astray.rs"]
mod astray;
#[path = "laws/attachments.rs"]
mod attachments;
#[path = "laws/bundles.rs"]
mod bundles;
#[path = "laws/called.rs"]
mod called;
#[path = "laws/choosing.rs"]
mod choosing;
#[path = "laws/commands.rs"]
mod commands;
#[path = "laws/devices.rs"]
mod devices;
#[path = "laws/dispatch.rs"]
mod dispatch;
#[path = "laws/documents.rs"]
mod documents;
#[path = "laws/enrolling.rs"]
mod enrolling;
#[path = "laws/events.rs"]
mod events;
#[path = "laws/evidence.rs"]
mod evidence;
#[path = "laws/founding.rs"]
mod founding;
#[path = "laws/gathering.rs"]
mod gathering;
#[path = "laws/grouped.rs"]
mod grouped;
#[path = "laws/intake.rs"]
mod intake;
#[path = "laws/jointly.rs"]
mod jointly;
#[path = "laws/life.rs"]
mod life;
#[path = "laws/meant.rs"]
mod meant;
#[path = "laws/members.rs"]
mod members;
#[path = "laws/notes.rs"]
mod notes;
#[path = "laws/notifying.rs"]
mod notifying;
#[path = "laws/orders.rs"]
mod orders;
#[path = "laws/parallel.rs"]
mod parallel;
#[path = "laws/people.rs"]
mod people;
#[path = "laws/places.rs"]
mod places;
#[path = "laws/policy.rs"]
mod policy;
#[path = "laws/promoted.rs"]
mod promoted;
#[path = "laws/queueing.rs"]
mod queueing;
#[path = "laws/reached.rs"]
mod reached;
#[path = "laws/reconciling.rs"]
mod reconciling;
#[path = "laws/records.rs"]
mod records;
#[path = "laws/registered.rs"]
mod registered;
#[path = "laws/registering.rs"]
mod registering;
#[path = "laws/resting.rs"]
mod resting;
#[path = "laws/rosters.rs"]
mod rosters;
#[path = "laws/rotating.rs"]
mod rotating;
#[path = "laws/rotations.rs"]
mod rotations;
#[path = "laws/ruled.rs"]
mod ruled;
#[path = "laws/saga.rs"]
mod saga;
#[path = "laws/schedule.rs"]
mod schedule;
#[path = "laws/sites.rs"]
mod sites;
#[path = "laws/slots.rs"]
mod slots;
#[path = "laws/spread.rs"]
mod spread;
#[path = "laws/swaps.rs"]
mod swaps;
#[path = "laws/terms.rs"]
mod terms;
#[path = "laws/withdrawn.rs"]
mod withdrawn;
#[path = "laws/world.rs"]
mod world;

use alone::{
    any_log_replays, asked_stays_short, each_is_listed, each_twice, heads_are_small,
    no_later_time_was_noted, numbers_have_no_gaps, some_ticket, waits_with_a_timer,
    what_nobody_ordered_is_known,
};
use bundles::changes;
use commands::{
    authority_command, customer_command, desk_command, placement_command, register,
    registration_command, technician_command, ticket_command,
};
use events::{
    authority_event, customer_event, desk_event, placement_event, registration_event,
    technician_event, ticket_event,
};
use fieldmesh_domain::{
    EntityId,
    authority::Authority,
    customer::Customer,
    desk::Desk,
    integration::Integration,
    notifier::Notifier,
    placement::Placement,
    registration::{self, Registration},
    technician::Technician,
    ticket::Ticket,
};
use proptest::{collection::vec, prelude::*};
use registering::{Life, moves, moves_with_repeats};
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

/// Registered first; each certificate with a serial number of its own.
fn numbered(
    first: registration::Command,
    rest: Vec<(registration::Command, u64)>,
) -> Vec<(registration::Command, u64)> {
    let mut serials = 0_u8..;
    let mut commands = vec![(first, 0)];
    commands.extend(rest);
    for (command, _) in &mut commands {
        if let registration::Command::Enroll(issued) = command {
            issued.serial = [serials.next().unwrap(); 16];
        }
    }
    commands
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

    /// Whatever rules say, nobody waits for ever, and at most one technician has a ticket.
    #[test]
    fn a_world_with_rules_keeps_its_laws(
        (hands, steps) in (hands(), steps()),
        triages in vec(arbitrary::triage(), 1..4),
    ) {
        let mut world = World::new(&hands);
        world.triages = triages;
        world.run(&steps);
        world.deliver_all();
        world.all_agree();
        world.converges();
        world.all_agree();
        world.replay_equals_live();
    }

    /// The same where tickets wait for each other and the most urgent take offers from others.
    #[test]
    fn a_world_that_gathers_keeps_its_laws_and_comes_to_rest(hands in hands(), steps in steps()) {
        let mut world = World::gathering(&hands);
        world.run(&steps);
        world.deliver_all();
        world.all_agree();
        world.converges();
        world.all_agree();
        world.only_offers_gave_way();
        world.replay_equals_live();
    }

    #[test]
    fn what_arrives_again_where_tickets_wait_breaks_no_law(
        hands in hands(), steps in steps_with_repeats(),
    ) {
        let mut world = World::gathering(&hands);
        world.run(&steps);
        world.only_offers_gave_way();
        world.replay_equals_live();
    }

    #[test]
    fn what_arrives_again_breaks_no_law(hands in hands(), steps in steps_with_repeats()) {
        let mut world = World::new(&hands);
        world.run(&steps);
        world.replay_equals_live();
    }

    /// The same of tickets that follow a policy, whatever it says: at most one technician has each.
    #[test]
    fn a_world_under_a_policy_keeps_its_laws(
        (hands, steps) in (hands(), steps()),
        policy in terms::any_policy(),
    ) {
        let mut world = World { policy: Some(policy), ..World::new(&hands) };
        world.run(&steps);
        world.deliver_all();
        world.all_agree();
        world.replay_equals_live();
    }
}

proptest! {
    #![proptest_config(cases(4000))]

    /// Each group goes on from another point of its own history, and all agree again.
    #[test]
    fn a_world_whose_histories_are_cut_agrees_again(
        (hands, steps) in (hands(), steps()),
        (cut, asking) in (promoted::cut(), promoted::asking()),
    ) {
        let mut world = promoted::lost(World::new(&hands), &steps, &cut);
        world.is_reconciled(&asking);
        world.doubts_end();
        world.agrees_again();
        world.converges();
        world.agrees_again();
        world.replay_equals_live();
    }

    #[test]
    fn a_world_that_gathers_and_whose_histories_are_cut_agrees_again(
        (hands, steps) in (hands(), steps()),
        (cut, asking) in (promoted::cut(), promoted::asking()),
    ) {
        let mut world = promoted::lost(World::gathering(&hands), &steps, &cut);
        world.is_reconciled(&asking);
        world.doubts_end();
        world.agrees_again();
        world.converges();
        world.agrees_again();
        world.replay_equals_live();
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_repeated_command_yields_no_event_at_a_customer(
        commands in schedule(customer_command()),
    ) {
        each_twice::<Customer>(world::customer(0), &commands);
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_technician(
        commands in schedule(technician_command()),
    ) {
        each_twice::<Technician>(world::technician(0), &commands);
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_ticket(commands in schedule(ticket_command())) {
        each_twice::<Ticket>(some_ticket(), &commands);
    }

    #[test]
    fn an_earlier_release_knows_what_nobody_ordered(commands in schedule(ticket_command())) {
        what_nobody_ordered_is_known(&commands);
    }

    #[test]
    fn a_ticket_that_waits_has_its_timer(commands in schedule(ticket_command())) {
        waits_with_a_timer(&commands);
    }

    #[test]
    fn alerts_only_go_forward(commands in schedule(ticket_command())) {
        reached::alerts_go_forward(&commands);
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_desk(commands in schedule(desk_command())) {
        each_twice::<Desk>(world::desk(), &commands);
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_notifier(
        commands in schedule(notifying::notifier_command()),
    ) {
        each_twice::<Notifier>(notifying::notifier(), &commands);
    }

    #[test]
    fn a_repeated_command_is_passed_on_and_changes_nothing_at_an_integration(
        commands in schedule(intake::integration_command()),
    ) {
        each_twice::<Integration>(intake::integration(), &commands);
    }

    #[test]
    fn any_log_of_an_integration_replays(events in vec(intake::integration_event(), 0..60)) {
        any_log_replays::<Integration>(intake::integration(), &events);
    }

    #[test]
    fn a_notice_is_told_once_and_listed(commands in schedule(notifying::notifier_command())) {
        notifying::is_told_once_and_listed(&commands);
    }

    #[test]
    fn any_log_of_a_notifier_replays(events in vec(notifying::notifier_event(), 0..60)) {
        any_log_replays::<Notifier>(notifying::notifier(), &events);
    }

    #[test]
    fn a_repeated_command_yields_no_event_at_a_registration(
        (first, rest) in (register(), schedule(registration_command())),
    ) {
        let commands = numbered(first, rest);
        each_twice::<Registration>(registering::id(), &commands);
    }

    #[test]
    fn an_authority_notes_everything_and_signs_no_head_twice(
        commands in schedule(authority_command()),
    ) {
        let authority = EntityId::authority(world::desk().region());
        let events = each_twice::<Authority>(authority, &commands);
        numbers_have_no_gaps(&events);
        heads_are_small(&events);
    }

    #[test]
    fn a_placement_counts_each_revocation(commands in schedule(placement_command())) {
        each_is_listed(&each_twice::<Placement>(EntityId::placement(), &commands));
    }

    #[test]
    fn versions_of_documents_rise(writes in documents::writes()) {
        documents::versions_rise_and_the_last_are_kept(&writes);
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

    #[test]
    fn any_log_of_a_registration_replays(events in vec(registration_event(), 0..60)) {
        any_log_replays::<Registration>(registering::id(), &events);
    }

    #[test]
    fn any_log_of_an_authority_replays(events in vec(authority_event(), 0..60)) {
        let authority = EntityId::authority(world::desk().region());
        let replayed = any_log_replays::<Authority>(authority, &events);
        no_later_time_was_noted(&replayed, &events);
    }

    #[test]
    fn any_log_of_a_placement_replays(events in vec(placement_event(), 0..60)) {
        any_log_replays::<Placement>(EntityId::placement(), &events);
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn no_token_is_spent_twice(moves in moves()) {
        Life::run(&moves, |_| {}).no_token_is_spent_twice();
    }

    #[test]
    fn every_certificate_has_its_grounds(moves in moves()) {
        let life = Life::run(&moves, |_| {});
        life.every_certificate_has_its_grounds();
        life.nothing_is_issued_to_the_banned();
        life.a_request_lapses_by_its_own_timer();
    }

    #[test]
    fn the_same_proof_and_key_lead_to_one_certificate(moves in moves()) {
        Life::run(&moves, |_| {}).the_same_proof_and_key_lead_to_one_certificate();
    }

    #[test]
    fn the_last_answer_is_given_again(moves in moves()) {
        Life::run(&moves, Life::the_last_answer_is_given_again);
    }

    #[test]
    fn what_is_in_force_can_be_revoked_and_stays_so(moves in moves()) {
        let life = Life::run(&moves, Life::every_certificate_in_force_can_be_revoked);
        life.revoked_stays_revoked();
        life.few_certificates_are_kept();
        life.a_log_replays();
    }

    #[test]
    fn everybody_is_told_of_a_registration(moves in moves()) {
        let life = Life::run(&moves, |_| {});
        life.lists_show_where_it_stands();
        life.the_cluster_is_told_of_each_revocation();
        life.each_key_is_bound();
        life.the_ledger_is_told_of_everything();
        life.a_device_is_lost_with_its_last_certificate();
    }

    #[test]
    fn a_request_that_waits_has_its_timer(moves in moves()) {
        Life::run(&moves, |_| {}).a_request_that_waits_has_its_timer();
    }

    #[test]
    fn what_arrives_again_gives_no_certificate_its_force_back(moves in moves_with_repeats()) {
        let life = Life::run(&moves, Life::every_certificate_in_force_can_be_revoked);
        life.every_certificate_has_its_grounds();
        life.nothing_is_issued_to_the_banned();
        life.revoked_stays_revoked();
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn of_each_group_one_authority_signs(changes in changes()) {
        let life = bundles::Life::run(&changes);
        life.at_most_one_of_a_group_signs();
        life.somebody_always_signs();
    }

    #[test]
    fn what_was_removed_or_compromised_never_signs_again(changes in changes()) {
        bundles::Life::run(&changes).there_is_no_way_back();
    }

    #[test]
    fn nothing_signs_that_a_node_does_not_know(changes in changes()) {
        let life = bundles::Life::run(&changes);
        life.each_node_knows_what_begins_to_sign();
        life.nodes_know_ever_more();
    }

    #[test]
    fn the_epoch_counts_what_changes(changes in changes()) {
        bundles::Life::run(&changes).the_epoch_counts_the_changes();
    }

    #[test]
    fn an_authority_is_introduced_as_it_must_be(changes in changes()) {
        let life = bundles::Life::run(&changes);
        life.what_is_introduced_waits();
        life.what_is_introduced_has_its_grounds();
        life.at_most_one_waits();
        life.what_begins_to_sign_has_a_root_that_signs();
        life.what_signs_again_has_a_root_of_its_own();
    }

    #[test]
    fn each_step_of_a_rotation_moves_what_it_is_for(changes in changes()) {
        let life = bundles::Life::run(&changes);
        life.each_step_has_its_moves();
        life.a_root_is_believed_as_long_as_what_it_signed();
    }

    #[test]
    fn everybody_is_told_of_an_authority(changes in changes()) {
        let life = bundles::Life::run(&changes);
        life.rows_show_each_change();
        life.the_ledger_is_told_of_each_change();
    }

    #[test]
    fn two_operators_take_a_step_within_a_week(changes in changes()) {
        bundles::Life::run(&changes).two_operators_agree();
    }

    #[test]
    fn what_a_bundle_is_asked_again_or_refuses_changes_nothing(changes in changes()) {
        let life = bundles::Life::run(&changes);
        life.what_is_asked_again_changes_nothing();
        life.a_refusal_changes_nothing();
        life.its_log_replays();
    }
}
