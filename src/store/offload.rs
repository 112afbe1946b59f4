//! Purpose: lends the store to a caller's long work that reads the index, where it may block. Must not: be called while a lock is held.
use crate::store::{Store, StoreError};

impl Store {
    /// Runs `call` on the blocking pool, or at once and here where the index does not block (a simulated one).
    pub async fn offload<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        self.core.offload(move |_| call(&store)).await
    }
}
