//! What an instance holds, and a store with the stage over it. Must not: decide who holds what.
use crate::plan::Kind;
use crate::world::World;
use std::time::Duration;
use tailhook::store::{Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A duty is put down within this time.
const STOP: Duration = Duration::from_secs(20);

/// A duty that an instance holds. Dropped, it is cut off.
pub(crate) struct Held {
    pub(crate) lease: watch::Sender<Instant>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinSet<()>,
}

impl Held {
    pub(crate) async fn put_down(mut self, world: &World) {
        self.stop.send_replace(true);
        let ended = async { while self.task.join_next().await.is_some() {} };
        if timeout(STOP, ended).await.is_err() && !world.faulty(Kind::Log) {
            world.violated(format!("a duty is not put down within {STOP:?}"));
        }
    }
}

/// A store and the stage over it, until either ends.
pub(crate) async fn both(
    store: &Store,
    stage: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    let mut running = std::pin::pin!(store.run());
    let mut stage = std::pin::pin!(stage);
    let came = tokio::select! {
        biased;
        ended = &mut running => return ended,
        came = &mut stage => came,
    };
    let closed = async { tokio::join!(store.close(), running).1 };
    came.and(timeout(STOP, closed).await.unwrap_or(Ok(())))
}
