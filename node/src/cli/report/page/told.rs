//! What a report says in words: its outcome, what is measured and what is not, and the model's figures.

use super::{
    super::{Report, compare::Share, markup::Markup, spread::permille, target::TARGETS},
    percent, share, span, table,
};
use crate::cli::field::{
    drive::{ORDERS_MAX, TAIL},
    person::{
        ANSWER_MINUTES, HOME_AFTER, METRES_PER_MINUTE, ON_CALL_PRIORITY, SHIFT_BEGINS,
        TRIP_MINUTES_MIN, WORK_MINUTES_MAX, WORK_MINUTES_MIN,
    },
    week::{SERVICE, SHIFT},
};

fn against(share: Share, what: &str) -> String {
    match share.of {
        0 => String::new(),
        of => format!(" (in the log {}{what})", percent(permille(share.count, of))),
    }
}

pub(super) fn summary(markup: &mut Markup, report: &Report) {
    let (replay, log, promises) = (&report.replay, &report.log, report.promises);
    markup.element("ul", &[], |markup| {
        let reassigned = share(replay.reassigned_tickets, replay.tickets);
        let missed = share(replay.missed, replay.tickets);
        for line in [
            format!("{} requests, {} completed.", replay.tickets, replay.completed),
            format!("Missed targets: {missed}{}.", against(log.missed_target, " by the same targets")),
            format!("Reassigned: {reassigned}{}.", against(log.reassigned, "")),
            format!(
                "Offers: {}, of which {} were accepted, {} declined, {} expired and {} refused without \
                 asking; {} visits ended undone.",
                replay.offers,
                replay.acceptances,
                replay.declined,
                replay.expired,
                replay.refused,
                replay.undone
            ),
            format!(
                "Lost requests: {}; confirmations twice: {}; tickets with two technicians: {}.",
                promises.lost, promises.duplicates, promises.double_assignments
            ),
        ] {
            markup.say("li", &line);
        }
    });
    markup.line();
}

pub(super) fn honesty(markup: &mut Markup, report: &Report) {
    let setting = &report.setting;
    markup.say("h2", &"What this is, and what it is not");
    let placing = match setting.cities {
        0 => "in one territory of 110 by 73 km, by a fixed seed".to_owned(),
        cities => format!("on {cities} cities, by a fixed seed"),
    };
    let befell = match (setting.kills, setting.cuts) {
        (0, 0) => String::new(),
        (kills, cuts) => format!(" Nodes killed meanwhile: {kills}; cut off: {cuts}."),
    };
    let rows = [
        (
            "measured",
            format!(
                "Requests, alerts, answers and confirmations are sealed messages between real devices and a real \
                 server; who is asked, in which order, and every event and its time is the server's. Times to \
                 alert are real milliseconds of the server.{befell}"
            ),
        ),
        (
            "from the log",
            "When each request came, from whom, its category, impact and urgency; which categories each assignee \
             handled, which are the technicians' skills; and what really became of it."
                .to_owned(),
        ),
        (
            "modelled",
            format!(
                "Where customers and technicians are ({placing}), shifts, how soon technicians answer, what they \
                 decline, trips, work on site, and visits that end undone; see the end of this page. The log's \
                 clock goes on by steps of {} minutes and stands until the service has answered: {} steps, {} of \
                 them not answered in time.",
                setting.step_minutes, setting.steps, setting.unquiet
            ),
        ),
        (
            "not compared",
            "The log's targets are not known; this report has its own, and lays them on both. Hands-on time, \
             travel, shifts, waiting for callers, suppliers and parts are not in the log. The service does not know \
             of the model's shifts: it asks whom it would ask at any hour."
                .to_owned(),
        ),
    ];
    let rows = rows.map(|(kind, text)| vec![kind.to_owned(), text]).to_vec();
    markup.element("div", &[("class", &"words")], |markup| {
        table(markup, "How far the figures reach", &["", ""], &rows);
    });
}

pub(super) fn model(markup: &mut Markup, report: &Report) {
    let model = report.setting.model;
    let hours = SHIFT_BEGINS.map(|begins| (begins / 60).to_string()).join(", ");
    let (answer_min, answer_max) = (ANSWER_MINUTES.start(), ANSWER_MINUTES.end());
    let rows = [
        (
            "shifts",
            format!("Monday to Friday, {} from {hours} o'clock; one of them each", span(SHIFT)),
        ),
        (
            "on call",
            format!(
                "at any hour for priority {ON_CALL_PRIORITY} and above; others wait for the shift"
            ),
        ),
        ("answers", format!("after {answer_min} to {answer_max} minutes, evenly drawn")),
        ("declines", format!("{} % of offers, evenly drawn", model.decline_percent)),
        ("order of work", "the highest priority first, then the earliest accepted".to_owned()),
        (
            "trips",
            format!(
                "great circle at {} km/h, at least {}; from the last visit, or from home after {} without work",
                METRES_PER_MINUTE * 60 / 1000,
                span(TRIP_MINUTES_MIN),
                span(HOME_AFTER)
            ),
        ),
        (
            "work on site",
            format!(
                "{} and an exponential rest, {} minutes on average, at most {}",
                span(WORK_MINUTES_MIN),
                model.work_minutes,
                span(WORK_MINUTES_MAX)
            ),
        ),
        (
            "undone",
            format!(
                "{} % of visits by technicians whom the log never shows at that subcategory; the ticket is then \
                 offered to somebody else",
                model.misfit_percent
            ),
        ),
        ("list", "without a limit: the log does not say how many tickets one can hold".to_owned()),
        (
            "nobody found",
            format!(
                "an operator orders to seek again at the next step, up to {ORDERS_MAX} times a ticket; here {} \
                 orders",
                report.setting.orders
            ),
        ),
        ("end", format!("work that is open {} after the last request stays open", span(TAIL))),
        ("service hours", format!("{} to {} o'clock", SERVICE.start / 60, SERVICE.end / 60)),
        ("targets", targets()),
    ];
    let rows = rows.map(|(what, text)| vec![what.to_owned(), text]).to_vec();
    markup.element("div", &[("class", &"words")], |markup| {
        table(markup, "Assumptions, not measurements", &["", ""], &rows);
    });
    markup.say(
        "p",
        &"What is drawn has a fixed seed and depends on the incident, the technician and the offer. Where two \
          technicians cost the same, the lower identifier is chosen, and identifiers are new in each replay: two \
          replays differ by a few tickets.",
    );
}

fn targets() -> String {
    let said = TARGETS.map(|target| {
        let counts = if target.in_service_time { " of service time" } else { "" };
        format!("priority {}: {} h{counts}", target.priority, target.minutes / 60)
    });
    said.join("; ")
}
