//! Purpose: announces a durable batch: the refused rows to the API, the figures to the metrics, the faults to the log.
//! Must not: announce what is not durable.
use crate::capture::follow::batch::Prepared;
use crate::capture::follow::feedback::Progress;
use crate::clock::SharedClock;
use crate::registry::RefusedRows;
use crate::telemetry::Metrics;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::warn;

#[derive(Debug)]
pub(in crate::capture) struct Publisher {
    refused: watch::Sender<Arc<RefusedRows>>,
    clock: SharedClock,
    metrics: Metrics,
}

impl Publisher {
    pub(in crate::capture) fn new(
        refused: watch::Sender<Arc<RefusedRows>>,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Self {
        Self { refused, clock, metrics }
    }

    /// Rows of the table that are not routed, as of the last durable batch.
    pub(in crate::capture) fn refused(&self) -> Arc<RefusedRows> {
        self.refused.borrow().clone()
    }

    /// A first snapshot is complete: what was refused before is another history's.
    pub(in crate::capture) fn begin(&self) {
        self.refused.send_replace(Arc::default());
    }

    /// A batch is durable.
    pub(in crate::capture) fn durable(&self, prepared: Prepared) {
        let Prepared { refused, oldest_us, events, faults, .. } = prepared;
        if let Some(refused) = refused {
            self.refused.send_replace(Arc::new(refused));
        }
        if oldest_us > 0 {
            let lag_us = (self.clock.now_us() - oldest_us).max(0);
            self.metrics.slot_lag_seconds.set(lag_us as f64 / 1e6);
        }
        for (name, asked) in events {
            self.metrics.events.with_label_values(&[&*name]).inc();
            if !asked {
                self.metrics.events_unrouted.inc();
            }
        }
        for fault in faults {
            self.metrics.rule_faults.with_label_values(&[&*fault.rule, fault.reason]).inc();
            warn!("rule {} gave no event ({}): {}", fault.rule, fault.reason, fault.detail);
        }
    }

    /// How far the journal is behind the server; `idle`: by nothing that it should hold.
    pub(in crate::capture) fn lag(&self, progress: &Progress, idle: bool) {
        self.metrics.slot_lag_bytes.set(progress.lag_bytes() as i64);
        if idle {
            self.metrics.slot_lag_seconds.set(0.0);
        }
    }

    /// The wall clock, Unix microseconds.
    pub(in crate::capture) fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// A gap was met that nobody has accepted.
    pub(in crate::capture) fn gap(&self) {
        self.metrics.gaps.inc();
    }
}
