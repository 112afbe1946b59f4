//! The index on lsm-tree: the only file that knows it. A log-structured merge tree without a log of its own: the journal is its log.
//!
//! What is applied lies in memory until it is worth a table or `flush` is told to write it; tables are merged by `compact`.
//! A flush that failed keeps what it had in memory and is simply called again. Damaged files answer with an error or a panic:
//! to us both mean that it must be rebuilt.
use super::index::{Index, IndexError, IndexFactory, Pair, Reset, Write};
use crate::fault;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::PinningPolicy;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, Guard, SeqNo, SequenceNumberCounter, Table};
use std::any::Any;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const CACHE_BYTES: u64 = 16 << 20;
/// A table is written when as much as this lies in memory.
pub const MEMORY_BYTES: u64 = 8 << 20;
const TABLE_BYTES: u64 = 16 << 20;
/// With so many unmerged tables a flush merges first: writing must not outrun merging.
const MOST_UNMERGED: usize = 16;
/// Everybody reads what is newest, so nothing older is kept.
const NOW: SeqNo = SeqNo::MAX;
/// Where the engine keeps its tables, a file a number.
const TABLES: &str = "tables";

/// An index in a folder of its own.
pub struct LsmIndex {
    tree: AnyTree,
    seqno: SequenceNumberCounter,
    memory_bytes: u64,
    strategy: Arc<Leveled>,
    /// One merge at a time.
    merging: Mutex<()>,
    folder: PathBuf,
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
            folder: folder.to_owned(),
        })
    }
    fn page<P: Iterator<Item = impl Guard>>(
        &self,
        pairs: impl FnOnce(&AnyTree) -> P,
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        let pair = |found: lsm_tree::Result<(lsm_tree::Slice, lsm_tree::Slice)>| {
            found.map(|(key, value)| (key.to_vec(), value.to_vec()))
        };
        guarded(|| pairs(&self.tree).take(limit).map(|found| pair(found.into_inner())).collect())
    }
    /// Removes the tables of a write that failed: the engine would do it at the next start only. Their numbers are beyond
    /// those of all that are in use.
    fn sweep(&self) {
        let (Ok(_no_merge), _no_flush) = (self.merging.try_lock(), self.tree.get_flush_lock()) else {
            return;
        };
        let newest = self.tree.current_version().iter_tables().map(Table::id).max();
        for file in fs::read_dir(self.folder.join(TABLES)).into_iter().flatten().flatten() {
            let number: Option<u64> = file.file_name().to_str().and_then(|name| name.parse().ok());
            if number.is_some_and(|number| newest.is_none_or(|newest| number > newest))
                && let Err(error) = fs::remove_file(file.path())
            {
                tracing::warn!(%error, "a table of the index that was not finished stays for now");
            }
        }
    }
    /// For `Store::open`. What is moved aside stands beside it as `<folder>.bad`, one generation of it.
    pub fn factory(folder: PathBuf, memory_bytes: u64) -> IndexFactory {
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                move_aside(&folder).map_err(|e| IndexError::Broken(format!("cannot be moved aside: {e}")))?;
            }
            Ok(Arc::new(Self::open(&folder, memory_bytes)?))
        })
    }
}

