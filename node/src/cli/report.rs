//! `fieldmesh replay --report`: what came of a replay, as a page for people and as JSON for programs.
//!
//! Every figure of the replay is computed from what the server says of its tickets, by REST, after the last one;
//! the log's own figures from its columns. The page states what was measured, what was modelled and what cannot
//! be compared. **Invariants:** the page needs nothing but itself; whatever stands in the log is text in it.
//! **Not here:** the model of technicians (`field`), the requests (`replay`).

pub(crate) mod chart;
pub(super) mod clock;
mod compare;
mod figures;
mod history;
pub(crate) mod markup;
mod page;
mod spread;
pub(crate) mod style;
mod target;
mod worst;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use fieldmesh_domain::EntityId;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use self::{
    compare::{Logged, LoggedSum},
    figures::{Figures, Sum},
    history::{History, read},
    worst::{Names, Ranking, Worst, explain},
};
use super::{
    CliError, Output,
    api::Api,
    field::{
        Parameters,
        drive::{Driven, STEP},
        week::{Minute, civil},
    },
    import::progress,
    replay::Technicians,
    replay_input::Log,
    strikes::Befell,
};
use crate::{
    files::{self, Access},
    story::{ChoiceStory, TicketStory},
};

/// Histories asked for at a time: each is a connection of its own.
const ASK_AT_ONCE: usize = 16;
/// How often one is asked for, and the pause between: longer than a leader's death lasts.
const ATTEMPTS_MAX: u32 = 10;
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Where a report goes.
pub(super) struct Paths {
    page: PathBuf,
    figures: PathBuf,
}

impl Paths {
    /// The page's path and that of the figures beside it, before anything is begun.
    pub(super) fn of(page: &Path) -> Result<Self, CliError> {
        let figures = page.with_extension("json");
        let why = match page.parent() {
            _ if page.file_name().is_none() || page.is_dir() => "it is no file's name",
            _ if figures == page => "its figures go beside it with .json; name the page otherwise",
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
                "there is no such directory"
            }
            _ => return Ok(Self { page: page.to_owned(), figures }),
        };
        Err(CliError::usage(format!("--report {}: {why}", page.display())))
    }
}

/// What a reported replay is of.
pub(super) struct Run<'a> {
    pub(super) paths: Paths,
    pub(super) source: String,
    pub(super) log: &'a Log,
    pub(super) speed: Option<u64>,
    pub(super) parameters: Parameters,
    pub(super) nodes: u64,
}

/// The circumstances of a replay.
#[derive(Debug, Clone, Serialize)]
struct Setting {
    release: &'static str,
    log: String,
    first: String,
    /// Of the last step: later than the last request.
    last: String,
    technicians: usize,
    customers: usize,
    /// Cities that locations were put on; none means one territory.
    cities: usize,
    nodes: u64,
    kills: usize,
    cuts: usize,
    step_minutes: Minute,
    steps: usize,
    /// Steps in which the service did not answer all in time.
    unquiet: usize,
    /// Orders of the replay's operator to seek again.
    orders: usize,
    model: Parameters,
}

/// What must not be, whatever happened.
#[derive(Debug, Clone, Copy, Serialize)]
struct Promises {
    /// Requests that the service received and does not know.
    lost: usize,
    /// Confirmations of a technician that customers saw beyond one for each acceptance.
    duplicates: u64,
    /// Acceptances while another technician had the ticket.
    double_assignments: u64,
}

/// All that the page says, and the JSON.
#[derive(Debug, Clone, Serialize)]
struct Report {
    setting: Setting,
    promises: Promises,
    replay: Figures,
    log: Logged,
    worst: Vec<Worst>,
}

/// Asks the server for every ticket's history and writes the report.
pub(super) async fn write(
    run: &Run<'_>,
    technicians: &Technicians,
    driven: &Driven,
    befell: Befell,
    api: &Api,
    output: &Output,
) -> Result<(), CliError> {
    let names: Names = technicians
        .iter()
        .map(|one| (one.id.to_string(), format!("assignee {}", one.name)))
        .collect();
    let end = driven.clock.last();
    let mut sum = Sum::new(names.values().cloned(), end);
    let (mut logged, mut ranking, mut known) = (LoggedSum::default(), Ranking::default(), 0);
    let bar = progress(driven.tickets.len() as u64, output);
    bar.set_message("histories read");
    let asked = driven
        .tickets
        .iter()
        .map(|(number, ticket)| async move { (*number, story(api, *ticket).await) });
    let mut histories = stream::iter(asked).buffered(ASK_AT_ONCE);
    while let Some((number, story)) = histories.next().await {
        bar.inc(1);
        let Some(story) = story? else { continue };
        let history = named(read(&story, &driven.clock), &names);
        known += 1;
        sum.add(&history);
        ranking.add(number, &history, end);
        let (incident, first) = (&run.log.incidents[number], run.log.first_min);
        let opened = first + incident.at_min;
        logged.add(history.priority, opened, first, &incident.really);
    }
    bar.finish_and_clear();
    let replay = sum.finish();
    let promises = Promises {
        lost: (driven.tickets.len() - known).saturating_sub(driven.tally.refused()),
        duplicates: (driven.dispatches_seen as u64).saturating_sub(replay.acceptances),
        double_assignments: replay.doubly_held,
    };
    let worst = worst(run, ranking, driven, api, &names).await?;
    let log = logged.finish(technicians.iter().map(|one| &one.name));
    let setting = setting(run, technicians.len(), driven, befell);
    let report = Report { setting, promises, replay, log, worst };
    save(run, &report)?;
    tell(run, &report, output)
}

