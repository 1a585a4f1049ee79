//! Every transition of every zone of twenty years, against a count minute by minute.
//!
//! The count knows only which civil time a minute of UTC has, which is never in doubt, and the rule: a
//! shift has started once the wall has shown its start or more; it has ended once the wall shows its
//! end or more for good, and its end not again. **Not here:** what the implementation does to get
//! there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say how much they covered"
)]

use fieldmesh_calendar::{
    civil::{Date, TimeOfDay, Weekdays},
    interval::{Interval, UnixMs},
    roster::{Roster, Row},
    shift::{Break, Shift},
    zone::{Zone, names},
};
use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

const DAY: i64 = 24 * 60;
/// Minutes on each side of a transition that are compared, and that are known around it.
const COMPARED: i64 = 3 * DAY;
const KNOWN: i64 = 6 * DAY;

/// A shift by minutes of the wall after midnight of its date; `days` as in a row.
#[derive(Debug, Clone)]
struct Pattern {
    start: i64,
    length: i64,
    breaks: Vec<(i64, i64)>,
    days: Weekdays,
}

impl Pattern {
    fn new(start: i64, length: i64) -> Self {
        let days = Weekdays::EVERY_DAY;
        Self { start: start.rem_euclid(DAY), length, breaks: vec![], days }
    }

    /// With a break from `from` minutes after the start.
    fn with(mut self, from: i64, length: i64) -> Self {
        self.breaks.push((from, from + length));
        self
    }

    fn row(&self) -> Row {
        let time = |minute: i64| {
            let minute = u16::try_from((self.start + minute).rem_euclid(DAY)).unwrap();
            TimeOfDay::new(minute / 60, minute % 60).unwrap()
        };
        let breaks = self.breaks.iter();
        let shift = Shift {
            start: time(0),
            end: time(self.length),
            overnight: self.start + self.length >= DAY,
            breaks: breaks.map(|(from, to)| Break { start: time(*from), end: time(*to) }).collect(),
            zone: None,
            skill: None,
        };
        Row::weekly(self.days, shift)
    }
}

/// Patterns for a transition at which the wall skips or repeats `low` to `high`, minutes of its day.
fn patterns(low: i64, high: i64, weekday: u8) -> Vec<Vec<Pattern>> {
    let (middle, width) = (i64::midpoint(low, high), high - low);
    let one = |pattern| vec![pattern];
    let on_that_day =
        Pattern { days: Weekdays::new([weekday]).unwrap(), ..Pattern::new(middle, 240) };
    vec![
        one(Pattern::new(8 * 60, 9 * 60).with(240, 30)),
        one(Pattern::new(22 * 60, 8 * 60).with(200, 50)),
        one(on_that_day),
        one(Pattern::new(middle - 300, 300).with(240, 60)),
        one(Pattern::new(low + width / 4, width / 2)),
        one(Pattern::new(low, width)),
        one(Pattern::new(0, DAY).with((middle - 30).rem_euclid(DAY).min(DAY - 45), 30)),
        one(Pattern::new(middle - 90, 300).with(90, 45)),
        vec![Pattern::new(low - 120, 120), Pattern::new(high, 100)],
    ]
}

/// What the wall shows in each minute around a transition, as minutes after 1970-01-01 00:00.
struct Wall {
    first: i64,
    shown: Vec<i64>,
    /// The most that it showed until then.
    most: Vec<i64>,
    /// The least that it will show from then on.
    least: Vec<i64>,
}

impl Wall {
    fn new(zone: &TimeZone, middle: i64) -> Self {
        let first = middle - KNOWN;
        let epoch = jiff::civil::date(1970, 1, 1).to_datetime(jiff::civil::Time::midnight());
        let show = |minute: i64| {
            let wall = zone.to_datetime(Timestamp::from_second(minute * 60).unwrap());
            wall.duration_since(epoch).as_secs().div_euclid(60)
        };
        let shown: Vec<i64> = (first..middle + KNOWN).map(show).collect();
        let mut most = shown.clone();
        for index in 1..most.len() {
            most[index] = most[index].max(most[index - 1]);
        }
        let mut least = shown.clone();
        for index in (0..least.len() - 1).rev() {
            least[index] = least[index].min(least[index + 1]);
        }
        Self { first, shown, most, least }
    }

    /// Whether what starts and ends at those times of the wall is under way in that minute.
    fn is_between(&self, index: usize, start: i64, end: i64) -> bool {
        let has_started = self.most[index] >= start;
        let has_ended = self.least[index] >= end && self.least[index + 1] > end;
        has_started && !has_ended
    }

