//! A lost region's groups, made of the copies that another region holds of them.
//!
//! The copies ended at different moments, each where its group's last leader was heard last. So what one
//! group was told by another may be lost, or be known to the one and not to the other. Three things are made
//! right here: what groups told each other (`cut`), numbers that devices may have seen already, and, by
//! asking the entities themselves, who has which ticket.
//!
//! **Invariants:** a group begins again at an entry and in a term that no node can have of it from before, whether that
//! one was asked or not, so nobody who follows later keeps anything else; what was taken is not given again. **Not
//! here:** fetching copies (`cli::promote`), what entities make of it (`domain`), whether a region is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fieldmesh_actors::{AskError, commit::Tell, seams::Entropy};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow, Region, customer, desk,
    ids::SLOTS,
    placement::{self, Home, PLACEMENT},
    technician,
    ticket::{self, Stage},
};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep};

pub use super::moving::Moving;
use super::{
    archive::Archive,
    cut::{Edges, Mend, each_row},
    moving::{self, is_there},
    trial::{Serving, Trial, TrialError},
};
use crate::{
    consensus::restore::{At, Filling},
    sealing::{Key, Place},
    store::{
        Batch, Engine, StoreError, Table,
        keys::state,
        rows::{self, OutboxRow, SlotRow},
    },
};

/// Messages to one device that may be lost with the region. Its window goes on from the highest number that
/// it saw, so what is composed anew must be above that.
const LOST_MAIL_MAX: u64 = 1 << 16;
/// Entities that are asked at a time.
const ASKED_AT_ONCE: usize = 64;
/// What entities have told each other arrives within seconds; a shard that cannot take it never does.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node that never was: forgetting it changes nothing.
const NOBODY: u64 = 0;

/// Where a copy of a group ends.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Of the last leader that was followed.
    pub term: u64,
    /// The last entry of the log, committed or not.
    pub last: u64,
}

impl End {
    /// Where the group begins again: a node that was not asked may be further, and be wanted again.
    fn far_behind(self) -> At {
        At { term: self.term, index: self.last }.far_behind()
    }
}

/// A lost region's groups that are being filled.
pub struct Promotion {
    region: Region,
    parts: Vec<(End, Filling)>,
}

/// What was made right between groups.
#[derive(Debug, Clone, Default)]
pub struct Mended {
    /// Rows of which the sender does not know any more that it sent them.
    pub forgotten: u64,
    /// Rows that nobody has any more, and the receiver did not take.
    pub lost: u64,
}

impl Promotion {
    pub fn new(region: Region) -> Self {
        Self { region, parts: Vec::new() }
    }

    /// Begins a group, for its rows to be put in.
    ///
    /// # Errors
    /// A table that is there; a disk that fails.
    pub fn begin(
        &mut self,
        engine: &dyn Engine,
        group: u32,
        end: End,
    ) -> Result<&Filling, StoreError> {
        self.parts.push((end, Filling::begin(engine, group)?));
        let (_, filling) = &self.parts[self.parts.len() - 1];
        Ok(filling)
    }

    /// Makes the groups fit each other and the placement group, which goes on without them.
    ///
    /// # Errors
    /// Rows that cannot be read; a disk that fails.
    pub fn mend(
        &self,
        placement: &Edges,
        region_key: &Key,
        entropy: &dyn Entropy,
    ) -> Result<Mended, StoreError> {
        let mut mended = Mended::default();
        let edges: Result<Vec<Edges>, _> =
            self.fillings().map(|filling| Edges::of(filling.group, filling.table())).collect();
        let edges = edges?;
        for (filling, own) in self.fillings().zip(&edges) {
            let mut batch = Batch::default();
            for other in edges.iter().filter(|other| other.group != own.group) {
                let told = own.mend(other);
                mended.count(&told);
                put(&mut batch, other.group, &told, &other.mend(own));
            }
            let told = own.mend(placement);
            mended.count(&told);
            put(&mut batch, PLACEMENT, &told, &placement.mend(own));
            // The placement group waits for these, and nobody can tell it that they are lost.
            let speaker = EntityId::authority(self.region);
            let nothing = Nothing { speaker, region_key, entropy };
            nothing.tell(filling.table(), &told.lost, &mut batch)?;
            skip_mail(filling.table(), &mut batch)?;
            filling.write(batch)?;
        }
        Ok(mended)
    }

