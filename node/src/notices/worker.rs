//! Delivers what is pending, for as long as this node leads the notifier's shard.
//!
//! **Invariants:** a request is made only after the notifier wrote down that it begins; what came of it is
//! told until the notifier has it. **Not here:** when and what (`lane`), the request itself (`client`).

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use fieldmesh_actors::{
    AskError,
    commit::{Cause, ShardId},
    seams::JournalError,
};
use fieldmesh_domain::{
    Command, EntityId, IndexRow,
    effect::RowKey,
    notifier::{self, Delivery, Notice, Notifier, Outcome, Recipient, SETTLED_MAX, Settled},
};
use rustls::ClientConfig;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::JoinSet,
};

use super::{
    Delivering, Targets,
    client::{Answer, PostError, RETRY_AFTER_MAX_S, Way},
    document::Target,
    lane::{Attempt, Call, Lane, Met, Waiting},
    payload,
    roots::Roots,
    signing::Secret,
    targets,
};
use crate::{documents::Known, journal::ShardJournal, node::Node};

/// Rows of a page.
const PAGE: usize = 512;
/// The longest sleep: leadership and clocks may change.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Between two attempts to tell the notifier something.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Rows that are heard before requests are begun again.
const HEARD_MAX: usize = 256;

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("another node leads the notifier's shard")]
    Relieved,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Whether who is called to a ticket is called off by another notice to the same target, or the other way round. A
/// program that counts what happens misses nothing of what calls off: only people are told no more that they are not
/// needed once they are.
fn is_over(to: &Recipient, (number, call): (u64, Call), by: (u64, Call)) -> bool {
    let is_other = call.ticket == by.1.ticket && call.is_needed != by.1.is_needed;
    is_other && number < by.0 && (call.is_needed || matches!(to, Recipient::Person(_)))
}

/// A request that was made.
type Made = (Recipient, Attempt, Met);

/// One term of leadership.
pub(super) struct Worker<'n> {
    node: &'n Arc<Node>,
    notifier: EntityId,
    shard: ShardId,
    delivering: Delivering,
    roots: &'n Arc<Roots>,
    targets: Arc<Targets>,
    tls: BTreeMap<Recipient, Result<Arc<ClientConfig>, String>>,
    lanes: BTreeMap<Recipient, Lane>,
    requests: JoinSet<Made>,
    /// What the notifier has not heard yet.
    unsettled: Vec<Settled>,
    /// Targets that it has not heard of yet that they want nothing any more.
    closing: Vec<(Recipient, String)>,
}

impl<'n> Worker<'n> {
    pub(super) fn new(
        node: &'n Arc<Node>,
        notifier: EntityId,
        shard: ShardId,
        delivering: Delivering,
        roots: &'n Arc<Roots>,
    ) -> Self {
        Self {
            node,
            notifier,
            shard,
            delivering,
            roots,
            targets: Arc::default(),
            tls: BTreeMap::new(),
            lanes: BTreeMap::new(),
            requests: JoinSet::new(),
            unsettled: Vec::new(),
            closing: Vec::new(),
        }
    }

