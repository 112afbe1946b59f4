//! What the handle and the store's own loops share. Knows no loop and no question.
use crate::clock::SharedClock;
use crate::disk::Disk;
use crate::domain::Routing;
use crate::fault;
use crate::settings::StoreSettings;
use crate::store::engine::feed::Feed;
use crate::store::engine::fetch::assert_may_block;
use crate::store::engine::gate::Gate;
use crate::store::engine::observer::FlushObserver;
use crate::store::engine::queued::Queued;
use crate::store::error::StoreError;
use crate::store::index::overlay::{Known, Overlay, Scanned, Way, scan};
use crate::store::index::{Index, IndexError};
use crate::store::log::port::{FrameNo, Log};
use crate::store::records::field::Malformed;
use crate::store::state::State;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, mpsc, watch};

/// How far `Store::run` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum StoreStage {
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
pub(in crate::store) struct Unstarted {
    pub(in crate::store) queue: mpsc::Receiver<Queued>,
    /// The last durable frame.
    pub(in crate::store) last: FrameNo,
}

/// One store.
#[derive(Debug)]
pub(in crate::store) struct Core {
    pub(in crate::store) settings: StoreSettings,
    /// Is told how long each fdatasync of the journal took.
    pub(in crate::store) flush_observer: OnceLock<FlushObserver>,
    pub(in crate::store) disk: Arc<dyn Disk>,
    pub(in crate::store) clock: SharedClock,
    pub(in crate::store) index: Arc<dyn Index>,
    /// Never held across an await.
    pub(in crate::store) state: RwLock<State>,
    /// Who wants what, as of the last batch that was applied.
    pub(in crate::store) routing: watch::Sender<Arc<Routing>>,
    /// The journal: what is durable.
    pub(in crate::store) log: Arc<dyn Log>,
    pub(in crate::store) feed: Feed,
    pub(in crate::store) queue: mpsc::Sender<Queued>,
    pub(in crate::store) unstarted: Mutex<Option<Unstarted>>,
    pub(in crate::store) closing: watch::Sender<bool>,
    pub(in crate::store) stage: watch::Sender<StoreStage>,
    pub(in crate::store) writable: Gate,
    /// The index has every delivery of the journal: open but while it is being rebuilt.
    pub(in crate::store) complete: Gate,
    /// The disk has refused a write of the index: the committer tries it again when the disk is well.
    pub(in crate::store) ailing: AtomicBool,
    /// It has begun to ail.
    pub(in crate::store) ailed: Notify,
    /// Where the deliveries of the journal are read on from; `None`: the index has them all.
    pub(in crate::store) catch_up: Mutex<Option<FrameNo>>,
    /// The folder says that the index is to be rebuilt.
    pub(in crate::store) marked: AtomicBool,
    /// Why the index failed: ends `run`.
    pub(in crate::store) broken: watch::Sender<Option<String>>,
    /// Something waits for the index.
    pub(in crate::store) dirtied: Notify,
    /// Enough waits for the index.
    pub(in crate::store) full: Notify,
    /// A generation has gone to the index.
    pub(in crate::store) room: Notify,
    /// Something in the index has become durable.
    pub(in crate::store) settled: Notify,
    /// Up to which frame the index is complete.
    pub(in crate::store) taken: AtomicU64,
    /// Up to which frame it would be complete after a kill: the journal must keep what comes after.
    pub(in crate::store) indexed: AtomicU64,
    /// The newest checkpoint: its frame and its bytes.
    pub(in crate::store) checkpoint: Mutex<(u64, u64)>,
}

impl Core {
    pub(in crate::store) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(in crate::store) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// Point read through overlay and index, inside `offload`.
    pub(in crate::store) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        // the overlay first: what leaves it meanwhile is in the index
        let newer = self.read().overlay.peek(key);
        match newer {
            Some(Known::Here(value)) => Ok(Some(value)),
            Some(Known::Gone) => Ok(None),
            None => self.get_older(key),
        }
    }
    /// Point read of the index alone, inside `offload`.
    pub(in crate::store) fn get_older(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        assert_may_block();
        Ok(self.index.get(key).map_err(|e| self.failed(e))?.map(Bytes::from))
    }
    /// Range read through overlay and index, inside `offload`.
    pub(in crate::store) fn scan(
        &self,
        range: (&[u8], &[u8]),
        way: Way,
        limit: usize,
    ) -> Result<Scanned, StoreError> {
        assert_may_block();
        let overlay = |look: &mut dyn FnMut(&Overlay)| look(&self.read().overlay);
        scan(&overlay, self.index.as_ref(), range, way, limit).map_err(|e| self.failed(e))
    }
    /// Waits while the index is being rebuilt. Cancel-safe.
    pub(in crate::store) async fn deliveries_complete(&self) {
        self.complete.opened().await;
    }
    /// Tells those who follow the subscriptions, if anything has changed for them. While a snapshot is taken anew the last routing
    /// holds: the rows that are not read yet are not gone.
    pub(in crate::store) fn publish(&self, state: &State) {
        let routing = &state.routing;
        self.routing.send_if_modified(|current| {
            let same = current.applied == routing.applied && current.same_subscriptions(routing);
            if same || state.history.position.is_none() {
                return false;
            }
            let stale = fault::planted("stale-subscription");
            let mut next = if stale { (**current).clone() } else { routing.clone() };
            next.applied = routing.applied;
            *current = Arc::new(next);
            true
        });
    }
    pub(in crate::store) fn is_writable(&self) -> bool {
        self.writable.is_open()
    }
    pub(in crate::store) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }
    pub(in crate::store) fn is_ailing(&self) -> bool {
        self.ailing.load(Ordering::SeqCst)
    }
    /// The disk has refused a write of the index: commits are refused too until it is mended.
    pub(in crate::store) fn ail(&self) {
        self.ailing.store(true, Ordering::SeqCst);
        self.writable.set(false);
        self.ailed.notify_one();
        // the committer may wait there
        self.room.notify_one();
    }
    /// Up to which frame the index is complete.
    pub(in crate::store) fn taken_to(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
    /// Up to which frame it is durable.
    pub(in crate::store) fn settled_to(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }
    /// The index has a generation that ends with this frame.
    pub(in crate::store) fn took(&self, frame: u64, settled: bool) {
        self.taken.store(frame, Ordering::Release);
        if settled {
            self.indexed.store(frame, Ordering::Release);
            self.settled.notify_one();
        }
        self.room.notify_one();
    }
    /// The index failed: `run` ends, the next `open` rebuilds it. Unless the disk was at fault.
    pub(in crate::store) fn failed(&self, error: IndexError) -> StoreError {
        if let IndexError::Broken(why) = &error {
            self.broken.send_replace(Some(why.clone()));
        }
        error.into()
    }
    /// Bytes in the index that are not ours.
    pub(in crate::store) fn unreadable(&self, error: Malformed) -> StoreError {
        self.failed(IndexError::Broken(error.to_string()))
    }
}

/// Waits for `close`. Holds no guard of the channel, unlike `wait_for`'s answer.
pub(in crate::store) async fn asked_to_close(closing: &mut watch::Receiver<bool>) {
    // the sender lives as long as the store
    let _ = closing.wait_for(|closing| *closing).await;
}
