//! Files as other programs write them, and everything that is refused, with its line.

use fieldmesh_calendar::{
    ical::{BYTES_MAX, EVENTS_MAX, LINE_BYTES_MAX, Moment, import},
    zone::Zone,
};

use crate::events::{read, times, with_event, zone};

/// As web calendars export: zones written out, alarms, folds, unknown properties.
const FROM_A_WEB_CALENDAR: &str = "BEGIN:VCALENDAR\r\n\
PRODID:-//Some//Calendar 70.9054//EN\r\n\
VERSION:2.0\r\n\
CALSCALE:GREGORIAN\r\n\
METHOD:PUBLISH\r\n\
X-WR-CALNAME:Dienst\r\n\
X-WR-TIMEZONE:Europe/Berlin\r\n\
BEGIN:VTIMEZONE\r\n\
TZID:Europe/Berlin\r\n\
X-LIC-LOCATION:Europe/Berlin\r\n\
BEGIN:DAYLIGHT\r\n\
TZOFFSETFROM:+0100\r\n\
TZOFFSETTO:+0200\r\n\
TZNAME:CEST\r\n\
DTSTART:19700329T020000\r\n\
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n\
END:DAYLIGHT\r\n\
BEGIN:STANDARD\r\n\
TZOFFSETFROM:+0200\r\n\
TZOFFSETTO:+0100\r\n\
TZNAME:CET\r\n\
DTSTART:19701025T030000\r\n\
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\n\
END:STANDARD\r\n\
END:VTIMEZONE\r\n\
BEGIN:VEVENT\r\n\
DTSTART;TZID=Europe/Berlin:20260105T080000\r\n\
DTEND;TZID=Europe/Berlin:20260105T160000\r\n\
RRULE:FREQ=WEEKLY;WKST=MO;UNTIL=20260331T215959Z;INTERVAL=2;BYDAY=MO,TH\r\n\
EXDATE;TZID=Europe/Berlin:20260119T080000\r\n\
DTSTAMP:20260101T101010Z\r\n\
ORGANIZER;CN=\"A; B: C\":mailto:a@example.org\r\n\
UID:040000008200E00074C5B7101A82E008\r\n\
\x2000000@example.org\r\n\
DESCRIPTION:Zeile\\nzwei\\, drei\r\n\
SEQUENCE:2\r\n\
STATUS:CONFIRMED\r\n\
SUMMARY;LANGUAGE=de:Früh\r\n\
\x20dienst\\, Nord\r\n\
TRANSP:OPAQUE\r\n\
BEGIN:VALARM\r\n\
ACTION:DISPLAY\r\n\
TRIGGER:-P0DT0H30M0S\r\n\
DESCRIPTION:x\r\n\
END:VALARM\r\n\
END:VEVENT\r\n\
END:VCALENDAR\r\n";

#[test]
fn a_file_of_a_web_calendar_is_read() {
    let file = read(FROM_A_WEB_CALENDAR);
    let event = &file.events[0];
    assert_eq!(event.summary, "Frühdienst, Nord");
    assert_eq!(event.uid, "040000008200E00074C5B7101A82E00800000@example.org");
    let starts: Vec<String> = times(&file, "2026-01-01T00:00:00Z", "2026-12-01T00:00:00Z")
        .into_iter()
        .map(|(start, _)| start)
        .collect();
    assert_eq!(
        starts[..4],
        [
            "2026-01-05T07:00:00Z",
            "2026-01-08T07:00:00Z",
            "2026-01-22T07:00:00Z",
            "2026-02-02T07:00:00Z"
        ]
    );
    assert_eq!(starts.last().unwrap(), "2026-03-30T06:00:00Z");
    // Without carriage returns, with a mark of the byte order, and with empty lines it is the same.
    let other = format!("\u{feff}{}\n\n", FROM_A_WEB_CALENDAR.replace("\r\n", "\n"));
    assert_eq!(read(&other), file);
}

#[test]
fn a_fold_may_be_within_a_letter_and_a_zone_in_quotation_marks() {
    let text = with_event(&["DTSTART;tzid=\"europe/berlin\":20260105T080000", "SUMMARY:aäb"]);
    let mut bytes = text.into_bytes();
    let letter = bytes.iter().position(|byte| *byte == 0xC3).unwrap();
    bytes.splice(letter + 1..letter + 1, *b"\r\n ");
    let file = import(&bytes, &zone("UTC")).unwrap();
    assert_eq!(file.events[0].summary, "aäb");
    let Moment::Wall { zone, second, .. } = &file.events[0].start else { panic!("{file:?}") };
    assert_eq!((zone.name(), *second), ("Europe/Berlin", 8 * 3600));
}

