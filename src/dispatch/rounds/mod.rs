//! Purpose: whose turn it is: endpoints, breakers, limits. Must not: read the store.
pub mod breaker;
pub(in crate::dispatch) mod endpoint;
pub mod limit;
pub mod pick;
pub mod roster;
