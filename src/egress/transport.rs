//! The way out. A seam: `proxy::Proxy` is the real one, `tests/sim` has a simulated one.
use super::Request;
use crate::domain::Outcome;
use std::future::Future;

/// Makes one HTTP attempt, whole, under one deadline. Never fails: what went wrong is the outcome.
pub trait Transport: Clone + Send + Sync + 'static {
    /// One attempt.
    fn send(&self, request: Request) -> impl Future<Output = Outcome> + Send;
}
