//! When each fault of a scenario comes and goes: the same for the same seed.
//!
//! Whom a fault befalls that picks by chance or by who leads is known only when it comes; the strike has
//! the number by which chance then decides. **Invariants:** strikes are in the order in which they begin;
//! nodes that are out at the same time are no more than the scenario allows; all are over by the end of
//! the run. **Not here:** striking.

mod cuts;
mod harmed;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Bound, Fault, Pick},
    scenario::{Planned, Random, Scenario, by_chance},
    span::written,
    timeline::harmed::{Harmed, Out},
};

/// Strikes of a run: more are a mistake in the scenario.
const STRIKES_MAX: usize = 10_000;
/// A restart takes seconds, and a node catches up behind it.
const RESTART_MS: u64 = 5_000;
/// Nodes of a cluster that is made for a run: more do not fit on one machine.
const NODES_MAX: u64 = 7;

/// One fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Strike {
    pub number: u32,
    pub fault: Fault,
    pub pick: Pick,
    pub at_ms: u64,
    pub until_ms: u64,
    /// By which chance decides whom it befalls.
    pub dice: u64,
    /// The node does it to itself, whoever runs the scenario.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inside: bool,
}

/// Why a scenario cannot be laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "line {line}: at {at} {out} nodes would be out at a time, and the scenario allows {max}: move faults \
         apart, or raise abort.max_nodes"
    )]
    Overlap { line: u32, at: String, out: u64, max: u64 },
    #[error(
        "line {line}: with those that join there are {nodes} nodes, and {NODES_MAX} at most: leave out a `join`"
    )]
    Crowded { line: u32, nodes: u64 },
    #[error(
        "line {line}: with this there are more than {STRIKES_MAX} faults: raise `every` or shorten the run"
    )]
    Many { line: u32 },
}

/// All strikes of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline(pub Vec<Strike>);

impl Timeline {
    /// Lays out the faults of a scenario for a cluster of so many nodes.
    ///
    /// # Errors
    /// Too many faults, or too many nodes out at a time.
    pub fn of(scenario: &Scenario, nodes: u64) -> Result<Self, PlanError> {
        let mut dice = StdRng::seed_from_u64(scenario.seed);
        let mut strikes = Vec::new();
        for planned in &scenario.faults {
            repeated(planned, &mut strikes, &mut dice)?;
        }
        if let Some(random) = &scenario.random {
            by_shifts(random, scenario, &mut strikes, &mut dice)?;
        }
        strikes.sort_by_key(|strike| (strike.at_ms, strike.until_ms));
        for (number, strike) in (0..).zip(&mut strikes) {
            strike.number = number;
        }
        let timeline = Self(strikes);
        let joins = timeline.0.iter().filter(|strike| strike.fault == Fault::Join);
        if let Some((count, last)) = (1..).zip(joins).last()
            && nodes + count > NODES_MAX
        {
            let line = scenario.line_of(last);
            return Err(PlanError::Crowded { line, nodes: nodes + count });
        }
        timeline.leaves_enough(scenario, nodes)?;
        Ok(timeline)
    }

    /// When the last fault is over.
    pub fn end_ms(&self) -> u64 {
        self.0.iter().map(|strike| strike.until_ms).max().unwrap_or(0)
    }

    /// The most nodes that are out at a time.
    pub fn most_out(&self, nodes: u64) -> (u64, u64) {
        let begins = self.0.iter().map(|strike| strike.at_ms);
        let out = begins.map(|at| (self.out_at(at, nodes), at));
        out.max_by_key(|(out, at)| (*out, std::cmp::Reverse(*at))).unwrap_or((0, 0))
    }

    fn out_at(&self, at_ms: u64, nodes: u64) -> u64 {
        let is_then = |strike: &&Strike| strike.at_ms <= at_ms && at_ms < strike.out_until_ms();
        let (mut between, mut devices) = (Harmed::new(Bound::OUT), Harmed::new(Bound::LONELY));
        let mut out = Out::default();
        for strike in self.0.iter().filter(is_then) {
            match (strike.fault.harm(), strike.pick) {
                (Some(harm), _) if matches!(strike.fault, Fault::Devices(_)) => {
                    devices.add(strike, harm);
                }
                (Some(harm), _) => between.add(strike, harm),
                (None, _) if !strike.fault.may_take_a_node() => {}
                (None, Pick::Nobody) => {}
                (None, Pick::All) => return nodes,
                (None, Pick::Node(node)) => {
                    out.named.insert(node);
                }
                (None, Pick::Leader(_) | Pick::Random) => out.others += 1,
            }
        }
        if !devices.leaves_some(nodes, &mut out) || !between.leaves_some(nodes, &mut out) {
            return nodes;
        }
        let Out { named, mut cut, others } = out;
        cut.retain(|(one, other)| !named.contains(one) && !named.contains(other));
        let out = named.len() as u64 + others;
        out.saturating_add(cuts::fewest(&cut, nodes)).min(nodes)
    }