/// None for a ticket that the server does not know. A server that is busy is asked again: the replay took
/// longer than that.
async fn story(api: &Api, ticket: EntityId) -> Result<Option<TicketStory>, CliError> {
    let path = format!("/v1/tickets/{ticket}");
    let mut attempt = 1;
    loop {
        match api.find(&path).await {
            Ok(story) => return Ok(story),
            Err(error) if attempt == ATTEMPTS_MAX => return Err(error.within(ticket)),
            Err(_) => sleep(ASK_AGAIN).await,
        }
        attempt += 1;
    }
}

/// The same with technicians by name.
fn named(mut history: History, names: &Names) -> History {
    for id in history.spans.iter_mut().filter_map(|span| span.technician.as_mut()) {
        *id = worst::name(names, id);
    }
    history
}

async fn worst(
    run: &Run<'_>,
    ranking: Ranking,
    driven: &Driven,
    api: &Api,
    names: &Names,
) -> Result<Vec<Worst>, CliError> {
    let mut explained = Vec::new();
    for (used, number) in ranking.worst_first() {
        let Some(ticket) = driven.tickets.get(&number) else { continue };
        let Some(story) = story(api, *ticket).await? else { continue };
        let choices: Vec<ChoiceStory> =
            api.get(&format!("/v1/tickets/{ticket}/explanation")).await?;
        let history = named(read(&story, &driven.clock), names);
        let incident = &run.log.incidents[number].name;
        explained.push(explain(
            (incident, used),
            (&story, &choices),
            &history,
            &driven.clock,
            names,
        ));
    }
    Ok(explained)
}

fn setting(run: &Run<'_>, technicians: usize, driven: &Driven, befell: Befell) -> Setting {
    let callers = run.log.incidents.iter().map(|incident| &incident.caller);
    Setting {
        release: env!("CARGO_PKG_VERSION"),
        log: run.source.clone(),
        first: civil(run.log.first_min),
        last: civil(driven.clock.last()),
        technicians,
        customers: callers.collect::<BTreeSet<_>>().len(),
        cities: run.log.cities,
        nodes: run.nodes,
        kills: befell.kills,
        cuts: befell.cuts,
        step_minutes: STEP,
        steps: driven.clock.steps(),
        unquiet: driven.unquiet,
        orders: driven.orders,
        model: run.parameters,
    }
}

fn save(run: &Run<'_>, report: &Report) -> Result<(), CliError> {
    let Paths { page, figures } = &run.paths;
    let json = serde_json::to_vec_pretty(report).map_err(CliError::failed)?;
    for (path, bytes) in [(page, page::page(report).into_bytes()), (figures, json)] {
        files::write(path, &bytes, Access::Everybody).map_err(|error| {
            CliError::failed(format!("the report is not written: {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// The figures that the command ends with.
fn tell(run: &Run<'_>, report: &Report, output: &Output) -> Result<(), CliError> {
    let Report { replay, promises, log, setting, .. } = report;
    output.figures(json!({
        "requests": replay.tickets,
        "completed": replay.completed,
        "missed_sla": replay.missed,
        "missed_sla_in_log": log.missed.count,
        "missed_targets_in_log": log.missed_target.count,
        "reassigned": replay.reassigned_tickets,
        "reassigned_in_log": log.reassigned.count,
        "reassignments": replay.reassignments,
        "reassignments_in_log": log.reassignments,
        "unquiet_steps": setting.unquiet,
        "lost": promises.lost,
        "duplicates": promises.duplicates,
        "double_assignments": promises.double_assignments,
        "report": run.paths.page.display().to_string(),
        "figures": run.paths.figures.display().to_string(),
    }));
    let broken = promises.lost as u64 + promises.duplicates + promises.double_assignments;
    if broken > 0 {
        Err(CliError::failed("a promise was broken: see lost, duplicates, double_assignments"))
    } else {
        Ok(())
    }
}
