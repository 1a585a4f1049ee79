//! What a run is worth: its promises, its probes, its faults, as one verdict.
//!
//! **Invariants:** a run passes only if every promise that it checks was kept, every probe held, and every fault
//! was really there. What nobody knows does not pass. A fault of the run itself is not one of the product.
//! **Not here:** the single checks (`promises`), drawing.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    history::{History, Phase, What},
    promises::{
        Bounded, Finding, Operations, Promise, Recovery, Verdict, bounded, recoveries, unplaced,
    },
    scenario::{Probe, Scenario, Workload},
    steady::{Figures, Mode, PENDING_US, measured},
    timeline::Strike,
};

/// Between two looks at a probe.
const LOOK_US: u64 = 1_000_000;
/// Of a window in which less is asked than this, nobody says that something should have been there: what is asked may come a
/// little late.
const ASKED_MIN: u64 = 2;

/// How a run ended; the numbers are exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Passed = 0,
    /// A promise was broken, or what is normal was not so.
    Violated = 1,
    /// An abort condition came true, or somebody stopped it.
    Aborted = 2,
    /// The run says nothing of the product: a fault was not there, or something could not be looked at.
    Inconclusive = 3,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeFinding {
    pub id: String,
    pub query: String,
    pub mode: String,
    pub wanted: String,
    pub verdict: Verdict,
    pub looks: u64,
    pub failed: u64,
    /// Windows in which there was nothing to measure, and should have been.
    pub missed: u64,
    /// Of those, and why nobody knows.
    pub why: String,
    /// The worst figure, and when its window ended.
    pub worst: Option<f64>,
    pub worst_at_ms: Option<u64>,
}

/// How often a kind of fault was wanted, and was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    pub kind: String,
    pub wanted: u64,
    pub installed: u64,
    /// Of those that were there; none where nothing was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    pub why_not: Vec<String>,
}

/// What faults did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Effect {
    pub count: u64,
    /// Such were counted.
    pub of: &'static str,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.count.to_string();
        f.write_str("had effect on ")?;
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        write!(f, " {}", self.of)
    }
}

/// Everything that follows from a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    pub ending: Ending,
    pub why: Vec<String>,
    pub promises: Vec<Finding>,
    /// What I10 is of, one by one.
    pub bounds: Vec<Bounded>,
    pub probes: Vec<ProbeFinding>,
    pub faults: Vec<Coverage>,
    pub(crate) recoveries: Vec<Recovery>,
    /// What nothing in this run looked at.
    pub not_covered: Vec<String>,
    pub is_whole: bool,
}

impl Judgement {
    /// Of a history that cannot be judged: nothing was looked at.
    pub fn of_nothing(why: String) -> Self {
        let promised = |promise: Promise| format!("I{}: {}", promise.number(), promise.text());
        Self {
            ending: Ending::Inconclusive,
            why: vec![why],
            promises: Vec::new(),
            bounds: Vec::new(),
            probes: Vec::new(),
            faults: Vec::new(),
            recoveries: Vec::new(),
            not_covered: Promise::ALL.into_iter().map(promised).collect(),
            is_whole: false,
        }
    }

    /// Of each fault that took a node: milliseconds until each shard that the node had led answered again.
    pub fn recoveries_ms(&self) -> Vec<u64> {
        self.recoveries.iter().map(|recovery| recovery.ms).collect()
    }
}

