//! A disk in memory that keeps what was synced, and fails when told to.
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tailhook::disk::Disk;

#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    durable: usize,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    files: BTreeMap<String, File>,
    faults: Faults,
}

/// What goes wrong, while it is set.
#[allow(clippy::struct_excessive_bools, reason = "faults are independent of each other")]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Appends write this many bytes, then fail.
    pub(crate) append: Option<usize>,
    /// Syncs fail.
    pub(crate) sync: bool,
    /// Syncs do not return.
    pub(crate) hang: bool,
    /// Truncates fail.
    pub(crate) truncate: bool,
    /// Creates fail, after having made the file.
    pub(crate) create: bool,
    /// No space.
    pub(crate) full: bool,
}

/// Clones share the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<Inner>>);

fn eio() -> io::Error {
    io::Error::other("EIO")
}

impl CrashDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
    fn file<T>(&self, name: &str, call: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        self.lock().files.get_mut(name).map(call).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    pub(crate) fn faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }
    /// What a power cut leaves: what was synced, and `kept` bytes of what was not.
    pub(crate) fn crash(&self, kept: usize) -> Self {
        let mut inner = self.lock().clone();
        inner.faults = Faults::default();
        for file in inner.files.values_mut() {
            file.bytes.truncate(file.durable.saturating_add(kept));
            file.durable = file.bytes.len();
        }
        Self(Arc::new(Mutex::new(inner)))
    }
    /// An independent copy, caches included.
    pub(crate) fn fork(&self) -> Self {
        self.crash(usize::MAX)
    }
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        self.file(name, |file| {
            edit(&mut file.bytes);
            file.durable = file.bytes.len();
        })
        .unwrap();
    }
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let durable = bytes.len();
        self.lock().files.insert(name.to_owned(), File { bytes, durable });
    }
    pub(crate) fn delete(&self, name: &str) {
        self.lock().files.remove(name).unwrap();
    }
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.lock().files.keys().filter(|n| n.starts_with(prefix)).cloned().collect()
    }
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.file(name, |f| f.bytes.clone()).unwrap()
    }
}

#[async_trait]
impl Disk for CrashDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.file(name, |f| f.bytes.len() as u64)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let offset = offset as usize;
        self.file(name, |f| f.bytes.get(offset..offset.checked_add(len)?).map(<[u8]>::to_vec))?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.files.insert(name.to_owned(), File::default());
        if inner.faults.create { Err(eio()) } else { Ok(()) }
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let written = self.lock().faults.append;
        tokio::task::yield_now().await;
        let part = bytes.len().min(written.unwrap_or(usize::MAX));
        self.file(name, |f| f.bytes.extend_from_slice(&bytes[..part]))?;
        if written.is_some() { Err(eio()) } else { Ok(()) }
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        tokio::task::yield_now().await;
        while self.lock().faults.hang {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let faults = self.lock().faults;
        if faults.sync {
            return Err(eio());
        }
        self.file(name, |f| f.durable = f.bytes.len())
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        if self.lock().faults.truncate {
            return Err(eio());
        }
        self.file(name, |f| {
            f.bytes.truncate(len as usize);
            f.durable = f.bytes.len();
        })
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let file = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), file);
        Ok(())
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if self.lock().faults.full { 0 } else { u64::MAX })
    }
}
