//! Postgres in: the slot's stream becomes transactions, transactions become durable events. Knows no HTTP.
//!
//! `replication` is the real `Source`: `address` → `connection` (`wire`, `pace`) → frames; `failure` says what went
//! wrong. Frames become transactions in `transaction` (`pgoutput`, `relation`, `value`). `slot` judges whether we may
//! stream, `feedback` what may be confirmed.
pub mod address;
pub mod connection;
mod failure;
pub mod feedback;
mod pace;
pub mod pgoutput;
pub mod relation;
pub mod replication;
pub mod slot;
pub mod source;
pub mod transaction;
pub mod value;
mod wire;

pub use feedback::Progress;
pub use replication::{BoxFuture, FillRows, Lookups, PostgresSource, Settings};
pub use slot::{Gap, Memory, Verdict, judge};
pub use source::{Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
pub use transaction::{Assembler, Step};
