//! A token bucket: how often somebody may ask for work.
//!
//! Opening a device's message costs about 100 µs of processor time, and so does a certificate
//! request: who repeats itself is slowed down before that. **Invariant:** time that runs backwards gives nothing and takes nothing.

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

#[cfg(test)]
mod tests {
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
}
