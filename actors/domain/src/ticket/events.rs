//! What happens to a ticket.
//!
//! **Invariants:** field numbers are never used again; what only orders lead to is in no history of a
//! ticket that nobody ordered anything of. **Not here:** what follows from it (`effects`).

use minicbor::{Decode, Encode, bytes::ByteArray};

use super::{
    group::ParentWord,
    notes::Note,
    orders::{Order, Party},
    parallel::Invited,
    promises::{Clock, Promise},
    reached::Reach,
    ruled::Triage,
    terms::{Silence, Terms},
    types::{Counted, Progress, RefusalReason},
};
use crate::{
    ids::EntityId,
    message::{OfferId, RequestBody},
    selection::{Choice, Wishes},
    time::Millis,
};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    #[n(0)]
    Opened {
        #[n(0)]
        customer: EntityId,
        #[cbor(n(1), with = "minicbor::bytes")]
        message_id: [u8; 16],
        #[n(2)]
        body: RequestBody,
        #[n(3)]
        at: Millis,
        /// The customer's then, where it had any.
        #[n(5)]
        wishes: Option<Wishes>,
        #[n(6)]
        counted: Option<Counted>,
    },
    #[n(1)]
    Triaged {
        #[n(0)]
        priority: u8,
        /// What rules said, where there are any.
        #[n(1)]
        triage: Option<Box<Triage>>,
    },
    #[n(2)]
    MatchAsked {
        #[n(0)]
        due: Millis,
    },
    #[n(3)]
    Offered {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        epoch: u32,
        #[n(2)]
        due: Millis,
        #[n(3)]
        choice: Choice,
    },
    #[n(4)]
    Unfilled {
        #[n(0)]
        due: Millis,
        #[n(1)]
        choice: Choice,
    },
    #[n(5)]
    OfferExpired,
    #[n(6)]
    OfferRefused {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        reason: RefusalReason,
    },
    #[n(7)]
    Accepted {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        name: String,
        #[n(2)]
        eta_min: u16,
        #[n(3)]
        due: Millis,
    },
    #[n(8)]
    LateAcceptRefused {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
    },
    #[n(9)]
    Progressed {
        #[n(0)]
        progress: Progress,
        #[n(1)]
        due: Millis,
    },
    /// The work is later than promised.
    #[n(10)]
    Overdue {
        #[n(0)]
        due: Millis,
        /// Where it is marked from now on.
        #[n(1)]
        at: Option<Millis>,
    },
    #[n(11)]
    Cancelled,
    #[n(12)]
    Closed,
    #[n(13)]
    Reconciled {
        #[n(0)]
        promotion: u64,
        #[n(1)]
        floor: u32,
        #[n(2)]
        question: u32,
        /// Where a technician is at work, it must have said so until then.
        #[n(3)]
        due: Option<Millis>,
    },
    /// A technician has it: by an offer that was made in the history that is lost, or for good although the desk asked
    /// the offer back.
    #[n(14)]
    Adopted {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        epoch: u32,
        /// The position of its offer, where that was not the first.
        #[n(2)]
        seq: Option<u32>,
    },
    /// Its technician said what it holds.
    #[n(15)]
    Kept {
        #[n(0)]
        answers: u32,
    },
    /// A person wants this; what it leads to follows.
    #[n(16)]
    Ordered {
        #[n(0)]
        order: Order,
        #[n(1)]
        by: Party,
        #[n(2)]
        at: Millis,
        /// Whoever orders it again under the same id means this one.
        #[n(3)]
        id: Option<ByteArray<16>>,
        /// An operator wants somebody for it whatever is silenced; none where that is not marked.
        #[n(4)]
        is_above: Option<bool>,
    },
    /// Nobody has it until then.
    #[n(17)]
    Held {
        #[n(0)]
        until: Millis,
    },
    /// Its technician does not have it any more, and did not ask for that.
    #[n(18)]
    TakenBack {
        #[n(0)]
        technician: EntityId,
        /// The customer had been told of the technician.
        #[n(1)]
        was_promised: bool,
        /// It is asked again only after everybody else.
        #[n(2)]
        is_excluded: bool,
        /// For which ticket of priority 1; none where an order took it.
        #[n(3)]
        displaced_by: Option<EntityId>,
    },
    /// Offered to exactly this technician, because the order before says so.
    #[n(19)]
    Assigned {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        epoch: u32,
        #[n(2)]
        due: Millis,
    },
    /// It had ended or was completed, and is to be done again.
    #[n(20)]
    Reopened,
    /// Somebody wrote to somebody.
    #[n(21)]
    Noted(#[n(0)] Note),
    /// What the customer wants cannot be; its device hears why. Or it is asked for again after its end, by the very message
    /// that it was opened by, and its customer hears that it has ended.
    #[n(22)]
    OrderRefused {
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 16],
        #[n(1)]
        why: String,
    },
    /// It waits for the end of another ticket, which must say so until then.
    #[n(23)]
    Grouped {
        #[n(0)]
        parent: EntityId,
        #[n(1)]
        due: Millis,
    },
    /// Whether its parent still lives.
    #[n(24)]
    ParentAsked {
        #[n(0)]
        due: Millis,
    },
    #[n(25)]
    ParentLives {
        /// When it is asked again.
        #[n(0)]
        due: Millis,
    },
    #[n(26)]
    ChildJoined {
        #[n(0)]
        child: EntityId,
    },
    #[n(27)]
    ChildLeft {
        #[n(0)]
        child: EntityId,
    },
    #[n(28)]
    ChildAnswered {
        #[n(0)]
        child: EntityId,
        #[n(1)]
        word: ParentWord,
    },
    /// The desk is asked which ticket has the same key.
    #[n(30)]
    ParentSought {
        #[n(0)]
        due: Millis,
    },
    /// It has answered, or is not waited for any more.
    #[n(31)]
    Compared {
        /// The first ticket with the same key.
        #[n(0)]
        like: Option<EntityId>,
        /// Nobody is told of this one.
        #[n(1)]
        is_silent: bool,
    },
    /// How far an alert has come.
    #[n(32)]
    AlertReached {
        #[n(0)]
        technician: EntityId,
        #[n(1)]
        offer: OfferId,
        #[n(2)]
        reach: Reach,
    },
    /// What it runs under for its whole life.
    #[n(40)]
    TermsSet(#[n(0)] Terms),
    /// A step of its policy begins.
    #[n(41)]
    Escalated {
        #[n(0)]
        step: u8,
        /// How often the policy began again.
        #[n(1)]
        round: u32,
        #[n(2)]
        due: Millis,
        #[n(3)]
        at: Millis,
    },
    /// An operator answered: nobody is told until then.
    #[n(42)]
    Answered {
        #[n(0)]
        by: String,
        #[n(1)]
        until: Millis,
    },
    /// Nobody is sought, and so the policy does not run.
    #[n(43)]
    Rested,
    /// The clocks of its promises, after they were started or stopped.
    #[n(44)]
    Clocked {
        #[n(0)]
        respond: Option<Clock>,
        #[n(1)]
        finish: Option<Clock>,
    },
    /// A promise was not kept.
    #[n(45)]
    Broken {
        #[n(0)]
        promise: Promise,
        #[n(1)]
        at: Millis,
    },
    /// Nobody is sought for as long as the silence lasts.
    #[n(46)]
    Silenced(#[n(0)] Silence),
    /// Whether a silence applies still.
    #[n(47)]
    SilenceAsked {
        #[n(0)]
        due: Millis,
    },
    /// Others are asked beside the technician that it was offered to.
    #[n(49)]
    AlsoOffered {
        #[n(0)]
        invited: Vec<Invited>,
    },
    /// Another one of those who were asked is the one that it counts on.
    #[n(50)]
    Switched {
        #[n(0)]
        technician: EntityId,
        /// The position of its offer.
        #[n(1)]
        seq: u32,
    },
    /// Those who were asked beside are not needed any more.
    #[n(51)]
    OthersReleased {
        #[n(0)]
        invited: Vec<Invited>,
        #[n(1)]
        epoch: u32,
        /// They had all the time to answer, and did not.
        #[n(2)]
        were_asked: bool,
    },
    /// Its technician comes at another time than it said; the customer hears so.
    #[n(52)]
    EtaChanged {
        #[n(0)]
        eta_min: u16,
        #[n(1)]
        due: Millis,
    },
    /// Its timer was lost.
    #[n(48)]
    Rearmed {
        #[n(0)]
        due: Millis,
    },
}
