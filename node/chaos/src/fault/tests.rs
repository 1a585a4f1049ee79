//! Every fault has a kind, and counts as what it takes out.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

#[test]
fn every_fault_has_a_name_that_scenarios_know() {
    let network = Network::default();
    for fault in [
        Fault::Network(Network { loss_percent: 100, ..network }),
        Fault::Network(Network { delay_ms: 1, ..network }),
        Fault::Network(Network { delay_ms: 1, reorder_percent: 1, ..network }),
        Fault::Network(Network { loss_percent: 99, ..network }),
        Fault::Network(Network { duplicate_percent: 1, ..network }),
        Fault::Network(Network { corrupt_percent: 1, ..network }),
        Fault::Network(Network { rate_kbit: Some(1), ..network }),
        Fault::Abroad(Network { loss_percent: 100, ..network }),
        Fault::Link { with: Pick::Node(2), network: Network { loss_percent: 100, ..network } },
        Fault::Devices(Network { delay_ms: 1, ..network }),
        Fault::Kill,
        Fault::Pause,
        Fault::Drain,
        Fault::Restart,
        Fault::Upgrade,
        Fault::SlowDisk { delay_ms: 1 },
        Fault::FullDisk,
        Fault::BrokenDisk,
        Fault::PowerCut,
        Fault::FlippedBits { bits: 1 },
        Fault::Clock { offset_ms: -1 },
        Fault::Drift { ppm: -1 },
        Fault::FailingActors { percent: 1 },
        Fault::SlowActors { percent: 1, delay_ms: 1 },
        Fault::StalledActors { percent: 1 },
        Fault::BusyProcessor { threads: 1 },
        Fault::HeldMemory { mib: 1 },
        Fault::Herd,
        Fault::Revoke { devices: 1 },
        Fault::Expire { devices: 1 },
        Fault::ShortLives { life_s: 1 },
        Fault::Join,
        Fault::Rotate,
    ] {
        assert!(KINDS.iter().any(|(name, _)| *name == fault.name()), "{fault:?}");
    }
}

#[test]
fn a_clock_that_gains_nothing_is_no_fault() {
    for (ppm, is_one) in [(0, false), (1, true), (-1, true), (100_000, true), (100_001, false)] {
        assert_eq!(Fault::Drift { ppm }.is_in_range(), is_one, "{ppm}");
    }
}

#[test]
fn a_node_is_out_where_little_of_it_comes_through_in_time() {
    let network = Network::default();
    let of = Fault::Network;
    let one_way = Network { direction: Direction::In, ..network };
    let link = |network| Fault::Link { with: Pick::Node(2), network };
    let reorders = |percent| Network { reorder_percent: percent, delay_ms: 150, ..network };
    for (fault, is_out) in [
        (of(network), false),
        (of(Network { loss_percent: 29, ..network }), false),
        (of(Network { loss_percent: 30, ..network }), true),
        (of(Network { loss_percent: 99, ..network }), true),
        (of(Network { loss_percent: 100, flap_ms: Some(700), ..network }), true),
        (of(Network { corrupt_percent: 29, ..network }), false),
        (of(Network { corrupt_percent: 30, ..network }), true),
        (of(Network { loss_percent: 15, corrupt_percent: 15, ..network }), true),
        (of(Network { duplicate_percent: 100, ..network }), false),
        (of(Network { delay_ms: 149, ..network }), false),
        (of(Network { delay_ms: 150, ..network }), true),
        (of(Network { delay_ms: 150, ..one_way }), false),
        (of(Network { delay_ms: 300, ..one_way }), true),
        (of(reorders(1)), true),
        (of(reorders(70)), true),
        (of(reorders(71)), false),
        (of(Network { rate_kbit: Some(256), ..network }), false),
        (of(Network { rate_kbit: Some(255), ..network }), true),
        // The nodes of one region have each other.
        (Fault::Abroad(Network { loss_percent: 100, ..network }), false),
        // One of the two nodes counts for their link.
        (link(Network { loss_percent: 29, ..network }), false),
        (link(Network { loss_percent: 30, ..network }), true),
        (link(Network { loss_percent: 100, ..one_way }), true),
        (Fault::Devices(Network { loss_percent: 49, delay_ms: 999, ..network }), false),
        (Fault::Devices(Network { loss_percent: 50, ..network }), true),
        (Fault::Devices(Network { delay_ms: 1_000, ..network }), true),
        (Fault::Devices(Network { delay_ms: 1_000, ..one_way }), false),
        (Fault::Devices(Network { rate_kbit: Some(64), ..network }), false),
        (Fault::Devices(Network { rate_kbit: Some(63), ..network }), true),
        (Fault::SlowDisk { delay_ms: 299 }, false),
        (Fault::SlowDisk { delay_ms: 300 }, true),
        (Fault::StalledActors { percent: 49 }, false),
        (Fault::StalledActors { percent: 50 }, true),
        (Fault::SlowActors { percent: 100, delay_ms: 999 }, false),
        (Fault::SlowActors { percent: 49, delay_ms: 1_000 }, false),
        (Fault::SlowActors { percent: 50, delay_ms: 1_000 }, true),
        (Fault::FailingActors { percent: 100 }, false),
        (Fault::BusyProcessor { threads: 7 }, false),
        (Fault::BusyProcessor { threads: 8 }, true),
        (Fault::FullDisk, true),
        (Fault::Kill, true),
        (Fault::Herd, false),
        (Fault::Join, false),
    ] {
        assert_eq!(fault.may_take_a_node(), is_out, "{fault:?}");
        assert!(is_out || !fault.takes_a_node(), "{fault:?}");
    }
}

#[test]
fn devices_lose_a_node_that_hardly_hears_them_and_no_other_node_takes_them() {
    let cut = Network { loss_percent: 100, ..Network::default() };
    assert!(Fault::Devices(cut).ends_connections());
    assert!(!Fault::Devices(Network { loss_percent: 5, ..cut }).ends_connections());
    let link = Fault::Link { with: Pick::Node(2), network: cut };
    for fault in [link, Fault::Network(cut), Fault::Abroad(cut)] {
        assert!(!fault.ends_connections(), "{fault:?}");
    }
    // Each end of a link may have something else beside it.
    assert!(!link.takes_a_node() && !Fault::Devices(cut).takes_a_node());
    for fault in [link, Fault::Devices(cut)] {
        assert!(fault.may_befall_production() && !fault.has_no_pick(), "{fault:?}");
        let json = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault, "{json}");
    }
}
