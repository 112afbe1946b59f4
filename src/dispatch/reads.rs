//! Purpose: reads of the store that are under way, each a task, few at once: dispatch goes on while one stalls. Must not: depend on the
//! scheduler, or judge an answer.
use crate::dispatch::backlog::refill::{BegunRead, Want};
use crate::dispatch::message::GivenUp;
use crate::domain::{DeliveryKey, EventName, KeepingError, Pending, SubscriptionId};
use crate::fault;
use crate::store::Outbox;
use std::collections::BTreeMap;
use tokio::task::{self, JoinError, JoinSet};

/// Reads for the scheduler at once.
const READS: usize = 4;

/// What a task reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Reading {
    /// Which lanes have something pending.
    Lanes,
    /// The events' names of deliveries that were given up.
    Names,
    /// What the scheduler wants.
    Wanted(BegunRead),
}

/// What came of it.
#[derive(Debug)]
pub(in crate::dispatch) enum ReadAnswer {
    Lanes(Vec<SubscriptionId>),
    Names(Vec<Option<EventName>>),
    Wanted(BegunRead, Vec<Pending>),
    /// It could not be read.
    Failed(Reading, String),
}

/// The reads that are under way.
pub(in crate::dispatch) struct Reads {
    outbox: Outbox,
    tasks: JoinSet<ReadAnswer>,
    under_way: BTreeMap<task::Id, Reading>,
}

impl Reads {
    pub(in crate::dispatch) fn new(outbox: Outbox) -> Self {
        Self { outbox, tasks: JoinSet::new(), under_way: BTreeMap::new() }
    }

    /// So many more may begin.
    pub(in crate::dispatch) fn room(&self) -> usize {
        let wanted = self.under_way.values().filter(|reading| matches!(reading, Reading::Wanted(_)));
        READS.saturating_sub(wanted.count())
    }

    /// Reads what the scheduler wants.
    pub(in crate::dispatch) fn begin(&mut self, read: BegunRead) {
        let outbox = self.outbox.clone();
        self.spawn(Reading::Wanted(read), async move {
            let found = wanted(&outbox, read).await;
            fault::crash_point("dispatch.page-read");
            found.map(|found| ReadAnswer::Wanted(read, found))
        });
    }

    /// Reads which lanes have something pending; false: that is under way.
    pub(in crate::dispatch) fn begin_lanes(&mut self) -> bool {
        let free = !self.is_under_way(Reading::Lanes);
        if free {
            let outbox = self.outbox.clone();
            self.spawn(Reading::Lanes, async move { outbox.lanes().await.map(ReadAnswer::Lanes) });
        }
        free
    }

    /// Reads the events' names of deliveries, one by one; false: others are being read.
    pub(in crate::dispatch) fn begin_names(&mut self, of: &[GivenUp]) -> bool {
        let free = !self.is_under_way(Reading::Names);
        if free {
            let outbox = self.outbox.clone();
            let keys: Vec<DeliveryKey> = of.iter().map(|given_up| given_up.key.clone()).collect();
            self.spawn(Reading::Names, async move {
                let mut names = Vec::with_capacity(keys.len());
                for key in keys {
                    let delivery = outbox.delivery(&key).await;
                    // a name that cannot be read is another one
                    names.push(delivery.ok().flatten().map(|delivery| delivery.event));
                }
                Ok(ReadAnswer::Names(names))
            });
        }
        free
    }

    /// Waits for an answer; `None`: nothing is under way. Cancel-safe.
    pub(in crate::dispatch) async fn finished(&mut self) -> Option<ReadAnswer> {
        let joined = self.tasks.join_next_with_id().await?;
        Some(self.close(joined))
    }
    /// The same, without waiting.
    pub(in crate::dispatch) fn finished_now(&mut self) -> Option<ReadAnswer> {
        let joined = self.tasks.try_join_next_with_id()?;
        Some(self.close(joined))
    }

    fn is_under_way(&self, reading: Reading) -> bool {
        self.under_way.values().any(|of| *of == reading)
    }

    fn spawn(
        &mut self,
        reading: Reading,
        answer: impl Future<Output = Result<ReadAnswer, KeepingError>> + Send + 'static,
    ) {
        let failed = move |error: KeepingError| ReadAnswer::Failed(reading, error.to_string());
        let handle = self.tasks.spawn(async move { answer.await.unwrap_or_else(failed) });
        self.under_way.insert(handle.id(), reading);
    }

    fn close(&mut self, joined: Result<(task::Id, ReadAnswer), JoinError>) -> ReadAnswer {
        let (id, answer) = match joined {
            Ok((id, answer)) => (id, Ok(answer)),
            Err(e) => (e.id(), Err(format!("a read did not end: {e}"))),
        };
        let reading = self.under_way.remove(&id);
        debug_assert!(reading.is_some(), "a read that did not begin");
        answer.unwrap_or_else(|why| ReadAnswer::Failed(reading.unwrap_or(Reading::Names), why))
    }
}

/// The answer is as the store is at one time within the read: a page has no hole below its last delivery.
async fn wanted(outbox: &Outbox, read: BegunRead) -> Result<Vec<Pending>, KeepingError> {
    match read.want {
        Want::Page { after, limit } | Want::Count { after, limit } => {
            outbox.due(read.lane, after, limit).await
        }
        Want::First { order } => {
            outbox.first_in_order(read.lane, order).await.map(|found| found.into_iter().collect())
        }
    }
}

#[cfg(test)]
mod tests;
