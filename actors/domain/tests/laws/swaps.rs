//! Swaps between technicians whose words arrive late, and whose clocks go on meanwhile.

use std::collections::VecDeque;

use fieldmesh_calendar::{
    civil::Date,
    interval::{Interval, UnixMs, merged, total_ms, without},
    roster::Roster,
};
use fieldmesh_domain::{
    Command as AnyCommand, Ctx, Effect, EntityId, TimerName,
    technician::{
        Command, Shift as Working, Skill, Technician,
        life::{Step, Word},
        swap::{Ended, Given},
    },
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    life::{FIRST_DAY, roster},
    world::{Lived, technician},
};

const HANDS: u8 = 3;
const DAYS: u32 = 6;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Words on their way at the end.
const WORDS_MAX: usize = 1_000;

#[derive(Debug, Clone)]
enum Act {
    Give { from: u8, to: u8, day: u32 },
    Deliver(u8),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    vec(
        prop_oneof![
            3 => (0..HANDS, 0..HANDS, 0..DAYS).prop_map(|(from, to, day)| Act::Give { from, to, day }),
            6 => (0_u8..9).prop_map(Act::Deliver),
            2 => (0_u64..1_200_000).prop_map(Act::Wait),
        ],
        0..40,
    )
}

struct Team {
    now: Millis,
    hands: Vec<Lived<Technician>>,
    timers: Vec<Option<(u32, Millis)>>,
    /// From whom to whom.
    lanes: Vec<VecDeque<Command>>,
    swaps: u8,
}

impl Team {
    fn new(rosters: &[Roster]) -> Self {
        let now = Millis(u64::from(FIRST_DAY - 3) * DAY_MS);
        let hands = rosters.iter().map(|_| Lived::default()).collect();
        let lanes = vec![VecDeque::new(); rosters.len() * rosters.len()];
        let mut team = Self { now, hands, timers: vec![None; rosters.len()], lanes, swaps: 0 };
        for (number, roster) in (0_u8..).zip(rosters) {
            let (name, home, skills) = ("a".into(), <_>::default(), vec![Skill::new(1, 1)]);
            let shift = Working::Always;
            team.ask(number, &Command::Register { name, skills, home, capacity: 2, shift });
            let word = Word::SetRoster { roster: Some(roster.clone()), by: "op".into() };
            team.ask(number, &Command::Life(word));
        }
        team
    }

    fn ask(&mut self, number: u8, command: &Command) {
        let ctx = Ctx { now: self.now, id: technician(number), rule_version: 1 };
        let hand = &mut self.hands[usize::from(number)];
        for effect in hand.ask(command, &ctx).unwrap_or_default() {
            match effect {
                Effect::SetTimer { name: TimerName::Shift, generation, due } => {
                    self.timers[usize::from(number)] = Some((generation, due));
                }
                Effect::Tell { to, command: AnyCommand::Technician(command) } => {
                    let to = (0..HANDS).find(|other| technician(*other) == to).unwrap();
                    self.lanes[usize::from(number * HANDS + to)].push_back(command);
                }
                _ => {}
            }
        }
    }

    fn deliver(&mut self, lane: u8) -> bool {
        let Some(command) = self.lanes[usize::from(lane)].pop_front() else { return false };
        self.ask(lane % HANDS, &command);
        true
    }

    fn wait(&mut self, until: Millis) {
        let due = |timers: &[Option<(u32, Millis)>]| {
            let numbered = (0_u8..).zip(timers.iter().flatten());
            let first = numbered.min_by_key(|(_, (_, due))| *due);
            first.map(|(number, (generation, due))| (number, *generation, *due))
        };
        while let Some((number, generation, at)) = due(&self.timers).filter(|(.., at)| *at <= until)
        {
            self.now = self.now.max(at);
            self.ask(number, &Command::Timer { name: TimerName::Shift, generation });
        }
        self.now = until;
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Give { from, to, day } => {
                self.swaps += 1;
                let (to, date) = (technician(to), Date::from_days(FIRST_DAY + day));
                let given = Given { swap: [self.swaps; 16], date, to, by: "op".into() };
                self.ask(from, &Command::Life(Word::GiveShift(given)));
            }
            Act::Deliver(lane) => drop(self.deliver(lane)),
            Act::Wait(ms) => self.wait(Millis(self.now.0 + ms)),
        }
    }

    /// Everything arrives, and what nobody answers lapses.
    fn comes_to_rest(&mut self) {
        for _ in 0..WORDS_MAX {
            if !(0..HANDS * HANDS).any(|lane| self.deliver(lane)) {
                break;
            }
        }
        assert!(self.lanes.iter().all(VecDeque::is_empty), "they do not stop talking");
    }

    fn worked(&self, number: usize) -> Vec<Interval> {
        let known = self.hands[number].state.rostered.as_ref().unwrap();
        let start = u64::from(FIRST_DAY - 4) * DAY_MS;
        let end = start + 20 * DAY_MS;
        known.roster.schedule().unwrap().intervals(UnixMs(start), UnixMs(end)).unwrap()
    }

    fn all_worked(&self) -> (Vec<Interval>, u64) {
        let each: Vec<_> = (0..self.hands.len()).map(|number| self.worked(number)).collect();
        let sum = each.iter().map(|worked| total_ms(worked)).sum();
        (merged(each.concat()), sum)
    }

    fn is_settled(&self) {
        for hand in &self.hands {
            let Some(swaps) = &hand.state.swaps else { continue };
            assert!(swaps.giving.is_empty(), "{:?}", swaps.giving);
            assert!(swaps.taking.is_empty(), "{:?}", swaps.taking);
        }
    }

    fn count(&self, of: impl Fn(&Step) -> bool) -> usize {
        let events = self.hands.iter().flat_map(|hand| &hand.events);
        let steps = events.filter_map(|event| match event {
            fieldmesh_domain::technician::Event::Life(step) => Some(step),
            _ => None,
        });
        steps.filter(|step| of(step)).count()
    }
}

