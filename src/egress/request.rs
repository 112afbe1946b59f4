//! One attempt, described. Signing and headers (SPEC 4) are made from this alone.
use crate::domain::{DeliveryId, EndpointKey, Event, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that one attempt needs.
#[derive(Debug, Clone)]
pub struct Request {
    /// Tenant and URL.
    pub endpoint: EndpointKey,
    /// The event with its frozen body.
    pub event: Arc<Event>,
    /// `X-Delivery-Id`.
    pub delivery: DeliveryId,
    /// `X-Attempt`.
    pub attempt: u32,
    /// Live secrets, the newest first; empty: no signature headers.
    pub secrets: Vec<Secret>,
    /// Custom headers of the subscription.
    pub headers: BTreeMap<String, String>,
    /// Unix seconds: `webhook-timestamp`.
    pub timestamp: i64,
    /// The whole attempt, connect and body included.
    pub deadline: Duration,
}
