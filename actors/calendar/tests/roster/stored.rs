//! Stored rosters stay readable.

use fieldmesh_calendar::{
    civil::Weekdays,
    interval::UnixMs,
    roster::{Override, Roster, Row},
    shift::Shift,
    sla::{Calendar, Pause},
};

use crate::rosters::{date, office, time, zone};

/// A stored roster with everything that can be in one.
fn golden() -> Roster {
    let mut roster = office();
    roster.rows[0].from = Some(date("2026-01-01"));
    let night = Shift::night(time("22:00"), time("06:00"));
    roster.rows.push(Row::weekly(Weekdays::parse("SA,SU").unwrap(), night.clone()));
    roster.holidays.insert(date("2026-12-25"));
    roster.overrides.insert(date("2026-12-24"), Override::Off);
    let lent = Shift { zone: Some(zone("Europe/Lisbon")), ..night };
    roster.overrides.insert(date("2026-12-31"), Override::Shifts(vec![lent]));
    roster
}

#[test]
fn stored_bytes_stay_readable() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes = minicbor::to_vec(golden()).unwrap();
    assert_eq!(hex(&bytes), GOLDEN);
    assert_eq!(minicbor::decode::<Roster>(&bytes).unwrap(), golden());
}

const GOLDEN: &str = "846d4575726f70652f4265726c696e8283181f841901e01903fcf481821902d01902ee194fe6\
82186084190528190168f580a219514b8200801951528201818185190528190168f5806d4575726f70652f4c6973626f6e\
8119514c";

#[test]
fn stored_calendars_and_pauses_stay_readable() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let always = minicbor::to_vec(Calendar::Always).unwrap();
    assert_eq!(hex(&always), "820080");
    let hours = minicbor::to_vec(Calendar::Hours(golden())).unwrap();
    assert_eq!(hex(&hours), format!("820181{GOLDEN}"));
    let pauses = [
        Pause { from: UnixMs(1_000), until: None },
        Pause { from: UnixMs(1_000), until: Some(UnixMs(2_000)) },
    ];
    assert_eq!(hex(&minicbor::to_vec(pauses).unwrap()), "82811903e8821903e81907d0");
    assert_eq!(minicbor::decode::<Calendar>(&hours).unwrap(), Calendar::Hours(golden()));
}