#[test]
fn times_without_a_zone_are_in_the_files() {
    let text = with_event(&["DTSTART:20260105T080000"]);
    let file = import(text.as_bytes(), &zone("Asia/Kolkata")).unwrap();
    assert_eq!(
        times(&file, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")[0].0,
        "2026-01-05T02:30:00Z"
    );
}

#[test]
fn what_is_not_read_is_refused_with_its_line() {
    // The event's lines begin with the sixth.
    let start = "DTSTART;TZID=Europe/Berlin:20260105T080000";
    let cases: &[(&[&str], &str)] = &[
        (&[start, "RRULE:FREQ=MONTHLY"], "line 7: \"FREQ=MONTHLY\" is not read in a rule"),
        (&[start, "RRULE:FREQ=WEEKLY;BYDAY=1MO"], "line 7: \"BYDAY=1MO\""),
        (&[start, "RRULE:FREQ=WEEKLY;BYMONTH=1"], "line 7: \"BYMONTH=1\""),
        (&[start, "RRULE:FREQ=WEEKLY;INTERVAL=0"], "line 7: \"INTERVAL=0\""),
        (&[start, "RRULE:FREQ=WEEKLY;COUNT=+2"], "line 7: \"COUNT=+2\""),
        (&[start, "RRULE:FREQ=WEEKLY;COUNT=2;UNTIL=20260201T000000Z"], "line 7: \"UNTIL=2026"),
        (&[start, "RRULE:FREQ=WEEKLY;FREQ=DAILY"], "line 7: \"FREQ=DAILY\""),
        (&[start, "RRULE:INTERVAL=2"], "line 7: \"INTERVAL=2\""),
        (&[start, "RRULE:FREQ=WEEKLY;"], "line 7: \"\""),
        (&[start, "RRULE:FREQ=WEEKLY;UNTIL=20260201"], "line 7: \"20260201\" is no date or time"),
        (&[start, "RRULE:FREQ=WEEKLY;BYDAY=TU"], "line 7: the start is not on a day of the rule"),
        (&["RRULE:FREQ=WEEKLY;BYDAY=TU", start], "line 6: the start is not on a day of the rule"),
        (&[start, "RRULE:FREQ=DAILY", "RRULE:FREQ=DAILY"], "line 8: RRULE stands twice"),
        (&[start, "EXRULE:FREQ=DAILY"], "line 7: EXRULE is not read here"),
        (&[start, "DTEND;TZID=Europe/Berlin:20260105T080000"], "line 7: the end is not after"),
        (&[start, "DTEND;VALUE=DATE:20260106"], "line 7: it is a day and the start a time"),
        (
            &[start, "DURATION:PT1H", "DTEND;TZID=Europe/Berlin:20260105T090000"],
            "line 8: DTEND stands twice",
        ),
        (&[start, "DURATION:-PT1H"], "line 7: \"-PT1H\" is no duration"),
        (&[start, "DURATION:P"], "line 7: \"P\" is no duration"),
        (&[start, "DURATION:P1DT"], "line 7: \"P1DT\" is no duration"),
        (&[start, "DURATION:PT1M1H"], "line 7: \"PT1M1H\" is no duration"),
        (&[start, "DURATION:PT99999999999999999999S"], "line 7: \"PT999"),
        (&[start, "DURATION:P401D"], "line 7: an event of more than 400 days"),
        (&[start, "EXDATE;VALUE=DATE:20260106"], "line 7: it is a day and the start a time"),
        (
            &[start, "RDATE;VALUE=PERIOD:20260106T000000Z/PT1H"],
            "line 7: the parameter VALUE of RDATE",
        ),
        (
            &[start, "RECURRENCE-ID;RANGE=THISANDFUTURE:20260106T000000Z"],
            "line 7: the parameter RANGE",
        ),
        (
            &[start, "RECURRENCE-ID:20260106T000000Z", "RRULE:FREQ=DAILY"],
            "line 8: an event in the place",
        ),
        (&[start, "STATUS:MAYBE"], "line 7: the status \"MAYBE\" is unknown"),
        (&[start, "UID:b"], "line 7: UID stands twice"),
        (&["SUMMARY:x"], "line 4: the event has no DTSTART"),
        (
            &["DTSTART;TZID=W. Europe Standard Time:20260105T080000"],
            "line 6: \"W. Europe Standard Time\" is no zone",
        ),
        (
            &["DTSTART;TZID=Europe/Berln:20260105T080000"],
            "line 6: \"Europe/Berln\" is no zone of the IANA database; is Europe/Berlin meant?",
        ),
        (&["DTSTART;TZID=Europe/Berlin:20260105T080000Z"], "line 6: a time in UTC"),
        (&["DTSTART;TZID=Europe/Berlin;VALUE=DATE:20260105"], "line 6: a whole day has no TZID"),
        (&["DTSTART:20260105"], "line 6: \"20260105\" is no date or time"),
        (&["DTSTART:20260230T000000Z"], "line 6: \"20260230T000000Z\""),
        (&["DTSTART:20260105T240000Z"], "line 6: \"20260105T240000Z\""),
        (&["DTSTART:2026-01-05T00:00:00Z"], "line 6: \"2026-01-05T00:00:00Z\""),
        (&["DTSTART:19691231T000000Z"], "line 6: \"19691231T000000Z\""),
        (&["DTSTART:２０２６０１０５T000000Z"], "line 6: \"２０２６"),
        (
            &["DTSTART;TZID=\"Europe/Berlin:20260105T080000"],
            "line 6: it is not written as NAME:value",
        ),
        (&["no line"], "line 6: it is not written as NAME:value"),
        (&[start, "X-A:\u{1}"], "line 7: it is not UTF-8 text"),
        (&[start, "BEGIN:VJOURNAL"], "line 7: VJOURNAL is not read here"),
        (&[start, "END:VCALENDAR"], "line 7: END:VCALENDAR does not close VEVENT"),
        (
            &[start, "END:VEVENT", "BEGIN:VEVENT", "UID:a", start],
            "line 11: the event \"a\" stands twice",
        ),
    ];
    for (lines, wanted) in cases {
        let text = with_event(lines);
        let error = import(text.as_bytes(), &zone("Europe/Berlin"));
        let error = error.expect_err(&format!("{lines:?}")).to_string();
        assert!(error.starts_with(wanted), "{lines:?}\n{error}\n{wanted}");
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let refused = |text: &str| import(text.as_bytes(), &Zone::utc()).unwrap_err().to_string();
    assert!(refused("").contains("begins with BEGIN:VCALENDAR"));
    assert!(refused("<html>").starts_with("line 1: it is not written as NAME:value"));
    assert!(refused("BEGIN:VEVENT\r\n").contains("begins with BEGIN:VCALENDAR"));
    assert!(refused("\u{feff}X:1\r\n").starts_with("line 1: a calendar file begins"));
    let open = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\n";
    assert!(refused(open).starts_with("line 3: the file ends within VEVENT"));
    let version = "BEGIN:VCALENDAR\r\nVERSION:1.0\r\n";
    assert!(refused(version).starts_with("line 2: version \"1.0\""));
    let method = "BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\n";
    assert!(refused(method).starts_with("line 2: a calendar with the method \"CANCEL\""));
    let late = format!("{}SUMMARY:after\r\n", with_event(&["DTSTART:20260105T080000Z"]));
    assert!(refused(&late).starts_with("line 9: a calendar file begins"));
    let bytes = b"BEGIN:VCALENDAR\r\nX-A:\xFF\r\n";
    assert!(
        import(bytes, &Zone::utc()).unwrap_err().to_string().starts_with("line 2: it is not UTF-8")
    );
}

#[test]
fn sizes_are_bounded() {
    let refused = |text: &str| import(text.as_bytes(), &Zone::utc()).unwrap_err().to_string();
    let large = "x".repeat(BYTES_MAX + 1);
    assert!(refused(&large).starts_with("line 1: the file has 4194305 bytes, more than 4194304"));
    let long = format!("BEGIN:VCALENDAR\r\nX-A:{}\r\n", "x".repeat(LINE_BYTES_MAX));
    assert!(refused(&long).starts_with("line 2: it has more than 65536 bytes"));
    let folded = format!("BEGIN:VCALENDAR\r\nX-A:x\r\n{}", " xxxxxxxx\r\n".repeat(10_000));
    assert!(refused(&folded).starts_with("line 2: it has more than 65536 bytes"));
    let dates = vec!["20260105T080000Z"; 2_001].join(",");
    let text = with_event(&["DTSTART:20260105T080000Z", &format!("EXDATE:{dates}")]);
    assert!(refused(&text).starts_with("line 7: more than 2000 dates"));
    let event = |number| {
        format!("BEGIN:VEVENT\r\nUID:{number}\r\nDTSTART:20260105T080000Z\r\nEND:VEVENT\r\n")
    };
    let events: String = (0..=EVENTS_MAX).map(event).collect();
    let text = format!("BEGIN:VCALENDAR\r\n{events}END:VCALENDAR\r\n");
    assert!(refused(&text).ends_with("more than 4096 events; export a shorter time"));
    let summary = format!("SUMMARY:{}", "x".repeat(1_025));
    let text = with_event(&["DTSTART:20260105T080000Z", &summary]);
    assert!(refused(&text).starts_with("line 7: SUMMARY has more than 1024 bytes"));
}
