//! Ordinary SQL against real Postgres clusters, which the tests start themselves.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]
mod catalog;
mod checks;
#[path = "../postgres/cluster.rs"]
#[allow(dead_code, reason = "shared")]
mod cluster;
mod harm;
mod migrate;
mod snapshot;
mod subscriptions;
