//! Reading back: entities, rows for the pumps, and the history of an entity.

use std::array;

use fieldmesh_actors::{
    commit::{Cause, Mail},
    mail::About,
    seams::{
        JournalError, Loaded, MailItem, OutboxItem, Replay, Rows, Serves, TimerItem, TimerPlace,
        TimerRows,
    },
};
use fieldmesh_domain::{
    Aggregate, EntityId, EntityKind, IndexRow, MessageKind, TimerName,
    effect::RowKey,
    mutant::{Mutant, is_planted},
};
use fieldmesh_envelope::{Content, MessageType, SeqVerdict, Signed};
use minicbor::{Decode, Encode, bytes::ByteVec};

use super::{
    Inner, seal_error, store_error,
    write::{chain_hash, record_place},
};
use crate::{
    consensus::machine::slots,
    sealing::{Key, Place},
    store::{
        Row,
        keys::state,
        rows::{self, DedupRow, Head, OutboxRow, SnapshotRow, TimerRow},
    },
};

/// Event records read per page.
const PAGE: usize = 256;

/// The events of one step with why and when they happened; what the hash chain covers.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Record {
    #[n(0)]
    pub cause: Cause,
    /// Unix milliseconds by the leader's clock then.
    #[n(1)]
    pub at_ms: u64,
    #[n(2)]
    pub rule_version: u32,
    /// Hash of the record before.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub previous: [u8; 32],
    #[n(4)]
    pub events: Vec<ByteVec>,
}

/// A record of an entity's history, in plain.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The entity's version before it.
    pub version: u64,
    pub record: Record,
    /// Hash of this record.
    pub chain: [u8; 32],
}

/// What a stored message is about.
fn about(content: &Content) -> About {
    let kind = match content.kind {
        MessageType::Receipt => MessageKind::Receipt,
        MessageType::Alert => MessageKind::Alert,
        MessageType::Confirmation => MessageKind::Confirmation,
        MessageType::Note => MessageKind::Note,
        // The service sends none of these.
        MessageType::Request | MessageType::Response | MessageType::Session | MessageType::Act => {
            return About::Other;
        }
    };
    About::of(kind, &content.body)
}

impl Inner {
    pub(super) fn head(&self, entity: EntityId) -> Result<Option<Head>, JournalError> {
        rows::read(&*self.table, &state::head(&entity.to_bytes())).map_err(store_error)
    }

    /// The entity as it was at one moment, while others may be committing to it: the state is read
    /// before the head, so it is never ahead of it, and no record behind the head is looked at.
    pub(super) fn load(&self, entity: EntityId) -> Result<Loaded, JournalError> {
        let stored = self.snapshot(entity)?;
        let Some(head) = self.head(entity)? else {
            return Ok(Loaded::default());
        };
        let owner = owner(entity, &head)?;
        let key = self.existing_key(owner)?;
        let mut loaded = Loaded {
            version: head.version,
            chain: head.chain,
            owner: Some(owner),
            at_ms: head.at_ms,
            ..Loaded::default()
        };
        let mut from = 0;
        if let Some((version, sealed)) = stored {
            let place = record_place(entity, version);
            let plain = key.open(Place::Snapshot, &place, &sealed).map_err(seal_error)?;
            loaded.snapshot = Some(plain.to_vec());
            from = version;
        }
        for entry in self.records(entity, &head, &key, from)? {
            loaded.events.extend(entry.record.events.into_iter().map(Vec::from));
        }
        Ok(loaded)
    }

