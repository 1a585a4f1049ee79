//! The page of a report: one document with its style and drawings in it.
//!
//! **Invariants:** nothing in it refers outside; sections come in the order in which somebody asks. **Not
//! here:** its style (`style`), figures, drawings, escaping.

mod explained;
mod plots;
mod tables;
mod told;

use super::{Report, chart, compare::Share, markup::Markup, spread::permille, style::document};
use crate::cli::field::week::{HOUR, Minute};

/// Writes the page.
pub(super) fn page(report: &Report) -> String {
    document(&format!("Replay of {}", report.setting.log), |markup| body(markup, report))
}

fn body(markup: &mut Markup, report: &Report) {
    let setting = &report.setting;
    markup.say("h1", &format_args!("Replay of {}", setting.log));
    let lead = format!(
        "{} requests of {} customers to {} technicians, from {} to {}; fieldmesh {}, nodes: {}.",
        report.replay.tickets,
        setting.customers,
        setting.technicians,
        setting.first,
        setting.last,
        setting.release,
        setting.nodes,
    );
    markup.say_with("p", &[("class", &"lead")], &lead);
    chart::patterns(markup);
    told::summary(markup, report);
    told::honesty(markup, report);
    markup.say("h2", &"Against what really happened");
    tables::comparison(markup, report);
    markup.say("h2", &"In time, by priority");
    plots::targets(markup, &report.replay);
    tables::targets(markup, report);
    markup.say("h2", &"Load and queue over time");
    plots::load(markup, &report.replay);
    markup.say("h2", &"Time to alert and to accept, by priority");
    plots::to_alert(markup, &report.replay);
    plots::to_accept(markup, &report.replay);
    tables::times(markup, &report.replay);
    markup.say("h2", &"Where the time goes");
    plots::waits(markup, &report.replay);
    markup.say("h2", &"Travel and work");
    plots::travel(markup, &report.replay);
    tables::travel(markup, &report.replay);
    markup.say("h2", &"Fairness between technicians");
    plots::fairness(markup, report);
    tables::fairness(markup, report);
    markup.say("h2", &"The worst tickets, explained");
    explained::all(markup, &report.worst);
    markup.say("h2", &"The model and its figures");
    told::model(markup, report);
}

/// Minutes as people say them.
fn span(minutes: Minute) -> String {
    const DAY: Minute = 24 * HOUR;
    match minutes {
        minutes if minutes < HOUR => format!("{minutes} min"),
        minutes if minutes < 2 * DAY => format!("{} h {:02} min", minutes / HOUR, minutes % HOUR),
        minutes => format!("{} d {} h", minutes / DAY, minutes % DAY / HOUR),
    }
}

fn maybe(value: Option<u64>, said: impl Fn(u64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), said)
}

/// A share with what it is of.
fn share(count: usize, of: usize) -> String {
    if of == 0 {
        return "not known".to_owned();
    }
    format!("{} ({count} of {of})", percent(permille(count, of)))
}

fn known(share_of: Share) -> String {
    share(share_of.count, share_of.of)
}

fn percent(permille: u32) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// A table; cells of the first column are heads of their rows.
fn table(markup: &mut Markup, caption: &str, heads: &[&str], rows: &[Vec<String>]) {
    markup.element("table", &[], |markup| {
        markup.say("caption", &caption);
        markup.element("thead", &[], |markup| {
            markup.element("tr", &[], |markup| {
                for head in heads {
                    markup.say_with("th", &[("scope", &"col")], head);
                }
            });
        });
        markup.element("tbody", &[], |markup| {
            for row in rows {
                markup.element("tr", &[], |markup| {
                    for (column, cell) in row.iter().enumerate() {
                        match column {
                            0 => markup.say_with("th", &[("scope", &"row")], cell),
                            _ => markup.say("td", cell),
                        }
                    }
                });
                markup.line();
            }
        });
    });
    markup.line();
}

#[cfg(test)]
mod tests;
