//! The report of a run: one page with the verdict, what was broken, and what was seen meanwhile.
//!
//! **Invariants:** nothing in it refers outside; everything in it comes from the history. **Not here:** the
//! verdict (`fieldmesh_chaos`), drawing (`report::chart`), escaping (`report::markup`).

use std::fmt::Display;

use fieldmesh_chaos::{Ending, Figures, History, Judgement, Most, Query, history::What, measure};

use crate::cli::report::{
    chart::{Axis, Bar, Curve, MILLISECONDS, Plot, bars, patterns},
    markup::Markup,
    style,
};

/// Entries of the history that a counter-example shows.
const SHOWN_MAX: usize = 12;
/// Bars of the histogram of recoveries, each of so many milliseconds.
const BAR_MS: u64 = 250;
const BARS_MAX: usize = 12;

fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Passed => "passed",
        Ending::Violated => "VIOLATED",
        Ending::Aborted => "given up",
        Ending::Inconclusive => "inconclusive",
    }
}

/// Writes the page.
pub(super) fn page(history: &History, judgement: &Judgement) -> String {
    let name = history.scenario().map_or("chaos", |scenario| scenario.name.as_str());
    style::document(&format!("Chaos run {name}"), |markup| {
        head(markup, history, judgement);
        promises(markup, judgement);
        bounds(markup, judgement);
        probes(markup, judgement);
        faults(markup, judgement);
        plots(markup, history, judgement);
        examples(markup, history, judgement);
        not_covered(markup, judgement);
    })
}

/// Writes the page of a history that cannot be judged.
pub(super) fn unjudged(judgement: &Judgement) -> String {
    style::document("Chaos run", |markup| {
        markup.say("h1", &format_args!("Chaos run: {}", ending(judgement.ending)));
        markup.say("p", &"The history cannot be judged: nobody knows what happened in the run.");
        for why in &judgement.why {
            markup.say("p", why);
        }
        not_covered(markup, judgement);
    })
}

fn head(markup: &mut Markup, history: &History, judgement: &Judgement) {
    let Some(scenario) = history.scenario() else { return };
    markup.say("h1", &format_args!("{}: {}", scenario.name, ending(judgement.ending)));
    markup.say("p", &scenario.hypothesis);
    if let Some(What::Begun { document, product, nodes, .. }) =
        history.entries.first().map(|entry| &entry.what)
    {
        let lead = format!(
            "fieldmesh {product}, {nodes} nodes, seed {}, scenario {}; {} entries.",
            scenario.seed,
            document.get(..16).unwrap_or(document),
            history.entries.len()
        );
        markup.say_with("p", &[("class", &"lead")], &lead);
    }
    if !judgement.is_whole {
        markup.say("p", &"The history is cut off: what came later is not known.");
    }
    for why in &judgement.why {
        markup.say("p", why);
    }
}

fn row(markup: &mut Markup, cell: &'static str, cells: &[&dyn Display]) {
    markup.element("tr", &[], |markup| {
        for text in cells {
            markup.say(cell, text);
        }
    });
}

fn table(markup: &mut Markup, heads: &[&dyn Display], rows: impl FnOnce(&mut Markup)) {
    markup.element("table", &[("class", &"words")], |markup| {
        markup.element("thead", &[], |markup| row(markup, "th", heads));
        markup.element("tbody", &[], rows);
    });
    markup.line();
}

fn promises(markup: &mut Markup, judgement: &Judgement) {
    markup.say("h2", &"Promises");
    table(markup, &[&"", &"promise", &"verdict", &"checked", &"broken", &"why"], |markup| {
        for finding in &judgement.promises {
            let number = format!("I{}", finding.promise.number());
            let (text, verdict) = (finding.promise.text(), finding.verdict.name());
            let cells: &[&dyn Display] =
                &[&number, &text, &verdict, &finding.checked, &finding.broken, &finding.why];
            row(markup, "td", cells);
        }
    });
}

/// What I10 is of.
fn bounds(markup: &mut Markup, judgement: &Judgement) {
    if judgement.bounds.is_empty() {
        return;
    }
    markup.say("h2", &"What is bounded");
    let heads: &[&dyn Display] =
        &[&"", &"verdict", &"at most", &"bound", &"of node", &"samples", &"missing", &"why"];
    table(markup, heads, |markup| {
        for one in &judgement.bounds {
            let of = |figure: fn(&Most) -> u64| {
                one.most.as_ref().map(|most| figure(most).to_string()).unwrap_or_default()
            };
            let (value, bound) = (of(|most| most.value), of(|most| most.bound));
            let (node, verdict) = (of(|most| most.node), one.verdict.name());
            let cells: &[&dyn Display] =
                &[&one.name, &verdict, &value, &bound, &node, &one.samples, &one.missed, &one.why];
            row(markup, "td", cells);
        }
    });
}

