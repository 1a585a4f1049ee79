//! The webhook receiver of Prometheus's Alertmanager, payload version 4.
//!
//! A group of alerts is one case: it fires until all its alerts are resolved. Alertmanager tries again what is
//! answered with 5xx or 429, and drops what is answered otherwise.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use fieldmesh_domain::integration::{Facts, Kind, LABELS_MAX};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Refused, Report, SEVERITIES_MAX, Sender, Shared, text, word};
use crate::web::problem::Problem;

/// Alerts of a group that are named in the text of the request.
const NAMED_MAX: usize = 20;

/// A group of alerts, as far as it is looked at.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct AlertGroup {
    /// `4`.
    pub version: String,
    /// Which case it is.
    pub group_key: String,
    /// `firing` or `resolved`.
    pub status: String,
    pub common_labels: Option<BTreeMap<String, String>>,
    pub common_annotations: Option<BTreeMap<String, String>>,
    pub alerts: Vec<Alert>,
}

/// One of its alerts.
#[derive(Debug, ToSchema)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: Option<BTreeMap<String, String>>,
}

/// `{"status": "success"}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    pub status: &'static str,
}

/// A group of alerts of Alertmanager's webhook receiver. The key of an integration in the path says who reports.
#[utoipa::path(
    post, path = "/v1/intake/alertmanager/{key}", security(()), request_body = AlertGroup,
    responses(
        (status = 200, body = Taken),
        (status = 404, description = "No integration of this form has the key.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many reports with the key, or wrong keys from there: see Retry-After.", body = Problem, content_type = "application/problem+json")
    )
)]
pub async fn take(
    request: HttpRequest,
    key: web::Path<String>,
    body: web::Bytes,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let taken = async {
        let sender = Sender::admit(&request, &shared, &key)?;
        sender.report(&shared, Kind::Alertmanager, read(&body)?).await
    };
    match taken.await {
        Ok(()) => Ok(HttpResponse::Ok().json(Taken { status: "success" })),
        Err(refused) => Err(problem(refused)),
    }
}

fn problem(refused: Refused) -> Problem {
    match refused {
        Refused::Invalid(facts) => Problem::invalid(facts.join("; ")),
        Refused::Key => Problem::missing("integration with this key"),
        Refused::Often(seconds) => {
            let text = "too many reports of this integration, or wrong keys from this address";
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", text);
            problem.retry_after_s = Some(seconds);
            problem
        }
        Refused::Later(why) => Problem::busy(why),
    }
}

pub(super) fn read(body: &[u8]) -> Result<Report, Refused> {
    let payload: Value = serde_json::from_slice(body)
        .map_err(|error| Refused::Invalid(vec![format!("the body is no JSON: {error}")]))?;
    match text(&payload, "version")? {
        "4" => {}
        _ => return Err(Refused::field("version", "is not 4")),
    }
    let case = text(&payload, "groupKey")?.to_owned();
    let alerts = match payload.get("alerts") {
        Some(Value::Array(alerts)) => alerts,
        Some(_) => return Err(Refused::field("alerts", "is not a list")),
        None => return Err(Refused::field("alerts", "is missing or blank")),
    };
    for (at, alert) in alerts.iter().enumerate() {
        check(alert, at)?;
    }
    match text(&payload, "status")? {
        "firing" => Ok(Report::Trigger { case, facts: facts(&payload, alerts) }),
        "resolved" => Ok(Report::Resolve { case }),
        _ => Err(Refused::field("status", "is neither firing nor resolved")),
    }
}

fn check(alert: &Value, at: usize) -> Result<(), Refused> {
    let within = |refused: Refused| match refused {
        Refused::Invalid(facts) => {
            Refused::Invalid(facts.iter().map(|fact| format!("alerts[{at}]: {fact}")).collect())
        }
        refused => refused,
    };
    if !matches!(text(alert, "status").map_err(within)?, "firing" | "resolved") {
        return Err(within(Refused::field("status", "is neither firing nor resolved")));
    }
    match alert.get("labels") {
        Some(Value::Object(labels)) if labels.values().all(Value::is_string) => Ok(()),
        _ => Err(within(Refused::field("labels", "is not a table of texts"))),
    }
}

/// The texts of a table, by name.
fn texts<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let table = of.get(name).and_then(Value::as_object);
    let entries = table.into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

