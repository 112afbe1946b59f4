//! Whether commits are taken. Knows not why.
//!
//! Several stages wait for it. They wake in the order in which they began to wait: tokio's `watch` wakes its receivers in
//! random order, and then no simulated run could be repeated.
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Open or closed, and whoever waits for it.
#[derive(Debug)]
pub(in crate::store) struct Gate {
    open: AtomicBool,
    changed: Notify,
}

impl Gate {
    pub(in crate::store) fn new(open: bool) -> Self {
        Self { open: AtomicBool::new(open), changed: Notify::new() }
    }
    pub(in crate::store) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }
    pub(in crate::store) fn set(&self, open: bool) {
        if self.open.swap(open, Ordering::SeqCst) != open {
            self.changed.notify_waiters();
        }
    }
    /// Resolves when it is open; a change between two looks is not missed. Cancel-safe.
    pub(in crate::store) async fn opened(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // first in line, then a look: whoever opens it in between is heard
            changed.as_mut().enable();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::task::{JoinSet, yield_now};

    #[tokio::test]
    async fn waiters_wake_in_their_order() {
        let (gate, woken) = (Arc::new(Gate::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut waiters = JoinSet::new();
        for number in 0..20 {
            let (gate, woken) = (gate.clone(), woken.clone());
            waiters.spawn(async move {
                gate.opened().await;
                woken.lock().unwrap().push(number);
            });
        }
        yield_now().await;
        assert!(woken.lock().unwrap().is_empty());
        gate.set(true);
        waiters.join_all().await;
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
        gate.opened().await;
    }
}
