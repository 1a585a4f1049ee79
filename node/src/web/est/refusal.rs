//! What an enrolling device is told when it gets no certificate: a status, one line of text and a
//! request identifier, as RFC 7030 §4.2.3 has it, and not the JSON that REST answers with.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use fieldmesh_actors::{AskError, seams::JournalError};
use fieldmesh_domain::{Rejection, RejectionCode};
use fieldmesh_pki::{CsrError, IssueError};

use crate::issuer::IssuerError;

/// The one text for every token that does not work: which of the reasons it was is not told.
const TOKEN: &str = "the token is not valid for this request: ask the operator for a new one";
/// Seconds until a request that waits for an operator is worth repeating.
const PENDING_RETRY_S: u32 = 10;
/// Seconds until the service may be able again.
const BUSY_RETRY_S: u32 = 2;

/// An answer that is not a certificate.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub text: String,
    pub retry_after_s: Option<u32>,
    /// Who it was, where that is known.
    pub user: String,
    /// What only the audit record is told.
    pub cause: Option<String>,
    pub request_id: String,
}

impl Refusal {
    pub fn new(status: StatusCode, text: impl fmt::Display) -> Self {
        Self {
            status,
            text: text.to_string(),
            retry_after_s: None,
            user: String::new(),
            cause: None,
            request_id: String::new(),
        }
    }

    pub fn token(cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::new(StatusCode::UNAUTHORIZED, TOKEN) }
    }

    pub fn forbidden(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub fn invalid(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub fn policy(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    pub fn unavailable(text: impl fmt::Display) -> Self {
        Self {
            retry_after_s: Some(BUSY_RETRY_S),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }

    /// The request waits for an operator: not an error, and not yet an answer (RFC 7030 §4.2.3).
    pub fn pending() -> Self {
        Self {
            retry_after_s: Some(PENDING_RETRY_S),
            ..Self::new(StatusCode::ACCEPTED, "the request waits for an operator's approval")
        }
    }

    pub fn is_pending(&self) -> bool {
        self.status == StatusCode::ACCEPTED
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (request {})", self.text, self.request_id)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.content_type("text/plain; charset=utf-8");
        response.insert_header(("X-Request-Id", self.request_id.as_str()));
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"fieldmesh\""));
        }
        response.body(format!("{self}\n"))
    }
}

impl From<CsrError> for Refusal {
    fn from(error: CsrError) -> Self {
        let said = match error.field() {
            Some(field) => format!("{field}: {error}"),
            None => format!("the request is refused: {error}"),
        };
        if error.is_policy() { Self::policy(said) } else { Self::invalid(said) }
    }
}

impl From<IssuerError> for Refusal {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::Request(error) => error.into(),
            IssuerError::AuthorityKey | IssuerError::KeyKind { .. } => Self::policy(error),
            IssuerError::Clock { .. } | IssuerError::Own => {
                tracing::error!(%error, "nothing is issued");
                Self::unavailable(error)
            }
            IssuerError::Issue(cause) => {
                tracing::error!(%cause, "a certificate could not be issued");
                let text = match cause {
                    IssueError::OutlivesIssuer { .. } => cause.to_string(),
                    _ => "the certificate could not be issued".to_owned(),
                };
                Self::unavailable(text)
            }
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection.code {
            RejectionCode::Token | RejectionCode::Unknown => Self::token(rejection),
            RejectionCode::Denied
            | RejectionCode::Banned
            | RejectionCode::Revoked
            | RejectionCode::SecondPerson
            | RejectionCode::Limit => Self::forbidden(rejection),
            RejectionCode::NotNow => Self::pending(),
            RejectionCode::Exists | RejectionCode::Invalid => Self::policy(rejection),
        }
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Rejected(rejection) => rejection.into(),
            error => Self::unavailable(error),
        }
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "a registration cannot be read");
        Self::unavailable("the registration cannot be read")
    }
}
