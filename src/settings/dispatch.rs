//! When an attempt is made, and how often.
use crate::domain::Ordering;
use std::time::Duration;

/// `[delivery]` (SPEC 3).
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchSettings {
    /// The whole attempt.
    pub timeout: Duration,
    /// Counted attempts after the first.
    pub max_retries: u32,
    /// How long a retry waits.
    pub backoff: BackoffSettings,
    /// A delivery whose event is older is abandoned.
    pub expire_after: Duration,
    /// Per endpoint; beyond it the oldest are abandoned.
    pub max_pending: u64,
    /// Unless the subscription says otherwise.
    pub ordering: Ordering,
    /// Requests in flight, all endpoints.
    pub concurrency: usize,
    /// Limits of one endpoint.
    pub per_endpoint: PerEndpoint,
    /// When an endpoint is left alone.
    pub breaker: BreakerSettings,
}

/// `delivery.backoff`: retry n waits base·factorⁿ⁻¹, at most `max`, plus up to `jitter` of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffSettings {
    /// The first wait.
    pub base: Duration,
    /// Each next one is this much longer.
    pub factor: f64,
    /// The longest wait; `Retry-After` is honoured up to it.
    pub max: Duration,
    /// Share that is added at random, 0 to 1.
    pub jitter: f64,
}

/// `delivery.per_endpoint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerEndpoint {
    /// Requests in flight.
    pub concurrency: usize,
    /// Requests per second; 0: no limit.
    pub rate: u32,
    /// Requests that may come at once within the rate.
    pub burst: u32,
}

/// `delivery.breaker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Consecutive failures that make an endpoint refuse; 0: never.
    pub failures: u32,
    /// How long it refuses before it is probed.
    pub open_for: Duration,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_retries: 3,
            backoff: BackoffSettings {
                base: Duration::from_secs(2),
                factor: 2.0,
                max: Duration::from_secs(3600),
                jitter: 0.1,
            },
            expire_after: Duration::from_secs(72 * 3600),
            max_pending: 1_000_000,
            ordering: Ordering::Resource,
            concurrency: 512,
            per_endpoint: PerEndpoint { concurrency: 16, rate: 0, burst: 100 },
            breaker: BreakerSettings { failures: 4, open_for: Duration::from_secs(30) },
        }
    }
}
