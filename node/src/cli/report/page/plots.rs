//! What a report draws, and over which axes.

use super::{
    super::{
        Report,
        chart::{Axis, Bar, Curve, MILLISECONDS, Plot, Scale, bars},
        figures::{Figures, Moment, Times, Urgency},
        history::Wait,
        markup::Markup,
    },
    share,
};
use crate::cli::field::week::{HOUR, Minute, civil};

const MINUTES: [(f64, &str); 7] = [
    (1.0, "1 min"),
    (10.0, "10 min"),
    (60.0, "1 h"),
    (480.0, "8 h"),
    (2_880.0, "2 d"),
    (10_080.0, "1 week"),
    (60_480.0, "6 weeks"),
];
/// Days between two marks of the axis of time.
const DAYS: [Minute; 5] = [1, 7, 28, 91, 364];
/// Marks of that axis at most.
const MARKS_MAX: Minute = 12;

pub(super) fn targets(markup: &mut Markup, figures: &Figures) {
    let rows: Vec<Bar> = figures
        .urgencies
        .iter()
        .map(|urgency| {
            let counts = [urgency.met, urgency.missed, urgency.undecided];
            // In shares: one priority has nearly all tickets.
            let all = urgency.tickets.max(1) as f64;
            Bar {
                name: format!("priority {}", urgency.priority),
                parts: counts.map(|count| count as f64 / all).to_vec(),
                note: format!("missed {}", share(urgency.missed, urgency.met + urgency.missed)),
            }
        })
        .collect();
    bars(
        markup,
        "Targets met and missed in the replay",
        &["met", "missed", "open, not late"],
        &rows,
    );
}

pub(super) fn waits(markup: &mut Markup, figures: &Figures) {
    let names = Wait::ALL.map(Wait::name);
    let rows: Vec<Bar> = figures
        .urgencies
        .iter()
        .map(|urgency| {
            let minutes = names.map(|name| urgency.waited_min.get(name).copied().unwrap_or(0));
            let tickets = urgency.tickets.max(1) as u64;
            let all: Minute = minutes.iter().sum();
            Bar {
                name: format!("priority {}", urgency.priority),
                parts: minutes.map(|minutes| minutes as f64 / tickets as f64).to_vec(),
                note: format!("{} on average", super::span(all / tickets)),
            }
        })
        .collect();
    bars(markup, "Time of a ticket by what it waits for, night and day, on average", &names, &rows);
}

fn time_axis(load: &[Moment]) -> Axis {
    const DAY: Minute = 24 * HOUR;
    let (from, to) = (load.first(), load.last());
    let (from, to) = (from.map_or(0, |one| one.minute), to.map_or(1, |one| one.minute));
    let days = (to - from) / DAY;
    let step = DAYS.into_iter().find(|step| days / step <= MARKS_MAX).unwrap_or(days.max(1));
    let first = from.next_multiple_of(DAY);
    let marks = (first..=to).step_by(usize::try_from(step * DAY).unwrap_or(usize::MAX));
    let named = |minute: Minute| (minute as f64, civil(minute).chars().skip(5).take(5).collect());
    Axis {
        title: "day of the log".into(),
        scale: Scale::Even,
        from: from as f64,
        to: to as f64,
        marks: marks.map(named).collect(),
    }
}

pub(super) fn load(markup: &mut Markup, figures: &Figures) {
    let load = &figures.load;
    let curve = |name: &str, value: fn(&Moment) -> i64| Curve {
        name: name.into(),
        points: load.iter().map(|one| (one.minute as f64, value(one) as f64)).collect(),
        is_stepped: true,
    };
    let most = |value: fn(&Moment) -> i64| load.iter().map(value).max().unwrap_or(0) as f64;
    let plot = Plot {
        title: "Tickets that are open, and those on technicians' lists".into(),
        across: time_axis(load),
        up: Axis::up_to("tickets", most(|one| one.open)),
        curves: vec![curve("open", |one| one.open), curve("on a list", |one| one.listed)],
        bands: Vec::new(),
    };
    plot.draw(markup);
    let up = most(|one| one.worked.max(one.unanswered));
    let plot = Plot {
        title: "Tickets that are worked on, and those without an acceptance".into(),
        across: time_axis(load),
        up: Axis::up_to("tickets", up),
        curves: vec![
            curve("on the road or on site", |one| one.worked),
            curve("not accepted yet", |one| one.unanswered),
        ],
        bands: Vec::new(),
    };
    plot.draw(markup);
}

