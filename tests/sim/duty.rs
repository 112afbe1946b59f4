//! What an instance holds, and a store with the stage over it. Must not: decide who holds what.
use crate::plan::Kind;
use crate::world::World;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tailhook::domain::KeepingError;
use tailhook::store::Store;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A duty is put down within this time.
const STOP: Duration = Duration::from_secs(20);

/// The end of all instances. Unlike those of a watch, its waiters are woken in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct End {
    is_here: AtomicBool,
    waiters: Notify,
}

impl End {
    pub(crate) fn come(&self) {
        self.is_here.store(true, Ordering::SeqCst);
        self.waiters.notify_waiters();
    }
    pub(crate) async fn reached(&self) {
        loop {
            let come = self.waiters.notified();
            if self.is_here.load(Ordering::SeqCst) {
                return;
            }
            come.await;
        }
    }
}

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
    stage: impl Future<Output = Result<(), KeepingError>>,
) -> Result<(), KeepingError> {
    let mut running = std::pin::pin!(store.run());
    let mut stage = std::pin::pin!(stage);
    let came = tokio::select! {
        biased;
        ended = &mut running => return Ok(ended?),
        came = &mut stage => came,
    };
    let closed = async { tokio::join!(store.close(), running).1 };
    came.and(Ok(timeout(STOP, closed).await.unwrap_or(Ok(()))?))
}
