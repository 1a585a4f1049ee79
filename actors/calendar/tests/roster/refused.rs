//! What is refused: rosters with all their faults, texts, stored values.

use fieldmesh_calendar::{
    civil::{CivilError, Date, TimeOfDay, Weekdays},
    fault::{Fault, Place},
    interval::{DAY_MS, UnixMs},
    roster::{EXPAND_DAYS_MAX, ExpandError, HOLIDAYS_MAX, Override, ROWS_MAX, Row},
    shift::{Break, Shift},
    zone::{Zone, ZoneError},
};

use crate::rosters::{date, office, time, zone};

#[test]
fn every_fault_is_told_with_its_place() {
    let mut roster = office();
    roster.zone = minicbor::decode(&minicbor::to_vec("Europe/Berln").unwrap()).unwrap();
    let row = |shift| Row::weekly(Weekdays::EVERY_DAY, shift);
    roster.rows.push(row(Shift::day(time("22:00"), time("06:00"))));
    roster.rows.push(row(Shift::day(time("06:00"), time("06:00"))));
    roster.rows.push(row(Shift::night(time("06:00"), time("14:00"))));
    let mut broken = Shift::night(time("22:00"), time("06:00"));
    let one = |start, end| Break { start: time(start), end: time(end) };
    broken.breaks = vec![
        one("01:00", "02:00"),
        one("01:30", "03:00"),
        one("07:00", "07:30"),
        one("04:00", "04:00"),
    ];
    roster.rows.push(Row {
        from: Some(date("2026-06-02")),
        until: Some(date("2026-06-01")),
        ..row(broken)
    });
    let shift =
        Shift { zone: Some(roster.zone.clone()), ..Shift::day(time("09:00"), time("08:00")) };
    roster.overrides.insert(date("2026-06-09"), Override::Shifts(vec![shift]));
    let faults = roster.validate().unwrap_err();
    let text = faults.to_string();
    let expected = [
        "the roster's zone: \"Europe/Berln\" is no zone of the IANA database; is Europe/Berlin meant?",
        "row 2: a shift that ends before it starts, from 22:00 to 06:00; say that it is overnight if it ends on the next day",
        "row 3: a shift that ends before it starts, from 06:00 to 06:00; say that it is overnight if it ends on the next day",
        "row 4: an overnight shift from 06:00 to 14:00 would be longer than a day; leave out that it is overnight, or make two of it",
        "row 5: break 2 starts before the one above it ends; put them in order",
        "row 5: break 3, from 07:00 to 07:30, is not within the shift; move or remove it",
        "row 5: break 4, from 04:00 to 04:00, is not within the shift; move or remove it",
        "the override of 2026-06-09, shift 1: a shift that ends before it starts, from 09:00 to 08:00; say that it is overnight if it ends on the next day",
        "the override of 2026-06-09, shift 1: its zone: \"Europe/Berln\" is no zone of the IANA database; is Europe/Berlin meant?",
        "row 5: it ends on 2026-06-01, before it begins on 2026-06-02; exchange the dates",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert!(matches!(faults.0[1], Fault::EndsBeforeStart(Place::Row(2), _, _)));
}

#[test]
fn sizes_are_bounded() {
    let mut roster = office();
    roster.rows = vec![roster.rows[0].clone(); ROWS_MAX + 1];
    roster.holidays = (1..=201).map(Date::from_days).collect();
    let shifts = vec![Shift::day(time("01:00"), time("02:00")); 9];
    roster.overrides.insert(date("2026-06-09"), Override::Shifts(shifts));
    let faults = roster.validate().unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
    assert!(faults.to_string().contains(&format!("201 holidays, more than {HOLIDAYS_MAX}")));
    let roster = office();
    let schedule = roster.schedule().unwrap();
    let days = EXPAND_DAYS_MAX;
    assert!(schedule.intervals(UnixMs(0), UnixMs(days * DAY_MS)).is_ok());
    let long = schedule.intervals(UnixMs(0), UnixMs(days * DAY_MS + 1));
    assert_eq!(long, Err(ExpandError::TooLong { days: days + 1, max: days }));
    let (start, end) = (UnixMs(5), UnixMs(4));
    assert_eq!(schedule.intervals(start, end), Err(ExpandError::Reversed { start, end }));
    assert_eq!(schedule.intervals(start, start), Ok(vec![]));
}

#[test]
fn text_that_is_no_date_time_or_zone_is_refused() {
    for text in [
        "2026-02-29",
        "2026-13-01",
        "26-01-01",
        "2026-1-01",
        "2200-01-01",
        "1970-01-01",
        "2026-01-01Z",
        "٢٠٢٦-01-01",
        "+026-01-01",
        "",
    ] {
        assert_eq!(Date::parse(text), Err(CivilError::Date(text.to_owned())), "{text}");
    }
    for text in ["24:00", "23:60", "9:00", "09:00:00", "+9:00", "-1:00", "09.00", "０９:００", ""]
    {
        assert_eq!(TimeOfDay::parse(text), Err(CivilError::Time(text.to_owned())), "{text}");
    }
    for text in ["", "MO,", "mo", "MO TU", "XX", "1MO"] {
        assert!(Weekdays::parse(text).is_err(), "{text}");
    }
    assert_eq!(Weekdays::new([]), None);
    assert_eq!(Weekdays::new([7]), None);
    assert_eq!(Weekdays::new([255]), None);
    for (name, meant) in [
        ("Europe/Berlim", Some("Europe/Berlin")),
        ("Berlin", Some("Europe/Berlin")),
        ("new york", Some("America/New_York")),
        ("W. Europe Standard Time", None),
        ("Factory", None),
        ("+02:00", None),
        ("", None),
        ("../../etc/localtime", None),
    ] {
        let nearest = meant.map(str::to_owned);
        let error = ZoneError::Unknown { name: name.to_owned(), nearest };
        assert_eq!(Zone::new(name), Err(error));
    }
    assert!(Zone::new(&"x".repeat(100_000)).unwrap_err().to_string().len() < 200);
    assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
    assert_eq!(zone("utc"), Zone::utc());
}

#[test]
fn stored_values_out_of_bounds_are_refused() {
    assert!(minicbor::decode::<Date>(&minicbor::to_vec(0u32).unwrap()).is_err());
    assert!(minicbor::decode::<Date>(&minicbor::to_vec(84_006u32).unwrap()).is_err());
    assert!(minicbor::decode::<TimeOfDay>(&minicbor::to_vec(1_440u16).unwrap()).is_err());
    assert!(minicbor::decode::<Weekdays>(&minicbor::to_vec(0u8).unwrap()).is_err());
    assert!(minicbor::decode::<Weekdays>(&minicbor::to_vec(128u8).unwrap()).is_err());
}
