//! Postgres in: the slot's stream becomes transactions, transactions become durable events. Knows no HTTP.
pub mod source;

pub use source::{Feedback, FillRow, Frame, SlotState, Source, SourceError, Survey};
