//! Postgres in: the slot's stream becomes transactions, transactions become durable events. Knows no HTTP.
pub mod feedback;
pub mod pgoutput;
pub mod relation;
pub mod slot;
pub mod source;
pub mod transaction;
pub mod value;

pub use source::{Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
