//! Disks that end a node: it is asked to have one, or is ended for that, and is started again when the fault ends.
//!
//! **Invariants:** a node that is to be started again is, once its files are what they were; what a damaged one did is
//! told. **Not here:** what is turned over (`rot`), how a node fails of its disk (`store::faulty`).

use std::collections::BTreeMap;

use fieldmesh_chaos::{Phase, Strike, history::What};
use futures_util::future::join_all;

use super::{NOT_AGAIN, Striker, unstarted};
use crate::{
    cli::{
        CliError,
        chaos::{leases, nodes::Reachable, rot::Rot},
        fleet::{Ended, Unstarted},
    },
    server::EXIT_STORAGE,
};

const NEITHER: &str = "with damaged files it neither serves nor refuses";

fn with_code(code: Option<i32>) -> String {
    code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"))
}

/// How a node ended, for whoever reads the history.
fn told(Ended { code, said }: &Ended) -> String {
    format!("{}, and said: {said}", with_code(*code))
}

/// Asks all to have such a disk, at the same time.
async fn ask_each(strike: &Strike, nodes: &[(u64, Reachable)]) -> Vec<Result<(), CliError>> {
    let asks = nodes.iter().map(async |(node, reached)| {
        let number = leases::number(strike.number, *node);
        let asked = leases::ask(number, &reached.api, strike.fault).await;
        asked.map(drop).map_err(CliError::from)
    });
    join_all(asks).await
}

/// The same from time to time: one that syncs seldom has its disk for longer than a lease.
async fn ask_again(strike: &Strike, nodes: &[(u64, Reachable)]) {
    loop {
        tokio::time::sleep(leases::RENEW_EVERY).await;
        // Whoever has ended answers no more.
        ask_each(strike, nodes).await;
    }
}

impl Striker<'_, '_> {
    /// Nodes whose disk ends them once they are asked to have such a one, all at the same time; those that ended.
    pub(super) async fn end_by_disk(&mut self, strike: &Strike, picked: Vec<u64>) -> Vec<u64> {
        let there = self.nodes.all();
        let of = |node: u64| Some((node, there.get(&node)?.clone()));
        let picked: Vec<(u64, Reachable)> = picked.into_iter().filter_map(of).collect();
        picked.iter().for_each(|(node, _)| self.nodes.is_out(*node));
        let asked = ask_each(strike, &picked).await;
        let ends = tokio::select! {
            ends = self.ends(&picked) => ends,
            () = ask_again(strike, &picked) => Vec::new(),
        };
        let mut ended = Vec::new();
        for (((node, reached), asked), ends) in picked.into_iter().zip(asked).zip(ends) {
            match ends {
                Ok(code) => {
                    ended.push(node);
                    self.note(strike, Some(node), Phase::Installed, "");
                    self.is_ended_by_disk(node, code);
                }
                // It may have ended before it answered.
                Err(error) => {
                    leases::end(leases::number(strike.number, node), &reached.api).await;
                    self.nodes.is_back(node, reached);
                    let why = asked.err().unwrap_or(error);
                    self.note(strike, Some(node), Phase::Failed, why);
                }
            }
        }
        ended
    }

    /// How each ends, by its exit code; each within a bound.
    async fn ends(&mut self, nodes: &[(u64, Reachable)]) -> Vec<Result<Option<i32>, CliError>> {
        let mut all = Vec::new();
        for (node, _) in nodes {
            all.push(match self.ground.fleet() {
                Ok(fleet) => fleet.ends(*node).await,
                Err(error) => Err(error),
            });
        }
        all
    }

    /// A node has ended while its disk failed: for nothing else, or it is down.
    pub(super) fn is_ended_by_disk(&self, node: u64, code: Option<i32>) {
        if code != Some(EXIT_STORAGE) {
            let how = with_code(code);
            self.is_down(
                node,
                format!("of a disk that fails it ended {how}, not with {EXIT_STORAGE}"),
            );
        }
    }

