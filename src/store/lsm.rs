//! The index on lsm-tree: the only file that knows it. A log-structured merge tree without a log of its own: the journal is its log.
//!
//! What is applied lies in memory until it is worth a table or `flush` is told to write it; tables are merged by `compact`.
//! A flush that failed keeps what it had in memory and is simply called again. Damaged files answer with an error or a panic:
//! to us both mean that it must be rebuilt.
use super::index::{Index, IndexError, IndexFactory, Pair, Reset, Write};
use crate::fault;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::PinningPolicy;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, Guard, SeqNo, SequenceNumberCounter};
use std::any::Any;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const CACHE_BYTES: u64 = 16 << 20;
/// A table is written when as much as this lies in memory.
pub const MEMORY_BYTES: u64 = 8 << 20;
const TABLE_BYTES: u64 = 16 << 20;
/// With so many unmerged tables a flush merges first: writing must not outrun merging.
const MOST_UNMERGED: usize = 16;
/// The newest there is.
const NOW: SeqNo = SeqNo::MAX;

/// An index in a folder of its own.
pub struct LsmIndex {
    tree: AnyTree,
    seqno: SequenceNumberCounter,
    memory_bytes: u64,
    strategy: Arc<Leveled>,
    /// One merge at a time.
    merging: Mutex<()>,
    failed_by_disk: AtomicBool,
}

impl fmt::Debug for LsmIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LsmIndex").field("tables", &self.tree.table_count()).finish_non_exhaustive()
    }
}

impl LsmIndex {
    /// Opens or makes it; `memory_bytes` as `MEMORY_BYTES`.
    pub fn open(folder: &Path, memory_bytes: u64) -> Result<Self, IndexError> {
        let seqno = SequenceNumberCounter::default();
        let tree = guarded(|| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
            // nothing pinned and everything in parts: memory is the cache's, however many tables there are
            Config::new(folder, seqno.clone(), SequenceNumberCounter::default())
                .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
                .index_block_pinning_policy(PinningPolicy::all(false))
                .filter_block_pinning_policy(PinningPolicy::all(false))
                .index_block_partitioning_policy(PinningPolicy::all(true))
                .filter_block_partitioning_policy(PinningPolicy::all(true))
                .open()
        })?;
        seqno.fetch_max(tree.get_highest_persisted_seqno().map_or(0, |last| last + 1));
        Ok(Self {
            tree,
            seqno,
            memory_bytes,
            strategy: Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)),
            merging: Mutex::default(),
            failed_by_disk: AtomicBool::new(false),
        })
    }
    fn call<T>(&self, call: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T, IndexError> {
        guarded(call).map_err(|failure| {
            self.failed_by_disk.store(matches!(failure, Failure::Disk(_)), Ordering::SeqCst);
            failure.into()
        })
    }
    fn page(&self, pairs: impl Iterator<Item = impl Guard>, limit: usize) -> Result<Vec<Pair>, IndexError> {
        let pair = |found: lsm_tree::Result<(lsm_tree::Slice, lsm_tree::Slice)>| {
            found.map(|(key, value)| (key.to_vec(), value.to_vec()))
        };
        self.call(|| pairs.take(limit).map(|found| pair(found.into_inner())).collect())
    }
    /// For `Store::open`. What is moved aside stands beside it as `<folder>.bad`, one generation of it.
    pub fn factory(folder: PathBuf, memory_bytes: u64) -> IndexFactory {
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                move_aside(&folder).map_err(|e| IndexError(format!("cannot be moved aside: {e}")))?;
            }
            Ok(Arc::new(Self::open(&folder, memory_bytes)?))
        })
    }
}

fn move_aside(folder: &Path) -> io::Result<()> {
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

impl From<lsm_tree::Error> for Failure {
    fn from(error: lsm_tree::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
        match error {
            // a file that is gone or too short does not come back when the disk is well
            lsm_tree::Error::Io(error) => match error.kind() {
                AlreadyExists | InvalidData | InvalidInput | NotFound | UnexpectedEof => {
                    Self::Engine(error.to_string())
                }
                _ => Self::Disk(error.to_string()),
            },
            error => Self::Engine(error.to_string()),
        }
    }
}

fn guarded<T>(call: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Failure::from),
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

impl Index for LsmIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.call(|| Ok(self.tree.get(key, NOW)?.map(|value| value.to_vec())))
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.page(self.tree.range(from..to, NOW, None), limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.page(self.tree.range(from..to, NOW, None).rev(), limit)
    }
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError> {
        if writes.iter().any(|(key, _)| key.len() > usize::from(u16::MAX)) {
            return Err(IndexError("a key is too long".to_owned()));
        }
        self.call(|| {
            let seqno = self.seqno.next();
            for (key, value) in writes {
                match value {
                    Some(value) => self.tree.insert(key, value, seqno),
                    None => self.tree.remove(key, seqno),
                };
            }
            Ok(())
        })
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        let waits = self.tree.sealed_memtable_count() > 0;
        if !now && !waits && self.tree.active_memtable().size() < self.memory_bytes {
            return Ok(false);
        }
        if self.tree.l0_run_count() >= MOST_UNMERGED {
            self.compact()?;
        }
        self.call(|| {
            self.tree.rotate_memtable();
            let lock = self.tree.get_flush_lock();
            self.tree.flush(&lock, self.seqno.get())
        })?;
        Ok(true)
    }
    fn compact(&self) -> Result<bool, IndexError> {
        let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.tree.current_version().id();
        self.call(|| self.tree.compact(self.strategy.clone(), self.seqno.get()))?;
        Ok(self.tree.current_version().id() != before)
    }
    fn size(&self) -> u64 {
        self.tree.disk_space()
    }
    fn blocks(&self) -> bool {
        true
    }
    fn failed_by_disk(&self) -> bool {
        self.failed_by_disk.load(Ordering::SeqCst)
    }
}
