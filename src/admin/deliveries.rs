//! `/deliveries`: post an event, list, get, retry. Everything of it lives in the store.
use super::envelope::{self, Posted};
use super::idempotency::{self, Begin};
use super::problem::Problem;
use super::query::Query;
use super::subscriptions::json;
use super::{Api, BASE, body, objects};
use crate::access::Caller;
use crate::domain::event::derived_uuid;
use crate::domain::{
    DeliveryId, DeliveryKey, EventId, EventName, FilterStatus, KeepingError, Routed, Status, SubscriptionId,
};
use crate::fault;
use crate::registry::validate::Invalid;
use crate::store::{Filter, FoundDelivery, History};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

/// `POST /deliveries`
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(body).await?;
    let ticket = match idempotency::begin(&api, &caller, "POST /deliveries", &headers, &bytes).await? {
        Begin::Replay(answer) => return Ok(answer),
        Begin::Go(ticket) => ticket,
    };
    let (name, payload) = read(body::object(&bytes)?)?;
    let late = || {
        Problem::unavailable("routing_behind", "a subscription that was just written is not routed yet", 2)
    };
    let routing = api.settled().await.ok_or_else(late)?;
    let detail = format!("no active subscription for {name}");
    let unwanted = || Problem::new(StatusCode::NOT_FOUND, "no_subscription", detail);
    if routing.route(&caller.tenant, &name).next().is_none() {
        return Err(unwanted());
    }
    let now_us = api.0.parts.clock.now_us();
    let settings = api.settings();
    let event = envelope::event(Posted {
        id: event_id(&api, &caller, ticket.key(), now_us / 1000)?,
        name,
        tenant: &caller.tenant,
        payload,
        timestamp_us: now_us,
        sequence: api.0.sequence.next(routing.applied, now_us / 1000),
        source: &settings.envelope.source,
        max_payload: settings.envelope.max_payload,
    })?;
    let event = Arc::new(event);
    let asked = routing.route(&event.tenant, &event.name);
    let routed = Routed::new(event.clone(), asked).ok_or_else(unwanted)?;
    let count = routed.count();
    let message = format!("Queued {count} webhook deliver{}", if count == 1 { "y" } else { "ies" });
    let answer = serde_json::json!({"queued": true, "count": count, "message": message, "event_id": event.id.to_string()});
    let answer = answer.to_string();
    let kept = ticket.answer(StatusCode::ACCEPTED, &answer, now_us / 1000);
    fault::crash_point("admin.before-post");
    api.in_time(api.history().post(routed, kept)).await?;
    fault::crash_point("admin.posted");
    let known = settings.known_events.contains(event.name.as_str());
    let label = if known { event.name.as_str() } else { "other" };
    api.0.parts.metrics.events.with_label_values(&[label]).inc();
    Ok(json(StatusCode::ACCEPTED, answer))
}

/// Version 7, or derived from the key: a repeat whose first request left nothing behind makes another event anyhow.
fn event_id(api: &Api, caller: &Caller, key: Option<&str>, now_ms: i64) -> Result<EventId, Problem> {
    Ok(EventId(match key {
        Some(key) => derived_uuid(now_ms, &[b"posted", caller.tenant.as_str().as_bytes(), key.as_bytes()]),
        None => uuid::Builder::from_unix_timestamp_millis(now_ms.unsigned_abs(), &api.random()?).into_uuid(),
    }))
}

/// `{event, payload}`
pub(super) fn read(mut given: Map<String, Value>) -> Result<(EventName, Map<String, Value>), Problem> {
    let mut wrong = Vec::new();
    let name = match given.shift_remove("event") {
        Some(Value::String(text)) => {
            EventName::parse(&text).map_err(|why| Invalid::new("event", "invalid", why))
        }
        Some(_) => Err(Invalid::new("event", "invalid", "must be a string")),
        None => Err(Invalid::new("event", "missing", "is needed")),
    };
    let reserved = "names that begin with 'webhook.' are the sender's own";
    let name = name.and_then(|name| {
        let ours = name.as_str().starts_with("webhook.");
        if ours { Err(Invalid::new("event", "reserved", reserved)) } else { Ok(name) }
    });
    let payload = match given.shift_remove("payload") {
        Some(Value::Object(payload)) => Ok(payload),
        Some(_) => Err(Invalid::new("payload", "invalid", "must be a JSON object")),
        None => Err(Invalid::new("payload", "missing", "is needed")),
    };
    for key in given.keys() {
        let shown: String = key.chars().take(100).collect();
        wrong.push(Invalid::new(&shown, "unknown_field", "is not known"));
    }
    match (name, payload) {
        (Ok(name), Ok(payload)) if wrong.is_empty() => Ok((name, payload)),
        (name, payload) => {
            wrong.extend(name.err().into_iter().chain(payload.err()));
            Err(Problem::invalid(wrong))
        }
    }
}

/// Parts of a list that one request reads.
const MOST_PARTS: usize = 50;
pub(super) const FILTERS: [&str; 8] =
    ["event", "status", "subscription_id", "resource_id", "since", "until", "limit", "after"];