fn facts(payload: &Value, alerts: &[Value]) -> Facts {
    let firing: Vec<&Value> = alerts.iter().filter(|alert| alert["status"] == "firing").collect();
    let mut labels: Vec<(String, String)> = Vec::new();
    for (name, value) in firing.iter().flat_map(|alert| texts(alert, "labels")) {
        let pair = (word(name), word(value));
        if labels.len() < LABELS_MAX && !labels.contains(&pair) {
            labels.push(pair);
        }
    }
    let severities = labels.iter().filter(|(name, _)| name == "severity");
    let severities = severities.map(|(_, value)| value.clone()).take(SEVERITIES_MAX).collect();
    Facts { severities, labels, text: description(payload, &firing) }
}

fn description(payload: &Value, firing: &[&Value]) -> String {
    let of = |of: &Value, table: &str, name: &str| {
        texts(of, table).find(|(key, _)| *key == name).map(|(_, text)| text.to_owned())
    };
    let name = of(payload, "commonLabels", "alertname");
    let mut lines: Vec<String> = name.into_iter().collect();
    for annotation in ["summary", "description"] {
        lines.extend(of(payload, "commonAnnotations", annotation));
    }
    for alert in firing.iter().take(NAMED_MAX) {
        let what = of(alert, "annotations", "summary").or_else(|| of(alert, "labels", "alertname"));
        let instance = of(alert, "labels", "instance");
        let line = [what, instance].into_iter().flatten().collect::<Vec<_>>().join(" at ");
        if !line.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
    }
    let more = firing.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        lines.push(format!("and {more} more alerts"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::*;

    /// As Alertmanager's documentation has it.
    const FIRING: &str = r#"{
        "version": "4", "groupKey": "{}/{team=\"infra\"}:{alertname=\"ProbeFailure\"}",
        "truncatedAlerts": 0, "status": "firing", "receiver": "fieldmesh",
        "groupLabels": {"alertname": "ProbeFailure"},
        "commonLabels": {"alertname": "ProbeFailure", "job": "http"},
        "commonAnnotations": {"description": "it does not answer"},
        "externalURL": "http://alertmanager.example.org:9093",
        "alerts": [
            {"status": "firing", "startsAt": "2026-02-06T13:08:45.828Z",
             "labels": {"alertname": "ProbeFailure", "instance": "a:443", "severity": "warning"},
             "annotations": {"summary": "the shop is down"}, "endsAt": "0001-01-01T00:00:00Z",
             "generatorURL": "http://prometheus.example.org/graph", "fingerprint": "1a30ba71cca2921f"},
            {"status": "firing", "labels": {"alertname": "ProbeFailure", "severity": "critical"}},
            {"status": "resolved", "labels": {"alertname": "ProbeFailure", "severity": "page"}}
        ]}"#;

    fn why(payload: &Value) -> String {
        match read(payload.to_string().as_bytes()) {
            Err(Refused::Invalid(facts)) => facts.join("; "),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_group_that_fires_is_one_report_of_all_its_alerts() {
        let Report::Trigger { case, facts } = read(FIRING.as_bytes()).unwrap() else { panic!() };
        assert_eq!(case, "{}/{team=\"infra\"}:{alertname=\"ProbeFailure\"}");
        assert_eq!(facts.severities, ["warning", "critical"]);
        assert!(facts.labels.contains(&("instance".into(), "a:443".into())));
        assert_eq!(facts.text, "ProbeFailure\nit does not answer\nthe shop is down at a:443");
        let over = FIRING.replacen("\"firing\"", "\"resolved\"", 1);
        assert_eq!(read(over.as_bytes()).unwrap(), Report::Resolve { case });
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let whole: Value = serde_json::from_str(FIRING).unwrap();
        for (field, value, word) in [
            ("version", json!("3"), "'version' is not 4"),
            ("version", json!(4), "'version' is not a text"),
            ("groupKey", Value::Null, "'groupKey' is missing"),
            ("status", json!("pending"), "'status' is neither"),
            ("alerts", json!({}), "'alerts' is not a list"),
            ("alerts", json!([{"status": "firing"}]), "alerts[0]: 'labels'"),
            ("alerts", json!([{"status": "firing", "labels": {"a": 1}}]), "alerts[0]: 'labels'"),
            ("alerts", json!([7]), "alerts[0]: 'status'"),
        ] {
            let mut bad = whole.clone();
            bad[field] = value;
            assert!(why(&bad).contains(word), "{field}: {}", why(&bad));
        }
        assert!(matches!(read(b"{"), Err(Refused::Invalid(_))));
        assert!(why(&json!([])).contains("version"));
    }
}
