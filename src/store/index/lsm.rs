//! The index on lsm-tree: the only file that knows it. A log-structured merge tree without a log of its own: the journal is its log.
//!
//! What is taken lies in memory until it is worth a table or `flush` is told to write it; tables are merged by `compact`. The engine
//! writes nothing of that by itself, and all tables of a flush become part of the tree by one rename: a generation is whole if it lies in
//! one memtable.
//! A flush that failed keeps what it had in memory and is simply called again. Damaged files answer with an error or a panic:
//! to us both mean that it must be rebuilt.
use crate::store::index::engine;
use crate::store::index::{Generation, Index, IndexError, Pair};
use lsm_tree::compaction::Leveled;
use lsm_tree::config::PinningPolicy;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, Guard, SeqNo, SequenceNumberCounter, Table};
use std::fmt;
use std::fs;
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
    /// A generation is being taken: its memtable must not be sealed.
    taking: Mutex<()>,
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
            engine::make_folder(folder)?;
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
            taking: Mutex::default(),
            merging: Mutex::default(),
            folder: folder.to_owned(),
        })
    }
    /// Does this folder hold an index of this engine?
    pub(in crate::store) fn is_in(folder: &Path) -> bool {
        folder.join(TABLES).is_dir()
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
    /// What comes from here on is another memtable's.
    fn seal(&self) -> Result<(), IndexError> {
        let _whole = engine::whole(&self.taking)?;
        guarded(|| Ok(self.tree.rotate_memtable())).map(drop)
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
}

/// The engine's answer, panics included.
fn guarded<T>(call: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T, IndexError> {
    engine::guarded(judge, call)
}

fn judge(error: lsm_tree::Error) -> IndexError {
    match error {
        lsm_tree::Error::Io(error) => engine::judge_io(&error),
        error => IndexError::Broken(error.to_string()),
    }
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
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        let whole = engine::whole(&self.taking)?;
        let mut too_long = false;
        guarded(|| {
            let _whole = whole;
            let seqno = self.seqno.next();
            for (key, value) in generation {
                too_long |= key.len() > usize::from(u16::MAX);
                if too_long {
                    break;
                }
                match value {
                    Some(value) => self.tree.insert(key, value, seqno),
                    None => self.tree.remove(key, seqno),
                };
            }
            Ok(())
        })?;
        if too_long { Err(IndexError::Broken("a key is too long".to_owned())) } else { Ok(()) }
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
        self.seal()?;
        let flushed = guarded(|| {
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
        index.take(&mut [(b"k".to_vec(), Some(b"v".to_vec()))].into_iter()).unwrap();
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
