//! Whether one group rests at one member: what makes it, and what ends it.
//!
//! Pure: the time is given. **Invariants:** who leads rests only while each other member agreed a moment ago; who
//! follows, only while its leader was heard a moment ago; nobody rests whose log is not as it was when that was agreed.
//! **Not here:** saying so ([`super`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::RaftMetrics;
use tokio::time::Instant;

use crate::{
    consensus::{LogId, Types, Vote, quiet::Quiet},
    store::keys::GroupId,
};

/// What a member has of a group: what is not as it was before happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub vote: Vote,
    pub leads: bool,
    pub last: Option<u64>,
    pub applied: Option<LogId>,
    /// The entry of the last configuration.
    pub configured: Option<LogId>,
}

impl Seen {
    pub(super) fn of(now: &RaftMetrics<Types>) -> Self {
        Self {
            vote: now.vote,
            leads: now.replication.is_some(),
            last: now.last_log_index,
            applied: now.last_applied,
            configured: *now.membership_config.log_id(),
        }
    }

    /// The last entry, where it is applied.
    fn end(&self) -> Option<LogId> {
        self.applied.filter(|id| Some(id.index) == self.last)
    }

    /// What a leader says of it.
    fn quiet(&self, group: GroupId) -> Option<Quiet> {
        let end = self.end().filter(|_| self.leads && self.vote.committed)?;
        let (term, last_term) = (self.vote.leader_id.term, end.leader_id.term);
        Some(Quiet { group, term, last_term, last_index: end.index })
    }

    /// Whether a follower of this leader has just that.
    fn is(&self, from: u64, quiet: &Quiet) -> bool {
        let led = Vote::new_committed(quiet.term, from);
        let end = LogId::new_term_index(quiet.last_term, quiet.last_index);
        !self.leads && self.vote == led && self.end() == Some(end)
    }
}

#[derive(Debug)]
enum State {
    /// Since when nothing was seen to happen; and, of one that rested until then, how long its leader counts as heard:
    /// openraft heard nothing of it meanwhile.
    Awake { since: Instant, led_until: Option<Instant> },
    /// It is led here, and is to rest with the others from this time on.
    Leads { since: Instant, others: BTreeSet<u64> },
    /// When its leader was heard last.
    Follows { heard: Instant },
}

/// How long a member waits for its leader, as openraft has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For so long a leader that was heard is not voted out.
    pub lease: Duration,
    /// And after so long one stands.
    pub patience: Duration,
}

#[derive(Debug)]
pub(super) struct Sleep {
    waits: Waits,
    seen: Option<Seen>,
    state: State,
    /// When each of the others agreed last that the group rests.
    agreed: BTreeMap<u64, Instant>,
}

impl Sleep {
    pub(super) fn new(waits: Waits, now: Instant) -> Self {
        let state = State::Awake { since: now, led_until: None };
        Self { waits, seen: None, state, agreed: BTreeMap::new() }
    }

