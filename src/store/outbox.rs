//! The store as the stages see it: commit, due, settle, list. Keeps free of file paths and of engines.
use super::record::{Batch, Idempotent, Identity};
use super::{Disk, Index};
use crate::clock::SharedClock;
use crate::domain::{
    Delivery, DeliveryId, DeliveryKey, Event, FilterStatus, Lsn, Pending, Subscription, SubscriptionId,
    TenantId,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// What went wrong below. All of them leave the journal as it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Disk full, EIO, or less than `store.min_free`: nothing was written; try again later.
    #[error("the data folder cannot be written: {0}")]
    Blocked(String),
    /// A bad frame with good ones after it: an operator is needed.
    #[error("the journal is damaged: {0}; run `tailhook store verify --salvage`")]
    Damaged(String),
    /// The index failed; it is being rebuilt.
    #[error("the index is not available: {0}")]
    Index(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// The `[store]` section, without its path.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Finished deliveries are kept this long.
    pub history: Duration,
    /// And at most this many.
    pub history_max: u64,
    /// Less free disk than this counts as full.
    pub min_free: u64,
    /// Bytes after which a new segment begins (64 MiB; smaller in tests).
    pub segment_bytes: u64,
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
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins, if there is one.
    pub next: Option<DeliveryId>,
}

/// For `/readyz`, `/metrics` and the bench.
#[derive(Debug, Clone, Copy, Default)]
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
pub struct Store {}

impl Store {
    /// Opens the journal, cuts a torn tail, brings the index up to date (or rebuilds it).
    /// `observe_flush` is told how long each fdatasync took.
    pub async fn open(
        _settings: Settings,
        _disk: Arc<dyn Disk>,
        _index: Arc<dyn Index>,
        _clock: SharedClock,
    ) -> Result<(Self, Recovery), StoreError> {
        unimplemented!()
    }
    /// The store's own loop: committer, index writer, checkpoints, retention. Runs until `close`, owned by `app`.
    pub async fn run(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Makes the batch durable, all or nothing. Returning `Ok` means that fdatasync has returned.
    /// Commits become visible in the order in which they were called.
    pub async fn commit(&self, _batch: Batch) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Stops accepting, writes what is queued, flushes the index, ends `run`.
    pub async fn close(&self) {
        unimplemented!()
    }
    /// Everything committed up to here is durable here; `None` before the first snapshot is complete.
    pub fn position(&self) -> Option<Lsn> {
        unimplemented!()
    }
    /// Which history we follow.
    pub fn identity(&self) -> Option<Identity> {
        unimplemented!()
    }
    /// A first snapshot that was begun and not completed.
    pub fn filling(&self) -> Option<Identity> {
        unimplemented!()
    }
    /// All subscriptions, deleted ones too while their row exists.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        unimplemented!()
    }
    /// What the shadow remembers of a row.
    pub fn shadow(&self, _table: &str, _key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        unimplemented!()
    }
    /// Waits for deliveries that became pending since the last call (new, or retried by hand), in commit order.
    /// The feed is bounded: when it overflowed, the second value is true and the caller re-reads its lanes.
    pub async fn fresh(&self) -> (Vec<Pending>, bool) {
        unimplemented!()
    }
    /// Subscriptions with something pending: what dispatch starts with.
    pub fn lanes(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        unimplemented!()
    }
    /// Pending deliveries of a lane with `seq > after` (`None`: from the start), in order.
    pub fn due(
        &self,
        _lane: SubscriptionId,
        _after: Option<(u64, u32)>,
        _limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        unimplemented!()
    }
    /// The first pending delivery of an ordering key in a lane.
    pub fn first_in_order(&self, _lane: SubscriptionId, _order: u64) -> Result<Option<Pending>, StoreError> {
        unimplemented!()
    }
    /// The event of a delivery, body included (from memory when fresh, else from the journal, checked).
    pub fn event(&self, _key: &DeliveryKey) -> Result<Option<Arc<Event>>, StoreError> {
        unimplemented!()
    }
    /// One delivery.
    pub fn delivery(&self, _key: &DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        unimplemented!()
    }
    /// A tenant's deliveries, newest first.
    pub fn list(&self, _tenant: &TenantId, _filter: &Filter) -> Result<Page, StoreError> {
        unimplemented!()
    }
    /// An answer remembered for an Idempotency-Key, if younger than 24 hours.
    pub fn idempotent(&self, _tenant: &TenantId, _key: &str) -> Result<Option<Idempotent>, StoreError> {
        unimplemented!()
    }
    /// Health.
    pub fn vitals(&self) -> Vitals {
        unimplemented!()
    }
    /// Resolves when `vitals().writable` changes.
    pub async fn writable_changed(&self) {
        unimplemented!()
    }
}
