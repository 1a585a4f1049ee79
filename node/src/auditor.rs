//! Proves that every open ticket has a timer, again and again, on the node that leads its shard.
//!
//! A ticket without a timer would wait for ever and nobody would know. So the rows of open tickets are compared
//! with the rows of timers, page by page at a bounded rate: each has its deadline, one whose escalation policy
//! runs has that timer too, and one with a promise that may be broken that one. Which tickets are open is known
//! (`open`); that nothing is left out of that is proven beside it, by a part of all rows in each pass. A ticket that
//! lacks a timer is looked at twice, counted and logged loudly, and told so: it sets its timers anew. One of which a
//! timer was due long ago waits as well: it is counted and logged, and what to do about it is for a person.
//!
//! Tickets that are silenced are told on the same way when silences change, and once by whoever begins to
//! lead. Those that somebody is sought for are told where a silence fits them by now: it began, or the search did.
//!
//! **Invariants:** a pass is clean only if it saw every ticket of the shard and each had all timers that it
//! needs, and they fire; whoever does not lead a shard has no pass of it. **Not here:** setting timers
//! (`domain::ticket`), firing them (`actors::timers`), telling somebody outside (`notices::heartbeat`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fieldmesh_actors::{
    AskError,
    commit::ShardId,
    seams::{Clock, Entropy, JournalError},
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow, TimerName,
    effect::RowKey,
    placement::TRIGGERS,
    ticket::{self, Stage, Standing, Subject, Ticket},
    time::Millis,
};

use crate::{
    consensus::group::Group,
    courier::{NodeCourier, wire::Audited},
    documents::{Documents, Known},
    guide,
    journal::ShardJournal,
    open::OpenTickets,
};

/// Rows looked at together, and the pause between two pages: 5,000 rows a second are below a hundredth of
/// one core.
const PAGE_ROWS: usize = 250;
const PAGE_PAUSE: Duration = Duration::from_millis(50);
/// Pages of all rows that a pass compares with what is known to be open, a second in all: a million tickets within
/// two hours.
const SWEPT_PAGES: usize = 20;
/// A ticket without a timer waits so long at most, and as long again as a pass takes.
const PASS_EVERY: Duration = Duration::from_secs(30);
/// A row and its timer are read one after the other: what is missing is looked at again after this.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// A timer that is due for longer is stored and does not fire. After an election all are fired anew at a bounded
/// rate, which takes seconds, and where thousands were due a minute.
const OVERDUE_MS: u64 = 120_000;
/// Tickets without a timer that one pass deals with: more of them are a fault that a person must see, and
/// the next pass goes on.
const MISSING_MAX: usize = 1_000;

/// What the last whole pass of a shard found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Unix milliseconds.
    pub ended_ms: u64,
    pub took_ms: u64,
    /// Tickets that have not ended.
    pub open: u64,
    /// Of those, whom nobody can be found for.
    pub unfilled: u64,
    /// Of the open ones, without a timer that they need.
    pub missing: u64,
    /// Of the open ones, with one that was due long ago and has not fired.
    pub overdue: u64,
}

/// The passes of the shards that this node leads.
#[derive(Debug, Default)]
pub struct Audits {
    passes: Mutex<BTreeMap<ShardId, Option<Pass>>>,
}

impl Audits {
    /// Each shard that is led here with its last whole pass; none before the first.
    pub fn passes(&self) -> BTreeMap<ShardId, Option<Pass>> {
        self.lock().clone()
    }

    /// The last whole pass of a shard that is led here.
    pub(crate) fn audited(&self, shard: ShardId, now_ms: u64) -> Option<Audited> {
        let last = self.lock().get(&shard).copied().flatten()?;
        let Pass { ended_ms, took_ms, missing, overdue, .. } = last;
        Some(Audited { age_ms: now_ms.saturating_sub(ended_ms), took_ms, missing, overdue })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Option<Pass>>> {
        // Each change is one insertion or removal.
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self, shard: ShardId) {
        self.lock().entry(shard).or_default();
    }

    fn ended(&self, shard: ShardId, pass: Pass) {
        self.lock().insert(shard, Some(pass));
    }

    fn left(&self, shard: ShardId) {
        self.lock().remove(&shard);
    }
}

/// What the auditor of a shard needs.
pub(crate) struct AuditorOptions {
    pub(crate) group: Group,
    pub(crate) journal: ShardJournal,
    pub(crate) courier: Arc<NodeCourier>,
    pub(crate) documents: Arc<Documents>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) audits: Arc<Audits>,
    pub(crate) open: Arc<OpenTickets>,
}

