//! What the handle and the store's own loops share. Knows no loop and no question.
use super::commit::Queued;
use super::disk::Disk;
use super::error::StoreError;
use super::feed::Feed;
use super::field::Malformed;
use super::gate::Gate;
use super::index::{Index, IndexError};
use super::journal::{Journal, Segments};
use super::observer::FlushObserver;
use super::overlay::{Known, Overlay, Scanned, Way, scan};
use super::state::State;
use crate::clock::SharedClock;
use crate::settings::StoreSettings;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, mpsc, watch};

/// How far `Store::run` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// `run` was not called yet.
    Idle,
    /// Commits are taken.
    Running,
    /// The last commit is written; only the index is behind.
    Drained,
    /// `run` has returned or was dropped.
    Ended,
}

/// What only the committer has, from `open` until `run` takes it.
#[derive(Debug)]
pub(super) struct Unstarted {
    pub(super) queue: mpsc::Receiver<Queued>,
    pub(super) journal: Journal,
}

/// One store.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: StoreSettings,
    /// Is told how long each fdatasync of the journal took.
    pub(super) flush_observer: OnceLock<FlushObserver>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: SharedClock,
    pub(super) index: Arc<dyn Index>,
    /// Never held across an await.
    pub(super) state: RwLock<State>,
    pub(super) segments: Segments,
    pub(super) feed: Feed,
    pub(super) queue: mpsc::Sender<Queued>,
    pub(super) unstarted: Mutex<Option<Unstarted>>,
    pub(super) closing: watch::Sender<bool>,
    pub(super) stage: watch::Sender<Stage>,
    pub(super) writable: Gate,
    /// The disk has refused a write of the index: the committer tries it again when the disk is well.
    pub(super) ailing: AtomicBool,
    /// It has begun to ail.
    pub(super) ailed: Notify,
    /// Why the index failed: ends `run`.
    pub(super) broken: watch::Sender<Option<String>>,
    /// Something waits for the index.
    pub(super) dirtied: Notify,
    /// Enough waits for the index.
    pub(super) full: Notify,
    /// A generation has gone to the index.
    pub(super) room: Notify,
    /// Something in the index has become durable.
    pub(super) settled: Notify,
    /// Up to which frame the index is complete.
    pub(super) taken: AtomicU64,
    /// Up to which frame it would be complete after a kill: the journal must keep what comes after.
    pub(super) indexed: AtomicU64,
    /// The newest checkpoint: its frame and its bytes.
    pub(super) checkpoint: Mutex<(u64, u64)>,
}

impl Core {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// Point read through overlay and index.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        // the overlay first: what leaves it meanwhile is in the index
        let newer = self.read().overlay.peek(key);
        match newer {
            Some(Known::Here(value)) => Ok(Some(value)),
            Some(Known::Gone) => Ok(None),
            None => Ok(self.index.get(key).map_err(|e| self.failed(e))?.map(Bytes::from)),
        }
    }
    /// Range read through overlay and index.
    pub(super) fn scan(&self, range: (&[u8], &[u8]), way: Way, limit: usize) -> Result<Scanned, StoreError> {
        let overlay = |look: &mut dyn FnMut(&Overlay)| look(&self.read().overlay);
        scan(&overlay, self.index.as_ref(), range, way, limit).map_err(|e| self.failed(e))
    }
    /// Runs a long read or write of the index where it may block.
    pub(super) async fn offload<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.index.blocks() {
            return Ok(call(self));
        }
        let core = self.clone();
        let hop = tokio::task::spawn_blocking(move || call(&core));
        hop.await.map_err(|e| IndexError::Broken(e.to_string()).into())
    }
    pub(super) fn is_writable(&self) -> bool {
        self.writable.is_open()
    }
    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }
    pub(super) fn is_ailing(&self) -> bool {
        self.ailing.load(Ordering::SeqCst)
    }
    /// The disk has refused a write of the index: commits are refused too until it is mended.
    pub(super) fn ail(&self) {
        self.ailing.store(true, Ordering::SeqCst);
        self.writable.set(false);
        self.ailed.notify_one();
        // the committer may wait there
        self.room.notify_one();
    }
    /// Up to which frame the index is complete.
    pub(super) fn taken_to(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
    /// Up to which frame it is durable.
    pub(super) fn settled_to(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }
    /// The index has a generation that ends with this frame.
    pub(super) fn took(&self, frame: u64, settled: bool) {
        self.taken.store(frame, Ordering::Release);
        if settled {
            self.indexed.store(frame, Ordering::Release);
            self.settled.notify_one();
        }
        self.room.notify_one();
    }
    /// The index failed: `run` ends, the next `open` rebuilds it. Unless the disk was at fault.
    pub(super) fn failed(&self, error: IndexError) -> StoreError {
        if let IndexError::Broken(why) = &error {
            self.broken.send_replace(Some(why.clone()));
        }
        error.into()
    }
    /// Bytes in the index that are not ours.
    pub(super) fn unreadable(&self, error: Malformed) -> StoreError {
        self.failed(IndexError::Broken(error.to_string()))
    }
}

/// Waits for `close`. Holds no guard of the channel, unlike `wait_for`'s answer.
pub(super) async fn asked_to_close(closing: &mut watch::Receiver<bool>) {
    // the sender lives as long as the store
    let _ = closing.wait_for(|closing| *closing).await;
}
