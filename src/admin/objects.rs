//! Subscriptions and deliveries as JSON objects: the old module's fields and more; secrets masked. Pure.
use crate::domain::{Attempt, Delivery, Status, Subscription};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What stands for a secret.
pub(super) const MASK: &str = "***";

/// RFC 3339 with microseconds and offset, as the wire has it.
pub(super) fn time(unix_us: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(unix_us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

#[derive(Debug, Serialize)]
pub(super) struct SubscriptionObject<'a> {
    id: String,
    tenant_id: &'a str,
    event: String,
    url: &'a str,
    pub(super) secret: Option<&'a str>,
    active: bool,
    state: &'static str,
    created_at: String,
    updated_at: String,
    description: Option<&'a str>,
    /// Values may be credentials: masked.
    headers: BTreeMap<&'a str, &'static str>,
    profile: Option<crate::domain::Profile>,
    rate: Option<u32>,
    ordering: Option<crate::domain::Ordering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effective: Option<bool>,
}

/// A subscription with its secret (and the values of its headers) masked.
pub(super) fn subscription(subscription: &Subscription) -> SubscriptionObject<'_> {
    SubscriptionObject {
        id: subscription.id.to_string(),
        tenant_id: subscription.tenant.as_str(),
        event: subscription.pattern.to_string(),
        url: &subscription.url,
        secret: subscription.secret.as_ref().map(|_| MASK),
        active: subscription.active,
        state: if subscription.active { "active" } else { "deleted" },
        created_at: time(subscription.created_us),
        updated_at: time(subscription.updated_us),
        description: subscription.options.description.as_deref(),
        headers: subscription.options.headers.keys().map(|name| (name.as_str(), MASK)).collect(),
        profile: subscription.options.profile,
        rate: subscription.options.rate,
        ordering: subscription.options.ordering,
        effective: None,
    }
}

#[derive(Debug, Serialize)]
pub(super) struct DeliveryObject {
    id: String,
    event: String,
    status: &'static str,
    attempts: u32,
    target_url: String,
    last_error: Option<String>,
    /// The body as it goes over the wire; null once it is no longer kept.
    payload: Option<Box<RawValue>>,
    created_at: String,
    updated_at: String,
    event_id: String,
    subscription_id: String,
    resource_type: Option<String>,
    resource_id: Option<String>,
    /// When it is tried (again), while it is pending.
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_log: Option<Vec<AttemptObject>>,
}

#[derive(Debug, Serialize)]
struct AttemptObject {
    number: u32,
    at: String,
    status_code: Option<u16>,
    error: Option<&'static str>,
    detail: Option<String>,
    duration_ms: f64,
    counted: bool,
}

/// A delivery with the body that is sent; `whole`: with its attempts.
pub(super) fn delivery(delivery: Delivery, body: Option<&[u8]>, whole: bool) -> DeliveryObject {
    let payload = body.and_then(|body| serde_json::from_slice::<Box<RawValue>>(body).ok());
    let (resource_type, resource_id) = delivery.resource.map_or((None, None), |r| (Some(r.kind), Some(r.id)));
    let pending = delivery.status == Status::Pending;
    DeliveryObject {
        id: delivery.key.id.to_string(),
        event: delivery.event.to_string(),
        status: delivery.status.as_str(),
        attempts: delivery.attempts,
        target_url: delivery.target_url,
        last_error: delivery.last_error,
        payload,
        created_at: time(delivery.created_us),
        updated_at: time(delivery.updated_us),
        event_id: delivery.event_id.to_string(),
        subscription_id: delivery.subscription.to_string(),
        resource_type,
        resource_id,
        next_attempt_at: pending.then(|| time(delivery.due_ms.saturating_mul(1000))),
        attempt_log: whole.then(|| delivery.log.into_iter().map(attempt).collect()),
    }
}

fn attempt(attempt: Attempt) -> AttemptObject {
    AttemptObject {
        number: attempt.number,
        at: time(attempt.at_ms.saturating_mul(1000)),
        status_code: attempt.outcome.answer.ok(),
        error: attempt.outcome.answer.err().map(crate::domain::Failure::as_str),
        detail: attempt.outcome.detail,
        duration_ms: attempt.outcome.duration_us as f64 / 1000.0,
        counted: attempt.counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Options, Pattern, Sealed, SubscriptionId, TenantId};

    #[test]
    fn no_object_shows_a_secret() {
        let headers = BTreeMap::from([("x-api-key".to_string(), Sealed::new("key-hunter2"))]);
        let one = Subscription {
            id: SubscriptionId(uuid::Uuid::from_u128(1)),
            tenant: TenantId::new("t"),
            pattern: Pattern::Any,
            url: "https://a.example/".into(),
            secret: Some(Sealed::new("clear-hunter2")),
            active: true,
            created_us: 1_771_065_000_123_456,
            updated_us: 0,
            options: Options { headers, ..Options::default() },
        };
        let text = serde_json::to_string(&subscription(&one)).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("\"secret\":\"***\"") && text.contains("\"x-api-key\":\"***\""), "{text}");
        assert!(text.contains("\"created_at\":\"2026-02-14T10:30:00.123456+00:00\""), "{text}");
        assert!(text.contains("\"updated_at\":\"1970-01-01T00:00:00.000000+00:00\""), "{text}");
    }
}
