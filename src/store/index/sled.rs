//! Purpose: the index on sled 0.34.7, the only file that names it.
//! Must not: take sled's word for what is durable.
//!
//! What was measured on sled, and what is done about it:
//!
//! - `flush()` ends in `sync_file_range`, so a power cut may leave an empty database that opens without an error. A generation
//!   is durable after an fdatasync of the file `db`. The store rebuilds an index that opens empty.
//! - Batches of thousands of keys cost gigabytes of memory: what is flushed goes in by `BATCH` keys. The file `redo` holds all of it
//!   before sled gets the first of them. After a kill in the middle, opening applies it again. So generations are whole.
//! - After a power cut in the middle sled may have lost pages of earlier generations without an error: it overwrites segments
//!   whose successors are not synced. A `redo` of another boot of the machine means that the index must be rebuilt.
//! - A page of more than a quarter of a segment becomes a file in `blobs/`, which is never synced, and recovery passes over one
//!   that is missing. Large values are stored in pieces, so that no page is that large (`tree`).
//! - After one failed write sled refuses all others until it is opened anew. What was taken lies in memory until it is durable,
//!   so nothing is lost with the handle.
mod tree;

use crate::fault;
use crate::store::index::engine::{self, judge_io};
use crate::store::index::overlay::{Known, Layer, Overlay, Scanned, Way, scan};
use crate::store::index::{Generation, Index, IndexError, Pair, Write};
use crate::store::records::field::{Reader, Writer};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use tree::Tree;

/// A generation that is on its way into sled: `crc32c u32`, then the machine's boot, then the writes.
const REDO: &str = "redo";
/// Changes with each boot of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Keys that sled is given at once.
const BATCH: usize = 100;

/// An index in a folder of its own.
#[derive(Debug)]
pub struct SledIndex {
    memory_bytes: u64,
    /// What was taken and is not durable: it goes before the tree.
    taken: RwLock<Overlay>,
    tree: Tree,
    folder: PathBuf,
    /// A generation is being taken: `taken` must not be divided.
    taking: Mutex<()>,
    /// One flush at a time.
    flushing: Mutex<()>,
}

