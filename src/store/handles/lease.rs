//! Purpose: until when deliveries are somebody's to attempt. Must not: renew itself, or depend on who decides.
//!
//! That an owner whose time is over makes nothing durable is the log's doing (`Fenced`). That it starts nothing before it hears of that
//! is this one's: the next owner begins later than the lease ends.
use tokio::sync::watch;
use tokio::time::Instant;

/// A time that is prolonged now and then; clones share it.
#[derive(Debug, Clone)]
pub struct OwnerLease(Option<watch::Receiver<Instant>>);

impl OwnerLease {
    /// One machine's: nobody else is there.
    pub fn forever() -> Self {
        Self(None)
    }
    /// Until the instant that was sent last, by the monotonic clock.
    pub fn until(end: watch::Receiver<Instant>) -> Self {
        Self(Some(end))
    }
    /// May an attempt begin?
    pub fn holds(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|end| now < *end.borrow())
    }
    /// Resolves when it is prolonged. Cancel-safe.
    pub async fn prolonged(&mut self) {
        let never = match &mut self.0 {
            Some(end) => end.changed().await.is_err(),
            None => true,
        };
        if never {
            std::future::pending::<()>().await;
        }
    }
}
