//! The wall clock: the only place that reads it. Durations are measured with `tokio::time::Instant`, which tests can pause.
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync + Debug {
    /// Unix microseconds.
    fn now_us(&self) -> i64;
    /// Unix milliseconds.
    fn now_ms(&self) -> i64 {
        self.now_us() / 1000
    }
}

/// A clock that can be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    fn now_us(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
    }
}
