//! A request → an arrival: checks both signatures and reads what it says. Knows the wire format (SPEC 4), no ledger's rules.
use super::ledger::{Arrival, Key};
use super::receiver::Received;
use crate::clock::SharedClock;
use crate::domain::Secret;
use crate::egress::sign;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The secrets of those who subscribed.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    secrets: HashMap<String, Secret>,
    clock: SharedClock,
}

impl Inbox {
    /// `secrets` by the path of the URL that was subscribed.
    pub(super) fn new(secrets: HashMap<String, Secret>, clock: SharedClock) -> Self {
        Self { secrets, clock }
    }
    /// Reads it. What cannot be read has empty names, so that it is found to be unexpected.
    pub(super) fn open(&self, request: &Received) -> Arrival {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = Key { event: text("event"), tenant: text("tenant_id"), resource: text("resource_id") };
        let data = body.get("data").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
        let told_apart = request.header("webhook-id") == text("id") && request.header("x-event") == key.event;
        let verified = told_apart && self.verify(request);
        Arrival { key, id: request.header("webhook-id").to_owned(), data, verified, at: request.at }
    }
    /// Both schemes, each of them there and right, and the timestamp fresh.
    fn verify(&self, request: &Received) -> bool {
        let Some(secret) = self.secrets.get(&request.path) else { return false };
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        let now = self.clock.now_ms() / 1000;
        sign::verify(&headers, &request.body, secret, Some(now))
            .is_ok_and(|verified| verified.x_signature && verified.webhook_signature)
    }
}