impl LsmIndex {
    /// Does any file of a closed index hold these bytes? Values lie in its files as they are, also those that were replaced
    /// and not merged away yet. A missing index holds nothing.
    pub fn holds(folder: &Path, bytes: &[u8]) -> io::Result<bool> {
        if !folder.try_exists()? {
            return Ok(false);
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let found = if path.is_dir() { Self::holds(&path, bytes)? } else { file_holds(&path, bytes)? };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
    /// Removes a closed index.
    pub fn discard(folder: &Path) -> io::Result<()> {
        if folder.try_exists()? {
            fs::remove_dir_all(folder)?;
        }
        Ok(())
    }
    /// Where one that cannot be used was moved to.
    pub fn aside(folder: &Path) -> PathBuf {
        let mut aside = folder.as_os_str().to_owned();
        aside.push(".bad");
        PathBuf::from(aside)
    }
}

/// Looks through a file in pieces that overlap.
fn file_holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let mut window = Vec::new();
    loop {
        let kept = window.len().min(bytes.len().saturating_sub(1));
        window.drain(..window.len() - kept);
        if file.by_ref().take(1 << 20).read_to_end(&mut window)? == 0 {
            return Ok(false);
        }
        if window.windows(bytes.len().max(1)).any(|part| part == bytes) {
            return Ok(true);
        }
    }
}

fn move_aside(folder: &Path) -> io::Result<()> {
    if !folder.try_exists()? {
        return Ok(());
    }
    let aside = LsmIndex::aside(folder);
    LsmIndex::discard(&aside)?;
    fault::crash_point("rebuild.before-aside");
    fs::rename(folder, &aside)
}

/// What the engine says, panics included.
fn guarded<T>(call: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(judge),
        Err(panic) => Err(IndexError::Broken(panic_text(panic.as_ref()))),
    }
}

fn judge(error: lsm_tree::Error) -> IndexError {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    match error {
        // a file that is gone or too short does not come back when the disk is well
        lsm_tree::Error::Io(error) => match error.kind() {
            AlreadyExists | InvalidData | InvalidInput | NotFound | UnexpectedEof => {
                IndexError::Broken(error.to_string())
            }
            _ => IndexError::Disk(error.to_string()),
        },
        error => IndexError::Broken(error.to_string()),
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
        guarded(|| Ok(self.tree.get(key, NOW)?.map(|value| value.to_vec())))
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.page(|tree| tree.range(from..to, NOW, None), limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.page(|tree| tree.range(from..to, NOW, None).rev(), limit)
    }
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError> {
        if writes.iter().any(|(key, _)| key.len() > usize::from(u16::MAX)) {
            return Err(IndexError::Broken("a key is too long".to_owned()));
        }
        guarded(|| {
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
        let (enough, too_many) = guarded(|| {
            let waits = self.tree.sealed_memtable_count() > 0;
            let enough = now || waits || self.tree.active_memtable().size() >= self.memory_bytes;
            Ok((enough, self.tree.l0_run_count() >= MOST_UNMERGED))
        })?;
        if !enough {
            return Ok(false);
        }
        if too_many {
            self.compact()?;
        }
        let flushed = guarded(|| {
            self.tree.rotate_memtable();
            let lock = self.tree.get_flush_lock();
            self.tree.flush(&lock, NOW)
        });
        flushed.inspect_err(|_| self.sweep()).map(|_| true)
    }
    fn compact(&self) -> Result<bool, IndexError> {
        let merged = {
            let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
            guarded(|| {
                let before = self.tree.current_version().id();
                self.tree.compact(self.strategy.clone(), NOW)?;
                Ok(self.tree.current_version().id() != before)
            })
        };
        merged.inspect_err(|_| self.sweep())
    }
    fn size(&self) -> u64 {
        guarded(|| Ok(self.tree.disk_space())).unwrap_or(0)
    }
    fn blocks(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_write_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let index = LsmIndex::open(folder.path(), MEMORY_BYTES).unwrap();
        index.apply(vec![(b"k".to_vec(), Some(b"v".to_vec()))]).unwrap();
        assert_eq!((index.flush(false).unwrap(), index.flush(true).unwrap()), (false, true));
        let tables = folder.path().join(TABLES);
        fs::write(tables.join("4711"), b"half a table").unwrap();
        index.sweep();
        assert_eq!(fs::read_dir(&tables).unwrap().count(), 1);
        drop(index);
        let index = LsmIndex::open(folder.path(), MEMORY_BYTES).unwrap();
        assert_eq!(index.get(b"k").unwrap(), Some(b"v".to_vec()));
    }
}
