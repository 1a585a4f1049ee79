//! Any command of each aggregate, from any sender at any time.

use fieldmesh_domain::{
    EntityId, authority, customer, desk,
    message::{OfferId, ResponseBody},
    placement, registration,
    technician::{self, Shift},
    ticket,
    time::Millis,
};
use proptest::{collection::vec, option, prelude::*};

use crate::{
    arbitrary::{
        alert, answer, bundle, choice, customer_id, hash, keys, location, message_id, millis, need,
        offer, phase, progress, reach, refusal, request, skills, summary, technician_id, text,
        ticket_id, timer, triage, wishes,
    },
    areas::said,
    documents::kind,
    intake::{reported, spokesman},
    life::{self, zone},
    people::{act, note_body, order, party, word},
    records::{
        by, ca, device, hash as token_hash, head, issued, key, note, profile, revocation, serial,
        step, token, why,
    },
    world,
};

pub(crate) fn customer_command() -> BoxedStrategy<customer::Command> {
    use customer::Command;
    prop_oneof![
        2 => ("[ab]", location(), 1_u8..3, option::of((zone(), "[ab]"))).prop_map(
            |(name, location, tier, zone)| Command::Register { name, location, tier, zone }
        ),
        1 => Just(Command::LoseDevice),
        1 => Just(Command::FindDevice),
        4 => bundle().prop_map(|(serial, bundle)| Command::PublishKeys { serial, bundle }),
        2 => (message_id(), hash(), request(), millis(), option::of(any::<bool>())).prop_map(
            |(message_id, content_hash, body, received_at, is_counted)| Command::Request {
                message_id,
                content_hash,
                body,
                received_at,
                is_counted,
            }
        ),
        1 => message_id().prop_map(|message_id| {
            let ticket = EntityId::ticket_of(world::customer(0), message_id);
            Command::TicketClosed { ticket }
        }),
        1 => message_id().prop_map(|message_id| {
            let ticket = EntityId::ticket_of(world::customer(0), message_id);
            Command::TicketReopened { ticket }
        }),
        3 => (message_id(), hash(), act(), prop::bool::weighted(0.8)).prop_map(
            |(message_id, content_hash, mut body, is_own)| {
                if is_own {
                    body.ticket = EntityId::ticket_of(world::customer(0), message_id);
                }
                Command::Act { message_id, content_hash, body }
            }
        ),
        2 => (spokesman(), hash(), reported())
            .prop_map(|(by, case, reported)| Command::Report { by, case, reported }),
        1 => (spokesman(), hash()).prop_map(|(by, case)| Command::Resolve { by, case }),
        1 => Just(Command::Suspend { by: None }),
        1 => Just(Command::Resume { by: None }),
        1 => life::revised().prop_map(|revision| Command::Revise { revision, by: "op".into() }),
        3 => (message_id(), reported())
            .prop_map(|(id, asked)| Command::Submit { id, asked, by: "op".into() }),
        2 => wishes().prop_map(|wishes| Command::SetPreferences { wishes, by: "op".into() }),
        1 => option::of(zone()).prop_map(|zone| Command::SetZone { zone, by: "op".into() }),
        1 => timer().prop_map(|(name, generation)| Command::Timer { name, generation }),
    ]
    .boxed()
}

pub(crate) fn technician_command() -> BoxedStrategy<technician::Command> {
    use technician::Command;
    prop_oneof![
        2 => ("[ab]", skills(), location(), 1_u16..3).prop_map(|(name, skills, home, capacity)| {
            Command::Register { name, skills, home, capacity, shift: Shift::Always }
        }),
        1 => Just(Command::LoseDevice),
        1 => Just(Command::FindDevice),
        2 => bundle().prop_map(|(serial, bundle)| Command::PublishKeys { serial, bundle }),
        2 => Just(Command::GoOnShift),
        1 => Just(Command::GoOffShift),
        6 => alert().prop_map(|alert| Command::Reserve { alert }),
        2 => (ticket_id(), offer()).prop_map(|(ticket, offer)| Command::Release { ticket, offer }),
        8 => (message_id(), ticket_id(), offer(), answer()).prop_map(
            |(message_id, ticket, offer, answer)| Command::Answer {
                message_id,
                body: ResponseBody { ticket, offer, answer },
            }
        ),
        2 => timer().prop_map(|(name, generation)| Command::Timer { name, generation }),
        2 => (0_u64..3).prop_map(|promotion| Command::Reconcile { promotion }),
        // A ticket never answers what it will be asked only later.
        4 => (alert(), phase(), option::of(100_u32..104))
            .prop_map(|(alert, phase, answers)| Command::Keep { alert, phase, answers }),
        3 => (offer(), note_body()).prop_map(|(offer, body)| Command::Note { offer, body }),
        12 => life::word().prop_map(Command::Life),
    ]
    .boxed()
}

