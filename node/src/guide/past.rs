//! Past tickets with the facts that rules would have seen of them, so that rules are tried before they act.
//!
//! The newest tickets of the region whose shards have a replica here are read in slices, each within a few
//! seconds: whoever asks again goes on from there, and sees how far it is. What was gathered is kept for ten
//! minutes, so that a second try costs nothing.
//!
//! Counts are those among the tickets that were read. How many tickets a customer had open at the time is not
//! recorded, and is 0; a customer's tier, site and zone are those of today.
//!
//! **Invariants:** memory and the time of each call are bounded; nothing is written. **Not here:** evaluating
//! (`fieldmesh_rules`).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use fieldmesh_actors::{commit::ShardId, seams::JournalError};
use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow,
    customer::Customer,
    message::{Location, RequestBody},
    ticket::{Background, Counted, Event},
    time::Millis,
};
use fieldmesh_rules::Facts;
use tokio::{sync::Mutex, time::Instant};

use super::{
    facts::{Opened, gather},
    history::Lately,
};
use crate::{journal::ShardJournal, node::Node};

/// Tickets that rules are tried on: the newest. More would tell little else.
pub const PAST_MAX: usize = 5000;
/// Bytes of their texts.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// How long one call may take: well below what a client waits.
const SLICE: Duration = Duration::from_secs(4);
/// Rows listed, and tickets read, before others of the thread go on.
const STEP_ROWS: usize = 1000;
const STEP_TICKETS: usize = 16;
/// How long what was gathered is used.
const KEPT: Duration = Duration::from_secs(600);
/// A customer's requests count for a week.
const WINDOWS_MS: [u64; 4] = [600_000, 3_600_000, 86_400_000, 604_800_000];

/// How far gathering is.
#[derive(Debug, Clone)]
pub struct Progress {
    pub read: usize,
    pub of: usize,
    /// The facts once all are read, oldest ticket first.
    pub facts: Option<Arc<Vec<Facts>>>,
}

/// A ticket as it was opened.
struct Seen {
    ticket: EntityId,
    customer: EntityId,
    at: Millis,
    body: RequestBody,
    tier: u8,
    site: Location,
    zone: Option<Zone>,
}

/// What is under way.
struct Gathering {
    began: Instant,
    /// Shards whose lists are not read to their end, the present one last.
    shards: Vec<ShardId>,
    after: Option<EntityId>,
    newest: BinaryHeap<Reverse<(Millis, EntityId)>>,
    customers: BTreeMap<EntityId, (u8, Location, Option<Zone>)>,
    left: Vec<(Millis, EntityId)>,
    total: usize,
    bytes: usize,
    seen: Vec<Seen>,
    facts: Option<Arc<Vec<Facts>>>,
}

/// Past tickets of this node.
#[derive(Default)]
pub struct Past {
    gathering: Mutex<Option<Gathering>>,
}

impl Past {
    /// Reads on, for a few seconds at most.
    ///
    /// # Errors
    /// A list that cannot be read. A ticket that cannot be is left out: its customer may be erased.
    pub async fn gather(&self, node: &Node) -> Result<Progress, JournalError> {
        let began = Instant::now();
        let mut gathering = self.gathering.lock().await;
        let is_old = |one: &Gathering| one.began.elapsed() > KEPT;
        if gathering.as_ref().is_none_or(is_old) {
            *gathering = Some(Gathering::begin(node));
        }
        let Some(now) = gathering.as_mut() else { return Ok(Progress::none()) };
        while now.facts.is_none() && began.elapsed() < SLICE {
            now.step(node)?;
            tokio::task::yield_now().await;
        }
        let (read, of) = (now.total.saturating_sub(now.left.len()), now.total);
        Ok(Progress { read, of, facts: now.facts.clone() })
    }
}

impl Progress {
    fn none() -> Self {
        Self { read: 0, of: 0, facts: None }
    }
}

impl Gathering {
    fn begin(node: &Node) -> Self {
        let home = node.known.own();
        let shards = home.groups().filter(|shard| *shard != home.authority());
        Self {
            began: Instant::now(),
            shards: shards.collect(),
            after: None,
            newest: BinaryHeap::new(),
            customers: BTreeMap::new(),
            left: Vec::new(),
            total: 0,
            bytes: 0,
            seen: Vec::new(),
            facts: None,
        }
    }

