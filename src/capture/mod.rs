//! Postgres in: the slot's stream becomes transactions, transactions become durable events. Knows no HTTP.
//!
//! `replication` is the real `Source`: `address` → `connection` (`wire`, `pace`) → frames; `failure` says what went
//! wrong, `publications` which ones the stream names. Frames become transactions in `transaction` (`pgoutput`, `relation`, `value`). `slot` judges whether we may
//! stream, `feedback` what may be confirmed. `run` is the loop, `stream` its streaming part; `batch` turns transactions
//! into frames for the journal, with what `memory` knows of the shadow.
#[doc(hidden)]
pub mod decode;
pub mod follow;
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod source;
pub mod wire;

pub use decode::transaction::{Assembler, Step};
pub use follow::batch::CaptureRules;
pub use follow::feedback::Progress;
pub use follow::run::{CaptureError, CaptureParts, CaptureStatus, run};
pub use follow::slot::{Gap, Verdict, judge};
pub use source::{Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
pub use wire::replication::{BoxFuture, FillRows, Lookups, PostgresSource, Settings};
