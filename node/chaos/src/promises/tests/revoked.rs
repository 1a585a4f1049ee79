//! I5: devices that are revoked or whose certificates have ended, and what a node that does not hear of it may not do.

use super::*;

#[test]
fn a_revoked_device_is_refused_from_the_bound_on() {
    let revoked = || Told::new().at(1_000, What::Revoked { device: "c".into() });
    let turned = || revoked().at(1_100, What::TurnedAway { device: "c".into() });
    let of = |told: Told| verdict(Promise::Revoked, &told.whole());
    assert_eq!(of(turned()), Verdict::Kept);
    assert_eq!(of(revoked()), Verdict::Unknown, "it may just have been asleep");
    assert_eq!(of(turned().request(2_900, 1, "a").ok(2_950, 1)), Verdict::Kept, "within the bound");
    assert_eq!(of(turned().request(3_001, 1, "a").ok(3_100, 1)), Verdict::Broken);
    assert_eq!(of(turned().request(500, 1, "a").ok(3_100, 1)), Verdict::Broken, "taken too late");
    assert_eq!(of(turned().request(3_001, 1, "a")), Verdict::Kept, "nobody answered it");
    let no = What::Refused { op: 1, why: "invalid".into() };
    assert_eq!(of(turned().request(3_001, 1, "a").at(3_100, no)), Verdict::Broken, "it was heard");
    assert_eq!(of(turned().confirmed(3_001, "a", 2)), Verdict::Broken, "it was told something");
    let believed = Told::new().request(3_001, 1, "a").ok(3_100, 1);
    assert_eq!(of(believed), Verdict::Unknown, "nobody was revoked");
    let renewed = || turned().at(9_000, What::Renewed { device: "c".into() });
    let again = renewed().request(9_001, 1, "a").ok(9_100, 1).confirmed(9_200, "a", 2);
    assert_eq!(of(again), Verdict::Kept);
    let early = turned().request(8_000, 1, "a").ok(8_900, 1);
    let early = early.at(9_000, What::Renewed { device: "c".into() });
    assert_eq!(of(early.request(9_001, 2, "b").ok(9_100, 2)), Verdict::Broken, "before its next");
    assert_eq!(of(renewed().request(9_001, 1, "a")), Verdict::Broken, "it is not served again");
    assert_eq!(of(renewed()), Verdict::Unknown, "it did not ask");
}

/// A device is revoked in the first second, while a node is cut off until the thirtieth.
fn cut_off() -> Told {
    let strike = |phase| {
        let fault = Fault::Network(Network { loss_percent: 100, ..Network::default() });
        let (why, effect) = (String::new(), None);
        What::Fault { strike: 1, fault, node: Some(2), phase, why, effect }
    };
    let told = Told::new().at(500, strike(Phase::Installed)).at(30_000, strike(Phase::Ended));
    told.at(1_000, What::Revoked { device: "c".into() })
}

#[test]
fn a_node_that_does_not_hear_of_it_may_not_serve_a_revoked_device_either() {
    let of = |told: Told| verdict(Promise::Revoked, &told.whole());
    let turned = |ms| cut_off().at(ms, What::TurnedAway { device: "c".into() });
    let asks = |told: Told| told.request(1_500, 1, "a");
    assert_eq!(of(asks(turned(3_000))), Verdict::Kept);
    assert_eq!(of(asks(turned(3_000)).ok(2_900, 1)), Verdict::Kept, "within the bound");
    // Long before the partition ends.
    assert_eq!(of(asks(turned(2_500)).ok(3_100, 1)), Verdict::Broken);
    assert_eq!(of(turned(2_500).confirmed(3_100, "a", 2)), Verdict::Broken);
}

