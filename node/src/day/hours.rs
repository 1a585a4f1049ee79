//! A technician's hours of a day: until when it works, and in which breaks it does not.
//!
//! The search knows no breaks: it counts the time that is worked alone. A way or a work that a break
//! interrupts goes on after it, as the desk counts what is left of a shift.
//!
//! **Invariant:** what is worked within [`Hours::worked`] ends by the end of the day, the shift and the
//! certificate. **Not here:** who goes where (`setting`).

use fieldmesh_dispatch::problem::Ticks;
use fieldmesh_domain::{
    selection::{Away, Circumstances},
    time::Millis,
};

/// All in seconds from now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hours {
    /// How much is worked in all.
    pub(super) worked: Ticks,
    /// In order, none touching another.
    breaks: Vec<(Ticks, Ticks)>,
}

/// Whole seconds until then.
fn until_s(at: Millis, now: Millis) -> Ticks {
    Ticks::try_from(at.0.saturating_sub(now.0) / 1000).unwrap_or(Ticks::MAX)
}

/// Breaks from now on, whole seconds and rather longer than shorter.
fn merged(breaks: &[(Millis, Millis)], now: Millis) -> Vec<(Ticks, Ticks)> {
    let rounded = |at: Millis| until_s(Millis(at.0.saturating_add(999)), now);
    let seconds = |(from, to): &(Millis, Millis)| (until_s(*from, now), rounded(*to));
    let mut all: Vec<(Ticks, Ticks)> = breaks.iter().map(seconds).collect();
    all.sort_unstable();
    let mut merged: Vec<(Ticks, Ticks)> = Vec::new();
    for (from, to) in all {
        match merged.last_mut().filter(|last| last.1 >= from) {
            Some(last) => last.1 = last.1.max(to),
            None if to > from => merged.push((from, to)),
            None => {}
        }
    }
    merged
}

impl Hours {
    /// Of a day that is so long; so much of a shift is left behind the last work.
    pub(super) fn new(
        known: Option<&Circumstances>,
        now: Millis,
        day: Ticks,
        reserve: Ticks,
    ) -> Self {
        let shift = known.and_then(|known| known.shift.as_ref());
        let breaks = shift.map(|shift| shift.breaks.as_slice()).unwrap_or_default();
        let mut hours = Self { worked: 0, breaks: merged(breaks, now) };
        let ends = shift.and_then(|shift| shift.ends).map(|ends| until_s(ends, now));
        let ends = ends.map(|ends| ends - hours.rest_until(ends) - reserve);
        let certified_s = known.and_then(|known| known.certified_until);
        let certified = certified_s.map(|at| until_s(Millis(at.saturating_mul(1000)), now));
        let certified = certified.map(|at| at - hours.rest_until(at));
        let all = [ends, certified].into_iter().flatten();
        hours.worked = all.fold(day - hours.rest_until(day), Ticks::min).max(0);
        hours
    }

    /// It is at a break that has an end.
    pub(super) fn ends_break(&self) -> bool {
        self.breaks.first().is_some_and(|(from, _)| *from == 0)
    }

    /// What of the time until then is a break.
    pub(super) fn rest_until(&self, at: Ticks) -> Ticks {
        self.breaks.iter().map(|(from, to)| ((*to).min(at) - from).max(0)).sum()
    }

    /// When so much is worked.
    pub(super) fn when(&self, worked: Ticks) -> Ticks {
        let (mut at, mut left) = (0, worked);
        for (from, to) in &self.breaks {
            if at + left <= *from && at < *from {
                break;
            }
            left -= from - at;
            at = *to;
        }
        at + left
    }
}

/// Nobody is there at a break that nobody knows the end of.
pub(super) fn is_absent(away: Option<Away>, hours: &Hours) -> bool {
    away == Some(Away::Break) && !hours.ends_break()
}

#[cfg(test)]
mod tests {
    use fieldmesh_domain::selection::ShiftTime;

    use super::*;

    fn of(ends_s: u64, breaks: &[(u64, u64)]) -> Hours {
        let at = |seconds: u64| Millis(5_000_000 + seconds * 1000);
        let breaks = breaks.iter().map(|(from, to)| (at(*from), at(*to))).collect();
        let shift = Some(ShiftTime { ends: Some(at(ends_s)), breaks });
        let known = Circumstances { shift, ..Circumstances::default() };
        Hours::new(Some(&known), at(0), 100, 0)
    }

    #[test]
    fn breaks_stand_between_what_is_worked() {
        let hours = of(90, &[(0, 10), (30, 40), (40, 45)]);
        assert_eq!((hours.worked, hours.ends_break()), (65, true));
        let when = [0, 1, 19, 20, 21, 65].map(|worked| hours.when(worked));
        assert_eq!(when, [10, 11, 29, 30, 46, 90]);
        assert_eq!([0, 5, 30, 41, 90].map(|at| hours.rest_until(at)), [0, 5, 10, 21, 25]);
    }

    #[test]
    fn the_first_end_counts() {
        assert_eq!(of(500, &[]).worked, 100);
        assert_eq!(of(40, &[(35, 50)]).worked, 35);
        let known = Circumstances { certified_until: Some(60), ..Circumstances::default() };
        assert_eq!(Hours::new(Some(&known), Millis(30_000), 100, 10).worked, 30);
        assert_eq!(Hours::new(None, Millis(0), 100, 10).worked, 100);
        let shift = Some(ShiftTime { ends: Some(Millis(5_000)), breaks: vec![] });
        let known = Circumstances { shift, ..Circumstances::default() };
        assert_eq!(Hours::new(Some(&known), Millis(0), 100, 10).worked, 0);
    }
}