/// Says what a history is worth.
pub fn judge(history: &History) -> Judgement {
    let scenario = history.scenario();
    let wanted = scenario.map(|scenario| scenario.promises.clone()).unwrap_or_default();
    let operations = Operations::of(history);
    let check = |promise: &Promise| promise.check(history, &operations);
    let promises: Vec<Finding> = wanted.iter().map(check).collect();
    let figures = measured(history, &operations);
    let moments = Moments::of(history);
    let probes = scenario.map(|scenario| scenario.probes(&figures, &moments)).unwrap_or_default();
    let faults = coverage(history);
    let Outcome { ending, why } = outcome(history, &promises, &probes, &faults);
    let mut not_covered: Vec<String> = Promise::ALL
        .into_iter()
        .filter(|promise| !wanted.contains(promise))
        .map(|promise| format!("I{}: {}", promise.number(), promise.text()))
        .collect();
    // What was kept as far as it was looked at, and what could not be; of a history that is cut off that is all.
    let in_part = promises.iter().filter(|one| history.is_whole && !one.why.is_empty());
    not_covered.extend(in_part.map(|one| format!("I{}: {}", one.promise.number(), one.why)));
    not_covered.extend(unplaced(&operations));
    let kinds = crate::fault::KINDS.iter().map(|(kind, _)| *kind);
    let unbroken = kinds.filter(|kind| !faults.iter().any(|one| one.kind == *kind));
    not_covered.extend(unbroken.map(|kind| format!("fault {kind}")));
    let recoveries = recoveries(history, &operations);
    let is_whole = history.is_whole;
    let bounds = bounded(history);
    Judgement { ending, why, promises, bounds, probes, faults, recoveries, not_covered, is_whole }
}

/// What a run came to, with the reasons.
struct Outcome {
    ending: Ending,
    why: Vec<String>,
}

impl Outcome {
    /// A violation is one whatever else went wrong; an aborted run may be inconclusive too.
    fn worse(&mut self, to: Ending, because: String) {
        let rank = |ending: Ending| match ending {
            Ending::Passed => 0,
            Ending::Inconclusive => 1,
            Ending::Aborted => 2,
            Ending::Violated => 3,
        };
        if rank(to) > rank(self.ending) {
            self.ending = to;
        }
        self.why.push(because);
    }

    fn promised(&mut self, finding: &Finding) {
        let (number, text) = (finding.promise.number(), finding.promise.text());
        match finding.verdict {
            Verdict::Kept => {}
            Verdict::Broken => {
                let times = finding.broken;
                self.worse(Ending::Violated, format!("I{number}, {text}: broken {times} times"));
            }
            Verdict::Unknown => {
                let why = &finding.why;
                self.worse(Ending::Inconclusive, format!("I{number}, {text}: not known: {why}"));
            }
        }
    }

    /// Why a run was given up that broke nothing, its probes of before the first fault say again.
    fn probed(&mut self, probe: &ProbeFinding, broke_nothing: bool) {
        let ProbeFinding { id, wanted, failed, looks, .. } = probe;
        match probe.verdict {
            Verdict::Kept => {}
            Verdict::Broken => {
                let text = format!("{id} was not {wanted} {failed} of {looks} times");
                let is_of_before = [Mode::Sot, Mode::Edge].map(Mode::name).contains(&&*probe.mode);
                let is_gate = broke_nothing && is_of_before;
                self.worse(if is_gate { Ending::Aborted } else { Ending::Violated }, text);
            }
            Verdict::Unknown => {
                let why = &probe.why;
                self.worse(Ending::Inconclusive, format!("{id} could not be measured: {why}"));
            }
        }
    }

    fn covered(&mut self, coverage: &Coverage) {
        let Coverage { kind, wanted, installed, why_not, .. } = coverage;
        if installed < wanted {
            let reason = why_not.first().map_or("it never came", String::as_str);
            let text = format!("{kind} was there {installed} of {wanted} times: {reason}");
            self.worse(Ending::Inconclusive, text);
        }
    }

    fn happened(&mut self, what: &What) {
        match what {
            What::Aborted { why } => {
                self.worse(Ending::Aborted, format!("the run was given up: {why}"));
            }
            What::Harness { why } => {
                self.worse(Ending::Inconclusive, format!("the run itself failed: {why}"));
            }
            _ => {}
        }
    }
}

fn outcome(
    history: &History,
    promises: &[Finding],
    probes: &[ProbeFinding],
    faults: &[Coverage],
) -> Outcome {
    let mut outcome = Outcome { ending: Ending::Passed, why: Vec::new() };
    promises.iter().for_each(|finding| outcome.promised(finding));
    let broke_nothing = is_given_up_unbroken(history);
    probes.iter().for_each(|probe| outcome.probed(probe, broke_nothing));
    faults.iter().for_each(|coverage| outcome.covered(coverage));
    history.entries.iter().for_each(|entry| outcome.happened(&entry.what));
    if !history.is_whole {
        let count = history.entries.len();
        let text = format!("the history is cut off after {count} entries");
        outcome.worse(Ending::Inconclusive, text);
    }
    outcome
}

