//! `webhook apply`, `list`, `test`, `dead`, `replay` and so on: what leaves the system, by the command line.
//!
//! **Not here:** what the verbs do (`web::notices`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CliError, Common, Output, api::Api};
use crate::{
    dates, files,
    web::notices::{
        Asked, Deliveries, DeliveryView, Linted, NewDocument, NewText, SecretView, TargetsView,
        WrittenView,
    },
};

/// Pages of deliveries that are read: more are not kept.
const PAGES_MAX: usize = 64;

/// A target.
#[derive(Debug, Clone, Args)]
pub(crate) struct Named {
    #[command(flatten)]
    common: Common,
    /// The target's name.
    name: String,
}

/// A document.
#[derive(Debug, Clone, Args)]
pub(crate) struct File {
    #[command(flatten)]
    common: Common,
    /// TOML; see docs/webhooks.md.
    file: PathBuf,
}

/// Deliveries.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    common: Common,
    /// Only those for this target.
    #[arg(long)]
    target: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum WebhookVerb {
    /// Writes the targets of a file down, in place of those before.
    Apply {
        #[command(flatten)]
        file: File,
        /// The version that it is written over; the newest unless given.
        #[arg(long)]
        base: Option<u32>,
    },
    /// Looks for mistakes in a file.
    Lint(File),
    /// Shows the targets and how they do.
    List(Common),
    /// Shows what a target's owner checks signatures with.
    Secret(Named),
    /// Sends a notice to one target.
    Test(Named),
    /// Tells a target again that answered 410.
    Open(Named),
    /// Shows deliveries, oldest first.
    Log {
        #[command(flatten)]
        which: Which,
        /// queued, sent, delivered, failed or dead.
        #[arg(long)]
        state: Option<String>,
    },
    /// Shows what is not tried any more.
    Dead(Which),
    /// Tries dead ones again.
    Replay {
        #[command(flatten)]
        which: Which,
        /// By number; all that are dead unless given.
        numbers: Vec<u64>,
    },
}

impl WebhookVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Apply { file, .. } | Self::Lint(file) => &file.common,
            Self::List(common) => common,
            Self::Secret(named) | Self::Test(named) | Self::Open(named) => &named.common,
            Self::Log { which, .. } | Self::Dead(which) | Self::Replay { which, .. } => {
                &which.common
            }
        }
    }
}

pub(crate) async fn run(verb: &WebhookVerb, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(verb.common())?;
    match verb {
        WebhookVerb::Apply { file, base } => apply(&api, file, *base, output).await,
        WebhookVerb::Lint(file) => {
            let linted = linted(&api, file, output).await?;
            output.say(format_args!("{} targets, no mistakes", linted.targets));
            output.result(json!(linted));
            Ok(())
        }
        WebhookVerb::List(_) => list(&api, output).await,
        WebhookVerb::Secret(named) => {
            let path = format!("/v1/webhooks/{}/secret", plain(&named.name)?);
            let shown: SecretView = api.get(&path).await?;
            output.say(&shown.secret);
            output.result(json!(shown));
            Ok(())
        }
        WebhookVerb::Test(named) => ask(&api, &named.name, "test", output).await,
        WebhookVerb::Open(named) => ask(&api, &named.name, "open", output).await,
        WebhookVerb::Log { which, state } => show(&api, which, state.as_deref(), output).await,
        WebhookVerb::Dead(which) => show(&api, which, Some("dead"), output).await,
        WebhookVerb::Replay { which, numbers } => replay(&api, which, numbers, output).await,
    }
}

/// A name or state that stands in a path as it is.
fn plain(text: &str) -> Result<&str, CliError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text);
    }
    Err(CliError::usage(format!("{text:?} is no target's name, nor a state")))
}

