//! What a run is of: a scenario, laid out, with the program that nodes begin with and a place for what comes of it.
//!
//! **Invariant:** whoever has one has refused nothing of it. **Not here:** running it (`run`), what a cluster that is
//! there says to it (`guards`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use fieldmesh_chaos::{
    Ending, Fault, Pick, Refuses, Scenario, Strike, Target, Timeline, history::Size,
};

use super::{
    HISTORY,
    chronicle::Chronicle,
    interrupt::Interrupt,
    kept, report,
    run::{self, Work},
    scenario, timeline,
};
use crate::{
    chaos,
    cli::{CliError, Common, Output, api::Api, lab::Lab},
    files, memory,
};

/// What is to be run, and where what comes of it goes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ScenarioArgs {
    /// A scenario in TOML; docs/chaos.md.
    pub(super) scenario: PathBuf,
    /// Where the history, the report and the results go: a directory that is made, or is empty.
    #[arg(long)]
    out: PathBuf,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// The program that nodes begin with, for a scenario that upgrades them: that of the release before.
    #[arg(long, value_name = "PROGRAM")]
    from: Option<PathBuf>,
}

/// A scenario that can be run.
pub(in crate::cli) struct Errand {
    pub(in crate::cli) scenario: Scenario,
    pub(in crate::cli) timeline: Timeline,
    document: Vec<u8>,
    program: Option<PathBuf>,
    out: PathBuf,
}

/// Reads what a laboratory is to run, and begins it.
///
/// # Errors
/// A scenario that is wrong, or of which this laboratory cannot do everything; a place where something is already.
pub(in crate::cli) fn errand(
    args: &ScenarioArgs,
    refuses: Refuses<'_>,
    output: &Output,
) -> Result<Errand, CliError> {
    let (scenario, document) = scenario(&args.scenario, refuses, output)?;
    if scenario.target != Target::Lab {
        let text = "a laboratory breaks the cluster that it makes: use target = \"lab\", or `fieldmesh chaos run`";
        return Err(CliError::usage(format!("{}: {text}", args.scenario.display())));
    }
    // What the kernel does holds nothing: it leaves nodes less.
    let errand = Errand::of(args, scenario, document, |strike| strike.inside)?;
    errand.begin()?;
    Ok(errand)
}

/// Runs it where each node has a machine of its own, and judges what happened.
///
/// # Errors
/// A run that did not pass.
pub(in crate::cli) async fn run_in_a_lab(
    errand: &Errand,
    lab: &Arc<Lab>,
    output: &Output,
) -> Result<(), CliError> {
    let dir = Some(lab.dir().to_owned());
    let common = Common { config: None, data_dir: dir, json: output.is_json() };
    let history = errand.history();
    // A laboratory ends at once, with all that it made.
    let work = errand.work(&history, Some(lab), &Interrupt::never());
    let ran = run::on_its_own(&common, &work, output).await;
    errand.judged(ran, output)
}

impl Errand {
    pub(super) fn of(
        args: &ScenarioArgs,
        mut scenario: Scenario,
        document: Vec<u8>,
        is_held: fn(&Strike) -> bool,
    ) -> Result<Self, CliError> {
        scenario.seed = args.seed.unwrap_or(scenario.seed);
        let timeline = timeline(&args.scenario, &scenario)?;
        kept::enough(Size::of_a_run(&scenario)).map_err(|why| {
            let (path, remedy) = (args.scenario.display(), "shorten the run, or ask less often");
            CliError::usage(format!("{path}: what it leaves could not be judged: {why}; {remedy}"))
        })?;
        if scenario.target == Target::Lab {
            let memory = has_memory(&scenario, &timeline, is_held, memory::available_bytes());
            memory.map_err(|why| CliError::usage(format!("{}: {why}", args.scenario.display())))?;
        }
        let program = begins_with(args, &scenario, &timeline)?.map(Path::to_owned);
        Ok(Self { scenario, timeline, document, program, out: args.out.clone() })
    }

    /// Makes the place for what comes of it.
    pub(super) fn begin(&self) -> Result<(), CliError> {
        let out = &self.out;
        if out.exists() && !files::is_empty_dir(out) {
            let text = "is there already and not empty: name another";
            return Err(CliError::usage(format!("{} {text}", out.display())));
        }
        let made = files::make_private_dir(out);
        made.map_err(|error| CliError::usage(format!("{}: {error}", out.display())))
    }

    /// Has the ledger of the cluster that is to be broken say so.
    pub(super) async fn chronicled(&self, api: Api) -> Result<Chronicle, CliError> {
        Chronicle::begin(api, &self.scenario, &self.document).await
    }

    pub(super) fn history(&self) -> PathBuf {
        self.out.join(HISTORY)
    }

    pub(super) fn work<'a>(
        &'a self,
        history: &'a Path,
        lab: Option<&Arc<Lab>>,
        interrupt: &Interrupt,
    ) -> Work<'a> {
        Work {
            interrupt: interrupt.clone(),
            scenario: &self.scenario,
            document: &self.document,
            timeline: &self.timeline,
            history,
            program: self.program.as_deref(),
            lab: lab.cloned(),
        }
    }

    /// Judges what happened, where it could be run at all.
    pub(super) fn judged(
        &self,
        ran: Result<(), CliError>,
        output: &Output,
    ) -> Result<(), CliError> {
        // It says nothing of the product.
        ran.map_err(|error| CliError::ended(Ending::Inconclusive as u8, error))?;
        report(&self.out, output)
    }
}

