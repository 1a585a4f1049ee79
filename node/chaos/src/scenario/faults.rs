//! What a scenario breaks: `[[fault]]`, each with when and whom, and `[random]`.

use fieldmesh_rules::reading::{Fields, Findings, meant};
use serde::{Deserialize, Serialize};

use super::{
    LIST_MAX,
    head::{Head, Target, Workload, number},
    links::{links, pick},
};
use crate::{
    fault::{
        BITS_MAX, DELAY_MS_MAX, DRIFT_PPM_MAX, Direction, FLAP_MS_MAX, Fault, HELD_MIB_MAX, KINDS,
        Network, OFFSET_MS_MAX, Pick, RATE_KBIT_MAX, THREADS_MAX,
    },
    span::{span, written},
    timeline::Strike,
};

/// What every fault has besides its kind's own fields.
const COMMON: &[&str] = &["kind", "at", "for", "every", "from", "until", "pick"];
const DELAY_MS: (u64, u64) = (1, DELAY_MS_MAX);
const FLAP_MS: (u64, u64) = (100, FLAP_MS_MAX);
const CLOCK_MS: (u64, u64) = (1, OFFSET_MS_MAX);
const EVERY_MS: (u64, u64) = (1_000, 6 * 3_600_000);
const PERCENT: (i64, i64) = (1, 100);
const RATE_KBIT: (i64, i64) = (8, RATE_KBIT_MAX as i64);
const DEVICES: (i64, i64) = (1, 1_000);
const DRIFT_PPM: (i64, i64) = (-(DRIFT_PPM_MAX as i64), DRIFT_PPM_MAX as i64);
const THREADS: (i64, i64) = (1, THREADS_MAX as i64);
const HELD_MIB: (i64, i64) = (1, HELD_MIB_MAX as i64);
const BITS: (i64, i64) = (1, BITS_MAX as i64);

/// Why whoever runs a scenario cannot do a fault by its own means; none: it can.
pub type Refuses<'a> = &'a dyn Fn(&Fault) -> Option<String>;

/// A fault with when it comes: once, or again and again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) pick: Pick,
    pub(crate) at_ms: u64,
    pub(crate) for_ms: u64,
    /// Until then, again after so long.
    pub(crate) again: Option<Again>,
    /// The node does it to itself, whoever runs the scenario.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) inside: bool,
    /// Of the document; 0 in a history of before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) line: u32,
}

/// For what serde leaves out.
pub(super) fn is_zero(line: &u32) -> bool {
    *line == 0
}

impl Planned {
    /// How often it comes.
    pub(crate) fn times(&self) -> u64 {
        let again = |again: Again| {
            let last_ms = again.until_ms.saturating_sub(self.at_ms + self.for_ms);
            last_ms / again.every_ms.max(1) + 1
        };
        self.again.map_or(1, again)
    }

