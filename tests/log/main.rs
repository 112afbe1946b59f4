//! Logs through their seam (`store::log::port`): what each promises is in `suite`, and here is what it is held against. Must not: depend on
//! what the store makes of frames.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#[path = "../store/disk.rs"]
#[allow(dead_code, reason = "the other half is for tests/store")]
mod disk;
mod planted;
mod segments;
#[path = "../sim/stream.rs"]
#[allow(dead_code, reason = "appends are late only in tests/sim")]
mod stream;
mod streams;
mod suite;
