//! Purpose: what is owed, by lane: what is in memory and what is to be read. Must not: depend on endpoints' turns, or import the
//! scheduler.
pub(in crate::dispatch) mod items;
pub mod lane;
pub(in crate::dispatch) mod lanes;
pub(in crate::dispatch) mod order;
pub(in crate::dispatch) mod owed;
pub(in crate::dispatch) mod progress;
pub mod refill;
pub(in crate::dispatch) mod waits;
