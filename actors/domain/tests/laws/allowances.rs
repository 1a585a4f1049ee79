//! What must hold of allowances of chaos: two operators, a bound of time, an end at once.

use fieldmesh_domain::{
    Aggregate, Effect, EntityId, IndexRow, RejectionCode,
    placement::{
        ALLOWED_MINUTES_MAX, Allowance, Allowances, Command, Ended, Event, Member, Placement,
        TRIGGERS, WHY_BYTES_MAX,
    },
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    bundles::ctx,
    members::{SHARDS, join, member},
    world::through_bytes,
};

const MINUTE_MS: u64 = 60_000;
/// How long a second operator has.
const QUARTER_MS: u64 = 15 * MINUTE_MS;

/// What operators do next, and after how long.
#[derive(Debug, Clone)]
struct Step {
    after_ms: u64,
    by: &'static str,
    /// None ends it.
    minutes: Option<u32>,
}

/// The group with what it wrote for nodes, and who wanted what last.
#[derive(Default)]
struct Life {
    now: Millis,
    state: Placement,
    row: Option<Allowances>,
}

impl Life {
    fn ask(&mut self, command: &Command) -> Result<Vec<Event>, RejectionCode> {
        let events = self.state.decide(command, &ctx(self.now)).map_err(|refused| refused.code)?;
        for event in &events {
            self.state.evolve(event);
            for effect in self.state.react(event, EntityId::placement()) {
                if let Effect::Index(IndexRow::Allowances(row)) = effect {
                    let before = self.row.as_ref().map(|row| row.epoch);
                    assert!(before < Some(row.epoch), "rows can be told apart");
                    self.row = Some(row);
                }
            }
        }
        Ok(events)
    }

    fn allow(&mut self, minutes: u32, by: &str) -> Result<usize, RejectionCode> {
        // Whoever proposes it may have let the other one in, and was not the only one.
        self.allow_let_in_by(minutes, by, Some(&["ann", "eve"]))
    }

    fn allow_let_in_by(
        &mut self,
        minutes: u32,
        by: &str,
        persons: Option<&[&str]>,
    ) -> Result<usize, RejectionCode> {
        let why = format!("a game of {by}");
        let let_in_by =
            persons.map(|persons| persons.iter().map(|name| (*name).to_owned()).collect());
        let asked = self.ask(&Command::AllowChaos { minutes, why, by: by.into(), let_in_by });
        asked.map(|events| events.len())
    }

    fn end(&mut self, by: &str) -> usize {
        self.ask(&Command::EndChaos { by: by.into() }).unwrap().len()
    }

    /// As a node sees it by its row.
    fn in_force(&self) -> Option<&Allowance> {
        self.row.as_ref().and_then(|row| row.in_force(self.now))
    }

