//! Purpose: the store's faces, one for each role, with domain types: capture's checkpoint, dispatch's outbox, the history of deliveries,
//! the answers to idempotency keys. Must not: show a path, an engine or a frame.
pub mod answers;
pub mod checkpoint;
pub mod history;
pub mod lease;
pub mod outbox;
pub mod store;