/// Whether the run was given up before anything was broken.
fn is_given_up_unbroken(history: &History) -> bool {
    let is_broken =
        |what: &What| matches!(what, What::Fault { phase: Phase::Installed | Phase::Ended, .. });
    let mut all = history.entries.iter().map(|entry| &entry.what);
    all.clone().any(|what| matches!(what, What::Aborted { .. })) && !all.any(is_broken)
}

/// When the first node was to be started again that stayed away, where something failed that the run itself was to do: what
/// is not normal from then on may not be the product's fault.
fn unmended_us(history: &History) -> Option<u64> {
    let has_failed = |what: &What| matches!(what, What::Harness { .. });
    if !history.entries.iter().any(|entry| has_failed(&entry.what)) {
        return None;
    }
    let mut open = BTreeMap::new();
    for entry in &history.entries {
        let What::Fault { strike, fault, node, phase, .. } = &entry.what else { continue };
        match phase {
            Phase::Installed if fault.ends_the_process() || fault.starts_again() => {
                open.insert((*strike, *node), entry.at_us);
            }
            Phase::Ended => {
                open.remove(&(*strike, *node));
            }
            _ => {}
        }
    }
    let strikes = planned(history);
    let due = |((number, _), since): ((u32, _), u64)| {
        let strike = strikes.iter().find(|strike| strike.number == number);
        let lasts_ms = strike.map_or(0, |strike| strike.until_ms.saturating_sub(strike.at_ms));
        since.saturating_add(lasts_ms.saturating_mul(1000))
    };
    open.into_iter().map(due).min()
}

fn planned(history: &History) -> &[Strike] {
    let strikes = history.entries.iter().find_map(|entry| match &entry.what {
        What::Begun { strikes, .. } => Some(strikes.as_slice()),
        _ => None,
    });
    strikes.unwrap_or_default()
}

/// How often each kind was wanted, and there: wherever it was to be, for at least half of its time, and not in vain.
fn coverage(history: &History) -> Vec<Coverage> {
    let mut all: Vec<Coverage> = Vec::new();
    for strike in planned(history) {
        let kind = strike.fault.name();
        let at = all.iter().position(|one| one.kind == kind).unwrap_or_else(|| {
            let kind = kind.to_owned();
            let (wanted, installed, effect, why_not) = (0, 0, None, Vec::new());
            all.push(Coverage { kind, wanted, installed, effect, why_not });
            all.len() - 1
        });
        all[at].wanted += 1;
        match was_there(history, strike) {
            Ok(effect) => {
                all[at].installed += 1;
                let before = all[at].effect.map(|effect| effect.count);
                let count = before.into_iter().chain(effect).reduce(u64::saturating_add);
                let of = strike.fault.counted();
                all[at].effect = count.zip(of).map(|(count, of)| Effect { count, of });
            }
            Err(why) => all[at].why_not.push(why),
        }
    }
    all
}

/// What a strike did in all, where that is known. By chance, one node of several may have had nothing of it, as of
/// entities that fail where none is one of them: all of them together have not.
fn was_there(history: &History, strike: &Strike) -> Result<Option<u64>, String> {
    let (mut since, mut shortest) = (BTreeMap::new(), None::<u64>);
    let mut effects: BTreeMap<Option<u64>, Option<u64>> = BTreeMap::new();
    for entry in &history.entries {
        let What::Fault { strike: number, node, phase, why, effect, .. } = &entry.what else {
            continue;
        };
        if *number != strike.number {
            continue;
        }
        let known = effects.entry(*node).or_default();
        *known = (*known).max(*effect);
        match phase {
            Phase::Skipped | Phase::Failed => return Err(why.clone()),
            Phase::Installed => {
                since.insert(*node, entry.at_us);
            }
            Phase::Ended => {
                let lasted = since.get(node).map(|since| (entry.at_us - since) / 1000);
                shortest = lasted.into_iter().chain(shortest).min();
            }
        }
    }
    let wanted = strike.until_ms.saturating_sub(strike.at_ms);
    // Of a node that did not tell it may be anything.
    let is_told = effects.values().all(Option::is_some);
    let effect = effects.into_values().flatten().reduce(u64::saturating_add);
    match (shortest, effect) {
        _ if since.is_empty() => Err("it never came".into()),
        (Some(lasted), _) if lasted < wanted / 2 => {
            Err(format!("it lasted {lasted} of {wanted} ms"))
        }
        (_, Some(0)) if is_told => {
            let of = strike.fault.counted().unwrap_or("times");
            Err(format!("it was installed and had no effect: 0 {of}"))
        }
        _ => Ok(effect.filter(|effect| *effect > 0)),
    }
}

