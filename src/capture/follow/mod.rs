//! Purpose: the loop: judge the slot, fill, stream, make durable, confirm. Must not: speak the protocol.
pub mod batch;
pub mod feedback;
pub(in crate::capture) mod fill;
pub mod memory;
pub mod run;
pub mod slot;
pub(in crate::capture) mod stream;