    /// Has each slot that was moving whole where the region's record has it. To be called once the groups fit each
    /// other.
    ///
    /// # Errors
    /// Rows that cannot be read; a disk that fails.
    pub fn settle_slots(&self, home: &Home) -> Result<Moving, StoreError> {
        moving::settle(home, |group| self.fillings().find(|filling| filling.group == group))
    }

    /// Makes the groups such that this node alone has them.
    ///
    /// # Errors
    /// A disk that fails.
    pub async fn end(self, node: u64, records: &dyn Table) -> Result<(), StoreError> {
        for (end, filling) in self.parts {
            filling.end(end.far_behind(), node, records).await?;
        }
        Ok(())
    }

    fn fillings(&self) -> impl Iterator<Item = &Filling> {
        self.parts.iter().map(|(_, filling)| filling)
    }
}

impl Mended {
    fn count(&mut self, mend: &Mend) {
        self.forgotten += mend.forgotten;
        self.lost += mend.lost.len() as u64;
    }
}

/// What a group is to know of another: what it tells that one next, and what it took from it.
pub(super) fn put(batch: &mut Batch, other: u32, tells: &Mend, takes: &Mend) {
    if let Some(next) = tells.next {
        batch.put(state::outbox_next(other), next.to_be_bytes());
    }
    if let Some(cursor) = &takes.cursor {
        batch.put(state::cursor(other), rows::encode(cursor));
    }
}

/// Says nothing under numbers whose content is lost.
struct Nothing<'a> {
    speaker: EntityId,
    region_key: &'a Key,
    entropy: &'a dyn Entropy,
}

impl Nothing<'_> {
    fn tell(&self, table: &dyn Table, lost: &[u64], batch: &mut Batch) -> Result<(), StoreError> {
        if lost.is_empty() {
            return Ok(());
        }
        let (to, key) = (EntityId::placement(), self.key(table, batch)?);
        let by = String::new();
        let command = Command::Placement(placement::Command::ForgetNode { node: NOBODY, by });
        for number in lost {
            let sealed =
                key.seal(Place::Tell, &to.to_bytes(), &rows::encode(&command), self.entropy);
            let sealed = sealed.map_err(|error| unusable(&error))?;
            let tell = Tell { to, shard: PLACEMENT, sealed, from: self.speaker };
            let row = OutboxRow { tell, owner: self.speaker, is_void: false };
            batch.put(state::outbox(PLACEMENT, *number), rows::encode(&row));
        }
        Ok(())
    }

    /// The speaker's data key; a new one where it never had any here.
    fn key(&self, table: &dyn Table, batch: &mut Batch) -> Result<Key, StoreError> {
        let owner = self.speaker.to_bytes();
        if let Some(wrapped) = table.get(&state::data_key(&owner))? {
            let key = Key::unwrap(self.region_key, &owner, &wrapped);
            return key.map_err(|error| unusable(&error));
        }
        let key = Key::generate(self.entropy);
        let wrapped = key.wrap(self.region_key, &owner, self.entropy);
        batch.put(state::data_key(&owner), wrapped.map_err(|error| unusable(&error))?);
        Ok(key)
    }
}

fn unusable(error: &crate::sealing::SealError) -> StoreError {
    StoreError::Corrupt {
        table: "state".into(),
        record: "the authority's data key".into(),
        fact: error.to_string(),
    }
}

