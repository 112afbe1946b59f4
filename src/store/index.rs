//! Ordered bytes, rebuildable from the journal: never the only copy, never on the path of an ack. A seam.
use std::fmt::Debug;

/// Why the index did not answer. It is rebuilt, not mended.
#[derive(Debug, thiserror::Error)]
#[error("index: {0}")]
pub struct IndexError(pub String);

/// One write: key and value, `None` deletes.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// An ordered map of bytes.
pub trait Index: Send + Sync + Debug + 'static {
    /// Point read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Up to `limit` pairs of `[from, to)`, ascending.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, IndexError>;
    /// Up to `limit` pairs of `[from, to)`, descending.
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, IndexError>;
    /// Applies at most 100 writes atomically (not durable).
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError>;
    /// As durable as the engine can; the journal does not rely on it.
    fn flush(&self) -> Result<(), IndexError>;
    /// Bytes on disk.
    fn size(&self) -> u64;
}