pub(crate) fn ticket_command() -> BoxedStrategy<ticket::Command> {
    use ticket::Command;
    let offer = || (1_u32..4).prop_map(|epoch| OfferId { epoch, seq: 0 });
    prop_oneof![
        2 => (customer_id(), message_id(), request(), 1_u8..3, option::of(triage())).prop_map(
            |(customer, message_id, body, tier, triage)| Command::Open {
                customer,
                message_id,
                body,
                tier,
                triage: triage.map(Box::new),
                terms: None,
                wishes: None,
                background: None,
                counted: None,
            }
        ),
        2 => (option::of(ticket_id()), any::<bool>())
            .prop_map(|(like, is_silent)| Command::Compared { like, is_silent }),
        8 => (technician_id(), choice(), 1_u32..5).prop_map(
            |(technician, choice, question)| Command::Offer { technician, choice, question }
        ),
        2 => (choice(), 1_u32..5)
            .prop_map(|(choice, question)| Command::NobodyFits { choice, question }),
        2 => (technician_id(), offer(), refusal()).prop_map(
            |(technician, offer, reason)| Command::Refused { technician, offer, reason }
        ),
        6 => (technician_id(), offer(), text(), any::<u16>()).prop_map(
            |(technician, offer, name, eta_min)| Command::Accept {
                technician,
                offer,
                name,
                eta_min,
            }
        ),
        6 => (technician_id(), offer(), progress()).prop_map(
            |(technician, offer, progress)| Command::Progress { technician, offer, progress }
        ),
        1 => Just(Command::Cancel),
        1 => Just(Command::Confirm),
        4 => (timer(), option::of(any::<bool>()))
            .prop_map(|((name, generation), marks)| Command::Timer { name, generation, marks }),
        1 => (0_u64..3).prop_map(|promotion| Command::Reconcile { promotion }),
        4 => (technician_id(), offer(), phase(), text(), any::<u16>(), 0_u32..4)
            .prop_map(|(technician, offer, phase, name, eta_min, question)| Command::Held {
                technician,
                offer,
                phase,
                name,
                eta_min,
                question,
            }),
        16 => (order(), party(), message_id(), option::of(Just(true)))
            .prop_map(|(order, by, id, marks)| Command::Order { order, by, id, marks }),
        2 => (ticket_id(), 1_u32..5)
            .prop_map(|(by_ticket, question)| Command::Displace { by_ticket, question }),
        1 => ticket_id().prop_map(|child| Command::ChildAsks { child }),
        1 => ticket_id().prop_map(|child| Command::ChildLeaves { child }),
        2 => (ticket_id(), word()).prop_map(|(parent, word)| Command::ParentSays { parent, word }),
        2 => (technician_id(), offer(), message_id(), text())
            .prop_map(|(technician, offer, id, text)| Command::Write {
                technician,
                offer,
                id,
                text,
                enclosure: None,
            }),
        6 => (technician_id(), offer(), reach())
            .prop_map(|(technician, offer, reach)| Command::AlertReached {
                technician,
                offer,
                reach,
            }),
    ]
    .boxed()
}

/// How urgent a ticket with keys is, and until when it is held.
fn asked_as() -> impl Strategy<Value = (Option<u8>, Option<Millis>)> {
    (option::of(1_u8..4), option::weighted(0.3, (0_u64..900_000).prop_map(Millis)))
}