fn probes(markup: &mut Markup, judgement: &Judgement) {
    if judgement.probes.is_empty() {
        return;
    }
    markup.say("h2", &"Steady state");
    table(
        markup,
        &[&"probe", &"measured", &"mode", &"wanted", &"verdict", &"failed", &"worst", &"why"],
        |markup| {
            for probe in &judgement.probes {
                let worst = probe.worst.map_or("never".to_owned(), |worst| format!("{worst:.3}"));
                let failed = format!("{} of {}", probe.failed, probe.looks);
                let verdict = probe.verdict.name();
                let cells: &[&dyn Display] = &[
                    &probe.id,
                    &probe.query,
                    &probe.mode,
                    &probe.wanted,
                    &verdict,
                    &failed,
                    &worst,
                    &probe.why,
                ];
                row(markup, "td", cells);
            }
        },
    );
}

fn faults(markup: &mut Markup, judgement: &Judgement) {
    markup.say("h2", &"Faults");
    table(markup, &[&"kind", &"wanted", &"there", &"effect", &"why not"], |markup| {
        for fault in &judgement.faults {
            let why = fault.why_not.first().cloned().unwrap_or_default();
            let effect = fault.effect.as_ref().map(ToString::to_string).unwrap_or_default();
            row(markup, "td", &[&fault.kind, &fault.wanted, &fault.installed, &effect, &why]);
        }
    });
}

/// Seconds.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn plots(markup: &mut Markup, history: &History, judgement: &Judgement) {
    markup.say("h2", &"What was seen");
    patterns(markup);
    let end = history.asked_last_us().unwrap_or(1);
    let bands: Vec<(String, f64, f64)> = history
        .bands()
        .into_iter()
        .map(|(kind, node, since, until)| {
            let whom = node.map(|node| format!(" of node {node}")).unwrap_or_default();
            (format!("{kind}{whom}"), seconds(since), seconds(until))
        })
        .collect();
    let figures = measure(history);
    let steps: Vec<u64> = (0..end.div_ceil(1_000_000)).collect();
    let of = |query: Query| {
        let point = |at: &u64| {
            let (from, until) = window(*at);
            let value = figures.of(query, from, until).filter(|value| value.is_finite())?;
            Some((*at as f64 + 0.5, value))
        };
        steps.iter().filter_map(point).collect::<Vec<_>>()
    };
    let (half, most) = (of(Query::Request(50)), of(Query::Request(99)));
    let highest = most.iter().map(|point| point.1).fold(10.0, f64::max);
    let plot = Plot {
        title: "From a request to its receipt, of the requests of each second; faults are shaded"
            .into(),
        across: Axis::up_to("seconds", seconds(end)),
        up: Axis::spans("", highest, &MILLISECONDS),
        curves: vec![curve("half of them", half), curve("99 of 100", most)],
        bands: bands.clone(),
    };
    plot.draw(markup);
    outcomes(markup, &figures, &steps, bands.clone());
    leaders(markup, history, seconds(end), bands);
    recoveries(markup, judgement);
}

/// Requests of each second, by how they came out.
fn outcomes(markup: &mut Markup, figures: &Figures, steps: &[u64], bands: Vec<(String, f64, f64)>) {
    let counts: Vec<(f64, u64, u64)> = steps
        .iter()
        .map(|at| {
            let (from, until) = window(*at);
            let (well, ill) = figures.counts(from, until);
            (*at as f64 + 0.5, well, ill)
        })
        .collect();
    let highest = counts.iter().map(|(_, well, ill)| (*well).max(*ill)).max().unwrap_or(1);
    let well = counts.iter().map(|(at, well, _)| (*at, *well as f64)).collect();
    let ill = counts.iter().map(|(at, _, ill)| (*at, *ill as f64)).collect();
    let plot = Plot {
        title: "Requests of each second that were acknowledged, and that never were".into(),
        across: Axis::up_to("seconds", steps.len() as f64),
        up: Axis::up_to("requests", highest as f64),
        curves: vec![curve("acknowledged", well), curve("never", ill)],
        bands,
    };
    plot.draw(markup);
}

/// A second of a run, in microseconds.
fn window(at: u64) -> (u64, u64) {
    (at * 1_000_000, (at + 1) * 1_000_000)
}

fn curve(name: &str, points: Vec<(f64, f64)>) -> Curve {
    Curve { name: name.to_owned(), points, is_stepped: false }
}