    /// Ends nodes, turns bits of what they stored, and starts them; those that were damaged.
    pub(super) async fn turn_bits(
        &mut self,
        strike: &Strike,
        picked: Vec<u64>,
        bits: u64,
    ) -> Vec<u64> {
        let mut damaged = Vec::new();
        for node in picked {
            self.nodes.is_out(node);
            match self.rot(strike, node, bits).await {
                Ok(rot) => {
                    damaged.push(node);
                    self.note(strike, Some(node), Phase::Installed, &rot);
                    self.live_with(node, rot).await;
                }
                Err(error) => {
                    self.note(strike, Some(node), Phase::Failed, error);
                    if let Err(why) = self.start(node).await {
                        self.recorder.note(unstarted(node, NOT_AGAIN, &why));
                    }
                }
            }
        }
        damaged
    }

    async fn rot(&mut self, strike: &Strike, node: u64, bits: u64) -> Result<Rot, CliError> {
        let fleet = self.ground.fleet()?;
        fleet.put_down(node).await?;
        Rot::of(&fleet.data_of(node)?, bits, strike.dice)
    }

    /// A node with damaged files serves, or refuses and says of which table.
    async fn live_with(&mut self, node: u64, mut rot: Rot) {
        let tried = match self.ground.fleet() {
            Ok(fleet) => fleet.try_restart(node).await,
            Err(error) => Err(Unstarted::Harness(error)),
        };
        rot.came = match tried {
            Ok(None) => {
                // It is asked like any other; that it ends of what it reads is no surprise.
                if let Ok(api) = self.ground.api_of(node) {
                    self.nodes.is_back(node, Reachable { api, process: None });
                }
                "it served".to_owned()
            }
            Ok(Some(ended)) => self.ended_of(node, &rot, "it refused to start", &ended),
            Err(why) => {
                self.recorder.note(unstarted(node, NEITHER, &why));
                format!("{NEITHER}: {why}")
            }
        };
        self.damaged.insert(node, rot);
    }

    /// Whoever ends of a damage says of which; what is told of it.
    fn ended_of(&self, node: u64, rot: &Rot, how: &str, ended: &Ended) -> String {
        let why = format!("{how}: {}", told(ended));
        if !rot.is_named_by(ended.code, &ended.said) {
            self.is_down(node, format!("with damaged files {why}"));
        }
        why
    }

    fn is_down(&self, node: u64, why: String) {
        self.recorder.note(What::Down { node: Some(node), why });
    }

    /// All at once: of nodes that decide together none is ready alone.
    pub(super) async fn start_again(&mut self, strike: &Strike, nodes: &[u64]) {
        let mut came = BTreeMap::new();
        for node in nodes {
            match self.repaired(*node).await {
                Ok(of_it) => {
                    came.insert(*node, of_it);
                }
                Err(error) => {
                    let why = format!("the files of node {node} are not repaired: {error}");
                    self.recorder.note(What::Harness { why });
                }
            }
        }
        // Of damaged files nothing is started: what it did then would say nothing of the product.
        let whole: Vec<u64> = came.keys().copied().collect();
        let started = match self.ground.fleet() {
            Ok(fleet) => fleet.restart_all(&whole).await,
            Err(error) => return self.recorder.note(What::Harness { why: error.to_string() }),
        };
        for (node, started) in started {
            match started.and_then(|()| self.is_back(node).map_err(Unstarted::Harness)) {
                Ok(()) => {
                    let of_it = came.remove(&node).unwrap_or_default();
                    self.note(strike, Some(node), Phase::Ended, of_it);
                }
                Err(why) => self.recorder.note(unstarted(node, NOT_AGAIN, &why)),
            }
        }
    }

    /// A node's files are what they were; what came of the damage, where there was any.
    async fn repaired(&mut self, node: u64) -> Result<String, CliError> {
        let Some(rot) = self.damaged.remove(&node) else { return Ok(String::new()) };
        self.nodes.is_out(node);
        let ended = self.ground.fleet()?.put_down(node).await?;
        rot.undo()?;
        Ok(match ended {
            Some(ended) => self.ended_of(node, &rot, "it served until it ended", &ended),
            None => rot.came,
        })
    }
}
