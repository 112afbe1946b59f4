//! Errors as `application/problem+json` (RFC 9457) with a string `detail`, as old clients expect. Knows no route.
use crate::access::AccessRefusal;
use crate::domain::KeepingError;
use crate::postgres::PgError;
use crate::postgres::subscriptions::WriteError;
use crate::registry::validate::Invalid;
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

impl From<KeepingError> for Problem {
    fn from(error: KeepingError) -> Self {
        tracing::warn!(%error, "the store refused a request");
        let seconds = if matches!(error, KeepingError::Failed(_)) { 2 } else { 5 };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{KeepingError, SubscriptionId};
    use serde_json::Value;

    async fn told(problem: impl Into<Problem>) -> (u16, Value, http::HeaderMap) {
        let (head, body) = problem.into().into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        (head.status.as_u16(), serde_json::from_slice(&bytes).unwrap(), head.headers)
    }

    #[tokio::test]
    async fn a_problem_says_its_status_code_fields_and_when_to_come_again() {
        let id = SubscriptionId(uuid::Uuid::nil());
        let not_yet = || Invalid::new("filter", "not_yet", "later");
        let wrong = || Invalid::new("url", "invalid", "no URL");
        for (problem, status, code, fields, retry) in [
            (Problem::bad("json", "no JSON"), 400, "json", 0, None),
            (Problem::invalid(vec![not_yet()]), 400, "not_yet", 1, None),
            (Problem::invalid(vec![not_yet(), wrong()]), 400, "validation", 2, None),
            (Problem::invalid(vec![]), 400, "validation", 0, None),
            (Problem::not_found("delivery"), 404, "not_found", 0, None),
            (Problem::internal("x"), 500, "internal", 0, None),
            (Problem::unavailable("busy", "busy", 7), 503, "busy", 0, Some("7")),
            (KeepingError::Gone.into(), 503, "store_unavailable", 0, Some("5")),
            (WriteError::Exists(id).into(), 409, "already_exists", 0, None),
            (WriteError::IdTaken(id).into(), 409, "id_taken", 0, None),
            (WriteError::Missing.into(), 404, "not_found", 0, None),
            (
                WriteError::Database(PgError::Busy(String::new())).into(),
                503,
                "database_unavailable",
                0,
                Some("5"),
            ),
        ] {
            let (found, body, headers) = told(problem).await;
            assert_eq!(
                (found, body["status"].as_u64(), body["code"].as_str()),
                (status, Some(found.into()), Some(code))
            );
            assert_eq!(body["errors"].as_array().map_or(0, Vec::len), fields, "{body}");
            assert_eq!(body.get("errors").is_some(), fields > 0, "{body}");
            assert_eq!(headers.get("retry-after").map(|v| v.to_str().unwrap()), retry, "{body}");
            assert!(headers.get("www-authenticate").is_none());
            assert_eq!(headers["content-type"], "application/problem+json");
        }
        let (_, body, _) = told(Problem::invalid(vec![not_yet(), wrong()])).await;
        assert_eq!(body["detail"], "filter: later; url: no URL");
        assert_eq!(body["errors"][1], json!({"field": "url", "code": "invalid", "message": "no URL"}));
        let (_, _, headers) = told(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "who?")).await;
        assert_eq!(headers["www-authenticate"], "Bearer");
    }
}
