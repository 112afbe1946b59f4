//! Purpose: what others may see of dispatch: a few numbers and the metrics of SPEC 8. Must not: decide anything.
use crate::dispatch::message::GivenUp;
use crate::dispatch::run::DispatchParts;
use crate::dispatch::scheduler::{Done, Scheduler};
use crate::domain::{EventName, Failure, Next};
use crate::store::Store;
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
    store: Store,
    status: DispatchStatus,
    metrics: Metrics,
    names: watch::Receiver<Arc<BTreeSet<EventName>>>,
}

impl Observer {
    pub(in crate::dispatch) fn new<T, J>(parts: &DispatchParts<T, J>) -> Self {
        Self {
            store: parts.store.clone(),
            status: parts.status.clone(),
            metrics: parts.metrics.clone(),
            names: parts.names.clone(),
        }
    }

    pub(in crate::dispatch) fn levels(&self, scheduler: &Scheduler) {
        let numbers = &self.status.numbers;
        numbers.refusing.store(scheduler.refusing(), Ordering::Relaxed);
        numbers.in_flight.store(scheduler.in_flight(), Ordering::Relaxed);
        numbers.held.store(scheduler.held(), Ordering::Relaxed);
        self.metrics.endpoints_refusing.set(scheduler.refusing() as i64);
    }

    pub(in crate::dispatch) fn attempt(&self, done: &Done, event: Option<&(EventName, i64)>, now_ms: i64) {
        let label = self.label(event.map(|(name, _)| name));
        let outcome = &done.attempt.outcome;
        let seconds = outcome.duration_us as f64 / 1e6;
        self.metrics.attempt_seconds.with_label_values(&[label.as_str()]).observe(seconds);
        if let Ok(status) = outcome.answer {
            self.metrics.http_status.with_label_values(&[status.to_string().as_str()]).inc();
        }
        match done.next {
            Next::RetryAt(_) => {
                let reason = outcome.answer.map_or_else(Failure::as_str, |_| "http_5xx");
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

    pub(in crate::dispatch) async fn given_up(&self, given_up: &GivenUp) {
        tracing::warn!(delivery = %given_up.key.id, reason = given_up.reason, "delivery abandoned");
        let delivery = self.store.delivery(&given_up.key).await.ok().flatten();
        self.ended(&self.label(delivery.as_ref().map(|delivery| &delivery.event)), "abandoned");
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
