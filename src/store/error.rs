//! What may go wrong in the store, in words that its users act on.
use crate::domain::KeepingError;
use crate::store::index::IndexError;
use crate::store::log::port::LogError;
use crate::store::records::format::FORMAT;
use std::io;

/// What went wrong below. All of them leave the journal as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Disk full, EIO, or less than `store.min_free`: nothing was acknowledged; try again later. Heals by itself.
    #[error("the data folder cannot be written: {0}")]
    Blocked(String),
    /// A bad frame with good ones after it: an operator is needed. Names file and byte.
    #[error("the journal is damaged: {0}; run `tailhook store verify --salvage`")]
    Damaged(String),
    /// A file of the folder says something that only a newer version reads: nothing was changed. An operator is needed.
    #[error("the data folder was written by a newer version ({0}); this one reads up to format {FORMAT}")]
    Newer(String),
    /// The index failed. Unless the disk was at fault, `run` ends with it and the next `open` rebuilds the index.
    #[error("the index is not available: {0}")]
    Index(IndexError),
    /// Another process has gone on with the log: this one's time is over.
    #[error("{0}")]
    Fenced(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The batch is larger than a frame may be. Never worth a second try.
    #[error("a batch of {0} bytes is more than a frame holds")]
    TooLarge(usize),
    /// A file of the data folder cannot be read. Worth a second try.
    #[error("the data folder cannot be read: {0}")]
    Read(String),
}

// by hand: as a source it would be printed twice
impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<StoreError> for KeepingError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Blocked(_) => Self::Refused(text),
            StoreError::Read(_) | StoreError::Index(_) | StoreError::TooLarge(_) => Self::Failed(text),
            StoreError::Fenced(_) => Self::Fenced(text),
            StoreError::Closed => Self::Gone,
            StoreError::Damaged(_) | StoreError::Newer(_) => Self::Unusable(text),
        }
    }
}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Refused(why) | LogError::Unclear(why) => Self::Blocked(why),
            LogError::Fenced { .. } => Self::Fenced(error.to_string()),
            LogError::Trimmed { .. } => Self::Damaged(error.to_string()),
            LogError::Damaged(what) => Self::Damaged(what),
            LogError::Newer(what) => Self::Newer(what),
            LogError::Unreadable(why) => Self::Read(why),
            LogError::TooLarge(bytes) => Self::TooLarge(bytes),
        }
    }
}

pub(in crate::store) fn blocked(error: &io::Error) -> StoreError {
    StoreError::Blocked(error.to_string())
}
pub(in crate::store) fn unreadable(error: &io::Error) -> StoreError {
    StoreError::Read(error.to_string())
}
