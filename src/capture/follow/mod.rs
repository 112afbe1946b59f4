//! Purpose: the loop: judge the slot, fill, stream, make durable, confirm. Must not: speak the protocol.
//!
//! `run` supervises: connect, judge (`slot`), pause. `session` is one connection from its start to its end and owns what that has:
//! `feedback` (how far it is), `memory` (where the shadow lies), `waiting` (decoded), and the batch in flight (`batch`, `publish`).
pub mod batch;
pub mod feedback;
pub(in crate::capture) mod fill;
pub mod memory;
pub(in crate::capture) mod publish;
pub(in crate::capture) mod refill;
pub mod run;
pub(in crate::capture) mod session;
pub mod slot;
pub mod status;
pub mod tables;
pub(in crate::capture) mod waiting;
pub(in crate::capture) mod watch;
