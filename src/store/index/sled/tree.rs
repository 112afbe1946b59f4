//! Purpose: sled as an ordered map of bytes: large values in pieces, fdatasync, a handle that is opened anew after a failure.
//! Must not: gather writes or decide when they become durable.
use crate::fault;
use crate::store::index::engine::{self, judge_io};
use crate::store::index::overlay::Way;
use crate::store::index::{Generation, Index, IndexError, Pair};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

const CACHE_BYTES: u64 = 16 << 20;
/// A page that becomes larger than a quarter of this leaves the log for a file of its own.
const SEGMENT: usize = 2 << 20;
/// A larger value is stored in pieces of this size. A page has at most 20 entries.
const PIECE: usize = 16 << 10;
/// sled's file.
const DB: &str = "db";
/// The first byte of sled's keys: a value, or a piece of one.
const VALUE: u8 = b'0';
const PIECES: u8 = b'1';

/// sled itself. `take` is atomic and not durable, and costs memory: a few writes at a time.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
    /// `None`: it could not be opened anew.
    db: RwLock<Option<sled::Db>>,
    /// A write has failed: sled must be opened anew.
    failed: AtomicBool,
    /// An fdatasync has failed, and the kernel takes the pages for written: a later one would prove nothing about them.
    unsynced: AtomicBool,
    /// Some value is in pieces: whoever overwrites a value has to look.
    pieces: AtomicBool,
}

impl Tree {
    pub(super) fn open(folder: &Path) -> Result<Self, IndexError> {
        engine::make_folder(folder).map_err(|error| judge_io(&error))?;
        let db = open(folder)?;
        let pieces = guarded(|| Ok(db.range([PIECES]..[PIECES + 1]).next().transpose()?.is_some()))?;
        Ok(Self {
            folder: folder.to_owned(),
            db: RwLock::new(Some(db)),
            failed: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            pieces: AtomicBool::new(pieces),
        })
    }
    pub(super) fn is_in(folder: &Path) -> bool {
        folder.join(DB).is_file()
    }

    /// What was taken is durable after this.
    pub(super) fn settle(&self) -> Result<(), IndexError> {
        self.write(|db| db.flush().map(drop))?;
        if fault::planted("sled-flush-only") {
            return Ok(());
        }
        self.synced(sync(&self.folder.join(DB)))
    }
    /// So is every file that sled opens with.
    pub(super) fn settle_all(&self) -> Result<(), IndexError> {
        self.settle()?;
        if fault::planted("sled-flush-only") {
            return Ok(());
        }
        self.synced(sync_all(&self.folder))
    }
    fn synced(&self, done: io::Result<()>) -> Result<(), IndexError> {
        done.map_err(|error| {
            self.failed.store(true, Ordering::SeqCst);
            self.unsynced.store(true, Ordering::SeqCst);
            judge_io(&error)
        })
    }

    /// A write that fails half-way costs sled its handle: is there room for so much, where its file ends? A limit on the
    /// length of files shows too.
    pub(super) fn probe(&self, bytes: usize) -> io::Result<()> {
        let end = fs::metadata(self.folder.join(DB))?.len();
        let path = self.folder.join("probe");
        let file = File::create(&path)?;
        let part = vec![0; SEGMENT];
        let mut places = (0..=bytes / SEGMENT).map(|n| end + (n * SEGMENT) as u64);
        let written = places.try_for_each(|at| file.write_all_at(&part, at));
        drop(file);
        fs::remove_file(&path)?;
        written
    }

    /// After a failed write: sled is opened anew, if the disk is well.
    pub(super) fn mend(&self) -> Result<(), IndexError> {
        if !self.failed.load(Ordering::SeqCst) {
            return Ok(());
        }
        sync(&self.folder.join(DB)).map_err(|error| judge_io(&error))?;
        self.open_anew()
    }

