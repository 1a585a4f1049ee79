//! `ticket`, `tech`, `customer`: what operators read and register.
//!
//! **Not here:** one of them (`standing`, `submit`, `orders`), registering many (`import`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    CliError, Common, Output,
    api::Api,
    attachments::{self, AttachmentVerb},
    import, import_shifts,
    orders::{self, OrderVerb},
    people, standing, submit, watch,
};
use crate::{
    story::{
        ChoiceStory, FailureStory, HowStory, PolicyStory, RuleStory, TicketStory, TriageStory,
        offers::DeliveryState,
    },
    web::{rest::Page, whatif::AgainStory},
};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// Rows at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Rows behind this identifier.
    #[arg(long)]
    after: Option<String>,
    /// Only rows in this state.
    #[arg(long)]
    state: Option<String>,
    /// The asked node's own unless given.
    #[arg(long)]
    region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TicketListArgs {
    #[command(flatten)]
    list: ListArgs,
    /// Only tickets of this priority; 1 is the highest.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    priority: Option<u8>,
    /// Only tickets of which a promise was not kept; "false" for the others.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    breached: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    common: Common,
    /// The ticket.
    id: String,
    /// What the asked node has, even where it cannot tell whether that is the last word.
    #[arg(long)]
    stale: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    read: ReadArgs,
    /// Decides each choice again from what the desk knew then, and says whether it is the same.
    #[arg(long)]
    replay: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    common: Common,
    /// End after so many messages.
    #[arg(long)]
    limit: Option<u64>,
    /// Also the steps of the claim.
    #[arg(long)]
    steps: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// CSV with a header line.
    pub(crate) file: PathBuf,
    /// Import the good rows and report the bad ones.
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Check the rows and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TicketVerb {
    /// Lists tickets.
    List(TicketListArgs),
    /// Opens a ticket for a customer who calls.
    Submit(submit::SubmitArgs),
    /// Shows a ticket with its history.
    Show(ReadArgs),
    /// Shows why its technicians were chosen.
    Explain(ExplainArgs),
    /// Follows tickets live.
    Watch(WatchArgs),
    #[command(flatten)]
    Attachment(AttachmentVerb),
    #[command(flatten)]
    Order(OrderVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TechVerb {
    /// Lists technicians.
    List(ListArgs),
    /// Shows a technician.
    Show(standing::ShowArgs),
    /// It is offered nothing until it is resumed.
    Suspend(standing::SuspendArgs),
    /// It is offered work again.
    Resume(standing::SuspendArgs),
    /// Registers technicians: name,lat,lon,capacity,skills (category:level, space-separated) and key.
    Import(ImportArgs),
    /// Changes what a technician can do and has.
    Set(people::SetArgs),
    /// Tells what keeps technicians from work although nobody said so.
    Health(people::HealthArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustomerVerb {
    /// Lists customers.
    List(ListArgs),
    /// Shows a customer.
    Show(standing::ShowArgs),
    /// Its requests are refused until it is resumed.
    Suspend(standing::SuspendArgs),
    /// Its requests are taken again.
    Resume(standing::SuspendArgs),
    /// Registers customers: name,lat,lon,tier, zone and key.
    Import(ImportArgs),
    /// Sets which technicians a customer would like to see, and which not.
    Prefer(people::PreferArgs),
    /// Changes its name, its place, its tier, and which time its clocks show.
    Set(people::CustomerArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportVerb {
    /// name,lat,lon,tier, zone and key.
    Customers(ImportArgs),
    /// name,lat,lon,capacity,skills (category:level, space-separated) and key.
    Technicians(ImportArgs),
    /// technician,zone,days or date,start,end and more; see docs/shifts.md.
    Shifts(ImportArgs),
}

impl ReadArgs {
    /// A ticket's resource, or a part of it.
    fn path(&self, part: &str) -> Result<String, CliError> {
        let stale = if self.stale { "?stale=true" } else { "" };
        Ok(format!("/v1/tickets/{}{part}{stale}", plain(&self.id)?))
    }
}

impl TicketVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::List(args) => &args.list.common,
            Self::Submit(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Explain(args) => &args.read.common,
            Self::Watch(args) => &args.common,
            Self::Attachment(verb) => verb.common(),
            Self::Order(verb) => verb.common(),
        }
    }
}

impl ImportVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Customers(args) | Self::Technicians(args) | Self::Shifts(args) => &args.common,
        }
    }
}

impl TechVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::List(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Suspend(args) | Self::Resume(args) => &args.common,
            Self::Import(args) => &args.common,
            Self::Set(args) => &args.common,
            Self::Health(args) => &args.common,
        }
    }
}

impl CustomerVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::List(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Suspend(args) | Self::Resume(args) => &args.common,
            Self::Import(args) => &args.common,
            Self::Prefer(args) => &args.common,
            Self::Set(args) => &args.common,
        }
    }
}

