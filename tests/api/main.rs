//! The admin API as it is: a real Postgres, a real slot, a real store; only dispatch is left out.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]
#[path = "../postgres/cluster.rs"]
#[allow(dead_code, reason = "shared")]
mod cluster;
mod deliveries;
mod isolation;
mod manners;
mod stream;
mod subscriptions;
mod world;
