//! What is written is read again here and by a reader that others wrote.

use std::collections::BTreeMap;

use fieldmesh_calendar::{
    civil::{TimeOfDay, Weekdays},
    ical::{End, Event, ExportError, File, Moment, export, import, shifts},
    interval::{DAY_MS, Interval, UnixMs},
    roster::{Roster, Row},
    shift::{Break, Shift},
    zone::names,
};
use icalendar::parser::{Component, Property, read_calendar, unfold};
use jiff::{Timestamp, civil::DateTime, tz::TimeZoneDatabase};
use proptest::prelude::*;

use crate::events::{at, file, read, with_event, zone};

const STAMP: &str = "2026-01-02T03:04:05Z";

fn nights() -> Roster {
    let time = |text| TimeOfDay::parse(text).unwrap();
    let mut roster = Roster::new(zone("Europe/Berlin"));
    let mut shift = Shift::night(time("22:00"), time("06:00"));
    shift.breaks.push(Break { start: time("02:15"), end: time("02:45") });
    roster.rows.push(Row::weekly(Weekdays::EVERY_DAY, shift));
    roster
}

fn text_of<'a>(component: &'a Component<'_>, name: &str) -> &'a str {
    component.find_prop(name).unwrap_or_else(|| panic!("{name}")).val.as_str()
}

/// The instant of a property, by the database alone.
fn instant(property: &Property<'_>) -> UnixMs {
    let zone = property.params.iter().find(|one| one.key.as_str() == "TZID");
    let value = property.val.as_str();
    let local: DateTime = DateTime::strptime("%Y%m%dT%H%M%S", value.trim_end_matches('Z')).unwrap();
    let zone = zone.map_or("UTC", |one| one.val.as_ref().unwrap().as_str());
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let at = zone.to_ambiguous_timestamp(local).compatible().unwrap();
    UnixMs(u64::try_from(at.as_millisecond()).unwrap())
}

#[test]
fn another_reader_reads_the_shifts_of_a_year_with_both_changes_of_the_clocks() {
    let roster = nights();
    let schedule = roster.schedule().unwrap();
    let (start, end) = (at("2026-01-01T12:00:00Z"), at("2027-01-01T12:00:00Z"));
    let wanted = schedule.intervals(start, end).unwrap();
    let file = shifts(&schedule, start, end, "t-17", "Nachtdienst, Süd; \"A\"").unwrap();
    let text = unfold(&export(&file, at(STAMP)).unwrap());
    let calendar = read_calendar(&text).unwrap();
    let events: Vec<_> =
        calendar.components.iter().filter(|one| one.name.as_str() == "VEVENT").collect();
    let found: Vec<Interval> = events
        .iter()
        .map(|event| Interval {
            start: instant(event.find_prop("DTSTART").unwrap()),
            end: instant(event.find_prop("DTEND").unwrap()),
        })
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(found.len(), 365 * 2 - 1, "in one night the break is in the gap");
    assert_eq!(text_of(events[0], "DTSTAMP"), "20260102T030405Z");
    assert_eq!(text_of(events[0], "UID"), format!("{}-t-17", wanted[0].start.0 / 1000));
    let summary = events[0].find_prop("SUMMARY").unwrap().val.clone().unescape_text();
    assert_eq!(summary.as_str(), "Nachtdienst, Süd; \"A\"");
}

#[test]
fn a_stretch_keeps_its_uid_when_others_change() {
    let mut roster = nights();
    let (start, end) = (at("2026-01-05T12:00:00Z"), at("2026-01-09T12:00:00Z"));
    let uids = |roster: &Roster| -> Vec<String> {
        let file = shifts(&roster.schedule().unwrap(), start, end, "t", "s").unwrap();
        file.events.into_iter().map(|event| event.uid).collect()
    };
    let before = uids(&roster);
    let off = fieldmesh_calendar::civil::Date::parse("2026-01-06").unwrap();
    roster.overrides.insert(off, fieldmesh_calendar::roster::Override::Off);
    let after = uids(&roster);
    assert_eq!(after.len() + 2, before.len());
    assert!(after.iter().all(|uid| before.contains(uid)));
}

