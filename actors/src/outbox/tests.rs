//! When a row is told again, by a clock that stands still while anybody has something to do.
//!
//! **Not here:** the product.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_domain::{Command, EntityKind, TimerName, customer};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::{
    admission::Credits,
    commit::{Cause, Draft},
    seams::{
        JournalError, Loaded, MailItem, Pending, Queued, Replay, Rows, Serves, TimerPlace,
        TimerRows,
    },
};

/// The shard whose outbox it is, and the one that is told.
const OWN: ShardId = 1;
const OTHER: ShardId = 2;

/// Tells that a test has not looked at yet: more than it has in all.
const TOLD_MAX: usize = 16;

/// A journal with one row.
struct OneRow(OutboxItem);

impl Journal for OneRow {
    fn load(&self, _: EntityId) -> Result<Loaded, JournalError> {
        Ok(Loaded::default())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn serves(&self, _: EntityId, _: &Cause) -> Result<Serves, JournalError> {
        Ok(Serves::No)
    }

    fn redirect(&self, _: Vec<(ShardId, u64)>, _: ShardId) -> Pending<Result<(), JournalError>> {
        Box::pin(async { Err(JournalError::NotLeader) })
    }

    fn submit(&self, _: Draft) -> Pending<Result<Queued, JournalError>> {
        Box::pin(async { Err(JournalError::NotLeader) })
    }

    fn replay(&self, _: &Cause) -> Result<Replay, JournalError> {
        Ok(Replay::New)
    }

    fn settle(&self, _: Settle) -> Pending<Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }

    fn outbox(&self, _: usize) -> Result<Rows<OutboxItem>, JournalError> {
        Ok(Rows { items: vec![self.0.clone()], is_all: true })
    }

    fn timers(&self, _: TimerPlace, _: usize) -> Result<TimerRows, JournalError> {
        Ok(TimerRows { items: Vec::new(), next: None })
    }

    fn mail(&self, _: EntityId, _: usize) -> Result<Rows<MailItem>, JournalError> {
        Ok(Rows { items: Vec::new(), is_all: true })
    }
}

/// Says when a row was told, to a shard that is led or not.
struct Post {
    is_led: watch::Sender<bool>,
    told: mpsc::Sender<Instant>,
}

impl Courier for Post {
    fn tell(&self, _: ShardId, _: OutboxItem) -> Pending<Result<(), AskError>> {
        self.told.try_send(Instant::now()).unwrap();
        let is_led = *self.is_led.borrow();
        Box::pin(async move { if is_led { Ok(()) } else { Err(AskError::NotLeader) } })
    }

    fn led_anew(&self, shard: ShardId) -> Pending<()> {
        assert_eq!(shard, OTHER);
        let mut is_led = self.is_led.subscribe();
        Box::pin(async move { drop(is_led.changed().await) })
    }

    fn serving(&self, _: EntityId) -> Option<ShardId> {
        Some(OTHER)
    }

    fn push(&self, _: &MailItem) -> bool {
        false
    }

    fn passes(&self, _: EntityId) -> bool {
        false
    }

    fn delivered(&self, _: &MailItem) -> Option<Pending<bool>> {
        None
    }
}

/// A pump whose row nobody takes yet, and when it tells it.
async fn pump() -> (Arc<Post>, mpsc::Receiver<Instant>, ActorRef<Msg>) {
    let (told, tells) = mpsc::channel(TOLD_MAX);
    let post = Arc::new(Post { is_led: watch::Sender::new(false), told });
    let courier: Arc<dyn Courier> = Arc::clone(&post) as _;
    let from = EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [1; 10]);
    let timer = customer::Command::Timer { name: TimerName::Deadline, generation: 1 };
    let command = Some(Command::Customer(timer));
    let row = OutboxItem { shard: OTHER, number: 1, from, to: from, command };
    let journal: Arc<dyn Journal> = Arc::new(OneRow(row));
    let queues = Arc::<Held>::default();
    let arguments = (OWN, journal, courier, Credits::default().backlog(), queues);
    let (actor, _) = Actor::spawn(None, Outbox, arguments).await.unwrap();
    (post, tells, actor)
}

#[tokio::test(start_paused = true)]
async fn a_row_is_told_again_as_soon_as_somebody_leads() {
    let (post, mut tells, actor) = pump().await;
    let first = tells.recv().await.unwrap();
    post.is_led.send_replace(true);
    assert_eq!(tells.recv().await.unwrap() - first, Duration::ZERO);
    actor.stop(None);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_leads_a_row_is_told_ever_more_seldom_and_once_at_a_time() {
    let (post, mut tells, actor) = pump().await;
    let mut last = tells.recv().await.unwrap();
    for failures in 1..=8 {
        let next = tells.recv().await.unwrap();
        let (waited, wanted) = (next - last, pause(failures));
        // Timers count whole milliseconds.
        assert!(waited >= wanted && waited < wanted + Duration::from_millis(5), "{waited:?}");
        last = next;
    }
    assert_eq!((pause(1), pause(8)), (Duration::from_millis(100), RETRY_MAX));
    post.is_led.send_replace(true);
    assert_eq!(tells.recv().await.unwrap() - last, Duration::ZERO, "also from a long pause");
    actor.stop(None);
}
