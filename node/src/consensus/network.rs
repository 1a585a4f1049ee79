//! Raft's way to its peers.
//!
//! A one-node cluster has no peers: every call says so, and openraft backs off. The mesh takes this
//! place for clusters of several nodes.

use std::io;

use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot,
    alias::CommittedLeaderIdOf,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    impls::EmptyNode,
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use std::sync::Arc;

use super::{Types, Vote};
use crate::store::Table;

/// Makes clients for peers, of which there are none.
#[derive(Debug, Clone, Copy)]
pub struct NoPeers;

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &EmptyNode) -> Self {
        *self
    }
}

fn unreachable_peer() -> Unreachable<Types> {
    Unreachable::new(&io::Error::new(io::ErrorKind::NotConnected, "this cluster has one node"))
}

impl RaftNetworkV2<Types> for NoPeers {
    type SnapshotData = Arc<dyn Table>;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(unreachable_peer().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(unreachable_peer().into())
    }

    async fn pre_vote(
        &mut self,
        _rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(unreachable_peer().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<CommittedLeaderIdOf<Types>, u64, EmptyNode, Arc<dyn Table>>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(unreachable_peer().into())
    }
}
