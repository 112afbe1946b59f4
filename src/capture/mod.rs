//! Postgres in: the slot's stream becomes transactions, transactions become durable events. Knows no HTTP.
//!
//! `replication` is the real `Source`: `address` → `connection` (`wire`, `pace`) → frames; `failure` says what went
//! wrong, `publications` which ones the stream names. Frames become transactions in `transaction` (`pgoutput`, `relation`, `value`). `slot` judges whether we may
//! stream, `feedback` what may be confirmed. `run` is the loop, `stream` its streaming part; `batch` turns transactions
//! into frames for the journal, with what `memory` knows of the shadow.
pub mod address;
pub mod batch;
pub mod connection;
mod failure;
pub mod feedback;
mod fill;
#[doc(hidden)]
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod memory;
mod pace;
pub mod pgoutput;
mod publications;
pub mod relation;
pub mod replication;
pub mod run;
pub mod slot;
pub mod source;
mod stream;
pub mod transaction;
pub mod value;
mod wire;

pub use batch::Rules;
pub use feedback::Progress;
pub use replication::{BoxFuture, FillRows, Lookups, PostgresSource, Settings};
pub use run::{CaptureError, Parts, Status, run};
pub use slot::{Gap, Verdict, judge};
pub use source::{Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
pub use transaction::{Assembler, Step};
