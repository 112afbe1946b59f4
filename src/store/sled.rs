//! The index on sled 0.34.7: the only file that knows sled. See ARCHITECTURE.md for what it must not be trusted with.
//!
//! It may lose everything at a power cut without an error, it panics on some damaged files, and it gives no space back:
//! the store checks what it finds, rebuilds, and never asks it for durability.
use super::index::{Index, IndexError, IndexFactory, Pair, Reset, Write};
use crate::fault;
use std::any::Any;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CACHE_BYTES: u64 = 16 << 20;

/// An index in a folder of its own.
#[derive(Debug)]
pub struct SledIndex {
    db: sled::Db,
}

impl SledIndex {
    /// Opens or makes it.
    pub fn open(folder: &Path) -> Result<Self, IndexError> {
        guarded(|| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(sled::Error::Io)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(sled::Error::Io)?;
            let db = sled::Config::new()
                .path(folder)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .mode(sled::Mode::HighThroughput)
                .open()?;
            Ok(Self { db })
        })
    }
    /// For `Store::open`. What is moved aside stands beside it as `<folder>.bad`, one generation of it.
    pub fn factory(folder: PathBuf) -> IndexFactory {
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                move_aside(&folder).map_err(|e| IndexError(format!("cannot be moved aside: {e}")))?;
            }
            Ok(Arc::new(Self::open(&folder)?))
        })
    }
}

fn move_aside(folder: &Path) -> std::io::Result<()> {
    if !folder.try_exists()? {
        return Ok(());
    }
    let mut aside = folder.as_os_str().to_owned();
    aside.push(".bad");
    let aside = PathBuf::from(aside);
    if aside.try_exists()? {
        fs::remove_dir_all(&aside)?;
    }
    fault::crash_point("rebuild.before-aside");
    fs::rename(folder, &aside)
}

/// sled panics on some damaged files; to us that is an index that must be rebuilt.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(IndexError(error.to_string())),
        Err(panic) => Err(IndexError(panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

fn pair(found: sled::Result<(sled::IVec, sled::IVec)>) -> sled::Result<Pair> {
    found.map(|(key, value)| (key.to_vec(), value.to_vec()))
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        guarded(|| Ok(self.db.get(key)?.map(|value| value.to_vec())))
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        guarded(|| self.db.range(from..to).take(limit).map(pair).collect())
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        guarded(|| self.db.range(from..to).rev().take(limit).map(pair).collect())
    }
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        guarded(|| self.db.apply_batch(batch))
    }
    fn flush(&self) -> Result<(), IndexError> {
        guarded(|| self.db.flush().map(drop))
    }
    fn size(&self) -> u64 {
        guarded(|| self.db.size_on_disk()).unwrap_or(0)
    }
    fn blocks(&self) -> bool {
        true
    }
}
