//! Alarms of programs that report to other systems as they are: Alertmanager's webhooks, PagerDuty's events.
//!
//! They have no certificate of this cluster, only the key of an integration that an operator registered. Each
//! form has a file of its own, which says what its sender is answered.
//!
//! **Invariants:** a key is looked at before a body; whoever guesses keys is slowed; each key has its own rate.
//! **Not here:** what an alarm becomes (`domain::integration`), who registers (`integrations`).

pub mod alertmanager;
pub mod pagerduty;

use std::net::IpAddr;

use actix_web::{HttpRequest, web};
use fieldmesh_actors::AskError;
use fieldmesh_domain::{
    Command, EntityId, RejectionCode,
    integration::{self, Facts, Integration, Kind, WORD_BYTES_MAX},
    placement::{MARKS, TRIGGERS},
};
use serde_json::Value;

use super::Shared;
use crate::{bucket::Rate, issuer::sha256};

/// Characters of a key: 160 bits, in a form that PagerDuty's libraries take.
pub(super) const KEY_CHARS: usize = 32;
/// Reports of one integration a second, and at once.
pub const REPORTS: Rate = Rate { per_second: 10, burst: 200 };
/// A group of some hundred alarms with their labels; what PagerDuty takes.
const BODY_BYTES_MAX: usize = 512 << 10;
/// Severities of one report that are looked at.
const SEVERITIES_MAX: usize = 16;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.service(
        web::resource("/intake/alertmanager/{key}")
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .route(web::post().to(alertmanager::take)),
    );
}

/// Where PagerDuty's senders post; its address cannot be chosen.
pub fn events(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/v2/enqueue")
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .route(web::post().to(pagerduty::take)),
    );
}

/// Why a report was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// What is wrong with it, by field.
    Invalid(Vec<String>),
    /// No integration of this form has the key.
    Key,
    /// Too many; seconds to wait.
    Often(u32),
    /// It may succeed later.
    Later(String),
}

impl Refused {
    fn field(name: &str, fact: &str) -> Self {
        Self::Invalid(vec![format!("'{name}' {fact}")])
    }
}

impl From<AskError> for Refused {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Rejected(rejection) if rejection.code == RejectionCode::Denied => Self::Key,
            AskError::Rejected(rejection) => Self::Invalid(vec![rejection.to_string()]),
            error => Self::Later(error.to_string()),
        }
    }
}

/// Whoever shows a key: of which integration it would be, if there is one.
struct Sender {
    id: EntityId,
    key: [u8; 32],
    from: Option<IpAddr>,
}

impl Sender {
    /// # Errors
    /// Where too many reports came with it, or too many wrong ones from there.
    fn admit(request: &HttpRequest, shared: &Shared, key: &str) -> Result<Self, Refused> {
        let now_ms = shared.node.clock.now_ms();
        let from = request.peer_addr().map(|peer| peer.ip());
        shared.throttle.admits(from, now_ms).map_err(Refused::Often)?;
        if shared.node.known.known().level() < TRIGGERS {
            let text = "a node runs an older release and does not know of integrations";
            return Err(Refused::Later(text.into()));
        }
        let is_key = key.len() == KEY_CHARS && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let region = shared.node.region.parse().ok().filter(|_| is_key);
        let Some(region) = region else {
            shared.throttle.refused(from, now_ms);
            return Err(Refused::Key);
        };
        let key = sha256(key.as_bytes());
        let id = Integration::id_of(region, &key);
        shared.senders.take(id, now_ms).map_err(Refused::Often)?;
        Ok(Self { id, key, from })
    }

    async fn report(&self, shared: &Shared, kind: Kind, report: Report) -> Result<(), Refused> {
        let key = self.key;
        let command = match report {
            Report::Trigger { case, facts } => {
                let case = sha256(case.as_bytes());
                integration::Command::Trigger { key, kind, case, facts }
            }
            Report::Resolve { case } => {
                integration::Command::Resolve { key, kind, case: sha256(case.as_bytes()) }
            }
            // Its ticket goes on as it did before anybody could say so.
            Report::Acknowledge { .. } if shared.node.known.known().level() < MARKS => {
                return Ok(());
            }
            Report::Acknowledge { case } => {
                integration::Command::Acknowledge { key, kind, case: sha256(case.as_bytes()) }
            }
        };
        let asked = shared.node.ask(self.id, Command::Integration(command)).await;
        let asked = asked.map(|_| ()).map_err(Refused::from);
        let outcome = match &asked {
            Ok(()) => "taken",
            Err(Refused::Key) => {
                shared.throttle.refused(self.from, shared.node.clock.now_ms());
                "unknown_key"
            }
            Err(_) => "refused",
        };
        let labels = [("kind", kind.name()), ("outcome", outcome)];
        metrics::counter!("fieldmesh_intake_reports_total", &labels).increment(1);
        asked
    }
}

/// What a sender says.
#[derive(Debug, PartialEq, Eq)]
enum Report {
    Trigger {
        case: String,
        facts: Facts,
    },
    Resolve {
        case: String,
    },
    /// A person knows of it.
    Acknowledge {
        case: String,
    },
}

/// A field that is a text with something in it.
fn text<'a>(of: &'a Value, name: &str) -> Result<&'a str, Refused> {
    match of.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_) | Value::Null) | None => {
            Err(Refused::field(name, "is missing or blank"))
        }
        Some(_) => Err(Refused::field(name, "is not a text")),
    }
}

/// As much of a word as is compared.
fn word(text: &str) -> String {
    let mut end = text.len().min(WORD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Whether a body is a report in either form, without whoever would have sent it.
#[cfg(test)]
pub(crate) fn is_read(body: &[u8]) -> bool {
    let is_bounded = |report: &Report| match report {
        Report::Trigger { facts, .. } => {
            facts.labels.len() <= integration::LABELS_MAX
                && facts.severities.len() <= SEVERITIES_MAX
        }
        Report::Resolve { .. } | Report::Acknowledge { .. } => true,
    };
    let of_alerts = alertmanager::read(body).ok();
    let event: Option<Value> = serde_json::from_slice(body).ok();
    let of_events = event.and_then(|event| pagerduty::read(&event, &[7; 16]).ok());
    let of_events = of_events.map(|(_, report)| report);
    assert!(of_alerts.iter().chain(&of_events).all(is_bounded));
    of_alerts.is_some() || of_events.is_some()
}