impl SledIndex {
    /// Opens or makes it. Writes are gathered in memory up to `memory_bytes`.
    pub fn open(folder: &Path, memory_bytes: u64) -> Result<Self, IndexError> {
        let tree = Tree::open(folder)?;
        let (taken, taking, flushing) = (RwLock::default(), Mutex::default(), Mutex::default());
        let index = Self { memory_bytes, taken, tree, folder: folder.to_owned(), taking, flushing };
        match fs::read(folder.join(REDO)) {
            Ok(bytes) => index.put(redo(&bytes).ok_or_else(|| {
                IndexError::Broken(
                    "the power went, or a sync failed, in the middle of a generation".to_owned(),
                )
            })?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(judge_io(&error)),
        }
        // what a kill left unsynced is believed from here on
        index.tree.settle_all()?;
        index.forget()?;
        Ok(index)
    }
    /// Does this folder hold an index of this engine?
    pub(in crate::store) fn is_in(folder: &Path) -> bool {
        Tree::is_in(folder)
    }
    fn page(&self, range: (&[u8], &[u8]), way: Way, limit: usize) -> Result<Vec<Pair>, IndexError> {
        let look = |look: &mut dyn FnMut(&Overlay)| {
            look(&self.taken.read().unwrap_or_else(PoisonError::into_inner));
        };
        let found: Scanned = scan(&look, &self.tree, range, way, limit)?;
        Ok(found.into_iter().map(|(key, value)| (key, value.to_vec())).collect())
    }

    /// Makes a generation durable. What failed is called again with all of it.
    fn settle(&self, layer: &Layer) -> Result<(), IndexError> {
        let mut body = Writer::default();
        body.text(&boot());
        for (key, slot) in layer {
            body.bytes(key).option(slot.value.as_ref(), |w, value| w.bytes(value));
        }
        self.tree.probe(2 * body.0.len()).map_err(|error| judge_io(&error))?;
        if !fault::planted("sled-flush-only") {
            self.note(&body.0).map_err(|error| judge_io(&error))?;
        }
        fault::crash_point("sled.noted");
        // only now, when the disk takes writes: until it does the old handle answers reads
        self.tree.mend()?;
        self.put(layer.iter().map(|(key, slot)| (key.clone(), slot.value.as_ref().map(|v| v.to_vec()))))?;
        fault::crash_point("sled.put");
        let settled = self.tree.settle();
        if settled.is_err() {
            // the kernel may drop the pages that it could not write: another life must not take the file for whole
            let _ = fs::write(self.folder.join(REDO), b"");
        }
        settled.and_then(|()| self.forget())
    }

    fn put(&self, writes: impl IntoIterator<Item = Write>) -> Result<(), IndexError> {
        let mut writes = writes.into_iter().peekable();
        while writes.peek().is_some() {
            self.tree.take(&mut writes.by_ref().take(BATCH))?;
        }
        Ok(())
    }

    /// Writes down a generation; whole or not there.
    fn note(&self, body: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join("redo.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&crc32c::crc32c(body).to_le_bytes())?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(unfinished, self.folder.join(REDO))?;
        File::open(&self.folder)?.sync_all()
    }

    /// A generation that is durable in sled.
    fn forget(&self) -> Result<(), IndexError> {
        match fs::remove_file(self.folder.join(REDO)) {
            Ok(()) => File::open(&self.folder).and_then(|folder| folder.sync_all()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| judge_io(&error))
    }
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        // first what was taken: what leaves it meanwhile is in the tree
        let newer = self.taken.read().unwrap_or_else(PoisonError::into_inner).peek(key);
        match newer {
            Some(Known::Here(value)) => Ok(Some(value.to_vec())),
            Some(Known::Gone) => Ok(None),
            None => self.tree.get(key),
        }
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.page((from, to), Way::Up, limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.page((from, to), Way::Down, limit)
    }
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        let _whole = engine::whole(&self.taking)?;
        // in parts, so that readers come in between
        loop {
            let part: Vec<Write> = (&mut *generation).take(BATCH).collect();
            if part.is_empty() {
                return Ok(());
            }
            let mut taken = self.taken.write().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in part {
                match value {
                    Some(value) => taken.put(key, value, false),
                    None => taken.remove(key),
                }
            }
        }
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        let _one = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut must = now;
        loop {
            let layer = {
                let _whole = engine::whole(&self.taking)?;
                let mut taken = self.taken.write().unwrap_or_else(PoisonError::into_inner);
                let enough = taken.is_flushing() || taken.dirty_bytes() as u64 >= self.memory_bytes;
                if !must && !enough {
                    return Ok(false);
                }
                taken.begin_flush()
            };
            if !layer.is_empty() {
                self.settle(&layer)?;
            }
            let mut taken = self.taken.write().unwrap_or_else(PoisonError::into_inner);
            taken.end_flush();
            if taken.dirty() == 0 {
                return Ok(true);
            }
            // an earlier flush failed, and more was taken since
            must = true;
        }
    }
    fn size(&self) -> u64 {
        self.tree.size()
    }
    fn blocks(&self) -> bool {
        true
    }
}

/// This boot of the machine; empty where that cannot be read.
fn boot() -> String {
    fs::read_to_string(BOOT).unwrap_or_default()
}

/// The writes of a redo file of this boot.
fn redo(bytes: &[u8]) -> Option<Vec<Write>> {
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    let r = &mut Reader::new(body);
    let this_boot = r.text().ok()? == boot() && !boot().is_empty();
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) || !this_boot {
        return None;
    }
    let mut writes = Vec::new();
    while r.left() > 0 {
        writes.push((r.bytes().ok()?.to_vec(), r.option(|r| r.bytes().map(<[u8]>::to_vec)).ok()?));
    }
    Some(writes)
}
