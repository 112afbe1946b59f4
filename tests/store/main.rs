//! The durable store through its own interface: what it promises, against disks and indices that fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#[path = "../canary/mod.rs"]
#[allow(dead_code, reason = "the other half is for tests/whole")]
mod canary;
mod cuts;
mod damage;
mod disk;
mod durable;
mod format;
mod groups;
mod house;
mod index;
mod lists;
mod newer;
mod power;
mod real;
mod rebuild;
mod recovery;
mod reseal;
mod retention;
mod salvage;
mod stall;
mod syncs;
mod verify;
