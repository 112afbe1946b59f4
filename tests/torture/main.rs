//! The real binary beside a real Postgres and four receivers, ended where it hurts: every promise about what was committed
//! must hold afterwards. `make torture` does more of it.
#![allow(clippy::unwrap_used, reason = "tests")]
mod kills;
mod points;
#[allow(dead_code, reason = "the other half is tests/whole's")]
#[path = "../whole/rig.rs"]
mod rig;
mod world;
