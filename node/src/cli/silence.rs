//! How long each shard said nothing while somebody waited for it.
//!
//! A silence ends with a receipt. It began with the receipt before it in the same shard, or with the oldest
//! request that waited, whichever was later: where nobody asks, nobody is kept waiting. **Not here:** who
//! asks (`failover`), what became of each request (`tally`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fieldmesh_actors::commit::ShardId;
use tokio::time::Instant;

/// A request that was received.
pub(super) struct Receipt {
    pub(super) asked: Instant,
    pub(super) shard: ShardId,
    pub(super) at: Instant,
}

/// Of all shards, since they were last forgotten.
#[derive(Default)]
pub(super) struct Silences {
    /// When a request was made, and in which shard, until its receipt.
    waiting: BTreeMap<[u8; 16], (Instant, ShardId)>,
    heard: BTreeMap<ShardId, Instant>,
    longest: BTreeMap<ShardId, Duration>,
}

impl Silences {
    pub(super) fn asked(&mut self, message_id: [u8; 16], shard: ShardId, at: Instant) {
        self.waiting.insert(message_id, (at, shard));
    }

    /// The first answer to a request, whatever it says.
    pub(super) fn answered(&mut self, message_id: &[u8; 16], at: Instant) -> Option<Receipt> {
        let (asked, shard) = *self.waiting.get(message_id)?;
        let waiting = self.waiting.values().filter(|(_, of)| *of == shard);
        let oldest = waiting.map(|(asked, _)| *asked).min().unwrap_or(asked);
        let before = self.heard.insert(shard, at).unwrap_or(oldest);
        let silence = at.saturating_duration_since(before.max(oldest));
        let longest = self.longest.entry(shard).or_default();
        *longest = silence.max(*longest);
        self.waiting.remove(message_id);
        Some(Receipt { asked, shard, at })
    }

    /// The longest silences of these shards, in milliseconds; they are forgotten with all others.
    pub(super) fn take(&mut self, shards: &BTreeSet<ShardId>) -> Vec<f64> {
        let all = std::mem::take(&mut self.longest).into_iter();
        let of = all.filter(|(shard, _)| shards.contains(shard));
        of.map(|(_, silence)| silence.as_secs_f64() * 1000.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, ms: u64) -> Instant {
        begin + Duration::from_millis(ms)
    }

    #[test]
    fn a_silence_lasts_from_the_oldest_request_or_the_last_receipt() {
        let (mut silences, begin) = (Silences::default(), Instant::now());
        // Shard 2 is another's; shard 1 has nobody who waits for the first second.
        silences.asked([1; 16], 1, after(begin, 1000));
        silences.asked([2; 16], 1, after(begin, 1010));
        silences.asked([3; 16], 2, after(begin, 0));
        silences.answered(&[2; 16], after(begin, 1100));
        silences.answered(&[1; 16], after(begin, 1130));
        assert!(silences.answered(&[1; 16], after(begin, 1200)).is_none(), "answered before");
        assert_eq!(silences.take(&[1].into()), [100.0]);
        silences.answered(&[3; 16], after(begin, 1500));
        assert_eq!(silences.take(&[1].into()), [0.0; 0], "nothing since");
    }

    #[test]
    fn who_asked_before_the_last_receipt_waits_from_there() {
        let (mut silences, begin) = (Silences::default(), Instant::now());
        silences.asked([1; 16], 1, begin);
        silences.asked([2; 16], 1, after(begin, 5));
        silences.answered(&[1; 16], after(begin, 10));
        silences.answered(&[2; 16], after(begin, 50));
        assert_eq!(silences.take(&[1].into()), [40.0]);
    }
}
