//! Errors as `application/problem+json` (RFC 9457) with a string `detail`, as old clients expect. Knows no route.
use crate::access::AccessRefusal;
use crate::postgres::PgError;
use crate::postgres::subscriptions::WriteError;
use crate::registry::validate::Invalid;
use crate::store::StoreError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    detail: String,
    errors: Vec<Invalid>,
    /// `Retry-After`, seconds.
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }
    pub(super) fn bad(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }
    /// 400 with one entry a field.
    pub(super) fn invalid(errors: Vec<Invalid>) -> Self {
        let detail: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let not_yet = !errors.is_empty() && errors.iter().all(|e| e.code == "not_yet");
        let code = if not_yet { "not_yet" } else { "validation" };
        Self { errors, ..Self::bad(code, detail.join("; ")) }
    }
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} not found"))
    }
    pub(super) fn internal(what: &'static str) -> Self {
        tracing::error!(what, "a request could not be answered");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request could not be answered; see the log",
        )
    }
    /// 503 with `Retry-After`.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>, seconds: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(seconds)
    }
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<AccessRefusal> for Problem {
    fn from(refusal: AccessRefusal) -> Self {
        let (status, code) = match refusal {
            AccessRefusal::NoToken | AccessRefusal::WrongToken => (StatusCode::UNAUTHORIZED, "unauthorized"),
            AccessRefusal::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            AccessRefusal::ReadOnly => (StatusCode::FORBIDDEN, "read_only"),
            AccessRefusal::TenantInvalid(_) => (StatusCode::FORBIDDEN, "tenant_invalid"),
            AccessRefusal::TenantForbidden => (StatusCode::FORBIDDEN, "tenant_forbidden"),
            AccessRefusal::TenantMissing => (StatusCode::FORBIDDEN, "tenant_missing"),
        };
        let problem = Self::new(status, code, refusal.to_string());
        match refusal {
            AccessRefusal::TooMany(wait) => problem.retry_after(wait.as_secs() + 1),
            _ => problem,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store refused a request");
        let seconds = if matches!(error, StoreError::Index(_)) { 2 } else { 5 };
        // paths and errno stay in the log
        Self::unavailable(
            "store_unavailable",
            "what is pending cannot be kept or read at the moment",
            seconds,
        )
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Exists(_) => Self::new(
                StatusCode::CONFLICT,
                "already_exists",
                "an active subscription for this event and URL exists already",
            ),
            WriteError::IdTaken(_) => Self::new(
                StatusCode::CONFLICT,
                "id_taken",
                "the id that was chosen for the subscription is taken; try again",
            ),
            WriteError::Missing => Self::not_found("subscription"),
            WriteError::Database(error) => error.into(),
        }
    }
}

impl From<PgError> for Problem {
    fn from(error: PgError) -> Self {
        tracing::warn!(%error, "the database refused a request of the API");
        Self::unavailable("database_unavailable", "subscriptions cannot be written at the moment", 5)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail, "code": self.code,
        });
        if !self.errors.is_empty() {
            let entry = |e: &Invalid| json!({"field": e.field, "code": e.code, "message": e.message});
            body["errors"] = self.errors.iter().map(entry).collect();
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
