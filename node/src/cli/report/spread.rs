//! Distributions in whole numbers: percentiles, cumulative curves, and how evenly work is spread.
//!
//! A percentile is by nearest rank: the smallest value that at least so many in a hundred do not exceed, so it
//! is always one that was there. **Not here:** drawing (`chart`).

use serde::Serialize;

/// Points of a cumulative curve: more than a page has pixels for.
const POINTS_MAX: usize = 200;

/// A distribution in a few figures; none where nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) mean: Option<u64>,
}

impl Spread {
    /// Of values in rising order.
    pub(crate) fn of(sorted: &[u64]) -> Self {
        let count = sorted.len();
        let rank = |percent: usize| {
            let rank = (count * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        let sum: u128 = sorted.iter().map(|value| u128::from(*value)).sum();
        let mean = sum.checked_div(count as u128).and_then(|mean| u64::try_from(mean).ok());
        Self { count, p50: rank(50), p90: rank(90), p99: rank(99), max: rank(100), mean }
    }
}

/// A value, and how many in a thousand do not exceed it.
pub(crate) type Point = (u64, u32);

/// The cumulative curve of values in rising order, thinned to what can be seen.
pub(crate) fn cumulative(sorted: &[u64]) -> Vec<Point> {
    let count = sorted.len();
    let step = count.div_ceil(POINTS_MAX).max(1);
    let last = count.checked_sub(1);
    let ranks = (0..count).step_by(step).chain(last);
    let mut points: Vec<Point> = Vec::new();
    for rank in ranks {
        let point = (sorted[rank], permille(rank + 1, count));
        match points.last_mut() {
            Some(last) if last.0 == point.0 => *last = point,
            _ => points.push(point),
        }
    }
    points
}

/// So many of all, in a thousand.
pub(crate) fn permille(part: usize, all: usize) -> u32 {
    let share = (part * 1000).checked_div(all).unwrap_or(0);
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// The Lorenz curve of shares in rising order: of so many in a thousand people, so many in a thousand of all.
pub(crate) fn lorenz(sorted: &[u64]) -> Vec<(u32, u32)> {
    let all: u64 = sorted.iter().sum();
    let (count, mut sum) = (sorted.len(), 0);
    let mut curve = vec![(0, 0)];
    for (rank, value) in sorted.iter().enumerate() {
        sum += value;
        let share = (sum * 1000).checked_div(all).unwrap_or(0);
        curve.push((permille(rank + 1, count), u32::try_from(share).unwrap_or(u32::MAX)));
    }
    let step = curve.len().div_ceil(POINTS_MAX).max(1);
    let last = curve.last().copied();
    let mut thinned: Vec<(u32, u32)> = curve.into_iter().step_by(step).collect();
    thinned.extend(last.filter(|last| thinned.last() != Some(last)));
    thinned
}

/// The Gini coefficient of shares in rising order, in a thousand: 0 where all have the same.
pub(crate) fn gini(sorted: &[u64]) -> u32 {
    let (count, all): (i128, u64) = (sorted.len() as i128, sorted.iter().sum());
    let weighted: i128 =
        (1..).zip(sorted).map(|(rank, value)| (2 * rank - count - 1) * i128::from(*value)).sum();
    let gini = (weighted * 1000).checked_div(count * i128::from(all)).unwrap_or(0);
    u32::try_from(gini).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let of = |values: &[u64]| Spread::of(values);
        assert_eq!(of(&[]), Spread::default());
        let one = of(&[7]);
        assert_eq!((one.p50, one.p90, one.p99, one.max), (Some(7), Some(7), Some(7), Some(7)));
        let ten: Vec<u64> = (1..=10).collect();
        let ten = of(&ten);
        assert_eq!((ten.p50, ten.p90, ten.p99, ten.mean), (Some(5), Some(9), Some(10), Some(5)));
    }

    #[test]
    fn evenness_agrees_with_hand_computed_curves() {
        assert_eq!(gini(&[5, 5, 5, 5]), 0);
        assert_eq!(gini(&[0, 0, 0, 8]), 750);
        // 1, 2, 3: (−2·1 + 0·2 + 2·3) / (3·6).
        assert_eq!(gini(&[1, 2, 3]), 222);
        assert_eq!((gini(&[]), gini(&[0, 0])), (0, 0));
        assert_eq!(lorenz(&[1, 1, 2]), [(0, 0), (333, 250), (666, 500), (1000, 1000)]);
    }

    proptest! {
        #[test]
        fn curves_rise_to_all(mut values in prop::collection::vec(0_u64..5_000, 1..700)) {
            values.sort_unstable();
            let curve = cumulative(&values);
            prop_assert!(curve.len() <= POINTS_MAX + 1);
            prop_assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
            let last = values.last().map(|last| (*last, 1000));
            prop_assert_eq!(curve.last().copied(), last);
            let shares = lorenz(&values);
            prop_assert!(shares.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
            prop_assert!(shares.iter().all(|(people, share)| share <= people));
            prop_assert!(gini(&values) < 1000);
        }
    }
}
