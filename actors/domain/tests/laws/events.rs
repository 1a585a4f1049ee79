//! Any event of each aggregate, in any order: what a log could hold at worst.

use fieldmesh_domain::{authority, customer, desk, placement, registration, technician, ticket};
use proptest::{collection::vec, option, prelude::*};

use crate::arbitrary::{
    alert, change, choice, counted, customer_id, enclosure, hash, keys, location, message_id,
    millis, need, offer, phase, progress, reach, receipt_status, refusal, request, skills, summary,
    technician_id, text, ticket_id, triage,
};
use crate::areas::said;
use crate::documents::kind;
use crate::intake::spokesman;
use crate::life;
use crate::people::{act, note as written, note_body, order, party, word};
use crate::records::{
    asked, by, ca, device, head, issued, moved, node, note, profile, proposal, revocation, serial,
    token, why,
};

pub(crate) fn customer_event() -> BoxedStrategy<customer::Event> {
    use customer::Event;
    prop_oneof![
        (text(), location(), any::<u8>()).prop_map(|(name, location, tier)| Event::Registered {
            name,
            location,
            tier
        }),
        change().prop_map(Event::Device),
        (message_id(), hash(), ticket_id(), request(), millis(), option::of(any::<bool>()))
            .prop_map(|(message_id, content_hash, ticket, body, received_at, is_counted)| {
                Event::Requested { message_id, content_hash, ticket, body, received_at, is_counted }
            }),
        ticket_id().prop_map(|ticket| Event::TicketClosed { ticket }),
        ticket_id().prop_map(|ticket| Event::TicketReopened { ticket }),
        (spokesman(), hash(), message_id(), ticket_id(), request(), millis()).prop_map(
            |(by, case, message_id, ticket, body, at)| Event::Reported {
                by,
                case,
                message_id,
                ticket,
                body,
                at,
            }
        ),
        (spokesman(), hash(), ticket_id(), millis())
            .prop_map(|(by, case, ticket, at)| Event::Resolved { by, case, ticket, at }),
        (message_id(), hash(), act()).prop_map(|(message_id, content_hash, body)| Event::Acted {
            message_id,
            content_hash,
            body
        }),
        Just(Event::Suspended { by: None }),
        Just(Event::Resumed { by: None }),
        life::revised().prop_map(|revision| Event::Revised { revision, by: "op".into() }),
        (message_id(), ticket_id(), request(), millis()).prop_map(
            |(message_id, ticket, body, at)| Event::Submitted {
                message_id,
                ticket,
                body,
                at,
                by: "op".into(),
                hash: None,
            }
        ),
    ]
    .boxed()
}

