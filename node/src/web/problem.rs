//! Errors as RFC 9457 problem details.

use std::fmt;

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    error::{JsonPayloadError, QueryPayloadError},
    http::{StatusCode, header},
};
use fieldmesh_actors::{AskError, seams::JournalError};
use fieldmesh_domain::RejectionCode;
use serde::Serialize;
use utoipa::ToSchema;

/// What a client is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    pub code: StatusCode,
    pub status: u16,
    /// Stable, for programs.
    pub title: &'static str,
    /// For people: fact and remedy.
    pub detail: String,
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
    /// Nodes that can answer, as `ADDRESS:PORT`, where this one cannot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<String>,
}

impl Problem {
    pub fn new(code: StatusCode, title: &'static str, detail: impl fmt::Display) -> Self {
        let (status, detail, elsewhere) = (code.as_u16(), detail.to_string(), Vec::new());
        Self { code, status, title, detail, retry_after_s: None, elsewhere }
    }

    pub fn invalid(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    pub fn missing(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format_args!("there is no {what}"))
    }

    pub fn busy(detail: impl fmt::Display) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem.retry_after_s = Some(1);
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.code);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.json(self)
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match &error {
            AskError::Rejected(rejection) if rejection.code == RejectionCode::Unknown => {
                Self::new(StatusCode::NOT_FOUND, "not-found", rejection)
            }
            AskError::Rejected(rejection) => Self::new(StatusCode::CONFLICT, "refused", rejection),
            AskError::Forged | AskError::OutOfWindow => {
                Self::new(StatusCode::CONFLICT, "replay", &error)
            }
            AskError::Full => {
                let mut problem = Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", &error);
                problem.retry_after_s = Some(5);
                problem
            }
            AskError::Busy { .. } | AskError::NotLeader | AskError::Moved | AskError::Unknown => {
                Self::busy(&error)
            }
            AskError::Journal(cause) => {
                tracing::error!(%cause, "an operator's request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", cause)
            }
            AskError::Parked => {
                tracing::error!(%error, "an operator's request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", &error)
            }
        }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self::from(AskError::Journal(error))
    }
}

/// A body that is not the JSON it should be.
pub fn from_json(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    Problem::invalid(format_args!("the body is refused: {error}")).into()
}

/// A query that is not understood.
pub fn from_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    Problem::invalid(format_args!("the query is refused: {error}")).into()
}

pub async fn not_found() -> Result<HttpResponse, Problem> {
    std::future::ready(Err(Problem::missing("such path"))).await
}