pub(crate) fn desk_command() -> BoxedStrategy<desk::Command> {
    use desk::Command;
    prop_oneof![
        4 => (technician_id(), summary())
            .prop_map(|(id, summary)| Command::Technician { id, summary }),
        6 => (ticket_id(), need(), 0_u32..4).prop_map(
            |(ticket, need, question)| Command::Match { ticket, need, question, pace: None }
        ),
        1 => ticket_id().prop_map(|ticket| Command::Done { ticket }),
        6 => (ticket_id(), keys(), any::<bool>(), asked_as()).prop_map(
            |(ticket, keys, inhibits_children, (priority, held_until))| Command::Claim {
                ticket,
                keys,
                inhibits_children,
                priority,
                held_until,
            }
        ),
        3 => (ticket_id(), keys()).prop_map(|(ticket, keys)| Command::Unclaim { ticket, keys }),
        2 => timer().prop_map(|(name, generation)| Command::Timer { name, generation }),
        1 => (ticket_id(), location())
            .prop_map(|(ticket, place)| Command::Moved { ticket, place }),
        1 => Just(Command::Gather),
        1 => (0_u64..3).prop_map(|promotion| Command::Reconcile { promotion }),
        2 => (ticket_id(), technician_id(), 0_u32..4, option::of(location())).prop_map(
            |(ticket, technician, question, place)| Command::Given {
                ticket,
                technician,
                question,
                place,
            }
        ),
    ]
    .boxed()
}

/// A command with which it begins.
pub(crate) fn register() -> BoxedStrategy<registration::Command> {
    let parts = (profile(), device(), text(), by());
    parts
        .prop_map(|(profile, device, label, by)| registration::Command::Register {
            profile,
            device,
            label,
            by,
        })
        .boxed()
}

pub(crate) fn registration_command() -> BoxedStrategy<registration::Command> {
    use registration::Command;
    prop_oneof![
        1 => register(),
        6 => token().prop_map(Command::Invite),
        5 => (token_hash(), key()).prop_map(
            |(token_hash, public_key_hash)| Command::Request { token_hash, public_key_hash }
        ),
        4 => (by(), option::weighted(0.2, hash()))
            .prop_map(|(by, key)| Command::Approve { by, key: key.map(Into::into) }),
        1 => (by(), why()).prop_map(|(by, why)| Command::Deny { by, why, key: None }),
        12 => issued().prop_map(Command::Enroll),
        2 => (option::weighted(0.8, serial()), any::<u8>(), by())
            .prop_map(|(serial, reason, by)| Command::Revoke { serial, reason, by }),
        1 => (why(), by()).prop_map(|(why, by)| Command::Ban { why, by }),
        2 => by().prop_map(|by| Command::Readmit { by }),
        1 => timer().prop_map(|(name, generation)| Command::Timer { name, generation }),
    ]
    .boxed()
}

pub(crate) fn authority_command() -> BoxedStrategy<authority::Command> {
    use authority::Command;
    prop_oneof![
        6 => note().prop_map(Command::Note),
        4 => head().prop_map(Command::SignHead),
        1 => timer().prop_map(|(name, generation)| Command::Timer { name, generation }),
    ]
    .boxed()
}

/// All but a step that a second operator must want too, which is refused when it is asked again.
pub(crate) fn placement_command() -> BoxedStrategy<placement::Command> {
    use placement::{Command, Wanted};
    prop_oneof![
        6 => (any::<[u8; 32]>(), serial(), any::<u64>(), revocation()).prop_map(
            |(issuer, serial, not_after, revocation)| Command::Revoke {
                issuer,
                serial,
                not_after,
                revocation,
            }
        ),
        2 => vec(ca(), 0..3).prop_map(Command::Adopt),
        2 => (ca(), by()).prop_map(|(ca, by)| Command::Introduce { ca, by }),
        6 => (token_hash(), step(), by()).prop_map(|(fingerprint, step, by)| {
            Command::Rotate(Wanted { fingerprint, step, by, second_person: false })
        }),
        2 => (0_u64..3, 0_u64..6).prop_map(|(node, epoch)| Command::Acknowledge { node, epoch }),
        1 => (0_u64..3, by()).prop_map(|(node, by)| Command::ForgetNode { node, by }),
        2 => (kind(), text(), 0_u32..3, by())
            .prop_map(|(kind, text, base, by)| Command::Write { kind, text, base, by }),
        1 => by().prop_map(|by| Command::EndChaos { by }),
        1 => said().prop_map(Command::SetAreas),
        1 => timer().prop_map(|(name, generation)| Command::Timer { name, generation }),
    ]
    .boxed()
}
