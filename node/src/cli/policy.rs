//! `policy` and `sla`: documents about who is asked and told, and about what is promised.
//!
//! `lint` and `simulate` of a file need no server.
//!
//! **Not here:** what a document says (the policies' package), silences (`windows`).

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fieldmesh_policy::{Read, Refused, read_policies, read_targets};
use fieldmesh_rules::{Finding, Severity};
use serde_json::json;

use super::{CliError, Common, Output, api::Api};
use crate::{
    files,
    web::policies::{
        DocumentView, FindingView, LintView, NewDocument, WrittenView,
        simulation::{NewSimulation, PersonView, ResponderView},
    },
};

/// A file to examine.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    common: Common,
    /// The document, in TOML.
    file: PathBuf,
}

/// A file to examine, with whom the node knows.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Ask the node too, which knows who can be told.
    #[arg(long)]
    ask: bool,
}

/// A file to write.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The version that it is written over; the newest one unless given.
    #[arg(long)]
    base: Option<u32>,
}

/// Which version.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    common: Common,
    /// One of the last sixteen; the newest unless given.
    version: Option<u32>,
}

/// A policy and a situation.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The policy by name; the one that fits the ticket unless given.
    #[arg(long)]
    policy: Option<String>,
    /// 1 is the highest, 5 the lowest.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    priority: u8,
    /// The kind of work.
    #[arg(long, default_value_t = 0)]
    category: u16,
    /// The customer's; 1 is the best service level.
    #[arg(long, default_value_t = 2)]
    tier: u8,
    /// A technician, in the order in which the desk would choose: its distance in km, and `never`,
    /// `accepts:SECONDS` or `declines:SECONDS`, as in 12:accepts:30.
    #[arg(long = "technician")]
    technicians: Vec<String>,
    /// A person who answers when it is told for the so many-th time, as in duty:3.
    #[arg(long = "answers")]
    people: Vec<String>,
    /// Hours that are looked at.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=168))]
    hours: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Says everything that is wrong with a file, with row and column.
    Lint(LintArgs),
    /// Shows who is asked and told when, in a situation that is made up.
    Simulate(SimulateArgs),
    /// Puts a file in force.
    Apply(ApplyArgs),
    /// Shows what is in force.
    Show(VersionArgs),
    /// Puts an older version in force again: the one before unless given.
    Rollback(VersionArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SlaVerb {
    /// Says everything that is wrong with a file, with row and column.
    Lint(FileArgs),
    /// Puts a file in force.
    Apply(ApplyArgs),
    /// Shows what is in force.
    Show(VersionArgs),
    /// Puts an older version in force again: the one before unless given.
    Rollback(VersionArgs),
}

impl PolicyVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Lint(args) => &args.file.common,
            Self::Simulate(args) => &args.file.common,
            Self::Apply(args) => &args.file.common,
            Self::Show(args) | Self::Rollback(args) => &args.common,
        }
    }
}

impl SlaVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Lint(args) => &args.common,
            Self::Apply(args) => &args.file.common,
            Self::Show(args) | Self::Rollback(args) => &args.common,
        }
    }
}

const POLICIES: &str = "/v1/documents/policies";
const CALENDARS: &str = "/v1/documents/calendars";

pub(crate) async fn policy(verb: &PolicyVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        PolicyVerb::Lint(LintArgs { file, ask: true }) => ask(file, output).await,
        PolicyVerb::Lint(LintArgs { file: args, .. }) => {
            let text = text(&args.file)?;
            lint(&args.file, read_policies(&text, None), output)
        }
        PolicyVerb::Simulate(args) => simulate(args, output),
        PolicyVerb::Apply(args) => apply(POLICIES, args, output).await,
        PolicyVerb::Show(args) => show(POLICIES, args, output).await,
        PolicyVerb::Rollback(args) => rollback(POLICIES, args, output).await,
    }
}

pub(crate) async fn sla(verb: &SlaVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        SlaVerb::Lint(args) => {
            let text = text(&args.file)?;
            lint(&args.file, read_targets(&text), output)
        }
        SlaVerb::Apply(args) => apply(CALENDARS, args, output).await,
        SlaVerb::Show(args) => show(CALENDARS, args, output).await,
        SlaVerb::Rollback(args) => rollback(CALENDARS, args, output).await,
    }
}

fn text(file: &Path) -> Result<String, CliError> {
    let bytes = files::read(file)
        .map_err(|error| CliError::usage(format!("{}: {error}", file.display())))?;
    String::from_utf8(bytes)
        .map_err(|_| CliError::usage(format!("{} is not UTF-8 text", file.display())))
}

/// Says what was found; an error where it is refused.
fn lint<T>(file: &Path, read: Result<Read<T>, Refused>, output: &Output) -> Result<(), CliError> {
    let (found, is_refused) = match read {
        Ok(read) => (read.warnings, false),
        Err(Refused(findings)) => (findings, true),
    };
    for finding in &found {
        output.say(format_args!("{}:{finding}", file.display()));
    }
    let findings: Vec<FindingView> = found.iter().map(FindingView::of).collect();
    output.result(json!({ "findings": findings, "is_refused": is_refused }));
    if is_refused { Err(refused(file, &found)) } else { Ok(()) }
}

