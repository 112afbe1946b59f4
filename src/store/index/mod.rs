//! Ordered bytes, rebuildable from the journal: never the only copy, never on the path of an ack. A seam.
//!
//! A generation is atomic: what a crash leaves of an index is some first generations, each of them whole. So an index holds exactly what
//! the frames say up to the one that it names, and replay is nothing but applying the frames after that. Only one that
//! says that its rebuild has not ended holds anything else.
pub mod engine;
pub(in crate::store) mod keys;
pub mod lsm;
pub mod memory;
pub(in crate::store) mod overlay;
pub mod sled;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Why the index did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The disk's answer: once it is well the index goes on, and has lost nothing.
    #[error("{0}")]
    Disk(String),
    /// Anything else: it must be rebuilt.
    #[error("{0}")]
    Broken(String),
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One write: key and value, `None` deletes.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// Writes that become durable together; a key stands in it once.
pub type Generation<'a> = &'a mut dyn Iterator<Item = Write>;

/// How the store wants its index when it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// As it was left.
    Keep,
    /// Empty: what was there is moved aside (or thrown away). No handle to it is held any more.
    MoveAside,
}

/// Opens an index. Called with `Keep` first; with `MoveAside` when that failed or did not fit the journal.
pub type IndexFactory = Box<dyn Fn(Reset) -> Result<Arc<dyn Index>, IndexError> + Send + Sync>;

/// An ordered map of bytes.
pub trait Index: Send + Sync + Debug + 'static {
    /// Point read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// Up to `limit` pairs of `[from, to)`, ascending.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError>;
    /// Up to `limit` pairs of `[from, to)`, descending.
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError>;
    /// Takes a generation: readable while it is taken, not durable. After a crash the last ones may be missing, never a part of one. One
    /// call at a time. After an error nothing more is taken, nor made durable.
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError>;
    /// Makes the generations that were taken durable, if there is enough of them to be worth a write, or `now`. False: it was not worth it.
    /// What a failed one had is not lost: it is called again. May be called beside `take`: it leaves out what is being taken.
    fn flush(&self, now: bool) -> Result<bool, IndexError>;
    /// Tidies what lies on disk, a step of it, beside reads and writes. False: it is tidy.
    fn compact(&self) -> Result<bool, IndexError> {
        Ok(false)
    }
    /// Bytes on disk.
    fn size(&self) -> u64;
    /// True: calls may wait for a disk, so the store makes long ones on the blocking pool. A simulated index says no and
    /// everything stays on one thread.
    fn blocks(&self) -> bool {
        false
    }
    /// How late the answer to the next call of an index that does not block is, on the simulated clock. A real one takes its time.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}
