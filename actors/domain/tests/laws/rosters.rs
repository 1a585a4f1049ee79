//! A technician's roster against any sequence of clock readings.

use fieldmesh_calendar::{
    civil::{TimeOfDay, Weekdays},
    interval::UnixMs,
    roster::{Roster, Row},
    shift::{Break, Shift},
    zone::Zone,
};
use fieldmesh_domain::{
    Command as AnyCommand, Ctx, Effect, RejectionCode, TimerName, desk,
    selection::Away,
    technician::{
        Command, Duty, Event, Shift as Working, Skill, Technician,
        life::{Revision, Step, Word},
    },
    time::Millis,
};
use proptest::{collection::vec, option, prelude::*};

use crate::{
    life::{FIRST_DAY, roster},
    world::{Lived, technician},
};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Steps of one schedule: a timer of each quarter of an hour for a month and some.
const FIRED_MAX: usize = 5_000;

#[derive(Debug, Clone)]
enum Act {
    /// The clock goes on, and what is due meanwhile is fired.
    Wait(u64),
    /// The clock jumps without anything being fired on the way: a leader that was away.
    Jump(u64),
    /// The clock is put back.
    Back(u64),
    Set(Option<Roster>),
    On,
    Off,
    Stale(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let minutes = |most: u64| (0..most).prop_map(|minutes| minutes * 60_000 + minutes % 7);
    vec(
        prop_oneof![
            6 => minutes(3_000).prop_map(Act::Wait),
            2 => minutes(20_000).prop_map(Act::Jump),
            2 => minutes(2_000).prop_map(Act::Back),
            2 => option::weighted(0.9, roster()).prop_map(Act::Set),
            2 => Just(Act::On),
            2 => Just(Act::Off),
            1 => (0_u32..40).prop_map(Act::Stale),
        ],
        1..30,
    )
}

/// One technician with its clock and its timer.
struct Kept {
    lived: Lived<Technician>,
    now: Millis,
    timer: Option<(u32, Millis)>,
    /// Of the last look.
    looked_at: Millis,
    desk: Option<desk::Summary>,
}

impl Kept {
    fn new() -> Self {
        let mut kept = Self {
            lived: Lived::default(),
            now: Millis(u64::from(FIRST_DAY) * DAY_MS),
            timer: None,
            looked_at: Millis(0),
            desk: None,
        };
        let (name, home, skills) = ("a".into(), <_>::default(), vec![Skill::new(1, 1)]);
        let shift = Working::Always;
        kept.ask(&Command::Register { name, skills, home, capacity: 2, shift });
        kept.ask(&Command::FindDevice);
        kept
    }

    fn ask(&mut self, command: &Command) -> Option<RejectionCode> {
        let ctx = Ctx { now: self.now, id: technician(0), rule_version: 1 };
        let count = self.lived.events.len();
        let effects = match self.lived.ask(command, &ctx) {
            Ok(effects) => effects,
            Err(rejection) => return Some(rejection.code),
        };
        for event in &self.lived.events[count..] {
            if let Event::Life(Step::Planned { at, due, .. }) = event {
                assert!(due > at, "a look says when the next one is");
                self.looked_at = *at;
            }
        }
        for effect in effects {
            match effect {
                Effect::SetTimer { name: TimerName::Shift, generation, due } => {
                    self.timer = Some((generation, due));
                }
                Effect::CancelTimer { name: TimerName::Shift } => self.timer = None,
                Effect::Tell { command: AnyCommand::Desk(command), .. } => {
                    let desk::Command::Technician { summary, .. } = command else {
                        panic!("{command:?}")
                    };
                    self.desk = Some(summary);
                }
                _ => {}
            }
        }
        None
    }

    fn set(&mut self, roster: Option<Roster>) -> Option<RejectionCode> {
        self.ask(&Command::Life(Word::SetRoster { roster, by: "op".into() }))
    }

    fn fire(&mut self, generation: u32) {
        self.ask(&Command::Timer { name: TimerName::Shift, generation });
    }

