//! Purpose: how far capture has come, and what it remembers. Must not: be written by more than one.
use crate::domain::{Lsn, Routing, Subscription};
use crate::store::engine::core::Core;
use crate::store::error::StoreError;
use crate::store::records::record::{Batch, Identity};
use bytes::Bytes;
use std::sync::Arc;

/// Capture's handle; clones share one store.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub(in crate::store) core: Arc<Core>,
}

impl Checkpoint {
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
        self.routing().all().map(|subscription| (**subscription).clone()).collect()
    }
    /// Who wants what, as of the last batch.
    pub fn routing(&self) -> Arc<Routing> {
        self.core.routing.borrow().clone()
    }
    /// What the shadow remembers of a row. Reads the index: only inside `offload`.
    pub fn shadow(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.core.shadow(table, key)
    }
    /// Runs `call` on the blocking pool, or at once and here where the index does not block (a simulated one).
    pub async fn offload<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let checkpoint = self.clone();
        self.core.offload(move |_| call(&checkpoint)).await
    }
    /// Makes the batch durable, all or nothing. Returning `Ok` means that fdatasync has returned.
    /// Commits become visible in the order in which they are written. Those that need nothing of the index are written in the order
    /// in which they were called. Dropping the future does not take the batch back once it is written.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.core.commit(batch, false).await
    }
    /// The same for deliveries that cannot be in the store, so that nobody asks the index for them: those of transactions that were
    /// committed after the stream was opened.
    pub async fn commit_unseen(&self, batch: Batch) -> Result<(), StoreError> {
        self.core.commit(batch, true).await
    }
    /// Resolves when commits are taken; at once if they are. Cancel-safe.
    pub async fn writable(&self) {
        self.core.writable.opened().await;
    }
}