proptest! {
    #![proptest_config(crate::cases(400))]

    /// Done by both or by neither: at rest as much is worked as before, at all times nobody is missing.
    #[test]
    fn a_swap_is_done_by_both_or_by_neither(
        rosters in vec(roster(), usize::from(HANDS)),
        acts in acts(),
    ) {
        let mut rosters = rosters;
        rosters.retain(|roster| roster.overlaps().is_empty());
        prop_assume!(rosters.len() == usize::from(HANDS));
        let mut team = Team::new(&rosters);
        let (covered, sum) = team.all_worked();
        for act in &acts {
            team.act(act);
            let (now_covered, now_sum) = team.all_worked();
            prop_assert!(without(&covered, &now_covered).is_empty(), "somebody is missing");
            prop_assert!(now_sum >= sum);
        }
        team.comes_to_rest();
        team.is_settled();
        prop_assert_eq!(team.all_worked(), (covered, sum));
        for hand in &team.hands {
            hand.replay_equals_live();
        }
        let done = team.count(|step| matches!(step, Step::SwapEnded { ended: Ended::Done, .. }));
        let kept = team.count(|step| matches!(step, Step::ShiftSettled { is_done: true, .. }));
        prop_assert_eq!(done, kept);
    }
}

fn days(first: u8) -> Roster {
    use fieldmesh_calendar::{
        civil::{TimeOfDay, Weekdays},
        roster::Row,
        shift::Shift,
        zone::Zone,
    };
    let time = |hour: u8| TimeOfDay::new(u16::from(hour), 0).unwrap();
    let shift = Shift::day(time(first), time(first + 8));
    let mut roster = Roster::new(Zone::new("Europe/Berlin").unwrap());
    roster.rows.push(Row::weekly(Weekdays::EVERY_DAY, shift));
    roster
}

fn ended(team: &Team, number: usize) -> Vec<Ended> {
    let swaps = team.hands[number].state.swaps.as_ref().unwrap();
    swaps.ended.iter().map(|(_, ended)| ended.clone()).collect()
}

#[test]
fn shifts_of_different_hours_change_hands_and_others_do_not() {
    let mut team = Team::new(&[days(6), days(14), days(6)]);
    team.act(&Act::Give { from: 0, to: 1, day: 2 });
    team.act(&Act::Give { from: 0, to: 2, day: 3 });
    team.comes_to_rest();
    let [Ended::Done, Ended::Refused(why)] = &ended(&team, 0)[..] else {
        panic!("{:?}", ended(&team, 0))
    };
    assert!(why.contains("the taker works already"), "{why}");
    let both = team.worked(1).into_iter().map(|one| one.length_ms()).max();
    assert_eq!(both, Some(16 * 3_600_000));
}

#[test]
fn an_answer_after_the_end_is_undone() {
    let mut team = Team::new(&[days(6), days(14), days(6)]);
    team.act(&Act::Give { from: 0, to: 1, day: 2 });
    assert!(team.deliver(1), "the taker has the shifts");
    team.wait(Millis(team.now.0 + 601_000));
    assert_eq!(ended(&team, 0), [Ended::Lapsed]);
    assert!(team.worked(1).iter().any(|one| one.length_ms() == 16 * 3_600_000));
    team.comes_to_rest();
    assert!(team.worked(1).iter().all(|one| one.length_ms() == 8 * 3_600_000));
    team.is_settled();
}

#[test]
fn whoever_lacks_the_skill_does_not_get_the_shift() {
    let mut skilled = days(6);
    skilled.rows[0].shift.skill = Some(1);
    let mut team = Team::new(&[skilled, days(14), days(6)]);
    let id: EntityId = technician(1);
    let expires = Some(Millis(team.now.0 + DAY_MS));
    let revision = fieldmesh_domain::technician::life::Revision {
        skills: Some(vec![Skill { expires, ..Skill::new(1, 1) }]),
        ..<_>::default()
    };
    team.ask(1, &Command::Life(Word::Revise(revision)));
    team.act(&Act::Give { from: 0, to: 1, day: 2 });
    team.comes_to_rest();
    let [Ended::Refused(why)] = &ended(&team, 0)[..] else { panic!("{id}") };
    assert!(why.contains("lacks skill 1"), "{why}");
}
