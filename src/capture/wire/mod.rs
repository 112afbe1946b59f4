//! Purpose: bytes to and from Postgres: the replication connection and its failures. Must not: depend on rules or the store.
pub mod connection;
pub(in crate::capture) mod failure;
pub(in crate::capture) mod frames;
pub mod lookups;
pub(in crate::capture) mod pace;
pub(in crate::capture) mod publications;
pub mod replication;