    fn leaves_enough(&self, scenario: &Scenario, nodes: u64) -> Result<(), PlanError> {
        let ((out, at), max) = (self.most_out(nodes), scenario.max_nodes);
        if out <= max {
            return Ok(());
        }
        // The last one that takes a node then is the one too many, or that does so with others.
        let mut then = self.0.iter().rev().filter(|strike| strike.at_ms == at);
        let takes = then.clone().find(|strike| strike.fault.may_take_a_node());
        let line = takes.or_else(|| then.find(|strike| strike.fault.harm().is_some()));
        let line = line.map_or(0, |strike| scenario.line_of(strike));
        Err(PlanError::Overlap { line, at: written(at), out, max })
    }
}

impl Strike {
    /// Whether it is not to begin before an earlier one is over, which was to be by then and may have begun late: two
    /// nodes would be out at a time that the plan has one for.
    pub fn waits_for(&self, earlier: &Self) -> bool {
        let both = self.fault.may_take_a_node() && earlier.fault.may_take_a_node();
        both && earlier.until_ms <= self.at_ms
    }

    /// A node that was started again is not yet one that serves.
    fn out_until_ms(&self) -> u64 {
        match self.fault {
            fault if fault.starts_again() => self.until_ms.max(self.at_ms + RESTART_MS),
            _ => self.until_ms.max(self.at_ms + 1),
        }
    }
}

fn push(strikes: &mut Vec<Strike>, strike: Strike, line: u32) -> Result<(), PlanError> {
    if strikes.len() >= STRIKES_MAX {
        return Err(PlanError::Many { line });
    }
    strikes.push(strike);
    Ok(())
}

fn repeated(
    planned: &Planned,
    strikes: &mut Vec<Strike>,
    dice: &mut StdRng,
) -> Result<(), PlanError> {
    let Planned { fault, pick, at_ms, for_ms, again, inside, line } = *planned;
    let mut at_ms = at_ms;
    loop {
        let until_ms = at_ms + for_ms;
        let dice = dice.random();
        push(strikes, Strike { number: 0, fault, pick, at_ms, until_ms, dice, inside }, line)?;
        let Some(again) = again else { return Ok(()) };
        at_ms += again.every_ms;
        // It is over by then.
        if at_ms + for_ms > again.until_ms {
            return Ok(());
        }
    }
}

/// In each shift nothing, or one fault of the pool; one at a time, so that each is seen for itself and a
/// quorum stays.
fn by_shifts(
    random: &Random,
    scenario: &Scenario,
    strikes: &mut Vec<Strike>,
    dice: &mut StdRng,
) -> Result<(), PlanError> {
    let mut begins = random.from_ms;
    while begins + random.shift_ms <= random.until_ms.min(scenario.duration_ms) {
        let is_quiet = dice.random_range(0..100) < random.quiet_percent;
        let kind = &random.pool[dice.random_range(0..random.pool.len())];
        let fault = by_chance(kind, &random.links, dice.random());
        // The rest of the shift is for mending.
        let longest = random.shift_ms * 6 / 10;
        let at_ms = begins + dice.random_range(0..=random.shift_ms / 10);
        let for_ms = dice.random_range(longest / 4..=longest);
        let until_ms = if fault.is_done_at_once() { at_ms } else { at_ms + for_ms };
        let pick = [Pick::Leader(None), Pick::Random][dice.random_range(0..2)];
        // A node that was away may have no devices yet, and one that leads nothing has no entities to fail, and little to
        // say to another one.
        let pick = match fault {
            Fault::Herd | Fault::Devices(_) => Pick::All,
            Fault::Link { .. }
            | Fault::FailingActors { .. }
            | Fault::SlowActors { .. }
            | Fault::StalledActors { .. } => Pick::Leader(None),
            _ => pick,
        };
        let (number, inside) = (dice.random(), random.inside);
        if !is_quiet {
            let strike = Strike { number: 0, fault, pick, at_ms, until_ms, dice: number, inside };
            push(strikes, strike, random.line)?;
        }
        begins += random.shift_ms;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