/// Keeps what a user typed from changing the path.
pub(super) fn plain(text: &str) -> Result<&str, CliError> {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain {
        Ok(text)
    } else {
        Err(CliError::usage(format!("{text:?} is not an identifier or state")))
    }
}

/// `more` is what only this kind is asked.
async fn list(kind: &str, args: &ListArgs, more: &str, output: &Output) -> Result<(), CliError> {
    let mut path = format!("/v1/{kind}?limit={}{more}", args.limit);
    let ListArgs { after, state, region, .. } = args;
    for (key, value) in [("after", after), ("state", state), ("region", region)] {
        if let Some(value) = value {
            path = format!("{path}&{key}={}", plain(value)?);
        }
    }
    let page: Page = Api::from_common(&args.common)?.get(&path).await?;
    for row in &page.rows {
        let priority = row.priority.map(|priority| format!("P{priority}")).unwrap_or_default();
        output.say(format_args!(
            "{:<30} {:<16} {priority:<3} {}{}",
            row.id,
            row.state,
            row.technician.as_deref().unwrap_or_default(),
            row.standing.map(|standing| standing.marks()).unwrap_or_default()
        ));
    }
    if let Some(next) = &page.next {
        output.say(format_args!("more behind --after {next}"));
    }
    output.result(json!(page));
    Ok(())
}

pub(crate) async fn ticket(verb: &TicketVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        TicketVerb::List(TicketListArgs { list: args, priority, breached }) => {
            let priority = priority.map(|priority| format!("&priority={priority}"));
            let breached = breached.map(|breached| format!("&breached={breached}"));
            let more: String = priority.into_iter().chain(breached).collect();
            list("tickets", args, &more, output).await
        }
        TicketVerb::Submit(args) => submit::run(args, output).await,
        TicketVerb::Show(args) => {
            let path = args.path("")?;
            let story: TicketStory = Api::from_common(&args.common)?.get(&path).await?;
            output
                .say(format_args!("{} is {}, priority {}", story.id, story.state, story.priority));
            for event in &story.events {
                output.say(format_args!("{}  {:<14} {}", event.at_ms, event.event, event.detail));
            }
            tell_deliveries(&story, output);
            tell_warning(story.warning.as_deref(), output);
            output.say(format_args!("hash chain {}", story.chain));
            output.result(json!(story));
            Ok(())
        }
        TicketVerb::Explain(ExplainArgs { read, replay: true }) => replay(read, output).await,
        TicketVerb::Explain(ExplainArgs { read: args, .. }) => {
            let path = args.path("/explanation")?;
            let api = Api::from_common(&args.common)?;
            let choices: Vec<ChoiceStory> = api.get(&path).await?;
            let triage: Option<TriageStory> = api.get(&args.path("/triage")?).await?;
            let TicketStory { policy, warning, .. } = api.get(&args.path("")?).await?;
            if let Some(triage) = &triage {
                tell_triage(triage, output);
            }
            if let Some(PolicyStory { name, version, .. }) = &policy {
                output.say(format_args!("escalation policy {name} of policies {version}"));
            }
            for choice in &choices {
                explain(choice, output);
            }
            tell_warning(warning.as_deref(), output);
            let told = json!({
                "choices": choices, "triage": triage, "policy": policy, "warning": warning
            });
            output.result(told);
            Ok(())
        }
        TicketVerb::Watch(args) => {
            watch::run(&Api::from_common(&args.common)?, args.steps, args.limit, output).await
        }
        TicketVerb::Attachment(verb) => attachments::run(verb, output).await,
        TicketVerb::Order(verb) => orders::run(verb, output).await,
    }
}

fn tell_warning(warning: Option<&str>, output: &Output) {
    if let Some(warning) = warning {
        output.say(format_args!("warning: {warning}"));
    }
}

/// How far each alert and each confirmation came.
fn tell_deliveries(story: &TicketStory, output: &Output) {
    for offer in &story.offers {
        let ended = offer.ended.as_deref().map(|how| format!(", {how}")).unwrap_or_default();
        output.say(format_args!(
            "offer {}.{} to {} is {} since {}{ended}",
            offer.epoch,
            offer.position,
            offer.technician,
            offer.state.name(),
            offer.since_ms
        ));
    }
    for one in &story.confirmations {
        let state = one.state.map_or("not known", DeliveryState::name);
        output.say(format_args!("confirmation {} of {} is {state}", one.number, one.made_ms));
    }
}

fn tell_triage(triage: &TriageStory, output: &Output) {
    output.say(format_args!("trigger rules {}: priority {}", triage.version, triage.priority));
    for RuleStory { rule, did } in &triage.rules {
        output.say(format_args!("  {rule:<30} {}", did.join(", ")));
    }
    for FailureStory { rule, why } in &triage.failed {
        output.say(format_args!("  {rule:<30} failed: {why}"));
    }
}

