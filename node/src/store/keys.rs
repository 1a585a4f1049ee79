//! The bytes of every key, in one place.
//!
//! A byte once given to a kind of row is never given to another, and field order is scan order;
//! integers are big-endian so that they sort. Retired kinds stay listed.
//!
//! **Not here:** the values (`consensus::machine`, `consensus::log_store`).

/// A group's number in the log table.
pub type GroupId = u32;

/// A key under construction; kept on the heap because tables take vectors.
#[derive(Debug, Clone)]
pub struct Key(Vec<u8>);

impl Key {
    fn of(kind: u8) -> Self {
        let mut bytes = Vec::with_capacity(34);
        bytes.push(kind);
        Self(bytes)
    }
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    fn id(mut self, value: &[u8; 16]) -> Self {
        self.0.extend_from_slice(value);
        self
    }
    fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Keys of the log table: kind, group, then what the kind needs.
pub mod log {
    use super::{GroupId, Key};

    const ENTRY: u8 = b'e';
    const VOTE: u8 = b'v';
    const COMMITTED: u8 = b'c';
    const PURGED: u8 = b'p';
    const ROUND: u8 = b'r';
    const LEFT: u8 = b'l';
    const FLOOR: u8 = b'f';
    const STARTS: u8 = b's';
    const HEARD: u8 = b'h';
    const ALONE: u8 = b'a';

