//! Purpose: reads of the index off the runtime, and what `apply` needs of it, fetched before the lock. Must not: hold the state's lock
//! while it reads.
use crate::store::engine::core::Core;
use crate::store::error::StoreError;
use crate::store::index::overlay::Fetched;
use crate::store::records::record::Record;
use crate::store::state::State;
use crate::store::state::apply::wanted;
use std::cell::Cell;
use std::sync::Arc;
use tokio::time::sleep;

thread_local! {
    /// This thread runs a closure of `offload`: it may read the index.
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// The index is read here, in a place where it may block. A read elsewhere holds up a worker of the runtime, and with it an ack.
pub(in crate::store) fn assert_may_block() {
    debug_assert!(MAY_BLOCK.get(), "the index is read on a worker of the runtime");
}

fn blocking<T>(call: impl FnOnce() -> T) -> T {
    struct Until(bool);
    impl Drop for Until {
        fn drop(&mut self) {
            MAY_BLOCK.set(self.0);
        }
    }
    let _until = Until(MAY_BLOCK.replace(true));
    call()
}

impl Core {
    /// Runs reads or writes of the index where they may block: on the blocking pool. A simulated index stays on its thread and
    /// is late on the simulated clock. A panic of the call is the caller's own. `Closed`: the process ends.
    pub(in crate::store) async fn offload<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.index.blocks() {
            let delay = self.index.delay();
            let answer = blocking(|| call(self));
            if !delay.is_zero() {
                sleep(delay).await;
            }
            return Ok(answer);
        }
        let core = self.clone();
        let called = tokio::task::spawn_blocking(move || blocking(|| call(&core))).await;
        called.map_err(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => StoreError::Closed,
        })
    }

    /// What these records need of the index and the overlay does not hold. Without such a key nothing is read; nor during a catch-up,
    /// which brings these deliveries itself.
    pub(in crate::store) async fn fetch(
        self: &Arc<Self>,
        records: &[Record],
        unseen: bool,
    ) -> Result<Fetched, StoreError> {
        let (mut fetched, keys) = {
            let state = self.read();
            // before the index is read: how long a value is good counts from here
            let fetched = Fetched::begin(&state.overlay);
            let keys: Vec<_> = missing(&state, records, unseen, &fetched).collect();
            (fetched, if state.catching_up { Vec::new() } else { keys })
        };
        if keys.is_empty() {
            return Ok(fetched);
        }
        let read = self.offload(move |core| {
            for key in keys {
                let value = core.get_older(&key)?;
                fetched.add(key, value);
            }
            Ok(fetched)
        });
        read.await?
    }
}

/// The keys that these records need and that neither the overlay nor what was fetched tells.
pub(in crate::store) fn missing<'a>(
    state: &'a State,
    records: &'a [Record],
    unseen: bool,
    fetched: &'a Fetched,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let ours = records.iter().filter(|record| !state.scope.skips(record));
    let wanted = ours.filter_map(move |record| wanted(record, unseen));
    wanted.filter(|key| state.overlay.look(key, fetched).is_none())
}
