//! Purpose: lets a caller read the store where a thread may wait for the disk. Must not: depend on what is read.
use crate::store::error::StoreError;
use crate::store::outbox::Store;

impl Store {
    /// Calls where a thread may wait: on a thread for that if the index reads a disk, else here (a simulation has one thread, and
    /// its order must not depend on another). A panic of the call is the caller's own. `Closed`: the process ends.
    pub async fn offload<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.core.index.blocks() {
            return Ok(call(self));
        }
        let store = self.clone();
        let called = tokio::task::spawn_blocking(move || call(&store)).await;
        called.map_err(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => StoreError::Closed,
        })
    }
}
