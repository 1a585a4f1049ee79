//! `rule`: trigger rules, examined here, tried on past tickets and written by the server.
//!
//! `lint` and `test` need no server, so that they run where documents are kept; `lint --ask` asks one. **Not
//! here:** what rules are (`fieldmesh_rules`), what the server demands (`web::rules`).

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Common, Output, api::Api, import::progress};
use crate::{
    files,
    web::{
        documents::{Draft, NewVersion, VersionView, VersionsView},
        rules::{AppliedView, BacktestView, FindingView, LintView, ReportView, TestView},
    },
};

/// A document that is examined.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    common: Common,
    /// Rules in TOML.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    #[command(flatten)]
    of: FileArgs,
    /// Ask the node too, which knows what the technicians of its region can do.
    #[arg(long)]
    ask: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    of: FileArgs,
    /// The version that it was written over; the newest one unless given.
    #[arg(long)]
    base: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    common: Common,
    /// One of the last 16.
    version: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleVerb {
    /// Says everything that is wrong with rules, with line and column.
    Lint(LintArgs),
    /// Runs the tests that are written in the document.
    Test(FileArgs),
    /// Tries rules on the region's newest tickets, and changes nothing.
    Backtest(FileArgs),
    /// Makes the document the rules in force.
    Apply(ApplyArgs),
    /// Writes an old version anew: the one before the newest unless given.
    Rollback(VersionArgs),
    /// Shows a version: the newest unless given.
    Show(VersionArgs),
    /// Lists the versions that are kept.
    History {
        #[command(flatten)]
        common: Common,
    },
}

impl RuleVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Lint(args) => &args.of.common,
            Self::Test(args) | Self::Backtest(args) => &args.common,
            Self::Apply(args) => &args.of.common,
            Self::Rollback(args) | Self::Show(args) => &args.common,
            Self::History { common } => common,
        }
    }
}

pub(crate) async fn run(verb: &RuleVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        RuleVerb::Lint(args) => lint(args, output).await,
        RuleVerb::Test(args) => test(&args.file, output),
        RuleVerb::Backtest(args) => backtest(args, output).await,
        RuleVerb::Apply(args) => apply(args, output).await,
        RuleVerb::Rollback(args) => rollback(args, output).await,
        RuleVerb::Show(args) => show(args, output).await,
        RuleVerb::History { common } => history(common, output).await,
    }
}

fn read(file: &Path) -> Result<String, CliError> {
    let wrong =
        |error: &dyn core::fmt::Display| CliError::usage(format!("{}: {error}", file.display()));
    let bytes = files::read(file).map_err(|error| wrong(&error))?;
    String::from_utf8(bytes).map_err(|error| wrong(&error))
}

async fn lint(args: &LintArgs, output: &Output) -> Result<(), CliError> {
    let (file, text) = (&args.of.file, read(&args.of.file)?);
    let view: LintView = if args.ask {
        Api::from_common(&args.of.common)?.post("/v1/rules:lint", &Draft { text }).await?
    } else {
        LintView::of(&fieldmesh_rules::lint(&text))
    };
    for finding in &view.findings {
        output.say(format_args!("{}:{}", file.display(), line(finding)));
    }
    let is_usable = view.is_usable;
    output.result(json!(view));
    if is_usable {
        return Ok(());
    }
    Err(CliError::failed(format!("{}: the rules cannot be used", file.display())))
}

/// A finding in a line.
fn line(finding: &FindingView) -> String {
    let FindingView { line, column, severity, within, text } = finding;
    let within = within.as_ref().map(|within| format!("{within}: ")).unwrap_or_default();
    format!("{line}:{column}: {severity}: {within}{text}")
}

fn test(file: &Path, output: &Output) -> Result<(), CliError> {
    let rules = fieldmesh_rules::compile(&read(file)?)
        .map_err(|error| CliError::failed(format!("{}: {error}", file.display())))?;
    let reports = fieldmesh_rules::check_tests(&rules);
    let views: Vec<TestView> = reports.iter().map(TestView::of).collect();
    for view in &views {
        let came = if view.passed { "passes" } else { "fails" };
        output.say(format_args!("{}:{}: {} {came}", file.display(), view.line, view.name));
        for difference in &view.differences {
            output.say(format_args!("  {difference}"));
        }
    }
    let failed = views.iter().filter(|view| !view.passed).count();
    output.result(json!({ "tests": views, "failed": failed }));
    if failed == 0 {
        return Ok(());
    }
    Err(CliError::failed(format!("{}: {failed} test(s) fail", file.display())))
}