    /// Whether openraft's clock runs: who leads waits until each of the others rests.
    pub(super) fn ticks(&self) -> bool {
        match &self.state {
            State::Awake { .. } => true,
            State::Leads { since, others } => {
                !others.iter().all(|node| self.agreed(*node) >= Some(*since))
            }
            State::Follows { .. } => false,
        }
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.state, State::Leads { .. })
    }

    pub(super) fn wake(&mut self, now: Instant) {
        let led_until = match self.state {
            State::Awake { led_until, .. } => led_until,
            State::Leads { .. } => Some(now + self.waits.lease),
            State::Follows { heard } => Some(heard + self.waits.lease),
        };
        self.state = State::Awake { since: now, led_until };
    }

    /// Its leader hands it over: it is kept for no longer than whoever was asked may take to stand.
    pub(super) fn hand_over(&mut self, now: Instant) {
        self.wake(now);
        if let State::Awake { led_until: Some(until), .. } = &mut self.state {
            *until = (*until).min(now + self.waits.lease / 4);
        }
    }

    /// Whether there is a leader that nobody may be voted against yet, and of which openraft does not know that it is
    /// heard.
    pub(super) fn is_led(&self, now: Instant) -> bool {
        match self.state {
            State::Awake { led_until, .. } => led_until.is_some_and(|until| now < until),
            State::Leads { .. } => true,
            State::Follows { heard } => now < heard + self.waits.lease,
        }
    }

    /// What is seen now: of who leads with the other members, where all of them have all and may rest; and for how long
    /// it is to have been quiet, where it is to rest at all. Who rests for longer is to be looked at by the time that is
    /// returned.
    pub(super) fn look(
        &mut self,
        seen: Seen,
        others: Option<BTreeSet<u64>>,
        after: Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        if self.seen.replace(seen) != Some(seen) {
            self.wake(now);
            return None;
        }
        let Waits { patience, .. } = self.waits;
        let is_over = match &self.state {
            State::Awake { since, .. } => {
                let is_quiet = after.is_some_and(|after| now >= *since + after);
                if let Some(others) = others.filter(|_| is_quiet && seen.end().is_some()) {
                    self.state = State::Leads { since: now, others };
                }
                return None;
            }
            State::Leads { since, others: told } => {
                let heard = |node: &u64| self.agreed(*node).max(Some(*since));
                others.as_ref() != Some(told)
                    || told.iter().any(|node| heard(node) <= now.checked_sub(patience))
            }
            State::Follows { heard } => now >= *heard + patience,
        };
        if is_over {
            self.wake(now);
        }
        match self.state {
            State::Follows { heard } => Some(heard + patience),
            State::Awake { .. } | State::Leads { .. } => None,
        }
    }

    /// What is said of a group that is led here, and to whom.
    pub(super) fn list(&self, group: GroupId) -> Option<(Quiet, BTreeSet<u64>)> {
        let State::Leads { others, .. } = &self.state else { return None };
        Some((self.seen?.quiet(group)?, others.clone()))
    }

    /// Rests with its leader, where it has what that one has.
    pub(super) fn follow(&mut self, seen: Seen, from: u64, quiet: &Quiet, now: Instant) -> bool {
        let is = seen.is(from, quiet);
        if is {
            (self.seen, self.state) = (Some(seen), State::Follows { heard: now });
        } else if !matches!(self.state, State::Awake { .. }) {
            self.wake(now);
        }
        is
    }

    /// What another member answered to what was said of the group.
    pub(super) fn answered(&mut self, by: u64, quiet: &Quiet, agrees: bool, now: Instant) {
        let is_said = self.seen.and_then(|seen| seen.quiet(quiet.group)) == Some(*quiet);
        let State::Leads { others, .. } = &self.state else { return };
        if !is_said || !others.contains(&by) {
            return;
        }
        if agrees {
            self.agreed.insert(by, now);
            // Bounded by who is in the group.
            self.agreed.retain(|node, _| others.contains(node));
        } else {
            self.wake(now);
        }
    }

    /// When another member agreed last.
    pub(super) fn agreed(&self, node: u64) -> Option<Instant> {
        self.agreed.get(&node).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const AFTER: Option<Duration> = Some(Duration::from_secs(2));
    const PATIENCE: Duration = Duration::from_secs(1);
    const WAITS: Waits = Waits { lease: Duration::from_millis(600), patience: PATIENCE };
    const QUIET: Quiet = Quiet { group: 7, term: 3, last_term: 2, last_index: 9 };

    /// As node 1 leads in term 3 and all that there is was made in term 2.
    fn led() -> Seen {
        let applied = Some(LogId::new_term_index(2, 9));
        let vote = Vote::new_committed(3, 1);
        Seen { vote, leads: true, last: Some(9), applied, configured: None }
    }

    /// As one of its followers has it.
    fn followed() -> Seen {
        Seen { leads: false, ..led() }
    }

    fn others() -> Option<BTreeSet<u64>> {
        Some(BTreeSet::from([2, 3]))
    }

    /// A leader that looked at this time, and at one from which it may rest on.
    fn leader(began: Instant) -> Sleep {
        let mut sleep = Sleep::new(WAITS, began);
        for at in [began, began + AFTER.unwrap()] {
            sleep.look(led(), others(), AFTER, at);
        }
        sleep
    }

    #[test]
    fn a_leader_rests_once_each_of_the_others_does() {
        let began = Instant::now();
        let mut sleep = leader(began);
        assert_eq!(sleep.list(7), Some((QUIET, others().unwrap())));
        let now = began + AFTER.unwrap();
        assert!(sleep.ticks(), "nobody agreed yet");
        sleep.answered(2, &QUIET, true, now);
        sleep.answered(2, &QUIET, true, now);
        // Nobody asked it.
        sleep.answered(4, &QUIET, true, now);
        // It was said of another entry.
        sleep.answered(3, &Quiet { last_index: 8, ..QUIET }, true, now);
        assert!(sleep.ticks(), "one has not");
        sleep.answered(3, &QUIET, true, now);
        assert!(!sleep.ticks());
        assert_eq!([2, 3, 4].map(|node| sleep.agreed(node)), [Some(now), Some(now), None]);
    }

    #[test]
    fn a_leader_rests_no_sooner_than_it_was_quiet_for_long() {
        let began = Instant::now();
        let mut sleep = Sleep::new(WAITS, began);
        let look = |sleep: &mut Sleep, seen, others, ms| {
            sleep.look(seen, others, AFTER, began + Duration::from_millis(ms));
            sleep.leads()
        };
        assert!(!look(&mut sleep, led(), others(), 1000), "it was just seen");
        assert!(!look(&mut sleep, led(), others(), 2999));
        // An entry more.
        let applied = Some(LogId::new_term_index(3, 10));
        let more = Seen { last: Some(10), applied, ..led() };
        assert!(!look(&mut sleep, more, others(), 3000));
        assert!(!look(&mut sleep, more, None, 5000), "somebody lacks something");
        let open = Seen { last: Some(11), ..more };
        assert!(!look(&mut sleep, open, others(), 5001));
        assert!(!look(&mut sleep, open, others(), 9000), "an entry is not applied");
        assert!(!look(&mut sleep, more, others(), 9001));
        assert!(look(&mut sleep, more, others(), 11_001));
        let mut never = Sleep::new(WAITS, began);
        for seconds in 0..10 {
            never.look(led(), others(), None, began + Duration::from_secs(seconds));
            assert!(!never.leads());
        }
    }

    #[test]
    fn what_happens_wakes_a_leader() {
        let began = Instant::now();
        let asleep = || {
            let mut sleep = leader(began);
            for node in [2, 3] {
                sleep.answered(node, &QUIET, true, began + AFTER.unwrap());
            }
            assert!(!sleep.ticks());
            sleep
        };
        let is_awake = |change: &dyn Fn(&mut Sleep, Instant)| {
            let mut sleep = asleep();
            change(&mut sleep, began + AFTER.unwrap() + PATIENCE / 2);
            assert_eq!(sleep.leads(), !sleep.ticks(), "half asleep");
            sleep.ticks()
        };
        let looks = |sleep: &mut Sleep, seen, others, now| {
            sleep.look(seen, others, AFTER, now);
        };
        assert!(!is_awake(&|sleep, now| looks(sleep, led(), others(), now)), "nothing happened");
        assert!(is_awake(&|sleep, now| sleep.wake(now)));
        assert!(is_awake(&|sleep, now| looks(sleep, followed(), others(), now)));
        let last = Some(10);
        assert!(is_awake(&|sleep, now| looks(sleep, Seen { last, ..led() }, others(), now)));
        let configured = Some(LogId::new_term_index(2, 8));
        assert!(is_awake(&|sleep, now| looks(sleep, Seen { configured, ..led() }, others(), now)));
        assert!(is_awake(&|sleep, now| looks(sleep, led(), None, now)), "one is not to be reached");
        assert!(is_awake(&|sleep, now| sleep.answered(2, &QUIET, false, now)));
        // Only one of them is heard on.
        assert!(is_awake(&|sleep, now| {
            sleep.answered(2, &QUIET, true, now);
            looks(sleep, led(), others(), began + AFTER.unwrap() + PATIENCE);
        }));
    }

    #[test]
    fn a_follower_rests_with_the_leader_that_it_follows_and_with_the_same_log() {
        let now = Instant::now();
        let rests = |seen: Seen, from, quiet| {
            let mut sleep = Sleep::new(WAITS, now);
            let agrees = sleep.follow(seen, from, &quiet, now);
            assert_eq!(sleep.ticks(), !agrees);
            agrees
        };
        assert!(rests(followed(), 1, QUIET));
        assert!(!rests(followed(), 2, QUIET), "another one leads in that term");
        assert!(!rests(led(), 1, QUIET), "it leads itself");
        let vote = Vote::new(3, 1);
        assert!(!rests(Seen { vote, ..followed() }, 1, QUIET), "it was only voted for");
        let vote = Vote::new_committed(4, 1);
        assert!(!rests(Seen { vote, ..followed() }, 1, QUIET), "of a later term");
        assert!(!rests(Seen { last: Some(10), ..followed() }, 1, QUIET), "it has more");
        assert!(!rests(followed(), 1, Quiet { last_index: 10, ..QUIET }), "it has less");
        assert!(!rests(followed(), 1, Quiet { last_term: 3, ..QUIET }));
        assert!(!rests(Seen { applied: None, ..followed() }, 1, QUIET));
    }

    #[test]
    fn a_follower_that_hears_nothing_keeps_its_vote_for_a_lease_and_then_stands() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut sleep = Sleep::new(WAITS, began);
        let look = |sleep: &mut Sleep, ms| sleep.look(followed(), None, AFTER, at(ms));
        assert!(!sleep.is_led(began), "openraft knows");
        assert!(sleep.follow(followed(), 1, &QUIET, at(0)));
        assert!(sleep.follow(followed(), 1, &QUIET, at(300)));
        assert_eq!([300, 899, 900].map(|ms| sleep.is_led(at(ms))), [true, true, false]);
        assert_eq!(look(&mut sleep, 1299), Some(at(1300)));
        assert!(!sleep.ticks());
        assert_eq!(look(&mut sleep, 1300), None);
        assert!(sleep.ticks());
        // What is said of another log wakes it, too.
        assert!(sleep.follow(followed(), 1, &QUIET, at(1400)));
        assert!(!sleep.follow(followed(), 1, &Quiet { term: 4, ..QUIET }, at(1500)));
        assert!(sleep.ticks());
    }

    /// openraft heard nothing while the group rested, and would vote for anybody.
    #[test]
    fn who_was_woken_does_not_vote_against_a_leader_that_was_heard_a_moment_ago() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let led =
            |sleep: &Sleep, from| [from, from + 599, from + 600].map(|ms| sleep.is_led(at(ms)));
        let mut sleep = Sleep::new(WAITS, began);
        assert!(sleep.follow(followed(), 1, &QUIET, at(0)));
        sleep.wake(at(200));
        sleep.wake(at(400));
        assert_eq!(led(&sleep, 0), [true, true, false]);
        // Unless that one gives it away.
        sleep.hand_over(at(410));
        assert_eq!([559, 560].map(|ms| sleep.is_led(at(ms))), [true, false]);
        let mut sleep = leader(began);
        for node in [2, 3] {
            sleep.answered(node, &QUIET, true, at(2000));
        }
        sleep.wake(at(2500));
        sleep.wake(at(2900));
        assert_eq!(led(&sleep, 2500), [true, true, false]);
        assert_eq!(sleep.agreed(3), Some(at(2000)), "it was heard all the same");
    }
}
