//! Purpose: what is owed, by lane: what is in memory and what is to be read. Must not: depend on endpoints.
pub mod lane;
pub mod refill;
