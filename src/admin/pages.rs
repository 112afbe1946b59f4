//! `/healthz`, `/readyz`, `/metrics`, `/status`: for probes and people. Shows no tenant's data without a token.
use super::Api;
use super::problem::Problem;
use super::subscriptions::json;
use crate::access::SeesAll;
use crate::domain::SubscriptionId;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#.to_string())
}

/// `GET /readyz`: 503 with reasons; 200 with `degraded` while a part does not work.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let reasons = api.0.parts.health.reasons(api.0.parts.store.vitals());
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = serde_json::json!({"ready": reasons.is_empty(), "reasons": reasons});
    let degraded = api.0.parts.health.degraded();
    if !degraded.is_empty() {
        body["degraded"] = degraded.into();
    }
    json(status, body.to_string())
}

/// `GET /metrics`: Prometheus' text format.
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let (metrics, vitals) = (&api.0.parts.metrics, api.0.parts.store.vitals());
    metrics.pending.set(vitals.pending as i64);
    metrics.index_lag.set(vitals.index_lag_frames as i64);
    let mut response = metrics.render().map_err(|_| Problem::internal("metrics"))?.into_response();
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    Ok(response)
}

/// `GET /status`: figures of the whole process; rows that are refused only for a token of all tenants.
pub(super) async fn status(
    State(api): State<Api>,
    Extension(SeesAll(sees_all)): Extension<SeesAll>,
) -> Response {
    let parts = &api.0.parts;
    let (vitals, applied) = (parts.store.vitals(), api.0.routing.borrow().applied);
    let reasons = parts.health.reasons(vitals);
    let mut status = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "streaming": parts.health.is_streaming(),
        "gap": parts.health.gap(),
        "table_gaps": parts.health.table_gaps(),
        "applied_lsn": applied.to_string(),
        "slot_lag_bytes": parts.metrics.slot_lag_bytes.get(),
        "slot_lag_seconds": parts.metrics.slot_lag_seconds.get(),
        "pending_deliveries": vitals.pending,
        "index_lag_frames": vitals.index_lag_frames,
        "store_writable": vitals.writable,
        "endpoints_refusing": parts.metrics.endpoints_refusing.get(),
    });
    if sees_all {
        let refused = parts.refused.borrow().clone();
        let refused = refused.iter().take(100);
        let entry = |(id, why): (&SubscriptionId, &String)| serde_json::json!({"subscription_id": id.to_string(), "reason": why});
        status["refused_subscriptions"] = refused.map(entry).collect();
    }
    json(StatusCode::OK, status.to_string())
}
