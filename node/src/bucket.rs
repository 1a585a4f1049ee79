//! A token bucket: how often somebody may ask for work.
//!
//! Opening a device's message costs about 100 µs of processor time, and so does a certificate
//! request: who repeats itself is slowed down before that. **Invariant:** time that runs backwards gives nothing and takes nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use fieldmesh_domain::EntityId;

/// Of operators and senders, whose rate is remembered, as many as any cluster has.
pub const PEOPLE_MAX: usize = 4096;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

/// Tokens in thousandths, so that a millisecond gives a whole number of them.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    thousandths: u64,
    filled_ms: u64,
}

impl Bucket {
    pub fn full(rate: Rate, now_ms: u64) -> Self {
        Self { rate, thousandths: u64::from(rate.burst) * 1000, filled_ms: now_ms }
    }

    /// Whether it has recovered from all that was taken.
    pub fn is_full(&self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.filled_ms);
        let fresh = passed.saturating_mul(u64::from(self.rate.per_second));
        self.thousandths.saturating_add(fresh) >= u64::from(self.rate.burst) * 1000
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How many milliseconds to wait for the next one.
    pub fn take(&mut self, now_ms: u64) -> Result<(), u32> {
        let passed = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = now_ms.max(self.filled_ms);
        let fresh = passed.saturating_mul(u64::from(self.rate.per_second));
        let most = u64::from(self.rate.burst) * 1000;
        self.thousandths = self.thousandths.saturating_add(fresh).min(most);
        match self.thousandths.checked_sub(1000) {
            Some(rest) => {
                self.thousandths = rest;
                Ok(())
            }
            None => {
                let missing = 1000 - self.thousandths;
                let wait_ms = missing.div_ceil(u64::from(self.rate.per_second.max(1)));
                Err(u32::try_from(wait_ms).unwrap_or(u32::MAX))
            }
        }
    }
}

/// A bucket for each of those who ask.
pub struct Rates {
    rate: Rate,
    /// Those whose rate is remembered at most: 100 bytes each.
    remembered: usize,
    buckets: Mutex<BTreeMap<EntityId, Bucket>>,
}

impl Rates {
    pub fn new(rate: Rate, remembered: usize) -> Self {
        Self { rate, remembered, buckets: Mutex::default() }
    }

    /// Takes a token of somebody's.
    ///
    /// # Errors
    /// The seconds to wait, where that was too often.
    pub fn take(&self, who: EntityId, now_ms: u64) -> Result<(), u32> {
        self.take_ms(who, now_ms).map_err(|wait_ms| wait_ms.div_ceil(1000))
    }

    /// The same, in milliseconds.
    ///
    /// # Errors
    /// The milliseconds to wait.
    pub fn take_ms(&self, who: EntityId, now_ms: u64) -> Result<(), u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.remembered && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| !bucket.is_full(now_ms));
            if buckets.len() >= self.remembered {
                return Err(1000);
            }
        }
        let bucket = buckets.entry(who).or_insert_with(|| Bucket::full(self.rate, now_ms));
        bucket.take(now_ms)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::full(Rate { per_second: 10, burst: 3 }, 1000);
        assert_eq!([0; 3].map(|_| bucket.take(1000)), [Ok(()); 3]);
        assert_eq!(bucket.take(1000), Err(100));
        assert_eq!(bucket.take(1050), Err(50));
        assert_eq!(bucket.take(1100), Ok(()));
        assert_eq!(bucket.take(1100), Err(100));
        // A clock that was set back does not fill it, and one far ahead not beyond the burst.
        assert_eq!(bucket.take(5), Err(100));
        assert_eq!([0; 4].map(|_| bucket.take(u64::MAX)), [Ok(()), Ok(()), Ok(()), Err(100)]);
    }

    #[test]
    fn each_has_a_rate_of_its_own_and_a_full_table_forgets_only_who_has_recovered() {
        let of = |number| EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [number; 10]);
        let rates = Rates::new(Rate { per_second: 10, burst: 1 }, 2);
        assert_eq!(rates.take_ms(of(1), 1000), Ok(()));
        assert_eq!(rates.take_ms(of(1), 1000), Err(100), "however often it comes back");
        assert_eq!(rates.take_ms(of(2), 1050), Ok(()));
        assert_eq!(rates.take_ms(of(3), 1050), Err(1000), "there is no room for it yet");
        assert_eq!(rates.take_ms(of(3), 1100), Ok(()), "the first needs none any more");
        assert_eq!(rates.take_ms(of(2), 1100), Err(50));
        assert_eq!(rates.take(of(2), 1100), Err(1), "whole seconds, rounded up");
    }
}
