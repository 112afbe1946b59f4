//! The store as the stages see it: open, commit, close, and what is known without asking the index (`reading` asks it).
//! Keeps free of file paths and of engines.
use super::codec;
use super::commit::{self, QUEUE, Queued};
use super::core::{Core, Stage, Unstarted};
use super::disk::Disk;
use super::feed::Feed;
use super::format::FORMAT;
use super::frame::{Kind, MAX_BODY};
use super::gate::Gate;
use super::group::{self, GROUP_FRAME_BYTES};
use super::index::{IndexError, IndexFactory};
use super::journal::{End, Journal};
use super::record::{Batch, Identity};
use super::{compaction, flush, opening, survey, upkeep};
use crate::clock::SharedClock;
use crate::domain::{Delivery, FilterStatus};
use crate::domain::{DeliveryId, Lsn, Pending, Subscription, SubscriptionId};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What went wrong below. All of them leave the journal as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Disk full, EIO, or less than `store.min_free`: nothing was acknowledged; try again later. Heals by itself.
    #[error("the data folder cannot be written: {0}")]
    Blocked(String),
    /// A bad frame with good ones after it: an operator is needed. Names file and byte.
    #[error("the journal is damaged: {0}; run `tailhook store verify --salvage`")]
    Damaged(String),
    /// A file of the folder says something that only a newer version reads: nothing was changed. An operator is needed.
    #[error("the data folder was written by a newer version ({0}); this one reads up to format {FORMAT}")]
    Newer(String),
    /// The index failed. Unless the disk was at fault, `run` ends with it and the next `open` rebuilds the index.
    #[error("the index is not available: {0}")]
    Index(IndexError),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The batch is larger than a frame may be. Never worth a second try.
    #[error("a batch of {0} bytes is more than a frame holds")]
    TooLarge(usize),
    /// A file of the data folder cannot be read. Worth a second try.
    #[error("the data folder cannot be read: {0}")]
    Read(String),
}

// by hand: as a source it would be printed twice
impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

pub(super) fn blocked(error: &io::Error) -> StoreError {
    StoreError::Blocked(error.to_string())
}
pub(super) fn unreadable(error: &io::Error) -> StoreError {
    StoreError::Read(error.to_string())
}

/// The `[store]` section, without its path.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Finished deliveries are kept this long.
    pub history: Duration,
    /// And at most about this many: the surplus goes within minutes.
    pub history_max: u64,
    /// Less free disk than this counts as full.
    pub min_free: u64,
    /// Bytes after which a new segment begins (64 MiB; smaller in tests).
    pub segment_bytes: u64,
    /// How often old deliveries and segments are looked for.
    pub upkeep_every: Duration,
    /// No larger batch is taken, in encoded bytes.
    pub batch_bytes: usize,
    /// A larger batch becomes a group of several frames, in encoded bytes (small in tests).
    pub frame_bytes: usize,
    /// Is told how long each fdatasync of the journal took.
    pub observe_flush: FlushObserver,
}

impl Default for Settings {
    /// SPEC 3's defaults.
    fn default() -> Self {
        Self {
            history: Duration::from_secs(7 * 24 * 3600),
            history_max: 1_000_000,
            min_free: 1 << 30,
            segment_bytes: 64 << 20,
            upkeep_every: Duration::from_secs(60),
            batch_bytes: MAX_BODY - group::prefix(Kind::Seal),
            frame_bytes: GROUP_FRAME_BYTES,
            observe_flush: FlushObserver::default(),
        }
    }
}

/// Where the durations of fdatasync go: a metric, or nowhere.
#[derive(Clone, Default)]
pub struct FlushObserver(Option<Arc<dyn Fn(Duration) + Send + Sync>>);

impl FlushObserver {
    /// Called by the committer: must be quick.
    pub fn new(observe: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }
    pub(super) fn observe(&self, took: Duration) {
        if let Some(observe) = &self.0 {
            observe(took);
        }
    }
}
impl fmt::Debug for FlushObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlushObserver({})", self.0.is_some())
    }
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing was there: an empty data folder.
    pub fresh: bool,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
    /// Frames replayed into the index.
    pub replayed_frames: u64,
    /// Why the index was rebuilt from nothing, if it was.
    pub rebuilt: Option<String>,
}

/// What a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exact event name.
    pub event: Option<String>,
    /// Status.
    pub status: Option<FilterStatus>,
    /// Subscription.
    pub subscription: Option<SubscriptionId>,
    /// Resource id.
    pub resource_id: Option<String>,
    /// Created at or after, Unix microseconds.
    pub since_us: Option<i64>,
    /// Created before, Unix microseconds.
    pub until_us: Option<i64>,
    /// Continue after this delivery (exclusive).
    pub after: Option<DeliveryId>,
    /// At most 100.
    pub limit: usize,
}

/// One page of a list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The deliveries. May be fewer than asked for although `next` is set: a rare filter over a long history is answered in
    /// parts.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins, if there is one.
    pub next: Option<DeliveryId>,
}

/// For `/readyz`, `/metrics` and the bench.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Deliveries that are still owed.
    pub pending: u64,
    /// Frames acknowledged but not yet in the index.
    pub index_lag_frames: u64,
    /// False while commits are refused.
    pub writable: bool,
}

/// A handle; clones share one store. Reads see every acknowledged write.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) core: Arc<Core>,
}

