//! The command line: arguments, output, exit codes.
//!
//! How it ends is in `EXIT_CODES`; a run of chaos has codes of its own (`chaos`). With `--json` the last line of
//! standard output is one object.

mod api;
mod attachments;
mod audit;
mod backup;
mod bench;
mod ca;
mod catchup;
mod chaos;
mod cluster;
mod demo;
mod desk;
mod dispatch;
mod failover;
mod field;
mod fleet;
mod forget;
mod found;
mod grow;
mod handover;
mod herd;
mod idle;
mod import;
mod import_check;
mod import_shifts;
mod intake;
mod join;
pub mod lab;
mod lists;
mod orders;
mod output;
mod overload;
mod people;
mod policy;
pub mod population;
mod promote;
mod recover;
mod replay;
mod replay_input;
mod report;
mod restore;
mod root;
mod rotate;
mod rule;
mod serve;
mod shifts;
mod silence;
mod standing;
mod strikes;
mod submit;
mod tally;
mod unlock;
mod verify;
mod watch;
mod webhook;
mod windows;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

pub use output::CliError;
use output::Output;

use crate::config::{Config, LogFormat};

/// What a command ends with; README.md has the same.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, or a promise was broken; 2 usage, configuration, or a node that \
                          cannot start; 3 refused by the service, or by the other nodes; 69 server not reachable; \
                          74 storage failed while the node ran";

/// Confidential service requests, dispatched.
#[derive(Debug, Parser)]
#[command(name = "fieldmesh", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Configuration file; see cluster.toml.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Directory of the node.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// One JSON object as the last line of the output.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a deployment: root, issuing CA, keys.
    Init(serve::InitArgs),
    /// Makes this machine a node of a cluster that is there already.
    Join(join::JoinArgs),
    /// Runs the node of a deployment.
    Node(serve::NodeArgs),
    /// Has this machine's node, which must not be running, forget what it heard of another one's starts, so that it
    /// refuses no directory of that one as older; docs/runbook.md says when.
    ForgetStarts(forget::ForgetArgs),
    /// Gives a sealed node of this machine its passphrase or PIN.
    Unseal(serve::UnsealArgs),
    /// Runs one node with everything embedded; makes the deployment where there is none.
    Dev(serve::DevArgs),
    /// Shows one ticket's way through all 18 steps of the claim.
    Demo(demo::DemoArgs),
    /// Sends a service desk's log through the whole loop, with real devices, and reports.
    Replay(replay::ReplayArgs),
    /// Measures: a cluster of this machine's own, or the planner.
    #[command(subcommand)]
    Bench(bench::BenchVerb),
    /// Breaks a cluster on purpose and says whether its promises held; docs/chaos.md.
    #[command(subcommand)]
    Chaos(chaos::ChaosVerb),
    /// Tickets: list, submit, show, explain, watch, and what operators order of them.
    #[command(subcommand)]
    Ticket(lists::TicketVerb),
    /// Technicians: list, show, import, set, suspend, health.
    #[command(subcommand)]
    Tech(lists::TechVerb),
    /// What the desk would answer, and the plan of a day.
    #[command(subcommand)]
    Dispatch(desk::DispatchVerb),
    /// What is told outside: targets, deliveries, dead letters.
    #[command(subcommand)]
    Webhook(webhook::WebhookVerb),
    /// Customers: list, show, import, set, prefer, suspend.
    #[command(subcommand)]
    Customer(lists::CustomerVerb),
    /// Technicians' rosters: set, import, export, who works when, swaps.
    #[command(subcommand)]
    Shift(shifts::ShiftVerb),
    /// Registers many from CSV: customers, technicians, shifts.
    #[command(subcommand)]
    Import(lists::ImportVerb),
    /// Escalation policies: who is asked and told when nobody takes a ticket.
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Calendars, and what is promised to which tickets.
    #[command(subcommand)]
    Sla(policy::SlaVerb),
    /// Silences: for which tickets nobody is sought for a while.
    #[command(subcommand)]
    Silence(windows::SilenceVerb),
    /// Maintenance windows.
    #[command(subcommand)]
    Maint(windows::MaintVerb),
    /// Programs that report alarms for a customer: create, list, revoke.
    #[command(subcommand)]
    Intake(intake::IntakeVerb),
    /// Trigger rules: what a ticket is worth, who is told, what belongs together.
    #[command(subcommand)]
    Rule(rule::RuleVerb),
    /// The cluster's nodes and groups.
    #[command(subcommand)]
    Cluster(cluster::ClusterVerb),
    /// Writes a region's state and secrets to a directory, encrypted, while the cluster runs.
    Backup(backup::BackupArgs),
    /// Makes this machine the first node of what goes on of a region, from a backup.
    Restore(restore::RestoreArgs),
    /// Makes this machine the first node of a region of which all nodes are lost, from what other regions
    /// hold of it.
    Promote(promote::PromoteArgs),
    /// Has the cluster go on without regions that are lost for good and took its majority with them, from this machine's
    /// node, which must not be running; docs/operations.md says when.
    Recover(recover::RecoverArgs),
    /// The certification authority: tokens, requests, certificates, revocation.
    #[command(subcommand)]
    Ca(ca::CaVerb),
}

/// Runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.verb.common().json);
    let result = run(cli.verb, &output);
    output.finish(result)
}

impl Verb {
    fn common(&self) -> &Common {
        match self {
            Self::Init(args) => &args.common,
            Self::Join(args) => &args.common,
            Self::Node(args) => &args.common,
            Self::ForgetStarts(args) => &args.common,
            Self::Unseal(args) => &args.common,
            Self::Dev(args) => &args.common,
            Self::Demo(args) => &args.common,
            Self::Replay(args) => &args.common,
            Self::Bench(verb) => verb.common(),
            Self::Chaos(verb) => verb.common(),
            Self::Ticket(verb) => verb.common(),
            Self::Tech(verb) => verb.common(),
            Self::Dispatch(verb) => verb.common(),
            Self::Customer(verb) => verb.common(),
            Self::Shift(verb) => verb.common(),
            Self::Import(verb) => verb.common(),
            Self::Policy(verb) => verb.common(),
            Self::Sla(verb) => verb.common(),
            Self::Silence(verb) => verb.common(),
            Self::Maint(verb) => verb.common(),
            Self::Rule(verb) => verb.common(),
            Self::Cluster(verb) => verb.common(),
            Self::Backup(args) => args.common(),
            Self::Restore(args) => &args.common,
            Self::Promote(args) => &args.common,
            Self::Recover(args) => &args.common,
            Self::Webhook(verb) => verb.common(),
            Self::Intake(verb) => verb.common(),
            Self::Ca(verb) => verb.common(),
        }
    }
}

fn run(verb: Verb, output: &Output) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match verb {
            Verb::Init(args) => serve::init(&args, output),
            Verb::Join(args) => join::join(&args, output).await,
            Verb::Node(args) => serve::node(&args, output).await,
            Verb::ForgetStarts(args) => forget::forget(&args, output).await,
            Verb::Unseal(args) => serve::unseal(&args, output).await,
            Verb::Dev(args) => serve::dev(&args, output).await,
            Verb::Demo(args) => demo::run(&args, output).await,
            Verb::Replay(args) => replay::run(&args, output).await,
            Verb::Bench(verb) => bench::run(&verb, output).await,
            Verb::Chaos(verb) => chaos::chaos(&verb, output).await,
            Verb::Ticket(verb) => lists::ticket(&verb, output).await,
            Verb::Tech(verb) => lists::tech(&verb, output).await,
            Verb::Dispatch(verb) => desk::run(&verb, output).await,
            Verb::Customer(verb) => lists::customer(&verb, output).await,
            Verb::Webhook(verb) => webhook::run(&verb, output).await,
            Verb::Shift(verb) => shifts::run(&verb, output).await,
            Verb::Import(verb) => lists::import(&verb, output).await,
            Verb::Policy(verb) => policy::policy(&verb, output).await,
            Verb::Sla(verb) => policy::sla(&verb, output).await,
            Verb::Silence(verb) => windows::silence(&verb, output).await,
            Verb::Maint(verb) => windows::maint(&verb, output).await,
            Verb::Intake(verb) => intake::run(&verb, output).await,
            Verb::Rule(verb) => rule::run(&verb, output).await,
            Verb::Cluster(verb) => cluster::run(&verb, output).await,
            Verb::Backup(args) => backup::run(&args, output).await,
            Verb::Restore(args) => restore::restore(&args, output).await,
            Verb::Promote(args) => promote::promote(&args, output).await,
            Verb::Recover(args) => recover::recover(&args, output).await,
            Verb::Ca(verb) => ca::run(&verb, output).await,
        }
    })
}

/// The configuration with the flags of the command on top.
pub(crate) fn configuration(
    common: &Common,
    flags: &[(&str, Option<String>)],
) -> Result<Config, CliError> {
    let mut overrides: Vec<(String, String)> = flags
        .iter()
        .filter_map(|(key, value)| value.clone().map(|value| ((*key).to_owned(), value)))
        .collect();
    if let Some(dir) = &common.data_dir {
        overrides.push(("node.data_dir".into(), dir.display().to_string()));
    }
    Config::load(common.config.as_deref(), &overrides)
        .map_err(|error| CliError::usage(output::chain(&error)))
}

/// Log lines go to standard error, so that standard output is for results.
pub(crate) fn start_logging(config: &Config) {
    // The configuration was checked.
    let filter = tracing_subscriber::EnvFilter::new(&config.log.filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log.format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    if let Some(mutant) = fieldmesh_domain::mutant::planted() {
        tracing::error!(
            ?mutant,
            "this program has a deliberate bug, to try checks with: nothing that it does counts"
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What of a command has nothing in `--help`.
    fn unexplained(command: &clap::Command) -> Vec<String> {
        let name = command.get_name();
        let silent = command.get_arguments();
        let silent = silent.filter(|arg| !arg.is_hide_set() && arg.get_help().is_none());
        let mut found: Vec<String> = silent.map(|arg| format!("{name} {}", arg.get_id())).collect();
        if command.get_about().is_none() {
            found.push(name.to_owned());
        }
        found.extend(command.get_subcommands().flat_map(unexplained));
        found
    }

    #[test]
    fn every_command_and_argument_is_explained() {
        assert_eq!(unexplained(&Cli::command()), [""; 0]);
    }
}