/// Whether this machine, on which all nodes of a laboratory are, has what they are to hold, where it says what it has.
/// Of what befalls one node at a time it holds the most. Whom chance or the leading befalls may be any of them.
///
/// # Errors
/// The line of what is too much, and how much may be held.
fn has_memory(
    scenario: &Scenario,
    timeline: &Timeline,
    is_held: fn(&Strike) -> bool,
    available_bytes: Option<u64>,
) -> Result<(), String> {
    let Some(most_mib) = available_bytes.map(chaos::most_mib) else { return Ok(()) };
    let held: Vec<(&Strike, u64)> = timeline
        .0
        .iter()
        .filter(|strike| is_held(strike))
        .filter_map(|strike| match strike.fault {
            Fault::HeldMemory { mib } => Some((strike, mib)),
            _ => None,
        })
        .collect();
    for (last, _) in &held {
        let now = held.iter().filter(|(one, _)| (one.at_ms..one.until_ms).contains(&last.at_ms));
        let (mut nodes, mut anywhere_mib) = (BTreeMap::new(), 0);
        for (strike, mib) in now {
            let whom = match strike.pick {
                Pick::Node(node) => node..=node,
                Pick::All => 1..=scenario.nodes,
                Pick::Leader(_) | Pick::Random | Pick::Nobody => {
                    anywhere_mib = anywhere_mib.max(*mib);
                    continue;
                }
            };
            for node in whom {
                let most = nodes.entry(node).or_insert(0_u64);
                *most = *mib.max(most);
            }
        }
        let together_mib = nodes.values().copied().fold(0, u64::saturating_add).max(anywhere_mib);
        if together_mib > most_mib {
            return Err(format!(
                "line {}: nodes would hold {together_mib} MiB for nothing, and this machine has {most_mib} to spare: use less",
                scenario.line_of(last)
            ));
        }
    }
    Ok(())
}

/// The program that nodes begin with; a scenario that upgrades them needs one.
fn begins_with<'a>(
    args: &'a ScenarioArgs,
    scenario: &Scenario,
    timeline: &Timeline,
) -> Result<Option<&'a Path>, CliError> {
    let upgrade = timeline.0.iter().find(|strike| strike.fault == Fault::Upgrade);
    let refused = |why: &str| Err(CliError::usage(format!("{}: {why}", args.scenario.display())));
    match &args.from {
        None => match upgrade {
            Some(strike) => refused(&format!(
                "line {}: `upgrade` is from one program to this one; give the one before with --from PROGRAM",
                scenario.line_of(strike)
            )),
            None => Ok(None),
        },
        Some(_) if scenario.target != Target::Lab => {
            refused("--from is for a lab; on a cluster that is there, its nodes are what they are")
        }
        Some(program) if !program.is_file() => {
            let program = program.display();
            Err(CliError::usage(format!("--from {program}: there is no such program")))
        }
        Some(program) => Ok(Some(program)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_chaos::read_scenario;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn held(faults: &str) -> (Scenario, Timeline) {
        let head = "name = \"held\"\nhypothesis = \"there is room\"\nduration = \"60s\"\n[workload]\nrate = 1\n";
        let scenario = read_scenario(&format!("{head}{faults}")).unwrap().value;
        let timeline = Timeline::of(&scenario, scenario.nodes).unwrap();
        (scenario, timeline)
    }

    fn fault(at: u32, pick: &str, mib: u32) -> String {
        format!(
            "\n[[fault]]\nkind = \"memory\"\nat = \"{at}s\"\nfor = \"5s\"\npick = \"{pick}\"\nmib = {mib}\n"
        )
    }

    #[test]
    fn what_this_machine_does_not_have_is_refused_by_line() {
        let of = |faults: &str, available| {
            let (scenario, timeline) = held(faults);
            has_memory(&scenario, &timeline, |_| true, available)
        };
        let one = fault(5, "node:1", 512);
        assert_eq!(of(&one, Some(GIB)), Ok(()));
        assert_eq!(of(&one, None), Ok(()), "where nobody knows, nodes refuse nothing either");
        let refused = of(&one, Some(GIB - 1)).unwrap_err();
        assert!(refused.starts_with("line 8: nodes would hold 512 MiB"), "{refused}");
        // Each of three nodes.
        let all = fault(5, "all", 171);
        assert!(of(&all, Some(GIB)).unwrap_err().contains("513 MiB"));
        // A node holds the most of what it is to hold at a time.
        let twice = [one.clone(), fault(6, "node:1", 300)].concat();
        assert_eq!(of(&twice, Some(GIB)), Ok(()));
        // Of whom chance befalls it is not said that it is another one.
        let by_chance = [one.clone(), fault(6, "random", 500)].concat();
        assert_eq!(of(&by_chance, Some(GIB)), Ok(()));
        // What no node holds takes nothing.
        let (scenario, timeline) = held(&one);
        assert_eq!(has_memory(&scenario, &timeline, |strike| strike.inside, Some(0)), Ok(()));
        // One after the other they fit, not together.
        let apart = [one.clone(), fault(20, "node:2", 512)].concat();
        assert_eq!(of(&apart, Some(GIB)), Ok(()));
        let together = [one, fault(8, "node:2", 1)].concat();
        let refused = of(&together, Some(GIB)).unwrap_err();
        assert!(refused.starts_with("line 15: ") && refused.contains("513 MiB"), "{refused}");
    }
}
