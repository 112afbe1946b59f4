//! Where the durations of the journal's fdatasync go. Must not depend on metrics.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where the durations of fdatasync go: a metric, or nowhere.
#[derive(Clone, Default)]
pub struct FlushObserver(Option<Arc<dyn Fn(Duration) + Send + Sync>>);

impl FlushObserver {
    /// Called by the committer: must be quick.
    pub fn new(observe: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }
    pub(in crate::store) fn observe(&self, took: Duration) {
        if let Some(observe) = &self.0 {
            observe(took);
        }
    }
}
impl fmt::Debug for FlushObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlushObserver({})", self.0.is_some())
    }
}