pub(crate) fn technician_event() -> BoxedStrategy<technician::Event> {
    use technician::{Event, Shift};
    prop_oneof![
        (text(), skills(), location(), any::<u16>()).prop_map(|(name, skills, home, capacity)| {
            Event::Registered { name, skills, home, capacity, shift: Shift::Always }
        }),
        change().prop_map(Event::Device),
        Just(Event::WentOnShift),
        Just(Event::WentOffShift),
        alert().prop_map(|alert| Event::Reserved { alert }),
        (ticket_id(), offer(), refusal()).prop_map(|(ticket, offer, reason)| Event::Refused {
            ticket,
            offer,
            reason
        }),
        (ticket_id(), any::<[bool; 2]>()).prop_map(|(ticket, [was_committed, is_withdrawn])| {
            Event::Released { ticket, was_committed, is_withdrawn: is_withdrawn.then_some(true) }
        }),
        (ticket_id(), offer(), any::<u16>(), message_id()).prop_map(
            |(ticket, offer, eta_min, message_id)| Event::Accepted {
                ticket,
                offer,
                eta_min,
                message_id,
            }
        ),
        (ticket_id(), offer(), text(), message_id()).prop_map(
            |(ticket, offer, reason, message_id)| Event::Declined {
                ticket,
                offer,
                reason,
                message_id,
            }
        ),
        (ticket_id(), offer(), progress(), message_id()).prop_map(
            |(ticket, offer, progress, message_id)| Event::Progressed {
                ticket,
                offer,
                progress,
                message_id,
            }
        ),
        (ticket_id(), receipt_status(), message_id()).prop_map(|(ticket, status, message_id)| {
            Event::AnswerNoted { ticket, status, message_id }
        }),
        (any::<u64>(), millis()).prop_map(|(promotion, due)| Event::Reconciled { promotion, due }),
        (ticket_id(), phase(), any::<bool>()).prop_map(|(ticket, phase, sure)| Event::Kept {
            ticket,
            phase,
            sure
        }),
        (ticket_id(), offer(), message_id()).prop_map(|(ticket, offer, message_id)| Event::Saw {
            ticket,
            offer,
            message_id
        }),
        (ticket_id(), millis()).prop_map(|(ticket, due)| Event::Doubted { ticket, due }),
        ticket_id().prop_map(|ticket| Event::HeldTold { ticket }),
        (ticket_id(), offer(), any::<u16>(), message_id()).prop_map(
            |(ticket, offer, eta_min, message_id)| Event::EtaChanged {
                ticket,
                offer,
                eta_min,
                message_id,
            }
        ),
        note_body().prop_map(Event::Noted),
        (ticket_id(), offer(), text(), message_id(), enclosure()).prop_map(
            |(ticket, offer, text, message_id, enclosure)| Event::Wrote {
                ticket,
                offer,
                text,
                message_id,
                enclosure,
            }
        ),
        life::step().prop_map(Event::Life),
    ]
    .boxed()
}

pub(crate) fn ticket_event() -> BoxedStrategy<ticket::Event> {
    use ticket::Event;
    prop_oneof![
        (customer_id(), message_id(), request(), millis(), option::of(counted())).prop_map(
            |(customer, message_id, body, at, counted)| {
                let wishes = None;
                Event::Opened { customer, message_id, body, at, wishes, counted }
            }
        ),
        (any::<u8>(), option::of(triage())).prop_map(|(priority, triage)| Event::Triaged {
            priority,
            triage: triage.map(Box::new)
        }),
        millis().prop_map(|due| Event::MatchAsked { due }),
        millis().prop_map(|due| Event::ParentSought { due }),
        (option::of(ticket_id()), any::<bool>())
            .prop_map(|(like, is_silent)| Event::Compared { like, is_silent }),
        (technician_id(), any::<u32>(), millis(), choice()).prop_map(
            |(technician, epoch, due, choice)| Event::Offered { technician, epoch, due, choice }
        ),
        (millis(), choice()).prop_map(|(due, choice)| Event::Unfilled { due, choice }),
        Just(Event::OfferExpired),
        (technician_id(), refusal())
            .prop_map(|(technician, reason)| Event::OfferRefused { technician, reason }),
        (technician_id(), text(), any::<u16>(), millis()).prop_map(
            |(technician, name, eta_min, due)| Event::Accepted { technician, name, eta_min, due }
        ),
        (technician_id(), offer())
            .prop_map(|(technician, offer)| Event::LateAcceptRefused { technician, offer }),
        (progress(), millis()).prop_map(|(progress, due)| Event::Progressed { progress, due }),
        (millis(), option::of(millis())).prop_map(|(due, at)| Event::Overdue { due, at }),
        Just(Event::Cancelled),
        Just(Event::Closed),
        (any::<u64>(), any::<[u32; 2]>(), option::of(millis())).prop_map(
            |(promotion, [floor, question], due)| Event::Reconciled {
                promotion,
                floor,
                question,
                due,
            }
        ),
        (technician_id(), any::<u32>(), option::of(1_u32..5))
            .prop_map(|(technician, epoch, seq)| Event::Adopted { technician, epoch, seq }),
        vec(invited(), 0..3).prop_map(|invited| Event::AlsoOffered { invited }),
        (technician_id(), 0_u32..3)
            .prop_map(|(technician, seq)| Event::Switched { technician, seq }),
        (technician_id(), offer(), reach()).prop_map(|(technician, offer, reach)| {
            Event::AlertReached { technician, offer, reach }
        }),
        (vec(invited(), 0..3), any::<u32>(), any::<bool>()).prop_map(
            |(invited, epoch, were_asked)| Event::OthersReleased { invited, epoch, were_asked }
        ),
        any::<u32>().prop_map(|answers| Event::Kept { answers }),
        (order(), party(), millis(), option::of(message_id()), option::of(any::<bool>())).prop_map(
            |(order, by, at, id, is_above)| {
                Event::Ordered { order, by, at, id: id.map(Into::into), is_above }
            }
        ),
        millis().prop_map(|until| Event::Held { until }),
        (technician_id(), any::<[bool; 2]>(), option::of(ticket_id())).prop_map(
            |(technician, [was_promised, is_excluded], displaced_by)| Event::TakenBack {
                technician,
                was_promised,
                is_excluded,
                displaced_by,
            }
        ),
        (technician_id(), any::<u32>(), millis())
            .prop_map(|(technician, epoch, due)| Event::Assigned { technician, epoch, due }),
        Just(Event::Reopened),
        (any::<u16>(), millis()).prop_map(|(eta_min, due)| Event::EtaChanged { eta_min, due }),
        (ticket_id(), millis()).prop_map(|(parent, due)| Event::Grouped { parent, due }),
        millis().prop_map(|due| Event::ParentAsked { due }),
        millis().prop_map(|due| Event::ParentLives { due }),
        ticket_id().prop_map(|child| Event::ChildJoined { child }),
        ticket_id().prop_map(|child| Event::ChildLeft { child }),
        (ticket_id(), word()).prop_map(|(child, word)| Event::ChildAnswered { child, word }),
        written().prop_map(Event::Noted),
        (message_id(), text()).prop_map(|(id, why)| Event::OrderRefused { id, why }),
    ]
    .boxed()
}

