//! Purpose: what dispatch is given. Must not: do anything with it.
use crate::clock::SharedClock;
use crate::dispatch::status::DispatchStatus;
use crate::domain::EventName;
use crate::registry::seal::Sealer;
use crate::settings::DispatchSettings;
use crate::store::Outbox;
use crate::telemetry::Metrics;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// What dispatch works with.
pub struct DispatchParts<T, J> {
    /// Deliveries and their bodies.
    pub outbox: Outbox,
    /// The way out.
    pub transport: T,
    /// Opens secrets.
    pub sealer: Sealer,
    /// Wall time.
    pub clock: SharedClock,
    /// `[delivery]`.
    pub settings: DispatchSettings,
    /// Counters.
    pub metrics: Metrics,
    /// Event names of the mapping; all others are labelled `other`.
    pub names: watch::Receiver<Arc<BTreeSet<EventName>>>,
    /// Written here, read by health and metrics.
    pub status: DispatchStatus,
    /// Random numbers in [0, 1).
    pub jitter: J,
}