async fn replay(args: &ReadArgs, output: &Output) -> Result<(), CliError> {
    let path = args.path("/explanation/again")?;
    let choices: Vec<AgainStory> = Api::from_common(&args.common)?.finish(&path, output).await?;
    for AgainStory { choice, same, instead } in &choices {
        explain(choice, output);
        output.say(match (same, instead) {
            (Some(true), _) => "  decided again: the same".to_owned(),
            (_, Some(instead)) => format!("  decided again: {instead}"),
            _ if choice.by.is_some() => "  a person's choice is not decided again".to_owned(),
            _ => "  the desk's history does not have it".to_owned(),
        });
    }
    let differ = choices.iter().filter(|choice| choice.same == Some(false)).count();
    output.result(json!({ "choices": choices }));
    match differ {
        0 => Ok(()),
        _ => Err(CliError::failed(format!("{differ} choices are not the same when decided again"))),
    }
}

/// By which versions of what operators wrote.
fn under(choice: &ChoiceStory) -> String {
    let rules = match choice.rule_version {
        0 => "no rules".to_owned(),
        version => format!("rules {version}"),
    };
    let policy = choice.policy.as_ref();
    policy.map_or_else(
        || format!("{rules}, no policy"),
        |policy| format!("{rules}, policy {} of policies {}", policy.name, policy.version),
    )
}

pub(super) fn explain(choice: &ChoiceStory, output: &Output) {
    let chosen = choice.chosen.as_deref().unwrap_or("nobody");
    if let Some(by) = &choice.by {
        output.say(format_args!("{}  {by} chose {chosen}", choice.at_ms));
        return;
    }
    output.say(format_args!("{}  {}: chose {chosen}", choice.at_ms, under(choice)));
    if let Some(how) = &choice.how {
        let HowStory { mode, eligible, room, competing, rivals, displaced } = how;
        output.say(format_args!(
            "  {mode}: {eligible} fitted, with room for {room}; {competing} tickets competed for them"
        ));
        for rival in rivals {
            output.say(format_args!("  {:<30} went to {}", rival.technician, rival.ticket));
        }
        if let Some(ticket) = displaced {
            output.say(format_args!("  the offer of {ticket} was taken back for it"));
        }
    }
    for candidate in &choice.candidates {
        output.say(format_args!(
            "  {:<30} cost {:>6} s = travel {} ({} m) + load {} + over-qualified {} + fairness {} - preferred {}{}",
            candidate.technician,
            candidate.cost_s,
            candidate.travel_s,
            candidate.distance_m,
            candidate.load_s,
            candidate.over_qualification_s,
            candidate.fairness_s,
            candidate.preferred_s,
            candidate.lateness_s.map(|late| format!(" + lateness {late}")).unwrap_or_default()
        ));
    }
    for exclusion in &choice.excluded {
        output.say(format_args!("  {:<30} out: {}", exclusion.technician, exclusion.reason));
    }
    let named = choice.excluded.len();
    match choice.excluded_count {
        0 => {}
        all if all as usize == named => output.say(format_args!("  {all} left out")),
        all => output.say(format_args!("  {all} left out, of whom {named} are named")),
    }
}

pub(crate) async fn tech(verb: &TechVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        TechVerb::List(args) => list("technicians", args, "", output).await,
        TechVerb::Show(args) => standing::technician(args, output).await,
        TechVerb::Suspend(args) => standing::suspend("technicians", args, true, output).await,
        TechVerb::Resume(args) => standing::suspend("technicians", args, false, output).await,
        TechVerb::Import(args) => import::technicians(args, output).await,
        TechVerb::Set(args) => people::set(args, output).await,
        TechVerb::Health(args) => people::health(args, output).await,
    }
}

pub(crate) async fn customer(verb: &CustomerVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        CustomerVerb::List(args) => list("customers", args, "", output).await,
        CustomerVerb::Show(args) => standing::customer(args, output).await,
        CustomerVerb::Suspend(args) => standing::suspend("customers", args, true, output).await,
        CustomerVerb::Resume(args) => standing::suspend("customers", args, false, output).await,
        CustomerVerb::Import(args) => import::customers(args, output).await,
        CustomerVerb::Prefer(args) => people::prefer(args, output).await,
        CustomerVerb::Set(args) => people::set_customer(args, output).await,
    }
}

pub(crate) async fn import(verb: &ImportVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        ImportVerb::Customers(args) => import::customers(args, output).await,
        ImportVerb::Technicians(args) => import::technicians(args, output).await,
        ImportVerb::Shifts(args) => import_shifts::shifts(args, output).await,
    }
}
