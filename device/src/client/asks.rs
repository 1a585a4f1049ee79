//! What is asked on a connection: messages, acknowledgements, signs of life; each on its own stream.
//!
//! **Invariant:** what is asked ends with these. **Not here:** what the answers mean.

use std::time::Duration;

use minicbor::bytes::ByteArray;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    session::framed,
    transport::{self, Connection, TransportError},
    wire::{self, Ack, Reply},
};

/// Acknowledgements go together: far sooner than the service sends again, and at half of what it
/// sends without one.
const ACK_AFTER: Duration = Duration::from_millis(100);
const ACK_IDS: usize = 32;
/// A client that ends waits this long for its last acknowledgement.
const FAREWELL: Duration = Duration::from_millis(500);

/// An answer, and to which message; acknowledgements have the number zero.
pub(super) type Answered = ([u8; 16], Result<Reply, TransportError>);

pub(super) struct Asks {
    connection: Connection,
    under_way: JoinSet<Answered>,
    /// Messages received and not yet acknowledged.
    acknowledge: Vec<[u8; 16]>,
    /// When the oldest of them is to be acknowledged.
    due: Option<Instant>,
}

impl Asks {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            under_way: JoinSet::new(),
            acknowledge: Vec::new(),
            due: None,
        }
    }

    pub(super) fn ask(&mut self, id: [u8; 16], bytes: Vec<u8>) {
        let connection = self.connection.clone();
        self.under_way.spawn(async move { (id, transport::ask(&connection, &bytes).await) });
    }

    /// Whether the other end owes an answer.
    pub(super) fn are_open(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The next answer; none where there is nothing to wait for.
    pub(super) async fn answered(&mut self) -> Option<Answered> {
        self.under_way.join_next().await?.ok()
    }

    /// Acknowledges a message soon, with others.
    pub(super) fn acknowledge(&mut self, id: [u8; 16]) {
        self.acknowledge.push(id);
        self.due.get_or_insert_with(|| Instant::now() + ACK_AFTER);
        if self.acknowledge.len() >= ACK_IDS {
            self.send();
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Acknowledges what is due by then.
    pub(super) fn send_due(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.send();
        }
    }

    /// Asks for a sign of life: acknowledges nothing, which any service answers.
    pub(super) fn probe(&mut self) {
        self.send_ack(Vec::new());
    }

    /// Sends what is not yet acknowledged, and waits for the last answers a little: what was received
    /// need not come again, if the service hears of it.
    pub(super) async fn finish(mut self) {
        self.send();
        drop(timeout(FAREWELL, self.under_way.join_all()).await);
    }

    /// The answer says nothing: what was not taken comes again.
    fn send(&mut self) {
        self.due = None;
        let ids = std::mem::take(&mut self.acknowledge);
        if !ids.is_empty() {
            self.send_ack(ids);
        }
    }

    fn send_ack(&mut self, ids: Vec<[u8; 16]>) {
        let message_ids = ids.into_iter().map(ByteArray::from).collect();
        if let Ok(payload) = minicbor::to_vec(Ack { message_ids }) {
            self.ask([0; 16], framed([0; 16], [0; 16], wire::ACK, &payload));
        }
    }
}