/// When faults were there.
struct Moments {
    end_us: u64,
    first_us: Option<u64>,
    last_us: Option<u64>,
    /// Each from its installation to its end.
    bands: Vec<(u64, u64)>,
    /// From when on something was broken that the run itself could not mend.
    unmended_us: Option<u64>,
}

impl Moments {
    fn of(history: &History) -> Self {
        let end_us = history.asked_last_us().unwrap_or(0);
        let bands = history.bands().into_iter().map(|(_, _, since, until)| (since, until));
        let bands: Vec<(u64, u64)> = bands.collect();
        let first_us = bands.iter().map(|band| band.0).min();
        let last_us = bands.iter().map(|band| band.1).max();
        Self { end_us, first_us, last_us, bands, unmended_us: unmended_us(history) }
    }

    /// Whether a window has something of a fault, or of the time behind one.
    fn touches(&self, (from_us, until_us): (u64, u64), grace_us: u64) -> bool {
        self.bands
            .iter()
            .any(|(since, to)| *since < until_us && from_us < to.saturating_add(grace_us))
    }

    /// The window before anything was broken, where the first was asked at a moment. It ends where what was asked in it had
    /// its time, because a fault takes what is under way, and may be there before it is noted; where there is no time for
    /// that, it ends as late as it must.
    fn before(&self, length: u64, asked_us: Option<u64>) -> (u64, u64) {
        let first = self.first_us.unwrap_or(self.end_us);
        let whole = asked_us.unwrap_or(0).saturating_add(length);
        let until = first.saturating_sub(PENDING_US).max(whole).min(first);
        (until.saturating_sub(length), until)
    }

    /// The windows of a probe, where the first of what it measures was asked at a moment.
    fn windows(&self, probe: &Probe, asked_us: Option<u64>) -> Vec<(u64, u64)> {
        let length = probe.window_ms.saturating_mul(1000);
        let before = self.before(length, asked_us);
        let after =
            (self.end_us.saturating_sub(length).max(self.last_us.unwrap_or(0)), self.end_us);
        let ends = (1..).map(|step: u64| (step * LOOK_US).saturating_add(length));
        let ends = ends.take_while(|end| *end <= self.end_us);
        let all = ends.map(|end| (end - length, end));
        match probe.mode {
            Mode::Sot => vec![before],
            Mode::Eot => vec![after],
            Mode::Edge => vec![before, after],
            Mode::Continuous => match probe.grace_ms {
                None => all.collect(),
                Some(grace) => all
                    .filter(|window| !self.touches(*window, grace.saturating_mul(1000)))
                    .collect(),
            },
            Mode::OnFault => all.filter(|(_, end)| self.touches((*end - 1, *end), 0)).collect(),
        }
    }
}

impl Scenario {
    fn probes(&self, figures: &Figures, moments: &Moments) -> Vec<ProbeFinding> {
        let look = |probe: &Probe| looked_at(probe, &self.workload, figures, moments);
        self.steady.iter().map(look).collect()
    }
}

