//! `tech set`, `tech health`, `customer prefer` and `customer set`: what operators say of people, and how these are.
//!
//! **Not here:** who works when (`shifts`), registering many (`import`).

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::json;

use super::{
    CliError, Common, Output,
    api::Api,
    import::skill,
    lists::plain,
    shifts::{encoded, say_outcome},
    submit::place,
};
use crate::{
    dates::date,
    web::{
        health::{Complaint, Health},
        people::{NewPreferences, NewRevision, NewZone},
        shifts::Outcome,
        standing::NewCustomerRevision,
    },
};

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The technician.
    technician: String,
    /// All its skills, as category:level, or category:level@2027-01-31 for one that ends with that day
    /// in UTC.
    #[arg(long, num_args = 1.., value_name = "SKILL")]
    skills: Option<Vec<String>>,
    /// Tickets held at a time.
    #[arg(long)]
    capacity: Option<u16>,
    /// All parts on its van, as number=count.
    #[arg(long, num_args = 1.., value_name = "PART=COUNT")]
    stock: Option<Vec<String>>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The asked node's own unless given.
    #[arg(long)]
    region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PreferArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The customer.
    customer: String,
    /// All technicians that it would like to see.
    #[arg(long, num_args = 1.., value_name = "TECHNICIAN")]
    preferred: Vec<String>,
    /// All technicians that never come to it.
    #[arg(long, num_args = 1.., value_name = "TECHNICIAN")]
    blocked: Vec<String>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CustomerArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The customer.
    customer: String,
    /// Its name, which technicians see.
    #[arg(long)]
    name: Option<String>,
    /// Degrees, as 48.85.
    #[arg(long, allow_hyphen_values = true, requires = "lon")]
    lat: Option<String>,
    /// The same.
    #[arg(long, allow_hyphen_values = true, requires = "lat")]
    lon: Option<String>,
    /// 1 is the best service level.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    tier: Option<u8>,
    /// The IANA zone of its place, as Europe/Berlin; "none" for that of the region.
    #[arg(long)]
    zone: Option<String>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn part(text: &str) -> Result<(String, u16), CliError> {
    let read = text.split_once('=').and_then(|(part, count)| Some((part, count.parse().ok()?)));
    let (part, count) = read
        .filter(|(part, _)| !part.is_empty())
        .ok_or_else(|| CliError::usage(format!("{text:?} is not PART=COUNT, as pump-7=2")))?;
    Ok((part.to_owned(), count))
}

pub(crate) async fn set(args: &SetArgs, output: &Output) -> Result<(), CliError> {
    let skills = args.skills.as_ref().map(|all| all.iter().map(|text| skill(text)).collect());
    let stock = args.stock.as_ref().map(|all| all.iter().map(|text| part(text)).collect());
    let revision = NewRevision {
        skills: skills.transpose().map_err(CliError::usage)?,
        stock: stock.transpose()?.map(|stock: Vec<_>| BTreeMap::from_iter(stock)),
        capacity: args.capacity,
        ..NewRevision::default()
    };
    let (technician, dry_run) = (plain(&args.technician)?, args.dry_run);
    let path = format!("/v1/technicians/{technician}/revision?dry_run={dry_run}");
    let outcome: Outcome = Api::from_common(&args.common)?.post(&path, &revision).await?;
    say_outcome(&outcome, output);
    Ok(())
}

pub(crate) async fn prefer(args: &PreferArgs, output: &Output) -> Result<(), CliError> {
    let (preferred, blocked) = (args.preferred.clone(), args.blocked.clone());
    let (customer, dry_run) = (plain(&args.customer)?, args.dry_run);
    let path = format!("/v1/customers/{customer}/preferences?dry_run={dry_run}");
    let wishes = NewPreferences { preferred, blocked };
    let outcome: Outcome = Api::from_common(&args.common)?.put(&path, &wishes).await?;
    say_outcome(&outcome, output);
    Ok(())
}

pub(crate) async fn set_customer(args: &CustomerArgs, output: &Output) -> Result<(), CliError> {
    let (customer, dry_run) = (plain(&args.customer)?, args.dry_run);
    let location = place(args.lat.as_deref(), args.lon.as_deref())?;
    let revision = NewCustomerRevision { name: args.name.clone(), location, tier: args.tier };
    let is_revised = revision != NewCustomerRevision::default();
    if !is_revised && args.zone.is_none() {
        return Err(CliError::usage(
            "say what is otherwise: --name, --lat and --lon, --tier, --zone",
        ));
    }
    let api = Api::from_common(&args.common)?;
    let mut told: Option<Outcome> = None;
    if is_revised {
        let path = format!("/v1/customers/{customer}/revision?dry_run={dry_run}");
        told = Some(api.post(&path, &revision).await?);
    }
    if let Some(zone) = &args.zone {
        let path = format!("/v1/customers/{customer}/zone?dry_run={dry_run}");
        let zone = Some(zone.clone()).filter(|zone| zone != "none");
        let zoned: Outcome = api.put(&path, &NewZone { zone }).await?;
        told = Some(match told {
            Some(told) if told.outcome != "unchanged" => told,
            told => Outcome { warning: told.and_then(|told| told.warning), ..zoned },
        });
    }
    if let Some(outcome) = told {
        say_outcome(&outcome, output);
    }
    Ok(())
}

pub(crate) async fn health(args: &HealthArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let region = args.region.iter().map(|region| format!("region={}", encoded(region)));
    let region: Vec<String> = region.collect();
    let (mut complaints, mut looked_at): (Vec<Complaint>, _) = (vec![], 0);
    let (mut wanted, mut in_force) = (BTreeSet::new(), BTreeSet::new());
    let mut after: Option<String> = None;
    loop {
        let behind = after.iter().map(|after| format!("after={}", encoded(after)));
        let query: Vec<String> = region.iter().cloned().chain(behind).collect();
        let path = format!("/v1/technicians/health?{}", query.join("&"));
        let page: Health = api.get(&path).await?;
        complaints.extend(page.complaints);
        looked_at += page.looked_at;
        wanted.extend(page.skills_wanted);
        in_force.extend(page.skills_in_force);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let nobody_has: Vec<u16> = wanted.difference(&in_force).copied().collect();
    for Complaint { technician, what, detail, at_ms } in &complaints {
        let at = at_ms.map(|at| format!(" ({})", date(at / 1000))).unwrap_or_default();
        output.say(format_args!("{technician}  {what:<16} {detail}{at}"));
    }
    for category in &nobody_has {
        output.say(format_args!("nobody has skill {category}"));
    }
    output.say(format_args!("{} technicians, {} complaints", looked_at, complaints.len()));
    output.result(json!({
        "looked_at": looked_at, "complaints": complaints, "nobody_has": nobody_has
    }));
    Ok(())
}
