//! Postgres in: the slot's stream becomes transactions, transactions become durable events. Knows no HTTP.
pub mod batch;
pub mod feedback;
pub mod memory;
pub mod pgoutput;
pub mod relation;
pub mod run;
pub mod slot;
pub mod source;
mod stream;
pub mod transaction;
pub mod value;

pub use batch::Rules;
pub use run::{CaptureError, Parts, Status, run};
pub use source::{Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