    /// Whether a strike is one of its own.
    pub(crate) fn has(&self, strike: &Strike) -> bool {
        let since_ms = strike.at_ms.checked_sub(self.at_ms);
        let every_ms = self.again.map_or(u64::MAX, |again| again.every_ms.max(1));
        let is_its_time = since_ms.is_some_and(|since| since.is_multiple_of(every_ms))
            && strike.until_ms == strike.at_ms + self.for_ms;
        is_its_time && (self.fault, self.pick) == (strike.fault, strike.pick)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Again {
    pub(crate) every_ms: u64,
    pub(crate) until_ms: u64,
}

pub(super) fn faults(
    document: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
    workload: Option<Workload>,
    refuses: Refuses<'_>,
) -> Vec<Planned> {
    let tables = document.tables(findings, "fault", LIST_MAX);
    let (mut all, mut devices) = (Vec::new(), 0);
    for fields in &tables {
        let Some(planned) = planned(fields, findings, head, refuses) else { continue };
        if let Fault::Revoke { devices: each } | Fault::Expire { devices: each } = planned.fault {
            devices = planned.times().saturating_mul(each.into()).saturating_add(devices);
            enough(fields, findings, devices, workload);
        }
        all.push(planned);
    }
    all
}

/// Each device that is refused is another customer's.
fn enough(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    wanted: u64,
    workload: Option<Workload>,
) {
    let Some(Workload { customers, .. }) = workload else { return };
    if wanted > u64::from(customers) {
        let at = fields.value("devices").map_or(fields.place(), |value| value.span().start);
        let text = format!(
            "with this {wanted} devices are revoked or expire, each once, and the workload has {customers} \
             customers; lower `devices`, or raise `customers`"
        );
        fields.error(findings, at, text);
    }
}

fn planned(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
    refuses: Refuses<'_>,
) -> Option<Planned> {
    let (at, kind) = fields.string(findings, "kind")?;
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let meant = meant(kind, KINDS.iter().map(|(name, _)| *name));
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let (kind, known) = (kind.escape_debug(), names.join(", "));
        fields.error(findings, at.start, format!("no fault is `{kind}`{meant}; there is {known}"));
        return None;
    };
    fields.only(findings, &[COMMON, own].concat());
    let fault = fault(kind, fields, findings, head)?;
    let inside = is_inside(fields, findings)?;
    let why = if inside { None } else { refuses(&fault) };
    allowed(&fault, at.start, fields, findings, head);
    refused(&fault, why, at.start, fields, findings);
    let pick = pick(&fault, fields, findings, head)?;
    let (at_ms, again) = when(fields, findings, head)?;
    let longest = (100, head.duration_ms);
    let for_ms = match fault {
        // It is over as soon as it is done.
        fault if fault.is_done_at_once() => {
            span(fields, findings, "for", Some(0), (0, head.duration_ms))?
        }
        _ => span(fields, findings, "for", None, longest)?,
    };
    let end_ms = again.map_or(head.duration_ms, |again| again.until_ms);
    let is_crowded = again.is_some_and(|again| for_ms > again.every_ms);
    if at_ms + for_ms > end_ms || is_crowded {
        let text = match (again, is_crowded) {
            (_, true) => "it comes again before it is over; change `for` or `every`".to_owned(),
            (None, _) => {
                let end = written(end_ms);
                format!("it ends after the run, which lasts {end}; shorten it")
            }
            (Some(_), _) => {
                "it is not over by `until`, not even once; change `for` or `from`".into()
            }
        };
        fields.error(findings, fields.place(), text);
        return None;
    }
    let line = findings.place(at.start).line;
    Some(Planned { fault, pick, at_ms, for_ms, again, inside, line })
}

/// Whether a node is to do it to itself, also where whoever runs the scenario has means of its own.
pub(super) fn is_inside(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<bool> {
    if fields.value("plane").is_none() {
        return Some(false);
    }
    let (at, text) = fields.string(findings, "plane")?;
    if text != "inside" {
        let text = "`plane` is inside: the node does it to itself; or leave it out";
        fields.error(findings, at.start, text.to_owned());
        return None;
    }
    Some(true)
}

/// Says that whoever runs the scenario cannot do it.
pub(super) fn refused(
    fault: &Fault,
    why: Option<String>,
    at: usize,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) {
    let Some(why) = why else { return };
    let name = fault.name();
    let remedy = "or add `plane = \"inside\"`, and the node does it to itself";
    fields.error(findings, at, format!("`{name}` is not possible here: {why}; {remedy}"));
}

/// Whether the target may have it.
pub(super) fn allowed(
    fault: &Fault,
    at: usize,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) {
    let name = fault.name();
    if head.target != Target::Lab && !fault.is_inside() {
        let text =
            format!("`{name}` needs whoever runs the nodes' processes; use target = \"lab\"");
        fields.error(findings, at, text);
    } else if head.target == Target::Production && !fault.may_befall_production() {
        let why = match fault {
            Fault::Drain => ": it is no lease, and where the run is killed the node stays drained",
            _ => "",
        };
        let text =
            format!("`{name}` is not for a cluster that serves customers{why}; use staging or lab");
        fields.error(findings, at, text);
    }
}

fn when(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> Option<(u64, Option<Again>)> {
    let whole = (0, head.duration_ms);
    if fields.value("every").is_none() {
        for name in ["from", "until"] {
            if fields.value(name).is_some() {
                let text =
                    format!("`{name}` is of a fault that comes again; add `every`, or use `at`");
                fields.error(findings, fields.place(), text);
            }
        }
        return Some((span(fields, findings, "at", None, whole)?, None));
    }
    if fields.value("at").is_some() {
        let text = "`at` and `every` do not go together; use `from` with `every`";
        fields.error(findings, fields.place(), text.to_owned());
    }
    let every_ms = span(fields, findings, "every", None, EVERY_MS)?;
    let from_ms = span(fields, findings, "from", Some(every_ms), whole)?;
    let until_ms = span(fields, findings, "until", Some(head.duration_ms), whole)?;
    Some((from_ms, Some(Again { every_ms, until_ms })))
}

fn fault(
    kind: &str,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> Option<Fault> {
    let mut network = Network { direction: direction(fields, findings)?, ..Network::default() };
    let links = links(fields, findings, head)?;
    let of = |network| links.of(network);
    let percent = |findings: &mut Findings<'_>| count(fields, findings, "percent", PERCENT);
    let mut delayed = |findings: &mut Findings<'_>, otherwise| {
        network.delay_ms = span(fields, findings, "delay", otherwise, DELAY_MS)?;
        network.jitter_ms = span(fields, findings, "jitter", Some(0), (0, network.delay_ms))?;
        Some(network)
    };
    Some(match kind {
        "delay" => of(delayed(findings, None)?),
        "reorder" => {
            let network = delayed(findings, Some(20))?;
            of(Network { reorder_percent: percent(findings)?, ..network })
        }
        "partition" => {
            if fields.value("flap").is_some() {
                network.flap_ms = Some(span(fields, findings, "flap", None, FLAP_MS)?);
            }
            of(Network { loss_percent: 100, ..network })
        }
        "loss" => of(Network { loss_percent: percent(findings)?, ..network }),
        "duplicate" => of(Network { duplicate_percent: percent(findings)?, ..network }),
        "corrupt" => of(Network { corrupt_percent: percent(findings)?, ..network }),
        "bandwidth" => {
            let rate = count(fields, findings, "rate_kbit", RATE_KBIT)?;
            of(Network { rate_kbit: Some(rate), ..network })
        }
        _ => return of_a_node(kind, fields, findings),
    })
}

fn count(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    name: &str,
    (least, most): (i64, i64),
) -> Option<u64> {
    fields.number(findings, name, least, most).map(i64::unsigned_abs)
}

/// What befalls a node by itself, or nobody.
fn of_a_node(kind: &str, fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Fault> {
    let percent = |findings: &mut Findings<'_>| count(fields, findings, "percent", PERCENT);
    let devices = |findings: &mut Findings<'_>| {
        u32::try_from(number(fields, findings, "devices", 1, DEVICES)).unwrap_or(1)
    };
    Some(match kind {
        "kill" => Fault::Kill,
        "pause" => Fault::Pause,
        "drain" => Fault::Drain,
        "restart" => Fault::Restart,
        "upgrade" => Fault::Upgrade,
        "disk.slow" => {
            Fault::SlowDisk { delay_ms: span(fields, findings, "delay", None, DELAY_MS)? }
        }
        "disk.full" => Fault::FullDisk,
        "disk.broken" => Fault::BrokenDisk,
        "disk.lost" => Fault::PowerCut,
        "disk.flip" => Fault::FlippedBits { bits: number(fields, findings, "bits", 1, BITS) },
        "clock" => Fault::Clock { offset_ms: offset(fields, findings)? },
        "drift" => Fault::Drift { ppm: ppm(fields, findings)? },
        "actor.fail" => Fault::FailingActors { percent: percent(findings)? },
        "actor.slow" => {
            let delay_ms = span(fields, findings, "delay", None, DELAY_MS)?;
            Fault::SlowActors { percent: percent(findings)?, delay_ms }
        }
        "actor.stall" => Fault::StalledActors { percent: percent(findings)? },
        "cpu" => Fault::BusyProcessor { threads: count(fields, findings, "threads", THREADS)? },
        "memory" => Fault::HeldMemory { mib: count(fields, findings, "mib", HELD_MIB)? },
        "herd" => Fault::Herd,
        "join" => Fault::Join,
        "rotate" => Fault::Rotate,
        "expire" => Fault::Expire { devices: devices(findings) },
        _ => Fault::Revoke { devices: devices(findings) },
    })
}

fn direction(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Direction> {
    if fields.value("direction").is_none() {
        return Some(Direction::Both);
    }
    let (at, text) = fields.string(findings, "direction")?;
    match text {
        "both" => Some(Direction::Both),
        "in" => Some(Direction::In),
        "out" => Some(Direction::Out),
        _ => {
            fields.error(findings, at.start, "`direction` is both, in or out; choose one".into());
            None
        }
    }
}

/// Gained, or lost where negative.
fn ppm(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<i64> {
    let ppm = fields.number(findings, "ppm", DRIFT_PPM.0, DRIFT_PPM.1)?;
    if ppm == 0 {
        let at = fields.value("ppm").map_or(fields.place(), |value| value.span().start);
        let text =
            "a clock that gains and loses nothing does not drift; `ppm` is above 0, or below";
        fields.error(findings, at, text.to_owned());
        return None;
    }
    Some(ppm)
}

/// Ahead, or behind where negative.
fn offset(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<i64> {
    let is_there = ["ahead", "behind"].map(|name| fields.value(name).is_some());
    let (name, sign) = match is_there {
        [true, false] => ("ahead", 1),
        [false, true] => ("behind", -1),
        _ => {
            let text = "a clock is `ahead` or `behind`; give one of them";
            fields.error(findings, fields.place(), text.to_owned());
            return None;
        }
    };
    let ms = span(fields, findings, name, None, CLOCK_MS)?;
    i64::try_from(ms).ok().map(|ms| sign * ms)
}
