//! Which of the customers asks next, as often as the workload's keys say.
//!
//! **Not here:** asking (`load`).

use fieldmesh_chaos::Keys;
use rand::{RngExt, rngs::StdRng};

/// Numbers that come as often as the keys say.
pub(super) struct Chooser {
    /// Up to each, of one.
    up_to: Vec<f64>,
}

impl Chooser {
    pub(super) fn new(keys: Keys, of: usize) -> Self {
        let weight = |rank: usize| match keys {
            Keys::Uniform => 1.0,
            Keys::Zipf(exponent) => (rank as f64).powf(-exponent),
        };
        let whole: f64 = (1..=of).map(weight).sum();
        let mut sum = 0.0;
        let up_to = (1..=of).map(|rank| {
            sum += weight(rank) / whole;
            sum
        });
        Self { up_to: up_to.collect() }
    }

    pub(super) fn choose(&self, dice: &mut StdRng) -> usize {
        let at: f64 = dice.random();
        self.up_to.partition_point(|up_to| *up_to < at).min(self.up_to.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn keys_come_as_often_as_they_say() {
        let counts = |keys: Keys| {
            let (chooser, mut dice) = (Chooser::new(keys, 10), StdRng::seed_from_u64(7));
            let mut counts = [0_u32; 10];
            for _ in 0..10_000 {
                counts[chooser.choose(&mut dice)] += 1;
            }
            counts
        };
        assert!(counts(Keys::Uniform).iter().all(|count| (850..1150).contains(count)));
        let [first, second, .., last] = counts(Keys::Zipf(1.0));
        // Of the harmonic number 2.929 of ten.
        assert!(
            (3250..3580).contains(&first) && (1580..1840).contains(&second),
            "{first} {second}"
        );
        assert!((270..410).contains(&last), "{last}");
    }
}
