//! The data folder's files, flat: for the journal and what is beside it. A seam: `RealDisk` (file `folder`) is the real one, `tests/sim` has a
//! simulated one. Must not: depend on what a file says.
use async_trait::async_trait;
use std::fmt::Debug;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

mod folder;
pub use folder::RealDisk;

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
    /// The same where a thread may wait. The real disk hops to the blocking pool.
    async fn fetch(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.read(name, offset, len)
    }
    /// Creates an empty file (empties one that is there), durable with its folder entry on return.
    async fn create(&self, name: &str) -> io::Result<()>;
    /// Appends; durable only after `sync`. After an error any prefix may have been written.
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()>;
    /// fdatasync: what was appended before is durable on return.
    async fn sync(&self, name: &str) -> io::Result<()>;
    /// `append`, then `sync`; returns how long the sync took. The real disk does both in one hop to the blocking pool.
    async fn append_durably(&self, name: &str, bytes: Vec<u8>) -> io::Result<Duration> {
        self.append(name, bytes).await?;
        let began = Instant::now();
        self.sync(name).await?;
        Ok(began.elapsed())
    }
    /// Cuts a file to `len` bytes, durable on return.
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()>;
    /// Atomic rename, durable on return; replaces the target.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file, durable on return.
    async fn remove(&self, name: &str) -> io::Result<()>;
    /// Free bytes on the file system.
    fn free_bytes(&self) -> io::Result<u64>;
}
