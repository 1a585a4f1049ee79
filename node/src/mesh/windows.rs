//! How much may be under way on a connection between two nodes, and is buffered for it at most.
//!
//! What was written to a stream and is not read yet counts against two windows of whoever is to read it: the stream's,
//! and the connection's, which all its streams share (RFC 9000 §4.1). quinn counts it from when it is written, so that
//! a slow line fills both as a reader that stands still does. Whoever writes then waits, whatever goes first on the
//! line: where the connection's window is full of snapshots that nobody reads, a vote is not even written.
//!
//! **Invariant:** the streams of a node that keeps to the protocol fit the connection's window together, those with
//! much to say with their whole windows, so that none waits because another one is not read. One that does not keep to
//! it has no more than that window unread here, besides the frames that are being read, and stands in its own way
//! alone. **Not here:** what is sent first (`head`), how many ask at a time (`courier`).

use std::time::Duration;

use fieldmesh_domain::placement::SHARDS_MAX;
use quinn::{IdleTimeout, TransportConfig, VarInt};

/// Streams that one peer may have open: groups, and requests under way.
const STREAMS_MAX: u32 = 1024;
/// What may be under way on one stream: 20 MB/s where a round trip takes 200 ms, as between regions, 2 GB/s within one.
/// A line of 1 Gbit/s has room for 25 MB there, which the snapshots or logs of six groups fill; one alone does not,
/// and the disk that it goes to would not take it faster for long. Every byte more is more that a peer may have
/// buffered, for each group.
const STREAM_WINDOW: u32 = 4 << 20;
/// Groups that two nodes of a region can share: its shards, its authority and the placement group. Of each, one stream
/// has much to say at a time, because openraft sends a member either entries or a snapshot.
const GROUPS_MAX: u32 = SHARDS_MAX + 2;
/// What any other stream has under way: a question with a device's envelope, an answer, a heartbeat, a vote, a hello.
/// There are larger questions, an operator's document for one, but not on all streams at a time; notices are always
/// read.
const OTHER_BYTES: u32 = 68 << 10;
/// What may be under way on a connection: 328 MiB, of which little is ever used. Relayed streams have their place in it
/// too: where the groups of a third node come by way of this one, and all stand still, there is less for each.
const RECEIVE_WINDOW: u32 = GROUPS_MAX * STREAM_WINDOW + (STREAMS_MAX - GROUPS_MAX) * OTHER_BYTES;
/// A peer that is silent for so long is gone; one that lives says so several times meanwhile.
const IDLE: Duration = Duration::from_secs(3);
pub(super) const KEEP_ALIVE: Duration = Duration::from_millis(700);

/// Of both ends of a connection.
pub(super) fn limits() -> TransportConfig {
    let mut limits = TransportConfig::default();
    limits
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        // Also where a peer says that it has room for more.
        .send_window(u64::from(RECEIVE_WINDOW))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))));
    limits
}

#[cfg(test)]
mod tests {
    use fieldmesh_envelope::ENVELOPE_BYTES_MAX;

    use super::*;
    use crate::{consensus::wire::ANSWER_BYTES_MAX, mesh::head::HELLO_BYTES_MAX};

    /// What is under way where so many groups' streams stand still, and all other streams have said what they have to.
    fn under_way(groups: u32) -> u64 {
        let others = STREAMS_MAX - groups;
        u64::from(groups) * u64::from(STREAM_WINDOW) + u64::from(others) * u64::from(OTHER_BYTES)
    }

    #[test]
    fn streams_that_nobody_reads_leave_room_for_all_others() {
        for groups in 0..=GROUPS_MAX {
            assert!(under_way(groups) <= u64::from(RECEIVE_WINDOW), "{groups} groups");
        }
        // One more would not fit: the window is no larger than it need be.
        assert!(under_way(GROUPS_MAX + 1) > u64::from(RECEIVE_WINDOW));
    }

    #[test]
    fn what_other_streams_say_fits() {
        // An envelope with the question around it.
        for bytes in [ENVELOPE_BYTES_MAX + (1 << 10), ANSWER_BYTES_MAX, HELLO_BYTES_MAX] {
            assert!(bytes <= OTHER_BYTES as usize, "{bytes} bytes");
        }
    }

    /// As far as windows go: 1 Gbit/s with a round trip of 200 ms, by the streams of a few groups.
    #[test]
    fn a_line_between_regions_is_filled() {
        let line_bytes = 125_000_000_u64 * 200 / 1000;
        let streams = line_bytes.div_ceil(u64::from(STREAM_WINDOW));
        assert_eq!(streams, 6);
        assert!(streams * u64::from(STREAM_WINDOW) <= u64::from(RECEIVE_WINDOW));
    }
}
