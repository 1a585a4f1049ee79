//! `intake create`, `list`, `revoke`: programs that report alarms for a customer.
//!
//! **Not here:** what the verbs do (`web::integrations`), reports (`web::intake`).

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{CliError, Common, Output, api::Api, lists::plain};
use crate::{
    dates,
    web::integrations::{Integrations, NewIntegration, NewKey, NewLabel, NewSeverity},
};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    /// The webhook receiver of Prometheus's Alertmanager.
    Alertmanager,
    /// PagerDuty's Events API v2.
    Pagerduty,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    common: Common,
    /// Whom it reports for.
    #[arg(long)]
    customer: String,
    /// In whose form it reports.
    #[arg(long, value_enum)]
    kind: Form,
    /// As events call it.
    #[arg(long)]
    name: String,
    /// The category of what it reports.
    #[arg(long)]
    category: u16,
    /// The kind within the category.
    #[arg(long, default_value_t = 0)]
    subcategory: u16,
    /// SEVERITY=IMPACT/URGENCY, the worst first; critical=1/1, error=1/2, warning=2/2 and info=3/3 unless
    /// given.
    #[arg(long, value_parser = severity)]
    map: Vec<NewSeverity>,
    /// LABEL=VALUE:CATEGORY[/SUBCATEGORY], the first that fits counts.
    #[arg(long, value_parser = label)]
    label: Vec<NewLabel>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IntakeVerb {
    /// Registers an integration, and shows its key, once.
    Create(CreateArgs),
    /// Shows the region's integrations.
    List(Common),
    /// Takes an integration's key out of use.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The integration.
        id: String,
    },
}

impl IntakeVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Create(args) => &args.common,
            Self::List(common) | Self::Revoke { common, .. } => common,
        }
    }
}

fn severity(text: &str) -> Result<NewSeverity, String> {
    let read = || {
        let (name, levels) = text.split_once('=')?;
        let (impact, urgency) = levels.split_once('/')?;
        let (impact, urgency) = (impact.parse().ok()?, urgency.parse().ok()?);
        Some(NewSeverity { name: name.to_owned(), impact, urgency })
    };
    read().ok_or_else(|| "write SEVERITY=IMPACT/URGENCY, as in critical=1/1".into())
}

fn label(text: &str) -> Result<NewLabel, String> {
    let read = || {
        let (pair, category) = text.rsplit_once(':')?;
        let (name, value) = pair.split_once('=')?;
        let (category, subcategory) = category.split_once('/').unwrap_or((category, "0"));
        let (category, subcategory) = (category.parse().ok()?, subcategory.parse().ok()?);
        let (name, value) = (name.to_owned(), value.to_owned());
        Some(NewLabel { name, value, category, subcategory })
    };
    read().ok_or_else(|| "write LABEL=VALUE:CATEGORY, as in team=doors:7".into())
}

pub(crate) async fn run(verb: &IntakeVerb, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(verb.common())?;
    match verb {
        IntakeVerb::Create(args) => create(&api, args.clone(), output).await,
        IntakeVerb::List(_) => list(&api, output).await,
        IntakeVerb::Revoke { id, .. } => {
            let path = format!("/v1/integrations/{}/revoke", plain(id)?);
            let done: Value = api.post(&path, &json!({})).await?;
            output.say("revoked");
            output.result(done);
            Ok(())
        }
    }
}

async fn create(api: &Api, args: CreateArgs, output: &Output) -> Result<(), CliError> {
    let kind = match args.kind {
        Form::Alertmanager => "alertmanager",
        Form::Pagerduty => "pagerduty",
    };
    let new = NewIntegration {
        name: args.name,
        kind: kind.to_owned(),
        customer: args.customer,
        category: args.category,
        subcategory: args.subcategory,
        location: None,
        severities: args.map,
        labels: args.label,
    };
    let made: NewKey = api.post("/v1/integrations", &new).await?;
    let url = format!("https://{}{}", api.server, made.path);
    output.say(format_args!("{} posts to {url}", made.id));
    output.say(format_args!("its key is not shown again: {}", made.key));
    output.result(json!({ "id": made.id, "key": made.key, "url": url }));
    Ok(())
}

async fn list(api: &Api, output: &Output) -> Result<(), CliError> {
    let found: Integrations = api.get("/v1/integrations").await?;
    for one in &found.integrations {
        let state = if one.revoked { "revoked" } else { "in use" };
        let since = dates::date(one.created_ms / 1000);
        output.say(format_args!(
            "{} {} {} for {} since {since}: {state}",
            one.id, one.name, one.kind, one.customer
        ));
    }
    output.result(json!(found));
    Ok(())
}
