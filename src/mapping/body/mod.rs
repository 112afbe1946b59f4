//! Purpose: the event that goes out: its envelope and its id. Must not: judge.
pub(in crate::mapping) mod emit;
pub(in crate::mapping) mod envelope;
pub(in crate::mapping) mod payload;
