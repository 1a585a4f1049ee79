//! `dispatch`: what the desk would answer, and the plan of a day.
//!
//! **Invariant:** nothing is changed but by the orders that a plan's `--apply` writes, each of which is done
//! or refused by itself, and refused where the ticket is not as it was planned. **Not here:** deciding (`domain::desk`), planning (`day`).

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CliError, Common, Output, api::Api, lists, lists::plain};
use crate::web::{
    orders::{NewOrder, Ordered},
    plan::{MoveStory, NewPlan, PlanStory},
    rest::Point,
    whatif::{BeginningStory, NewWhatIf, WhatIfStory},
};

/// What is kept with a ticket that a plan moved.
const REASON: &str = "plan of the day";

#[derive(Debug, Subcommand)]
pub(crate) enum DispatchVerb {
    /// What the desk would answer to a ticket, without changing anything.
    Whatif(WhatifArgs),
    /// The plan of a region's day: routes as advice, and with --apply as orders.
    Plan(PlanArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WhatifArgs {
    #[command(flatten)]
    common: Common,
    /// The kind of work, as skills and rules number it.
    #[arg(long)]
    category: u16,
    /// 1 is the highest, 5 the lowest.
    #[arg(long, required_unless_present = "customer", conflicts_with = "customer", value_parser = clap::value_parser!(u8).range(1..=5))]
    priority: Option<u8>,
    /// Degrees, to the millionth; where the customer is unless given.
    #[arg(long, required_unless_present = "customer", requires = "lon", allow_hyphen_values = true, value_parser = micro_degrees)]
    lat: Option<i32>,
    /// The same.
    #[arg(long, requires = "lat", allow_hyphen_values = true, value_parser = micro_degrees)]
    lon: Option<i32>,
    /// Whose request it would be, under the rules, policies and promises in force.
    #[arg(long)]
    customer: Option<String>,
    /// The kind within the category.
    #[arg(long, default_value_t = 0, requires = "customer")]
    subcategory: u16,
    /// 1 is the highest, 3 the lowest.
    #[arg(long, requires = "customer", value_parser = clap::value_parser!(u8).range(1..=3))]
    impact: Option<u8>,
    /// 1 is the highest, 3 the lowest.
    #[arg(long, requires = "customer", value_parser = clap::value_parser!(u8).range(1..=3))]
    urgency: Option<u8>,
    /// What the customer would write.
    #[arg(long, default_value = "", requires = "customer")]
    text: String,
    /// A technician that is not to be counted on; may be given several times.
    #[arg(long)]
    without: Vec<String>,
    /// At another time: Unix milliseconds, or an instant like 2030-01-31T09:00:00Z.
    #[arg(long, value_parser = instant_ms)]
    at: Option<u64>,
    /// The node's own unless given.
    #[arg(long)]
    region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    common: Common,
    /// The node's own unless given.
    #[arg(long)]
    region: Option<String>,
    /// Time for the search, like 10s or 500ms; at most 15s.
    #[arg(long, default_value = "10s", value_parser = duration_ms)]
    deadline: u64,
    /// How long the day is.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=24))]
    hours: u32,
    /// How long a ticket takes on site.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u32).range(1..=1440))]
    service_min: u32,
    /// Chance follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Orders what the plan says, ticket by ticket.
    #[arg(long)]
    apply: bool,
    /// Pins each ticket that was ordered, so that nothing displaces it.
    #[arg(long, requires = "apply")]
    pin: bool,
}

impl DispatchVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Whatif(args) => &args.common,
            Self::Plan(args) => &args.common,
        }
    }
}

/// Degrees with up to six decimals, in millionths: exactly what is written, and nothing that is rounded.
fn micro_degrees(text: &str) -> Result<i32, String> {
    let wrong = || format!("{text:?} is no number of degrees with at most six decimals");
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 6 || !is_number(whole) || !is_number(decimals) {
        return Err(wrong());
    }
    let number: i64 = format!("{whole}{decimals:0<6}").parse().map_err(|_| wrong())?;
    if number > 180_000_000 {
        return Err(format!("{text} degrees are not on earth"));
    }
    i32::try_from(sign * number).map_err(|_| wrong())
}

fn instant_ms(text: &str) -> Result<u64, String> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    let instant: jiff::Timestamp =
        text.parse().map_err(|error| format!("{text:?} is no instant: {error}"))?;
    u64::try_from(instant.as_millisecond()).map_err(|_| format!("{text} is before 1970"))
}

fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no length of time: write it like 10s or 500ms");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|millis| *millis > 0).ok_or_else(wrong)
}

pub(crate) async fn run(verb: &DispatchVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        DispatchVerb::Whatif(args) => what_if(args, output).await,
        DispatchVerb::Plan(args) => plan(args, output).await,
    }
}

