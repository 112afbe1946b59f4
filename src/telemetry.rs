//! Metrics (SPEC 8) under exactly the old module's names, and log set-up. Knows no stage.
use prometheus::core::Collector;
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
    /// `tailhook_table_gaps`
    pub table_gaps: IntGauge,
    /// `tailhook_gap_total`
    pub gaps: IntCounter,
    /// `tailhook_index_lag_frames`
    pub index_lag: IntGauge,
}

/// Bounds of all histograms, in seconds.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0,
];

impl Metrics {
    /// Makes and registers them.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let made = Maker { registry: &registry };
        let build_info =
            made.keep(IntGaugeVec::new(Opts::new("tailhook_build_info", "Always 1"), &["version"]))?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let slot_safe_wal_bytes = made.gauge(
            "tailhook_slot_safe_wal_bytes",
            "WAL until max_slot_wal_keep_size loses the slot; -1: no limit, or not known yet",
        )?;
        // 0 would be an alarm
        slot_safe_wal_bytes.set(-1);
        Ok(Self {
            deliveries: made.counters(
                "webhook_deliveries_total",
                "Deliveries that ended",
                &["event", "status"],
            )?,
            attempt_seconds: made.keep(HistogramVec::new(
                HistogramOpts::new("webhook_delivery_duration_seconds", "Duration of one attempt")
                    .buckets(SECONDS.to_vec()),
                &["event"],
            ))?,
            retries: made.counters(
                "webhook_retries_total",
                "Attempts that will be retried",
                &["event", "reason"],
            )?,
            http_status: made.counters(
                "webhook_delivery_http_status",
                "Answers by status",
                &["status_code"],
            )?,
            commit_to_delivery: made
                .histogram("tailhook_commit_to_delivery_seconds", "From commit to a delivered answer")?,
            events: made.counters("tailhook_events_total", "Events derived or posted", &["event"])?,
            events_unrouted: made.keep(IntCounter::new(
                "tailhook_events_unrouted_total",
                "Events that no subscription asked for",
            ))?,
            rule_faults: made.counters(
                "tailhook_rule_faults_total",
                "Matches that gave no event",
                &["rule", "reason"],
            )?,
            pending: made.gauge("tailhook_pending_deliveries", "Deliveries that are still owed")?,
            endpoints_refusing: made
                .gauge("tailhook_endpoints_refusing", "Endpoints whose breaker refuses")?,
            slot_lag_bytes: made
                .gauge("tailhook_slot_lag_bytes", "WAL written by the server and not yet confirmed")?,
            slot_lag_seconds: made.keep(Gauge::new(
                "tailhook_slot_lag_seconds",
                "Age of the oldest commit when it became durable here",
            ))?,
            slot_safe_wal_bytes,
            flush_seconds: made.histogram("tailhook_store_flush_seconds", "fdatasync of the journal")?,
            table_gaps: made.gauge("tailhook_table_gaps", "Tables whose changes have no events now")?,
            gaps: made.keep(IntCounter::new("tailhook_gap_total", "Gaps found"))?,
            index_lag: made.gauge("tailhook_index_lag_frames", "Journal frames not yet in the index")?,
            registry,
        })
    }
    /// The exposition in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Makes metrics and registers them.
struct Maker<'r> {
    registry: &'r Registry,
}

impl Maker<'_> {
    fn keep<M: Collector + Clone + 'static>(
        &self,
        made: Result<M, prometheus::Error>,
    ) -> Result<M, prometheus::Error> {
        let metric = made?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name, help))
    }
    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())))
    }
}
