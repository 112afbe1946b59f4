//! Purpose: whose turn it is: endpoints, breakers, limits. Must not: read the store, or import the scheduler.
pub mod breaker;
pub(in crate::dispatch) mod endpoint;
pub mod limit;
pub(in crate::dispatch) mod pick;
pub(in crate::dispatch) mod standing;
