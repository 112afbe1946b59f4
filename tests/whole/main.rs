//! The real binary beside a real Postgres, with a real TLS receiver: what a user would see, and what kill -9 leaves.
#![allow(clippy::unwrap_used, reason = "tests")]
mod canary;
#[path = "../canary/mod.rs"]
mod credentials;
mod gaps;
mod harm;
mod logs;
mod refusals;
#[allow(dead_code, reason = "the other half is for tests/torture and tests/storms")]
mod rig;
mod shutdown;
mod signatures;
mod tables;
mod transitions;