/// Audits a shard for as long as its group runs, whenever this node leads it.
pub(crate) async fn audit(options: AuditorOptions) {
    let shard = options.group.group;
    let mut leading = options.group.leading();
    let mut news = options.documents.watch();
    loop {
        options.audits.left(shard);
        // Another node counts them now, or none does: what was counted here is not added to that.
        options.tell(0, 0, 0);
        let Ok(term) = leading.wait_for(Option::is_some).await.map(|term| *term) else { return };
        options.audits.begun(shard);
        // Who led before may not have told all of them.
        let mut told = None;
        let mut swept = None;
        while *leading.borrow() == term {
            let version = silences(&options.documents);
            let is_news = told != Some(version);
            match options.pass(is_news, &mut swept).await {
                Ok(pass) => {
                    options.ended(pass);
                    told = Some(version);
                }
                Err(error) => tracing::warn!(shard, %error, "a pass of the auditor did not end"),
            }
            tokio::select! {
                () = tokio::time::sleep(PASS_EVERY) => {}
                changed = leading.changed() => if changed.is_err() { return },
                () = until_other(&mut news, version) => {}
            }
        }
    }
}

fn silences(documents: &Documents) -> u32 {
    documents.known().silences.as_ref().map_or(0, |silences| silences.version)
}

/// Whether any silence is in force.
fn is_any_in_force(known: &Known, now: Millis) -> bool {
    let mut entries = known.silences.iter().flat_map(|silences| &silences.content.entries);
    entries.any(|one| one.from <= now && !one.is_past(now))
}