impl Store {
    /// Opens the journal, cuts a torn tail, brings the index up to date (or rebuilds it). Commits wait until `run` runs.
    pub async fn open(
        settings: Settings,
        disk: Arc<dyn Disk>,
        index: IndexFactory,
        clock: SharedClock,
    ) -> Result<(Self, Recovery), StoreError> {
        let opened = opening::open(disk.as_ref(), &index).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let segments = opened.segments;
        let journal = Journal::resume(
            disk.clone(),
            settings.segment_bytes,
            segments.clone(),
            End { next: opened.next, len: opened.active_len, headed: opened.headed },
        );
        let core = Core {
            settings,
            disk,
            clock,
            index: opened.index,
            state: RwLock::new(opened.state),
            segments,
            feed: Feed::default(),
            queue,
            unstarted: Mutex::new(Some(Unstarted { queue: waiting, journal })),
            closing: watch::Sender::new(false),
            stage: watch::Sender::new(Stage::Idle),
            writable: Gate::new(true),
            ailing: AtomicBool::new(false),
            ailed: Notify::new(),
            broken: watch::Sender::new(None),
            dirtied: Notify::new(),
            full: Notify::new(),
            room: Notify::new(),
            settled: Notify::new(),
            taken: AtomicU64::new(opened.indexed),
            indexed: AtomicU64::new(opened.indexed),
            checkpoint: Mutex::new(opened.checkpoint),
        };
        Ok((Self { core: Arc::new(core) }, opened.recovery))
    }

    /// The store's own loop: committer, index writer, checkpoints, retention. Runs until `close`, owned by `app`; once.
    /// `Err(Index)`: the index failed; restart the process (or open anew) and it is rebuilt.
    pub async fn run(&self) -> Result<(), StoreError> {
        let unstarted = self.core.unstarted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let unstarted = unstarted.ok_or(StoreError::Closed)?;
        let _ended = Ended(&self.core);
        self.core.stage.send_replace(Stage::Running);
        let loops = async {
            tokio::try_join!(
                Box::pin(commit::run(self.core.clone(), unstarted)),
                Box::pin(flush::run(self.core.clone())),
                Box::pin(compaction::run(self.core.clone())),
                Box::pin(upkeep::run(self.core.clone())),
            )
        };
        let result = loops.await.map(|_| ());
        if let Err(error @ StoreError::Index(_)) = &result {
            tracing::error!(%error, "the index is given up; it will be rebuilt at the next start");
            if let Err(error) = self.core.disk.create(survey::REBUILD).await {
                tracing::warn!(%error, "this could not be noted down");
            }
        }
        result
    }

    /// Makes the batch durable, all or nothing. Returning `Ok` means that fdatasync has returned.
    /// Commits become visible in the order in which they were called. Dropping the future does not take the batch back.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (body, places) = codec::encode(&batch);
        if body.len() > self.core.settings.batch_bytes.min(MAX_BODY - group::prefix(Kind::Seal)) {
            return Err(StoreError::TooLarge(body.len()));
        }
        if self.core.is_closing() {
            return Err(StoreError::Closed);
        }
        if !self.core.is_writable() {
            return Err(StoreError::Blocked("the data folder cannot be written".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        let pieces = group::split(&batch.records, body, places, self.core.settings.frame_bytes);
        let queued = Queued { pieces, records: batch.records, answer };
        self.core.queue.send(queued).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Stops accepting, writes what is queued, flushes the index, ends `run`.
    pub async fn close(&self) {
        self.core.closing.send_replace(true);
        if *self.core.stage.borrow() == Stage::Idle {
            // `run`, if it is called at all, does the rest
            return;
        }
        // the sender lives in `core`: waiting cannot fail
        let _ = self.core.stage.subscribe().wait_for(|stage| *stage == Stage::Ended).await;
    }

    /// Everything committed up to here is durable here; `None` before the first snapshot is complete.
    pub fn position(&self) -> Option<Lsn> {
        self.core.read().history.position
    }
    /// Which history we follow.
    pub fn identity(&self) -> Option<Identity> {
        self.core.read().history.identity.clone()
    }
    /// A first snapshot that was begun and not completed.
    pub fn filling(&self) -> Option<Identity> {
        self.core.read().history.filling.clone()
    }
    /// All subscriptions, deleted ones too while their row exists.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.core.read().subscriptions.values().map(|s| (**s).clone()).collect()
    }
    /// One of them.
    pub fn subscription(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        self.core.read().subscriptions.get(&id).cloned()
    }
    /// Waits for deliveries that became pending since the last call (new, or retried by hand), in commit order.
    /// The feed is bounded: when it overflowed, the second value is true and the caller re-reads its lanes.
    /// What was pending when the store was opened is not in it. Cancel-safe; for one consumer.
    pub async fn fresh(&self) -> (Vec<Pending>, bool) {
        self.core.feed.take().await
    }
    /// Health.
    pub fn vitals(&self) -> Vitals {
        let applied = self.core.read().applied;
        Vitals {
            pending: applied.pending,
            index_lag_frames: applied.frame.saturating_sub(self.core.taken_to()),
            writable: self.core.is_writable(),
        }
    }
    /// Resolves when `vitals().writable` is true; at once if it is. Cancel-safe.
    pub async fn writable(&self) {
        self.core.writable.opened().await;
    }
}

/// However `run` ends, nobody waits for it any more.
struct Ended<'a>(&'a Core);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.stage.send_replace(Stage::Ended);
    }
}