    /// The newest sealed state, with its version.
    fn snapshot(&self, entity: EntityId) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        let read = || {
            let key = state::snapshot(&entity.to_bytes());
            rows::read::<SnapshotRow>(&*self.table, &key).map_err(store_error)
        };
        let mut stored = read()?;
        while let Some(SnapshotRow { version, sealed, parts }) = stored {
            let Some(parts) = parts else {
                return Ok(Some((version, sealed)));
            };
            match self.snapshot_parts(entity, version, parts) {
                Ok(sealed) => return Ok(Some((version, sealed))),
                Err(error) => {
                    // A newer state takes the parts of the one before away.
                    stored = read()?;
                    if stored.as_ref().is_none_or(|newer| newer.version == version) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    fn snapshot_parts(
        &self,
        entity: EntityId,
        version: u64,
        parts: u32,
    ) -> Result<Vec<u8>, JournalError> {
        let id = entity.to_bytes();
        let mut sealed = Vec::new();
        for part in 0..parts {
            let key = state::snapshot_part(&id, version, part);
            let piece = self.table.get(&key).map_err(store_error)?.ok_or_else(|| {
                JournalError::Failed(format!(
                    "part {part} of {parts} of the state of {entity} is missing"
                ))
            })?;
            sealed.extend(piece);
        }
        Ok(sealed)
    }

    pub(super) fn history(
        &self,
        entity: EntityId,
        version: u64,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        match self.head(entity)? {
            Some(head) => {
                let key = self.existing_key(owner(entity, &head)?)?;
                self.records(entity, &head, &key, version)
            }
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn history_page(
        &self,
        entity: EntityId,
        version: u64,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        let Some(head) = self.head(entity)? else { return Ok(Vec::new()) };
        let key = self.existing_key(owner(entity, &head)?)?;
        let id = entity.to_bytes();
        let (from, until) = (state::events(&id, version), state::events(&id, head.version));
        let page = self.table.scan(&from, &until, limit).map_err(store_error)?;
        let (mut found, mut next) = (Vec::new(), version);
        self.read_page(entity, &page, &key, &mut next, &mut found)?;
        Ok(found)
    }

    /// Opens records that follow each other, and checks that they do.
    fn read_page(
        &self,
        entity: EntityId,
        page: &[(Vec<u8>, Vec<u8>)],
        key: &Key,
        next: &mut u64,
        found: &mut Vec<HistoryEntry>,
    ) -> Result<(), JournalError> {
        for (row_key, sealed) in page {
            let plain = key
                .open(Place::Events, &record_place(entity, *next), sealed)
                .map_err(seal_error)?;
            let record: Record = rows::decode(row_key, &plain).map_err(store_error)?;
            let broken = found.last().is_some_and(|before| before.chain != record.previous);
            if broken {
                return Err(JournalError::Failed(format!(
                    "the hash chain of {entity} breaks at version {next}"
                )));
            }
            let events = record.events.len() as u64;
            found.push(HistoryEntry { version: *next, chain: chain_hash(&plain), record });
            *next += events;
        }
        Ok(())
    }

    /// The records from a version to the head, with their chain checked.
    fn records(
        &self,
        entity: EntityId,
        head: &Head,
        key: &Key,
        version: u64,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        let id = entity.to_bytes();
        let until = state::events(&id, head.version);
        let mut from = state::events(&id, version);
        let mut found: Vec<HistoryEntry> = Vec::new();
        let mut next = version;
        loop {
            let page = self.table.scan(&from, &until, PAGE).map_err(store_error)?;
            self.read_page(entity, &page, key, &mut next, &mut found)?;
            // Most have few, and each look for more goes through every level of the table.
            let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else { break };
            from.clone_from(last);
            from.push(0);
        }
        let ends_at_head = found.last().is_none_or(|last| last.chain == head.chain);
        if next != head.version || !ends_at_head {
            return Err(JournalError::Failed(format!(
                "the history of {entity} ends at version {next}, its head says {}",
                head.version
            )));
        }
        Ok(found)
    }

    pub(super) fn replay(&self, cause: &Cause) -> Result<Replay, JournalError> {
        let Cause::Device { device, message_id, content, sequence, .. } = cause else {
            return Ok(Replay::New);
        };
        if is_planted(Mutant::DedupOff) {
            return Ok(Replay::New);
        }
        let key = state::dedup(&device.to_bytes(), message_id);
        if let Some(row) = rows::read::<DedupRow>(&*self.table, &key).map_err(store_error)? {
            if row.content != *content {
                return Ok(Replay::Forged);
            }
            let data_key = self.existing_key(*device)?;
            let receipt =
                data_key.open(Place::Receipt, message_id, &row.receipt).map_err(seal_error)?;
            return Ok(Replay::Repeated { receipt: receipt.to_vec() });
        }
        match self.window(*device)?.check(*sequence) {
            SeqVerdict::Fresh => Ok(Replay::New),
            SeqVerdict::Seen | SeqVerdict::TooOld => Ok(Replay::OutOfWindow),
        }
    }

    /// A shard serves the slots that the remainder puts there and that were not given away, and those that
    /// came with all their rows.
    pub(super) fn serves(&self, entity: EntityId, cause: &Cause) -> Result<Serves, JournalError> {
        let group = self.group.group;
        match slots::found(&*self.table, entity).map_err(store_error)? {
            Some(row) if row.given_to.is_none() => return Ok(Serves::Since(row.sent)),
            None if self.known.is_natural(entity, group) => return Ok(Serves::Since(0)),
            Some(row)
                if slots::is_heard_out(&*self.table, group, entity, cause)
                    .map_err(store_error)? =>
            {
                return Ok(Serves::Since(row.sent));
            }
            _ => {}
        }
        let is_consumed = slots::is_consumed(&*self.table, group, cause).map_err(store_error)?;
        Ok(if is_consumed { Serves::Before } else { Serves::No })
    }

    pub(super) fn outbox(&self, limit: usize) -> Result<Rows<OutboxItem>, JournalError> {
        let (from, until) = state::outbox_range();
        self.readable(&from, &until, limit, |row_key, value| {
            let row: OutboxRow = rows::decode(row_key, value).map_err(store_error)?;
            let (to, number) = (row.tell.to, trailing_u64(row_key)?);
            let command = match row.is_void {
                true => None,
                false => {
                    let key = self.existing_key(row.owner)?;
                    let plain = key.open(Place::Tell, &to.to_bytes(), &row.tell.sealed);
                    let plain = plain.map_err(seal_error)?;
                    Some(rows::decode(row_key, &plain).map_err(store_error)?)
                }
            };
            Ok(OutboxItem { shard: row.tell.shard, number, from: row.tell.from, to, command })
        })
    }

    pub(super) fn timers(&self, from: TimerPlace, limit: usize) -> Result<TimerRows, JournalError> {
        let (_, until) = state::timer_range();
        let from = state::timer_due(from.due_ms, &from.entity, from.name);
        let mut rows = self.table.scan(&from, &until, limit + 1).map_err(store_error)?;
        let next = if rows.len() > limit { rows.pop().map(|(key, _)| place(&key)) } else { None };
        Ok(TimerRows { items: read_each(rows, timer), next })
    }

    pub(super) fn mail(&self, to: EntityId, limit: usize) -> Result<Rows<MailItem>, JournalError> {
        let (from, until) = state::mail_of(&to.to_bytes());
        self.readable(&from, &until, limit, |row_key, value| {
            let mail: Mail = rows::decode(row_key, value).map_err(store_error)?;
            let key = self.existing_key(to)?;
            let signed =
                key.open(Place::Mail, &mail.message_id, &mail.sealed).map_err(seal_error)?;
            let unreadable = |error| JournalError::Failed(format!("stored mail: {error}"));
            let signed = Signed::from_bytes(signed.to_vec()).map_err(unreadable)?;
            let about = about(&signed.unverified_content().map_err(unreadable)?);
            let expires_s = signed.unverified_claims().exp;
            let (number, message_id) = (mail.number, mail.message_id);
            let signed = signed.as_bytes().into();
            Ok(MailItem { to, number, message_id, signed, expires_s, about })
        })
    }

    /// The rows of a range that can be read.
    fn readable<T>(
        &self,
        from: &[u8],
        until: &[u8],
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, JournalError>,
    ) -> Result<Rows<T>, JournalError> {
        let rows = self.table.scan(from, until, limit).map_err(store_error)?;
        let is_all = rows.len() < limit;
        Ok(Rows { items: read_each(rows, read), is_all })
    }
}

/// One that cannot be read is reported and passed over: it must not stand in the way of the others.
fn read_each<T>(rows: Vec<Row>, read: impl Fn(&[u8], &[u8]) -> Result<T, JournalError>) -> Vec<T> {
    let mut items = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        match read(&key, &value) {
            Ok(item) => items.push(item),
            // The owner was erased with all that it had to say.
            Err(JournalError::Erased { .. }) => {}
            Err(error) => {
                metrics::counter!("fieldmesh_rows_unreadable_total").increment(1);
                tracing::error!(row = rows::name(&key), %error, "a row is passed over");
            }
        }
    }
    items
}

impl super::ShardJournal {
    /// An entity's present state.
    ///
    /// # Errors
    /// Damaged or erased data.
    pub fn state<A: Aggregate>(&self, entity: EntityId) -> Result<A, JournalError> {
        let damaged = |error: minicbor::decode::Error| {
            JournalError::Failed(format!("{entity} does not decode: {error}"))
        };
        let loaded = self.inner.load(entity)?;
        let mut state: A = match &loaded.snapshot {
            Some(bytes) => minicbor::decode(bytes).map_err(damaged)?,
            None => A::default(),
        };
        for bytes in &loaded.events {
            state.evolve(&minicbor::decode(bytes).map_err(damaged)?);
        }
        Ok(state)
    }

    /// Index rows of an entity kind, by id, behind `after`.
    ///
    /// # Errors
    /// A failed read.
    pub fn index(
        &self,
        kind: EntityKind,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<IndexRow>, JournalError> {
        self.rows(kind as u8, after.map(|after| RowKey::entity(kind, after)).as_ref(), limit)
    }

    /// Index rows of any kind, in the order of their names, behind `after`.
    ///
    /// # Errors
    /// A failed read.
    pub fn rows(
        &self,
        kind: u8,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<IndexRow>, JournalError> {
        let (mut from, until) = state::index_of(kind);
        if let Some(after) = after {
            from = state::index(after);
            from.push(0);
        }
        self.rows_between(&from, &until, limit)
    }

    /// The same from one on, if it is there.
    ///
    /// # Errors
    /// A failed read.
    pub fn rows_from(
        &self,
        kind: u8,
        from: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<IndexRow>, JournalError> {
        let (first, until) = state::index_of(kind);
        self.rows_between(&from.map_or(first, state::index), &until, limit)
    }

    fn rows_between(
        &self,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<Vec<IndexRow>, JournalError> {
        let rows = self.inner.table.scan(from, until, limit).map_err(store_error)?;
        rows.iter().map(|(key, value)| rows::decode(key, value).map_err(store_error)).collect()
    }

    /// When a timer of an entity is due, if it runs: found by its name and by its time.
    ///
    /// # Errors
    /// A failed read.
    pub fn timer(&self, entity: EntityId, name: TimerName) -> Result<Option<u64>, JournalError> {
        let (id, name) = (entity.to_bytes(), name as u8);
        let table = &*self.inner.table;
        let row = rows::read::<TimerRow>(table, &state::timer_name(&id, name));
        let Some(TimerRow { due_ms, .. }) = row.map_err(store_error)? else { return Ok(None) };
        let by_time = table.get(&state::timer_due(due_ms, &id, name)).map_err(store_error)?;
        Ok(by_time.map(|_| due_ms))
    }

    /// One index row.
    ///
    /// # Errors
    /// A failed read.
    pub fn row(&self, key: &RowKey) -> Result<Option<IndexRow>, JournalError> {
        rows::read(&*self.inner.table, &state::index(key)).map_err(store_error)
    }
}

fn owner(entity: EntityId, head: &Head) -> Result<EntityId, JournalError> {
    EntityId::from_bytes(head.owner)
        .map_err(|_| JournalError::Failed(format!("the owner of {entity} does not decode")))
}

fn trailing_u64(key: &[u8]) -> Result<u64, JournalError> {
    let bytes = key
        .last_chunk::<8>()
        .ok_or_else(|| JournalError::Failed("an outbox key is too short".into()))?;
    Ok(u64::from_be_bytes(*bytes))
}

/// The place of a due row. A damaged key has one too, which is not before those of the rows before it.
fn place(key: &[u8]) -> TimerPlace {
    let mut bytes = key.iter().skip(1).copied();
    let mut next = || bytes.next().unwrap_or_default();
    TimerPlace {
        due_ms: u64::from_be_bytes(array::from_fn(|_| next())),
        entity: array::from_fn(|_| next()),
        name: next(),
    }
}

/// A timer from its due row: kind, due, entity, name → generation.
fn timer(key: &[u8], value: &[u8]) -> Result<TimerItem, JournalError> {
    let damaged = || JournalError::Failed("a timer row does not decode".into());
    let (due, rest) = key.get(1..).and_then(<[u8]>::split_first_chunk::<8>).ok_or_else(damaged)?;
    let (entity, rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
    let [name] = rest else { return Err(damaged()) };
    let generation = <[u8; 4]>::try_from(value).map_err(|_| damaged())?;
    Ok(TimerItem {
        due_ms: u64::from_be_bytes(*due),
        entity: EntityId::from_bytes(*entity).map_err(|_| damaged())?,
        name: *name,
        generation: u32::from_be_bytes(generation),
    })
}