#[test]
fn whoever_asks_on_is_turned_away_in_time() {
    let of = |told: Told| checked(Promise::Revoked, &told.whole());
    let asks = || cut_off().request(1_500, 1, "a");
    let turned = |told: Told, ms| told.at(ms, What::TurnedAway { device: "c".into() });
    let late = of(turned(asks(), 3_001));
    assert_eq!((late.verdict, late.broken), (Verdict::Broken, 1));
    assert!(late.examples[0].text.contains("not turned away within 2000 ms"), "{late:?}");
    assert_eq!(of(asks()).verdict, Verdict::Broken, "it was never turned away");
    // Its certificate ends a moment before that is noted.
    assert_eq!(of(turned(asks(), 900)).verdict, Verdict::Kept);
    assert_eq!(of(turned(cut_off(), 9_000)).verdict, Verdict::Kept, "it was asleep");
    let late = turned(cut_off().request(3_500, 1, "a"), 9_000);
    assert_eq!(of(late).verdict, Verdict::Kept, "it was asleep until then");
    assert_eq!(of(cut_off()).verdict, Verdict::Unknown);
    let cut = Told::new().at(1_000, What::Revoked { device: "c".into() }).request(1_500, 1, "a");
    assert_eq!(of(cut).verdict, Verdict::Unknown, "the bound was not reached");
    let renewed = asks().at(2_000, What::Renewed { device: "c".into() });
    assert_ne!(of(renewed.request(2_100, 2, "b").ok(2_200, 2)).verdict, Verdict::Broken);
}

#[test]
fn whom_no_node_hears_is_turned_away_by_nobody() {
    let strike = |percent, phase| {
        let fault = Fault::Devices(Network { loss_percent: percent, ..Network::default() });
        What::Fault { strike: 1, fault, node: Some(2), phase, why: String::new(), effect: None }
    };
    let of = |percent, from_ms, until_ms| {
        let told = Told::new().at(from_ms, strike(percent, Phase::Installed));
        let told = told.at(1_000, What::Revoked { device: "c".into() }).request(1_500, 1, "a");
        let told = told.at(until_ms, strike(percent, Phase::Ended));
        // It goes on behind the bound.
        verdict(Promise::Revoked, &told.request(9_000, 2, "b").whole())
    };
    assert_eq!(of(100, 500, 8_000), Verdict::Unknown, "it began before, and lasted");
    assert_eq!(of(100, 1_200, 1_400), Verdict::Unknown, "it had to look for another one");
    assert_eq!(of(100, 200, 800), Verdict::Broken, "it was over by then");
    assert_eq!(of(100, 4_000, 8_000), Verdict::Broken, "it came behind the bound");
    assert_eq!(of(5, 500, 8_000), Verdict::Broken, "most of it was heard");
}

/// A node whose clock is ahead refuses a certificate that ends soon.
#[test]
fn whoever_was_turned_away_long_before_and_served_since_is_not_turned_away_by_that() {
    let of = |told: Told| checked(Promise::Revoked, &told.whole());
    let told = |turned_ms, served_ms: Option<u64>| {
        let told = Told::new().at(turned_ms, What::TurnedAway { device: "c".into() });
        let told = match served_ms {
            Some(ms) => told.request(ms - 10, 7, "x").ok(ms, 7),
            None => told,
        };
        let told = told.at(33_000, What::Revoked { device: "c".into() });
        told.request(34_000, 1, "a").request(60_000, 2, "b")
    };
    assert_eq!(of(told(3_000, None)).verdict, Verdict::Broken, "that was of something else");
    assert_eq!(of(told(25_000, None)).verdict, Verdict::Kept, "it waits before it tries again");
    let served = of(told(25_000, Some(29_000)));
    assert_eq!((served.verdict, served.broken), (Verdict::Broken, 1), "another node believed it");
    assert_eq!(of(told(25_000, Some(24_000))).verdict, Verdict::Kept, "that was before");
    let again = told(3_000, None).at(34_900, What::TurnedAway { device: "c".into() });
    assert_eq!(of(again).verdict, Verdict::Kept);
}

/// It finds that its node is dead when it asks, and has to look for another one.
#[test]
fn whoever_lost_its_node_just_before_may_be_turned_away_late() {
    let of = |fault: Fault, ms| {
        let (node, phase, why) = (Some(1), Phase::Installed, String::new());
        let struck = What::Fault { strike: 1, fault, node, phase, why, effect: None };
        let told = Told::new().at(ms, struck);
        let told = told.at(31_000, What::Revoked { device: "c".into() }).request(32_500, 1, "a");
        verdict(Promise::Revoked, &told.at(33_600, What::TurnedAway { device: "c".into() }).whole())
    };
    for fault in [Fault::Kill, Fault::Pause, Fault::Drain, Fault::Herd] {
        assert_eq!(of(fault, 30_900), Verdict::Unknown, "{fault:?}");
        assert_eq!(of(fault, 20_900), Verdict::Broken, "{fault:?}: it has found another one");
    }
    assert_eq!(of(Fault::SlowDisk { delay_ms: 9 }, 30_900), Verdict::Broken, "its node was there");
}
