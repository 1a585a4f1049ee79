//! `chaos allow` and `chaos forbid`: chaos on a cluster that is in production, by two operators, for a while.
//!
//! **Not here:** who must agree and what is allowed by it (the server).

use clap::Args;
use serde_json::json;

use crate::{
    cli::{CliError, Common, Output, api::Api},
    dates::date,
    web::chaos::{
        ChaosView,
        allowance::{AllowanceView, ChaosProposalView, NewAllowance},
    },
};

const PATH: &str = "/v1/chaos/allowance";

#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// For so long, at most 240; both operators name as many.
    #[arg(long)]
    minutes: u32,
    /// What for; every operator reads it.
    #[arg(long)]
    why: String,
}

pub(super) async fn allow(args: &AllowArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let wanted = NewAllowance { minutes: args.minutes, why: args.why.clone() };
    let view: ChaosView = api.post(PATH, &wanted).await?;
    say(&view, output);
    Ok(())
}

pub(super) async fn forbid(common: &Common, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(common)?;
    let view: ChaosView = api.delete(PATH).await?;
    say(&view, output);
    Ok(())
}

fn say(view: &ChaosView, output: &Output) {
    match &view.allowance {
        Some(AllowanceView { until_ms, why, proposed_by, approved_by }) => {
            let until = date(until_ms / 1000);
            output.say(format_args!("chaos is allowed on every node until {until}: {why}"));
            output.say(format_args!("proposed by {proposed_by}, approved by {approved_by}"));
        }
        None => output.say("chaos is not allowed on this cluster"),
    }
    if let Some(ChaosProposalView { minutes, why, by, until_ms }) = &view.proposal {
        let until = date(until_ms / 1000);
        output.say(format_args!(
            "{by} proposes to allow it for {minutes} minutes ({why}): a second operator must give the same command \
             until {until}"
        ));
    }
    output.result(json!({ "allowance": view.allowance, "proposal": view.proposal }));
}