/// `GET /deliveries`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &FILTERS)?;
    let filter = filter(&query)?;
    let history = api.history();
    let (found, next) = whole_page(&history, &caller, filter).await?;
    let objects: Vec<_> = found.into_iter().map(|found| object(found, false)).collect();
    let text = serde_json::to_string(&objects);
    let mut response = json(StatusCode::OK, text.map_err(|_| Problem::internal("serialising"))?);
    let link = next.map(|next| query.next_link(&format!("{BASE}/deliveries"), &next.to_string()));
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The store answers a rare filter in parts; clients that follow no link get a full page all the same, within reason.
async fn whole_page(
    history: &History,
    caller: &Caller,
    mut filter: Filter,
) -> Result<(Vec<FoundDelivery>, Option<DeliveryId>), KeepingError> {
    let mut page = Vec::new();
    for _ in 0..MOST_PARTS {
        let (part, next) = history.list_found(&caller.tenant, &filter).await?;
        filter.limit = filter.limit.saturating_sub(part.len());
        filter.after = next;
        page.extend(part);
        if next.is_none() || filter.limit == 0 {
            break;
        }
    }
    Ok((page, filter.after))
}

pub(super) fn filter(query: &Query) -> Result<Filter, Problem> {
    let uuid = |text: &str| Uuid::try_parse(text).ok();
    Ok(Filter {
        event: query
            .parse("event", "an event name", |text| EventName::parse(text).ok())?
            .map(|name| name.to_string()),
        status: query.parse(
            "status",
            "one of pending, sending, delivered, failed, abandoned, retrying",
            FilterStatus::parse,
        )?,
        subscription: query.parse("subscription_id", "a UUID", uuid)?.map(SubscriptionId),
        resource_id: query.get("resource_id").map(ToString::to_string),
        since_us: query.time("since")?,
        until_us: query.time("until")?,
        after: query.parse("after", "a cursor from a Link header", uuid)?.map(DeliveryId),
        limit: query.limit()?,
    })
}

/// `GET /deliveries/{id}`
pub(super) async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let key = key(&caller, &id)?;
    let found = api.history().found(&key).await?.ok_or_else(|| Problem::not_found("delivery"))?;
    let text = serde_json::to_string(&object(found, true));
    Ok(json(StatusCode::OK, text.map_err(|_| Problem::internal("serialising"))?))
}

/// `POST /deliveries/{id}/retry`
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read(body).await?;
    let key = key(&caller, &id)?;
    let place = format!("POST /deliveries/{}/retry", key.id);
    let ticket = match idempotency::begin(&api, &caller, &place, &headers, &bytes).await? {
        Begin::Replay(answer) => return Ok(answer),
        Begin::Go(ticket) => ticket,
    };
    let found = api.history().delivery(&key).await?;
    let found = found.ok_or_else(|| Problem::not_found("delivery"))?;
    if !matches!(found.status, Status::Failed | Status::Abandoned) {
        let detail = format!(
            "only a FAILED or ABANDONED delivery can be retried, this one is {}",
            found.status.as_str()
        );
        return Err(Problem::bad("not_retryable", detail));
    }
    let at_ms = api.0.parts.clock.now_ms();
    let answer = serde_json::json!({
        "queued": true, "id": key.id.to_string(), "status": Status::Pending.as_str(), "attempts": 0,
        "message": "Delivery queued for retry",
    });
    let answer = answer.to_string();
    let kept = ticket.answer(StatusCode::ACCEPTED, &answer, at_ms);
    fault::crash_point("admin.before-retry");
    api.in_time(api.history().retry(key, at_ms, kept)).await?;
    fault::crash_point("admin.retried");
    Ok(json(StatusCode::ACCEPTED, answer))
}

/// What is no id is nobody's object.
fn key(caller: &Caller, id: &str) -> Result<DeliveryKey, Problem> {
    let id = Uuid::try_parse(id).map_err(|_| Problem::not_found("delivery"))?;
    Ok(DeliveryKey { tenant: caller.tenant.clone(), id: DeliveryId(id) })
}

fn object(found: FoundDelivery, whole: bool) -> objects::DeliveryObject {
    objects::delivery(found.delivery, found.event.as_ref().map(|event| event.body.as_ref()), whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_posted_is_read_strictly() {
        let read = |value: Value| super::read(value.as_object().cloned().unwrap());
        let (name, payload) = read(json!({"event": " Payment.Failed ", "payload": {"a": 1}})).unwrap();
        assert_eq!((name.as_str(), payload.len()), ("payment.failed", 1));
        for bad in [
            json!({}),
            json!({"event": "payment.failed"}),
            json!({"payload": {}}),
            json!({"event": "payment.failed", "payload": []}),
            json!({"event": "payment.failed", "payload": "x"}),
            json!({"event": "*", "payload": {}}),
            json!({"event": "webhook.test", "payload": {}}),
            json!({"event": ["a.b"], "payload": {}}),
            json!({"event": "a.b", "payload": {}, "tenant_id": "other"}),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().status, StatusCode::BAD_REQUEST, "{bad}");
        }
    }
}
