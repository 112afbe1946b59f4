//! Deliveries that became pending, for the scheduler, in commit order. Bounded; knows nothing else.
use crate::domain::Pending;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

const MOST: usize = 16 * 1024;

/// One producer (the committer), one consumer (dispatch).
#[derive(Debug, Default)]
pub(in crate::store) struct Feed {
    waiting: Mutex<(VecDeque<Pending>, bool)>,
    filled: Notify,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Pending>, bool)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(in crate::store) fn push(&self, woken: Vec<Pending>) {
        if woken.is_empty() {
            return;
        }
        {
            let mut waiting = self.lock();
            let room = MOST.saturating_sub(waiting.0.len());
            waiting.1 |= woken.len() > room;
            waiting.0.extend(woken.into_iter().take(room));
        }
        self.filled.notify_one();
    }
    /// Waits until there is something. Cancel-safe: nothing is taken before it is returned.
    pub(in crate::store) async fn take(&self) -> (Vec<Pending>, bool) {
        loop {
            {
                let mut waiting = self.lock();
                if waiting.1 || !waiting.0.is_empty() {
                    let overflowed = std::mem::take(&mut waiting.1);
                    return (waiting.0.drain(..).collect(), overflowed);
                }
            }
            self.filled.notified().await;
        }
    }
}
