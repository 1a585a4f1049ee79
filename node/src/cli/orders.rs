//! `ticket hold`, `reassign`, `message` and so on: what operators order of a ticket.
//!
//! **Not here:** what an order does (`domain::ticket`), who may (`web::orders`).

use clap::{Args, Subcommand, ValueEnum};
use fieldmesh_actors::seams::Clock as _;
use serde_json::json;

use super::{CliError, Common, Output, api::Api, lists::plain};
use crate::{
    os::SystemClock,
    web::{
        orders::{NewOrder, Ordered, ReaderName},
        rest::Point,
    },
};

/// The ticket that is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct Of {
    #[command(flatten)]
    common: Common,
    /// The ticket.
    id: String,
}

/// A ticket, and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct Why {
    #[command(flatten)]
    of: Of,
    /// Kept with the ticket; customers do not read it.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum OrderVerb {
    /// Nobody is sought for so many hours.
    Hold {
        #[command(flatten)]
        why: Why,
        /// At most 90 days.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2160))]
        hours: u32,
    },
    /// Ends a hold.
    Resume(Of),
    /// The work is not to be done.
    Cancel(Why),
    /// Takes it from whoever has it, for one technician or for whoever fits best.
    Reassign {
        #[command(flatten)]
        why: Why,
        /// The technician; whoever fits best unless given.
        #[arg(long)]
        to: Option<String>,
    },
    /// The technician who has it keeps it, whatever is planned.
    Pin(Of),
    /// Ends a pin.
    Unpin(Of),
    /// Something of the request is to be otherwise; what is not said stays.
    Amend {
        #[command(flatten)]
        of: Of,
        /// What the customer asks for.
        #[arg(long)]
        text: Option<String>,
        /// 1 is the highest, 5 the lowest.
        #[arg(long)]
        priority: Option<u8>,
        /// Millionths of a degree.
        #[arg(long, allow_hyphen_values = true, requires = "lon_e6")]
        lat_e6: Option<i32>,
        /// The same.
        #[arg(long, allow_hyphen_values = true, requires = "lat_e6")]
        lon_e6: Option<i32>,
    },
    /// Within seven days after its end.
    Reopen(Why),
    /// The work is done.
    Confirm(Of),
    /// Writes to the customer, the technician, or both.
    Message {
        #[command(flatten)]
        of: Of,
        /// Who reads it.
        #[arg(long, value_enum)]
        to: To,
        /// What it says.
        #[arg(long)]
        text: String,
    },
    /// Another ticket is of the same cause: its end is this one's.
    Group {
        #[command(flatten)]
        of: Of,
        /// The ticket that is worked on.
        #[arg(long)]
        parent: String,
    },
    /// It goes on by itself.
    Ungroup(Of),
    /// A person knows of it: nobody else is told for half an hour.
    Acknowledge(Of),
    /// The next step of its escalation policy, at once.
    Escalate(Of),
    /// The technician who accepted comes at another time than it said; the customer hears so.
    Eta {
        #[command(flatten)]
        of: Of,
        /// From now on; 10080 are 7 days.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_080))]
        minutes: u16,
    },
}

impl OrderVerb {
    fn of(&self) -> &Of {
        match self {
            Self::Hold { why, .. }
            | Self::Cancel(why)
            | Self::Reassign { why, .. }
            | Self::Reopen(why) => &why.of,
            Self::Resume(of)
            | Self::Pin(of)
            | Self::Unpin(of)
            | Self::Amend { of, .. }
            | Self::Confirm(of)
            | Self::Message { of, .. }
            | Self::Group { of, .. }
            | Self::Eta { of, .. }
            | Self::Ungroup(of)
            | Self::Acknowledge(of)
            | Self::Escalate(of) => of,
        }
    }

    pub(crate) fn common(&self) -> &Common {
        &self.of().common
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum To {
    Customer,
    Technician,
    Both,
}

impl From<To> for ReaderName {
    fn from(to: To) -> Self {
        match to {
            To::Customer => Self::Customer,
            To::Technician => Self::Technician,
            To::Both => Self::Both,
        }
    }
}

fn order(verb: OrderVerb, now_ms: u64) -> NewOrder {
    match verb {
        OrderVerb::Hold { hours, why: Why { reason, .. } } => {
            NewOrder::Hold { until_ms: now_ms + u64::from(hours) * 3_600_000, reason }
        }
        OrderVerb::Resume(_) => NewOrder::Resume,
        OrderVerb::Cancel(Why { reason, .. }) => NewOrder::Cancel { reason },
        OrderVerb::Reassign { to, why: Why { reason, .. } } => NewOrder::Reassign { to, reason },
        OrderVerb::Pin(_) => NewOrder::Pin,
        OrderVerb::Unpin(_) => NewOrder::Unpin,
        OrderVerb::Amend { text, priority, lat_e6, lon_e6, .. } => {
            let location = lat_e6.zip(lon_e6).map(|(lat_e6, lon_e6)| Point { lat_e6, lon_e6 });
            NewOrder::Amend { text, priority, location }
        }
        OrderVerb::Reopen(Why { reason, .. }) => NewOrder::Reopen { reason },
        OrderVerb::Confirm(_) => NewOrder::Confirm,
        OrderVerb::Message { to, text, .. } => {
            NewOrder::Message { to: to.into(), text, enclosure: None }
        }
        OrderVerb::Group { parent, .. } => NewOrder::Group { parent },
        OrderVerb::Ungroup(_) => NewOrder::Ungroup,
        OrderVerb::Acknowledge(_) => NewOrder::Acknowledge,
        OrderVerb::Escalate(_) => NewOrder::Escalate,
        OrderVerb::Eta { minutes, .. } => NewOrder::Eta { minutes },
    }
}

pub(crate) async fn run(verb: &OrderVerb, output: &Output) -> Result<(), CliError> {
    let Of { common, id } = verb.of();
    let path = format!("/v1/tickets/{}/orders", plain(id)?);
    let order = order(verb.clone(), SystemClock.now_ms());
    let ordered: Ordered = Api::from_common(common)?.post(&path, &order).await?;
    output.say("ordered");
    output.result(json!(ordered));
    Ok(())
}
