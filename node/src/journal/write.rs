//! Sealing a draft into a commit, and proposing it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_actors::{
    commit::{
        Cause, Commit, Draft, DraftMessage, Mail, Proposal, Seen, SnapshotPart, Tell, Verdict,
    },
    mail::About,
    seams::{Appended, JournalError, MailItem, OutboxItem, Queued},
};
use fieldmesh_domain::{
    Command, EntityId, EntityKind,
    mutant::{Mutant, is_planted},
    placement::{HISTORIES, SHARED_KEYS},
};
use fieldmesh_envelope::ReplayWindow;
use minicbor::bytes::ByteVec;
use tokio::time::Instant;

use super::{Inner, Record, lock, propose_error, seal_error, store_error};
use crate::{
    consensus::Outcome,
    sealing::{Key, Place},
    service::MESSAGE_LIFE_S,
    steps::Act,
    store::{
        keys::state,
        rows::{self, SnapshotRow},
    },
};

/// A draft sealed, with what the neighbours need in plain once it is committed.
struct Sealed {
    commit: Commit,
    tells: Vec<(EntityId, Command)>,
    mail: Vec<MailItem>,
    key: Key,
    /// The sealed state where it is too large for the commit.
    large: Option<Vec<u8>>,
}

/// Larger sealed states go into entries of their own, each a piece of this size: half of what a log
/// entry may hold.
const SNAPSHOT_PIECE_BYTES: usize = 512 << 10;
/// Recipients looked at for one whose number may be forgotten.
const EVICTION_TRIES: usize = 64;

impl Inner {
    pub(super) async fn submit(self: Arc<Self>, draft: Draft) -> Result<Queued, JournalError> {
        let began = Instant::now();
        let entity = draft.entity;
        let index = draft.index.clone();
        let sealed = self.seal(draft)?;
        let Commit { expected_version, event_count, chain, .. } = sealed.commit;
        let version = expected_version + u64::from(event_count);
        let is_barrier = sealed.commit.new_key.is_some();
        let shards: Vec<u32> = sealed.commit.tells.iter().map(|tell| tell.shard).collect();
        let Sealed { commit, tells, mail, key, large } = sealed;
        let owner = commit.owner;
        let content = Proposal::Commit(Box::new(commit));
        let outcome = self.group.submit(&content).await.map_err(propose_error)?;
        let done = async move {
            let numbers = applied(outcome.await.map_err(propose_error)?)?;
            self.commits.done(*self.group.leading().borrow(), self.clock.now_ms());
            if is_barrier {
                self.remember(owner, key);
            }
            if event_count > 0 {
                self.steps.done(Act::Committed, entity, began);
                self.steps.committed(index);
            }
            if let Some(sealed) = large {
                self.append_parts(entity, version, &sealed).await;
            }
            let rows = tells.into_iter().zip(numbers).zip(shards);
            let tells = rows
                .map(|(((to, command), number), shard)| OutboxItem {
                    shard,
                    number,
                    from: entity,
                    to,
                    command: Some(command),
                })
                .collect();
            Ok(Appended { tells, mail })
        };
        Ok(Queued { version, chain, is_barrier, done: Box::pin(done) })
    }

    fn seal(&self, draft: Draft) -> Result<Sealed, JournalError> {
        let (key, new_key) = self.sealing_key(draft.owner)?;
        let event_count = u32::try_from(draft.events.len()).map_err(|_| too_many())?;
        let seen = self.seen(&draft, &key)?;
        let (record, chain) = self.seal_record(&draft, &key)?;
        let (snapshot, large) = match self.seal_snapshot(&draft, &key)? {
            Some(sealed) if sealed.len() > SNAPSHOT_PIECE_BYTES => (None, Some(sealed)),
            sealed => (sealed.map(|sealed| snapshot_row(&draft, sealed)), None),
        };
        let mut tells = Vec::with_capacity(draft.tells.len());
        for (to, command) in &draft.tells {
            let plain = rows::encode(command);
            let sealed = key
                .seal(Place::Tell, &to.to_bytes(), &plain, &*self.entropy)
                .map_err(seal_error)?;
            let from = draft.entity;
            let shard = self.known.group_of(*to).ok_or_else(|| {
                JournalError::Failed(format!("{to} is of a region that is not known here"))
            })?;
            tells.push(Tell { to: *to, shard, sealed, from });
        }
        let mut mail = Vec::with_capacity(draft.messages.len());
        let mut items = Vec::with_capacity(draft.messages.len());
        for message in draft.messages {
            if message.to != draft.owner {
                return Err(JournalError::Failed(format!(
                    "{} is not the owner's device",
                    message.to
                )));
            }
            let (row, item) = self.compose(message, &key)?;
            mail.push(row);
            items.push(item);
        }
        let commit = Commit {
            entity: draft.entity,
            owner: draft.owner,
            expected_version: draft.expected_version,
            cause: draft.cause,
            at_ms: draft.at_ms,
            event_count,
            record,
            chain,
            snapshot,
            new_key,
            tells,
            mail,
            timers: draft.timers,
            index: draft.index,
            seen,
            previous: (self.known.known().level() >= HISTORIES).then(|| draft.previous.into()),
        };
        Ok(Sealed { commit, tells: draft.tells, mail: items, key, large })
    }

