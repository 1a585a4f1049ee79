//! The steps of one policy: what each does, and how long it waits.
//!
//! **Invariants:** every number is in the range that is stated here; a step that has an error is left out
//! as a whole. **Not here:** how a policy ends (`endings`).

use fieldmesh_domain::escalation::{AT_ONCE_MAX, Act, PRIORITIES, Role, Step, TECHNICIANS_MAX};
use fieldmesh_rules::reading::{Fields, Findings, is_name};
use toml::{Spanned, de::DeValue};

use crate::{
    duration::{seconds, written},
    policies::Recipients,
};

/// Seconds that a step waits: nobody answers faster, and what waits for a day waits for a person.
pub(crate) const WITHIN_S: (u64, u64) = (5, 24 * 3600);
/// Kilometres that a technician may be away: once around the earth is anywhere.
const RADIUS_KM_MAX: i64 = 20_000;

const KINDS: [&str; 3] = ["offer", "tell", "repeat"];
const LIMITS: [&str; PRIORITIES] = ["p1", "p2", "p3", "p4", "p5"];
const OTHER: &str = "other";

type Value<'a, 'd> = &'a Spanned<DeValue<'d>>;

/// In the order of the document; none for a step that has an error.
pub(crate) fn read(
    tables: &[Fields<'_, '_>],
    known: Option<&Recipients>,
    findings: &mut Findings<'_>,
) -> Vec<Option<Step>> {
    tables.iter().map(|fields| step(fields, known, findings)).collect()
}

fn step(
    fields: &Fields<'_, '_>,
    known: Option<&Recipients>,
    findings: &mut Findings<'_>,
) -> Option<Step> {
    fields.only(findings, &["offer", "tell", "repeat", "within"]);
    let mut acts = fields.entries();
    acts.retain(|(key, _)| KINDS.contains(&key.get_ref().as_ref()));
    let [(key, value)] = acts.as_slice() else {
        let text = format!("a step does one of {}, not {}", KINDS.join(", "), acts.len());
        fields.error(findings, fields.place(), format!("{text}; write one of them"));
        return None;
    };
    let act = match key.get_ref().as_ref() {
        "offer" => offer(fields, value, findings),
        "tell" => tell(fields, value, known, findings),
        _ => repeat(fields, value, findings),
    };
    let within_s = match key.get_ref().as_ref() {
        "repeat" => without_limit(fields, findings),
        _ => limits(fields, findings),
    };
    Some(Step { act: act?, within_s: within_s? })
}

fn offer<'a, 'd>(
    fields: &Fields<'a, 'd>,
    value: Value<'a, 'd>,
    findings: &mut Findings<'_>,
) -> Option<Act> {
    let table = fields.as_table(findings, value, "offer")?;
    let offer = fields.inner(table, value.span().start, "offer");
    offer.only(findings, &["technicians", "radius_km", "at_once"]);
    let max = i64::from(TECHNICIANS_MAX);
    let technicians = offer.number(findings, "technicians", 1, max);
    let radius_m = match offer.value("radius_km") {
        None => None,
        Some(value) => {
            let radius_km = offer.as_number(findings, value, "radius_km", 1, RADIUS_KM_MAX)?;
            Some(u32::try_from(radius_km * 1000).ok()?)
        }
    };
    let technicians = technicians?;
    let at_once = match offer.value("at_once") {
        None => None,
        Some(value) => {
            let most = technicians.min(i64::from(AT_ONCE_MAX));
            let at_once = offer.as_number(findings, value, "at_once", 1, most)?;
            u8::try_from(at_once).ok().filter(|at_once| *at_once > 1)
        }
    };
    Some(Act::Offer { technicians: u8::try_from(technicians).ok()?, radius_m, at_once })
}

