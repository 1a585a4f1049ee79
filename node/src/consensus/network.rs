//! Raft's way to its peers, over the mesh.
//!
//! Entries go over a stream of their own, one request after the other without waiting for answers, which
//! come back in the same order; heartbeats go over one that is kept for them; all else is a stream for each
//! question. A cluster of one node has no mesh: each call says so, and openraft backs off.
//!
//! **Invariants:** a peer that cannot be reached is an error, never a silent grant; every error is one after
//! which openraft backs off, because what it takes for a mishap of the network it repeats at once; a
//! question, a request of entries and each piece of a snapshot wait no longer than their deadlines.
//! **Not here:** answering ([`service`](super::service)), connections
//! (`mesh`).

use std::{future::Future, io, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot,
    alias::CommittedLeaderIdOf,
    async_runtime::AsyncRuntime as _,
    base::{BoxFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    impls::EmptyNode,
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
        StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    LogId, Runtime, Types, Vote,
    log_store::LogStore,
    packed,
    search::{self, Search},
    transfer::{self, TransferError},
    wire::{self, Answer, Request},
};
use crate::{
    mesh::{Class, Mesh, Receiving, Sending},
    store::{Table, keys::GroupId},
};

/// Requests sent and not yet answered on a stream of entries.
const PIPELINE: usize = 64;
/// A follower that does not answer a request within this time is asked anew, on another stream. Its death
/// is noticed by the mesh long before; this is for a disk that stalls, which gets no faster by having
/// all that is under way sent again.
const APPENDED_WITHIN: Duration = Duration::from_secs(15);
/// Until a snapshot that was sent whole is installed.
const INSTALLED_WITHIN: Duration = Duration::from_secs(120);

/// Makes clients for the other members of a group.
#[derive(Clone)]
pub struct Peers {
    pub mesh: Option<Arc<Mesh>>,
    pub group: GroupId,
    /// What the group has here.
    pub log: LogStore,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Client;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Client {
        self.client(target, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &EmptyNode) -> Client {
        self.client(target, true)
    }
}

impl Peers {
    fn client(&self, target: u64, beats: bool) -> Client {
        let search = Search::new(self.log.clone());
        Client { peers: self.clone(), target, beats, kept: None, search }
    }
}

/// Speaks to one member about one group.
pub struct Client {
    peers: Peers,
    target: u64,
    /// It is for heartbeats.
    beats: bool,
    /// The stream of the last heartbeat, where that was answered.
    kept: Option<(Sending, Receiving)>,
    /// How far the member is, as long as whoever leads does not know it.
    search: Search,
}

fn unreachable_peer(why: &dyn std::fmt::Display) -> Unreachable<Types> {
    Unreachable::new(&io::Error::new(io::ErrorKind::NotConnected, why.to_string()))
}

/// An answer to another question.
fn misplaced(answer: &Answer) -> Unreachable<Types> {
    match answer {
        Answer::Absent => unreachable_peer(&"the group does not run there"),
        _ => unreachable_peer(&"the answer is to another question"),
    }
}

impl Client {
    async fn open(&self, class: Class) -> Result<(Sending, Receiving), Unreachable<Types>> {
        let mesh = self.peers.mesh.as_ref();
        let mesh = mesh.ok_or_else(|| unreachable_peer(&"this cluster has one node"))?;
        mesh.open(self.target, class).await.map_err(|error| unreachable_peer(&error))
    }

    /// Whether frames on a stream that was opened a moment ago are packed.
    fn packs(&self) -> bool {
        let mesh = self.peers.mesh.as_ref();
        mesh.is_some_and(|mesh| mesh.packs(self.target))
    }

    /// A stream for requests of entries.
    async fn open_for_entries(&self) -> Result<(Sending, Receiving), Unreachable<Types>> {
        let (mut send, receive) = self.open(Class::Replication).await?;
        let group = wire::addressed(self.peers.group, &[]);
        send.frame(&group).await.map_err(|error| unreachable_peer(&error))?;
        Ok((send, receive))
    }

    /// One heartbeat. Whoever gives up waiting for its answer gives up its stream.
    async fn beat(
        &mut self,
        request: AppendEntriesRequest<Types>,
    ) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        let span = span(&request);
        let question = Request::Append(request).encode();
        let asked = match self.kept.take() {
            // It may be of a connection that has ended.
            Some(stream) => question_on(stream, &question).await.ok(),
            None => None,
        };
        let (stream, answer) = match asked {
            Some(asked) => asked,
            None => question_on(self.open_for_entries().await?, &question).await?,
        };
        let result = appended(answer, span)?;
        if result.is_ok() {
            self.kept = Some(stream);
        }
        Ok(result)
    }

    /// How far the member is, where that need not be searched: what to answer the first request of a stream, as far
    /// as it must not be sent. What keeps the member from answering is told by what is sent then.
    async fn known(&mut self, first: &AppendEntriesRequest<Types>) -> Option<LogId> {
        for id in self.search.questions(first) {
            let question = Request::Append(search::question(first, id)).encode();
            // A stream ends with what does not fit.
            let stream = self.open_for_entries().await.ok()?;
            self.search.asks();
            let answer = question_on(stream, &question).await.ok()?.1;
            match answer {
                Answer::Append(AppendEntriesResponse::Success) => {
                    let known = self.search.found(id, first);
                    return known.or_else(|| self.search.answer(first));
                }
                Answer::Append(AppendEntriesResponse::Conflict) => {}
                _ => return None,
            }
        }
        self.search.found_nothing();
        self.search.answer(first)
    }

    /// One question, one answer.
    async fn ask(&self, request: Request, option: &RPCOption) -> Result<Answer, RPCError<Types>> {
        let asked = async {
            let (mut send, mut receive) = self.open(Class::Consensus).await?;
            let question = wire::addressed(self.peers.group, &request.encode());
            send.frame(&question).await.map_err(|error| unreachable_peer(&error))?;
            send.finish();
            Ok(answer(&mut receive).await?)
        };
        let late = |_| unreachable_peer(&"no answer in time");
        timeout(option.soft_ttl(), asked).await.map_err(late)?
    }
}

async fn answer(receive: &mut Receiving) -> Result<Answer, Unreachable<Types>> {
    let bytes =
        receive.frame(wire::ANSWER_BYTES_MAX).await.map_err(|error| unreachable_peer(&error))?;
    let bytes = bytes.ok_or_else(|| unreachable_peer(&"the stream ended without an answer"))?;
    Answer::decode(&bytes).map_err(|error| unreachable_peer(&error))
}

/// One question on a stream for many.
async fn question_on(
    (mut send, mut receive): (Sending, Receiving),
    question: &[u8],
) -> Result<((Sending, Receiving), Answer), Unreachable<Types>> {
    send.frame(question).await.map_err(|error| unreachable_peer(&error))?;
    let answer = answer(&mut receive).await?;
    Ok(((send, receive), answer))
}

/// Where a request begins and ends in the log.
type Span = (Option<LogId>, Option<LogId>);

fn span(request: &AppendEntriesRequest<Types>) -> Span {
    let last = request.entries.last().map(|entry| entry.log_id);
    (request.prev_log_id, last.or(request.prev_log_id))
}

/// Sends requests for as long as somebody waits for their answers.
async fn send_all<S>(input: S, mut send: Sending, packs: bool, tell: mpsc::Sender<Span>)
where
    S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
{
    let (waited_for, sent) = (tell.clone(), send_each(input, &mut send, packs, tell));
    let is_whole = tokio::select! {
        biased;
        // Also where a follower takes nothing: what was not sent yet goes with the stream.
        () = waited_for.closed() => false,
        is_whole = sent => is_whole,
    };
    if is_whole {
        send.finish();
    } else {
        send.give_up();
    }
}

/// Sends requests until there are no more; false where the stream fails before.
async fn send_each<S>(
    mut input: S,
    send: &mut Sending,
    packs: bool,
    tell: mpsc::Sender<Span>,
) -> bool
where
    S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
{
    while let Some(request) = input.next().await {
        if tell.send(span(&request)).await.is_err() {
            return false;
        }
        let mut frame = Request::Append(request).encode();
        if packs {
            frame = packed::pack(frame);
        }
        if let Err(error) = send.frame(&frame).await {
            tracing::debug!(%error, "a stream of entries ended");
            return false;
        }
    }
    true
}

/// What a follower says to one request of a stream.
fn appended(answer: Answer, span: Span) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
    match answer {
        // Nothing before the first entry can conflict.
        Answer::Append(AppendEntriesResponse::Conflict) if span.0.is_none() => {
            Err(unreachable_peer(&"the follower refuses the beginning of the log").into())
        }
        Answer::Append(response) => Ok(response.into_stream_result(span.0, span.1)),
        other => Err(misplaced(&other).into()),
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Arc<dyn Table>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.ask(Request::Append(rpc), &option).await? {
            Answer::Append(response) => Ok(response),
            other => Err(misplaced(&other).into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // openraft waits after an error within the first request, and nowhere else: who opens before
            // asking for it is called again at once, for as long as the peer is away.
            let Some(first) = input.next().await else {
                let nothing: BoxStream<'s, _> = Box::pin(stream::empty());
                return Ok(nothing);
            };
            if self.beats {
                // openraft bounds how long it waits for one.
                let answered: BoxStream<'s, _> = Box::pin(stream::iter([self.beat(first).await]));
                return Ok(answered);
            }
            let known = timeout(option.soft_ttl(), self.known(&first)).await;
            if let Some(known) = known.unwrap_or_default() {
                let answered: BoxStream<'s, _> = Box::pin(stream::iter([Ok(Ok(Some(known)))]));
                return Ok(answered);
            }
            let input = stream::iter([first]).chain(input);
            let late = |_| unreachable_peer(&"no connection in time");
            let opened = timeout(option.soft_ttl(), self.open_for_entries());
            let (send, receive) = opened.await.map_err(late)??;
            let (tell, sent) = mpsc::channel(PIPELINE);
            drop(Runtime::spawn(send_all(input, send, self.packs(), tell)));
            let begun = Some((sent, receive, &mut self.search));
            let answers = stream::unfold(begun, async |state| {
                let (mut sent, mut receive, search) = state?;
                let span = sent.recv().await?;
                let read = timeout(APPENDED_WITHIN, answer(&mut receive)).await;
                let answered = match read {
                    Ok(read) => read.map_err(RPCError::from),
                    Err(_) => Err(unreachable_peer(&"no answer in time").into()),
                };
                let result = answered.and_then(|answer| appended(answer, span));
                if matches!(&result, Ok(Err(StreamAppendError::Conflict(_)))) {
                    search.conflicts();
                }
                let goes_on = matches!(&result, Ok(Ok(until)) if *until == span.1);
                Some((result, goes_on.then_some((sent, receive, search))))
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(Request::Vote(rpc), &option).await? {
            Answer::Vote(response) => Ok(response),
            other => Err(misplaced(&other).into()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(Request::PreVote(rpc), &option).await? {
            Answer::Vote(response) => Ok(response),
            other => Err(misplaced(&other).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderIdOf<Types>, u64, EmptyNode, Arc<dyn Table>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sent = async {
            let (send, mut receive) = self.open(Class::Snapshot).await?;
            let group = self.peers.group;
            let sent = transfer::send(send, group, &vote, &snapshot, self.packs()).await;
            sent.map_err(|error| match error {
                TransferError::Store(error) => unreachable_peer(&error),
                error => unreachable_peer(&error),
            })?;
            let installed = timeout(INSTALLED_WITHIN, answer(&mut receive)).await;
            let late = |_| unreachable_peer(&"the snapshot was not installed in time");
            match installed.map_err(late)?? {
                Answer::Installed(vote) => Ok(SnapshotResponse::new(vote)),
                _ => Err(StreamingError::from(unreachable_peer(&"the snapshot was refused"))),
            }
        };
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sent => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.ask(Request::Transfer(request), &option).await? {
            Answer::Transfer(response) => Ok(response),
            other => Err(misplaced(&other).into()),
        }
    }
}