    /// The owner's data key; and wrapped, where it is to be stored with the commit: it is new, or stored
    /// such that nodes of other regions cannot read it.
    fn sealing_key(&self, owner: EntityId) -> Result<(Key, Option<Vec<u8>>), JournalError> {
        let id = owner.to_bytes();
        let is_shared = self.spans_regions() && self.known.known().level() >= SHARED_KEYS;
        let key = match self.key(owner)? {
            Some(key) if !is_shared || self.is_under(&Key::shared(), &id)? => {
                return Ok((key, None));
            }
            Some(key) => key,
            None => Key::generate(&*self.entropy),
        };
        let shared = is_shared.then(Key::shared);
        let wrapping = shared.as_ref().unwrap_or_else(|| self.service.region_key());
        let wrapped = key.wrap(wrapping, &id, &*self.entropy).map_err(seal_error)?;
        Ok((key, Some(wrapped)))
    }

    fn is_under(&self, wrapping: &Key, owner: &[u8; 16]) -> Result<bool, JournalError> {
        let stored = self.table.get(&state::data_key(owner)).map_err(store_error)?;
        Ok(stored.is_some_and(|wrapped| Key::unwrap(wrapping, owner, &wrapped).is_ok()))
    }

    fn seal_record(&self, draft: &Draft, key: &Key) -> Result<(Vec<u8>, [u8; 32]), JournalError> {
        if draft.events.is_empty() {
            return Ok((Vec::new(), draft.previous));
        }
        let record = Record {
            cause: draft.cause.clone(),
            at_ms: draft.at_ms,
            rule_version: draft.rule_version,
            previous: draft.previous,
            events: draft.events.iter().cloned().map(ByteVec::from).collect(),
        };
        let plain = rows::encode(&record);
        let chain = chain_hash(&plain);
        let place = record_place(draft.entity, draft.expected_version);
        let sealed = key.seal(Place::Events, &place, &plain, &*self.entropy).map_err(seal_error)?;
        Ok((sealed, chain))
    }

    fn seal_snapshot(&self, draft: &Draft, key: &Key) -> Result<Option<Vec<u8>>, JournalError> {
        let Some(plain) = &draft.snapshot else {
            return Ok(None);
        };
        let place = record_place(draft.entity, version_after(draft));
        key.seal(Place::Snapshot, &place, plain, &*self.entropy).map(Some).map_err(seal_error)
    }

    /// Proposes a large state piece by piece. The commit stands whatever becomes of it: without it,
    /// the entity is replayed from more events.
    async fn append_parts(&self, entity: EntityId, version: u64, sealed: &[u8]) {
        let pieces = sealed.chunks(SNAPSHOT_PIECE_BYTES);
        let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        for (part, sealed) in (0..).zip(pieces) {
            let part = SnapshotPart { entity, version, part, parts, sealed: sealed.to_vec() };
            if let Err(error) = self.group.propose(&Proposal::SnapshotPart(part)).await {
                tracing::warn!(%entity, %error, "a large state was not written");
                return;
            }
        }
    }

    /// What replay protection keeps: the device's window moved on, and the receipt.
    fn seen(&self, draft: &Draft, key: &Key) -> Result<Option<Seen>, JournalError> {
        let Cause::Device { device, message_id, sequence, .. } = &draft.cause else {
            return Ok(None);
        };
        let mut window = self.window(*device)?;
        window.accept(*sequence);
        let receipt = draft.receipt.as_deref().unwrap_or_default();
        let receipt =
            key.seal(Place::Receipt, message_id, receipt, &*self.entropy).map_err(seal_error)?;
        Ok(Some(Seen { window: window.to_bytes().to_vec(), receipt }))
    }