    /// How many rounds of the writer the table has.
    pub fn round() -> Vec<u8> {
        Key::of(ROUND).done()
    }
    pub fn entry(group: GroupId, index: u64) -> Vec<u8> {
        Key::of(ENTRY).u32(group).u64(index).done()
    }
    /// The first key behind all entries of a group.
    pub fn entries_end(group: GroupId) -> Vec<u8> {
        Key::of(ENTRY).u32(group + 1).done()
    }
    pub fn vote(group: GroupId) -> Vec<u8> {
        Key::of(VOTE).u32(group).done()
    }
    pub fn committed(group: GroupId) -> Vec<u8> {
        Key::of(COMMITTED).u32(group).done()
    }
    pub fn purged(group: GroupId) -> Vec<u8> {
        Key::of(PURGED).u32(group).done()
    }
    /// There while the state of a group that this node has left is still to be removed.
    pub fn left(group: GroupId) -> Vec<u8> {
        Key::of(LEFT).u32(group).done()
    }
    /// The last entry that this node had when it left a group.
    pub fn floor(group: GroupId) -> Vec<u8> {
        Key::of(FLOOR).u32(group).done()
    }
    /// There while a group is made to go on with this node alone.
    pub fn alone(group: GroupId) -> Vec<u8> {
        Key::of(ALONE).u32(group).done()
    }
    pub fn alone_range() -> (Vec<u8>, Vec<u8>) {
        (vec![ALONE], vec![ALONE + 1])
    }
    /// The last starts of this directory's node.
    pub fn starts() -> Vec<u8> {
        Key::of(STARTS).done()
    }
    /// What was heard last of another node's starts.
    pub fn heard(node: u64) -> Vec<u8> {
        Key::of(HEARD).u64(node).done()
    }
    pub fn heard_range() -> (Vec<u8>, Vec<u8>) {
        (vec![HEARD], vec![HEARD + 1])
    }
    /// Of which node something was heard.
    pub fn heard_of(key: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
    }
    pub fn vote_range() -> (Vec<u8>, Vec<u8>) {
        (vec![VOTE], vec![VOTE + 1])
    }
    pub fn left_range() -> (Vec<u8>, Vec<u8>) {
        (vec![LEFT], vec![LEFT + 1])
    }
    /// Whose row it is; none for one that is no group's.
    pub fn group_of(key: &[u8]) -> Option<GroupId> {
        let bytes = key.get(1..5)?;
        Some(GroupId::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Keys of a group's state table.
pub mod state {
    use fieldmesh_domain::{EntityId, EntityKind, Region, effect::RowKey};

    use super::Key;

    const META: u8 = b'm';
    const HEAD: u8 = b'h';
    const EVENTS: u8 = b'e';
    const SNAPSHOT: u8 = b's';
    const DATA_KEY: u8 = b'k';
    const OUTBOX: u8 = b'o';
    const CURSOR: u8 = b'c';
    const TIMER_DUE: u8 = b't';
    const TIMER_NAME: u8 = b'u';
    const MAIL: u8 = b'l';
    const DEDUP: u8 = b'd';
    const DEDUP_EXPIRY: u8 = b'x';
    const WINDOW: u8 = b'w';
    const INDEX: u8 = b'i';
    const SNAPSHOT_PART: u8 = b'p';

    /// What was applied last, and the membership then.
    pub fn applied() -> Vec<u8> {
        Key::of(META).u8(1).done()
    }
    /// There while a snapshot takes the place of the rest.
    pub fn installing() -> Vec<u8> {
        Key::of(META).u8(4).done()
    }
    /// The last entry that came by a snapshot: the log may end before it.
    pub fn installed() -> Vec<u8> {
        Key::of(META).u8(5).done()
    }
    /// How many rows a snapshot has that arrived whole; in the table it arrived in, and no state.
    pub fn whole() -> Vec<u8> {
        Key::of(META).u8(6).done()
    }
    /// Rows that say how far a replica is, and no state: others differ in them.
    pub fn of_a_replica() -> [Vec<u8>; 4] {
        [applied(), installed(), installing(), whole()]
    }
    /// Whether a slot was given to another shard, or came from one.
    pub fn slot(slot: u16) -> Vec<u8> {
        let mut key = Key::of(META).u8(7);
        key.0.extend_from_slice(&slot.to_be_bytes());
        key.done()
    }
    /// All rows of a slot's entities, in order, but for those that are sorted by time.
    pub fn slot_ranges(region: Region, slot: u16) -> Vec<(Vec<u8>, Vec<u8>)> {
        let kinds =
            [EVENTS, HEAD, SNAPSHOT, DATA_KEY, TIMER_NAME, MAIL, DEDUP, WINDOW, SNAPSHOT_PART];
        let mut ranges = Vec::new();
        for kind in EntityKind::IN_SLOTS {
            let prefix = EntityId::prefix_of(kind, region, slot);
            let keys = kinds.iter().map(|kind| Key::of(*kind));
            let keys = keys.chain([Key::of(META).u8(3), Key::of(INDEX).u8(kind as u8)]);
            ranges.extend(keys.map(|mut key| {
                key.0.extend_from_slice(&prefix);
                let end = crate::store::prefix_end(&key.0);
                (key.done(), end)
            }));
        }
        ranges.sort();
        ranges
    }
    /// The rows that are sorted by time, of all entities.
    pub fn by_time() -> [(Vec<u8>, Vec<u8>); 2] {
        [timer_range(), (vec![DEDUP_EXPIRY], vec![DEDUP_EXPIRY + 1])]
    }
    /// Whether a row that is sorted by time is of a slot's entities.
    pub fn is_by_time_of(key: &[u8], region: Region, slot: u16) -> bool {
        // Kind and time come first.
        let entity = key.get(9..15).unwrap_or_default();
        EntityKind::IN_SLOTS.iter().any(|kind| EntityId::prefix_of(*kind, region, slot) == entity)
    }
    /// The timers of a slot's entities, by their names.
    pub fn timers_of(region: Region, slot: u16) -> Vec<(Vec<u8>, Vec<u8>)> {
        let is_timer = |range: &(Vec<u8>, Vec<u8>)| range.0.first() == Some(&TIMER_NAME);
        slot_ranges(region, slot).into_iter().filter(is_timer).collect()
    }
    /// Entity and name of a timer row that is found by them.
    pub fn timer_of(key: &[u8]) -> Option<([u8; 16], u8)> {
        let (entity, name) = key.get(1..)?.split_first_chunk::<16>()?;
        Some((*entity, *name.first()?))
    }
    /// The next outbox number towards a shard.
    pub fn outbox_next(shard: u32) -> Vec<u8> {
        Key::of(META).u8(2).u32(shard).done()
    }
    /// Version and hash chain of an entity.
    pub fn head(entity: &[u8; 16]) -> Vec<u8> {
        Key::of(HEAD).id(entity).done()
    }
    pub fn head_range() -> (Vec<u8>, Vec<u8>) {
        (vec![HEAD], vec![HEAD + 1])
    }
    /// The next outbox numbers towards all shards.
    pub fn outbox_next_range() -> (Vec<u8>, Vec<u8>) {
        (vec![META, 2], vec![META, 3])
    }
    pub fn cursor_range() -> (Vec<u8>, Vec<u8>) {
        (vec![CURSOR], vec![CURSOR + 1])
    }
    /// The events of one commit, by the version before it.
    pub fn events(entity: &[u8; 16], version: u64) -> Vec<u8> {
        Key::of(EVENTS).id(entity).u64(version).done()
    }
    pub fn snapshot(entity: &[u8; 16]) -> Vec<u8> {
        Key::of(SNAPSHOT).id(entity).done()
    }
    /// A piece of a state that is too large for one row.
    pub fn snapshot_part(entity: &[u8; 16], version: u64, part: u32) -> Vec<u8> {
        Key::of(SNAPSHOT_PART).id(entity).u64(version).u32(part).done()
    }
    /// The wrapped data key of a customer, technician or desk.
    pub fn data_key(owner: &[u8; 16]) -> Vec<u8> {
        Key::of(DATA_KEY).id(owner).done()
    }
    pub fn outbox(shard: u32, number: u64) -> Vec<u8> {
        Key::of(OUTBOX).u32(shard).u64(number).done()
    }
    pub fn outbox_range() -> (Vec<u8>, Vec<u8>) {
        (vec![OUTBOX], vec![OUTBOX + 1])
    }
    /// What was taken from another shard's outbox.
    pub fn cursor(shard: u32) -> Vec<u8> {
        Key::of(CURSOR).u32(shard).done()
    }
    pub fn timer_due(due_ms: u64, entity: &[u8; 16], name: u8) -> Vec<u8> {
        Key::of(TIMER_DUE).u64(due_ms).id(entity).u8(name).done()
    }
    pub fn timer_range() -> (Vec<u8>, Vec<u8>) {
        (vec![TIMER_DUE], vec![TIMER_DUE + 1])
    }
    pub fn timer_name(entity: &[u8; 16], name: u8) -> Vec<u8> {
        Key::of(TIMER_NAME).id(entity).u8(name).done()
    }
    pub fn mail(recipient: &[u8; 16], number: u64) -> Vec<u8> {
        Key::of(MAIL).id(recipient).u64(number).done()
    }
    pub fn mail_of(recipient: &[u8; 16]) -> (Vec<u8>, Vec<u8>) {
        let prefix = Key::of(MAIL).id(recipient).done();
        let end = crate::store::prefix_end(&prefix);
        (prefix, end)
    }
    /// The last mail number given to a recipient.
    pub fn mail_last(recipient: &[u8; 16]) -> Vec<u8> {
        Key::of(META).u8(3).id(recipient).done()
    }
    pub fn dedup(device: &[u8; 16], message: &[u8; 16]) -> Vec<u8> {
        Key::of(DEDUP).id(device).id(message).done()
    }
    pub fn dedup_expiry(expires_s: u64, device: &[u8; 16], message: &[u8; 16]) -> Vec<u8> {
        Key::of(DEDUP_EXPIRY).u64(expires_s).id(device).id(message).done()
    }
    /// All dedup rows that expired before a second.
    pub fn dedup_expired(before_s: u64) -> (Vec<u8>, Vec<u8>) {
        (vec![DEDUP_EXPIRY], Key::of(DEDUP_EXPIRY).u64(before_s).done())
    }
    /// The sequence window of a device.
    pub fn window(device: &[u8; 16]) -> Vec<u8> {
        Key::of(WINDOW).id(device).done()
    }
    /// A row that lists and look-ups read; what kinds there are is the domain's.
    pub fn index(row: &RowKey) -> Vec<u8> {
        let mut key = Key::of(INDEX).u8(row.kind);
        key.0.extend_from_slice(&row.name);
        key.done()
    }
    pub fn indexes() -> (Vec<u8>, Vec<u8>) {
        (vec![INDEX], vec![INDEX + 1])
    }
    pub fn index_of(kind: u8) -> (Vec<u8>, Vec<u8>) {
        (Key::of(INDEX).u8(kind).done(), Key::of(INDEX).u8(kind + 1).done())
    }
}