/// Leaves out numbers that devices may have seen.
fn skip_mail(table: &dyn Table, batch: &mut Batch) -> Result<(), StoreError> {
    each_row(table, state::indexes(), |key, value| {
        let id = match rows::decode(key, value)? {
            IndexRow::Customer { id, .. } | IndexRow::Technician { id, .. } => id.to_bytes(),
            _ => return Ok(()),
        };
        let last = rows::read_u64(table, &state::mail_last(&id))?.unwrap_or(0);
        batch.put(state::mail_last(&id), (last + LOST_MAIL_MAX).to_be_bytes());
        Ok(())
    })
}

/// Who was asked how it stands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reconciled {
    pub technicians: usize,
    /// Open ones.
    pub tickets: usize,
    pub devices: usize,
}

/// Asks everybody in the region how it stands, and waits until all have told each other.
///
/// # Errors
/// Who cannot be asked; what does not come to rest.
pub async fn reconcile(
    trial: &Trial,
    region: Region,
    promotion: u64,
    say: impl Fn(&str),
) -> Result<Reconciled, TrialError> {
    let everybody = Everybody::of(trial)?;
    let serving = trial.serve(|_| true).await?;
    let done = everybody.are_asked(&serving, region, promotion, &say).await;
    let done = match done {
        Ok(done) => settled(trial, &say).await.map(|()| done),
        Err(error) => Err(error),
    };
    serving.stop().await;
    done
}

/// A slot that a region's record has in a group which did not have it by then, with that group: it was moved
/// after that, or has come back.
///
/// # Errors
/// Damaged storage.
pub fn misplaced(trial: &Trial, home: &Home) -> Result<Option<(u16, u32)>, StoreError> {
    for slot in 0..SLOTS {
        let serving = home.shard_of(slot);
        let Some((group, _)) = trial.groups.iter().find(|(one, _)| one.group == serving) else {
            continue;
        };
        let last: Option<SlotRow> = rows::read(&*group.table(), &state::slot(slot))?;
        if !is_there(home, slot, last) {
            return Ok(Some((slot, serving)));
        }
    }
    Ok(None)
}

/// The same of a backup, before anything is made of it.
///
/// # Errors
/// A damaged backup.
pub fn misplaced_in(archive: &Archive, home: &Home) -> Result<Option<(u16, u32)>, TrialError> {
    let mut moved: BTreeMap<(u32, Vec<u8>), SlotRow> = BTreeMap::new();
    let keys: BTreeSet<Vec<u8>> = (0..SLOTS).map(state::slot).collect();
    let groups = &archive.manifest.groups;
    for part in groups {
        archive.rows(part, |page| {
            for (key, value) in page.into_iter().filter(|(key, _)| keys.contains(key)) {
                let row = rows::decode(&key, &value)?;
                moved.insert((part.group, key), row);
            }
            Ok::<(), TrialError>(())
        })?;
    }
    let away = (0..SLOTS).map(|slot| (slot, home.shard_of(slot))).find(|(slot, serving)| {
        groups.iter().any(|part| part.group == *serving)
            && !is_there(home, *slot, moved.get(&(*serving, state::slot(*slot))).copied())
    });
    Ok(away)
}

/// Who is to be asked.
#[derive(Default)]
struct Everybody {
    technicians: Vec<EntityId>,
    tickets: Vec<EntityId>,
    /// With whether there is a certificate in force.
    devices: Vec<(EntityId, bool)>,
}