    pub(super) fn window(&self, device: EntityId) -> Result<ReplayWindow, JournalError> {
        let stored = self.table.get(&state::window(&device.to_bytes())).map_err(store_error)?;
        match stored.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => ReplayWindow::from_bytes(&bytes).map_err(|_| {
                JournalError::Failed(format!("the receive window of {device} does not decode"))
            }),
            None => Ok(ReplayWindow::default()),
        }
    }

    fn compose(&self, message: DraftMessage, key: &Key) -> Result<(Mail, MailItem), JournalError> {
        let number = self.next_mail_number(message.to)?;
        let mut message_id = [0; 16];
        self.entropy.fill(&mut message_id);
        let (to, about) = (message.to, About::of(message.kind, &message.body));
        let now_s = self.clock.now_ms() / 1000;
        let is_swapped = to.kind() == EntityKind::Customer && is_planted(Mutant::OrderLost);
        let said = if is_swapped { number ^ 1 } else { number };
        let signed = self.service.compose(message, message_id, said, now_s).map_err(|error| {
            JournalError::Failed(format!("a message cannot be signed: {error}"))
        })?;
        let sealed =
            key.seal(Place::Mail, &message_id, &signed, &*self.entropy).map_err(seal_error)?;
        let expires_s = now_s + MESSAGE_LIFE_S;
        let item = MailItem { to, number, message_id, signed: Arc::from(signed), expires_s, about };
        Ok((Mail { to, number, message_id, sealed }, item))
    }

    /// Numbers are given in memory while this node leads; a commit that fails leaves a gap, which
    /// the device's window allows.
    fn next_mail_number(&self, to: EntityId) -> Result<u64, JournalError> {
        let mut next = lock(&self.mail_next);
        // Somebody else may have led meanwhile and given higher ones.
        let stored = self.mail_last(to)? + 1;
        let number = next.get(&to).map_or(stored, |number| stored.max(*number));
        if next.len() >= super::CACHED_KEYS_MAX {
            // Only a number that the table knows may be forgotten: the others are under way.
            let known = |id: &EntityId, number: u64| {
                self.mail_last(*id).is_ok_and(|stored| stored + 1 >= number)
            };
            let evicted = next.iter().take(EVICTION_TRIES).find(|(id, n)| known(id, **n));
            if let Some(id) = evicted.map(|(id, _)| *id) {
                next.remove(&id);
            }
        }
        next.insert(to, number + 1);
        Ok(number)
    }

    fn mail_last(&self, to: EntityId) -> Result<u64, JournalError> {
        let stored = rows::read_u64(&*self.table, &state::mail_last(&to.to_bytes()));
        Ok(stored.map_err(store_error)?.unwrap_or(0))
    }
}

/// The numbers of the outbox rows of an applied commit.
fn applied(outcome: Outcome) -> Result<Vec<u64>, JournalError> {
    match outcome {
        Outcome::Decided(Verdict::Applied { tells }) => Ok(tells),
        Outcome::Decided(Verdict::Conflict { found }) => Err(JournalError::Conflict { found }),
        Outcome::Decided(Verdict::Consumed) => Err(JournalError::Consumed),
        Outcome::Decided(Verdict::TooFar) => Err(JournalError::TooFar),
        Outcome::Decided(Verdict::Moved) => Err(JournalError::Moved),
        Outcome::Nothing => {
            Err(JournalError::Failed("the state machine did not understand the commit".into()))
        }
    }
}

fn version_after(draft: &Draft) -> u64 {
    draft.expected_version + draft.events.len() as u64
}

fn snapshot_row(draft: &Draft, sealed: Vec<u8>) -> Vec<u8> {
    rows::encode(&SnapshotRow { version: version_after(draft), sealed, parts: None })
}

fn too_many() -> JournalError {
    JournalError::Failed("one step has too many events".into())
}

/// The additional data of an entity's record: entity and version.
pub(super) fn record_place(entity: EntityId, version: u64) -> Vec<u8> {
    let mut place = entity.to_bytes().to_vec();
    place.extend_from_slice(&version.to_be_bytes());
    place
}

/// The head of the chain after a record, which itself holds the head before it.
pub(super) fn chain_hash(record: &[u8]) -> [u8; 32] {
    let mut chain = [0; 32];
    chain.copy_from_slice(digest(&SHA256, record).as_ref());
    chain
}
