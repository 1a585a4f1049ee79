//! `chaos`: a cluster is used, broken on purpose, and judged.
//!
//! `run` makes a cluster on this machine, or finds one that is there, lets devices use it, breaks what the scenario
//! says and writes everything that happened into a history. The verdict comes from the history alone: `report` judges it again,
//! on any machine. **Not here:** what is judged (`fieldmesh_chaos`).
//!
//! Exit codes: 0 passed · 1 a promise was broken, or what is normal was not so · 2 given up, or the scenario is
//! refused · 3 the run says nothing of the product.

mod allow;
mod chronicle;
mod endings;
mod errand;
mod finals;
mod ground;
mod guards;
mod interrupt;
mod kept;
mod kernel;
mod keys;
mod leases;
mod load;
mod nodes;
mod page;
mod plane;
mod positions;
mod prober;
mod recorder;
mod rot;
mod rotation;
mod run;
mod spread;
mod striker;
mod technicians;
mod tickets;
mod told;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fieldmesh_chaos::{
    Ending, Fault, Judgement, Pick, QUORUM, Refuses, SCENARIO_BYTES_MAX, Scenario, Strike, Target,
    Timeline, VOTERS, history::What, judge, read_scenario_where,
};
use serde_json::{Value, json};

pub(super) use self::errand::{Errand, ScenarioArgs, errand, run_in_a_lab};
use self::{ground::There, interrupt::Interrupt};
use super::{CliError, Common, Output, api::Api};
use crate::{
    files::{self, Access},
    web::chaos::ChaosView,
};

/// Names of what a run leaves in its directory.
const HISTORY: &str = "history.jsonl";
const RESULTS: &str = "results.json";
const REPORT: &str = "report.html";

#[derive(Debug, Subcommand)]
pub(crate) enum ChaosVerb {
    /// Says what a scenario would break, when, and how many nodes would be out at a time.
    Plan(PlanArgs),
    /// Runs a scenario, on a cluster that is made for it or on one that is there, and judges what happened.
    Run(RunArgs),
    /// Judges a history again, and writes its report.
    Report(ReportArgs),
    /// Ends whatever a node does to itself on purpose; needs no other node.
    Stop(#[command(flatten)] Common),
    /// Allows chaos on every node of a cluster in production for a while, once a second operator says the same.
    Allow(allow::AllowArgs),
    /// Allows it no more, and ends what every node does to itself.
    Forbid(#[command(flatten)] Common),
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    common: Common,
    /// A scenario in TOML; docs/chaos.md.
    scenario: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    what: ScenarioArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    common: Common,
    /// The directory of a run.
    dir: PathBuf,
}

impl ChaosVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Plan(args) => &args.common,
            Self::Run(args) => &args.common,
            Self::Report(args) => &args.common,
            Self::Stop(common) | Self::Forbid(common) => common,
            Self::Allow(args) => &args.common,
        }
    }
}

pub(crate) async fn chaos(verb: &ChaosVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        ChaosVerb::Plan(args) => plan(args, output).await,
        ChaosVerb::Run(args) => run(args, output).await,
        ChaosVerb::Report(args) => report(&args.dir, output),
        ChaosVerb::Stop(common) => stop(common, output).await,
        ChaosVerb::Allow(args) => allow::allow(args, output).await,
        ChaosVerb::Forbid(common) => allow::forbid(common, output).await,
    }
}

