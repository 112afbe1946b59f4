//! Purpose: why something cannot be kept or read, in the words that its users act on. Must not: name what keeps it.

/// What the store's handles answer with. What lies below is in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepingError {
    /// Nothing of it was kept. It will be possible later: wait until the store is writable.
    #[error("{0}")]
    Refused(String),
    /// It could not be kept or read. Worth a second try, after a pause.
    #[error("{0}")]
    Failed(String),
    /// It is another owner's from now on. For this one it never works again.
    #[error("{0}")]
    Fenced(String),
    /// Nothing is kept any more: the process ends.
    #[error("the store is closed")]
    Gone,
    /// An operator is needed. A second try does not help.
    #[error("{0}")]
    Unusable(String),
}
