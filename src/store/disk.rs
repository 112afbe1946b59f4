//! The data folder's files. A seam: `RealDisk` here, a simulated one in `tests/sim`. Knows no frames.
use async_trait::async_trait;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// A flat folder of files. Names are plain (no separators).
///
/// `append` and `sync` are asynchronous so that the simulation can crash between and inside them.
#[async_trait]
pub trait Disk: Send + Sync + Debug + 'static {
    /// Names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Length of a file in bytes.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Exactly `len` bytes from `offset`; `UnexpectedEof` if the file is shorter.
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Creates an empty file, durable with its folder entry on return.
    async fn create(&self, name: &str) -> io::Result<()>;
    /// Appends; durable only after `sync`.
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()>;
    /// fdatasync: what was appended before is durable on return.
    async fn sync(&self, name: &str) -> io::Result<()>;
    /// Cuts a file to `len` bytes, durable on return.
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()>;
    /// Atomic rename, durable on return; replaces the target.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file, durable on return.
    async fn remove(&self, name: &str) -> io::Result<()>;
    /// Free bytes on the file system.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// The real folder.
#[derive(Debug)]
pub struct RealDisk {
    #[allow(dead_code)]
    folder: PathBuf,
}

impl RealDisk {
    /// Opens (makes, mode 0700) and locks the folder; a second process is refused.
    pub fn open(_folder: &Path) -> io::Result<Self> {
        unimplemented!()
    }
}