/// A scenario with the document that it was read from.
fn scenario(
    path: &Path,
    refuses: Refuses<'_>,
    output: &Output,
) -> Result<(Scenario, Vec<u8>), CliError> {
    let named =
        |what: &dyn std::fmt::Display| CliError::usage(format!("{}: {what}", path.display()));
    let size = files::open(path).and_then(|file| file.metadata()).map_err(|error| named(&error))?;
    if size.len() > SCENARIO_BYTES_MAX as u64 {
        return Err(named(&format_args!("a scenario has at most {SCENARIO_BYTES_MAX} bytes")));
    }
    let bytes = files::read(path).map_err(|error| named(&error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| named(&"it is not UTF-8"))?;
    let read = read_scenario_where(text, refuses).map_err(|refused| named(&refused))?;
    for warning in &read.warnings {
        output.say(warning);
    }
    Ok((read.value, bytes))
}

fn timeline(path: &Path, scenario: &Scenario) -> Result<Timeline, CliError> {
    Timeline::of(scenario, scenario.nodes)
        .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
}

/// Whom a strike befalls, and which links of it where those are not all to other nodes.
fn befallen(strike: &Strike) -> String {
    let whom = whom(strike.pick);
    match strike.fault {
        Fault::Link { with, .. } => format!("{whom} and {}", self::whom(with)),
        Fault::Abroad(_) => format!("{whom} and other regions"),
        Fault::Devices(_) => format!("{whom} and devices"),
        _ => whom,
    }
}

fn whom(pick: Pick) -> String {
    match pick {
        Pick::Node(node) => format!("node {node}"),
        Pick::Leader(Some(shard)) => format!("whoever leads shard {shard}"),
        Pick::Leader(None) => "a leader".into(),
        Pick::Random => "a node by chance".into(),
        Pick::All => "all nodes".into(),
        Pick::Nobody => "devices".into(),
    }
}

/// The cluster that a scenario is for, where it is not one that the run makes: the scenario is then of its size.
async fn found(common: &Common, scenario: &mut Scenario) -> Result<Option<There>, CliError> {
    if scenario.target == Target::Lab {
        return Ok(None);
    }
    let there = There::find(common).await?;
    scenario.nodes = there.numbers().len() as u64;
    Ok(Some(there))
}

async fn plan(args: &PlanArgs, output: &Output) -> Result<(), CliError> {
    let (mut scenario, _) = scenario(&args.scenario, &|_| None, output)?;
    let there = found(&args.common, &mut scenario).await?;
    let timeline = timeline(&args.scenario, &scenario)?;
    output.say(format_args!("{}: {}", scenario.name, scenario.hypothesis));
    let mut strikes = Vec::new();
    for strike in &timeline.0 {
        let (fault, whom) = (strike.fault, befallen(strike));
        let seconds = |ms: u64| ms as f64 / 1000.0;
        output.say(format_args!(
            "{:>8.1} s  {:<10} {whom}, until {:.1} s",
            seconds(strike.at_ms),
            fault.name(),
            seconds(strike.until_ms)
        ));
        strikes.push(json!({
            "at_ms": strike.at_ms,
            "until_ms": strike.until_ms,
            "kind": fault.name(),
            "fault": fault,
            "whom": whom,
        }));
    }
    let (out, _) = timeline.most_out(scenario.nodes);
    let inside = timeline.0.iter().filter(|strike| Fault::is_inside(&strike.fault)).count();
    output.say(format_args!(
        "{} faults, {inside} of them by nodes to themselves; at most {out} of {} nodes out at a time; of the {VOTERS} \
         voters of a group {QUORUM} decide",
        timeline.0.len(),
        scenario.nodes
    ));
    if timeline.0.iter().any(|strike| strike.fault == Fault::Upgrade) {
        output.say("`run` needs the program that nodes begin with: --from PROGRAM");
    }
    for promise in &scenario.promises {
        output.say(format_args!(
            "checks I{}, {}: {}",
            promise.number(),
            promise.name(),
            promise.text()
        ));
    }
    let mut result = json!({
        "scenario": scenario.name,
        "faults": strikes,
        "nodes": scenario.nodes,
        "most_out": out,
        "voters": VOTERS,
        "quorum": QUORUM,
        "promises": scenario.promises.iter().map(|promise| promise.name()).collect::<Vec<_>>(),
    });
    let checked = match &there {
        None => {
            result["devices"] = guards::tell_of_a_lab(&scenario.workload, output);
            Ok(())
        }
        Some(there) => {
            let standing = guards::standing(there).await;
            result["cluster"] = guards::tell(&standing, &timeline, output);
            guards::check(&standing, &scenario, &timeline)
        }
    };
    if checked.is_ok() {
        output.result(result);
    }
    checked
}

async fn run(args: &RunArgs, output: &Output) -> Result<(), CliError> {
    let what = &args.what;
    let (mut scenario, document) = scenario(&what.scenario, &|_| None, output)?;
    let there = found(&args.common, &mut scenario).await?;
    let errand = Errand::of(what, scenario, document, |_| true)?;
    if let Some(there) = &there {
        let standing = guards::standing(there).await;
        guards::tell(&standing, &errand.timeline, output);
        guards::check(&standing, &errand.scenario, &errand.timeline)?;
    }
    errand.begin()?;
    let (history, interrupt) = (errand.history(), Interrupt::listen()?);
    let chronicle = match &there {
        None => None,
        Some(_) => Some(errand.chronicled(Api::from_common(&args.common)?).await?),
    };
    if let Some(chronicle) = &chronicle {
        output.say(format_args!("run {} in the ledger", chronicle.run()));
    }
    let work = errand.work(&history, None, &interrupt);
    let running = async {
        match there {
            None => run::on_its_own(&args.common, &work, output).await,
            Some(there) => run::on_one_that_is_there(there, &work, output).await,
        }
    };
    let ran = tokio::select! {
        ran = running => ran,
        () = interrupt.again() => return Err(CliError::ended(
            Ending::Aborted as u8,
            "it was interrupted twice: leases end within 5 s; a drained node and the run's people stay as they are",
        )),
    };
    let judged = errand.judged(ran, output);
    if let Some(chronicle) = chronicle {
        let exit = judged.as_ref().err().map_or(0, CliError::code);
        if let Err(error) = chronicle.end(exit).await {
            tracing::warn!(%error, "the ledger has no end of the run");
            output.say(format_args!("the ledger has no end of the run: {error}"));
        }
    }
    judged
}

/// Judges the history of a run's directory. What was judged before does not stay beside a history that cannot be.
fn report(dir: &Path, output: &Output) -> Result<(), CliError> {
    let path = dir.join(HISTORY);
    let history = match kept::read(&path) {
        Ok(history) => history,
        Err(why) => return unjudged(dir, &format!("{}: {why}", path.display()), output),
    };
    let judgement = judge(&history);
    let mut results = json!(judgement);
    if let Some(What::Begun { scenario, document, product, .. }) =
        history.entries.first().map(|entry| &entry.what)
    {
        results["product"] = json!(product);
        results["scenario"] = json!({ "sha256": document, "seed": scenario.seed });
    }
    write(dir, &results, page::page(&history, &judgement))?;
    say(&judgement, output);
    output.say(format_args!("report: {}", dir.join(REPORT).display()));
    output.result(results);
    let code = judgement.ending as u8;
    if code == 0 { Ok(()) } else { Err(CliError::ended(code, judgement.why.join("; "))) }
}

/// Where there is nothing of a run, nothing is written either.
fn unjudged(dir: &Path, why: &str, output: &Output) -> Result<(), CliError> {
    let judgement = Judgement::of_nothing(why.to_owned());
    if [HISTORY, RESULTS, REPORT].iter().any(|name| dir.join(name).exists()) {
        let results = json!(judgement);
        write(dir, &results, page::unjudged(&judgement))?;
        output.say(format_args!("report: {}", dir.join(REPORT).display()));
        output.result(results);
    }
    Err(CliError::ended(judgement.ending as u8, why))
}

/// Writes what a run came to.
fn write(dir: &Path, results: &Value, page: String) -> Result<(), CliError> {
    let pretty = serde_json::to_vec_pretty(results).map_err(CliError::failed)?;
    for (name, bytes) in [(RESULTS, pretty), (REPORT, page.into_bytes())] {
        let path = dir.join(name);
        files::write(&path, &bytes, Access::Owner)
            .map_err(|error| CliError::ended(3, format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

fn say(judgement: &Judgement, output: &Output) {
    for finding in &judgement.promises {
        output.say(format_args!(
            "I{:<3} {:<66} {:<8} {} checked",
            finding.promise.number(),
            finding.promise.text(),
            finding.verdict.name(),
            finding.checked
        ));
        let shown = finding.examples.iter().take(3);
        let more = finding.broken.saturating_sub(shown.len() as u64);
        for example in shown {
            output.say(format_args!("     {}", example.text));
        }
        if more > 0 {
            output.say(format_args!("     and {more} times more"));
        }
    }
    for probe in &judgement.probes {
        let worst = probe.worst.map_or("never".to_owned(), |worst| format!("{worst:.3}"));
        let (verdict, wanted) = (probe.verdict.name(), &probe.wanted);
        let why = if probe.why.is_empty() { "" } else { ": " };
        output.say(format_args!(
            "{}: {wanted}: {verdict}, worst {worst}{why}{}",
            probe.id, probe.why
        ));
    }
    for fault in &judgement.faults {
        let (kind, installed, wanted) = (&fault.kind, fault.installed, fault.wanted);
        let effect = fault.effect.as_ref().map_or(String::new(), |effect| format!(", {effect}"));
        output.say(format_args!("{kind}: there {installed} of {wanted} times{effect}"));
    }
    let mut recoveries = judgement.recoveries_ms();
    recoveries.sort_unstable();
    if let (Some(median), Some(longest)) = (recoveries.get(recoveries.len() / 2), recoveries.last())
    {
        let count = recoveries.len();
        output.say(format_args!(
            "shards that lost their leader: {count}; half answered within {median} ms, the slowest {longest} ms"
        ));
    }
}

async fn stop(common: &Common, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(common)?;
    // One request, and one that needs nobody who leads: nothing is asked before it.
    let view: ChaosView = api.delete("/v1/chaos").await?;
    let ended = view.ended.unwrap_or(0);
    output.say(format_args!("ended: {ended}"));
    output.result(json!({ "ended": ended, "left": view.leases.len() }));
    Ok(())
}

#[cfg(test)]
mod tests;
