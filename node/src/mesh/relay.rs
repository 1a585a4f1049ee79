//! Streams by way of a third node, where two nodes do not reach each other and both reach that one.
//!
//! Networks often fail in part, and then a shard's leader and the node of a device may be on two sides
//! that a third node is on both of (Alfatafta et al., "Toward a Generic Fault Tolerance Technique for Partial
//! Network Partitioning", OSDI 2020). A relayed stream begins with `RELAY` towards the relay and with
//! `RELAYED` from there; a number of eight bytes and the class follow, the number of the target and that of
//! the origin. The relay answers with one byte once it has the way.
//!
//! **Invariants:** one node relays at most, by a connection of its own; all three are of one region, each of
//! which has the region's keys anyway. A relayed stream ends after a while, so that a direct way that is
//! there again is found. **Not here:** when a stream is relayed (`mesh`).

use std::{sync::Arc, time::Duration};

use quinn::{Connection, RecvStream, SendStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    CLASS_WITHIN, Class, Member, Mesh, Receiving, Sending,
    head::{RELAY, RELAYED, ROUTE_BYTES, begin, route},
    stream,
};

/// What the relay says when it has the way.
const OPENED: u8 = 1;
/// Two round trips within a region.
const OPENED_WITHIN: Duration = Duration::from_secs(1);
/// Long enough that looking for the direct way costs nothing, short enough that nobody minds the detour. A
/// snapshot is not broken off.
const LIFE: Duration = Duration::from_secs(60);
const PIECE: usize = 64 << 10;

/// Opens a stream to a node by way of a connection to another one.
async fn open(relay: &Connection, to: u64, class: Class) -> Option<(Sending, Receiving)> {
    let (mut send, mut receive) = relay.open_bi().await.ok()?;
    send.set_priority(class.priority()).ok()?;
    send.write_all(&begin(RELAY, to, class)).await.ok()?;
    let mut opened = [0];
    receive.read_exact(&mut opened).await.ok()?;
    (opened == [OPENED]).then_some((Sending(send), Receiving(receive)))
}

/// Whom the stream is for or from, and what it carries; none where it is malformed or late.
pub(super) async fn header(receive: &mut RecvStream) -> Option<(u64, Class)> {
    let mut bytes = [0; ROUTE_BYTES];
    timeout(CLASS_WITHIN, receive.read_exact(&mut bytes)).await.ok()?.ok()?;
    route(&bytes)
}

/// Carries a stream of one node on to another, by a connection to that one, until it ends.
async fn carry(
    from: u64,
    class: Class,
    onward: &Connection,
    mut send: SendStream,
    receive: RecvStream,
) {
    let opened = async {
        let (mut there, back) = onward.open_bi().await.ok()?;
        there.set_priority(class.priority()).ok()?;
        there.write_all(&begin(RELAYED, from, class)).await.ok()?;
        send.set_priority(class.priority()).ok()?;
        send.write_all(&[OPENED]).await.ok()?;
        Some((there, back))
    };
    let Some((there, back)) = opened.await else {
        drop(send.reset(stream::GIVEN_UP));
        return;
    };
    metrics::counter!("fieldmesh_mesh_relayed_total").increment(1);
    let until = (class != Class::Snapshot).then(|| Instant::now() + LIFE);
    tokio::join!(pipe(receive, there, until), pipe(back, send, until));
}

/// Carries bytes until either side ends, and says so to the other; or until it is time.
async fn pipe(mut from: RecvStream, mut to: SendStream, until: Option<Instant>) {
    let stopped = to.stopped();
    let over = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(stopped, over);
    loop {
        let read = tokio::select! {
            read = from.read_chunk(PIECE, true) => read,
            _ = &mut stopped => {
                drop(from.stop(stream::GIVEN_UP));
                return;
            }
            () = &mut over => {
                // Said, because a stream that is only dropped ends as if all had been sent.
                drop(from.stop(stream::GIVEN_UP));
                drop(to.reset(stream::GIVEN_UP));
                return;
            }
        };
        match read {
            Ok(Some(chunk)) => {
                if to.write_chunk(chunk.bytes).await.is_err() {
                    drop(from.stop(stream::GIVEN_UP));
                    return;
                }
            }
            Ok(None) => {
                drop(to.finish());
                return;
            }
            Err(_) => {
                drop(to.reset(stream::GIVEN_UP));
                return;
            }
        }
    }
}

impl Mesh {
    /// A stream by way of a neighbour of both; none where there is none.
    pub(super) async fn open_by_relay(
        self: &Arc<Self>,
        to: &Member,
        class: Class,
    ) -> Option<(Sending, Receiving)> {
        if to.identity.region() != self.options.region {
            return None;
        }
        for relay in self.neighbours().filter(|relay| relay.member.number != to.number) {
            let Ok(connection) = self.direct(&relay).await else { continue };
            let opened = open(&connection, to.number, class);
            if let Ok(Some(opened)) = timeout(OPENED_WITHIN, opened).await {
                return Some(opened);
            }
        }
        None
    }

    pub(super) fn are_neighbours(&self, nodes: &[u64]) -> bool {
        nodes.iter().all(|node| self.neighbour(*node).is_some())
    }

    /// Whether a stream of a neighbour is taken from another one: not of one that this node refuses.
    pub(super) fn takes_relayed(&self, from: u64, origin: u64) -> bool {
        let is_refused = self.peer(origin).is_some_and(|peer| peer.is_refused());
        !is_refused && self.are_neighbours(&[from, origin])
    }

    /// Carries a neighbour's stream on to another one.
    pub(super) async fn relay(
        self: &Arc<Self>,
        from: u64,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        let onward = async {
            let (to, class) = header(&mut receive).await?;
            let to = self.neighbour(to).filter(|_| self.are_neighbours(&[from]))?;
            Some((self.direct(&to).await.ok()?, class))
        };
        match onward.await {
            Some((onward, class)) => carry(from, class, &onward, send, receive).await,
            None => {
                drop(send.reset(stream::MALFORMED));
                drop(receive.stop(stream::MALFORMED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of two releases are in one cluster while it is upgraded.
    #[test]
    fn what_a_relay_says_is_frozen() {
        assert_eq!((ROUTE_BYTES, OPENED), (9, 1));
    }
}
