//! Any value of the domain, within the bounds that whoever sends it keeps.
//!
//! Identifiers, offers and tokens come from small pools, so that they meet.

use fieldmesh_domain::{
    EntityId, EntityKind, TimerName, desk,
    device::Change,
    message::{AlertBody, Answer, Enclosure, Location, OfferId, ReceiptStatus, RequestBody},
    selection::{Candidate, Choice, Exclusion, How, Mode, Need, Part, Rival, Wishes},
    technician::{Phase, Skill},
    ticket::{Acted, Counted, Failed, Hold, Progress, Reach, RefusalReason, Triage},
    time::Millis,
};
use proptest::{collection::vec, option, prelude::*};

use crate::{people::pause, world};

/// Milliseconds that clocks, expiries and deadlines share.
const SPAN_MS: u64 = 300_000;

pub(crate) fn technician_id() -> impl Strategy<Value = EntityId> {
    (0_u8..3).prop_map(world::technician)
}

pub(crate) fn customer_id() -> impl Strategy<Value = EntityId> {
    (0_u8..2).prop_map(world::customer)
}

pub(crate) fn ticket_id() -> impl Strategy<Value = EntityId> {
    (0_u8..3).prop_map(|number| world::id(EntityKind::Ticket, number))
}

pub(crate) fn offer() -> impl Strategy<Value = OfferId> {
    (0_u32..4, 0_u32..2).prop_map(|(epoch, seq)| OfferId { epoch, seq })
}

pub(crate) fn message_id() -> impl Strategy<Value = [u8; 16]> {
    (0_u8..6).prop_map(|number| [number; 16])
}

pub(crate) fn hash() -> impl Strategy<Value = [u8; 32]> {
    (0_u8..2).prop_map(|number| [number; 32])
}

pub(crate) fn millis() -> impl Strategy<Value = Millis> {
    prop_oneof![(0..SPAN_MS).prop_map(Millis), Just(Millis(u64::MAX))]
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    "[a-zé]{0,6}"
}

pub(crate) fn location() -> impl Strategy<Value = Location> {
    (-90_000_000..=90_000_000, -180_000_000..=180_000_000)
        .prop_map(|(lat_e6, lon_e6)| Location { lat_e6, lon_e6 })
}

pub(crate) fn skills() -> impl Strategy<Value = Vec<Skill>> {
    vec((1_u16..4, 1_u8..=5).prop_map(|(category, level)| Skill::new(category, level)), 0..3)
}

pub(crate) fn request() -> impl Strategy<Value = RequestBody> {
    (1_u16..4, any::<u16>(), 1_u8..=3, 1_u8..=3, location(), text()).prop_map(
        |(category, subcategory, impact, urgency, location, text)| RequestBody {
            category,
            subcategory,
            impact,
            urgency,
            location,
            text,
        },
    )
}

pub(crate) fn alert() -> impl Strategy<Value = AlertBody> {
    (ticket_id(), offer(), any::<[u16; 2]>(), any::<u8>(), location(), text(), millis()).prop_map(
        |(ticket, offer, [category, subcategory], priority, location, text, expires)| AlertBody {
            ticket,
            offer,
            category,
            subcategory,
            priority,
            location,
            distance_m: 0,
            text,
            expires,
        },
    )
}

pub(crate) fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => (0_u16..11_000).prop_map(|eta_min| Answer::Accept { eta_min }),
        1 => text().prop_map(|reason| Answer::Decline { reason }),
        1 => Just(Answer::EnRoute),
        1 => Just(Answer::OnSite),
        1 => text().prop_map(|note| Answer::Completed { note }),
        1 => text().prop_map(|reason| Answer::CannotComplete { reason }),
        2 => pause().prop_map(Answer::Pause),
        1 => Just(Answer::Resume),
        2 => any::<u16>().prop_map(|eta_min| Answer::Eta { eta_min }),
        1 => (text(), enclosure())
            .prop_map(|(text, enclosure)| Answer::Message { text, enclosure }),
        1 => Just(Answer::Seen),
    ]
}

pub(crate) fn progress() -> impl Strategy<Value = Progress> {
    prop_oneof![
        Just(Progress::EnRoute),
        Just(Progress::OnSite),
        text().prop_map(|note| Progress::Completed { note }),
        text().prop_map(|reason| Progress::CannotComplete { reason }),
        pause().prop_map(Progress::Paused),
        Just(Progress::Resumed),
    ]
}

pub(crate) fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Reserved),
        Just(Phase::Committed),
        Just(Phase::EnRoute),
        Just(Phase::OnSite),
    ]
}

pub(crate) fn refusal() -> impl Strategy<Value = RefusalReason> {
    prop_oneof![
        Just(RefusalReason::Declined),
        Just(RefusalReason::Busy),
        Just(RefusalReason::OffShift),
        Just(RefusalReason::NoDevice),
        Just(RefusalReason::Late),
    ]
}

pub(crate) fn choice() -> impl Strategy<Value = Choice> {
    let candidate = (technician_id(), any::<[u32; 5]>()).prop_map(|(technician, terms)| {
        let [distance_m, travel_s, load_s, over_qualification_s, fairness_s] = terms;
        let lateness_s = None;
        Candidate {
            technician,
            distance_m,
            travel_s,
            load_s,
            over_qualification_s,
            fairness_s,
            preferred_s: (fairness_s % 2 == 0).then_some(load_s),
            lateness_s,
        }
    });
    let reason = prop_oneof![
        Just(Exclusion::OffShift),
        Just(Exclusion::NoSkill),
        Just(Exclusion::Full),
        Just(Exclusion::Asked),
    ];
    let excluded = vec((technician_id(), reason), 0..3);
    (vec(candidate, 0..3), excluded, any::<[u32; 2]>(), option::of(how())).prop_map(
        |(candidates, excluded, [excluded_count, rule_version], how)| Choice {
            candidates,
            excluded,
            excluded_count,
            rule_version,
            how,
            lacking: None,
        },
    )
}

