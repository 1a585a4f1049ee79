//! How much may be asked of a shard at a time, wherever it is led.
//!
//! **Invariant:** a leader elsewhere that said that it is busy is spared what its customers say, until it may be
//! less so. **Not here:** when a leader is busy (`fieldmesh_actors::admission`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use fieldmesh_actors::{
    admission::{Credit, Credits, is_likely_new},
    commit::ShardId,
};
use fieldmesh_domain::EntityId;
use tokio::time::{Duration, Instant};

use super::{NodeCourier, read, write};

/// A leader that is busy is believed that for so long at most, whatever it says.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// A shard elsewhere.
#[derive(Default)]
pub(super) struct Far {
    credits: Credits,
    busy_until: Mutex<Option<Instant>>,
}

impl Far {
    fn busy_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.busy_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its leader had no credit, and said when to come again.
    pub(super) fn is_busy(&self, retry_after_ms: u32) {
        let pause = Duration::from_millis(u64::from(retry_after_ms)).min(BUSY_MAX);
        *self.busy_until() = Some(Instant::now() + pause);
    }

    /// A credit for what a device says; none for what would be turned away there.
    pub(super) fn try_take_for(&self, device: EntityId) -> Option<Credit> {
        let is_busy = self.busy_until().is_some_and(|until| until > Instant::now());
        if is_busy && is_likely_new(device) { None } else { self.credits.try_take_for(device) }
    }
}

impl NodeCourier {
    /// A credit for an ask from outside: to be had before any expensive work for it.
    pub fn admit(&self, entity: EntityId) -> Option<Credit> {
        let shard = self.known.group_of(entity)?;
        if let Some(handle) = self.shard(shard) {
            return handle.credits.try_take();
        }
        self.far(shard, |far| far.credits.try_take())
    }

    /// The same for what a device says: a customer may have to wait where the shard is behind.
    pub fn admit_from(&self, device: EntityId) -> Option<Credit> {
        let shard = self.known.group_of(device)?;
        match self.shard(shard) {
            Some(handle) => handle.credits.try_take_for(device),
            None => self.far(shard, |far| far.try_take_for(device)),
        }
    }

    pub(super) fn far<T>(&self, shard: ShardId, look: impl FnOnce(&Far) -> T) -> T {
        if let Some(far) = read(&self.abroad).get(&shard) {
            return look(far);
        }
        look(write(&self.abroad).entry(shard).or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_busy_leader_is_spared_its_customers_for_a_while_and_no_technician() {
        let of = |kind| EntityId::new(kind, "eu1".parse().unwrap(), [1; 10]);
        let (customer, technician) = (of(EntityKind::Customer), of(EntityKind::Technician));
        let far = Far::default();
        assert!(far.try_take_for(customer).is_some());
        far.is_busy(200);
        assert!(far.try_take_for(customer).is_none());
        assert!(far.try_take_for(technician).is_some(), "whoever ends work is heard");
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(far.try_take_for(customer).is_some());
        far.is_busy(u32::MAX);
        tokio::time::advance(BUSY_MAX).await;
        assert!(far.try_take_for(customer).is_some(), "nobody is believed for 49 days");
    }
}