    /// Fires what is due until then, each at its time.
    fn wait(&mut self, until: Millis) {
        for _ in 0..FIRED_MAX {
            let Some((generation, due)) = self.timer.filter(|(_, due)| *due <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(due);
            let before = self.looked_at;
            self.fire(generation);
            assert!(self.looked_at > before, "the same change is looked at twice");
        }
        panic!("timers do not come to an end");
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Wait(ms) => self.wait(Millis(self.now.0 + ms)),
            Act::Jump(ms) => {
                self.now.0 += ms;
                self.wait(self.now);
            }
            Act::Back(ms) => self.now.0 -= ms,
            Act::Set(roster) => drop(self.set(roster.clone())),
            Act::On => drop(self.ask(&Command::GoOnShift)),
            Act::Off => drop(self.ask(&Command::GoOffShift)),
            Act::Stale(back) => {
                if let Some((generation, _)) = self.timer {
                    let count = self.lived.events.len();
                    self.fire(generation.wrapping_sub(back + 1));
                    assert_eq!(self.lived.events.len(), count, "a stale timer does nothing");
                }
            }
        }
    }

    /// On shift is what the roster has, or what was said by hand and counts yet.
    fn is_as_rostered(&self) {
        let state = &self.lived.state;
        let timer = state.rostered.as_ref().map(|known| (state.looks.unwrap(), known.due));
        assert_eq!(self.timer, timer, "a roster has its timer");
        let Some(known) = &state.rostered else { return };
        let at = self.now.max(self.looked_at);
        let by_hand = known.by_hand.map(|by_hand| by_hand.until);
        if by_hand.is_some_and(|until| until.is_none_or(|until| at < until)) {
            return;
        }
        let is_on = known.roster.schedule().unwrap().is_on(UnixMs(at.0));
        assert_eq!(state.on_shift, is_on, "at {}", UnixMs(at.0));
    }

