//! Purpose: opens, runs and closes the store, says how it is, and gives its handles. Must not: commit or answer: the handles do.
use crate::clock::SharedClock;
use crate::disk::Disk;
use crate::settings::StoreSettings;
use crate::store::engine::catch_up;
use crate::store::engine::commit::{self, QUEUE};
use crate::store::engine::compaction;
use crate::store::engine::core::{Core, StoreStage, Unstarted};
use crate::store::engine::feed::Feed;
use crate::store::engine::flush;
use crate::store::engine::gate::Gate;
use crate::store::engine::observer::FlushObserver;
use crate::store::engine::upkeep;
use crate::store::error::StoreError;
use crate::store::handles::answers::Answers;
use crate::store::handles::checkpoint::Checkpoint;
use crate::store::handles::history::History;
use crate::store::handles::lease::OwnerLease;
use crate::store::handles::outbox::Outbox;
use crate::store::index::IndexFactory;
use crate::store::log::port::Log;
use crate::store::log::segments::SegmentLog;
use crate::store::recovery::opening;
use crate::store::recovery::opening::Recovery;
use crate::store::state::StoreScope;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use tokio::sync::{Notify, mpsc, watch};

/// For `/readyz`, `/metrics` and the bench.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Deliveries that are still owed; while the index is being rebuilt, those of them that are in it.
    pub pending: u64,
    /// The index is being rebuilt: deliveries cannot be read.
    pub rebuilding: bool,
    /// Frames acknowledged but not yet in the index.
    pub index_lag_frames: u64,
    /// False while commits are refused.
    pub writable: bool,
}

/// A handle; clones share one store. Reads see every acknowledged write.
#[derive(Debug, Clone)]
pub struct Store {
    pub(in crate::store) core: Arc<Core>,
}

impl Store {
    /// Opens the journal, cuts a torn tail, brings the index up to date. One that must be rebuilt has what outlives the journal's
    /// segments when this returns; `run` brings the deliveries, and who asks for them waits. Commits wait until `run` runs.
    pub async fn open(
        settings: StoreSettings,
        disk: Arc<dyn Disk>,
        index: IndexFactory,
        clock: SharedClock,
    ) -> Result<(Self, Recovery), StoreError> {
        let log = SegmentLog::new(disk.clone(), settings.segment_bytes, settings.min_free);
        Self::open_on(settings, (disk, Arc::new(log), StoreScope::Whole), index, clock).await
    }

    /// The same on a log that lies elsewhere, of which it keeps a part; the disk then holds only what can be made again.
    pub async fn open_on(
        settings: StoreSettings,
        (disk, log, scope): (Arc<dyn Disk>, Arc<dyn Log>, StoreScope),
        index: IndexFactory,
        clock: SharedClock,
    ) -> Result<(Self, Recovery), StoreError> {
        let opened = opening::open(disk.as_ref(), log.as_ref(), &index, scope).await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let core = Core {
            settings,
            flush_observer: OnceLock::new(),
            disk,
            clock,
            index: opened.index,
            routing: watch::Sender::new(Arc::new(opened.state.routing.clone())),
            state: RwLock::new(opened.state),
            log,
            feed: Feed::default(),
            queue,
            unstarted: Mutex::new(Some(Unstarted { queue: waiting, last: opened.last })),
            closing: watch::Sender::new(false),
            stage: watch::Sender::new(StoreStage::Idle),
            writable: Gate::new(true),
            marked: AtomicBool::new(opened.catch_up.is_some()),
            complete: Gate::new(opened.catch_up.is_none()),
            catch_up: Mutex::new(opened.catch_up),
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
        let _ended = RunEnded(&self.core);
        self.core.stage.send_replace(StoreStage::Running);
        let loops = async {
            tokio::try_join!(
                Box::pin(commit::run(self.core.clone(), unstarted)),
                Box::pin(flush::run(self.core.clone())),
                Box::pin(compaction::run(self.core.clone())),
                Box::pin(upkeep::run(self.core.clone())),
                Box::pin(catch_up::run(self.core.clone())),
            )
        };
        let result = loops.await.map(|_| ());
        if let Err(error @ StoreError::Index(_)) = &result {
            tracing::error!(%error, "the index is given up; it will be rebuilt at the next start");
            if let Err(error) = self.core.disk.create(catch_up::REBUILD).await {
                tracing::warn!(%error, "this could not be noted down");
            }
        }
        result
    }

    /// Capture's handle.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { core: self.core.clone() }
    }
    /// Dispatch's handle.
    pub fn outbox(&self) -> Outbox {
        Outbox { core: self.core.clone(), lease: OwnerLease::forever() }
    }
    /// The same for an owner whose time is limited.
    pub fn outbox_until(&self, lease: OwnerLease) -> Outbox {
        Outbox { core: self.core.clone(), lease }
    }
    /// The handle of whoever looks at deliveries.
    pub fn history(&self) -> History {
        History { core: self.core.clone() }
    }
    /// The handle of idempotency keys.
    pub fn answers(&self) -> Answers {
        Answers { core: self.core.clone() }
    }

    /// What is left of a rebuild, at once: for a store that nobody runs.
    pub async fn finish_rebuild(&self) -> Result<(), StoreError> {
        catch_up::to_the_end(&self.core).await
    }

    /// Stops accepting, writes what is queued, flushes the index, ends `run`.
    pub async fn close(&self) {
        self.core.closing.send_replace(true);
        if *self.core.stage.borrow() == StoreStage::Idle {
            // `run`, if it is called at all, does the rest
            return;
        }
        // the sender lives in `core`: waiting cannot fail
        let _ = self.core.stage.subscribe().wait_for(|stage| *stage == StoreStage::Ended).await;
    }

    /// Who is told how long each fdatasync of the journal takes; the first one stays.
    pub fn observe_flush(&self, observer: FlushObserver) {
        let _already_told = self.core.flush_observer.set(observer);
    }

    /// Health.
    pub fn vitals(&self) -> Vitals {
        let (applied, rebuilding) = {
            let state = self.core.read();
            (state.applied, state.catching_up)
        };
        Vitals {
            pending: applied.pending,
            rebuilding,
            index_lag_frames: applied.frame.saturating_sub(self.core.taken_to()),
            writable: self.core.is_writable(),
        }
    }
}

/// However `run` ends, nobody waits for it any more.
struct RunEnded<'a>(&'a Core);

impl Drop for RunEnded<'_> {
    fn drop(&mut self) {
        self.0.stage.send_replace(StoreStage::Ended);
    }
}
