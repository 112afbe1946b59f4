//! Keeps everything that a store does to its real folder, in order: the journal's files call by call, the index's files page by
//! page. Knows no records and no cuts.
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tailhook::disk::{Disk, RealDisk};
use tailhook::store::index::{Generation, Pair};
use tailhook::store::{Engine, Index, IndexError, IndexFactory, Record};

/// So little that the index writes tables, and merges them, all the time.
pub(crate) const MEMORY_BYTES: u64 = 4096;

/// What the kernel may write at a time, and may have written or not.
pub(crate) const PAGE: usize = 4096;

/// A call that changes the folder.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Create(String),
    Append(String, Arc<[u8]>),
    /// An append and its sync in one.
    Durable(String, Arc<[u8]>),
    Sync(String),
    Truncate(String, u64),
    Rename(String, String),
    Remove(String),
}

/// The index's files, in pages; unchanged pages are shared with the moment before.
pub(crate) type Pages = BTreeMap<String, Vec<Arc<[u8]>>>;

/// One line of the recording.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// A call has begun: from here on any part of it may have happened.
    Began(u64, Act),
    /// It has returned without an error: what it promises is so.
    Ended(u64),
    /// The index's files as they are now. Nothing of them is ever sure.
    Index(Arc<Pages>),
    /// A commit is about to be asked for.
    Called(Arc<[Record]>),
    /// The commit of this number, counted from 0, has returned: Postgres may be told.
    Confirmed(usize),
    /// The process was killed and opened again; this many commits had survived.
    Reopened(usize),
    /// The time of day.
    Clock(i64),
}

/// Clones share one recording.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<Vec<Moment>>>);

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Vec<Moment>> {
        self.0.lock().unwrap()
    }
    pub(crate) fn note(&self, moment: Moment) {
        self.lock().push(moment);
    }
    pub(crate) fn moments(&self) -> Vec<Moment> {
        self.lock().clone()
    }
    fn begin(&self, act: Act) -> u64 {
        let mut moments = self.lock();
        let number = moments.len() as u64;
        moments.push(Moment::Began(number, act));
        number
    }
}

/// The real disk, watched. What has begun goes on to its end although nobody waits for it any more, as in the kernel.
#[derive(Debug)]
pub(crate) struct WatchedDisk {
    real: Arc<RealDisk>,
    recording: Recording,
}

impl WatchedDisk {
    pub(crate) fn open(folder: &Path, recording: &Recording) -> Self {
        Self { real: Arc::new(RealDisk::open(folder).unwrap()), recording: recording.clone() }
    }
    /// For waiting until the last call has ended and the folder's lock is free.
    pub(crate) fn watch(&self) -> Weak<RealDisk> {
        Arc::downgrade(&self.real)
    }
    #[allow(clippy::disallowed_methods, reason = "a call in the kernel ends although its caller was killed")]
    async fn act(&self, act: Act) -> io::Result<Duration> {
        let (real, recording) = (self.real.clone(), self.recording.clone());
        let number = recording.begin(act.clone());
        let call = tokio::spawn(async move {
            let took = perform(&real, act).await?;
            recording.note(Moment::Ended(number));
            Ok(took)
        });
        call.await.unwrap()
    }
}

async fn perform(real: &RealDisk, act: Act) -> io::Result<Duration> {
    match act {
        Act::Create(name) => real.create(&name).await?,
        Act::Append(name, bytes) => real.append(&name, bytes.to_vec()).await?,
        Act::Durable(name, bytes) => return real.append_durably(&name, bytes.to_vec()).await,
        Act::Sync(name) => real.sync(&name).await?,
        Act::Truncate(name, len) => real.truncate(&name, len).await?,
        Act::Rename(from, to) => real.rename(&from, &to).await?,
        Act::Remove(name) => real.remove(&name).await?,
    }
    Ok(Duration::ZERO)
}

#[async_trait]
impl Disk for WatchedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.real.list()
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.real.len(name)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.real.read(name, offset, len)
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        self.act(Act::Create(name.to_owned())).await.map(drop)
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.act(Act::Append(name.to_owned(), bytes.into())).await.map(drop)
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        self.act(Act::Sync(name.to_owned())).await.map(drop)
    }
    async fn append_durably(&self, name: &str, bytes: Vec<u8>) -> io::Result<Duration> {
        self.act(Act::Durable(name.to_owned(), bytes.into())).await
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.act(Act::Truncate(name.to_owned(), len)).await.map(drop)
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act(Act::Rename(from.to_owned(), to.to_owned())).await.map(drop)
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.act(Act::Remove(name.to_owned())).await.map(drop)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.real.free_bytes()
    }
}

/// The real index, whose files are looked at after every call that may change them.
#[derive(Debug)]
pub(crate) struct WatchedIndex {
    real: Arc<dyn Index>,
    folder: PathBuf,
    recording: Recording,
    last: Mutex<Arc<Pages>>,
    _alive: Arc<()>,
}

impl WatchedIndex {
    /// `alive` counts those that live: an engine must be gone before its files can be opened anew.
    pub(crate) fn factory(
        engine: Engine,
        folder: PathBuf,
        recording: Recording,
        alive: Arc<()>,
    ) -> IndexFactory {
        let engine = engine.factory(folder.clone(), MEMORY_BYTES);
        Box::new(move |reset| {
            let (folder, recording) = (folder.clone(), recording.clone());
            let (real, last) = (engine(reset)?, Mutex::default());
            let index = Self { real, folder, recording, last, _alive: alive.clone() };
            index.look();
            Ok(Arc::new(index))
        })
    }
    fn look(&self) {
        let mut last = self.last.lock().unwrap();
        let mut pages = Pages::new();
        collect(&self.folder, "", &last, &mut pages);
        *last = Arc::new(pages);
        self.recording.note(Moment::Index(last.clone()));
    }
}

/// All files below a folder, named by their way from it.
fn collect(folder: &Path, prefix: &str, last: &Pages, pages: &mut Pages) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), last, pages);
            continue;
        }
        // an engine may remove a file while we look
        let Ok(bytes) = std::fs::read(entry.path()) else { continue };
        let old = last.get(&name).map(Vec::as_slice).unwrap_or_default();
        let page = |(n, new): (usize, &[u8])| match old.get(n) {
            Some(old) if **old == *new => old.clone(),
            _ => Arc::from(new),
        };
        pages.insert(name, bytes.chunks(PAGE).enumerate().map(page).collect());
    }
}

impl Index for WatchedIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.real.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.real.scan(from, to, limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.real.scan_back(from, to, limit)
    }
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        self.real.take(generation)
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        let settled = self.real.flush(now)?;
        self.look();
        Ok(settled)
    }
    fn compact(&self) -> Result<bool, IndexError> {
        let more = self.real.compact()?;
        self.look();
        Ok(more)
    }
    fn size(&self) -> u64 {
        self.real.size()
    }
    fn blocks(&self) -> bool {
        self.real.blocks()
    }
}
