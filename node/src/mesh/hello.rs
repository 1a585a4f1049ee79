//! What two nodes say to each other first on a connection, and again while it lives: their starts, how far their
//! logs are, and what they read that older releases do not.
//!
//! The stream begins with `HELLO`; a frame from whoever opened it and one back are all there is. An older release ends
//! such a stream unread. **Invariants:** nothing else is sent on a connection before both have judged each other; who
//! says nothing of its starts is not judged. **Not here:** what is judged (`crate::starts`).

use std::{convert::Infallible, sync::Arc, time::Duration};

use fieldmesh_device::wire::close;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Admitted, CLASS_WITHIN, Class, Mesh, Receiving, Sending, SentAway,
    head::{HELLO, HELLO_BYTES_MAX},
};
use crate::{
    starts::{Hello, Memory},
    store::rows,
};

/// The other side may first have to find out that this node is not elsewhere, which takes two seconds ([`super::twin`]).
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// A node that is to end waits no longer for others to hear of it.
const PARTED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is said again, where the log has grown: what a node promised within its last second is all that an
/// older directory of it could have forgotten unseen.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

impl Mesh {
    /// The connection to whoever was dialed, once both have judged each other: before anything else is said on it, by
    /// whoever it is handed to.
    ///
    /// # Errors
    /// Where the greeting failed: the connection has ended.
    pub(super) async fn greeted(
        self: Arc<Self>,
        admitted: Admitted,
        connection: Connection,
    ) -> Result<Connection, String> {
        let (number, ends, mesh) = (admitted.number, connection.clone(), Arc::clone(&self));
        tokio::spawn(async move {
            tokio::select! {
                () = admitted.until_expired(&*mesh.options.clock, &ends) => {}
                never = mesh.keep_greeting(number, &ends) => match never {},
            }
            mesh.heed(number, &ends).await;
        });
        let greeted = self.greet(number, &connection).await;
        if greeted.is_err() {
            // Both tasks learn at once that the peer ended it, and a close of this side would hide why.
            self.heed(number, &connection).await;
            if connection.close_reason().is_none() {
                connection.close(close::SHUTTING_DOWN.into(), b"not greeted");
            }
        }
        greeted.map(|()| connection)
    }

    /// Tells whoever was dialed of this node's starts, and hears of its.
    ///
    /// # Errors
    /// Where one of both finds the other's directory older, or nothing is answered at all.
    pub(super) async fn greet(&self, number: u64, connection: &Connection) -> Result<(), String> {
        let Some(memory) = self.memory.get() else { return Ok(()) };
        let answer = timeout(ANSWERED_WITHIN, exchange(memory, connection)).await;
        let answer = answer.map_err(|_| "no answer to the hello in time".to_owned())?;
        let answer = answer.map_err(|error| error.to_string())?;
        let peer = self.peer(number);
        if let Some(peer) = &peer {
            // An older release was started in its place, where it does not say any more.
            peer.set_reads(answer.as_ref().and_then(|hello| hello.reads).unwrap_or(0));
        }
        match answer {
            Some(hello) => {
                // It answers whom it does not refuse.
                if let Some(peer) = peer {
                    peer.set_finds_older(false);
                }
                self.hear(memory, number, &hello, connection).await
            }
            None => Ok(()),
        }
    }

    /// Tells it again whenever the log has grown.
    pub(super) async fn keep_greeting(&self, number: u64, connection: &Connection) -> Infallible {
        let Some(memory) = self.memory.get() else { return std::future::pending().await };
        let mut told = memory.rounds();
        loop {
            sleep(AGAIN_EVERY).await;
            let rounds = memory.rounds();
            if rounds > told && self.greet(number, connection).await.is_ok() {
                told = rounds;
            }
        }
    }

    /// Hears of the starts of whoever dialed, and tells of this node's.
    pub(super) async fn answer(
        &self,
        from: u64,
        connection: &Connection,
        send: SendStream,
        receive: RecvStream,
    ) {
        // A stream that is dropped ends without an answer.
        let Some(memory) = self.memory.get() else { return };
        drop(send.set_priority(Class::Consensus.priority()));
        let (mut send, mut receive) = (Sending(send), Receiving(receive));
        let read = timeout(CLASS_WITHIN, receive.frame(HELLO_BYTES_MAX)).await;
        let Ok(Ok(Some(bytes))) = read else { return };
        let Ok(hello) = rows::whole(&bytes) else { return };
        if self.hear(memory, from, &hello, connection).await.is_ok() {
            drop(send.frame(&rows::encode(&memory.hello())).await);
            send.finish();
        }
    }

    /// Takes in what a node says of itself; ends the connection where its directory is older than what is known of it.
    /// Nor is anything taken from it or sent to it by way of others then, until it says what is not refused.
    async fn hear(
        &self,
        memory: &Memory,
        number: u64,
        hello: &Hello,
        connection: &Connection,
    ) -> Result<(), String> {
        let heard = memory.hear(number, hello).await;
        if let Some(peer) = self.peer(number) {
            peer.set_refused(heard.is_err());
        }
        if let Err(why) = &heard {
            metrics::counter!("fieldmesh_mesh_refused_total").increment(1);
            tracing::warn!(number, %why, "a node was refused");
            connection.close(close::OLDER.into(), why.as_bytes());
        }
        heard
    }

    /// Tells all others that this node's start is not to be remembered, because one of them knows better; as far as
    /// they are reached soon.
    pub async fn part(self: &Arc<Self>) {
        let is_older = matches!(self.is_sent_away(), Some(SentAway::Older(_)));
        let is_to_forget = |memory: &&Arc<Memory>| is_older && !memory.is_taken_in();
        let Some(memory) = self.memory.get().filter(is_to_forget) else { return };
        let farewell = async {
            let mut told = JoinSet::new();
            for peer in self.all() {
                let mesh = Arc::clone(self);
                told.spawn(async move {
                    match peer.up() {
                        Some(connection) => drop(mesh.greet(peer.member.number, &connection).await),
                        // By dialing it is told.
                        None => drop(mesh.direct(&peer).await),
                    }
                });
            }
            tokio::join!(told.join_all(), memory.refused());
        };
        if timeout(PARTED_WITHIN, farewell).await.is_err() {
            tracing::warn!("not every node was told that this start is not to be remembered");
        }
    }
}

/// What the other end answers; none where it does not know how.
///
/// # Errors
/// Where the connection has ended meanwhile.
async fn exchange(
    memory: &Memory,
    connection: &Connection,
) -> Result<Option<Hello>, ConnectionError> {
    let (mut send, receive) = connection.open_bi().await?;
    // Others wait until it was said.
    drop(send.set_priority(Class::Consensus.priority()));
    // Whoever does not read it says so by what is read here.
    drop(send.write_all(&[HELLO]).await);
    let (mut send, mut receive) = (Sending(send), Receiving(receive));
    drop(send.frame(&rows::encode(&memory.hello())).await);
    send.finish();
    let answer = receive.frame(HELLO_BYTES_MAX).await;
    match connection.close_reason() {
        Some(ended) => Err(ended),
        None => Ok(answer.ok().flatten().and_then(|bytes| rows::whole(&bytes).ok())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of two releases are in one cluster while it is upgraded.
    #[test]
    fn the_byte_that_a_hello_begins_with_is_frozen() {
        assert_eq!((HELLO, Class::of(HELLO)), (7, None));
        assert_eq!(close::OLDER, 0x107);
    }
}