fn tell<'a, 'd>(
    fields: &Fields<'a, 'd>,
    value: Value<'a, 'd>,
    known: Option<&Recipients>,
    findings: &mut Findings<'_>,
) -> Option<Act> {
    const ROLES: [Role; 4] = [Role::Lead, Role::Dispatcher, Role::Person, Role::Webhook];
    let table = fields.as_table(findings, value, "tell")?;
    let tell = fields.inner(table, value.span().start, "tell");
    let names = ROLES.map(Role::name);
    tell.only(findings, &names);
    let entries = tell.entries();
    let [(key, value)] = entries.as_slice() else {
        let text = format!("`tell` names nobody; write one of {} with a name", names.join(", "));
        let many = format!("`tell` names one, not {}; make a step for each", entries.len());
        let text = if entries.is_empty() { text } else { many };
        fields.error(findings, value.span().start, text);
        return None;
    };
    let role = ROLES.into_iter().find(|role| role.name() == key.get_ref().as_ref())?;
    let (span, name) = tell.as_string(findings, value, role.name())?;
    if !is_name(name) {
        let text = format!(
            "`{}` names nobody: `{}` is no name; write 1 to 64 letters, digits, - _ . and @",
            role.name(),
            name.escape_debug()
        );
        fields.error(findings, span.start, text);
        return None;
    }
    if let Some(known) = known.filter(|known| !known.has(role, name)) {
        let what = if role.is_person() { "person" } else { "webhook" };
        let meant = match known.meant(role, name) {
            none if none.is_empty() => {
                format!("; add it to the document of webhooks, or name another {what}")
            }
            meant => meant,
        };
        fields.error(findings, span.start, format!("there is no {what} `{name}`{meant}"));
        return None;
    }
    if known.is_some_and(|known| role.is_person() && known.people.is_none()) {
        let text = format!(
            "nobody has written a document of webhooks, so that `{name}` cannot be told: write one with \
             that person, or the policy calls nobody"
        );
        fields.warn(findings, span.start, text);
    }
    Some(Act::Tell { role, name: name.to_owned() })
}

fn repeat<'a, 'd>(
    fields: &Fields<'a, 'd>,
    value: Value<'a, 'd>,
    findings: &mut Findings<'_>,
) -> Option<Act> {
    let table = fields.as_table(findings, value, "repeat")?;
    let repeat = fields.inner(table, value.span().start, "repeat");
    repeat.only(findings, &["from"]);
    // Whether there is such a step is known once all were read.
    let from = repeat.number(findings, "from", 1, i64::from(u8::MAX))?;
    Some(Act::Repeat { from: u8::try_from(from - 1).ok()? })
}

fn without_limit(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Vec<u32>> {
    let Some(value) = fields.value("within") else { return Some(vec![]) };
    let text = "a repetition takes no time; give `within` to the steps that it repeats";
    fields.error(findings, value.span().start, text.to_owned());
    None
}

/// Seconds by priority.
fn limits(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Vec<u32>> {
    let Some(value) = fields.value("within") else {
        let text = "the step does not say how long it waits; add `within`, as in \"2m\"";
        fields.error(findings, fields.place(), text.to_owned());
        return None;
    };
    if value.get_ref().is_str() {
        return Some(vec![limit(fields, value, "within", findings)?; PRIORITIES]);
    }
    let table = fields.as_table(findings, value, "within")?;
    let by = fields.inner(table, value.span().start, "within");
    let known: Vec<&str> = LIMITS.into_iter().chain([OTHER]).collect();
    by.only(findings, &known);
    let mut each = |name| by.value(name).map(|value| limit(&by, value, name, findings));
    let other = each(OTHER);
    let each = LIMITS.map(&mut each);
    if let Some(missing) = each.iter().position(Option::is_none).filter(|_| other.is_none()) {
        let text = format!("`within` says nothing of `{}`; add it, or `{OTHER}`", LIMITS[missing]);
        fields.error(findings, value.span().start, text);
        return None;
    }
    each.into_iter().map(|one| one.or(other).flatten()).collect()
}

fn limit<'a, 'd>(
    fields: &Fields<'a, 'd>,
    value: Value<'a, 'd>,
    name: &str,
    findings: &mut Findings<'_>,
) -> Option<u32> {
    let (span, text) = fields.as_string(findings, value, name)?;
    let (min, max) = WITHIN_S;
    match seconds(text) {
        Some(seconds) if (min..=max).contains(&seconds) => u32::try_from(seconds).ok(),
        Some(_) => {
            let (min, max) = (written(min), written(max));
            let text = format!("`{name}` is {text}, not {min} to {max}; change it");
            fields.error(findings, span.start, text);
            None
        }
        None => {
            let quoted = text.escape_debug();
            let text =
                format!("`{name}` is \"{quoted}\", no span of time; write it as 90s, 15m or 4h");
            fields.error(findings, span.start, text);
            None
        }
    }
}
