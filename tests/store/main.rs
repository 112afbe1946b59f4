//! The durable store through its own interface: what it promises, against disks and indices that fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod cuts;
mod damage;
mod disk;
mod durable;
mod house;
mod index;
mod lists;
mod power;
mod real;
mod rebuild;
mod recovery;
mod retention;
mod salvage;
mod verify;