impl Everybody {
    fn of(trial: &Trial) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for (group, _) in &trial.groups {
            let table = group.table();
            each_row(&*table, state::indexes(), |key, value| {
                match rows::decode(key, value)? {
                    IndexRow::Technician { id, .. } => all.technicians.push(id),
                    IndexRow::Ticket { id, state, .. } if is_open(state) => all.tickets.push(id),
                    IndexRow::Registration { device: Some(id), not_after, .. } => {
                        all.devices.push((id, not_after.is_some()));
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(all)
    }

    async fn are_asked(
        self,
        serving: &Serving,
        region: Region,
        promotion: u64,
        say: &impl Fn(&str),
    ) -> Result<Reconciled, TrialError> {
        let Self { technicians, tickets, devices } = self;
        let done = Reconciled {
            technicians: technicians.len(),
            tickets: tickets.len(),
            devices: devices.len(),
        };
        // Before anybody tells it anything.
        let desk = Command::Desk(desk::Command::Reconcile { promotion });
        serving.ask(EntityId::desk(region), desk).await?;
        let technicians = technicians
            .into_iter()
            .map(|id| (id, Command::Technician(technician::Command::Reconcile { promotion })));
        let tickets = tickets
            .into_iter()
            .map(|id| (id, Command::Ticket(ticket::Command::Reconcile { promotion })));
        let devices = devices.into_iter().map(|(id, has_one)| (id, device(id, has_one)));
        say(&format!("asking {} technicians", done.technicians));
        all_asked(serving, technicians).await?;
        say(&format!("asking {} open tickets", done.tickets));
        all_asked(serving, tickets).await?;
        say(&format!("telling {} owners of devices", done.devices));
        all_asked(serving, devices).await?;
        Ok(done)
    }
}

fn is_open(stage: Stage) -> bool {
    stage != Stage::Completed && !stage.is_final()
}

/// What the owner of a device is told of it.
fn device(owner: EntityId, has_one: bool) -> Command {
    match (owner.kind(), has_one) {
        (EntityKind::Technician, true) => Command::Technician(technician::Command::FindDevice),
        (EntityKind::Technician, false) => Command::Technician(technician::Command::LoseDevice),
        (_, true) => Command::Customer(customer::Command::FindDevice),
        (_, false) => Command::Customer(customer::Command::LoseDevice),
    }
}

async fn all_asked(
    serving: &Serving,
    commands: impl Iterator<Item = (EntityId, Command)>,
) -> Result<(), TrialError> {
    let asks = commands.map(|(to, command)| async move {
        match serving.ask(to, command).await {
            // Who is lost, or has no use for it, says so.
            Ok(()) | Err(AskError::Rejected(_)) => Ok(()),
            Err(error) => Err(TrialError::Ask(error)),
        }
    });
    let mut asked = stream::iter(asks).buffer_unordered(ASKED_AT_ONCE);
    while let Some(done) = asked.next().await {
        done?;
    }
    Ok(())
}

/// Waits until the region's groups have told each other everything.
async fn settled(trial: &Trial, say: &impl Fn(&str)) -> Result<(), TrialError> {
    let until = Instant::now() + SETTLED_WITHIN;
    let mut told = 0;
    loop {
        let mut waiting = 0;
        for (group, _) in &trial.groups {
            waiting += Edges::of(group.group, &*group.table())?.waiting_but_for(PLACEMENT);
        }
        if waiting == 0 {
            return Ok(());
        }
        if told != waiting {
            say(&format!("{waiting} messages between entities are under way"));
            told = waiting;
        }
        if Instant::now() >= until {
            return Err(TrialError::Restless { waiting });
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::{
        consensus::codec,
        store::{Role, keys::log, simulated::Disk},
    };

    /// A node that was down when copies were asked for, or a backup was taken, has more of the group.
    #[tokio::test]
    async fn a_group_begins_again_behind_what_nobody_knows_of() {
        let disk = Disk::new(Duration::ZERO);
        let records = disk.open("log", Role::Log).unwrap();
        let mut promotion = Promotion::new("us1".parse().unwrap());
        promotion.begin(&disk, 2049, End { term: 5, last: 100 }).unwrap();
        promotion.end(12, &*records).await.unwrap();
        let begun = records.get(&log::purged(2049)).unwrap().unwrap();
        let begun = codec::decode_log_id(&begun).unwrap().unwrap();
        assert!(begun.leader_id.term > 9 && begun.index > 5000, "{begun}");
    }
}
