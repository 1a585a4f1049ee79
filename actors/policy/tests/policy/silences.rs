//! Silences: what they hold, that they end, and that they are written as they are read.

use fieldmesh_domain::{EntityId, EntityKind, message::Location, ticket::Subject, time::Millis};
use fieldmesh_policy::{Area, SilenceKind, Silences, WrittenSilence, read_silences};
use proptest::{collection::vec, option, prelude::*};

use super::{SILENCES, assert_all, found};

fn customer(number: u8) -> EntityId {
    EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [number; 10])
}

#[test]
fn the_example_holds_what_it_names_while_it_lasts() {
    let silences = read_silences(SILENCES).unwrap().value;
    let (from, until) = (Millis(1_796_104_800_000), Millis(1_796_133_600_000));
    assert_eq!((silences.entries[0].from, silences.entries[0].until), (from, until));
    let location = Location { lat_e6: 48_137_000, lon_e6: -11_560_000 };
    let subject = Subject { customer: Some(customer(1)), category: 26, priority: 3, location };
    let of = |subject: &Subject, region: &str, now| {
        let found = silences.silence_of(subject, region.parse().unwrap(), now, 4);
        found.map(|silence| (silence.version, silence.until))
    };
    assert_eq!(of(&subject, "eu1", from), Some((4, until)));
    assert_eq!(of(&subject, "eu1", until), None);
    assert_eq!(of(&subject, "eu1", Millis(from.0 - 1)), None);
    assert_eq!(of(&subject, "us1", from), None);
    assert_eq!(of(&Subject { category: 25, ..subject }, "eu1", from), None);
    assert_eq!(of(&Subject { priority: 1, ..subject }, "eu1", from), None);
    let far = Location { lat_e6: 48_237_000, ..location };
    assert_eq!(of(&Subject { location: far, ..subject }, "eu1", from), None);
}

#[test]
fn a_silence_that_does_not_end_is_refused() {
    let text = r#"[[silence]]
name = "a"
from = 2026-12-01T06:00:00Z
until = 2027-01-01T06:00:00Z
categories = [1]
[[silence]]
name = "b"
from = 2026-12-01T06:00:00Z
until = 2026-12-01T06:00:00Z
categories = [1]
[[silence]]
name = "c"
from = 2026-12-01T06:00:00Z
categories = [1]
[[silence]]
name = "d"
from = 2026-12-01T06:00:00Z
until = 2026-12-02T06:00:00Z
[[silence]]
name = "e"
from = 2026-12-01T06:00:00
until = "2026-12-01T06:00:00Z"
customers = ["tec_eu1_00000000000000000000"]
area = { lat = "91", lon = "1,5", radius_km = 0 }
"#;
    assert_all(
        &found(read_silences(text)),
        &[
            ("4:9: error: silence `a`: ", "lasts longer than 30 days"),
            ("9:9: error: silence `b`: ", "ends before it begins"),
            ("12:1: error: silence `c`: ", "does not say `until`"),
            ("16:8: error: silence `d`: ", "would silence every ticket"),
            ("21:8: error: silence `e`: ", "`from` is no instant"),
            ("22:9: error: ", "`until` is no instant"),
            ("23:14: error: ", "correct it"),
            ("24:16: error: ", "`lat` is \"91\""),
            ("24:28: error: ", "`lon` is \"1,5\""),
            ("24:47: error: ", "`radius_km` is 0"),
        ],
    );
}

#[test]
fn an_instant_that_its_offset_puts_outside_of_the_calendar_is_refused() {
    let silence = |from: &str, until: &str| {
        let text = format!(
            "[[silence]]\nname = \"a\"\nfrom = {from}\nuntil = {until}\ncategories = [1]\n"
        );
        found(read_silences(&text)).join("\n")
    };
    let last = silence("2199-12-31T22:00:00Z", "2199-12-31T23:59:00-01:00");
    assert!(last.contains("`until` is no instant"), "{last}");
    let first = silence("1970-01-02T00:00:00+01:00", "1970-01-02T12:00:00Z");
    assert!(first.contains("`from` is no instant"), "{first}");
    assert_eq!(silence("1970-01-02T01:00:00+01:00", "1970-01-02T12:00:00Z"), "");
}

fn written() -> impl Strategy<Value = WrittenSilence> {
    let area = (-90_000_000_i32..90_000_000, -180_000_000_i32..180_000_000, 1_u32..1000);
    let lists = (vec(any::<u16>(), 1..4), vec(1_u8..6, 0..3), vec(0_u8..9, 0..3));
    let times = (1_000_000_u64..4_000_000_000, 1_u64..2_592_000);
    ("[a-z]{1,12}", times, lists, option::of(area), r#"[a-zäß"\\ ]{0,20}"#).prop_map(
        |(name, (from_s, length_s), (categories, priorities, customers), area, reason)| {
            WrittenSilence {
                name,
                kind: SilenceKind::Maintenance,
                from: Millis(from_s * 1000),
                until: Millis((from_s + length_s) * 1000),
                regions: vec!["eu1".parse().unwrap()],
                categories,
                priorities,
                customers: customers.into_iter().map(customer).collect(),
                area: area.map(|(lat_e6, lon_e6, km)| Area {
                    middle: Location { lat_e6, lon_e6 },
                    radius_m: km * 1000,
                }),
                reason,
                by: "ann".into(),
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(one in written(), now in 0_u64..5_000_000_000) {
        let silences = Silences::default().with(one.clone(), Millis(0));
        let read = |silences: &Silences| read_silences(&silences.to_string()).unwrap().value;
        prop_assert_eq!(&read(&silences), &silences);
        let now = Millis(now * 1000);
        let ended = silences.with_ended(&one.name, now);
        prop_assert_eq!(ended.is_none(), one.until <= now);
        if let Some(ended) = ended {
            prop_assert!(read(&ended).entries.iter().all(|one| one.is_past(now)));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = read_silences(&text);
    }
}
