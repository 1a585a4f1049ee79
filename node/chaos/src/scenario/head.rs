//! What a scenario says besides faults and probes: its name and length, the workload, when it is given
//! up, what is checked.

use fieldmesh_rules::reading::{Fields, Findings, is_name, meant};
use serde::{Deserialize, Serialize};

use super::{LIST_MAX, Planned, faults::is_zero};
use crate::{
    fault::Fault,
    promises::Promise,
    span::{millis, span},
    steady::Comparison,
};

/// A run is short enough to be looked at, and long enough for an upgrade of many nodes.
const DURATION_MS: (u64, u64) = (1_000, 6 * 3_600_000);
/// Of one machine's cluster: more would measure the machine.
const NODES: (i64, i64) = (3, 7);
const SHARDS: (i64, i64) = (1, 64);
/// The second one is there to be cut off from: it has one node and no customers.
const REGIONS: (i64, i64) = (1, 2);
/// Requests a second, customers, technicians: what the machine of a run can be.
const RATE: (i64, i64) = (1, 10_000);
const PEOPLE: (i64, i64) = (1, 10_000);
const NAME_BYTES_MAX: usize = 64;
const WITHIN_MS: (u64, u64) = (100, 600_000);
/// Of a group, whatever the number of nodes, and how many of them decide.
pub const VOTERS: u64 = 3;
pub const QUORUM: u64 = 2;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A cluster that is made for the run, on this machine, and removed.
    Lab,
    /// A cluster that nobody depends on.
    Staging,
    /// A cluster that serves customers.
    Production,
}

/// Which customer asks next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// Each as often as another.
    Uniform,
    /// The k-th as often as 1 / k^exponent.
    Zipf(f64),
}

/// How the cluster is used meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Requests a second.
    pub rate: u32,
    pub customers: u32,
    pub technicians: u32,
    pub keys: Keys,
    /// Reads of tickets a second, and messages that operators write into them.
    pub reads: u32,
    pub writes: u32,
}

/// Faults by chance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Random {
    pub pool: Vec<String>,
    /// What faults of the network may be of: `nodes`, `with` another one, `devices`; where none is named, links to all
    /// other nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Of a hundred shifts so many are quiet.
    pub quiet_percent: u32,
    pub shift_ms: u64,
    pub from_ms: u64,
    pub until_ms: u64,
    /// Nodes do them to themselves, whoever runs the scenario.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inside: bool,
    /// Of the document; 0 in a history of before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) line: u32,
}

/// What ends a run before its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abort {
    /// A group has no leader for so long.
    NoLeader { for_ms: u64 },
    /// Of the requests of ten seconds too few are acknowledged, for so long.
    Availability { comparison: Comparison, value: f64, for_ms: u64 },
    /// A promise that is checked was broken, as far as that shows before the end.
    Broken,
}

pub(super) struct Head {
    pub(super) name: String,
    pub(super) hypothesis: String,
    pub(super) seed: u64,
    pub(super) duration_ms: u64,
    pub(super) target: Target,
    pub(super) nodes: u64,
    pub(super) shards: u32,
    pub(super) regions: u64,
}

pub(super) struct Checks {
    pub(super) promises: Vec<Promise>,
    pub(super) recover_within_ms: u64,
    pub(super) revoked_within_ms: u64,
}

/// A number that may be missing.
pub(super) fn number(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    name: &str,
    otherwise: i64,
    (min, max): (i64, i64),
) -> u64 {
    let number = match fields.value(name) {
        Some(_) => fields.number(findings, name, min, max).unwrap_or(otherwise),
        None => otherwise,
    };
    number.unsigned_abs()
}

