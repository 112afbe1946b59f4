//! Purpose: a posted event: what it is made of, and its place in the order. Must not: write an envelope of its own.
use super::objects::time;
use super::problem::Problem;
use crate::domain::{Event, EventId, EventName, Lsn, Resource, Sequence, TenantId};
use crate::fault;
use crate::mapping::Envelope;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicI64, Ordering};

/// Most bodies are smaller than this; larger ones grow.
const USUAL_BODY: usize = 1024;
/// Longest resource type and id that are taken from a payload.
const LONGEST_RESOURCE: usize = 500;

/// What a posted event is made of.
pub(super) struct Posted<'a> {
    pub(super) id: EventId,
    pub(super) name: EventName,
    pub(super) tenant: &'a TenantId,
    pub(super) payload: Map<String, Value>,
    pub(super) timestamp_us: i64,
    pub(super) sequence: Sequence,
    pub(super) source: &'a str,
    /// Largest wire body.
    pub(super) max_payload: usize,
}

/// The event with its frozen body. A payload that is itself an envelope gives its data and resource.
pub(super) fn event(posted: Posted<'_>) -> Result<Event, Problem> {
    let (data, kind, resource_id) = open(posted.payload);
    let envelope = Envelope {
        id: posted.id,
        timestamp: &time(posted.timestamp_us),
        event: posted.name.as_str(),
        tenant: posted.tenant,
        kind: kind.as_deref(),
        resource_id: resource_id.as_deref(),
        source: posted.source,
        version: "1.0",
    };
    let body = envelope.body(USUAL_BODY, |out| serde_json::to_writer(out, &data).map(|()| Vec::new()));
    let body = body.map_err(|_| Problem::internal("a payload cannot be written"))?;
    if body.len() > posted.max_payload && !fault::planted("size-believed") {
        let detail = format!("the event is larger than {} bytes (delivery.max_payload)", posted.max_payload);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    let resource = kind.zip(resource_id).map(|(kind, id)| Resource { kind, id });
    Ok(Event {
        id: posted.id,
        name: posted.name,
        tenant: posted.tenant.clone(),
        resource,
        timestamp_us: posted.timestamp_us,
        sequence: posted.sequence,
        body: Bytes::from(body),
    })
}

/// Data, resource type and resource id.
fn open(mut payload: Map<String, Value>) -> (Map<String, Value>, Option<String>, Option<String>) {
    let is_envelope = payload.get("event").is_some_and(Value::is_string)
        && payload.get("data").is_some_and(Value::is_object);
    if !is_envelope {
        return (payload, None, None);
    }
    let word = |value: Option<Value>| {
        let text = match value {
            Some(Value::String(text)) => text,
            Some(Value::Number(number)) => number.to_string(),
            _ => return None,
        };
        Some(text).filter(|text| !text.is_empty() && text.len() <= LONGEST_RESOURCE)
    };
    let (kind, id) = (word(payload.shift_remove("resource_type")), word(payload.shift_remove("resource_id")));
    match payload.shift_remove("data") {
        Some(Value::Object(data)) => (data, kind, id),
        _ => (payload, kind, id),
    }
}

/// Numbers of posted events: `X-Event-Sequence` of later ones is greater. They stand behind every event of the transaction
/// that was applied last, so their numbers begin where no transaction's do; they rise with time, also across a restart.
#[derive(Debug, Default)]
pub(super) struct Numbering(AtomicI64);

/// Eight digits, as the header shows them; half a day's milliseconds, while positions move on every heartbeat.
const FIRST: i64 = 50_000_000;

impl Numbering {
    pub(super) fn next(&self, applied: Lsn, now_ms: i64) -> Sequence {
        let step = |last: i64| Some(now_ms.max(last.saturating_add(1)));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(0);
        let ms = now_ms.max(last.saturating_add(1));
        Sequence { lsn: applied, number: (FIRST + ms.rem_euclid(FIRST)) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn make(payload: &Value, max_payload: usize) -> Result<Event, Problem> {
        event(Posted {
            id: EventId(Uuid::from_u128(1)),
            name: EventName::parse("payment.failed").unwrap(),
            tenant: &TenantId::new("t\"1"),
            payload: payload.as_object().cloned().unwrap(),
            timestamp_us: 1_771_065_000_123_456,
            sequence: Sequence::default(),
            source: "gestiqcloud",
            max_payload,
        })
    }

    #[test]
    fn the_body_is_the_contracts_byte_for_byte() {
        let event = make(&serde_json::from_str(r#"{"b":1.10,"a":[null,"é"]}"#).unwrap(), 10_000).unwrap();
        assert_eq!(
            std::str::from_utf8(&event.body).unwrap(),
            r#"{"id":"00000000-0000-0000-0000-000000000001","timestamp":"2026-02-14T10:30:00.123456+00:00","event":"payment.failed","tenant_id":"t\"1","resource_type":null,"resource_id":null,"data":{"b":1.10,"a":[null,"é"]},"metadata":{"tenant_id":"t\"1","source":"gestiqcloud","version":"1.0"}}"#
        );
        assert_eq!(event.resource, None);
        let len = event.body.len();
        assert!(make(&json!({}), len).is_ok());
        let payload = serde_json::from_str(r#"{"b":1.10,"a":[null,"é"]}"#).unwrap();
        assert!(
            make(&payload, len).is_ok() && make(&payload, len - 1).is_err(),
            "exactly as large as allowed"
        );
        assert_eq!(
            make(&json!({"x": "y".repeat(len)}), len).unwrap_err().status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[test]
    fn an_envelope_gives_its_data_and_resource() {
        for (payload, data, resource) in [
            (
                json!({"event": "x", "data": {"a": 1}, "resource_type": "payment", "resource_id": "7"}),
                json!({"a": 1}),
                Some(("payment", "7")),
            ),
            (
                json!({"event": "x", "data": {"a": 1}, "resource_type": "payment", "resource_id": 7}),
                json!({"a": 1}),
                Some(("payment", "7")),
            ),
            (json!({"event": "x", "data": {"a": 1}, "resource_id": "7"}), json!({"a": 1}), None),
            (
                json!({"event": "x", "data": {}, "resource_type": "é".repeat(250), "resource_id": "7".repeat(500)}),
                json!({}),
                Some(("é".repeat(250).as_str(), "7".repeat(500).as_str())),
            ),
            (
                json!({"event": "x", "data": {}, "resource_type": "payment", "resource_id": "7".repeat(501)}),
                json!({}),
                None,
            ),
            (json!({"event": "x", "data": {}, "resource_type": "", "resource_id": "7"}), json!({}), None),
            (json!({"event": "x", "data": {}, "resource_type": "a", "resource_id": true}), json!({}), None),
            (json!({"event": 5, "data": {"a": 1}}), json!({"event": 5, "data": {"a": 1}}), None),
            (json!({"event": "x", "data": 5}), json!({"event": "x", "data": 5}), None),
            (
                json!({"data": {"a": 1}, "resource_id": "7"}),
                json!({"data": {"a": 1}, "resource_id": "7"}),
                None,
            ),
        ] {
            let event = make(&payload, 10_000).unwrap();
            let body: Value = serde_json::from_slice(&event.body).unwrap();
            assert_eq!(body["data"], data, "{payload}");
            let found = event.resource.as_ref().map(|r| (r.kind.as_str(), r.id.as_str()));
            assert_eq!(found, resource, "{payload}");
        }
    }

    #[test]
    fn numbers_rise_and_keep_their_width() {
        let numbering = Numbering::default();
        let mut last = String::new();
        for now in [1_000, 1_000, 1_000, 1_001, 1_500, 1_400, 49_000_000] {
            let next = numbering.next(Lsn(7), now).to_string();
            assert!(next > last && next.len() == 25, "{last} {next}");
            last = next;
        }
        assert!(last > Sequence { lsn: Lsn(7), number: 49_999_999 }.to_string());
        assert!(last < Sequence { lsn: Lsn(8), number: 0 }.to_string());
    }
}
