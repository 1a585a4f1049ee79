//! Deliberate bugs, one at a time, for the gate that proves that simulation and chaos runs find their like.
//!
//! `FIELDMESH_MUTANT=<name>` plants one in a build with debug assertions; in any other build [`is_planted`] is a
//! constant `false`, and nothing of this is left. **Invariant:** a name that is none ends the program, because a
//! gate that plants nothing proves nothing. **Not here:** which check finds which (`scripts/mutants`).

/// A bug, where it would be, and what it would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The log says that a write is done before its sync.
    AckBeforeSync,
    /// The log is written and never synced.
    SyncSkipped,
    /// A proposal is called applied as soon as the leader has it.
    AckBeforeQuorum,
    /// A vote is not on disk when it is given.
    VoteInMemory,
    /// How far the state has come is written before what it came by, and apart from it.
    ApplyNotAtomic,
    /// A commit is applied whatever version of its entity it was decided on.
    FenceOff,
    /// The service takes a message that it has seen before for a new one.
    DedupOff,
    /// Whoever reads gets what this node has, be it old.
    StaleRead,
    /// A shard that starts on another node does not look which timers run.
    TimerLost,
    /// A shard that starts on another node does not look what is to be told to others.
    OutboxLost,
    /// A customer is told of a technician twice.
    ConfirmedTwice,
    /// An acceptance counts although its offer is over.
    LateAcceptTaken,
    /// Nobody looks how many tickets a technician has already.
    ReservedTwice,
    /// A revoked certificate is believed on.
    RevocationIgnored,
    /// The ledger leaves its last entry out.
    LedgerCut,
    /// A device takes a message that it has seen before for a new one.
    DeviceDedupOff,
    /// One offer goes to two technicians, and each of them has the ticket by it.
    OfferedTwice,
    /// What is applied depends on the process that applies it.
    ReplicaDiffers,
    /// Two messages for a customer change their places.
    OrderLost,
    /// A descriptor stays open of each message of a device.
    DescriptorsLeaked,
    /// A node that does not hear its region goes on serving devices.
    ServesCutOff,
    /// However many rows of an outbox are under way, more are sent, and what was told stays one of them.
    OutboxUnbounded,
}

#[cfg(debug_assertions)]
impl Mutant {
    const ALL: [(&str, Self); 22] = [
        ("ack_before_sync", Self::AckBeforeSync),
        ("sync_skipped", Self::SyncSkipped),
        ("ack_before_quorum", Self::AckBeforeQuorum),
        ("vote_in_memory", Self::VoteInMemory),
        ("apply_not_atomic", Self::ApplyNotAtomic),
        ("fence_off", Self::FenceOff),
        ("dedup_off", Self::DedupOff),
        ("stale_read", Self::StaleRead),
        ("timer_lost", Self::TimerLost),
        ("outbox_lost", Self::OutboxLost),
        ("confirmed_twice", Self::ConfirmedTwice),
        ("late_accept_taken", Self::LateAcceptTaken),
        ("reserved_twice", Self::ReservedTwice),
        ("revocation_ignored", Self::RevocationIgnored),
        ("ledger_cut", Self::LedgerCut),
        ("device_dedup_off", Self::DeviceDedupOff),
        ("offered_twice", Self::OfferedTwice),
        ("replica_differs", Self::ReplicaDiffers),
        ("order_lost", Self::OrderLost),
        ("descriptors_leaked", Self::DescriptorsLeaked),
        ("serves_cut_off", Self::ServesCutOff),
        ("outbox_unbounded", Self::OutboxUnbounded),
    ];
}

/// Whether this is the bug of this run.
///
/// # Panics
/// Where the variable names none.
#[cfg(debug_assertions)]
pub fn is_planted(mutant: Mutant) -> bool {
    planted() == Some(mutant)
}

/// The bug of this run; to be told loudly by whoever starts one.
///
/// # Panics
/// Where the variable names none.
#[cfg(debug_assertions)]
#[expect(clippy::disallowed_methods, reason = "the one variable that is no configuration")]
pub fn planted() -> Option<Mutant> {
    static PLANTED: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| {
        let name = std::env::var("FIELDMESH_MUTANT").ok().filter(|name| !name.is_empty())?;
        let found = Mutant::ALL.iter().find(|(known, _)| *known == name);
        let known = Mutant::ALL.map(|(known, _)| known).join(", ");
        let (_, mutant) =
            found.unwrap_or_else(|| panic!("FIELDMESH_MUTANT={name}: it is one of {known}"));
        Some(*mutant)
    })
}

#[cfg(not(debug_assertions))]
pub const fn is_planted(_mutant: Mutant) -> bool {
    false
}

#[cfg(not(debug_assertions))]
pub const fn planted() -> Option<Mutant> {
    None
}