fn cumulative(name: String, times: &Times) -> Curve {
    let points = times.curve.iter().map(|(value, share)| (*value as f64, f64::from(*share)));
    let begins = times.curve.first().map(|(value, _)| (*value as f64, 0.0));
    Curve { name, points: begins.into_iter().chain(points).collect(), is_stepped: true }
}

fn by_priority(
    markup: &mut Markup,
    figures: &Figures,
    (title, axis): (&str, &str),
    known: &[(f64, &str)],
    of: fn(&Urgency) -> &Times,
) {
    let most = figures.urgencies.iter().filter_map(|urgency| of(urgency).spread.max).max();
    let curve = |urgency: &Urgency| {
        let name = format!("priority {} ({})", urgency.priority, of(urgency).spread.count);
        cumulative(name, of(urgency))
    };
    let plot = Plot {
        title: title.into(),
        across: Axis::spans(axis, most.unwrap_or(0) as f64, known),
        up: Axis::shares("tickets so far"),
        curves: figures.urgencies.iter().map(curve).collect(),
        bands: Vec::new(),
    };
    plot.draw(markup);
}

pub(super) fn to_alert(markup: &mut Markup, figures: &Figures) {
    let title = ("From the request to the first offer, real time of the server", "real time");
    by_priority(markup, figures, title, &MILLISECONDS, |urgency| &urgency.to_alert_ms);
}

pub(super) fn to_accept(markup: &mut Markup, figures: &Figures) {
    let title = ("From the request to the first acceptance, time of the log", "time of the log");
    by_priority(markup, figures, title, &MINUTES, |urgency| &urgency.to_accept_min);
}

pub(super) fn travel(markup: &mut Markup, figures: &Figures) {
    let (trips, visits) = (&figures.trips_min, &figures.visits_min);
    let most = [trips, visits].into_iter().filter_map(|times| times.spread.max).max();
    let plot = Plot {
        title: "Minutes of a trip and of a visit".into(),
        across: Axis::spans("time of the log", most.unwrap_or(0) as f64, &MINUTES),
        up: Axis::shares("trips so far"),
        curves: vec![cumulative("trips".into(), trips), cumulative("visits".into(), visits)],
        bands: Vec::new(),
    };
    plot.draw(markup);
}

pub(super) fn fairness(markup: &mut Markup, report: &Report) {
    let lorenz = |name: &str, points: &[(u32, u32)]| Curve {
        name: name.into(),
        points: points.iter().map(|(x, y)| (f64::from(*x), f64::from(*y))).collect(),
        is_stepped: false,
    };
    let (replay, log) = (&report.replay, &report.log);
    let plot = Plot {
        title: "Lorenz curves: the straight line is the same for everybody".into(),
        across: Axis::shares("technicians, those with the least first"),
        up: Axis::shares("of all"),
        curves: vec![
            lorenz("tickets, replay", &replay.assignments.lorenz_permille),
            lorenz("hours, replay", &replay.hours.lorenz_permille),
            lorenz("incidents, log", &log.assignments.lorenz_permille),
            lorenz("the same for everybody", &[(0, 0), (1000, 1000)]),
        ],
        bands: Vec::new(),
    };
    plot.draw(markup);
    let ranked: Vec<u64> = replay.efforts.iter().map(|effort| effort.assignments).collect();
    let most = ranked.first().copied().unwrap_or(0) as f64;
    let bars = ranked.iter().enumerate().map(|(rank, count)| (rank as f64, *count as f64));
    let last = ranked.last().map(|count| (ranked.len() as f64, *count as f64));
    let plot = Plot {
        title: "Tickets of each technician, the most first".into(),
        across: Axis::up_to("technicians", ranked.len() as f64),
        up: Axis::up_to("tickets", most),
        curves: vec![Curve {
            name: "tickets".into(),
            points: bars.chain(last).collect(),
            is_stepped: true,
        }],
        bands: Vec::new(),
    };
    plot.draw(markup);
}