/// The same, as the node sees it.
async fn ask(args: &FileArgs, output: &Output) -> Result<(), CliError> {
    let document = NewDocument { text: text(&args.file)?, base: None };
    let api = Api::from_common(&args.common)?;
    let found: LintView = api.post(&format!("{POLICIES}/lint"), &document).await?;
    let file = args.file.display();
    let lines = found.findings.iter().map(|finding| {
        let FindingView { line, column, severity, text } = finding;
        format!("{line}:{column}: {severity}: {text}")
    });
    let lines: Vec<String> = lines.collect();
    for line in &lines {
        output.say(format_args!("{file}:{line}"));
    }
    output.result(json!(found));
    if found.is_refused {
        let errors = found.findings.iter().zip(&lines).filter(|(one, _)| one.severity == "error");
        let errors: Vec<&str> = errors.map(|(_, line)| line.as_str()).collect();
        return Err(CliError::refused(format!("{file} is refused: {}", errors.join("; "))));
    }
    Ok(())
}

fn refused(file: &Path, found: &[Finding]) -> CliError {
    let errors = found.iter().filter(|one| one.severity == Severity::Error);
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    CliError::refused(format!("{} is refused: {}", file.display(), errors.join("; ")))
}

async fn apply(path: &str, args: &ApplyArgs, output: &Output) -> Result<(), CliError> {
    let ApplyArgs { file, base } = args;
    let document = NewDocument { text: text(&file.file)?, base: *base };
    let written: WrittenView = Api::from_common(&file.common)?.put(path, &document).await?;
    said(&written, output);
    Ok(())
}

/// Says which version is in force now.
pub(super) fn said(written: &WrittenView, output: &Output) {
    for warning in &written.warnings {
        let FindingView { line, column, text, .. } = warning;
        output.say(format_args!("{line}:{column}: warning: {text}"));
    }
    output.say(format_args!("version {} of the {} is in force", written.version, written.kind));
    output.result(json!(written));
}

async fn document(api: &Api, path: &str, version: Option<u32>) -> Result<DocumentView, CliError> {
    match version {
        None => api.get(path).await,
        Some(version) => api.get(&format!("{path}/{version}")).await,
    }
}

async fn show(path: &str, args: &VersionArgs, output: &Output) -> Result<(), CliError> {
    let found = document(&Api::from_common(&args.common)?, path, args.version).await?;
    if found.version == 0 {
        output.say(format_args!("nobody has written {} yet: the built-in ones hold", found.kind));
        if path == POLICIES {
            output.say("they tell no person: nobody hears of a ticket that no technician takes");
        }
    } else {
        output.say(format_args!("# version {} by {}", found.version, found.by));
        output.say(found.text.trim_end());
    }
    output.result(json!(found));
    Ok(())
}

async fn rollback(path: &str, args: &VersionArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let newest = document(&api, path, None).await?;
    let before = newest.kept.iter().rev().copied().find(|version| *version < newest.version);
    let wanted = args.version.or(before).ok_or_else(|| {
        CliError::refused(format!("there is no version of the {} before this one", newest.kind))
    })?;
    let old = document(&api, path, Some(wanted)).await?;
    let again = NewDocument { text: old.text, base: Some(newest.version) };
    let written: WrittenView = api.put(path, &again).await?;
    said(&written, output);
    Ok(())
}

fn simulate(args: &SimulateArgs, output: &Output) -> Result<(), CliError> {
    let file = &args.file.file;
    let policies = match read_policies(&text(file)?, None) {
        Ok(read) => read.value,
        refused => return lint(file, refused, output),
    };
    let technicians = args.technicians.iter().map(|text| responder(text));
    let people = args.people.iter().map(|text| person(text));
    let simulation = NewSimulation {
        text: None,
        policy: args.policy.clone(),
        priority: args.priority,
        category: args.category,
        tier: args.tier,
        technicians: technicians.collect::<Result<_, _>>()?,
        people: people.collect::<Result<_, _>>()?,
        until_s: args.hours * 3600,
    };
    let timeline = simulation.timeline(&policies).map_err(CliError::refused)?;
    output.say(format_args!("policy {}", timeline.policy));
    for moment in &timeline.moments {
        let (minutes, seconds) = (moment.at_s / 60, moment.at_s % 60);
        let (what, detail) = (&moment.what, &moment.detail);
        output.say(format_args!("{minutes:>5}:{seconds:02}  {what:<12} {detail}"));
    }
    output.result(json!(timeline));
    Ok(())
}

fn responder(text: &str) -> Result<ResponderView, CliError> {
    let error = || {
        CliError::usage(format!(
            "{text:?} is no technician: write its distance in km and what it does, as in \
             12:accepts:30, 12:declines:30 or 12:never"
        ))
    };
    let mut parts = text.split(':');
    let distance_km: u32 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(error)?;
    let (what, after) = (parts.next(), parts.next().map(str::parse::<u64>));
    let mut view = ResponderView {
        distance_m: distance_km.saturating_mul(1000),
        accepts_after_s: None,
        declines_after_s: None,
    };
    match (what, after, parts.next()) {
        (Some("accepts"), Some(Ok(after_s)), None) => view.accepts_after_s = Some(after_s),
        (Some("declines"), Some(Ok(after_s)), None) => view.declines_after_s = Some(after_s),
        (Some("never"), None, None) => {}
        _ => return Err(error()),
    }
    Ok(view)
}

fn person(text: &str) -> Result<PersonView, CliError> {
    let parts = text.rsplit_once(':').and_then(|(name, at)| Some((name, at.parse().ok()?)));
    let (name, at_telling) = parts.ok_or_else(|| {
        CliError::usage(format!("{text:?} is no answer: write who answers when, as in duty:3"))
    })?;
    Ok(PersonView { name: name.to_owned(), at_telling, after_s: 0 })
}
