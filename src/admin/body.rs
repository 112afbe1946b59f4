//! Reads a request's body: bounded in size and time, a JSON object. Knows no field.
use super::LARGEST_BODY;
use super::problem::Problem;
use crate::domain::json;
use axum::body::{Body, Bytes, to_bytes};
use http::StatusCode;
use serde_json::{Map, Value};
use std::time::Duration;

/// A client has this long to send it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole body, at most 256 KiB.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(PATIENCE, to_bytes(body, LARGEST_BODY)).await;
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time");
    read.map_err(|_| late())?.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(inner) = cause {
            if inner.to_string().contains("length limit exceeded") {
                let detail = "the body is larger than 256 KiB";
                return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail);
            }
            cause = inner.source();
        }
        Problem::bad("body", "the body could not be read")
    })
}

/// The body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    // the parser's own words name a place, never the text
    match json::parse(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::bad("json", "the body must be a JSON object")),
        Err(error) => Err(Problem::bad("json", format!("the body is no JSON: {error}"))),
    }
}
