//! `fieldmesh shift`: technicians' rosters from files, who works when, swaps, on and off shift by hand.
//!
//! **Not here:** what a roster is (`rosters`), who may (`web::shifts`), tables of rosters (`import_shifts`).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use fieldmesh_actors::seams::Clock as _;
use fieldmesh_calendar::{ical, interval::UnixMs, zone::Zone};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{
    CliError, Common, Output,
    api::Api,
    import_shifts,
    lists::{ImportArgs, plain},
};
use crate::{
    dates::date,
    files,
    os::SystemClock,
    rosters::{RosterText, from_calendar::roster_of},
    web::shifts::{
        NewDuty, NewRoster, NewSwap, OnShift, Outcome, RosterView, SwapBegun, SwapView, WhoPage,
    },
};

/// How often the giver is looked at, and how long: the other answers at once where nodes are well, and
/// after ten minutes the swap has lapsed.
const SWAP_POLL: Duration = Duration::from_millis(250);
const SWAP_PATIENCE: Duration = Duration::from_secs(660);

/// The technician that is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct Whose {
    #[command(flatten)]
    common: Common,
    /// The technician.
    technician: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShiftVerb {
    /// Sets a technician's roster from a TOML file, or from the events of a calendar file (.ics).
    Set {
        #[command(flatten)]
        whose: Whose,
        /// The roster.
        file: PathBuf,
        /// Of a calendar file: where times are meant that name no zone.
        #[arg(long, default_value = "UTC")]
        zone: String,
        /// Check the roster, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Ends a technician's roster: it goes on and off shift by hand alone.
    Clear(Whose),
    /// Shows where a technician stands by its roster.
    Show(Whose),
    /// Prints a technician's roster, as it can be set again.
    Export {
        #[command(flatten)]
        whose: Whose,
        /// As a calendar file of the next year, for other programs.
        #[arg(long)]
        ics: bool,
    },
    /// Sets rosters from a table: technician,zone,days or date,start,end and more; see docs/shifts.md.
    Import(ImportArgs),
    /// Tells who is on shift.
    Who {
        #[command(flatten)]
        common: Common,
        /// As 2026-12-24T22:30:00Z; now unless given.
        #[arg(long)]
        at: Option<String>,
        /// The asked node's own unless given.
        #[arg(long)]
        region: Option<String>,
    },
    /// Has a technician give its shifts of a date to another one; tells how that ended.
    Swap {
        #[command(flatten)]
        common: Common,
        /// Who gives.
        #[arg(long)]
        from: String,
        /// Who takes over.
        #[arg(long)]
        to: String,
        /// On which the shifts start, as 2026-12-24.
        #[arg(long)]
        date: String,
    },
    /// Puts a technician on shift by hand, until its roster's next shift starts or ends.
    On(Whose),
    /// Puts a technician off shift by hand, until its roster's next shift starts or ends.
    Off(Whose),
}

impl ShiftVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Set { whose, .. }
            | Self::Clear(whose)
            | Self::Show(whose)
            | Self::Export { whose, .. }
            | Self::On(whose)
            | Self::Off(whose) => &whose.common,
            Self::Import(args) => &args.common,
            Self::Who { common, .. } | Self::Swap { common, .. } => common,
        }
    }
}

impl Whose {
    fn path(&self, part: &str) -> Result<String, CliError> {
        Ok(format!("/v1/technicians/{}/{part}", plain(&self.technician)?))
    }
}

/// A value of a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Reads a roster from a file by its name's end.
fn read(file: &Path, zone: &str) -> Result<RosterText, CliError> {
    let path = file.display();
    let refused = |why: String| CliError::usage(format!("{path}: {why}"));
    let bytes = files::read(file).map_err(|error| refused(error.to_string()))?;
    if file.extension().is_some_and(|end| end.eq_ignore_ascii_case("ics")) {
        let zone = Zone::new(zone).map_err(|error| refused(format!("--zone: {error}")))?;
        let read = ical::import(&bytes, &zone).map_err(|error| refused(error.to_string()))?;
        let roster = roster_of(&read, UnixMs(SystemClock.now_ms()));
        return roster
            .map(|roster| RosterText::of(&roster))
            .map_err(|error| refused(error.to_string()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| refused(error.to_string()))?;
    let roster: RosterText = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
    // What is no roster is told before anything is asked.
    roster.roster().map_err(|error| refused(error.to_string()))?;
    Ok(roster)
}

fn seconds(ms: u64) -> String {
    date(ms / 1000)
}

fn show(view: &RosterView, output: &Output) {
    let by = view.set_by.as_deref().map(|by| format!(", set by {by}")).unwrap_or_default();
    let roster = if view.roster.is_some() { "by roster" } else { "by hand alone" };
    output.say(format_args!("{} is {}, {roster}{by}", view.technician, view.duty));
    if view.by_hand {
        output.say("by hand, until the roster's next shift starts or ends");
    }
    for (what, at) in [("shift ends", view.shift_ends_ms), ("next change", view.next_change_ms)] {
        if let Some(at) = at {
            output.say(format_args!("{what} {}", seconds(at)));
        }
    }
    for SwapView { date, to, state, why, .. } in &view.swaps {
        let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        output.say(format_args!("swap of {date} with {to}: {state}{why}"));
    }
}

pub(super) fn say_outcome(outcome: &Outcome, output: &Output) {
    let Outcome { id, outcome: what, dry_run, warning } = outcome;
    let would = if *dry_run { "would be " } else { "" };
    output.say(format_args!("{id}: {would}{what}"));
    if let Some(warning) = warning {
        output.say(format_args!("warning: {warning}"));
    }
    output.result(json!(outcome));
}

async fn set(
    whose: &Whose,
    roster: Option<RosterText>,
    dry_run: bool,
    output: &Output,
) -> Result<(), CliError> {
    let path = format!("{}?dry_run={dry_run}", whose.path("roster")?);
    let api = Api::from_common(&whose.common)?;
    let outcome: Outcome = api.put(&path, &NewRoster { roster }).await?;
    say_outcome(&outcome, output);
    Ok(())
}

async fn duty(whose: &Whose, on_shift: bool, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&whose.common)?;
    let outcome: Outcome = api.post(&whose.path("duty")?, &NewDuty { on_shift }).await?;
    say_outcome(&outcome, output);
    Ok(())
}

async fn export(whose: &Whose, ics: bool, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&whose.common)?;
    if ics {
        let text = api.bytes(&whose.path("calendar")?).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        output.say(text.trim_end());
        output.result(json!({ "calendar": text }));
        return Ok(());
    }
    let view: RosterView = api.get(&whose.path("roster")?).await?;
    let roster = view
        .roster
        .ok_or_else(|| CliError::refused(format!("{} has no roster", view.technician)))?;
    let text = toml::to_string(&roster).map_err(CliError::failed)?;
    output.say(text.trim_end());
    output.result(json!({ "roster": roster }));
    Ok(())
}

