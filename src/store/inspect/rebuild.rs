//! Purpose: makes the index anew by hand, from the newest checkpoint and the journal, and tells how far it has come.
//! Must not: print, or choose what to rebuild from: `opening` does that, as at every start.
//!
//! It leaves the mark that a failed index leaves and opens the store. So a rebuild that is stopped half-way is begun again by the
//! next start.
use crate::clock::SharedClock;
use crate::disk::Disk;
use crate::settings::StoreSettings;
use crate::store::engine::catch_up::REBUILD;
use crate::store::error::{StoreError, blocked};
use crate::store::handles::store::Store;
use crate::store::index::IndexFactory;
use crate::store::recovery::survey::survey;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Called with the bytes of the journal that were read, and with all there are. Must be quick.
pub type Tell = Box<dyn Fn(u64, u64) + Send + Sync>;

/// What was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Frames of the journal that were replayed.
    pub frames: u64,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Deliveries that are owed.
    pub pending: u64,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
}

/// Rebuilds the index of a folder that nobody else has open. `None`: there is no journal to rebuild it from.
pub async fn rebuild(
    disk: Arc<dyn Disk>,
    index: IndexFactory,
    clock: SharedClock,
    tell: Tell,
) -> Result<Option<Rebuilt>, StoreError> {
    let files = survey(disk.as_ref()).await?;
    if files.segments.is_empty() {
        return Ok(None);
    }
    let journal_bytes = files.segments.values().sum();
    disk.create(REBUILD).await.map_err(|error| blocked(&error))?;
    let journal = files.segments.keys().map(|first| (crate::store::log::segment::name(*first), 0)).collect();
    let read = Mutex::new((0, journal));
    let told = Arc::new(CountingDisk { disk: disk.clone(), read, all: journal_bytes, tell });
    let (store, _) = Store::open(StoreSettings::default(), told.clone(), index, clock).await?;
    told.again();
    store.finish_rebuild().await?;
    let applied = store.core.read().applied;
    let index_bytes = store.core.index.size();
    Ok(Some(Rebuilt { frames: applied.frame, journal_bytes, pending: applied.pending, index_bytes }))
}

/// A disk that counts what is read of the journal.
struct CountingDisk {
    disk: Arc<dyn Disk>,
    /// What was read the first time, and how far each segment was read since.
    read: Mutex<(u64, BTreeMap<String, u64>)>,
    all: u64,
    tell: Tell,
}

impl CountingDisk {
    /// The journal is read twice: once to see that all of it can be, and once for the deliveries.
    fn again(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.0 = self.all;
        read.1.values_mut().for_each(|to| *to = 0);
    }
}

impl fmt::Debug for CountingDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountingDisk").field("disk", &self.disk).finish_non_exhaustive()
    }
}

#[async_trait]
impl Disk for CountingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.disk.read(name, offset, len)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = read.1.get_mut(name) {
            *to = (offset + len as u64).max(*to);
            let both = read.0 + read.1.values().sum::<u64>();
            (self.tell)(both / 2, self.all);
        }
        Ok(bytes)
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        self.disk.create(name).await
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.disk.append(name, bytes).await
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name).await
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.disk.truncate(name, len).await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to).await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name).await
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}