/// Who led each group, as steps; at nothing where nobody did.
fn leaders(markup: &mut Markup, history: &History, end: f64, bands: Vec<(String, f64, f64)>) {
    let mut groups: std::collections::BTreeMap<u32, Vec<(f64, f64)>> = Default::default();
    for entry in &history.entries {
        if let What::Leader { group, node } = entry.what {
            let led = groups.entry(group).or_default();
            led.push((seconds(entry.at_us), node.unwrap_or(0) as f64));
        }
    }
    let most = groups.values().flatten().map(|point| point.1).fold(1.0, f64::max);
    for points in groups.values_mut() {
        if let Some((_, last)) = points.last().copied() {
            points.push((end, last));
        }
    }
    let curves = groups.into_iter().map(|(group, points)| Curve {
        name: format!("group {group}"),
        points,
        is_stepped: true,
    });
    let plot = Plot {
        title: "Which node leads each group; 0 where none does".into(),
        across: Axis::up_to("seconds", end),
        up: Axis::up_to("node", most),
        curves: curves.collect(),
        bands,
    };
    plot.draw(markup);
}

fn recoveries(markup: &mut Markup, judgement: &Judgement) {
    let all = judgement.recoveries_ms();
    if all.is_empty() {
        return;
    }
    let mut counts = [0_u32; BARS_MAX];
    for ms in &all {
        let at = usize::try_from(ms / BAR_MS).unwrap_or(BARS_MAX).min(BARS_MAX - 1);
        counts[at] += 1;
    }
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let rows: Vec<Bar> = (0_u64..)
        .zip(&counts[..=last])
        .map(|(at, count)| Bar {
            name: format!("from {} ms", at * BAR_MS),
            parts: vec![f64::from(*count)],
            note: count.to_string(),
        })
        .collect();
    let title = "From the loss of a leader to the first receipt in its shard";
    bars(markup, title, &["shards"], &rows);
}

/// The smallest counter-example of each promise that was broken, with its entries.
fn examples(markup: &mut Markup, history: &History, judgement: &Judgement) {
    let broken = judgement.promises.iter().filter(|finding| !finding.examples.is_empty());
    for finding in broken {
        markup.say("h2", &format_args!("How I{} was broken", finding.promise.number()));
        for example in &finding.examples {
            markup.say("h3", &example.text);
            markup.element("ul", &[], |markup| {
                for at in example.entries.iter().take(SHOWN_MAX) {
                    let Some(entry) = history.entries.get(*at) else { continue };
                    let line = entry.line().unwrap_or_default();
                    markup.element("li", &[], |markup| markup.say("code", &line));
                }
                let more = example.entries.len().saturating_sub(SHOWN_MAX);
                if more > 0 {
                    markup.say(
                        "li",
                        &format_args!("and {more} more, by their places in results.json"),
                    );
                }
            });
        }
        let shown = finding.examples.len() as u64;
        if finding.broken > shown {
            let more = finding.broken - shown;
            markup.say("p", &format_args!("It was broken {more} times more than is shown here."));
        }
    }
}

fn not_covered(markup: &mut Markup, judgement: &Judgement) {
    markup.say("h2", &"What this run did not cover");
    markup.element("ul", &[], |markup| {
        for text in &judgement.not_covered {
            markup.say("li", text);
        }
    });
}

#[cfg(test)]
mod tests {
    use fieldmesh_chaos::{Entry, Example, Finding, Promise, Verdict};

    use super::*;

    fn shown(entries: usize, broken: u64) -> String {
        let turned_away = |at: usize| Entry {
            at_us: at as u64,
            what: What::TurnedAway { device: format!("device {at}") },
        };
        let history = History::of((0..entries).map(turned_away).collect());
        let mut judgement = Judgement::of_nothing(String::new());
        judgement.promises.push(Finding {
            promise: Promise::Once,
            verdict: Verdict::Broken,
            checked: 1,
            broken,
            why: String::new(),
            examples: vec![Example { text: "x".into(), entries: (0..entries).collect() }],
        });
        let mut markup = Markup::default();
        examples(&mut markup, &history, &judgement);
        markup.finish()
    }

    #[test]
    fn what_a_counter_example_does_not_show_is_counted() {
        let all = shown(SHOWN_MAX, 1);
        assert!(all.contains("device 11") && !all.contains("more"), "{all}");
        let cut = shown(SHOWN_MAX + 5, 9);
        assert!(cut.contains("device 11") && !cut.contains("device 12"), "{cut}");
        assert!(cut.contains("and 5 more") && cut.contains("broken 8 times more"), "{cut}");
    }
}
