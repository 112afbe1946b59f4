//! The index on sled 0.34.7: the only file that knows sled. See ARCHITECTURE.md for what it must not be trusted with.
//!
//! It may lose everything at a power cut without an error, it panics on some damaged files, it gives no space back, and after
//! one failed write it refuses all others until it is opened anew: the store checks what it finds, reopens, rebuilds, and
//! never asks it for durability.
use super::index::{Index, IndexError, IndexFactory, Pair, Reset, Write};
use crate::fault;
use std::any::Any;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

const CACHE_BYTES: u64 = 16 << 20;

/// An index in a folder of its own.
#[derive(Debug)]
pub struct SledIndex {
    folder: PathBuf,
    /// `None`: it could not be opened anew.
    db: RwLock<Option<sled::Db>>,
    /// A write has failed, so those before it may be missing: no other is taken until `mend`.
    refuses: AtomicBool,
    failed_by_disk: AtomicBool,
}

impl SledIndex {
    /// Opens or makes it.
    pub fn open(folder: &Path) -> Result<Self, IndexError> {
        let db = Self::db(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            db: RwLock::new(Some(db)),
            refuses: AtomicBool::new(false),
            failed_by_disk: AtomicBool::new(false),
        })
    }
    fn db(folder: &Path) -> Result<sled::Db, Failure> {
        guarded(|| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(sled::Error::Io)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(sled::Error::Io)?;
            sled::Config::new()
                .path(folder)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .mode(sled::Mode::HighThroughput)
                .open()
        })
    }
    fn with<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| IndexError("it waits for the disk".to_owned()))?;
        self.noted(guarded(|| call(db)))
    }
    /// After a failed write sled may refuse reads too: opened anew it answers them, if the disk lets it be opened.
    fn read<T>(&self, call: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        match self.with(&call) {
            Err(_) if self.failed_by_disk() => {
                self.takes_writes()?;
                self.open_anew()?;
                self.with(call)
            }
            done => done,
        }
    }
    fn write(&self, call: impl FnOnce(&sled::Db) -> sled::Result<()>) -> Result<(), IndexError> {
        if self.refuses.load(Ordering::SeqCst) {
            self.failed_by_disk.store(true, Ordering::SeqCst);
            return Err(IndexError("what was written last may be missing".to_owned()));
        }
        let done = self.with(call);
        if done.is_err() {
            self.refuses.store(true, Ordering::SeqCst);
        }
        done
    }
    fn open_anew(&self) -> Result<(), IndexError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        self.refuses.store(true, Ordering::SeqCst);
        // the old one holds the lock of the file
        let old = db.take();
        self.noted(guarded(|| {
            drop(old);
            Ok(())
        }))?;
        *db = Some(self.noted(Self::db(&self.folder))?);
        self.failed_by_disk.store(false, Ordering::SeqCst);
        Ok(())
    }
    fn noted<T>(&self, result: Result<T, Failure>) -> Result<T, IndexError> {
        result.map_err(|failure| {
            self.failed_by_disk.store(matches!(failure, Failure::Disk(_)), Ordering::SeqCst);
            failure.into()
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

/// Writes as sled would, where its file ends: a limit on files shows too.
fn probe(folder: &Path) -> std::io::Result<()> {
    let end = fs::metadata(folder.join("db")).map_or(0, |file| file.len());
    let path = folder.join("probe");
    let file = fs::File::create(&path)?;
    let written = file.write_all_at(&[1; 4096], end);
    fs::remove_file(&path)?;
    written
}

/// Who is at fault.
enum Failure {
    Disk(String),
    Engine(String),
}

impl From<Failure> for IndexError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disk(text) | Failure::Engine(text) => Self(text),
        }
    }
}

/// sled panics on some damaged files; to us that is an index that must be rebuilt.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ sled::Error::Io(_))) => Err(Failure::Disk(error.to_string())),
        Ok(Err(error)) => Err(Failure::Engine(error.to_string())),
        Err(panic) => Err(Failure::Engine(panic_text(panic.as_ref()))),
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
        self.read(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|db| db.range(from..to).take(limit).map(pair).collect())
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|db| db.range(from..to).rev().take(limit).map(pair).collect())
    }
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.write(|db| db.apply_batch(batch))
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.write(|db| db.flush().map(drop))
    }
    fn size(&self) -> u64 {
        self.with(sled::Db::size_on_disk).unwrap_or(0)
    }
    fn blocks(&self) -> bool {
        true
    }
    fn failed_by_disk(&self) -> bool {
        self.failed_by_disk.load(Ordering::SeqCst)
    }
    fn takes_writes(&self) -> Result<(), IndexError> {
        self.noted(probe(&self.folder).map_err(|error| Failure::Disk(error.to_string())))
    }
    fn mend(&self) -> Result<(), IndexError> {
        // until the disk is well the old one still answers reads
        self.takes_writes()?;
        self.open_anew()?;
        self.refuses.store(false, Ordering::SeqCst);
        Ok(())
    }
}