/// Whether something must have been asked in a window: always where the window is of a moment that is named.
fn is_asked(
    probe: &Probe,
    workload: &Workload,
    figures: &Figures,
    (from_us, until_us): (u64, u64),
) -> bool {
    let rate = u64::from(probe.query.rate(workload));
    let asked = rate.saturating_mul(until_us.saturating_sub(from_us)) / 1_000_000;
    let has_begun = figures.first_us(probe.query).is_some_and(|first_us| first_us <= from_us);
    match probe.mode {
        Mode::Sot | Mode::Eot | Mode::Edge => true,
        Mode::Continuous | Mode::OnFault => has_begun && asked >= ASKED_MIN,
    }
}

/// Why nobody knows of windows.
fn missing(missed: &[(u64, u64)], looks: u64) -> String {
    let Some((from_us, until_us)) = missed.first() else {
        return if looks == 0 { "it has no window".to_owned() } else { String::new() };
    };
    let (count, of) = (missed.len(), missed.len() as u64 + looks);
    let seconds = |us: u64| us as f64 / 1e6;
    format!(
        "in {count} of {of} windows there was nothing to measure, first from {:.1} to {:.1} s",
        seconds(*from_us),
        seconds(*until_us)
    )
}

fn looked_at(
    probe: &Probe,
    workload: &Workload,
    figures: &Figures,
    moments: &Moments,
) -> ProbeFinding {
    let (mut looks, mut failed, mut excused, mut missed) = (0, 0, 0, Vec::new());
    let mut worst: Option<(f64, u64)> = None;
    for (from_us, until_us) in moments.windows(probe, figures.first_us(probe.query)) {
        let Some(measured) = figures.of(probe.query, from_us, until_us) else {
            if is_asked(probe, workload, figures, (from_us, until_us)) {
                missed.push((from_us, until_us));
            }
            continue;
        };
        looks += 1;
        if !probe.comparison.holds(measured, probe.value) {
            failed += 1;
            excused += u64::from(moments.unmended_us.is_some_and(|since| since < until_us));
        }
        let is_worse = worst.is_none_or(|(worst, _)| !probe.comparison.holds(measured, worst));
        if is_worse {
            worst = Some((measured, until_us / 1000));
        }
    }
    let verdict = match (looks, failed - excused) {
        (_, 1..) => Verdict::Broken,
        (1.., 0) if excused == 0 && missed.is_empty() => Verdict::Kept,
        _ => Verdict::Unknown,
    };
    let unit = if probe.query.is_of_time() { " ms" } else { "" };
    let wanted = format!("{} {}{unit}", probe.comparison.name(), probe.value);
    let why = match (excused, missing(&missed, looks)) {
        (0, why) => why,
        (count, more) => {
            let and = if more.is_empty() { "" } else { "; " };
            let text = "and the run itself could not mend all that it broke";
            format!("it was not {wanted} {count} of {looks} times, {text}{and}{more}")
        }
    };
    ProbeFinding {
        id: probe.id.clone(),
        query: probe.query.name().to_owned(),
        mode: probe.mode.name().to_owned(),
        wanted,
        verdict,
        looks,
        failed,
        missed: missed.len() as u64,
        why,
        // What never came out well is written as none: JSON has no infinity.
        worst: worst.map(|(worst, _)| worst).filter(|worst| worst.is_finite()),
        worst_at_ms: worst.map(|(_, at)| at),
    }
}

/// What the run was, for those who draw it.
impl History {
    /// Each fault that was there: kind, node, from and until in microseconds.
    pub fn bands(&self) -> Vec<(String, Option<u64>, u64, u64)> {
        let mut open = BTreeMap::new();
        let mut bands = Vec::new();
        for entry in &self.entries {
            let What::Fault { strike, fault, node, phase, .. } = &entry.what else { continue };
            match phase {
                Phase::Installed => {
                    open.insert((*strike, *node), (fault.name().to_owned(), entry.at_us));
                }
                Phase::Ended => {
                    if let Some((kind, since)) = open.remove(&(*strike, *node)) {
                        bands.push((kind, *node, since, entry.at_us));
                    }
                }
                Phase::Skipped | Phase::Failed => {}
            }
        }
        let last = self.entries.last().map_or(0, |entry| entry.at_us);
        bands.extend(open.into_iter().map(|((_, node), (kind, since))| (kind, node, since, last)));
        bands
    }
}

#[cfg(test)]
mod tests;
