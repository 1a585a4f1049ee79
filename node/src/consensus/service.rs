//! Answers what other members of this node's groups ask.
//!
//! **Invariants:** a malformed frame ends its stream and nothing else; what is asked of a group that
//! does not run here is answered as absent; members speak in their own name; nothing waits for whoever
//! has given up asking; where a snapshot arrives is touched by one at a time. **Not here:** asking
//! (`network`).

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use super::{
    LogId, Raft, Runtime, Types, install, packed,
    quiet::{self, Quiet},
    rest::Rest,
    runtime::Beat,
    transfer,
    wire::{self, Answer, Request},
};
use crate::{
    mesh::{Class, Receiving, Sending, Serve},
    store::{Engine, Role, StoreError, Table, health::Health, keys::GroupId},
};
use fieldmesh_actors::seams::Pending;
use futures_util::{StreamExt, stream};
use openraft::{
    Snapshot,
    raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError},
};
use openraft_rt::Instant as _;
use openraft_rt_tokio::TokioInstant;
use tokio::{sync::watch, time::Instant};

/// The groups of a node, as its peers reach them.
pub struct Members {
    groups: RwLock<BTreeMap<GroupId, Served>>,
    /// Where snapshots arrive.
    engine: Arc<dyn Engine>,
    /// The tables that snapshots arrived in, for as long as somebody fills or reads them: that may be
    /// a group that was stopped meanwhile.
    arriving: Mutex<BTreeMap<GroupId, Weak<dyn Table>>>,
    /// openraft draws random numbers also where it answers.
    seed: u64,
    /// From when on the groups' ticks are counted.
    since: TokioInstant,
}

/// A group, and how the disk below does.
#[derive(Clone)]
struct Served {
    raft: Raft,
    health: watch::Receiver<Health>,
    /// Who has less is voted for by nobody who had more (`left`).
    floor: Option<LogId>,
    /// When a leader was heard last.
    heard: Arc<Mutex<Option<Instant>>>,
    rest: Arc<Rest>,
}

impl Served {
    fn has_room(&self) -> bool {
        *self.health.borrow() != Health::Full
    }

    fn may_lead(&self) -> bool {
        *self.health.borrow() == Health::Well
    }

