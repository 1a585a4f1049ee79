//! Slows those whose requests are refused: a guess at a token or a storm of bad requests costs its
//! sender time, and everybody else nothing. A sender whose requests are granted is never slowed.
//!
//! **Invariant:** the table of addresses is bounded; when it is full, those that have recovered go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::bucket::{Bucket, Rate};

/// Refusals that one address may have a second, and at once.
const REFUSALS: Rate = Rate { per_second: 5, burst: 200 };
/// Refusals that enter the ledger a second, and at once; the rest is counted there.
const LISTED: Rate = Rate { per_second: 20, burst: 200 };
/// Addresses that are remembered: 100 bytes each.
const ADDRESSES_MAX: usize = 16_384;

/// Refusals lately.
#[derive(Default)]
pub struct Throttle {
    addresses: Mutex<BTreeMap<IpAddr, Bucket>>,
    ledger: Mutex<Option<Bucket>>,
    unlisted: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A bucket is whole after each step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Throttle {
    /// Whether an address may ask at all; the seconds to wait where not.
    pub fn admits(&self, from: Option<IpAddr>, now_ms: u64) -> Result<(), u32> {
        let Some(from) = from else { return Ok(()) };
        match lock(&self.addresses).get(&from) {
            Some(bucket) => bucket.clone().take(now_ms).map_err(|wait_ms| wait_ms.div_ceil(1000)),
            None => Ok(()),
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, from: Option<IpAddr>, now_ms: u64) {
        let Some(from) = from else { return };
        let mut addresses = lock(&self.addresses);
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, bucket| !bucket.is_full(now_ms));
        }
        if addresses.len() < ADDRESSES_MAX || addresses.contains_key(&from) {
            let bucket = addresses.entry(from).or_insert_with(|| Bucket::full(REFUSALS, now_ms));
            // Whoever has nothing left is refused at the door.
            let _ = bucket.take(now_ms);
        }
    }

    /// Whether a refusal is to be listed in the ledger, and how many before it were not.
    pub fn listed(&self, now_ms: u64) -> Option<u32> {
        let mut ledger = lock(&self.ledger);
        let bucket = ledger.get_or_insert_with(|| Bucket::full(LISTED, now_ms));
        if bucket.take(now_ms).is_ok() {
            Some(self.unlisted.swap(0, Ordering::Relaxed))
        } else {
            self.unlisted.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// Keys for which a certificate is being issued: two identities must not get the same one at once.
#[derive(Clone, Default)]
pub struct KeysUnderWay(Arc<Mutex<BTreeSet<[u8; 32]>>>);

/// A key that nobody else gets a certificate for meanwhile.
pub struct Reserved {
    keys: KeysUnderWay,
    key: [u8; 32],
}

impl KeysUnderWay {
    pub fn reserve(&self, key: [u8; 32]) -> Option<Reserved> {
        lock(&self.0).insert(key).then(|| Reserved { keys: self.clone(), key })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.keys.0).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refused_are_slowed_and_only_for_a_while() {
        let throttle = Throttle::default();
        let (bad, good) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        for _ in 0..REFUSALS.burst {
            assert_eq!(throttle.admits(Some(bad), 0), Ok(()));
            throttle.refused(Some(bad), 0);
        }
        assert_eq!(throttle.admits(Some(bad), 0), Err(1));
        assert_eq!(throttle.admits(Some(good), 0), Ok(()));
        assert_eq!(throttle.admits(Some(bad), 2000), Ok(()));
    }

    #[test]
    fn a_key_is_reserved_once_at_a_time() {
        let keys = KeysUnderWay::default();
        let first = keys.reserve([1; 32]);
        assert!(first.is_some() && keys.reserve([1; 32]).is_none());
        drop(first);
        assert!(keys.reserve([1; 32]).is_some());
    }
}