fn how() -> impl Strategy<Value = How> {
    let mode = prop_oneof![Just(Mode::AtOnce), Just(Mode::Batched)];
    let rival = (ticket_id(), technician_id())
        .prop_map(|(ticket, technician)| Rival { ticket, technician });
    (mode, any::<[u32; 3]>(), vec(rival, 0..3), option::of(ticket_id())).prop_map(
        |(mode, [eligible, room, competing], rivals, displaced)| How {
            mode,
            eligible,
            room,
            competing,
            rivals,
            displaced,
            pace: (room % 2 == 0).then_some(3),
        },
    )
}

pub(crate) fn need() -> impl Strategy<Value = Need> {
    (1_u16..4, 1_u8..=5, location(), vec(technician_id(), 0..3), required()).prop_map(
        |(category, priority, location, asked, skills)| Need {
            skills,
            ..Need::plain(category, priority, location, asked)
        },
    )
}

pub(crate) fn enclosure() -> impl Strategy<Value = Option<Enclosure>> {
    let one = (any::<u8>(), text(), any::<u32>(), hash(), hash());
    option::weighted(
        0.3,
        one.prop_map(|(number, name, bytes, digest, key)| Enclosure {
            number,
            name,
            bytes,
            digest,
            key,
        }),
    )
}

pub(crate) fn required() -> impl Strategy<Value = Option<Vec<Skill>>> {
    option::weighted(0.3, skills())
}

pub(crate) fn key() -> impl Strategy<Value = desk::Key> {
    let bond = prop_oneof![
        (0_u32..600).prop_map(|window_s| desk::Bond::Duplicate { window_s }),
        Just(desk::Bond::Group),
        Just(desk::Bond::Inhibit),
    ];
    (0_u8..3, bond).prop_map(|(number, bond)| desk::Key { hash: [number; 16], bond })
}

pub(crate) fn keys() -> impl Strategy<Value = Vec<desk::Key>> {
    vec(key(), 0..3)
}

pub(crate) fn counted() -> impl Strategy<Value = Counted> {
    any::<(u16, u64)>().prop_map(|(category, site)| Counted { category, site })
}

pub(crate) fn triage() -> impl Strategy<Value = Triage> {
    let hold = option::weighted(0.3, (1_u32..3, text()))
        .prop_map(|hold| hold.map(|(minutes, reason)| Hold { minutes, reason }));
    let told = (vec(text(), 0..2), vec(text(), 0..2), option::of(text()));
    let acted = (text(), vec(text(), 0..2)).prop_map(|(rule, did)| Acted { rule, did });
    let failed = (text(), text()).prop_map(|(rule, why)| Failed { rule, why });
    let part = (text(), 1_u16..3).prop_map(|(number, count)| Part { number, count });
    let lists = (vec(acted, 0..2), vec(failed, 0..2), skills(), keys(), vec(part, 0..2));
    (any::<u32>(), lists, option::of(0_u8..7), any::<bool>(), hold, told).prop_map(
        |(
            version,
            (acted, failed, skills, keys, parts),
            priority,
            inhibits_children,
            hold,
            told,
        )| {
            let (notify, webhooks, policy) = told;
            Triage {
                version,
                acted,
                failed,
                priority,
                skills,
                keys,
                inhibits_children,
                hold,
                notify,
                webhooks,
                policy,
                parts,
            }
        },
    )
}

pub(crate) fn bundle() -> impl Strategy<Value = (u64, Vec<u8>)> {
    (0_u64..5, vec(any::<u8>(), 0..4))
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        bundle().prop_map(|(serial, bundle)| Change::KeysPublished { serial, bundle }),
        Just(Change::Lost),
        Just(Change::Found),
    ]
}

pub(crate) fn summary() -> impl Strategy<Value = desk::Summary> {
    (any::<bool>(), skills(), location(), 0_u16..3).prop_map(
        |(on_shift, skills, home, capacity)| {
            let circumstances = None;
            desk::Summary { on_shift, skills, home, capacity, circumstances }
        },
    )
}

pub(crate) fn timer() -> impl Strategy<Value = (TimerName, u32)> {
    let name =
        prop_oneof![Just(TimerName::Deadline), Just(TimerName::Shift), Just(TimerName::Batch),];
    (name, 0_u32..12)
}

pub(crate) fn wishes() -> impl Strategy<Value = Wishes> {
    (vec(technician_id(), 0..3), vec(technician_id(), 0..3)).prop_map(|(preferred, blocked)| {
        Wishes {
            preferred: preferred.into_iter().collect(),
            blocked: blocked.into_iter().collect(),
        }
    })
}

pub(crate) fn receipt_status() -> impl Strategy<Value = ReceiptStatus> {
    prop_oneof![
        Just(ReceiptStatus::Received),
        Just(ReceiptStatus::Invalid),
        Just(ReceiptStatus::Expired),
        Just(ReceiptStatus::Replay),
        Just(ReceiptStatus::NoLongerYours),
    ]
}

pub(crate) fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![Just(Reach::Delivered), Just(Reach::Seen)]
}