    /// Its leader says something of it.
    fn hears(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Members {
    pub fn new(engine: Arc<dyn Engine>, seed: u64) -> Arc<Self> {
        let (groups, arriving) = (RwLock::default(), Mutex::default());
        Arc::new(Self { groups, engine, arriving, seed, since: TokioInstant::now() })
    }

    /// When groups with heartbeats so far apart tick.
    pub(super) fn beat(&self, heartbeat: Duration) -> Beat {
        // openraft sends one at the first tick that comes no sooner after the last one: with a little more
        // than half the time, that is the second, also where the last one was late by some milliseconds.
        Beat { since: self.since, every: heartbeat / 2 + heartbeat / 32 }
    }

    pub(super) fn add(
        &self,
        group: GroupId,
        raft: &Raft,
        health: watch::Receiver<Health>,
        floor: Option<LogId>,
        rest: &Arc<Rest>,
    ) {
        let (raft, heard, rest) = (raft.clone(), Arc::default(), Arc::clone(rest));
        let served = Served { raft, health, floor, heard, rest };
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(group, served);
    }

    pub(super) fn remove(&self, group: GroupId) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    /// Whether this node may lead a group, which it does only where that runs here: by the disk that all of them
    /// share, and by what this one has there alone.
    pub fn may_lead(&self, group: GroupId) -> bool {
        self.get(group).is_some_and(|served| served.may_lead())
    }

    /// When a leader of a group was heard last.
    pub(super) fn heard(&self, group: GroupId) -> Option<Instant> {
        *self.get(group)?.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each group rests here.
    pub(super) fn rests(&self) -> Vec<(GroupId, Arc<Rest>)> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.iter().map(|(group, served)| (*group, Arc::clone(&served.rest))).collect()
    }

    pub(super) fn rest(&self, group: GroupId) -> Option<Arc<Rest>> {
        Some(self.get(group)?.rest)
    }

    fn get(&self, group: GroupId) -> Option<Served> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// An empty table for a snapshot, or none while there is another of the group.
    fn arrive(&self, group: GroupId) -> Result<Option<Arc<dyn Table>>, StoreError> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if arriving.get(&group).is_some_and(|table| table.strong_count() > 0) {
            return Ok(None);
        }
        let name = install::arriving_table(group);
        self.engine.discard(&name)?;
        let table = self.engine.open(&name, Role::State)?;
        arriving.insert(group, Arc::downgrade(&table));
        Ok(Some(table))
    }

    /// Discards a snapshot that is in its place, unless another arrives there already.
    fn arrived(&self, group: GroupId) {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if arriving.get(&group).is_some_and(|table| table.strong_count() == 0) {
            arriving.remove(&group);
            if let Err(error) = self.engine.discard(&install::arriving_table(group)) {
                tracing::warn!(group, %error, "a snapshot that is installed stays on disk");
            }
        }
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
            // Who asks anew, or has died, must not leave streams behind: a peer may have so many.
            let unread = send.unread();
            let served = match class {
                Class::Consensus => {
                    wanted(unread, self.answer(from, &mut send, &mut receive)).await
                }
                Class::Replication => wanted(unread, self.follow(from, &mut send, receive)).await,
                Class::Rest => wanted(unread, self.rest_with(from, &mut send, receive)).await,
                // What has arrived is installed in any case.
                Class::Snapshot => self.install(from, &mut send, &mut receive).await,
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

/// Serves for as long as somebody reads the answer.
async fn wanted(
    unread: impl Future<Output = ()>,
    served: impl Future<Output = Result<(), Fault>>,
) -> Result<(), Fault> {
    tokio::select! {
        biased;
        served = served => served,
        () = unread => Ok(()),
    }
}

/// Members speak in their own name; a certificate says who it is.
fn in_own_name(from: u64, sender: u64) -> Result<(), Fault> {
    if from == sender { Ok(()) } else { Err(format!("it speaks for node {sender}").into()) }
}

impl Members {
    /// The group that the first frame is for, with the rest of that frame.
    async fn addressee(
        &self,
        receive: &mut Receiving,
        max: usize,
    ) -> Result<(GroupId, Option<Served>, Vec<u8>), Fault> {
        let first = receive.frame(max).await?.ok_or("the stream was empty")?;
        let (group, rest) = wire::addressee(&first).ok_or("no group is named")?;
        Ok((group, self.get(group), rest.to_vec()))
    }

    async fn answer(
        &self,
        from: u64,
        send: &mut Sending,
        receive: &mut Receiving,
    ) -> Result<(), Fault> {
        let (_, served, bytes) = self.addressee(receive, wire::APPEND_BYTES_MAX).await?;
        let request = Request::decode(&bytes)?;
        in_own_name(from, request.sender())?;
        let answer = match served {
            None => None,
            Some(served) => match request {
                Request::Append(append) if !served.has_room() && !append.entries.is_empty() => None,
                Request::Transfer(_) if !served.may_lead() => None,
                Request::Vote(vote) | Request::PreVote(vote) if vote.last_log_id < served.floor => {
                    None
                }
                // Whoever leads may hand the group over; nobody else may take it from a leader that is heard.
                Request::Vote(vote) | Request::PreVote(vote)
                    if !vote.leadership_transfer && served.rest.is_led() =>
                {
                    None
                }
                Request::Append(append) => {
                    served.hears();
                    served.rest.stir();
                    served.raft.append_entries(append).await.map(Answer::Append).ok()
                }
                Request::Vote(vote) => {
                    served.rest.stir();
                    served.raft.vote(vote).await.map(Answer::Vote).ok()
                }
                Request::PreVote(vote) => served.raft.pre_vote(vote).await.map(Answer::Vote).ok(),
                Request::Transfer(transfer) => {
                    served.rest.hand_over();
                    served.raft.handle_transfer_leader(transfer).await.map(Answer::Transfer).ok()
                }
            },
        };
        // The only error is that the group has stopped. A full disk takes no entries, and one that is not
        // well no lead.
        last_word(send, &answer.unwrap_or(Answer::Absent)).await
    }

    async fn follow(
        &self,
        from: u64,
        send: &mut Sending,
        mut receive: Receiving,
    ) -> Result<(), Fault> {
        let (_, served, _) = self.addressee(&mut receive, wire::ANSWER_BYTES_MAX).await?;
        let Some(served) = served else { return last_word(send, &Answer::Absent).await };
        let raft = served.raft.clone();
        let requests = stream::unfold((served, receive), move |(served, mut receive)| async move {
            let next = next_append(from, &mut receive).await.and_then(|next| match next {
                Some(append) if !append.entries.is_empty() && !served.has_room() => {
                    Err("the disk is full".into())
                }
                next => Ok(next),
            });
            match next {
                Ok(request) => {
                    served.hears();
                    served.rest.stir();
                    request.map(|request| (request, (served, receive)))
                }
                Err(error) => {
                    metrics::counter!("fieldmesh_mesh_faults_total").increment(1);
                    tracing::debug!(from, error, "a stream of entries was ended");
                    None
                }
            }
        });
        let mut answers = Box::pin(raft.stream_append(requests));
        while let Some(answer) = answers.next().await {
            let answer: AppendEntriesResponse<Types> = match answer {
                Ok(Ok(_)) => AppendEntriesResponse::Success,
                Ok(Err(StreamAppendError::Conflict(_))) => AppendEntriesResponse::Conflict,
                Ok(Err(StreamAppendError::HigherVote(vote))) => {
                    AppendEntriesResponse::HigherVote(vote)
                }
                // The group has stopped.
                Err(_) => return last_word(send, &Answer::Absent).await,
            };
            send.frame(&Answer::Append(answer).encode()).await?;
        }
        send.finish();
        Ok(())
    }

    /// Says which groups of a list do not rest here.
    async fn rest_with(
        &self,
        from: u64,
        send: &mut Sending,
        mut receive: Receiving,
    ) -> Result<(), Fault> {
        while let Some(frame) = receive.frame(quiet::FRAME_BYTES_MAX).await? {
            let list = quiet::list_of(&frame)?;
            let rests = |quiet: &Quiet| {
                let served = self.get(quiet.group)?;
                served.rest.agrees(from, quiet).then(|| served.hears())
            };
            let awake = list.iter().filter(|quiet| rests(quiet).is_none());
            let awake: Vec<GroupId> = awake.map(|quiet| quiet.group).collect();
            send.frame(&quiet::awake_frame(&awake)).await?;
        }
        send.finish();
        Ok(())
    }

    async fn install(
        &self,
        from: u64,
        send: &mut Sending,
        receive: &mut Receiving,
    ) -> Result<(), Fault> {
        let (group, served, head) = self.addressee(receive, wire::ANSWER_BYTES_MAX).await?;
        let (vote, meta) = transfer::head(&head)?;
        in_own_name(from, vote.leader_id.voted_for)?;
        let served = served.filter(Served::has_room);
        let Some(Served { raft, rest, .. }) = served else {
            return last_word(send, &Answer::Absent).await;
        };
        rest.stir();
        // Whoever sends it tries again later.
        let Some(table) = self.arrive(group)? else {
            return last_word(send, &Answer::Absent).await;
        };
        let rows = transfer::receive(receive, &*table).await?;
        install::seal(&*table, rows).await?;
        let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot: table }).await;
        let Ok(installed) = installed else { return last_word(send, &Answer::Absent).await };
        self.arrived(group);
        last_word(send, &Answer::Installed(installed.vote)).await
    }
}

async fn last_word(send: &mut Sending, answer: &Answer) -> Result<(), Fault> {
    send.frame(&answer.encode()).await?;
    send.finish();
    Ok(())
}

async fn next_append(
    from: u64,
    receive: &mut Receiving,
) -> Result<Option<AppendEntriesRequest<Types>>, Fault> {
    let Some(bytes) = receive.frame(wire::APPEND_BYTES_MAX).await? else { return Ok(None) };
    let request = Request::decode(&packed::unpack(bytes, wire::APPEND_BYTES_MAX)?)?;
    in_own_name(from, request.sender())?;
    match request {
        Request::Append(append) => Ok(Some(append)),
        _ => Err("a stream of entries carries something else".into()),
    }
}
