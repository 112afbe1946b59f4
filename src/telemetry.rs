//! Metrics (SPEC 8) under exactly the old module's names, and log set-up. Knows no stage.
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// All metrics of the process; clones share them. No tenant, no URL in a label.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `webhook_deliveries_total{event,status}`
    pub deliveries: IntCounterVec,
    /// `webhook_delivery_duration_seconds{event}`: one attempt
    pub attempt_seconds: HistogramVec,
    /// `webhook_retries_total{event,reason}`
    pub retries: IntCounterVec,
    /// `webhook_delivery_http_status{status_code}`
    pub http_status: IntCounterVec,
    /// `tailhook_commit_to_delivery_seconds`
    pub commit_to_delivery: Histogram,
    /// `tailhook_events_total{event}`
    pub events: IntCounterVec,
    /// `tailhook_events_unrouted_total`
    pub events_unrouted: IntCounter,
    /// `tailhook_rule_faults_total{rule,reason}`: rules that gave no event although they matched
    pub rule_faults: IntCounterVec,
    /// `tailhook_pending_deliveries`
    pub pending: IntGauge,
    /// `tailhook_endpoints_refusing`
    pub endpoints_refusing: IntGauge,
    /// `tailhook_slot_lag_bytes`
    pub slot_lag_bytes: IntGauge,
    /// `tailhook_slot_lag_seconds`
    pub slot_lag_seconds: Gauge,
    /// `tailhook_slot_safe_wal_bytes`
    pub slot_safe_wal_bytes: IntGauge,
    /// `tailhook_store_flush_seconds`
    pub flush_seconds: Histogram,
    /// `tailhook_gap_total`
    pub gaps: IntCounter,
    /// `tailhook_index_lag_frames`
    pub index_lag: IntGauge,
}

const MILLISECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0,
];

impl Metrics {
    /// Makes and registers them.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(counters.clone()))?;
                Ok(counters)
            };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let histogram = |name: &str, help: &str| -> Result<Histogram, prometheus::Error> {
            let histogram =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(MILLISECONDS.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let attempt_seconds = HistogramVec::new(
            HistogramOpts::new("webhook_delivery_duration_seconds", "Duration of one attempt")
                .buckets(MILLISECONDS.to_vec()),
            &["event"],
        )?;
        registry.register(Box::new(attempt_seconds.clone()))?;
        let slot_lag_seconds =
            Gauge::new("tailhook_slot_lag_seconds", "Age of the oldest commit not yet durable here")?;
        registry.register(Box::new(slot_lag_seconds.clone()))?;
        let build_info = IntGaugeVec::new(Opts::new("tailhook_build_info", "Always 1"), &["version"])?;
        registry.register(Box::new(build_info.clone()))?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            deliveries: counters("webhook_deliveries_total", "Deliveries that ended", &["event", "status"])?,
            attempt_seconds,
            retries: counters(
                "webhook_retries_total",
                "Attempts that will be retried",
                &["event", "reason"],
            )?,
            http_status: counters("webhook_delivery_http_status", "Answers by status", &["status_code"])?,
            commit_to_delivery: histogram(
                "tailhook_commit_to_delivery_seconds",
                "From commit to a delivered answer",
            )?,
            events: counters("tailhook_events_total", "Events derived or posted", &["event"])?,
            events_unrouted: counter(
                "tailhook_events_unrouted_total",
                "Events that no subscription asked for",
            )?,
            rule_faults: counters(
                "tailhook_rule_faults_total",
                "Matches that gave no event",
                &["rule", "reason"],
            )?,
            pending: gauge("tailhook_pending_deliveries", "Deliveries that are still owed")?,
            endpoints_refusing: gauge("tailhook_endpoints_refusing", "Endpoints whose breaker refuses")?,
            slot_lag_bytes: gauge(
                "tailhook_slot_lag_bytes",
                "WAL received by the server and not yet confirmed",
            )?,
            slot_lag_seconds,
            slot_safe_wal_bytes: gauge(
                "tailhook_slot_safe_wal_bytes",
                "WAL until max_slot_wal_keep_size loses the slot; -1: no limit",
            )?,
            flush_seconds: histogram("tailhook_store_flush_seconds", "fdatasync of the journal")?,
            gaps: counter("tailhook_gap_total", "Gaps found")?,
            index_lag: gauge("tailhook_index_lag_frames", "Journal frames not yet in the index")?,
            registry,
        })
    }
    /// The exposition in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