    fn is_worked(&self, index: usize, pattern: &Pattern) -> bool {
        let today = self.shown[index].div_euclid(DAY);
        (today - 2..=today + 1).any(|date| {
            let weekday = u8::try_from((date + 3).rem_euclid(7)).unwrap();
            let start = date * DAY + pattern.start;
            let mut breaks = pattern.breaks.iter();
            pattern.days.contains(weekday)
                && self.is_between(index, start, start + pattern.length)
                && !breaks.any(|(from, to)| self.is_between(index, start + from, start + to))
        })
    }

    fn worked(&self, range: std::ops::Range<i64>, patterns: &[Pattern]) -> Vec<Interval> {
        let at = |minute: i64| UnixMs(u64::try_from(minute * 60_000).unwrap());
        let mut intervals: Vec<Interval> = Vec::new();
        for minute in range {
            let index = usize::try_from(minute - self.first).unwrap();
            if !patterns.iter().any(|pattern| self.is_worked(index, pattern)) {
                continue;
            }
            match intervals.last_mut() {
                Some(last) if last.end == at(minute) => last.end = at(minute + 1),
                _ => intervals.push(Interval { start: at(minute), end: at(minute + 1) }),
            }
        }
        intervals
    }
}

/// Compares one transition; how many expansions that were.
fn compare(name: &str, zone: &TimeZone, at: Timestamp) -> usize {
    assert_eq!(at.as_second() % 60, 0, "{name}: a transition within a minute");
    let middle = at.as_second() / 60;
    let wall = Wall::new(zone, middle);
    let shows = |minute: i64| wall.shown[usize::try_from(minute - wall.first).unwrap()];
    let (before, after) = (shows(middle - 1) + 1, shows(middle));
    assert!((before - after).abs() <= 4 * 60, "{name}: more than four hours at once");
    let (low, high) = (before.min(after), before.max(after).max(before.min(after) + 60));
    let weekday = u8::try_from((low.div_euclid(DAY) + 3).rem_euclid(7)).unwrap();
    let midnight = low.div_euclid(DAY) * DAY;
    let range = middle - COMPARED..middle + COMPARED;
    let ms = |minute: i64| UnixMs(u64::try_from(minute * 60_000).unwrap());
    let patterns = patterns(low - midnight, high - midnight, weekday);
    for patterns in &patterns {
        let mut roster = Roster::new(Zone::new(name).unwrap());
        roster.rows = patterns.iter().map(Pattern::row).collect();
        let schedule = roster.schedule().unwrap_or_else(|faults| panic!("{name} {at}: {faults}"));
        let found = schedule.intervals(ms(range.start), ms(range.end)).unwrap();
        let wanted = wall.worked(range.clone(), patterns);
        assert_eq!(found, wanted, "{name} at {at} with {patterns:?}");
    }
    patterns.len()
}

const PARTS: usize = 8;

fn compare_part(part: usize) {
    let database = TimeZoneDatabase::bundled();
    let from = Timestamp::from_second(1_451_606_400).unwrap();
    let until = Timestamp::from_second(2_082_758_400).unwrap();
    let (mut zones, mut transitions, mut expansions) = (0, 0, 0);
    for name in names().iter().skip(part).step_by(PARTS) {
        let zone = database.get(name).unwrap();
        zones += 1;
        for transition in zone.following(from).take_while(|one| one.timestamp() < until) {
            transitions += 1;
            expansions += compare(name, &zone, transition.timestamp());
        }
    }
    eprintln!("{zones} zones, {transitions} transitions, {expansions} expansions: no difference");
    assert!(transitions > 0, "nothing was compared");
}

macro_rules! parts {
    ($($name:ident $part:expr),*) => {
        $(#[test] fn $name() { compare_part($part) })*
    };
}

parts!(
    every_transition_of_the_first_zones 0, every_transition_of_the_second_zones 1,
    every_transition_of_the_third_zones 2, every_transition_of_the_fourth_zones 3,
    every_transition_of_the_fifth_zones 4, every_transition_of_the_sixth_zones 5,
    every_transition_of_the_seventh_zones 6, every_transition_of_the_last_zones 7
);

#[test]
fn dates_count_days_and_weekdays_as_the_calendar_does() {
    let epoch = jiff::civil::date(1970, 1, 1);
    for days in [1, 59, 11_016, 20_000, 84_005] {
        let date = Date::from_days(days);
        let known = epoch.saturating_add(jiff::Span::new().days(i64::from(days)));
        assert_eq!(date.to_string(), known.to_string());
        assert_eq!(i8::try_from(date.weekday()).unwrap(), known.weekday().to_monday_zero_offset());
    }
    assert_eq!(Date::MAX.to_string(), "2199-12-31");
    assert_eq!(Date::MIN.to_string(), "1970-01-02");
}