async fn what_if(args: &WhatifArgs, output: &Output) -> Result<(), CliError> {
    let body = NewWhatIf {
        category: args.category,
        priority: args.priority,
        location: args.lat.zip(args.lon).map(|(lat_e6, lon_e6)| Point { lat_e6, lon_e6 }),
        customer: args.customer.clone(),
        subcategory: args.subcategory,
        impact: args.impact,
        urgency: args.urgency,
        text: args.text.clone(),
        without: args.without.clone(),
        at_ms: args.at,
        region: args.region.clone(),
    };
    let found: WhatIfStory = Api::from_common(&args.common)?.post("/v1/whatif", &body).await?;
    if let Some(BeginningStory { state, priority, rules, policy }) = &found.begins {
        let policy = policy.as_deref().unwrap_or("no policy");
        output.say(format_args!("it would be {state}, priority {priority}, under {policy}"));
        for rule in rules {
            output.say(format_args!("  rule {rule} acts"));
        }
    }
    if let (Some(ticket), Some(from)) = (&found.displaces, &found.displaced_from) {
        output.say(format_args!(
            "nobody has room: the offer of {ticket} to {from} would be taken back"
        ));
    } else {
        if found.waits {
            output.say("it would wait for others first");
        }
        lists::explain(&found.choice, output);
    }
    output.result(json!(found));
    Ok(())
}

async fn plan(args: &PlanArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let body = NewPlan {
        region: args.region.clone(),
        deadline_ms: args.deadline,
        hours: args.hours,
        service_min: args.service_min,
        seed: args.seed,
    };
    let plan: PlanStory = api.post("/v1/dispatch/plan", &body).await?;
    show(&plan, output);
    let mut result = json!(plan);
    if args.apply {
        let mut orders = Vec::new();
        for one in &plan.moves {
            orders.push(order(&api, one, args.pin, output).await?);
        }
        let refused = orders.iter().filter(|order| order["refused"].is_string()).count();
        output.say(format_args!("{} ordered, {refused} refused", orders.len() - refused));
        result["orders"] = Value::Array(orders);
    }
    output.result(result);
    Ok(())
}

/// One order, and a pin behind it.
async fn order(api: &Api, one: &MoveStory, pin: bool, output: &Output) -> Result<Value, CliError> {
    let MoveStory { ticket, to, epoch } = one;
    let path = format!("/v1/tickets/{}/orders", plain(ticket)?);
    // The search took seconds: whoever accepted meanwhile keeps the ticket.
    let moved = NewOrder::Move { to: to.clone(), epoch: *epoch, reason: REASON.to_owned() };
    let mut done = api.post::<Ordered>(&path, &moved).await;
    if pin && done.is_ok() {
        done = api.post::<Ordered>(&path, &NewOrder::Pin).await;
    }
    let refused = done.err().map(|error| error.to_string());
    match &refused {
        None => output.say(format_args!("ordered   {ticket} to {to}")),
        Some(why) => output.say(format_args!("refused   {ticket} to {to}: {why}")),
    }
    Ok(json!({ "ticket": ticket, "to": to, "refused": refused }))
}

fn show(plan: &PlanStory, output: &Output) {
    let time = |seconds: u64| format!("{:>2}:{:02}", seconds / 3600, seconds / 60 % 60);
    for route in &plan.routes {
        output.say(format_args!("{}  {} in all", route.technician, time(route.working_s)));
        for leg in &route.legs {
            let note = match (leg.fixed, leg.kept) {
                (true, _) => "is its own",
                (false, true) => "stays",
                (false, false) => "to be given",
            };
            let promise = match leg.in_window {
                None => "",
                Some(true) => ", in time",
                Some(false) => ", LATE",
            };
            let (arrive, end) = (time(leg.arrive_s), time(leg.end_s));
            output.say(format_args!("  +{arrive} to +{end}  {}  {note}{promise}", leg.ticket));
        }
    }
    for left in &plan.left {
        output.say(format_args!("{} is in no route: {}", left.ticket, left.reason));
    }
    let (all, greedy) = (time(plan.working_s), time(plan.greedy_working_s));
    output.say(format_args!("{all} in all; one ticket after the other would be {greedy}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_what_is_written() {
        for (text, degrees) in [
            ("48.8566", Ok(48_856_600)),
            ("-0.1278", Ok(-127_800)),
            ("7", Ok(7_000_000)),
            ("-179.999999", Ok(-179_999_999)),
            ("180.1", Err(())),
            ("1.2345678", Err(())),
            ("", Err(())),
            ("1e3", Err(())),
            ("--1", Err(())),
        ] {
            assert_eq!(micro_degrees(text).map_err(drop), degrees, "{text}");
        }
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        let all = ["10s", "10", "500ms", "0s", "s", "-1s"].map(|text| duration_ms(text).ok());
        assert_eq!(all, [Some(10_000), Some(10_000), Some(500), None, None, None]);
    }
}