/// Ends when other silences are in force.
async fn until_other(news: &mut tokio::sync::watch::Receiver<Arc<Known>>, version: u32) {
    let is_other = |known: &Arc<Known>| {
        known.silences.as_ref().map_or(0, |silences| silences.version) != version
    };
    if news.wait_for(is_other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl AuditorOptions {
    fn ended(&self, pass: Pass) {
        let shard = self.group.group;
        self.audits.ended(shard, pass);
        metrics::counter!("fieldmesh_audit_passes_total").increment(1);
        self.tell(pass.open, pass.unfilled, pass.overdue);
        if pass.overdue > 0 {
            tracing::error!(shard, tickets = pass.overdue, "timers of open tickets do not fire");
        }
        metrics::gauge!("fieldmesh_audit_last_pass_seconds", "shard" => shard.to_string())
            .set((pass.ended_ms / 1000) as f64);
    }

    /// How many tickets of the shard are so, as its leader counts them.
    fn tell(&self, open: u64, unfilled: u64, overdue: u64) {
        for (name, count) in [
            ("fieldmesh_audit_open_tickets", open),
            ("fieldmesh_tickets_unfilled", unfilled),
            ("fieldmesh_audit_timers_overdue", overdue),
        ] {
            metrics::gauge!(name, "shard" => self.group.group.to_string()).set(count as f64);
        }
    }

    /// Looks at every open ticket of the shard, and behind `swept` for some that are not known to be open.
    async fn pass(
        &self,
        is_silence_news: bool,
        swept: &mut Option<EntityId>,
    ) -> Result<Pass, JournalError> {
        let mut pass = Pass::default();
        let began = self.clock.now_ms();
        // Before the others, so that they are looked at with them.
        self.sweep(swept).await?;
        let (mut missing, mut after) = (Vec::new(), None);
        loop {
            let rows = self.open.rows(&self.journal, after, PAGE_ROWS)?;
            after = rows.last().map(IndexRow::id);
            let is_last = rows.len() < PAGE_ROWS;
            for row in &rows {
                let Some(open) = self.open_ticket(row) else { continue };
                pass.open += 1;
                pass.unfilled += u64::from(open.is_unfilled);
                match self.look(&open)? {
                    Found::Lacks(_) if missing.len() < MISSING_MAX => missing.push(open.id),
                    Found::Overdue => pass.overdue += 1,
                    Found::Lacks(_) | Found::Runs => {}
                }
                if is_silence_news && open.is_silenced {
                    self.say(open.id, ticket::Command::SilencesChanged).await;
                }
                if let Some(subject) = self.newly_silenced(&open) {
                    let silence = None;
                    self.say(open.id, ticket::Command::Reconsider { subject, silence }).await;
                }
            }
            if is_last {
                break;
            }
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        if !missing.is_empty() {
            tokio::time::sleep(SECOND_LOOK).await;
            pass.missing = self.rearm(&missing).await?;
        }
        pass.ended_ms = self.clock.now_ms();
        pass.took_ms = pass.ended_ms.saturating_sub(began);
        Ok(pass)
    }

    /// Compares some pages of all tickets with those that are known to be open.
    async fn sweep(&self, swept: &mut Option<EntityId>) -> Result<(), JournalError> {
        for _ in 0..SWEPT_PAGES {
            let rows = self.journal.index(EntityKind::Ticket, *swept, PAGE_ROWS)?;
            let is_last = rows.len() < PAGE_ROWS;
            *swept = rows.last().map(IndexRow::id).filter(|_| !is_last);
            // A row is known a moment after it is written.
            tokio::time::sleep(PAGE_PAUSE).await;
            for row in rows.iter().filter(|row| self.open_ticket(row).is_some()) {
                let id = row.id();
                let is_open = |row: &IndexRow| self.open_ticket(row).is_some();
                let row = self.journal.row(&RowKey::entity(EntityKind::Ticket, id))?;
                let Some(row) = row.filter(is_open).filter(|_| !self.open.has(id)) else {
                    continue;
                };
                metrics::counter!("fieldmesh_audit_unlisted_total").increment(1);
                tracing::error!(ticket = %id, "an open ticket was not known to be open");
                self.open.applied(&[row]);
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    fn look(&self, open: &Open) -> Result<Found, JournalError> {
        let mut timers = Vec::new();
        for name in needed(open.standing) {
            timers.push((name, self.journal.timer(open.id, name)?));
        }
        Ok(found(&timers, self.clock.now_ms()))
    }

    /// What a silence fits that somebody is sought for; whoever serves the ticket says which silence that is. The
    /// row does not say where the ticket is, so that the ticket is read as long as there is any silence.
    fn newly_silenced(&self, open: &Open) -> Option<Subject> {
        let (known, now) = (self.documents.known(), Millis(self.clock.now_ms()));
        if !open.is_sought || !is_any_in_force(&known, now) {
            return None;
        }
        let id = open.id;
        let ticket: Ticket = match self.journal.state(id) {
            Ok(ticket) => ticket,
            // One that cannot be read keeps no other from being looked at.
            Err(error) => {
                tracing::warn!(ticket = %id, %error, "whether a silence fits a ticket is not known");
                return None;
            }
        };
        let subject = ticket.subject();
        let silence = guide::silence(&known, id, &subject, now);
        silence.filter(|_| ticket.may_be_silenced()).map(|_| subject)
    }

    /// A ticket that has not ended and that this shard serves.
    fn open_ticket(&self, row: &IndexRow) -> Option<Open> {
        let IndexRow::Ticket { id, state, standing, .. } = row else { return None };
        let shard = self.group.group;
        let is_own = self.courier.known().known().group_of(*id).is_none_or(|at| at == shard);
        let standing = standing.unwrap_or_default();
        let is_silenced = *state == Stage::Held && standing.is_silenced;
        let is_unfilled = *state == Stage::Unfilled;
        let is_sought =
            matches!(state, Stage::Triaged | Stage::Matching | Stage::Offered | Stage::Unfilled);
        (is_own && !state.is_final()).then_some(Open {
            id: *id,
            is_silenced,
            is_sought,
            is_unfilled,
            standing,
        })
    }

    /// Those that lack a timer still set theirs anew.
    async fn rearm(&self, missing: &[EntityId]) -> Result<u64, JournalError> {
        let mut count = 0;
        for id in missing {
            let row = self.journal.row(&RowKey::entity(EntityKind::Ticket, *id))?;
            let Some(open) = row.as_ref().and_then(|row| self.open_ticket(row)) else { continue };
            let Found::Lacks(timer) = self.look(&open)? else { continue };
            count += 1;
            metrics::counter!("fieldmesh_audit_timers_missing_total").increment(1);
            tracing::error!(ticket = %id, ?timer, "an open ticket has no timer: it is told to set one");
            self.say(*id, ticket::Command::Rearm).await;
        }
        Ok(count)
    }

    async fn say(&self, ticket: EntityId, command: ticket::Command) {
        if self.courier.known().known().level() < TRIGGERS {
            tracing::warn!(%ticket, "a node of an older release would not know the command");
            return;
        }
        let is_rearm = command == ticket::Command::Rearm;
        let command = Command::Ticket(command);
        match self.courier.ask_anew(ticket, command, &*self.entropy).await {
            Ok(_) if is_rearm => {
                metrics::counter!("fieldmesh_audit_rearmed_total").increment(1);
            }
            Ok(_) | Err(AskError::Rejected(_)) => {}
            // The next pass finds it again.
            Err(error) => tracing::warn!(%ticket, %error, "a ticket could not be told"),
        }
    }
}

struct Open {
    id: EntityId,
    is_silenced: bool,
    /// Nobody has promised to come.
    is_sought: bool,
    is_unfilled: bool,
    standing: Standing,
}

/// What a look at the timers of a ticket found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Runs,
    /// The first that it needs and has not.
    Lacks(TimerName),
    Overdue,
}

/// The timers that an open ticket must have, as its row says.
fn needed(standing: Standing) -> impl Iterator<Item = TimerName> {
    let escalation = standing.step.map(|_| TimerName::Escalation);
    let promise = standing.due.map(|_| TimerName::Promise);
    [TimerName::Deadline].into_iter().chain(escalation).chain(promise)
}

/// Each timer that is needed, with when it is due; none is not there.
fn found(timers: &[(TimerName, Option<u64>)], now_ms: u64) -> Found {
    if let Some((name, _)) = timers.iter().find(|(_, due_ms)| due_ms.is_none()) {
        return Found::Lacks(*name);
    }
    let is_overdue = |due_ms: u64| due_ms.saturating_add(OVERDUE_MS) < now_ms;
    let is_any = timers.iter().filter_map(|(_, due_ms)| *due_ms).any(is_overdue);
    if is_any { Found::Overdue } else { Found::Runs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_needs_the_timers_that_its_row_speaks_of() {
        let plain = Standing::default();
        let runs = Standing { step: Some(0), ..plain };
        let promised = Standing { due: Some(Millis(7)), ..plain };
        // What was broken or answered needs none of its own.
        let marked = Standing { is_broken: true, is_answered: true, is_silenced: true, ..plain };
        let both = Standing { step: Some(3), ..promised };
        let (deadline, escalation, promise) =
            (TimerName::Deadline, TimerName::Escalation, TimerName::Promise);
        for (standing, wanted) in [
            (plain, vec![deadline]),
            (marked, vec![deadline]),
            (runs, vec![deadline, escalation]),
            (promised, vec![deadline, promise]),
            (both, vec![deadline, escalation, promise]),
        ] {
            assert_eq!(needed(standing).collect::<Vec<_>>(), wanted, "{standing:?}");
        }
    }

    #[test]
    fn whichever_timer_is_missing_or_does_not_fire_is_found() {
        let names = [TimerName::Deadline, TimerName::Escalation, TimerName::Promise];
        let now_ms = 10 * OVERDUE_MS;
        let on_time = now_ms - OVERDUE_MS;
        let timers = |due_ms: [Option<u64>; 3]| names.into_iter().zip(due_ms).collect::<Vec<_>>();
        let well = [Some(on_time), Some(now_ms), Some(u64::MAX)];
        assert_eq!(found(&timers(well), now_ms), Found::Runs);
        for (at, name) in names.into_iter().enumerate() {
            let (mut lacking, mut late) = (well, well);
            lacking[at] = None;
            assert_eq!(found(&timers(lacking), now_ms), Found::Lacks(name));
            late[at] = Some(on_time - 1);
            assert_eq!(found(&timers(late), now_ms), Found::Overdue);
            // What is not there is worse than what is late: it is set anew.
            late[(at + 1) % 3] = None;
            assert!(matches!(found(&timers(late), now_ms), Found::Lacks(_)));
        }
    }
}