    fn step(&mut self, node: &Node) -> Result<(), JournalError> {
        match self.shards.last() {
            Some(shard) => self.list(node.journal(*shard).as_ref())?,
            None if self.left.is_empty() => {
                self.facts = Some(Arc::new(facts(&self.seen, &node.zone)));
                self.seen = Vec::new();
            }
            None => (0..STEP_TICKETS).for_each(|_| self.read(node)),
        }
        Ok(())
    }

    /// A page of the present shard's list.
    fn list(&mut self, journal: Option<&ShardJournal>) -> Result<(), JournalError> {
        let page = match journal {
            Some(journal) => journal.index(EntityKind::Ticket, self.after, STEP_ROWS)?,
            None => Vec::new(),
        };
        for row in &page {
            if let IndexRow::Ticket { id, opened_at, .. } = row {
                self.newest.push(Reverse((*opened_at, *id)));
                if self.newest.len() > PAST_MAX {
                    self.newest.pop();
                }
            }
        }
        self.after = page.last().map(IndexRow::id).filter(|_| page.len() == STEP_ROWS);
        if self.after.is_none() {
            self.shards.pop();
        }
        if self.shards.is_empty() {
            // The newest are read first: they are kept where texts are too many.
            self.left = self.newest.drain().map(|Reverse(one)| one).collect();
            self.left.sort_unstable();
            self.total = self.left.len();
        }
        Ok(())
    }

    fn read(&mut self, node: &Node) {
        let Some((_, ticket)) = self.left.pop() else { return };
        let Some(journal) = node.journal_of(ticket) else { return };
        let Some((customer, at, body)) = opened(&journal, ticket) else { return };
        self.bytes += body.text.len();
        if self.bytes > TEXT_BYTES_MAX {
            self.left.clear();
            return;
        }
        let known = self.customers.entry(customer).or_insert_with(|| {
            let state = journal.state::<Customer>(customer).unwrap_or_default();
            (state.tier, state.location, state.zone)
        });
        let (tier, site, zone) = known.clone();
        self.seen.push(Seen { ticket, customer, at, body, tier, site, zone });
    }
}

/// How a ticket began; none where that cannot be read.
fn opened(journal: &ShardJournal, ticket: EntityId) -> Option<(EntityId, Millis, RequestBody)> {
    let first = journal.history_page(ticket, 0, 1).ok()?;
    let events = &first.first()?.record.events;
    match minicbor::decode::<Event>(events.first()?).ok()? {
        Event::Opened { customer, body, at, .. } => Some((customer, at, body)),
        _ => None,
    }
}

/// A place as a number: what leaves this node names it otherwise.
fn exact(site: Location) -> u64 {
    let [lat, lon] = [site.lat_e6, site.lon_e6].map(|part| u64::from(part.cast_unsigned()));
    lat << 32 | lon
}

/// The facts in the order of time, each with the counts of those before.
fn facts(seen: &[Seen], region: &Zone) -> Vec<Facts> {
    let mut lately = Lately::new(PAST_MAX);
    let mut requests: BTreeMap<EntityId, VecDeque<u64>> = BTreeMap::new();
    // They were read newest first.
    let facts = seen.iter().rev().map(|one| {
        let Seen { ticket, customer, at: now, body, tier, site, zone } = one;
        let counted = Counted { category: body.category, site: exact(*site) };
        let before = lately.before(counted, *now);
        lately.add(*ticket, *now, counted);
        let own = requests.entry(*customer).or_default();
        let requests = WINDOWS_MS.map(|window| {
            let from = now.0.saturating_sub(window);
            u32::try_from(own.len() - own.partition_point(|at| *at < from)).unwrap_or(u32::MAX)
        });
        own.push_back(now.0);
        let (site, zone) = (*site, zone.clone());
        let background = Background { open_tickets: 0, requests, site, zone };
        let opened = Opened {
            ticket: *ticket,
            customer: *customer,
            body,
            tier: *tier,
            background: Some(&background),
            zone: region,
            now: *now,
        };
        gather(&opened, &before)
    });
    facts.collect()
}