fn text(file: &File) -> Result<String, CliError> {
    let path = &file.file;
    let refuse = |why: String| CliError::usage(format!("{}: {why}", path.display()));
    let bytes = files::read(path).map_err(|error| refuse(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| refuse("the file is not UTF-8".into()))
}

/// What the server says of a file; an error where something is wrong with it.
async fn linted(api: &Api, file: &File, output: &Output) -> Result<Linted, CliError> {
    let linted: Linted = api.post("/v1/webhooks/lint", &NewText { text: text(file)? }).await?;
    let path = file.file.display();
    for found in &linted.findings {
        output.say(format_args!("{path}:{}:{}: {}", found.line, found.column, found.text));
    }
    let Some(first) = linted.findings.first() else { return Ok(linted) };
    let at = format!("{path}:{}:{}: {}", first.line, first.column, first.text);
    let others = linted.findings.len() - 1;
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    Err(CliError::refused(format!("{at}{more}")))
}

async fn apply(api: &Api, file: &File, base: Option<u32>, output: &Output) -> Result<(), CliError> {
    let linted = linted(api, file, output).await?;
    let base = match base {
        Some(base) => base,
        None => api.get::<TargetsView>("/v1/webhooks").await?.version,
    };
    let document = NewDocument { text: text(file)?, base };
    let written: WrittenView = api.put("/v1/webhooks", &document).await?;
    let (targets, version) = (linted.targets, written.version);
    output.say(format_args!("{targets} targets are in force as version {version}"));
    output.result(json!({ "version": version, "targets": targets }));
    Ok(())
}

async fn list(api: &Api, output: &Output) -> Result<(), CliError> {
    let shown: TargetsView = api.get("/v1/webhooks").await?;
    for target in &shown.targets {
        let state = match (&target.closed, target.waiting) {
            (Some(why), _) => format!("closed: {why}"),
            (None, 0) => "nothing waits".into(),
            (None, waiting) => format!("{waiting} wait"),
        };
        let events = target.events.join(",");
        output
            .say(format_args!("{} {} {} [{events}] {state}", target.kind, target.name, target.url));
    }
    output.result(json!(shown));
    Ok(())
}

async fn ask(api: &Api, name: &str, verb: &str, output: &Output) -> Result<(), CliError> {
    let path = format!("/v1/webhooks/{}/{verb}", plain(name)?);
    let asked: Asked = api.post(&path, &json!({})).await?;
    output.say(&asked.done);
    output.result(json!(asked));
    Ok(())
}

async fn deliveries(
    api: &Api,
    which: &Which,
    state: Option<&str>,
) -> Result<Vec<DeliveryView>, CliError> {
    let (mut found, mut after) = (Vec::new(), 0);
    for _ in 0..PAGES_MAX {
        let mut path = format!("/v1/notices?limit=1000&after={after}");
        for (key, value) in [("state", state), ("target", which.target.as_deref())] {
            if let Some(value) = value {
                path = format!("{path}&{key}={}", plain(value)?);
            }
        }
        let page: Deliveries = api.get(&path).await?;
        found.extend(page.notices);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    Ok(found)
}

async fn show(
    api: &Api,
    which: &Which,
    state: Option<&str>,
    output: &Output,
) -> Result<(), CliError> {
    let found = deliveries(api, which, state).await?;
    for one in &found {
        let DeliveryView { number, target, what, ticket, state, attempts, reason, .. } = one;
        let at = dates::date(one.at_ms / 1000);
        output.say(format_args!(
            "{number} {at} {target} {what} {ticket} {state} after {attempts} attempts {reason}"
        ));
    }
    output.result(json!({ "notices": found }));
    Ok(())
}

async fn replay(
    api: &Api,
    which: &Which,
    numbers: &[u64],
    output: &Output,
) -> Result<(), CliError> {
    let numbers: Vec<u64> = match numbers {
        [] => {
            let dead = deliveries(api, which, Some("dead")).await?;
            dead.iter().map(|one| one.number).collect()
        }
        some => some.to_vec(),
    };
    for number in &numbers {
        let path = format!("/v1/notices/{number}/replay");
        let _: Value = api.post(&path, &json!({})).await?;
    }
    output.say(format_args!("{} notices are tried again", numbers.len()));
    output.result(json!({ "replayed": numbers }));
    Ok(())
}