async fn backtest(args: &FileArgs, output: &Output) -> Result<(), CliError> {
    let (draft, api) = (Draft { text: read(&args.file)? }, Api::from_common(&args.common)?);
    let bar = progress(0, output);
    let report = loop {
        let view: BacktestView = api.post("/v1/rules:backtest", &draft).await?;
        bar.set_length(view.of as u64);
        bar.set_position(view.read as u64);
        if let Some(report) = view.report {
            break report;
        }
    };
    bar.finish_and_clear();
    tell(&report, output);
    output.result(json!(report));
    Ok(())
}

fn tell(report: &ReportView, output: &Output) {
    let ReportView { tickets, untouched, rerouted, failed, failed_before, .. } = report;
    output.say(format_args!(
        "{tickets} tickets: {untouched} as without rules, {rerouted} by another route, {failed} \
         with a rule that failed ({failed_before} with the rules in force)"
    ));
    for change in &report.priorities {
        output.say(format_args!(
            "  priority {} instead of {}: {} tickets",
            change.now, change.before, change.tickets
        ));
    }
    for rule in &report.rules {
        output.say(format_args!(
            "  {:<32} holds for {}, ends {}, fails for {} {}",
            rule.rule,
            rule.matched,
            rule.stopped,
            rule.failed,
            rule.why.join("; ")
        ));
    }
}

async fn versions(api: &Api) -> Result<VersionsView, CliError> {
    api.get("/v1/rules").await
}

/// The newest version; 0 before the first.
async fn newest(api: &Api) -> Result<u32, CliError> {
    let versions = versions(api).await?.versions;
    Ok(versions.last().map_or(0, |newest| newest.version))
}

async fn put(api: &Api, text: String, base: u32, output: &Output) -> Result<(), CliError> {
    let applied: AppliedView = api.put("/v1/rules", &NewVersion { text, base }).await?;
    for warning in &applied.warnings {
        output.say(line(warning));
    }
    output.say(format_args!("version {} of the rules is in force", applied.written.version));
    output.result(json!(applied));
    Ok(())
}

async fn apply(args: &ApplyArgs, output: &Output) -> Result<(), CliError> {
    let text = read(&args.of.file)?;
    let api = Api::from_common(&args.of.common)?;
    let base = match args.base {
        Some(base) => base,
        None => newest(&api).await?,
    };
    let put = put(&api, text, base, output).await;
    put.map_err(|error| error.within(args.of.file.display()))
}

async fn version(api: &Api, version: u32) -> Result<VersionView, CliError> {
    api.get(&format!("/v1/rules/{version}")).await
}

async fn rollback(args: &VersionArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let base = newest(&api).await?;
    let wanted = args.version.unwrap_or(base.saturating_sub(1));
    if wanted == 0 {
        return Err(CliError::refused("there is no version before: name one, or apply a document"));
    }
    let old = version(&api, wanted).await?;
    put(&api, old.text.unwrap_or_default(), base, output).await
}

async fn show(args: &VersionArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let wanted = match args.version {
        Some(version) => version,
        None => newest(&api).await?,
    };
    if wanted == 0 {
        return Err(CliError::refused("there are no rules yet: apply a document"));
    }
    let shown = version(&api, wanted).await?;
    output.say(shown.text.as_deref().unwrap_or_default());
    output.result(json!(shown));
    Ok(())
}

async fn history(common: &Common, output: &Output) -> Result<(), CliError> {
    let versions = versions(&Api::from_common(common)?).await?;
    for version in &versions.versions {
        let mark = if versions.in_force == Some(version.version) { "in force" } else { "" };
        output.say(format_args!(
            "{:>6}  {}  {:>6} bytes  {}  {mark}",
            version.version, version.at_ms, version.bytes, version.by
        ));
    }
    output.result(json!(versions));
    Ok(())
}
