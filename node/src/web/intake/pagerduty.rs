//! PagerDuty's Events API v2: `POST /v2/enqueue`, answered as PagerDuty does.
//!
//! An event is a case by its `dedup_key`. Who acknowledges it there knows of the ticket: nobody else is told for a
//! while, as with an operator's `acknowledge`. The work is still a technician's to accept.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use fieldmesh_domain::integration::{Facts, Kind, LABELS_MAX};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Refused, Report, Sender, Shared, text, word};

/// Characters of a `dedup_key` and of a summary, as PagerDuty has it.
const DEDUP_KEY_CHARS_MAX: usize = 255;
const SUMMARY_CHARS_MAX: usize = 1024;
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// An event, as far as it is looked at.
#[derive(Debug, ToSchema)]
pub struct Event {
    /// The key of an integration: it says who reports.
    pub routing_key: String,
    /// `trigger`, `acknowledge` or `resolve`.
    pub event_action: String,
    /// Which case it is, at most 255 characters; one is made up for a trigger that has none.
    pub dedup_key: Option<String>,
    /// Needed to trigger.
    pub payload: Option<EventPayload>,
}

/// What happened.
#[derive(Debug, ToSchema)]
pub struct EventPayload {
    /// At most 1024 characters.
    pub summary: String,
    pub source: String,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: String,
    pub component: Option<String>,
    pub group: Option<String>,
    pub class: Option<String>,
    pub custom_details: Option<BTreeMap<String, Value>>,
}

/// What a sender is told, in PagerDuty's words.
#[derive(Debug, Serialize, ToSchema)]
pub struct Told {
    pub status: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// What is wrong, by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Told {
    fn new(status: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), dedup_key: None, errors: Vec::new() }
    }
}

/// An event of PagerDuty's Events API v2.
#[utoipa::path(
    post, path = "/v2/enqueue", security(()), request_body = Event,
    responses(
        (status = 202, description = "It was taken.", body = Told),
        (status = 400, description = "It is wrong, or its routing key is of no integration here.", body = Told),
        (status = 429, description = "Too many, or wrong keys from there: see Retry-After.", body = Told),
        (status = 503, description = "Later: see Retry-After.", body = Told)
    )
)]
pub async fn take(
    request: HttpRequest,
    body: web::Bytes,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let mut random = [0; 16];
    shared.node.entropy.fill(&mut random);
    let taken = async {
        let event: Value = serde_json::from_slice(&body)
            .map_err(|error| Refused::Invalid(vec![format!("the body is no JSON: {error}")]))?;
        let sender = Sender::admit(&request, &shared, text(&event, "routing_key")?)?;
        let (dedup_key, report) = read(&event, &random)?;
        sender.report(&shared, Kind::PagerDuty, report).await?;
        Ok::<String, Refused>(dedup_key)
    };
    match taken.await {
        Ok(dedup_key) => {
            let told = Told::new("success", "Event processed");
            HttpResponse::Accepted().json(Told { dedup_key: Some(dedup_key), ..told })
        }
        Err(refused) => answer(refused),
    }
}

fn answer(refused: Refused) -> HttpResponse {
    let invalid = |errors: Vec<String>| {
        let told = Told::new("invalid event", "Event object is invalid");
        HttpResponse::BadRequest().json(Told { errors, ..told })
    };
    match refused {
        Refused::Invalid(errors) => invalid(errors),
        Refused::Key => invalid(vec!["'routing_key' is not of an integration here".into()]),
        Refused::Often(seconds) => HttpResponse::build(StatusCode::TOO_MANY_REQUESTS)
            .insert_header(("Retry-After", seconds.to_string()))
            .json(Told::new("throttle exceeded", "Events arrive too quickly. Retry later.")),
        Refused::Later(why) => HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", "1"))
            .json(Told::new("unavailable", why)),
    }
}

