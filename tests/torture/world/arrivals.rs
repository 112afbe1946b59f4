//! What the receivers got, in order of arrival. Judges nothing.
use super::SECRET;
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tailhook::domain::Secret;
use tailhook::egress::verify;
use tailhook_demo::receiver::{Manner, Received};

/// An event as one subscription got it first.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) wish: usize,
    pub(crate) id: String,
    /// `X-Event-Sequence`
    pub(crate) sequence: String,
    pub(crate) body: Value,
    /// How many requests had come before its first, and before the first that was taken.
    pub(crate) at: u64,
    pub(crate) taken: Option<u64>,
    pub(crate) times: i32,
}

/// Everything that came.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) list: Vec<Arrival>,
    places: HashMap<(usize, String), usize>,
    bodies: HashMap<String, Bytes>,
    pub(crate) two_bodies: Vec<String>,
    pub(crate) unsigned: Vec<String>,
    pub(crate) requests: u64,
    /// Requests for what was taken already.
    pub(crate) repeats: u64,
}

/// A handle; clones share what came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Arrived>>);

impl Arrivals {
    pub(super) fn take(&self, request: &Received) {
        self.0.lock().unwrap().take(request);
    }
    pub(crate) fn look<T>(&self, see: impl FnOnce(&Arrived) -> T) -> T {
        see(&self.0.lock().unwrap())
    }
}

impl Arrived {
    pub(super) fn take(&mut self, request: &Received) {
        let now = self.requests;
        self.requests += 1;
        let id = request.header("webhook-id").to_owned();
        if !is_signed(request) {
            self.unsigned.push(id.clone());
        }
        let known = self.bodies.entry(id.clone()).or_insert_with(|| request.body.clone());
        if *known != request.body {
            self.two_bodies.push(id.clone());
        }
        let wish = request.path.trim_start_matches('/').parse().unwrap_or(usize::MAX);
        let is_taken = match request.manner {
            Manner::Status(status) => status < 400,
            // whether an answer came in time is for the sender to say, who may be starved
            Manner::Late(_) => true,
            Manner::HangUp => false,
        };
        let place = *self.places.entry((wish, id.clone())).or_insert_with(|| {
            let body = serde_json::from_slice(&request.body).unwrap_or_default();
            let sequence = request.header("x-event-sequence").to_owned();
            self.list.push(Arrival { wish, id, sequence, body, at: now, taken: None, times: 0 });
            self.list.len() - 1
        });
        self.list[place].times += 1;
        let taken = &mut self.list[place].taken;
        self.repeats += u64::from(taken.is_some());
        if is_taken {
            taken.get_or_insert(now);
        }
    }
}

fn is_signed(request: &Received) -> bool {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    verify(&headers, &request.body, &Secret::new(SECRET), None)
        .is_ok_and(|verified| verified.x_signature && verified.webhook_signature)
}