fn invited() -> impl Strategy<Value = ticket::Invited> {
    (technician_id(), 0_u32..4, any::<u32>())
        .prop_map(|(technician, seq, distance_m)| ticket::Invited { technician, seq, distance_m })
}

fn desk_offer() -> impl Strategy<Value = desk::Offer> {
    let more = (option::of(1_u32..900), option::of(location()));
    (1_u16..4, 1_u8..=5, millis(), more).prop_map(|(category, priority, at, (life_s, place))| {
        desk::Offer { category, priority, at, life_s, place }
    })
}

pub(crate) fn desk_event() -> BoxedStrategy<desk::Event> {
    use desk::Event;
    prop_oneof![
        (technician_id(), summary())
            .prop_map(|(id, summary)| Event::TechnicianChanged { id, summary }),
        (ticket_id(), technician_id(), choice(), any::<u32>(), option::of(desk_offer())).prop_map(
            |(ticket, technician, choice, question, offer)| Event::Chosen {
                ticket,
                technician,
                choice,
                question,
                offer,
                at: None,
                assigned: (question % 3 == 0).then_some(question),
            }
        ),
        Just(Event::Gathered),
        (ticket_id(), need(), any::<u32>(), millis(), millis()).prop_map(
            |(ticket, need, question, at, due)| {
                let pace = (question % 3 == 0).then_some(2);
                let is_unfilled = (question % 2 == 0).then_some(true);
                Event::Waits { ticket, need, question, at, due, pace, is_unfilled }
            }
        ),
        millis().prop_map(|due| Event::Closes { due }),
        (ticket_id(), ticket_id(), technician_id(), millis()).prop_map(
            |(by, ticket, technician, until)| {
                let displaced = desk::Displaced { ticket, technician, until };
                Event::Displacing { by, displaced }
            }
        ),
        (ticket_id(), choice(), any::<u32>())
            .prop_map(|(ticket, choice, question)| Event::NobodyFits { ticket, choice, question }),
        ticket_id().prop_map(|ticket| Event::TakenBack { ticket }),
        (ticket_id(), location()).prop_map(|(ticket, place)| Event::Moved { ticket, place }),
        any::<u64>().prop_map(|promotion| Event::Reconciled { promotion }),
        (ticket_id(), technician_id(), any::<u32>(), option::of(location())).prop_map(
            |(ticket, technician, question, place)| Event::Given {
                ticket,
                technician,
                question,
                place,
            }
        ),
        (
            (ticket_id(), keys(), any::<bool>(), millis()),
            (option::of(ticket_id()), any::<bool>()),
            (option::of(1_u8..4), option::of(millis())),
        )
            .prop_map(|(asked, (like, is_silent), (priority, held_until))| {
                let (ticket, keys, inhibits_children, at) = asked;
                Event::Compared {
                    ticket,
                    keys,
                    inhibits_children,
                    at,
                    like,
                    is_silent,
                    priority,
                    held_until,
                }
            }),
        (ticket_id(), keys()).prop_map(|(ticket, keys)| Event::Unclaimed { ticket, keys }),
    ]
    .boxed()
}