/// The key of the event's case, and what it reports.
pub(super) fn read(event: &Value, random: &[u8; 16]) -> Result<(String, Report), Refused> {
    let action = text(event, "event_action")?;
    let key = match event.get("dedup_key") {
        None | Some(Value::Null) if action == "trigger" => {
            random.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        _ => text(event, "dedup_key")?.to_owned(),
    };
    if key.chars().count() > DEDUP_KEY_CHARS_MAX {
        return Err(Refused::field("dedup_key", "has more than 255 characters"));
    }
    let report = match action {
        "trigger" => Report::Trigger { case: key.clone(), facts: facts(event)? },
        "resolve" => Report::Resolve { case: key.clone() },
        "acknowledge" => Report::Acknowledge { case: key.clone() },
        _ => {
            let fact = "is none of trigger, acknowledge, resolve";
            return Err(Refused::field("event_action", fact));
        }
    };
    Ok((key, report))
}

fn facts(event: &Value) -> Result<Facts, Refused> {
    let payload = event.get("payload").filter(|payload| payload.is_object());
    let payload = payload.ok_or_else(|| Refused::field("payload", "is missing or blank"))?;
    let mut errors = Vec::new();
    let mut needed = |name: &str| match text(payload, name) {
        Ok(text) => text,
        Err(Refused::Invalid(facts)) => {
            errors.extend(facts.iter().map(|fact| fact.replacen('\'', "'payload.", 1)));
            ""
        }
        Err(_) => "",
    };
    let [summary, source, severity] = ["summary", "source", "severity"].map(&mut needed);
    if !severity.is_empty() && !SEVERITIES.contains(&severity) {
        errors.push("'payload.severity' is none of critical, error, warning, info".into());
    }
    if summary.chars().count() > SUMMARY_CHARS_MAX {
        errors.push("'payload.summary' has more than 1024 characters".into());
    }
    if !errors.is_empty() {
        return Err(Refused::Invalid(errors));
    }
    let own = ["source", "component", "group", "class"];
    let own = own.into_iter().filter_map(|name| Some((name, payload.get(name)?)));
    let details = payload.get("custom_details").and_then(Value::as_object);
    let details = details.into_iter().flatten().map(|(name, value)| (name.as_str(), value));
    let labels = own.chain(details).filter_map(|(name, value)| Some((name, value.as_str()?)));
    let labels = labels.take(LABELS_MAX).map(|(name, value)| (word(name), word(value))).collect();
    let text = format!("{summary}\n{source}");
    Ok(Facts { severities: vec![severity.to_owned()], labels, text })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::*;

    fn trigger() -> Value {
        json!({
            "routing_key": "samplekeyheresamplekeyheresample", "event_action": "trigger",
            "dedup_key": "srv01/HTTP", "client": "Sample Monitoring", "links": [], "images": [],
            "payload": {
                "summary": "PING OK - Packet loss = 0%, RTA = 1.41 ms", "severity": "critical",
                "source": "host0001", "component": "ping", "group": "site-7", "class": "loss",
                "timestamp": "2026-07-17T08:42:58.315+0000",
                "custom_details": {"ping time": "1500ms", "load avg": 0.75},
            },
        })
    }

    fn errors(event: &Value) -> Vec<String> {
        match read(event, &[7; 16]) {
            Err(Refused::Invalid(errors)) => errors,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_are_read_as_the_documentation_has_them() {
        let (key, report) = read(&trigger(), &[7; 16]).unwrap();
        let Report::Trigger { case, facts } = report else { panic!() };
        assert_eq!((key.as_str(), case.as_str()), ("srv01/HTTP", "srv01/HTTP"));
        assert_eq!(facts.severities, ["critical"]);
        assert!(facts.labels.contains(&("group".into(), "site-7".into())));
        assert!(facts.labels.contains(&("ping time".into(), "1500ms".into())));
        assert!(facts.text.starts_with("PING OK"));
        let mut nameless = trigger();
        nameless["dedup_key"] = Value::Null;
        let (key, _) = read(&nameless, &[7; 16]).unwrap();
        assert_eq!(key, "07".repeat(16));
        let plain = |action: &str| json!({ "event_action": action, "dedup_key": "k" });
        for (action, wanted) in [
            ("resolve", Report::Resolve { case: "k".into() }),
            ("acknowledge", Report::Acknowledge { case: "k".into() }),
        ] {
            assert_eq!(read(&plain(action), &[7; 16]).unwrap(), ("k".into(), wanted));
        }
    }

    #[test]
    fn mistakes_are_named_by_their_fields() {
        let change = |pointer: &str, value: Value| {
            let mut event = trigger();
            *event.pointer_mut(pointer).unwrap() = value;
            errors(&event)
        };
        assert_eq!(change("/payload", json!("x")), ["'payload' is missing or blank"]);
        assert_eq!(
            change("/payload/severity", json!("bad")),
            ["'payload.severity' is none of critical, error, warning, info"]
        );
        assert_eq!(change("/payload/source", json!("")), ["'payload.source' is missing or blank"]);
        assert!(change("/payload/summary", json!("x".repeat(1025)))[0].contains("1024"));
        assert!(change("/event_action", json!("reopen"))[0].contains("event_action"));
        assert!(change("/dedup_key", json!("x".repeat(256)))[0].contains("255"));
        assert_eq!(
            errors(&json!({ "event_action": "resolve" })),
            ["'dedup_key' is missing or blank"]
        );
        assert_eq!(errors(&json!({ "event_action": "trigger", "payload": {} })).len(), 3);
    }
}
