//! `silence` and `maint`: for which tickets nobody is sought for a while.
//!
//! **Not here:** what a silence holds (the policies' package), what a ticket does (`domain::ticket`).

use clap::{Args, Subcommand};
use fieldmesh_actors::seams::Clock as _;
use serde_json::json;

use super::{CliError, Common, Output, api::Api, policy::said};
use crate::{
    dates::date,
    os::SystemClock,
    web::{
        policies::{AreaView, SilenceView, SilencesView, WrittenView},
        rest::Point,
    },
};

/// What a silence is for; at least one of region, category, customer and area.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    #[command(flatten)]
    common: Common,
    /// A name of its own: letters, digits, - _ . and @.
    name: String,
    /// How long it lasts from now, at most 30 days.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=43_200))]
    minutes: u64,
    /// Regions; all unless given. May be given several times, as what follows.
    #[arg(long = "region")]
    regions: Vec<String>,
    /// Kinds of work; all unless given.
    #[arg(long = "category")]
    categories: Vec<u16>,
    /// 1 is the highest, 5 the lowest; all unless given.
    #[arg(long = "priority", value_parser = clap::value_parser!(u8).range(1..=5))]
    priorities: Vec<u8>,
    /// All customers unless given.
    #[arg(long = "customer")]
    customers: Vec<String>,
    /// The middle of an area, in millionths of a degree.
    #[arg(long, allow_hyphen_values = true, requires = "lon_e6", requires = "radius_km")]
    lat_e6: Option<i32>,
    /// The same.
    #[arg(long, allow_hyphen_values = true, requires = "lat_e6")]
    lon_e6: Option<i32>,
    /// How far the area goes from there.
    #[arg(long, requires = "lat_e6")]
    radius_km: Option<u32>,
    /// Why; operators read it.
    #[arg(long, default_value = "")]
    reason: String,
}

/// The silence that is meant.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    #[command(flatten)]
    common: Common,
    /// Its name, as the list shows it.
    name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SilenceVerb {
    /// Nobody is sought for these tickets meanwhile.
    Add(NewArgs),
    /// Lists silences and maintenance windows.
    List(#[command(flatten)] Common),
    /// Ends one now; its tickets go on.
    Expire(NamedArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaintVerb {
    /// Somebody works there: nobody is sought meanwhile.
    Open(NewArgs),
    /// Ends it now; its tickets go on.
    Close(NamedArgs),
}

impl SilenceVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Add(args) => &args.common,
            Self::List(common) => common,
            Self::Expire(args) => &args.common,
        }
    }
}

impl MaintVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Open(args) => &args.common,
            Self::Close(args) => &args.common,
        }
    }
}

pub(crate) async fn silence(verb: &SilenceVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        SilenceVerb::Add(args) => add("silence", args, output).await,
        SilenceVerb::List(common) => list(common, output).await,
        SilenceVerb::Expire(args) => expire(args, output).await,
    }
}

pub(crate) async fn maint(verb: &MaintVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        MaintVerb::Open(args) => add("maintenance", args, output).await,
        MaintVerb::Close(args) => expire(args, output).await,
    }
}

async fn add(kind: &str, args: &NewArgs, output: &Output) -> Result<(), CliError> {
    let area = args.lat_e6.zip(args.lon_e6).zip(args.radius_km);
    let silence = SilenceView {
        name: args.name.clone(),
        kind: kind.to_owned(),
        from_ms: None,
        until_ms: SystemClock.now_ms() + args.minutes * 60_000,
        regions: args.regions.clone(),
        categories: args.categories.clone(),
        priorities: args.priorities.clone(),
        customers: args.customers.clone(),
        area: area.map(|((lat_e6, lon_e6), radius_km)| AreaView {
            middle: Point { lat_e6, lon_e6 },
            radius_km,
        }),
        reason: args.reason.clone(),
        by: String::new(),
        is_active: false,
    };
    let api = Api::from_common(&args.common)?;
    let written: WrittenView = api.post("/v1/silences", &silence).await?;
    said(&written, output);
    Ok(())
}

async fn list(common: &Common, output: &Output) -> Result<(), CliError> {
    let all: SilencesView = Api::from_common(common)?.get("/v1/silences").await?;
    for one in &all.silences {
        let state = if one.is_active { "lasts" } else { "-" };
        output.say(format_args!(
            "{:<24} {:<12} {state:<6} {} to {}  {}",
            one.name,
            one.kind,
            date(one.from_ms.unwrap_or_default() / 1000),
            date(one.until_ms / 1000),
            one.reason
        ));
    }
    output.result(json!(all));
    Ok(())
}

/// Keeps what a user typed from changing the path.
fn plain(name: &str) -> Result<&str, CliError> {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if is_plain && !name.is_empty() {
        Ok(name)
    } else {
        Err(CliError::usage(format!("{name:?} is no silence's name")))
    }
}

async fn expire(args: &NamedArgs, output: &Output) -> Result<(), CliError> {
    let path = format!("/v1/silences/{}/expire", plain(&args.name)?);
    let written: WrittenView = Api::from_common(&args.common)?.post(&path, &json!({})).await?;
    said(&written, output);
    Ok(())
}
