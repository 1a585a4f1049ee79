//! `customer` and `tech` `show`, `suspend` and `resume`: how one of them stands.
//!
//! **Not here:** what is otherwise of one (`people`), who works when (`shifts`).

use clap::Args;
use serde_json::json;

use super::{CliError, Common, Output, api::Api, lists::plain, shifts::say_outcome};
use crate::{
    dates::date,
    web::{
        rest::Point,
        shifts::Outcome,
        standing::{CustomerView, NewSuspension, TechnicianView},
    },
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The customer or technician.
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The customer or technician.
    id: String,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn degrees(Point { lat_e6, lon_e6 }: Point) -> String {
    format!("{}, {}", f64::from(lat_e6) / 1e6, f64::from(lon_e6) / 1e6)
}

pub(crate) async fn customer(args: &ShowArgs, output: &Output) -> Result<(), CliError> {
    let path = format!("/v1/customers/{}", plain(&args.id)?);
    let shown: CustomerView = Api::from_common(&args.common)?.get(&path).await?;
    let CustomerView { id, state, name, location, tier, zone, .. } = &shown;
    let zone = zone.as_deref().unwrap_or("the region's zone");
    output.say(format_args!("{id} is {state}: {name}, tier {tier}"));
    output.say(format_args!("  at {}, {zone}", degrees(*location)));
    output.say(format_args!("  has {} device", if shown.has_device { "a" } else { "no" }));
    for (what, whom) in [("prefers", &shown.preferred), ("never wants", &shown.blocked)] {
        for technician in whom {
            output.say(format_args!("  {what} {technician}"));
        }
    }
    for ticket in &shown.tickets {
        output.say(format_args!("  {ticket} is open"));
    }
    output.say(format_args!("{} open tickets", shown.open_tickets));
    output.result(json!(shown));
    Ok(())
}

pub(crate) async fn technician(args: &ShowArgs, output: &Output) -> Result<(), CliError> {
    let path = format!("/v1/technicians/{}", plain(&args.id)?);
    let shown: TechnicianView = Api::from_common(&args.common)?.get(&path).await?;
    let TechnicianView { id, state, name, home, capacity, holds, .. } = &shown;
    let held = holds.len();
    output.say(format_args!("{id} is {state}: {name}, holds {held} of {capacity} tickets"));
    output.say(format_args!("  lives at {}", degrees(*home)));
    for skill in &shown.skills {
        let until = skill.expires_ms.map(|ms| format!(" until {}", date(ms / 1000)));
        let until = until.unwrap_or_default();
        output.say(format_args!("  skill {} level {}{until}", skill.category, skill.level));
    }
    for (part, count) in shown.stock.iter().flatten() {
        output.say(format_args!("  has {count} of {part}"));
    }
    for held in holds {
        output.say(format_args!("  {} is {}", held.ticket, held.phase));
    }
    if let Some(until) = shown.certified_until_s {
        output.say(format_args!("  its device's certificate ends {}", date(until)));
    }
    output.result(json!(shown));
    Ok(())
}

/// Of customers or technicians, suspends one or resumes it.
pub(crate) async fn suspend(
    kind: &str,
    args: &SuspendArgs,
    suspended: bool,
    output: &Output,
) -> Result<(), CliError> {
    let (id, dry_run) = (plain(&args.id)?, args.dry_run);
    let path = format!("/v1/{kind}/{id}/suspension?dry_run={dry_run}");
    let api = Api::from_common(&args.common)?;
    let outcome: Outcome = api.put(&path, &NewSuspension { suspended }).await?;
    say_outcome(&outcome, output);
    Ok(())
}
