//! Seeded simulation of the whole pipeline: the real capture, store and dispatch loops on simulated Postgres, disk,
//! network and clock. One `u64` decides everything. `SEEDS=n` runs n seeds, `SEED=n` replays one, loudly.
#![allow(clippy::unwrap_used, reason = "this is a test")]
mod check;
mod disk;
mod encode;
mod erp;
mod net;
mod oracle;
mod postgres;
mod rng;
mod rules;
mod schema;
mod source;
mod world;

#[cfg(any())]
mod life;
mod wiring;
mod witness;
