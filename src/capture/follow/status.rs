//! Purpose: what others may see of capture: whether it streams, and why it ended. Must not: decide either.
use crate::capture::follow::tables::TableGap;
use crate::capture::source::SourceError;
use crate::domain::KeepingError;

/// Why capture ended for good.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Nothing can be streamed before an operator mends this.
    #[error("{0}")]
    Operator(String),
    /// The journal is damaged or closed.
    #[error(transparent)]
    Store(KeepingError),
}

/// What capture does now; for `/readyz`, metrics and the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureStatus {
    /// The stream is open.
    pub streaming: bool,
    /// A gap that nobody has accepted.
    pub gap: Option<String>,
    /// Why it is not streaming.
    pub problem: Option<String>,
    /// Tables whose changes have no events (SPEC 5.7).
    pub table_gaps: Vec<TableGap>,
    /// Why they cannot be filled anew yet, with what mends it.
    pub unmended: Option<String>,
}

/// What ends a session early.
#[derive(Debug)]
pub(in crate::capture) enum SessionError {
    /// The server's side.
    Source(SourceError),
    /// Our side.
    Store(KeepingError),
}
impl From<SourceError> for SessionError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}
impl From<KeepingError> for SessionError {
    fn from(error: KeepingError) -> Self {
        Self::Store(error)
    }
}

/// Why a session ended without an error.
#[derive(Debug)]
pub(in crate::capture) enum SessionEnded {
    /// Asked to.
    Shutdown,
    /// The data folder cannot be written.
    Blocked(String),
}
