//! Capture against real Postgres clusters, which the tests start themselves.
#![allow(missing_docs, unreachable_pub, reason = "tests")]
mod cluster;
mod follower;
mod login;
mod slots;
mod stream;
mod values;