pub(crate) fn registration_event() -> BoxedStrategy<registration::Event> {
    use registration::Event;
    prop_oneof![
        1 => (profile(), device(), text(), by()).prop_map(
            |(profile, device, label, by)| Event::Registered { profile, device, label, by }
        ),
        2 => token().prop_map(Event::Invited),
        2 => (asked(), millis())
            .prop_map(|(request, lapses)| Event::Requested { request, lapses }),
        2 => by().prop_map(|by| Event::Approved { by }),
        1 => (by(), why()).prop_map(|(by, why)| Event::Denied { by, why }),
        1 => Just(Event::Lapsed),
        6 => (issued(), 0_u8..4, option::of(by())).prop_map(
            |(issued, forgotten, approved_by)| Event::Enrolled { issued, forgotten, approved_by }
        ),
        2 => (vec(serial().prop_map(Into::into), 0..3), revocation(), by()).prop_map(
            |(serials, revocation, by)| Event::Revoked { serials, revocation, by }
        ),
        1 => (why(), by()).prop_map(|(why, by)| Event::Banned { why, by }),
        1 => by().prop_map(|by| Event::Readmitted { by }),
    ]
    .boxed()
}

pub(crate) fn authority_event() -> BoxedStrategy<authority::Event> {
    use authority::Event;
    prop_oneof![
        (any::<u64>(), millis(), note()).prop_map(|(number, at, note)| Event::Noted {
            number,
            at,
            note
        }),
        head().prop_map(Event::HeadSigned),
    ]
    .boxed()
}

pub(crate) fn placement_event() -> BoxedStrategy<placement::Event> {
    use placement::{Allowance, AllowanceProposal, Document, Ended, Event};
    prop_oneof![
        (any::<[u8; 32]>(), serial(), any::<u64>(), revocation()).prop_map(
            |(issuer, serial, not_after, revocation)| Event::Revoked {
                issuer,
                serial,
                not_after,
                revocation,
            }
        ),
        (vec(ca(), 0..4), by()).prop_map(|(cas, by)| Event::Introduced { cas, by }),
        proposal().prop_map(Event::Proposed),
        (vec(moved(), 0..4), millis(), by(), option::of(by()))
            .prop_map(|(moves, at, by, proposed_by)| Event::Moved { moves, at, by, proposed_by }),
        node().prop_map(Event::Acknowledged),
        (0_u64..3, by()).prop_map(|(node, by)| Event::NodeForgotten { node, by }),
        (kind(), any::<u32>(), text(), by(), millis()).prop_map(|(kind, version, text, by, at)| {
            Event::Written(Document { kind, version, text, by, at })
        }),
        (any::<u32>(), text(), by(), millis()).prop_map(|(minutes, why, by, at)| {
            Event::ChaosProposed(AllowanceProposal { minutes, why, by, at })
        }),
        (millis(), millis(), text(), by(), by()).prop_map(
            |(since, until, why, proposed_by, approved_by)| {
                Event::ChaosAllowed(Allowance { since, until, why, proposed_by, approved_by })
            }
        ),
        (millis(), by()).prop_map(|(at, by)| Event::ChaosEnded(Ended { at, by })),
        said().prop_map(Event::AreasSet),
    ]
    .boxed()
}
