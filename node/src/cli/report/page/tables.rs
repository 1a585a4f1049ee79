//! The tables of a report: the same figures as its drawings, and the comparison with the log.

use super::{
    super::{Report, figures::Figures, markup::Markup, spread::Spread},
    known, maybe, percent, share, span, table,
};

/// Technicians of the table, from each end: the middle says little, and the JSON has all.
const ENDS: usize = 10;

/// Counts in tenths, as far as people read them.
fn per_ticket(count: u64, tickets: usize) -> String {
    let hundredths = (count * 100).checked_div(tickets as u64).unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

pub(super) fn comparison(markup: &mut Markup, report: &Report) {
    let (replay, log) = (&report.replay, &report.log);
    let rows = vec![
        vec![
            "reassigned to another technician".into(),
            share(replay.reassigned_tickets, replay.tickets),
            known(log.reassigned),
        ],
        vec![
            "… after a technician had accepted".into(),
            share(replay.handed_over_tickets, replay.tickets),
            "not told apart".into(),
        ],
        vec![
            "reassignments per ticket".into(),
            per_ticket(replay.reassignments, replay.tickets),
            per_ticket(log.reassignments, log.reassigned.of),
        ],
        vec![
            "missed the service level, by the log's own mark".into(),
            "the log does not say its targets".into(),
            known(log.missed),
        ],
        vec![
            "missed the targets of this report".into(),
            share(replay.missed, replay.tickets),
            known(log.missed_target),
        ],
    ];
    table(markup, "The same incidents, both ways", &["", "replay", "in the log"], &rows);
    markup.say(
        "p",
        &"The log's desk was a service desk of several groups: a reassignment there also moves an incident \
          between groups, often before anybody looks into it, and its times include waiting for callers, \
          suppliers and parts, of which the replay knows nothing. The replay's technicians are skilled as the \
          log shows that they were, so no ticket begins with the wrong group. What the two columns show \
          together is how much of the log's figures the choosing of a technician could be responsible for, \
          under the assumptions below; not that the service would have had the replay's figures.",
    );
    markup.line();
}

pub(super) fn targets(markup: &mut Markup, report: &Report) {
    let logged = |priority| report.log.urgencies.iter().find(|one| one.priority == priority);
    let rows = report.replay.urgencies.iter().map(|urgency| {
        let target = urgency.target;
        let counts = if target.in_service_time { "of service time" } else { "day and night" };
        let (by_mark, by_target) =
            logged(urgency.priority).map(|one| (one.missed, one.missed_target)).unwrap_or_default();
        vec![
            urgency.priority.to_string(),
            format!("{} h {counts}", target.minutes / 60),
            urgency.tickets.to_string(),
            urgency.met.to_string(),
            urgency.missed.to_string(),
            urgency.undecided.to_string(),
            share(urgency.missed, urgency.met + urgency.missed),
            known(by_target),
            known(by_mark),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let heads = [
        "priority",
        "to be completed within",
        "tickets",
        "met",
        "missed",
        "open, not late",
        "missed in the replay",
        "missed in the log by this target",
        "… by its own mark",
    ];
    table(markup, "Service time is Monday to Friday from 8 to 17", &heads, &rows);
}

fn spread(name: String, spread: &Spread, said: impl Fn(u64) -> String) -> Vec<String> {
    let Spread { count, p50, p90, p99, max, mean } = *spread;
    let figures = [p50, p90, p99, max, mean].map(|value| maybe(value, &said));
    [name, count.to_string()].into_iter().chain(figures).collect()
}

const SPREAD: [&str; 7] = ["", "tickets", "half within", "90 %", "99 %", "longest", "mean"];

pub(super) fn times(markup: &mut Markup, figures: &Figures) {
    let mut rows = Vec::new();
    for urgency in &figures.urgencies {
        let name = |what: &str| format!("priority {}: {what}", urgency.priority);
        rows.push(spread(name("first alert"), &urgency.to_alert_ms.spread, |ms| {
            format!("{ms} ms")
        }));
        rows.push(spread(name("accepted"), &urgency.to_accept_min.spread, span));
        rows.push(spread(name("on site"), &urgency.to_arrive_min.spread, span));
        rows.push(spread(name("completed"), &urgency.to_complete_min.spread, span));
    }
    let caption = "From the request on. Alerts in real milliseconds of the server, the others in the log's time";
    table(markup, caption, &SPREAD, &rows);
}

pub(super) fn travel(markup: &mut Markup, figures: &Figures) {
    let rows = [
        spread("a trip".into(), &figures.trips_min.spread, span),
        spread("a visit".into(), &figures.visits_min.spread, span),
        spread("all of a technician".into(), &figures.hours.spread, span),
    ];
    let heads = ["", "count", SPREAD[2], SPREAD[3], SPREAD[4], SPREAD[5], SPREAD[6]];
    table(markup, "On the road and on site", &heads, &rows);
}

pub(super) fn fairness(markup: &mut Markup, report: &Report) {
    let (replay, log) = (&report.replay, &report.log);
    let rows = [
        ("tickets, replay", &replay.assignments),
        ("hours on the road and on site, replay", &replay.hours),
        ("incidents, in the log", &log.assignments),
    ];
    let rows = rows.map(|(name, evenness)| vec![name.to_owned(), percent(evenness.gini_permille)]);
    let caption = "Gini coefficient: 0 % where all have the same, near 100 % where one has all";
    table(markup, caption, &["", "unevenness"], &rows);
    let efforts = &replay.efforts;
    let hours = |minutes: u64| format!("{}.{} h", minutes / 60, minutes % 60 / 6);
    let row = |effort: &super::super::figures::Effort| {
        vec![
            effort.technician.clone(),
            effort.assignments.to_string(),
            hours(effort.road_min),
            hours(effort.site_min),
        ]
    };
    let most = efforts.iter().take(ENDS);
    let least = efforts.iter().skip(ENDS.max(efforts.len().saturating_sub(ENDS)));
    let rows: Vec<Vec<String>> = most.chain(least).map(row).collect();
    let caption =
        format!("The {ENDS} technicians with the most tickets, and those with the fewest");
    table(markup, &caption, &["technician", "tickets", "on the road", "on site"], &rows);
}
