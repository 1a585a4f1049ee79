//! The worst tickets of a report: what each waited for, who was asked, and why nobody else was.

use super::{
    super::{
        chart::{Bar, bars},
        history::Wait,
        markup::Markup,
        worst::{Excluded, Told, Worst},
    },
    percent, span, table,
};

pub(super) fn all(markup: &mut Markup, worst: &[Worst]) {
    if worst.is_empty() {
        markup.say("p", &"No ticket was opened.");
        return;
    }
    markup.say(
        "p",
        &"Those that used the most of their target. Costs are in seconds, the lowest is chosen; terms are those \
          of the service's own explanation of its choice.",
    );
    for (rank, ticket) in (1..).zip(worst) {
        one(markup, rank, ticket);
    }
}

fn one(markup: &mut Markup, rank: usize, ticket: &Worst) {
    let Worst { incident, priority, .. } = ticket;
    markup.say("h3", &format_args!("{rank}. {incident}, priority {priority}"));
    let longest = ticket.spans.iter().max_by_key(|stretch| stretch.minutes);
    let longest = longest.map_or_else(String::new, |longest| {
        let whose = longest.technician.as_ref().map_or_else(String::new, |who| format!(" ({who})"));
        format!(" The longest while: {} {}{whose}.", span(longest.minutes), longest.waited_for)
    });
    let used = u32::try_from(ticket.used_permille).unwrap_or(u32::MAX);
    markup.element("p", &[], |markup| {
        markup.escaped(&format_args!(
            "Opened {}, {} after {}; {} of its target used; reassigned {} times.{longest} ",
            ticket.opened,
            ticket.state,
            span(ticket.lasted_min),
            percent(used),
            ticket.reassigned,
        ));
        markup.say("code", &ticket.ticket);
    });
    strip(markup, ticket);
    for choice in &ticket.choices {
        told(markup, choice);
    }
    left_out(markup, ticket.choices_left_out, "choices");
    timeline(markup, ticket);
}

/// What was waited for, in the order of what it can be.
fn strip(markup: &mut Markup, ticket: &Worst) {
    let names = Wait::ALL.map(Wait::name);
    let waited = |name: &&str| -> f64 {
        let spans = ticket.spans.iter().filter(|stretch| stretch.waited_for == *name);
        spans.map(|stretch| stretch.minutes).sum::<u64>() as f64
    };
    let bar = Bar {
        name: ticket.incident.clone(),
        parts: names.iter().map(waited).collect(),
        note: span(ticket.lasted_min),
    };
    bars(markup, "What it waited for", &names, &[bar]);
}

fn told(markup: &mut Markup, choice: &Told) {
    let terms: Vec<&str> = choice
        .candidates
        .first()
        .map_or_else(Vec::new, |first| first.terms_s.keys().map(String::as_str).collect());
    let rows: Vec<Vec<String>> = choice
        .candidates
        .iter()
        .map(|rated| {
            let is_chosen = choice.chosen.as_ref() == Some(&rated.technician);
            let name = format!("{}{}", rated.technician, if is_chosen { ", asked" } else { "" });
            let of =
                |term: &&str| rated.terms_s.get(*term).map_or_else(String::new, u64::to_string);
            let terms = terms.iter().map(of);
            [name, rated.cost_s.to_string()].into_iter().chain(terms).collect()
        })
        .collect();
    let chosen = match &choice.chosen {
        Some(technician) => format!("{technician} was asked"),
        None => "nobody fitted".to_owned(),
    };
    let rules = match choice.rule_version {
        0 => String::new(),
        version => format!(", by trigger rules of version {version}"),
    };
    let caption = format!("{}: {chosen}{rules}", choice.at);
    if rows.is_empty() {
        markup.say("p", &caption);
    } else {
        let heads: Vec<String> = terms.iter().map(|term| term.replace('_', " ")).collect();
        let heads: Vec<&str> =
            ["candidate", "cost"].into_iter().chain(heads.iter().map(String::as_str)).collect();
        table(markup, &caption, &heads, &rows);
    }
    if choice.excluded_count > 0 {
        let reasons: Vec<String> = choice.excluded.iter().map(reason).collect();
        markup.say("p", &format_args!("Out of the question: {}.", reasons.join("; ")));
    }
}

fn reason(excluded: &Excluded) -> String {
    let Excluded { reason, count, technicians } = excluded;
    let more = if *count > technicians.len() { ", …" } else { "" };
    format!("{count} {reason} ({}{more})", technicians.join(", "))
}

fn timeline(markup: &mut Markup, ticket: &Worst) {
    let rows: Vec<Vec<String>> = ticket
        .events
        .iter()
        .map(|event| {
            let technician = event.technician.clone().unwrap_or_default();
            vec![event.at.clone(), event.event.replace('_', " "), technician, event.detail.clone()]
        })
        .collect();
    markup.element("details", &[], |markup| {
        markup.say("summary", &format_args!("Timeline of {} events", rows.len()));
        markup.element("div", &[("class", &"words")], |markup| {
            table(
                markup,
                "As the service tells it",
                &["at", "event", "technician", "detail"],
                &rows,
            );
        });
        left_out(markup, ticket.events_left_out, "events");
    });
    markup.line();
}

fn left_out(markup: &mut Markup, count: usize, what: &str) {
    if count > 0 {
        markup.say("p", &format_args!("{count} later {what} are left out; the service has them."));
    }
}
