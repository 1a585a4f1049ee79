//! `ticket submit`: a ticket for a customer who calls.
//!
//! **Not here:** what becomes of it (`domain::customer`), who may (`web::submit`).

use clap::Args;

use super::{
    CliError, Common, Output, api::Api, import::degrees_e6, lists::plain, shifts::say_outcome,
};
use crate::web::{rest::Point, shifts::Outcome, submit::NewTicket};

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The customer.
    customer: String,
    /// The kind of work, as skills and rules number it.
    #[arg(long)]
    category: u16,
    /// The kind within the category.
    #[arg(long, default_value_t = 0)]
    subcategory: u16,
    /// 1 is the highest, 3 the lowest.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    impact: u8,
    /// 1 is the highest, 3 the lowest.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    urgency: u8,
    /// What the customer says.
    #[arg(long)]
    text: String,
    /// Degrees, as 48.85; where the customer is unless given.
    #[arg(long, allow_hyphen_values = true, requires = "lon")]
    lat: Option<String>,
    /// The same.
    #[arg(long, allow_hyphen_values = true, requires = "lat")]
    lon: Option<String>,
    /// The same key again is the same ticket, as the number of the call.
    #[arg(long)]
    key: Option<String>,
}

/// Where somebody is, in degrees.
pub(super) fn place(lat: Option<&str>, lon: Option<&str>) -> Result<Option<Point>, CliError> {
    let read = |(lat, lon): (&str, &str)| -> Result<Point, String> {
        Ok(Point { lat_e6: degrees_e6(lat, 90)?, lon_e6: degrees_e6(lon, 180)? })
    };
    lat.zip(lon).map(read).transpose().map_err(CliError::usage)
}

/// Keeps what a user typed from changing the request.
fn header(key: &str) -> Result<&str, CliError> {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(key)
    } else {
        Err(CliError::usage(format!("the key {key:?} is not of letters, digits and signs alone")))
    }
}

pub(crate) async fn run(args: &SubmitArgs, output: &Output) -> Result<(), CliError> {
    let location = place(args.lat.as_deref(), args.lon.as_deref())?;
    let key = args.key.as_deref().map(header).transpose()?;
    let SubmitArgs { category, subcategory, impact, urgency, .. } = *args;
    let (customer, text) = (plain(&args.customer)?.to_owned(), args.text.clone());
    let ticket = NewTicket { customer, category, subcategory, impact, urgency, location, text };
    let api = Api::from_common(&args.common)?;
    let outcome: Outcome = api.post_once("/v1/tickets", key, &ticket).await?;
    say_outcome(&outcome, output);
    Ok(())
}
