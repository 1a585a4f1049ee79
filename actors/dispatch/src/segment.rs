//! A run of stops as three numbers, so that joining two runs takes a handful of additions.
//!
//! After Vidal, Crainic, Gendreau and Prins, "A hybrid genetic algorithm with adaptive diversity
//! management for a large class of vehicle routing problems with time-windows", Computers &
//! Operations Research 40 (2013), without their time warp: what is late here is not joined at all.
//!
//! **Invariant:** begun at any moment from `earliest` to `latest` a run takes exactly `duration`,
//! the least that is possible; begun earlier it ends no earlier; begun later it is late somewhere.
//! **Not here:** which stops there are, and whether they may be served (`route`).

use crate::problem::Ticks;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From the beginning of the first stop to the end of the last, waiting included.
    pub(crate) duration: Ticks,
    pub(crate) earliest: Ticks,
    pub(crate) latest: Ticks,
}

impl Segment {
    /// This run, the way, and the next run; nothing if the next one cannot be reached in time.
    pub(crate) fn join(self, travel: Ticks, next: Self) -> Option<Self> {
        let offset = self.duration + travel;
        if self.earliest + offset > next.latest {
            return None;
        }
        let waiting = (next.earliest - offset - self.latest).max(0);
        Some(Self {
            duration: offset + waiting + next.duration,
            earliest: (next.earliest - offset).max(self.earliest) - waiting,
            latest: (next.latest - offset).min(self.latest),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Begins at `start`, waits where it must; the end, if nothing is late.
    fn walk(start: Ticks, stops: &[(Segment, Ticks)]) -> Option<Ticks> {
        let mut now = start;
        for (stop, travel) in stops {
            now = (now + travel).max(stop.earliest);
            if now > stop.latest {
                return None;
            }
            now += stop.duration;
        }
        Some(now)
    }

    proptest! {
        #[test]
        fn a_joined_run_is_what_walking_it_finds(
            stops in prop::collection::vec((0_i64..40, 0_i64..60, 0_i64..30, 0_i64..15), 1..6)
        ) {
            let stops: Vec<(Segment, Ticks)> = stops
                .into_iter()
                .map(|(earliest, width, duration, travel)| {
                    (Segment { duration, earliest, latest: earliest + width }, travel)
                })
                .collect();
            let none = Segment { duration: 0, earliest: 0, latest: 200 };
            let joined = stops
                .iter()
                .try_fold(none, |run, (stop, travel)| run.join(*travel, *stop));
            let ends: Vec<(Ticks, Ticks)> =
                (0..=200).filter_map(|start| Some((start, walk(start, &stops)?))).collect();
            let Some(least) = ends.iter().map(|(start, end)| end - start).min() else {
                prop_assert_eq!(joined, None);
                return Ok(());
            };
            let best: Vec<Ticks> = ends
                .iter()
                .filter(|(start, end)| end - start == least)
                .map(|(start, _)| *start)
                .collect();
            prop_assert_eq!(joined, Some(Segment {
                duration: least,
                earliest: best[0],
                latest: best[best.len() - 1],
            }));
        }
    }
}
