//! What a client of the API could send, against what reads it: calls and what must hold of their answers, for `fuzz/` and
//! `tests/corpora`. Knows no fuzzer and no socket. Panics on purpose, where a promise is broken.
use super::envelope::{self, Posted};
use super::problem::Problem;
use super::query::Query;
use super::{body, deliveries, idempotency, subscriptions};
use crate::access::token;
use crate::domain::{EventId, Options, Pattern, Sequence, TenantId};
use crate::postgres::snapshot::SUBSCRIPTION_COLUMNS;
use crate::registry::rows::{self, RowChange};
use crate::registry::seal::{Sealer, credentials};
use crate::registry::validate;
use crate::settings::{AdminToken, Scope};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const MAX_PAYLOAD: usize = 16 << 10;

/// The body of `POST /deliveries`.
pub fn payload(data: &[u8]) {
    let read = body::object(data).and_then(deliveries::read);
    let (name, payload) = match read {
        Ok(read) => read,
        Err(problem) => return answered(problem),
    };
    let posted = Posted {
        id: EventId(uuid::Uuid::nil()),
        name,
        tenant: &TenantId::new("t\"1"),
        payload: payload.clone(),
        timestamp_us: i64::MAX,
        sequence: Sequence::default(),
        source: "gestiqcloud",
        max_payload: MAX_PAYLOAD,
    };
    let event = match envelope::event(posted) {
        Ok(event) => event,
        Err(problem) => return answered(problem),
    };
    assert!(event.body.len() <= MAX_PAYLOAD);
    let sent: Value = serde_json::from_slice(&event.body).expect("receivers can read it");
    let data = &sent["data"];
    assert!(*data == Value::Object(payload.clone()) || *data == payload["data"], "what was posted is sent");
    assert_eq!(
        event.resource.map(|r| r.id),
        sent["resource_id"].as_str().map(Into::into).filter(|_| sent["resource_type"].is_string())
    );
}

/// The first byte says what the rest is: a subscription's body, a query, header lines, a pattern, a subscription's row.
pub fn requests(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    match what % 5 {
        0 => subscription(rest),
        1 => query(&String::from_utf8_lossy(rest)),
        2 => headers(rest),
        3 => pattern(&String::from_utf8_lossy(rest)),
        _ => row(rest),
    }
}

fn subscription(data: &[u8]) {
    let wish = match body::object(data).and_then(subscriptions::read) {
        Ok(wish) => wish,
        Err(problem) => return answered(problem),
    };
    assert!((10..=2048).contains(&wish.url.chars().count()));
    assert!(wish.secret.is_none_or(|secret| (8..=500).contains(&secret.expose().chars().count())));
    assert!(wish.headers.len() <= 20 && wish.options.headers.is_empty(), "no clear value is kept");
    for (name, value) in &wish.headers {
        assert!(http::HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value.expose()).is_ok());
    }
    let kept = serde_json::to_vec(&wish.options).expect("plain data");
    assert_eq!(serde_json::from_slice::<Options>(&kept).ok(), Some(wish.options));
}

fn query(text: &str) {
    let filter = match Query::read(Some(text), &deliveries::FILTERS).and_then(|query| {
        deliveries::filter(&query)?;
        Ok(query)
    }) {
        Ok(query) => query,
        Err(problem) => return answered(problem),
    };
    let link = filter.next_link("/x", "cursor");
    assert!(HeaderValue::try_from(&link).is_ok(), "{link}");
    let (_, next) = link.trim_end_matches(">; rel=\"next\"").split_once('?').expect("a query");
    let again = Query::read(Some(next), &deliveries::FILTERS).expect("a link is read back");
    assert!(again.get("after") == Some("cursor") && again.get("event") == filter.get("event"));
    let _ = filter.get("after").and_then(subscriptions::cursor);
}

fn headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        if let (Some(name), Some(value)) = (parts.next(), parts.next())
            && let Ok(name) = http::HeaderName::from_bytes(name)
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            headers.append(name, value);
        }
    }
    match idempotency::key(&headers) {
        Ok(key) => assert!(key.is_none_or(|key| (1..=255).contains(&key.len()))),
        Err(problem) => answered(problem),
    }
    let known = AdminToken {
        name: "t".into(),
        sha256: token::digest(b"token"),
        tenant: "*".into(),
        scope: Scope::Write,
    };
    token::identify(&headers, std::slice::from_ref(&known))
        .map_or_else(|refused| answered(refused.into()), drop);
    match token::tenant(&headers, &known) {
        Ok(tenant) => assert!((1..=200).contains(&tenant.as_str().len())),
        Err(refused) => answered(refused.into()),
    }
}

fn pattern(text: &str) {
    let Ok(pattern) = Pattern::parse(text) else { return };
    assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
}

/// A row that SQL wrote: its values as JSON, parted by NUL.
fn row(data: &[u8]) {
    let value = |json: &[u8]| Some(String::from_utf8_lossy(json).into_owned());
    let values: Vec<_> = data.split(|byte| *byte == 0).map(value).collect();
    let sealer = Sealer::from_base64(&STANDARD.encode([7; 32])).expect("a key");
    let rules = rows::RowRules { sealer: &sealer, url: &|_| Ok(()) };
    let read = rows::snapshot_row(&SUBSCRIPTION_COLUMNS, &values, rules);
    if let Some(RowChange::Put(subscription)) = read {
        assert!(validate::url(&subscription.url).is_ok());
        for (field, value) in credentials(&subscription) {
            assert!(Sealer::well_formed(field, value.as_str()), "no clear credential is kept");
            let _ = sealer.open(subscription.id, field, value);
        }
    }
}

/// A problem's answer is JSON, no longer than a few times what was sent, and is no server's fault.
fn answered(problem: Problem) {
    assert!(problem.status.is_client_error(), "{problem:?}");
    let response: Response = problem.into_response();
    let mut whole = pin!(axum::body::to_bytes(response.into_body(), 4 << 20));
    let Poll::Ready(bytes) = whole.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a body in memory is there at once")
    };
    let value: Value = serde_json::from_slice(&bytes.expect("bounded")).expect("JSON");
    assert!(value["detail"].is_string() && value["code"].is_string());
}
