//! Purpose: Postgres in: the slot's stream becomes transactions, transactions become durable events. Must not: depend on HTTP.
//!
//! `replication` is the real `Source`: `connection` (`wire`, `pace`) → frames; `failure` says what went
//! wrong, `publications` which ones the stream names. Frames become transactions in `transaction` (`pgoutput`, `relation`, `value`). `slot`
//! judges whether we may stream, `run` supervises, `session` is one stream; `batch` turns transactions into frames for the journal, with
//! what `memory` knows of the shadow.
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
pub use follow::run::{CaptureParts, run};
pub use follow::slot::{Gap, IdentityTemplate, Verdict, judge};
pub use follow::status::{CaptureError, CaptureStatus};
pub use follow::tables::TableGap;
pub use source::{
    BoxFuture, CatalogLook, Feedback, FillRow, FillRows, Frame, Refill, SlotState, Source, SourceError,
    Survey, TableStanding,
};
pub use wire::lookups::Lookups;
pub use wire::replication::{PostgresSource, Settings};
