//! Purpose: what others may see of dispatch: a few numbers and the metrics of SPEC 8. Must not: decide anything.
use crate::dispatch::scheduler::{Done, Scheduler};
use crate::domain::{EventName, Failure, Next};
use crate::telemetry::Metrics;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// A look at dispatch from outside; clones share it.
#[derive(Debug, Clone, Default)]
pub struct DispatchStatus {
    numbers: Arc<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    refusing: AtomicUsize,
    in_flight: AtomicUsize,
    held: AtomicUsize,
}

impl DispatchStatus {
    /// Endpoints whose breaker refuses or probes.
    pub fn refusing(&self) -> usize {
        self.numbers.refusing.load(Ordering::Relaxed)
    }
    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.numbers.in_flight.load(Ordering::Relaxed)
    }
    /// Deliveries in memory; the rest of the backlog is in the store.
    pub fn held(&self) -> usize {
        self.numbers.held.load(Ordering::Relaxed)
    }
}

/// Writes status and metrics.
pub(in crate::dispatch) struct Observer {
    status: DispatchStatus,
    metrics: Metrics,
    names: watch::Receiver<Arc<BTreeSet<EventName>>>,
}

impl Observer {
    pub(in crate::dispatch) fn new(
        status: DispatchStatus,
        metrics: Metrics,
        names: watch::Receiver<Arc<BTreeSet<EventName>>>,
    ) -> Self {
        Self { status, metrics, names }
    }

    pub(in crate::dispatch) fn levels(&self, scheduler: &Scheduler) {
        let numbers = &self.status.numbers;
        numbers.refusing.store(scheduler.refusing(), Ordering::Relaxed);
        numbers.in_flight.store(scheduler.in_flight(), Ordering::Relaxed);
        numbers.held.store(scheduler.held(), Ordering::Relaxed);
        self.metrics.endpoints_refusing.set(scheduler.refusing() as i64);
    }

    /// An attempt has ended: one of the endpoint's, with what it meant for each delivery of its parcel.
    pub(in crate::dispatch) fn attempt(&self, done: &Done, events: &[(EventName, i64)], now_ms: i64) {
        let outcome = &done.attempt.outcome;
        let label = self.label(events.first().map(|(name, _)| name));
        let seconds = outcome.duration_us as f64 / 1e6;
        self.metrics.attempt_seconds.with_label_values(&[label.as_str()]).observe(seconds);
        if let Ok(status) = outcome.answer {
            self.metrics.http_status.with_label_values(&[status.to_string().as_str()]).inc();
        }
        for at in 0..done.keys.len() {
            self.outcome(done, events.get(at), now_ms);
        }
    }

    fn outcome(&self, done: &Done, event: Option<&(EventName, i64)>, now_ms: i64) {
        let label = self.label(event.map(|(name, _)| name));
        match done.next {
            Next::RetryAt(_) => {
                let reason = done.attempt.outcome.answer.map_or_else(Failure::as_str, |_| "http_5xx");
                self.metrics.retries.with_label_values(&[label.as_str(), reason]).inc();
            }
            Next::Delivered => {
                self.ended(&label, "delivered");
                if let Some((_, timestamp_us)) = event {
                    let waited = now_ms.saturating_sub(timestamp_us / 1000).max(0);
                    self.metrics.commit_to_delivery.observe(waited as f64 / 1e3);
                }
            }
            Next::Failed => self.ended(&label, "failed"),
        }
    }

    /// A delivery of this event was given up.
    pub(in crate::dispatch) fn abandoned(&self, event: Option<&EventName>) {
        self.ended(&self.label(event), "abandoned");
    }

    fn ended(&self, label: &str, status: &str) {
        self.metrics.deliveries.with_label_values(&[label, status]).inc();
    }

    /// Names outside the mapping would make as many series as somebody can invent.
    fn label(&self, name: Option<&EventName>) -> String {
        match name {
            Some(name) if self.names.borrow().contains(name) => name.as_str().to_string(),
            _ => "other".to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
