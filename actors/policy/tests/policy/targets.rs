//! Calendars and targets: what is promised to which ticket, and what is wrong with what cannot be.

use fieldmesh_calendar::{
    interval::UnixMs,
    sla::{Pauses, due},
};
use fieldmesh_policy::{Ticket, read_targets};
use proptest::prelude::*;

use super::{TARGETS, assert_all, found};

#[test]
fn the_example_promises_in_opening_hours() {
    let read = read_targets(TARGETS).unwrap();
    assert_eq!(read.warnings, []);
    let of = |priority, tier| {
        let target = read.value.target_of(&Ticket { priority, category: 1, tier }, 9);
        target.map(|target| (target.name, target.respond_ms, target.finish_ms))
    };
    assert_eq!(of(1, 3), Some(("urgent".into(), Some(900_000), Some(14_400_000))));
    assert_eq!(of(3, 1), Some(("gold".into(), Some(3_600_000), Some(28_800_000))));
    assert_eq!(of(3, 2), Some(("standard".into(), None, Some(172_800_000))));
    let gold = read.value.target_of(&Ticket { priority: 3, category: 1, tier: 1 }, 9).unwrap();
    // 2026-12-24 11:00 in Berlin: one hour that day, the rest on Monday the 28th until 15:00.
    let (opened, finished) = (UnixMs(1_798_106_400_000), UnixMs(1_798_466_400_000));
    let hours = gold.calendar.hours().unwrap();
    assert_eq!(due(opened, gold.finish_ms.unwrap(), &hours, &Pauses::none()), Some(finished));
}

#[test]
fn every_mistake_is_found_where_it_is() {
    let text = r#"[[calendar]]
name = "always"
zone = "Europe/Berln"
hours = [{ days = "MO,XX", from = "8:00", until = "18:00" }]
[[calendar]]
name = "c"
zone = "UTC"
hours = [{ days = "MO", from = "18:00", until = "08:00" }]
holidays = ["2026-13-01"]
[[calendar]]
name = "never"
zone = "UTC"
hours = []
[[target]]
name = "t"
calendar = "offce"
respond = "5h"
finish = "4h"
[[target]]
name = "t"
calendar = "c"
respond = "1s"
priorities = [1]
[[target]]
name = "u"
calendar = "c"
"#;
    assert_all(
        &found(read_targets(text)),
        &[
            ("2:8: error: calendar `always`: ", "another calendar has this name"),
            ("3:8: error: ", "is Europe/Berlin meant?"),
            ("4:19: error: ", "names no days of the week"),
            ("4:35: error: ", "is no time of day"),
            ("8:49: error: ", "closes at 08:00, before it opens at 18:00"),
            ("9:13: error: ", "is no date"),
            ("11:1: error: calendar `never`: ", "never opens"),
            ("16:12: error: target `t`: ", "there is no calendar `offce`"),
            ("17:11: error: ", "longer to respond than to finish"),
            ("22:11: error: ", "`respond` is 1s, not 10s to 92d"),
            ("25:1: error: target `u`: ", "promises nothing"),
        ],
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = read_targets(&text);
    }
}