    fn passes(&mut self, ms: u64) {
        self.now.0 += ms;
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after_ms = prop_oneof![4 => 0..QUARTER_MS, 1 => 0..5 * 3_600_000_u64];
    let minutes = prop_oneof![6 => (1_u32..3).prop_map(Some), 1 => Just(None)];
    let by = prop_oneof![Just("ann"), Just("bob"), Just("cid")];
    let step =
        (after_ms, by, minutes).prop_map(|(after_ms, by, minutes)| Step { after_ms, by, minutes });
    vec(step, 1..60)
}

proptest! {
    #[test]
    fn two_operators_said_the_same_within_a_quarter_of_an_hour(steps in steps()) {
        let mut life = Life::default();
        let mut said: Vec<(Millis, &str, u32)> = Vec::new();
        for Step { after_ms, by, minutes } in steps {
            life.passes(after_ms);
            let Some(minutes) = minutes else {
                life.end(by);
                assert_eq!(life.in_force(), None);
                assert_eq!(life.end(by), 0, "there is nothing left to end");
                said.clear();
                continue;
            };
            let before = life.in_force().cloned();
            let _ = life.allow(minutes, by);
            if let Some(now) = life.in_force().filter(|now| before.as_ref() != Some(now)) {
                assert_ne!(now.proposed_by, now.approved_by);
                assert_eq!((now.since, now.approved_by.as_str()), (life.now, by));
                assert_eq!(now.until.0 - now.since.0, u64::from(minutes) * MINUTE_MS);
                assert!(said.iter().any(|(at, who, what)| {
                    (now.proposed_by.as_str(), minutes) == (*who, *what)
                        && life.now.0 - at.0 <= QUARTER_MS
                }));
            }
            said.push((life.now, by, minutes));
            assert_eq!(through_bytes(&life.state), life.state);
            assert_eq!(life.state.allowances, life.row);
        }
    }
}

#[test]
fn one_operator_is_not_two() {
    let mut life = Life::default();
    assert_eq!(life.allow(60, "ann"), Ok(1));
    let let_in_by = Some(vec!["eve".into()]);
    let again =
        Command::AllowChaos { minutes: 60, why: "again".into(), by: "ann".into(), let_in_by };
    let refused = life.state.decide(&again, &ctx(life.now)).unwrap_err();
    assert_eq!(refused.code, RejectionCode::SecondPerson);
    assert!(refused.detail.contains("second operator") && refused.detail.contains("15 minutes"));
    assert_eq!(life.in_force(), None);
    // Another length is another proposal, which nobody has agreed to.
    assert_eq!(life.allow(30, "bob"), Ok(1));
    assert_eq!((life.allow(30, "bob"), life.in_force()), (Err(RejectionCode::SecondPerson), None));
    life.allow(30, "ann").unwrap();
    let now = life.in_force().unwrap();
    assert_eq!((now.proposed_by.as_str(), now.approved_by.as_str()), ("bob", "ann"));
    assert_eq!(now.why, "a game of bob", "what was proposed is what is agreed to");
}

#[test]
fn two_machines_are_not_two_persons_and_nobody_lets_in_who_agrees() {
    let mut life = Life::default();
    // Anybody may propose it.
    assert_eq!(life.allow_let_in_by(60, "ann", None), Ok(1));
    for let_in_by in [None, Some(&[][..]), Some(&["ann"][..]), Some(&["ann", "bob"][..])] {
        let refused = life.allow_let_in_by(60, "bob", let_in_by);
        assert_eq!(refused, Err(RejectionCode::SecondPerson), "{let_in_by:?}");
        assert_eq!(life.in_force(), None);
    }
    assert_eq!(life.allow_let_in_by(60, "bob", Some(&["ann", "cid"])), Ok(1));
    assert_eq!(life.in_force().unwrap().approved_by, "bob");
}

#[test]
fn a_proposal_waits_for_a_quarter_of_an_hour() {
    for (late_ms, is_allowed) in [(0, true), (1, false)] {
        let mut life = Life::default();
        life.allow(60, "ann").unwrap();
        life.passes(QUARTER_MS + late_ms);
        life.allow(60, "bob").unwrap();
        assert_eq!(life.in_force().is_some(), is_allowed);
    }
}

#[test]
fn it_ends_by_its_time_and_not_where_a_clock_was_set_back() {
    let mut life = Life { now: Millis(10 * QUARTER_MS), ..Life::default() };
    life.allow(1, "ann").unwrap();
    life.allow(1, "bob").unwrap();
    let row = life.row.clone().unwrap();
    let is_allowed = |at: u64| row.in_force(Millis(at)).is_some();
    let now = life.now.0;
    assert!(is_allowed(now) && is_allowed(now + MINUTE_MS - 1) && !is_allowed(now + MINUTE_MS));
    // A clock that is a moment behind takes part, one that was set back does not prolong it.
    assert!(is_allowed(now - MINUTE_MS) && !is_allowed(now - MINUTE_MS - 1));
}

#[test]
fn another_takes_the_place_of_one_and_anybody_ends_it() {
    let mut life = Life::default();
    life.allow(60, "ann").unwrap();
    life.allow(60, "bob").unwrap();
    life.passes(QUARTER_MS);
    life.allow(20, "bob").unwrap();
    assert_eq!(life.in_force().unwrap().until, Millis(60 * MINUTE_MS), "one goes on meanwhile");
    life.allow(20, "ann").unwrap();
    assert_eq!(life.in_force().unwrap().until, Millis(35 * MINUTE_MS));
    life.allow(40, "ann").unwrap();
    assert_eq!(life.end("cid"), 1);
    let row = life.row.clone().unwrap();
    let ended = Ended { at: life.now, by: "cid".into() };
    assert_eq!((row.allowance, row.proposal, row.ended), (None, None, Some(ended)));
    assert_eq!(life.end("cid"), 0);
    // What was ended is proposed anew.
    life.allow(40, "bob").unwrap();
    assert_eq!(life.in_force(), None);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut life = Life::default();
    for minutes in [0, ALLOWED_MINUTES_MAX + 1, u32::MAX] {
        assert_eq!(life.allow(minutes, "ann"), Err(RejectionCode::Invalid));
    }
    for why in ["", "  ", "two\nlines", &"a".repeat(WHY_BYTES_MAX + 1)] {
        let (minutes, by, let_in_by) = (1, "ann".into(), None);
        let command = Command::AllowChaos { minutes, why: why.into(), by, let_in_by };
        assert_eq!(life.ask(&command), Err(RejectionCode::Invalid), "{why:?}");
    }
    assert_eq!(life.allow(1, ""), Err(RejectionCode::Invalid));
    assert_eq!(life.end("ann"), 0, "nobody has proposed anything");
    assert_eq!(life.allow(ALLOWED_MINUTES_MAX, "ann"), Ok(1));
}

#[test]
fn nothing_is_allowed_before_every_node_knows_of_it() {
    let mut life = Life::default();
    life.ask(&join(1)).unwrap();
    let older = Member { level: TRIGGERS, ..member(2) };
    life.ask(&Command::Join { member: older, shards: SHARDS, by: "op".into() }).unwrap();
    assert_eq!(life.allow(60, "ann"), Err(RejectionCode::NotNow));
    life.ask(&join(2)).unwrap();
    assert_eq!(life.allow(60, "ann"), Ok(1));
}
