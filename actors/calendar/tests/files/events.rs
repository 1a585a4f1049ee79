//! Instants, files and events for the other tests, given or by chance.

use fieldmesh_calendar::{
    civil::{Date, Weekdays},
    ical::{Bound, End, Event, File, Frequency, Moment, Occurrence, Rule, import, occurrences},
    interval::{DAY_MS, UnixMs},
    zone::Zone,
};
use proptest::prelude::*;

pub(crate) fn at(text: &str) -> UnixMs {
    let at: jiff::Timestamp = text.parse().unwrap();
    UnixMs(u64::try_from(at.as_millisecond()).unwrap())
}

pub(crate) fn zone(name: &str) -> Zone {
    Zone::new(name).unwrap()
}

/// A file with these lines in one event that has a uid.
pub(crate) fn with_event(lines: &[&str]) -> String {
    let lines = lines.join("\r\n");
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:a\r\n{lines}\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

pub(crate) fn read(text: &str) -> File {
    import(text.as_bytes(), &zone("Europe/Berlin")).unwrap_or_else(|error| panic!("{error}"))
}

/// Starts and ends of what takes place in a range.
pub(crate) fn times(file: &File, start: &str, end: &str) -> Vec<(String, String)> {
    let found: Vec<Occurrence> = occurrences(file, at(start), at(end)).unwrap();
    found.iter().map(|one| (one.start.to_string(), one.end.to_string())).collect()
}

fn zones() -> impl Strategy<Value = Zone> {
    let names =
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"];
    prop::sample::select(names.to_vec()).prop_map(zone)
}

fn date() -> impl Strategy<Value = Date> {
    (20_000u32..21_000).prop_map(Date::from_days)
}

fn moment(is_day: bool) -> BoxedStrategy<Moment> {
    if is_day {
        return date().prop_map(Moment::Day).boxed();
    }
    let wall = (date(), 0u32..86_400, zones());
    let wall = wall.prop_map(|(date, second, zone)| Moment::Wall { date, second, zone });
    let utc =
        (20_000u64 * 86_400..21_000 * 86_400).prop_map(|second| Moment::Utc(UnixMs(second * 1000)));
    prop_oneof![3 => wall, 1 => utc].boxed()
}

/// The end of an event with that start: later, and of its kind.
fn end(start: Moment) -> BoxedStrategy<End> {
    let after = match start {
        Moment::Day(_) => (1u32..9).prop_map(|days| End::After { days, seconds: 0 }).boxed(),
        _ => (0u32..3, 0u32..200_000)
            .prop_map(|(days, seconds)| End::After { days, seconds })
            .boxed(),
    };
    let at = (1u32..5).prop_map(move |days| {
        End::At(match &start {
            Moment::Day(date) => Moment::Day(Date::from_days(date.days() + days)),
            Moment::Wall { date, second, zone } => {
                let date = Date::from_days(date.days() + days);
                Moment::Wall { date, second: *second, zone: zone.clone() }
            }
            Moment::Utc(at) => Moment::Utc(at.plus(u64::from(days) * DAY_MS - 1000)),
        })
    });
    prop_oneof![after, at].boxed()
}

/// A rule that has its start.
pub(crate) fn rule(start: Moment) -> BoxedStrategy<Rule> {
    let date = match &start {
        Moment::Day(date) | Moment::Wall { date, .. } => *date,
        Moment::Utc(at) => Date::from_days(u32::try_from(at.0 / DAY_MS).unwrap()),
    };
    let is_day = matches!(start, Moment::Day(_));
    let until = date.days()..date.days() + 300;
    let until = until.prop_map(move |days| {
        let date = Date::from_days(days);
        Bound::Until(if is_day {
            Moment::Day(date)
        } else {
            Moment::Utc(UnixMs(u64::from(days) * DAY_MS))
        })
    });
    let bound = prop_oneof![Just(Bound::Never), (1u32..60).prop_map(Bound::Count), until];
    let days = prop::option::of(prop::collection::vec(0u8..7, 0..4));
    let frequency = prop_oneof![Just(Frequency::Daily), Just(Frequency::Weekly)];
    (frequency, 1u16..6, days, bound, 0u8..7)
        .prop_map(move |(frequency, interval, days, bound, week_start)| {
            let with_start = |mut days: Vec<u8>| {
                days.push(date.weekday());
                Weekdays::new(days).unwrap()
            };
            Rule { frequency, interval, days: days.map(with_start), bound, week_start }
        })
        .boxed()
}

fn event() -> impl Strategy<Value = Event> {
    let start = any::<bool>().prop_flat_map(|is_day| (Just(is_day), moment(is_day)));
    let parts = start.prop_flat_map(|(is_day, start)| {
        let dates = || prop::collection::vec(moment(is_day), 0..3);
        (
            Just(start.clone()),
            end(start.clone()),
            prop::option::of(rule(start)),
            dates(),
            dates(),
            prop::option::weighted(0.2, moment(is_day)),
        )
    });
    let summary = "[a-zA-Z ,;:\\\\\n\"äß漢😀]{0,90}";
    (parts, summary, any::<bool>()).prop_map(|(parts, summary, cancelled)| {
        let (start, end, rule, added, removed, replaces) = parts;
        let rule = rule.filter(|_| replaces.is_none());
        let uid = String::new();
        Event { uid, summary, cancelled, start, end, rule, added, removed, replaces }
    })
}

pub(crate) fn file() -> impl Strategy<Value = File> {
    (zones(), prop::collection::vec(event(), 0..6)).prop_map(|(zone, mut events)| {
        for (number, event) in events.iter_mut().enumerate() {
            event.uid = format!("{number};a,b\\c@fieldmesh");
        }
        File { zone, events }
    })
}
