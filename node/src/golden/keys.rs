//! Where rows are found: the key of each kind, as it is stored. Their order is the order of a scan.

use fieldmesh_domain::effect::RowKey;

use super::customer;
use crate::store::{
    keys::{log, state},
    rows::name,
};

/// The identifier of [`customer`] and two others.
const CUS: &str = "6575310001150a0a0a0a0a0a0a0a0a0a";
const ID: &str = "05050505050505050505050505050505";
const MSG: &str = "06060606060606060606060606060606";

fn are<const N: usize>(table: [(&str, Vec<u8>); N]) {
    for (frozen, key) in table {
        let frozen = frozen.replace("<cus>", CUS).replace("<id>", ID).replace("<msg>", MSG);
        assert_eq!(name(&key), frozen.replace(' ', ""), "{frozen}");
    }
}

#[test]
fn of_the_log() {
    are([
        ("72", log::round()),
        ("65 00000007 0000000000000102", log::entry(7, 0x102)),
        ("65 00000008", log::entries_end(7)),
        ("76 00000007", log::vote(7)),
        ("63 00000007", log::committed(7)),
        ("70 00000007", log::purged(7)),
        ("6c 00000007", log::left(7)),
        ("76", log::vote_range().0),
        ("77", log::vote_range().1),
        ("6c", log::left_range().0),
        ("6d", log::left_range().1),
        ("73", log::starts()),
        ("68 0000000000000102", log::heard(0x102)),
        ("68", log::heard_range().0),
        ("69", log::heard_range().1),
    ]);
    assert_eq!(log::heard_of(&log::heard(0x102)), Some(0x102));
    assert_eq!(log::group_of(&log::entry(0x0102_0304, 1)), Some(0x0102_0304));
    assert_eq!(log::group_of(&log::round()), None);
}

#[test]
fn of_a_replica() {
    are([
        ("6d 01", state::applied()),
        ("6d 04", state::installing()),
        ("6d 05", state::installed()),
        ("6d 06", state::whole()),
    ]);
    let [applied, installed, installing, whole] = state::of_a_replica();
    are([("6d01", applied), ("6d05", installed), ("6d04", installing), ("6d06", whole)]);
}

#[test]
fn of_entities() {
    let (cus, id, message) = (customer().to_bytes(), [5; 16], [6; 16]);
    are([
        ("68 <cus>", state::head(&cus)),
        ("65 <cus> 0000000000000102", state::events(&cus, 0x102)),
        ("73 <cus>", state::snapshot(&cus)),
        ("70 <cus> 0000000000000102 00000003", state::snapshot_part(&cus, 0x102, 3)),
        ("6b <cus>", state::data_key(&cus)),
        ("6c <cus> 0000000000000102", state::mail(&cus, 0x102)),
        ("6c <cus>", state::mail_of(&cus).0),
        ("6c 6575310001150a0a0a0a0a0a0a0a0a0b", state::mail_of(&cus).1),
        ("6d 03 <cus>", state::mail_last(&cus)),
        ("74 0000000000000102 <cus> 03", state::timer_due(0x102, &cus, 3)),
        ("75 <cus> 03", state::timer_name(&cus, 3)),
        ("64 <id> <msg>", state::dedup(&id, &message)),
        ("78 0000000000000102 <id> <msg>", state::dedup_expiry(0x102, &id, &message)),
        ("78", state::dedup_expired(0x102).0),
        ("78 0000000000000102", state::dedup_expired(0x102).1),
        ("77 <id>", state::window(&id)),
        ("69 20 0102", state::index(&RowKey { kind: 0x20, name: vec![1, 2] })),
        ("69 20", state::index_of(0x20).0),
        ("69 21", state::index_of(0x20).1),
    ]);
    assert_eq!(state::timer_of(&state::timer_name(&cus, 3)), Some((cus, 3)));
}

#[test]
fn of_what_shards_tell_each_other() {
    are([
        ("6d 02 00000007", state::outbox_next(7)),
        ("6f 00000007 0000000000000102", state::outbox(7, 0x102)),
        ("63 00000007", state::cursor(7)),
        ("6d 07 0105", state::slot(0x105)),
    ]);
}

#[test]
fn of_whole_kinds() {
    let ranges = [
        ("68", "69", state::head_range()),
        ("6d02", "6d03", state::outbox_next_range()),
        ("63", "64", state::cursor_range()),
        ("6f", "70", state::outbox_range()),
        ("74", "75", state::timer_range()),
        ("69", "6a", state::indexes()),
    ];
    for (from, until, range) in ranges {
        assert_eq!((name(&range.0).as_str(), name(&range.1).as_str()), (from, until));
    }
    let [timers, expiries] = state::by_time();
    are([("74", timers.0), ("75", timers.1), ("78", expiries.0), ("79", expiries.1)]);
}

/// A slot that is carried is carried whole: each kind of row of each kind of entity, and no more.
#[test]
fn of_a_slot() {
    let ranges = state::slot_ranges("eu1".parse().unwrap(), 0x115);
    let found: Vec<String> = ranges.iter().map(|range| name(&range.0)).collect();
    // Of customers, whose identifiers begin with region, kind and slot.
    let own = "657531000115";
    for kind in ["65", "68", "73", "6b", "75", "6c", "64", "77", "70", "6d03", "6900"] {
        assert!(found.contains(&format!("{kind}{own}")), "{kind} of {found:?}");
    }
    for (from, until) in ranges.iter().filter(|range| name(&range.0).ends_with(own)) {
        assert_eq!(name(until), name(from).replace("0115", "0116"));
    }
    let timers = state::timers_of("eu1".parse().unwrap(), 0x115);
    assert!(timers.iter().all(|range| range.0.starts_with(b"u")));
    let due = state::timer_due(9, &customer().to_bytes(), 3);
    assert!(state::is_by_time_of(&due, "eu1".parse().unwrap(), 0x115));
    assert!(!state::is_by_time_of(&due, "eu1".parse().unwrap(), 0x116));
}