    /// The desk knows what the technician is.
    fn desk_agrees(&self) {
        let (state, desk) = (&self.lived.state, self.desk.as_ref().unwrap());
        assert_eq!(desk.on_shift, state.on_shift);
        let away = desk.circumstances.as_ref().and_then(|known| known.away);
        assert_eq!(away == Some(Away::Break), state.duty() == Duty::Break);
        assert!(!(desk.on_shift && away == Some(Away::Break)));
    }
}

proptest! {
    #![proptest_config(crate::cases(600))]

    #[test]
    fn on_shift_is_what_the_roster_has_or_a_word_that_counts(acts in acts()) {
        let mut kept = Kept::new();
        for act in &acts {
            kept.act(act);
            kept.is_as_rostered();
            kept.desk_agrees();
        }
        kept.lived.replay_equals_live();
    }
}

fn at(text: &str) -> Millis {
    let date = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
    let day = fieldmesh_calendar::civil::Date::parse(&text[..10]).unwrap().days();
    Millis((u64::from(day) * 1440 + date(11, 13) * 60 + date(14, 16)) * 60_000)
}

fn time(text: &str) -> TimeOfDay {
    TimeOfDay::parse(text).unwrap()
}

fn berlin(shift: Shift) -> Roster {
    let mut roster = Roster::new(Zone::new("Europe/Berlin").unwrap());
    roster.rows.push(Row::weekly(Weekdays::EVERY_DAY, shift));
    roster
}

/// When it went on and off shift, by its timers alone.
fn changes(roster: Roster, from: &str, until: &str) -> Vec<(bool, Millis)> {
    let mut kept = Kept::new();
    kept.now = at(from);
    kept.set(Some(roster));
    let mut changes = Vec::new();
    let mut was_on = kept.lived.state.on_shift;
    while let Some((_, due)) = kept.timer.filter(|(_, due)| *due <= at(until)) {
        kept.wait(due);
        if kept.lived.state.on_shift != was_on {
            was_on = !was_on;
            changes.push((was_on, kept.now));
        }
    }
    changes
}

#[test]
fn a_night_shift_ends_at_six_on_the_wall_in_the_nights_when_the_clocks_change() {
    let night = berlin(Shift::night(time("22:00"), time("06:00")));
    let spring = changes(night.clone(), "2026-03-28T12:00", "2026-03-29T12:00");
    assert_eq!(spring, [(true, at("2026-03-28T21:00")), (false, at("2026-03-29T04:00"))]);
    let autumn = changes(night, "2026-10-24T12:00", "2026-10-25T12:00");
    assert_eq!(autumn, [(true, at("2026-10-24T20:00")), (false, at("2026-10-25T05:00"))]);
}

#[test]
fn a_break_is_no_end_of_a_shift() {
    let mut shift = Shift::day(time("08:00"), time("17:00"));
    shift.breaks.push(Break { start: time("12:00"), end: time("12:30") });
    let mut kept = Kept::new();
    kept.now = at("2026-06-01T05:00");
    kept.set(Some(berlin(shift)));
    kept.wait(at("2026-06-01T10:10"));
    assert_eq!(kept.lived.state.duty(), Duty::Break);
    // Whoever goes home at noon does not come back at half past twelve, but the next morning.
    kept.ask(&Command::GoOffShift);
    kept.wait(at("2026-06-01T12:00"));
    assert_eq!(kept.lived.state.duty(), Duty::OffShift);
    kept.wait(at("2026-06-02T06:00"));
    assert_eq!(kept.lived.state.duty(), Duty::Available);
    let known = kept.desk.unwrap().circumstances.unwrap().shift.unwrap();
    assert_eq!(known.ends, Some(at("2026-06-02T15:00")));
    assert_eq!(known.breaks, [(at("2026-06-02T10:00"), at("2026-06-02T10:30"))]);
}

#[test]
fn a_roster_that_cannot_be_meant_is_refused_with_its_row() {
    let refused = |roster: Roster| {
        let mut kept = Kept::new();
        let ctx = Ctx { now: kept.now, id: technician(0), rule_version: 1 };
        let word = Word::SetRoster { roster: Some(roster), by: "op".into() };
        let rejection = kept.lived.ask(&Command::Life(word), &ctx).unwrap_err();
        assert_eq!(rejection.code, RejectionCode::Invalid);
        rejection.detail.into_owned()
    };
    let mut twice = berlin(Shift::night(time("22:00"), time("06:00")));
    let sunday = Weekdays::parse("MO").unwrap();
    twice.rows.push(Row::weekly(sunday, Shift::day(time("05:00"), time("09:00"))));
    assert!(refused(twice).starts_with("row 2: it overlaps row 1;"));
    let backwards = refused(berlin(Shift::day(time("17:00"), time("08:00"))));
    assert!(backwards.contains("row 1: a shift that ends before it starts"), "{backwards}");
    let skilled = Shift { skill: Some(9), ..Shift::day(time("08:00"), time("17:00")) };
    let skilled = refused(berlin(skilled));
    assert!(skilled.contains("row 1: it needs skill 9"), "{skilled}");
}

#[test]
fn a_shift_needs_a_skill_that_still_counts() {
    let skilled = Shift { skill: Some(9), ..Shift::day(time("08:00"), time("17:00")) };
    let set = |expires: Millis| {
        let mut kept = Kept::new();
        kept.now = at("2026-06-01T05:00");
        let skills = Some(vec![Skill { expires: Some(expires), ..Skill::new(9, 1) }]);
        kept.ask(&Command::Life(Word::Revise(Revision { skills, ..Revision::default() })));
        let roster = Some(berlin(skilled.clone()));
        kept.ask(&Command::Life(Word::SetRoster { roster, by: "op".into() }))
    };
    assert_eq!(set(at("2026-06-01T05:00")), Some(RejectionCode::Invalid));
    assert_eq!(set(at("2026-06-02T05:00")), None);
}
