//! What others see of dispatch: numbers, labels and durations.
use super::*;
use crate::dispatch::backlog::lane::tests::{lane_id, pending};
use crate::dispatch::{Facts, Now};
use crate::domain::{Attempt, EndpointKey, Outcome, TenantId};
use crate::settings::{BreakerSettings, DispatchSettings};
use std::time::Duration;

const NOW: Now = Now { wall: 0, steady: 0 };

fn event(name: &str) -> EventName {
    EventName::parse(name).unwrap()
}

/// Sees what an observer writes that knows one event, `invoice.created`.
struct Seen {
    observer: Observer,
    status: DispatchStatus,
    metrics: Metrics,
    _names: watch::Sender<Arc<BTreeSet<EventName>>>,
}

impl Seen {
    fn new() -> Self {
        let names = watch::Sender::new(Arc::new(BTreeSet::from([event("invoice.created")])));
        let (status, metrics) = (DispatchStatus::default(), Metrics::new().unwrap());
        let observer = Observer::new(status.clone(), metrics.clone(), names.subscribe());
        Self { observer, status, metrics, _names: names }
    }
    fn deliveries(&self, event: &str, status: &str) -> u64 {
        self.metrics.deliveries.with_label_values(&[event, status]).get()
    }
    fn retries(&self, reason: &str) -> u64 {
        self.metrics.retries.with_label_values(&["invoice.created", reason]).get()
    }
    fn numbers(&self) -> (usize, usize, usize) {
        (self.status.refusing(), self.status.in_flight(), self.status.held())
    }
}

fn outcome(answer: Result<u16, Failure>, duration_us: u64) -> Outcome {
    Outcome { answer, detail: None, retry_after_ms: None, duration_us }
}
/// The end of an attempt of so many deliveries.
fn done(deliveries: u64, outcome: Outcome, next: Next) -> Done {
    let keys = (1..=deliveries).map(|n| pending(1, n, None).key).collect();
    Done { keys, attempt: Attempt { number: 1, at_ms: 0, outcome, counted: true }, next }
}

/// Seven endpoints with two deliveries each: two fail and are left alone, five requests are under way.
#[test]
fn the_numbers_are_those_of_the_scheduler() {
    let breaker = BreakerSettings { failures: 1, open_for: Duration::from_secs(30) };
    let mut scheduler =
        Scheduler::new(DispatchSettings { breaker, concurrency: 100, ..DispatchSettings::default() });
    for lane in 1..=7 {
        let endpoint = EndpointKey { tenant: TenantId::new("t"), url: format!("https://e{lane}.test/") };
        scheduler.open_lane(lane_id(lane), &Facts { endpoint, ordering: None, rate: None }, NOW);
        for n in 1..=2 {
            scheduler.offer(pending(lane, n, Some(n)), NOW);
        }
    }
    let jobs: Vec<_> = std::iter::from_fn(|| scheduler.next(NOW)).collect();
    let seen = Seen::new();
    assert_eq!(seen.numbers(), (0, 0, 0));
    seen.observer.levels(&scheduler);
    assert_eq!(seen.numbers(), (0, 7, 14));
    for job in &jobs[..2] {
        scheduler.done(job, outcome(Ok(503), 1), 0, NOW, 0.5);
    }
    seen.observer.levels(&scheduler);
    assert_eq!(seen.numbers(), (2, 5, 14));
    assert_eq!(seen.metrics.endpoints_refusing.get(), 2);
}

#[test]
fn an_attempt_is_measured_in_seconds_from_its_start_and_a_delivery_from_its_commit() {
    let seen = Seen::new();
    let committed_ms = 1_764_000_000_123;
    let events = [(event("invoice.created"), committed_ms * 1000 + 456)];
    let delivered = done(1, outcome(Ok(200), 2_250_000), Next::Delivered);
    seen.observer.attempt(&delivered, &events, committed_ms + 3_500);
    let attempts = seen.metrics.attempt_seconds.with_label_values(&["invoice.created"]);
    assert_eq!((attempts.get_sample_count(), attempts.get_sample_sum()), (1, 2.25));
    let waited = &seen.metrics.commit_to_delivery;
    assert_eq!((waited.get_sample_count(), waited.get_sample_sum()), (1, 3.5));
    // the server's clock may be ahead of ours
    seen.observer.attempt(&delivered, &events, committed_ms - 9_000);
    assert_eq!((waited.get_sample_count(), waited.get_sample_sum()), (2, 3.5));
    // and only what arrived has waited for its answer
    seen.observer.attempt(&done(1, outcome(Ok(404), 1), Next::Failed), &events, committed_ms);
    seen.observer.attempt(&done(1, outcome(Ok(500), 1), Next::RetryAt(1)), &events, committed_ms);
    assert_eq!((waited.get_sample_count(), attempts.get_sample_count()), (2, 4));
    for (status, count) in [("200", 2), ("404", 1), ("500", 1)] {
        assert_eq!(seen.metrics.http_status.with_label_values(&[status]).get(), count, "{status}");
    }
}

#[test]
fn a_retry_is_counted_with_its_reason() {
    let seen = Seen::new();
    let events = [(event("invoice.created"), 0)];
    for (answer, reason) in [
        (Ok(500), "http_5xx"),
        (Ok(503), "http_5xx"),
        (Err(Failure::Timeout), "timeout"),
        (Err(Failure::Connection), "connection"),
        (Err(Failure::Local), "local"),
    ] {
        let before = seen.retries(reason);
        seen.observer.attempt(&done(1, outcome(answer, 1), Next::RetryAt(1)), &events, 0);
        assert_eq!(seen.retries(reason), before + 1, "{answer:?}");
    }
    assert_eq!(seen.deliveries("invoice.created", "failed"), 0, "none has ended");
}

/// A name that anybody may invent makes no series of its own.
#[test]
fn an_event_outside_the_mapping_is_another() {
    let seen = Seen::new();
    let events = [(event("invoice.created"), 0), (event("made.up"), 0)];
    // the third could not be read
    seen.observer.attempt(&done(3, outcome(Ok(200), 1), Next::Delivered), &events, 0);
    assert_eq!(
        (seen.deliveries("invoice.created", "delivered"), seen.deliveries("other", "delivered")),
        (1, 2)
    );
    seen.observer.attempt(&done(1, outcome(Ok(404), 1), Next::Failed), &events[1..], 0);
    assert_eq!(seen.deliveries("other", "failed"), 1);
    let attempts = seen.metrics.attempt_seconds.with_label_values(&["other"]);
    assert_eq!(attempts.get_sample_count(), 1, "an attempt is its first delivery's");
    assert!(!seen.metrics.render().unwrap().contains("made.up"));
}

#[test]
fn what_is_given_up_is_counted() {
    let seen = Seen::new();
    for name in [Some("invoice.created"), Some("made.up"), None] {
        seen.observer.abandoned(name.map(event).as_ref());
    }
    assert_eq!(seen.deliveries("invoice.created", "abandoned"), 1);
    assert_eq!(seen.deliveries("other", "abandoned"), 2);
}
