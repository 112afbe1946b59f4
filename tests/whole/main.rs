//! The real binary beside a real Postgres, with a real TLS receiver: what a user would see, and what kill -9 leaves.
#![allow(clippy::unwrap_used, reason = "tests")]
mod gaps;
mod refusals;
mod rig;
mod shutdown;
mod signatures;
mod transitions;
