//! Says of a technician that its device is not heard, once it was not connected for long although it is on
//! shift; and until when its device's certificate counts, as the authority has it.
//!
//! Whoever leads a shard does so for the shard's technicians: every node tells it of its connections. One
//! that has just begun to lead counts from then on, so that nobody is called silent for a node's failure.
//!
//! **Invariants:** a device that is connected anywhere is heard; a technician is told each thing once, and
//! again only after it changed. A look asks at most [`SAID_MAX`] things, and goes on at the next one. **Not
//! here:** what a technician's silence means (`domain`), nodes that are not heard (`absences`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fieldmesh_actors::{
    commit::ShardId,
    seams::{Clock, Entropy},
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow,
    effect::RowKey,
    placement::TRIGGERS,
    technician::{self, Duty, Technician, life::Word},
    time::Millis,
};
use tokio::time::Instant;

use crate::{courier::NodeCourier, hosting::Hosting, journal::ShardJournal};

/// How often it is looked: far shorter than any silence that counts.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The authority's row of each technician is read once in so many looks: five minutes, and a certificate lasts
/// for weeks.
const READ_EVERY: u32 = 60;
/// Rows read at a time.
const PAGE_ROWS: usize = 1000;
/// Things said in one look: a region whose devices are all cut off says so within minutes, beside its
/// other work.
const SAID_MAX: usize = 200;

/// What is known of a technician since this node leads its shard.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// It was on shift without a connection since then.
    since: Option<(Instant, Millis)>,
    /// It was said to be silent.
    is_silent: bool,
    /// The end of the certificate that was said.
    certified_until: Option<u64>,
    /// Looks until the authority's row is read again.
    reads_in: u32,
}

/// What looks at technicians.
pub(crate) struct Watch {
    pub(crate) courier: Arc<NodeCourier>,
    pub(crate) hosting: Arc<Hosting>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) after: Duration,
}

impl Watch {
    /// Looks for as long as the node runs.
    pub(crate) async fn run(self) {
        let mut shards: BTreeMap<ShardId, BTreeMap<EntityId, Known>> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let own: Vec<ShardId> = self.courier.known().own_groups().collect();
            let led = own.into_iter().filter(|shard| self.courier.shard(*shard).is_some());
            let led: BTreeSet<ShardId> = led.collect();
            shards.retain(|shard, _| led.contains(shard));
            if self.courier.known().known().level() < TRIGGERS {
                continue;
            }
            let connected = self.courier.connected_anywhere();
            for shard in led {
                let Some(journal) = self.hosting.journal(shard) else { continue };
                let known = shards.entry(shard).or_default();
                if let Err(error) = self.look(&journal, known, &connected).await {
                    tracing::warn!(shard, %error, "technicians of a shard cannot be looked at");
                }
            }
        }
    }

    async fn look(
        &self,
        journal: &ShardJournal,
        known: &mut BTreeMap<EntityId, Known>,
        connected: &BTreeSet<EntityId>,
    ) -> Result<(), fieldmesh_actors::seams::JournalError> {
        let (mut said, mut after, mut seen) = (0, None, BTreeSet::new());
        loop {
            let page = journal.index(EntityKind::Technician, after, PAGE_ROWS)?;
            for row in &page {
                let IndexRow::Technician { id, state, .. } = row else { continue };
                seen.insert(*id);
                let one = known.entry(*id).or_insert_with(|| Known {
                    since: None,
                    is_silent: is_silent(journal, *id, *state),
                    certified_until: None,
                    reads_in: 0,
                });
                let words = self.words(one, *id, *state, connected.contains(id));
                for word in words {
                    if said < SAID_MAX {
                        said += 1;
                        self.say(known, *id, word).await;
                    }
                }
            }
            // Others have their turn between two pages.
            tokio::task::yield_now().await;
            match page.last() {
                Some(last) if page.len() == PAGE_ROWS => after = Some(last.id()),
                _ => break,
            }
        }
        known.retain(|id, _| seen.contains(id));
        Ok(())
    }

    /// What is to be said of a technician.
    fn words(&self, known: &mut Known, id: EntityId, duty: Duty, is_connected: bool) -> Vec<Word> {
        let is_silent = duty == Duty::Unreachable;
        let mut words = Vec::new();
        let is_missed = !is_connected && is_on_shift(duty);
        let now = || (Instant::now(), Millis(self.clock.now_ms()));
        known.since = is_missed.then(|| known.since.unwrap_or_else(now));
        if is_connected && (known.is_silent || is_silent) {
            words.push(Word::HeardAgain);
        }
        if let (Some((began, since)), false) = (known.since, known.is_silent)
            && began.elapsed() >= self.after
        {
            words.push(Word::NotHeard { since });
        }
        if known.reads_in > 0 {
            known.reads_in -= 1;
            return words;
        }
        known.reads_in = READ_EVERY;
        let until = self.certified_until(id);
        if until.is_some() && until != known.certified_until {
            words.extend(until.map(|until| Word::Certified { until }));
        }
        words
    }

    async fn say(&self, known: &mut BTreeMap<EntityId, Known>, id: EntityId, word: Word) {
        let command = Command::Technician(technician::Command::Life(word.clone()));
        if let Err(error) = self.courier.ask_anew(id, command, &*self.entropy).await {
            // It is said again at a later look.
            tracing::debug!(%id, %error, "a technician cannot be told");
            return;
        }
        let Some(known) = known.get_mut(&id) else { return };
        match word {
            Word::NotHeard { .. } => {
                tracing::warn!(technician = %id, "a technician on shift is not heard");
                known.is_silent = true;
            }
            Word::HeardAgain => known.is_silent = false,
            Word::Certified { until } => known.certified_until = Some(until),
            _ => {}
        }
    }

    /// As the authority's row has it; its group is on every node of the region.
    fn certified_until(&self, id: EntityId) -> Option<u64> {
        let authority = self.hosting.journal(self.courier.known().own().authority())?;
        let key = RowKey::entity(EntityKind::Registration, EntityId::registration_of(id));
        match authority.row(&key).ok()?? {
            IndexRow::Registration { not_after, .. } => not_after,
            _ => None,
        }
    }
}

/// Whether it was said to be silent, by whoever led before. The row of one that has work, or is suspended, tells only
/// of that; one that cannot be read is looked at as if it were heard.
fn is_silent(journal: &ShardJournal, id: EntityId, duty: Duty) -> bool {
    match duty {
        Duty::Unreachable => true,
        Duty::Reserved | Duty::Committed | Duty::EnRoute | Duty::OnSite | Duty::Suspended => {
            journal.state::<Technician>(id).is_ok_and(|known| known.silent_since.is_some())
        }
        Duty::Unknown | Duty::OffShift | Duty::Available | Duty::Break => false,
    }
}

fn is_on_shift(duty: Duty) -> bool {
    match duty {
        Duty::Available
        | Duty::Reserved
        | Duty::Committed
        | Duty::EnRoute
        | Duty::OnSite
        | Duty::Unreachable => true,
        Duty::Unknown | Duty::OffShift | Duty::Suspended | Duty::Break => false,
    }
}