/// From when on a zone has which offset, as its VTIMEZONE says.
fn observances(timezone: &Component<'_>) -> BTreeMap<i64, i64> {
    let seconds = |text: &str| {
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let part = |from: usize| text.get(from..from + 2).map_or(0, |two| two.parse().unwrap());
        sign * (part(1) * 3600 + part(3) * 60 + part(5))
    };
    let begin = |one: &Component<'_>| {
        let local: DateTime = DateTime::strptime("%Y%m%dT%H%M%S", text_of(one, "DTSTART")).unwrap();
        let local = jiff::tz::Offset::UTC.to_timestamp(local).unwrap().as_second();
        (local - seconds(text_of(one, "TZOFFSETFROM")), seconds(text_of(one, "TZOFFSETTO")))
    };
    timezone.components.iter().map(begin).collect()
}

#[test]
fn the_rules_written_of_every_zone_are_its_rules() {
    let second = |text| i64::try_from(at(text).0 / 1000).unwrap();
    let (first, last) = (second("2024-01-10T00:00:00Z"), second("2030-06-01T00:00:00Z"));
    for name in names() {
        let wall = |date: &str| Moment::Wall {
            date: fieldmesh_calendar::civil::Date::parse(date).unwrap(),
            second: 0,
            zone: zone(&name),
        };
        let event = Event {
            uid: "a".to_owned(),
            summary: String::new(),
            cancelled: false,
            start: wall("2024-01-10"),
            end: End::After { days: 1, seconds: 0 },
            rule: None,
            added: vec![wall("2030-06-01")],
            removed: vec![],
            replaces: None,
        };
        let file = File { zone: zone(&name), events: vec![event] };
        let text = unfold(&export(&file, at(STAMP)).unwrap());
        let calendar = read_calendar(&text).unwrap();
        let timezone =
            calendar.components.iter().find(|one| one.name.as_str() == "VTIMEZONE").unwrap();
        assert_eq!(text_of(timezone, "TZID"), name);
        let observances = observances(timezone);
        let known = TimeZoneDatabase::bundled().get(&name).unwrap();
        for second in (first..last).step_by(3 * 3600) {
            let (_, offset) = observances.range(..=second).next_back().unwrap();
            let right = known.to_offset(Timestamp::from_second(second).unwrap()).seconds();
            assert_eq!(*offset, i64::from(right), "{name} at {second}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_written_is_read_again(file in file()) {
        let text = export(&file, at(STAMP)).unwrap();
        for line in text.split_terminator("\r\n") {
            prop_assert!(line.len() <= 75 && !line.contains(['\r', '\n']), "{:?}", line);
        }
        prop_assert!(text.ends_with("\r\n"));
        prop_assert_eq!(import(text.as_bytes(), &file.zone).unwrap(), file);
    }

    #[test]
    fn another_reader_reads_every_file(file in file()) {
        let text = unfold(&export(&file, at(STAMP)).unwrap());
        let calendar = read_calendar(&text).unwrap();
        let events = calendar.components.iter().filter(|one| one.name.as_str() == "VEVENT");
        let found: Vec<String> = events
            .map(|one| one.find_prop("UID").unwrap().val.clone().unescape_text().to_string())
            .collect();
        let wanted: Vec<String> = file.events.iter().map(|event| event.uid.clone()).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_file_with_something_changed_is_read_or_refused(
        file in file(), place in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut text = export(&file, at(STAMP)).unwrap().into_bytes();
        let place = place.index(text.len());
        let end = (place + bytes.len() / 2).min(text.len());
        text.splice(place..end, bytes);
        if let Ok(read) = import(&text, &file.zone) {
            let (start, end) = (UnixMs(20_400 * DAY_MS), UnixMs(20_500 * DAY_MS));
            _ = fieldmesh_calendar::ical::occurrences(&read, start, end);
            let again = export(&read, at(STAMP)).unwrap();
            prop_assert_eq!(import(again.as_bytes(), &file.zone).unwrap(), read);
        }
    }

    #[test]
    fn bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        _ = import(&bytes, &zone("UTC"));
    }
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let mut file = read(&with_event(&["DTSTART:20260101T000000Z", "DURATION:PT1H"]));
    file.events[0].uid = "x".repeat(256);
    let error = export(&file, at(STAMP)).unwrap_err();
    assert_eq!(error.to_string(), "event 1: its uid has 256 bytes, more than 255; shorten it");
    assert!(matches!(error, ExportError::TextTooLong { number: 1, .. }));
}