async fn who(
    common: &Common,
    at: Option<&str>,
    region: Option<&str>,
    output: &Output,
) -> Result<(), CliError> {
    let api = Api::from_common(common)?;
    let mut query = vec![];
    query.extend(at.map(|at| format!("at={}", encoded(at))));
    query.extend(region.map(|region| format!("region={}", encoded(region))));
    let (mut on_shift, mut without_roster, mut after): (Vec<OnShift>, _, Option<String>) =
        (vec![], 0, None);
    let at_ms = loop {
        let behind = after.iter().map(|after| format!("after={}", encoded(after)));
        let all: Vec<String> = query.iter().cloned().chain(behind).collect();
        let page: WhoPage = api.get(&format!("/v1/shifts?{}", all.join("&"))).await?;
        on_shift.extend(page.on_shift);
        without_roster += page.without_roster;
        after = page.next;
        if after.is_none() {
            break page.at_ms;
        }
    };
    output.say(format_args!("on shift at {}: {}", seconds(at_ms), on_shift.len()));
    for OnShift { technician, until_ms, by_hand } in &on_shift {
        let until = until_ms.map(|until| format!("until {}", seconds(until)));
        let by_hand = if *by_hand { " by hand" } else { "" };
        output.say(format_args!("{technician}  {}{by_hand}", until.unwrap_or_default()));
    }
    if without_roster > 0 {
        output.say(format_args!("{without_roster} have no roster: whether they will be there at another time is not known"));
    }
    output.result(json!({
        "at_ms": at_ms, "on_shift": on_shift, "without_roster": without_roster
    }));
    Ok(())
}

async fn swap(
    common: &Common,
    from: &str,
    to: &str,
    date: &str,
    output: &Output,
) -> Result<(), CliError> {
    let api = Api::from_common(common)?;
    let giver = format!("/v1/technicians/{}", plain(from)?);
    let new = NewSwap { date: date.to_owned(), to: to.to_owned() };
    let begun: SwapBegun = api.post(&format!("{giver}/swaps"), &new).await?;
    let ended = async {
        loop {
            let view: RosterView = api.get(&format!("{giver}/roster")).await?;
            let swap = view.swaps.into_iter().find(|swap| swap.swap == begun.swap);
            if let Some(swap) = swap.filter(|swap| swap.state != "offered") {
                return Ok::<_, CliError>(swap);
            }
            tokio::time::sleep(SWAP_POLL).await;
        }
    };
    let ended = tokio::time::timeout(SWAP_PATIENCE, ended).await;
    let ended = ended.map_err(|_| CliError::failed("the swap is not over; see shift show"))??;
    let SwapView { state, why, .. } = &ended;
    output.result(json!(ended));
    if state == "done" {
        output.say("done");
        return Ok(());
    }
    let why = why.as_deref().unwrap_or("ask again");
    Err(CliError::refused(format!("the swap was {state}: {why}")))
}

pub(crate) async fn run(verb: &ShiftVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        ShiftVerb::Set { whose, file, zone, dry_run } => {
            set(whose, Some(read(file, zone)?), *dry_run, output).await
        }
        ShiftVerb::Clear(whose) => set(whose, None, false, output).await,
        ShiftVerb::Show(whose) => {
            let api = Api::from_common(&whose.common)?;
            let view: RosterView = api.get(&whose.path("roster")?).await?;
            show(&view, output);
            output.result(json!(view));
            Ok(())
        }
        ShiftVerb::Export { whose, ics } => export(whose, *ics, output).await,
        ShiftVerb::Import(args) => import_shifts::shifts(args, output).await,
        ShiftVerb::Who { common, at, region } => {
            who(common, at.as_deref(), region.as_deref(), output).await
        }
        ShiftVerb::Swap { common, from, to, date } => swap(common, from, to, date, output).await,
        ShiftVerb::On(whose) => duty(whose, true, output).await,
        ShiftVerb::Off(whose) => duty(whose, false, output).await,
    }
}