    pub(super) async fn run(
        &mut self,
        documents: &mut watch::Receiver<Arc<Known>>,
    ) -> Result<(), Ended> {
        let mut rows = self.node.steps.watch_rows();
        documents.mark_unchanged();
        self.learn(documents).await?;
        self.scan()?;
        loop {
            self.settle().await?;
            self.begin().await?;
            let sleep = self.sleep();
            tokio::select! {
                row = rows.recv() => match row {
                    Ok(row) => {
                        self.hear(row)?;
                        for _ in 0..HEARD_MAX {
                            let Ok(row) = rows.try_recv() else { break };
                            self.hear(row)?;
                        }
                    }
                    Err(RecvError::Lagged(_)) => self.scan()?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                Some(made) = self.requests.join_next() => {
                    self.made(made.ok());
                    while let Some(made) = self.requests.try_join_next() {
                        self.made(made.ok());
                    }
                }
                changed = documents.changed() => match changed {
                    Ok(()) => self.learn(documents).await?,
                    Err(_) => return Ok(()),
                },
                () = tokio::time::sleep(sleep) => {}
            }
            if self.node.known.group_of(self.notifier) != Some(self.shard) {
                return Err(Ended::Relieved);
            }
        }
    }

    fn journal(&self) -> Result<ShardJournal, Ended> {
        self.node.journal(self.shard).ok_or(Ended::Relieved)
    }

    /// Asks the notifier here and nowhere else: whoever leads now has a worker of its own.
    async fn ask(&self, command: notifier::Command) -> Result<(), Ended> {
        loop {
            let handle = self.node.courier.shard(self.shard).ok_or(Ended::Relieved)?;
            let mut command_id = [0; 16];
            self.node.entropy.fill(&mut command_id);
            let cause = Cause::Operator { command_id };
            let command = Command::Notifier(command.clone());
            let asked = match handle.credits.try_take() {
                Some(credit) => handle.ask(self.notifier, command, cause, Some(credit)).await,
                None => Err(AskError::Unknown),
            };
            match asked {
                Ok(_) => return Ok(()),
                Err(AskError::Rejected(rejection)) => {
                    tracing::error!(%rejection, "the notifier refuses what it should take");
                    return Ok(());
                }
                Err(AskError::NotLeader | AskError::Moved) => return Err(Ended::Relieved),
                Err(error) => tracing::debug!(%error, "the notifier is asked again"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Takes in the targets in force, and tells the notifier who subscribed to what.
    async fn learn(&mut self, documents: &watch::Receiver<Arc<Known>>) -> Result<(), Ended> {
        let (version, targets) = targets(documents);
        self.targets = targets;
        self.tls.clear();
        let now_ms = self.node.clock.now_ms();
        for lane in self.lanes.values_mut() {
            lane.renew(now_ms);
        }
        if version > 0 {
            let targets = self.targets.subscriptions();
            self.ask(notifier::Command::Targets { version, targets }).await?;
        }
        self.reopen()
    }

    /// Which targets are closed, by the notifier.
    fn reopen(&mut self) -> Result<(), Ended> {
        let state: Notifier = self.journal()?.state(self.notifier)?;
        for (to, lane) in &mut self.lanes {
            lane.closed = state.closed.get(to).cloned();
        }
        for (to, why) in state.closed {
            self.lanes.entry(to).or_default().closed = Some(why);
        }
        Ok(())
    }

    /// Looks at all rows.
    fn scan(&mut self) -> Result<(), Ended> {
        let journal = self.journal()?;
        // What calls off may have been delivered, by whoever led before.
        let mut said: BTreeMap<(Recipient, EntityId), (u64, Call)> = BTreeMap::new();
        let mut page = journal.rows(self.notifier.kind() as u8, None, PAGE)?;
        while let Some(last) = page.last().map(IndexRow::key) {
            let is_last = page.len() < PAGE;
            for row in page {
                let Some((to, number, Some(call))) = self.take(&journal, &row)? else { continue };
                let last = said.entry((to, call.ticket)).or_insert((number, call));
                if last.0 < number {
                    *last = (number, call);
                }
            }
            if is_last {
                break;
            }
            page = journal.rows(last.kind, Some(&last), PAGE)?;
        }
        for (to, lane) in &mut self.lanes {
            let by = |call: Call| said.get(&(to.clone(), call.ticket));
            let off =
                |number, call| by(call).is_some_and(|last| is_over(to, (number, call), *last));
            self.unsettled.extend(lane.call_off(off));
        }
        Ok(())
    }

    /// A row was committed, of whatever shard and kind.
    fn hear(&mut self, row: IndexRow) -> Result<(), Ended> {
        let IndexRow::Delivery { id, state: Delivery::Queued, .. } = row else { return Ok(()) };
        if id != self.notifier {
            return Ok(());
        }
        let journal = self.journal()?;
        // It may have been heard of before, and be over by now.
        let Some(row) = journal.row(&row.key())? else { return Ok(()) };
        let Some((to, number, call)) = self.take(&journal, &row)? else { return Ok(()) };
        let Some(lane) = self.lanes.get_mut(&to) else { return Ok(()) };
        if let Some(by) = call {
            let off = |other, call| is_over(&to, (other, call), (number, by));
            self.unsettled.extend(lane.call_off(off));
        }
        if lane.closed.is_some() {
            // The notifier queues nothing for a target that is closed.
            self.reopen()?;
        }
        Ok(())
    }

    /// Queues what the row says is pending; for whom, its number, and what it says of whether they are needed.
    fn take(
        &mut self,
        journal: &ShardJournal,
        row: &IndexRow,
    ) -> Result<Option<(Recipient, u64, Option<Call>)>, Ended> {
        let IndexRow::Delivery { number, state, attempts, next, .. } = row else {
            return Ok(None);
        };
        let key = RowKey::notice(self.notifier, *number);
        let Some(IndexRow::Notice { to, notice, .. }) = journal.row(&key)? else {
            return Ok(None);
        };
        let call = Call::of(&notice);
        if state.is_pending() {
            let (told_ms, next_ms, attempts) = (notice.at.0, next.0, *attempts);
            let waiting = Waiting { told_ms, next_ms, attempts, call, is_over: false };
            self.lanes.entry(to.clone()).or_default().add(*number, waiting);
        }
        Ok(Some((to, *number, call)))
    }

    fn sleep(&self) -> Duration {
        let now_ms = self.node.clock.now_ms();
        let due = self.lanes.values().filter(|lane| lane.closed.is_none()).filter_map(Lane::due_ms);
        let next = due.min().map(|due| Duration::from_millis(due.saturating_sub(now_ms)));
        next.map_or(SLEEP_MAX, |next| next.min(SLEEP_MAX))
    }

    /// Begins what is due: the notifier hears of it first.
    async fn begin(&mut self) -> Result<(), Ended> {
        let now_ms = self.node.clock.now_ms();
        let pace = self.delivering.pace;
        let mut begun: Vec<(Recipient, Attempt)> = Vec::new();
        for (to, lane) in &mut self.lanes {
            self.unsettled.extend(lane.give_up(now_ms));
            while let Some(attempt) = lane.begin(now_ms, pace) {
                begun.push((to.clone(), attempt));
            }
        }
        let sent = begun.iter().flat_map(|(_, attempt)| &attempt.notices);
        let sent = sent.map(|(number, attempt)| Settled {
            number: *number,
            attempt: *attempt,
            outcome: Outcome::Sent,
        });
        let sent: Vec<Settled> = sent.collect();
        for chunk in sent.chunks(SETTLED_MAX) {
            // Where this fails another node leads: what was begun is forgotten with this worker.
            self.ask(notifier::Command::Settle(chunk.to_vec())).await?;
        }
        for (to, attempt) in begun {
            self.request(to, attempt)?;
        }
        self.lanes.retain(|_, lane| !lane.is_idle());
        Ok(())
    }

    fn request(&mut self, to: Recipient, attempt: Attempt) -> Result<(), Ended> {
        let journal = self.journal()?;
        let mut notices: Vec<Notice> = Vec::with_capacity(attempt.notices.len());
        for (number, _) in &attempt.notices {
            if let Some(IndexRow::Notice { notice, .. }) =
                journal.row(&RowKey::notice(self.notifier, *number))?
            {
                notices.push(notice);
            }
        }
        let now_ms = self.node.clock.now_ms();
        let prepared = self.prepared(&to, &notices, now_ms);
        self.requests.spawn(async move {
            let met = match prepared {
                Ok(post) => post.send().await,
                Err(reason) => Met::Failed { reason, retry_after_s: None },
            };
            (to, attempt, met)
        });
        Ok(())
    }

    /// A request ready to be made, or why it cannot be.
    fn prepared(
        &mut self,
        to: &Recipient,
        notices: &[Notice],
        now_ms: u64,
    ) -> Result<Post, String> {
        let target = self.targets.0.get(to).cloned();
        let target = target.ok_or_else(|| format!("no target is named {}", to.name()))?;
        if notices.is_empty() {
            return Err("the notice is not there any more".into());
        }
        let tls = match target.endpoint.is_tls {
            true => {
                let tls = self.tls.entry(to.clone());
                Some(tls.or_insert_with(|| self.roots.tls(&target.cas)).clone()?)
            }
            false => None,
        };
        let (id, body) = payload::message(notices, now_ms);
        let at_s = now_ms / 1000;
        let region_key = self.node.service.region_key();
        let generations = if target.keep_previous { 2 } else { 1 };
        let signatures: Vec<String> = (0..generations)
            .map(|back| Secret::new(region_key, to, target.secret.saturating_sub(back)))
            .map(|secret| secret.sign(&id, at_s, &body))
            .collect();
        let headers = format!(
            "Content-Type: application/json\r\nUser-Agent: fieldmesh/{}\r\nwebhook-id: {id}\r\n\
             webhook-timestamp: {at_s}\r\nwebhook-signature: {}\r\n",
            env!("CARGO_PKG_VERSION"),
            signatures.join(" ")
        );
        Ok(Post { target, tls, headers, body, delivering: self.delivering })
    }

    /// A request ended; none where its task did not, which has no outcome to tell.
    fn made(&mut self, made: Option<Made>) {
        let Some((to, attempt, met)) = made else {
            tracing::error!("a request to a target ended without a word");
            return;
        };
        let mut chance = [0; 4];
        self.node.entropy.fill(&mut chance);
        let moment = (self.node.clock.now_ms(), u32::from_be_bytes(chance));
        let lane = self.lanes.entry(to.clone()).or_default();
        let settled = lane.end(&attempt, &met, moment, self.delivering.pace);
        let outcome = match &met {
            Met::Taken => "delivered",
            Met::Failed { reason, .. } => {
                tracing::warn!(target_name = to.name(), reason, "notices were not taken");
                "failed"
            }
            Met::Gone { reason } => {
                tracing::warn!(target_name = to.name(), reason, "a target is closed");
                self.closing.push((to, reason.clone()));
                "gone"
            }
        };
        metrics::counter!("fieldmesh_notices_total", "outcome" => outcome)
            .increment(settled.len() as u64);
        self.unsettled.extend(settled);
    }

    async fn settle(&mut self) -> Result<(), Ended> {
        for (to, reason) in mem::take(&mut self.closing) {
            self.ask(notifier::Command::Close { to, reason }).await?;
        }
        let unsettled = mem::take(&mut self.unsettled);
        for chunk in unsettled.chunks(SETTLED_MAX) {
            self.ask(notifier::Command::Settle(chunk.to_vec())).await?;
        }
        Ok(())
    }
}

/// A request ready to be made.
struct Post {
    target: Target,
    tls: Option<Arc<ClientConfig>>,
    headers: String,
    body: Vec<u8>,
    delivering: Delivering,
}

impl Post {
    async fn send(&self) -> Met {
        let way = Way {
            endpoint: &self.target.endpoint,
            allow_private: self.target.allow_private,
            tls: self.tls.as_ref(),
            patience: self.delivering.patience,
        };
        met(way.post(&self.headers, &self.body).await)
    }
}

fn met(posted: Result<Answer, PostError>) -> Met {
    match posted {
        Ok(Answer { status: 200..300, .. }) => Met::Taken,
        Ok(Answer { status: 410, .. }) => {
            Met::Gone { reason: "the target answered 410: it wants nothing any more".into() }
        }
        Ok(Answer { status: status @ 300..400, .. }) => {
            let reason = format!("the target answered {status}: redirects are not followed");
            Met::Failed { reason, retry_after_s: None }
        }
        Ok(Answer { status, retry_after_s }) => {
            let may_wish = matches!(status, 429 | 503);
            let wish = retry_after_s.filter(|_| may_wish).map(|wish| wish.min(RETRY_AFTER_MAX_S));
            Met::Failed { reason: format!("the target answered {status}"), retry_after_s: wish }
        }
        Err(error) => Met::Failed { reason: error.to_string(), retry_after_s: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_scheme_says() {
        let answer = |status, retry_after_s| met(Ok(Answer { status, retry_after_s }));
        assert_eq!(answer(204, None), Met::Taken);
        assert!(matches!(answer(410, None), Met::Gone { .. }));
        for status in [301, 400, 404, 500] {
            assert!(
                matches!(answer(status, Some(9)), Met::Failed { retry_after_s: None, .. }),
                "{status}"
            );
        }
        for (wish, heard) in [(9, 9), (u64::MAX, RETRY_AFTER_MAX_S)] {
            let Met::Failed { retry_after_s, .. } = answer(503, Some(wish)) else { continue };
            assert_eq!(retry_after_s, Some(heard));
        }
    }
}
