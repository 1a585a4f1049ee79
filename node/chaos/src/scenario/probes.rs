//! What a scenario calls normal: `[[steady]]`.

use fieldmesh_rules::reading::{Fields, Findings, is_name, meant};
use toml::de::DeValue;

use super::{LIST_MAX, Probe, head::Head};
use crate::{
    span::{millis, span},
    steady::{Comparison, Mode, Query},
};

const WINDOW_MS: (u64, u64) = (1_000, 600_000);
const GRACE_MS: (u64, u64) = (0, 600_000);

pub(super) fn probes(
    document: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    for fields in document.tables(findings, "steady", LIST_MAX) {
        let Some(probe) = probe(&fields, findings) else { continue };
        if probe.window_ms > head.duration_ms {
            let text = "`window` is longer than the run; shorten it";
            fields.error(findings, fields.place(), text.to_owned());
        }
        if probes.iter().any(|other| other.id == probe.id) {
            let text = format!("another probe is `{}` too; give each its own id", probe.id);
            fields.error(findings, fields.place(), text);
        }
        probes.push(probe);
    }
    probes
}

fn probe(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Probe> {
    fields.only(findings, &["id", "query", "op", "value", "window", "mode", "grace"]);
    let id = fields.string(findings, "id");
    if let Some((at, id)) = &id
        && !is_name(id)
    {
        fields.error(findings, at.start, "`id` has letters, digits, - and _; change it".into());
    }
    let (at, text) = fields.string(findings, "query")?;
    let query = Query::read(text);
    if query.is_none() {
        let meant = meant(text, Query::NAMES.iter().copied());
        let (text, known) = (text.escape_debug(), Query::NAMES.join(", "));
        fields.error(
            findings,
            at.start,
            format!("nothing is measured as `{text}`{meant}; there is {known}"),
        );
    }
    let (at, text) = fields.string(findings, "op")?;
    let comparison = Comparison::read(text);
    if comparison.is_none() {
        fields.error(findings, at.start, "`op` is <, <=, > or >=; choose one".into());
    }
    let value = value(fields, findings, query)?;
    let mode = match fields.value("mode") {
        None => Some(Mode::Continuous),
        Some(_) => fields.string(findings, "mode").and_then(|(at, text)| {
            let mode = Mode::read(text);
            if mode.is_none() {
                let text = "`mode` is sot, eot, edge, continuous or onfault; choose one";
                fields.error(findings, at.start, text.to_owned());
            }
            mode
        }),
    };
    let grace_ms = match fields.value("grace") {
        None => None,
        Some(_) => Some(span(fields, findings, "grace", None, GRACE_MS)?),
    };
    Some(Probe {
        id: id?.1.to_owned(),
        query: query?,
        comparison: comparison?,
        value,
        window_ms: span(fields, findings, "window", Some(10_000), WINDOW_MS)?,
        mode: mode?,
        grace_ms,
    })
}

/// A span for what is measured in milliseconds, else a number.
fn value(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    query: Option<Query>,
) -> Option<f64> {
    let Some(value) = fields.value("value") else {
        fields.string(findings, "value");
        return None;
    };
    let number = match value.get_ref() {
        DeValue::String(text) => millis(text).map(|ms| ms as f64),
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok(),
        _ => None,
    };
    let is_span = matches!(value.get_ref(), DeValue::String(_));
    let is_fitting = query.is_none_or(|query| query.is_of_time() == is_span);
    if number.is_some_and(f64::is_finite) && is_fitting {
        return number;
    }
    let wanted = match query {
        Some(query) if query.is_of_time() => "a span like \"800ms\"",
        _ => "a number like 0.99",
    };
    fields.error(findings, value.span().start, format!("`value` is {wanted} here; write one"));
    None
}
