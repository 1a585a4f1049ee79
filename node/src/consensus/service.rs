//! Answers what other members of this node's groups ask.
//!
//! **Invariants:** a malformed frame ends its stream and nothing else; what is asked of a group that
//! does not run here is answered as absent. **Not here:** asking (`network`).

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use fieldmesh_actors::seams::Pending;
use futures_util::StreamExt;
use openraft::{
    Snapshot,
    raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError},
};
use tokio::sync::Mutex;

use super::{
    Raft, Runtime, Types, install, transfer,
    wire::{self, Answer, Request},
};
use crate::{
    mesh::{Class, Receiving, Sending, Serve},
    store::{Engine, Role, keys::GroupId},
};

/// The groups of a node, as its peers reach them.
pub struct Members {
    groups: RwLock<BTreeMap<GroupId, Member>>,
    /// Where snapshots arrive.
    engine: Arc<dyn Engine>,
    /// openraft draws random numbers also where it answers.
    seed: u64,
}

#[derive(Clone)]
struct Member {
    raft: Raft,
    /// One snapshot arrives at a time.
    arriving: Arc<Mutex<()>>,
}

impl Members {
    pub fn new(engine: Arc<dyn Engine>, seed: u64) -> Arc<Self> {
        Arc::new(Self { groups: RwLock::default(), engine, seed })
    }

    pub(super) fn add(&self, group: GroupId, raft: Raft) {
        let member = Member { raft, arriving: Arc::default() };
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(group, member);
    }

    fn get(&self, group: GroupId) -> Option<Member> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }
}

/// Why a stream was ended.
type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Serve for Members {
    fn serve(
        self: Arc<Self>,
        from: u64,
        class: Class,
        mut send: Sending,
        mut receive: Receiving,
    ) -> Pending<()> {
        Box::pin(Runtime::scope(self.seed, async move {
            let served = match class {
                Class::Consensus => self.answer(&mut send, &mut receive).await,
                Class::Replication => self.follow(&mut send, receive).await,
                Class::Snapshot => self.install(&mut send, &mut receive).await,
                Class::Application => Err("nothing answers this yet".into()),
            };
            if let Err(error) = served {
                metrics::counter!("fieldmesh_mesh_faults_total").increment(1);
                tracing::debug!(from, ?class, error, "a stream of a node was ended");
                send.refuse();
            }
        }))
    }
}

impl Members {
    /// The group that the first frame is for, with the rest of that frame.
    async fn addressee(
        &self,
        receive: &mut Receiving,
        max: usize,
    ) -> Result<(GroupId, Option<Member>, Vec<u8>), Fault> {
        let first = receive.frame(max).await?.ok_or("the stream was empty")?;
        let (group, rest) = wire::addressee(&first).ok_or("no group is named")?;
        Ok((group, self.get(group), rest.to_vec()))
    }

    async fn answer(&self, send: &mut Sending, receive: &mut Receiving) -> Result<(), Fault> {
        let (_, member, bytes) = self.addressee(receive, wire::APPEND_BYTES_MAX).await?;
        let request = Request::decode(&bytes)?;
        let answer = match member {
            None => Answer::Absent,
            Some(Member { raft, .. }) => match request {
                Request::Append(append) => Answer::Append(raft.append_entries(append).await?),
                Request::Vote(vote) => Answer::Vote(raft.vote(vote).await?),
                Request::PreVote(vote) => Answer::Vote(raft.pre_vote(vote).await?),
                Request::Transfer(transfer) => {
                    Answer::Transfer(raft.handle_transfer_leader(transfer).await?)
                }
            },
        };
        send.frame(&answer.encode()).await?;
        send.finish();
        Ok(())
    }

    async fn follow(&self, send: &mut Sending, mut receive: Receiving) -> Result<(), Fault> {
        let (_, member, _) = self.addressee(&mut receive, wire::ANSWER_BYTES_MAX).await?;
        let Some(Member { raft, .. }) = member else {
            send.frame(&Answer::Absent.encode()).await?;
            send.finish();
            return Ok(());
        };
        let requests =
            futures_util::stream::unfold(receive, async |mut receive| {
                match next_append(&mut receive).await {
                    Ok(request) => request.map(|request| (request, receive)),
                    Err(error) => {
                        metrics::counter!("fieldmesh_mesh_faults_total").increment(1);
                        tracing::debug!(error, "a stream of entries was ended");
                        None
                    }
                }
            });
        let mut answers = Box::pin(raft.stream_append(requests));
        while let Some(answer) = answers.next().await {
            let answer: AppendEntriesResponse<Types> = match answer? {
                Ok(_) => AppendEntriesResponse::Success,
                Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
                Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
            };
            send.frame(&Answer::Append(answer).encode()).await?;
        }
        send.finish();
        Ok(())
    }

    async fn install(&self, send: &mut Sending, receive: &mut Receiving) -> Result<(), Fault> {
        let (group, member, head) = self.addressee(receive, wire::ANSWER_BYTES_MAX).await?;
        let (vote, meta) = transfer::head(&head)?;
        let Some(Member { raft, arriving }) = member else {
            send.frame(&Answer::Absent.encode()).await?;
            send.finish();
            return Ok(());
        };
        let alone = arriving.lock().await;
        let name = install::arriving_table(group);
        self.engine.discard(&name)?;
        let table = self.engine.open(&name, Role::State)?;
        transfer::receive(receive, &*table).await?;
        table.sync().await?;
        let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot: table }).await;
        drop(alone);
        send.frame(&Answer::Installed(installed?.vote).encode()).await?;
        send.finish();
        Ok(())
    }
}

async fn next_append(
    receive: &mut Receiving,
) -> Result<Option<AppendEntriesRequest<Types>>, Fault> {
    let Some(bytes) = receive.frame(wire::APPEND_BYTES_MAX).await? else { return Ok(None) };
    match Request::decode(&bytes)? {
        Request::Append(append) => Ok(Some(append)),
        _ => Err("a stream of entries carries something else".into()),
    }
}