fn short(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn head(document: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Head> {
    let name = document.string(findings, "name");
    if let Some((at, name)) = &name
        && !(is_name(name) && name.len() <= NAME_BYTES_MAX)
    {
        let text = "`name` has letters, digits, - and _, at most 64; choose another";
        document.error(findings, at.start, text.to_owned());
    }
    let hypothesis =
        document.value("hypothesis").and_then(|_| document.string(findings, "hypothesis"));
    let duration_ms = span(document, findings, "duration", None, DURATION_MS);
    let target = match document.value("target") {
        None => Some(Target::Lab),
        Some(_) => document.string(findings, "target").and_then(|(at, text)| match text {
            "lab" => Some(Target::Lab),
            "staging" => Some(Target::Staging),
            "production" => Some(Target::Production),
            _ => {
                let text = "`target` is lab, staging or production; choose one";
                document.error(findings, at.start, text.to_owned());
                None
            }
        }),
    };
    Some(Head {
        name: name?.1.to_owned(),
        hypothesis: hypothesis.map(|(_, text)| text.to_owned()).unwrap_or_default(),
        seed: number(document, findings, "seed", 1, (0, i64::MAX)),
        duration_ms: duration_ms?,
        target: target?,
        nodes: number(document, findings, "nodes", 3, NODES),
        shards: short(number(document, findings, "shards", 6, SHARDS)),
        regions: number(document, findings, "regions", 1, REGIONS),
    })
}

/// The table of a field; an empty one's place where it is missing.
pub(super) fn table<'a, 'd>(
    document: &Fields<'a, 'd>,
    findings: &mut Findings<'_>,
    name: &'a str,
) -> Option<Fields<'a, 'd>> {
    let value = document.value(name)?;
    let table = document.as_table(findings, value, name)?;
    Some(document.inner(table, value.span().start, name))
}

pub(super) fn workload(document: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Workload> {
    let Some(fields) = table(document, findings, "workload") else {
        if document.value("workload").is_none() {
            let text = "there is no [workload]; what nobody uses breaks nothing";
            document.error(findings, 0, text.to_owned());
        }
        return None;
    };
    fields.only(
        findings,
        &["profile", "rate", "customers", "technicians", "keys", "reads", "writes"],
    );
    if fields.value("profile").is_some()
        && let Some((at, text)) = fields.string(findings, "profile")
        && text != "dispatch"
    {
        fields.error(findings, at.start, "`profile` is dispatch; there is no other".to_owned());
    }
    let rate = fields.number(findings, "rate", RATE.0, RATE.1)?;
    let keys = match fields.value("keys") {
        None => Some(Keys::Uniform),
        Some(_) => fields.string(findings, "keys").and_then(|(at, text)| {
            let keys = keys(text);
            if keys.is_none() {
                let text = "`keys` is uniform, or zipf:EXPONENT with an exponent of 0 to 3";
                fields.error(findings, at.start, text.to_owned());
            }
            keys
        }),
    };
    Some(Workload {
        rate: short(rate.unsigned_abs()),
        customers: short(number(&fields, findings, "customers", 24, PEOPLE)),
        technicians: short(number(&fields, findings, "technicians", 12, PEOPLE)),
        keys: keys?,
        reads: short(number(&fields, findings, "reads", 10, (0, 1_000))),
        writes: short(number(&fields, findings, "writes", 5, (0, 1_000))),
    })
}

/// Of a shard without a customer who is believed in the end I8 says nothing.
pub(super) fn too_few(
    findings: &mut Findings<'_>,
    (head, checks): (&Head, &Checks),
    workload: &Workload,
    faults: &[Planned],
) {
    let lost = faults.iter().map(|planned| match planned.fault {
        Fault::Revoke { devices } | Fault::Expire { devices } => devices,
        _ => 0,
    });
    let lasting = workload.customers.saturating_sub(lost.fold(0, u32::saturating_add));
    let is_checked = checks.promises.contains(&Promise::Recovery);
    if is_checked && head.target == Target::Lab && lasting < head.shards {
        let text = format!(
            "{lasting} customers are believed to the end, and there are {} shards: I8 will not be known; \
             add customers, or have fewer shards",
            head.shards
        );
        findings.warn(0, None, text);
    }
}

fn keys(text: &str) -> Option<Keys> {
    if text == "uniform" {
        return Some(Keys::Uniform);
    }
    let exponent: f64 = text.strip_prefix("zipf:")?.parse().ok()?;
    (0.0..=3.0).contains(&exponent).then_some(Keys::Zipf(exponent))
}

/// When the run is given up, and how many nodes may be out.
pub(super) fn aborts(
    document: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> (Vec<Abort>, u64) {
    let margin = VOTERS - QUORUM;
    let Some(fields) = table(document, findings, "abort") else { return (Vec::new(), margin) };
    fields.only(findings, &["when", "max_nodes"]);
    let most = i64::try_from(head.nodes).unwrap_or(NODES.1);
    let otherwise = i64::try_from(margin).unwrap_or(1);
    let max_nodes = number(&fields, findings, "max_nodes", otherwise, (0, most));
    if head.target != Target::Lab && max_nodes > margin {
        let text = format!("`max_nodes` of {max_nodes} leaves no quorum; use at most {margin}");
        fields.error(findings, fields.place(), text);
    }
    let mut aborts = Vec::new();
    if fields.value("when").is_some() {
        for value in fields.list(findings, "when", LIST_MAX).unwrap_or_default() {
            let Some((at, text)) = fields.as_string(findings, value, "when") else { continue };
            match abort(text) {
                Some(abort) => aborts.push(abort),
                None => {
                    let text = "this is no condition; write \"promise.broken\", \
                                \"leaderless for 10s\" or \"availability < 0.9 for 10s\"";
                    fields.error(findings, at.start, text.to_owned());
                }
            }
        }
    }
    (aborts, max_nodes)
}

fn abort(text: &str) -> Option<Abort> {
    let lasting = |span: &str| millis(span).filter(|ms| *ms <= DURATION_MS.1);
    let words: Vec<&str> = text.split_whitespace().collect();
    match *words.as_slice() {
        ["promise.broken"] => Some(Abort::Broken),
        ["leaderless", "for", span] => Some(Abort::NoLeader { for_ms: lasting(span)? }),
        ["availability", comparison, value, "for", span] => {
            let (comparison, for_ms) = (Comparison::read(comparison)?, lasting(span)?);
            let value: f64 = value.parse().ok()?;
            let is_share = (0.0..=1.0).contains(&value);
            is_share.then_some(Abort::Availability { comparison, value, for_ms })
        }
        _ => None,
    }
}

/// Promises that the run can show, unless the scenario names some.
pub(super) fn checks(
    document: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    can_show: impl Fn(Promise) -> bool,
) -> Checks {
    let all: Vec<Promise> = Promise::ALL.into_iter().filter(|one| can_show(*one)).collect();
    let mut checks = Checks { promises: all, recover_within_ms: 10_000, revoked_within_ms: 5_000 };
    let Some(fields) = table(document, findings, "check") else { return checks };
    fields.only(findings, &["promises", "recover_within", "revoked_within"]);
    if let Some(value) = fields.value("promises") {
        checks.promises = promises(&fields, findings, can_show);
        if checks.promises.is_empty() {
            let text = "`promises` is empty; name some, or leave it out for all";
            fields.error(findings, value.span().start, text.to_owned());
        }
    }
    for (name, ms) in [
        ("recover_within", &mut checks.recover_within_ms),
        ("revoked_within", &mut checks.revoked_within_ms),
    ] {
        *ms = span(&fields, findings, name, Some(*ms), WITHIN_MS).unwrap_or(*ms);
    }
    checks
}

fn promises(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    can_show: impl Fn(Promise) -> bool,
) -> Vec<Promise> {
    let mut promises = Vec::new();
    for value in fields.list(findings, "promises", LIST_MAX).unwrap_or_default() {
        let Some((at, text)) = fields.as_string(findings, value, "promises") else { continue };
        match Promise::read(text) {
            Some(promise) if !can_show(promise) => {
                let text = format!(
                    "nothing in this scenario can show `{text}`: I3 needs reads or writes, I5 `revoke` or `expire`"
                );
                fields.error(findings, at.start, text);
            }
            Some(promise) if !promises.contains(&promise) => promises.push(promise),
            Some(_) => {}
            None => {
                let known = Promise::ALL.iter().map(|promise| promise.name());
                let meant = meant(text, known);
                let text = text.escape_debug();
                let all = "use I1 to I10, or the names of `fieldmesh chaos plan`";
                fields.error(findings, at.start, format!("no promise is `{text}`{meant}; {all}"));
            }
        }
    }
    promises
}