    fn with<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| IndexError::Disk("it waits for the disk".to_owned()))?;
        guarded(|| call(db))
    }

    fn write(&self, call: impl FnOnce(&sled::Db) -> sled::Result<()>) -> Result<(), IndexError> {
        self.with(call).inspect_err(|_| self.failed.store(true, Ordering::SeqCst))
    }
    /// After a failed write sled may refuse reads too.
    fn read<T>(&self, call: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        match self.with(&call) {
            Err(_) if self.failed.load(Ordering::SeqCst) => {
                self.open_anew()?;
                self.with(call)
            }
            done => done,
        }
    }

    fn open_anew(&self) -> Result<(), IndexError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        let old = db.take();
        // the old one holds the lock of the file
        guarded(|| {
            drop(old);
            Ok(())
        })?;
        if self.unsynced.load(Ordering::SeqCst) {
            copy(&self.folder).map_err(|error| judge_io(&error))?;
            self.unsynced.store(false, Ordering::SeqCst);
        }
        *db = Some(open(&self.folder)?);
        self.failed.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn value(db: &sled::Db, key: &[u8], stored: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        let damaged = || sled::Error::ReportableBug("a value is not as it was written".to_owned());
        let (tag, rest) = stored.split_first().ok_or_else(damaged)?;
        if *tag == VALUE {
            return Ok(Some(rest.to_vec()));
        }
        let hash = *rest.first_chunk::<8>().ok_or_else(damaged)?;
        let mut whole = Vec::new();
        for piece in db.range(piece(key, hash, 0)..=piece(key, hash, u32::MAX)) {
            whole.extend_from_slice(&piece?.1);
        }
        // overwritten since: its pieces are gone
        Ok((xxh3_64(&whole).to_be_bytes() == hash).then_some(whole))
    }

    fn pairs(&self, from: &[u8], to: &[u8], way: Way, limit: usize) -> Result<Vec<Pair>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|db| {
            let range = db.range(outer(from)..outer(to));
            let pair = |found: sled::Result<(sled::IVec, sled::IVec)>| {
                let (stored, value) = found?;
                let key = stored[1..].to_vec();
                let value = match Self::value(db, &key, &value)? {
                    Some(value) => Some(value),
                    None => self.again(db, &key)?,
                };
                Ok(value.map(|value| (key, value)))
            };
            match way {
                Way::Up => range.map(pair).filter_map(Result::transpose).take(limit).collect(),
                Way::Down => range.rev().map(pair).filter_map(Result::transpose).take(limit).collect(),
            }
        })
    }

    /// A point read; a value whose pieces do not fit was overwritten while it was read, or is damaged.
    fn again(&self, db: &sled::Db, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        for _ in 0..100 {
            let Some(stored) = db.get(outer(key))? else { return Ok(None) };
            if let Some(value) = Self::value(db, key, &stored)? {
                return Ok(Some(value));
            }
        }
        Err(sled::Error::ReportableBug(format!("pieces of a value are missing in {}", self.folder.display())))
    }
}

impl Index for Tree {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(|db| self.again(db, key))
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.pairs(from, to, Way::Up, limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.pairs(from, to, Way::Down, limit)
    }
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        self.write(|db| {
            let mut batch = sled::Batch::default();
            for (key, value) in generation {
                if self.pieces.load(Ordering::SeqCst) {
                    let all = [&[PIECES], &(key.len() as u32).to_be_bytes()[..], &key].concat();
                    for old in db.scan_prefix(all).keys() {
                        batch.remove(old?);
                    }
                }
                let Some(value) = value else {
                    batch.remove(outer(&key));
                    continue;
                };
                if value.len() <= PIECE {
                    batch.insert(outer(&key), [&[VALUE], value.as_slice()].concat());
                    continue;
                }
                self.pieces.store(true, Ordering::SeqCst);
                let hash = xxh3_64(&value).to_be_bytes();
                for (n, part) in value.chunks(PIECE).enumerate() {
                    batch.insert(piece(&key, hash, n as u32), part);
                }
                batch.insert(outer(&key), [&[PIECES], &hash[..]].concat());
            }
            db.apply_batch(batch)
        })
    }
    fn flush(&self, _now: bool) -> Result<bool, IndexError> {
        self.settle().map(|()| true)
    }
    fn size(&self) -> u64 {
        self.with(sled::Db::size_on_disk).unwrap_or(0)
    }
}

/// Where sled has a key's value.
fn outer(key: &[u8]) -> Vec<u8> {
    [&[VALUE], key].concat()
}

/// Where sled has a piece of a value with this hash. The key's length goes first, so that no other key's pieces begin alike.
fn piece(key: &[u8], hash: [u8; 8], number: u32) -> Vec<u8> {
    [&[PIECES], &(key.len() as u32).to_be_bytes()[..], key, &hash, &number.to_be_bytes()].concat()
}

fn open(folder: &Path) -> Result<sled::Db, IndexError> {
    const TRIES: u32 = 100;
    let config = sled::Config::new()
        .path(folder)
        .segment_size(SEGMENT)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    for _ in 1..TRIES {
        match guarded(|| config.open()) {
            // threads of the handle before this one are still at their end
            Err(IndexError::Disk(why)) if why.contains("could not acquire lock") => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
    guarded(|| config.open())
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_data()
}

/// Every file that sled opens with, and the names of them.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Writes all of sled's file again.
fn copy(folder: &Path) -> io::Result<()> {
    let anew = folder.join("db.new");
    fs::copy(folder.join(DB), &anew)?;
    File::open(&anew)?.sync_all()?;
    fs::rename(anew, folder.join(DB))?;
    File::open(folder)?.sync_all()
}

fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    engine::guarded(judge, call)
}

fn judge(error: sled::Error) -> IndexError {
    match error {
        sled::Error::Io(error) => judge_io(&error),
        error => IndexError::Broken(error.to_string()),
    }
}
