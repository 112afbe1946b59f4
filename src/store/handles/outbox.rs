//! Purpose: what is owed, for the one who delivers it. Must not: have two consumers: `fresh` is for one.
use crate::domain::{
    Delivery, DeliveryKey, Event, KeepingError, Pending, Routing, Seq, Settled, SubscriptionId,
};
use crate::store::engine::core::Core;
use crate::store::handles::lease::OwnerLease;
use crate::store::records::entry::Locator;
use crate::store::records::record::{Batch, Record};
use std::sync::Arc;
use tokio::sync::watch;

/// Dispatch's handle; clones share one store.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(in crate::store) core: Arc<Core>,
    pub(in crate::store) lease: OwnerLease,
}

impl Outbox {
    /// A history is followed: before the first snapshot is complete nothing is owed.
    pub fn is_begun(&self) -> bool {
        self.core.read().history.position.is_some()
    }
    /// Who wants what, from batch to batch: before a delivery comes by `fresh`, its subscription is there.
    pub fn routing(&self) -> watch::Receiver<Arc<Routing>> {
        self.core.routing.subscribe()
    }
    /// Subscriptions with something pending: what dispatch starts with.
    pub async fn lanes(&self) -> Result<Vec<SubscriptionId>, KeepingError> {
        Ok(self.core.ask(Core::lanes).await?)
    }
    /// Pending deliveries of a lane with `seq > after` (`None`: from the start), in order. As of one time within the call: there is no
    /// hole below the last one.
    pub async fn due(
        &self,
        lane: SubscriptionId,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Pending>, KeepingError> {
        Ok(self.core.ask(move |core| core.due(lane, after, limit)).await?)
    }
    /// The first pending delivery of an ordering key in a lane.
    pub async fn first_in_order(
        &self,
        lane: SubscriptionId,
        order: u64,
    ) -> Result<Option<Pending>, KeepingError> {
        Ok(self.core.ask(move |core| core.first_in_order(lane, order)).await?)
    }
    /// Waits for deliveries that became pending since the last call (new, or retried by hand), in commit order.
    /// The feed is bounded: when it overflowed, the second value is true and the caller re-reads its lanes.
    /// What was pending when the store was opened is not in it. Cancel-safe; for one consumer.
    pub async fn fresh(&self) -> (Vec<Pending>, bool) {
        self.core.feed.take().await
    }
    /// The event of a delivery that is owed, body included: from memory when fresh, else from the log, checked. `None`: its place
    /// is gone with the end of its history. `Unusable`: its bytes are not what was written.
    pub async fn event(&self, pending: &Pending) -> Result<Option<Arc<Event>>, KeepingError> {
        let (at, id) = (Locator::of(pending.place), pending.event_id);
        match self.core.cached(at, id) {
            Some(event) => Ok(Some(event)),
            None => Ok(self.core.event_at(at, id).await?),
        }
    }
    /// A delivery, whatever became of it.
    pub async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, KeepingError> {
        let key = key.clone();
        Ok(self.core.ask_soon(move |core| Ok(core.entry(&key)?.map(|entry| entry.delivery))).await?)
    }
    /// Whose time it is: no attempt begins when it is over.
    pub fn lease(&self) -> OwnerLease {
        self.lease.clone()
    }
    /// Makes outcomes durable, all or nothing. What is not legal any more (the delivery has ended) is ignored. `Fenced`: they are another
    /// owner's now, for good.
    pub async fn settle(&self, settled: Vec<Settled>) -> Result<(), KeepingError> {
        let records = settled.into_iter().map(Record::from).collect();
        Ok(self.core.commit(Batch { records }, false).await?)
    }
    /// Resolves when outcomes are taken; at once if they are. Cancel-safe.
    pub async fn writable(&self) {
        self.core.writable.opened().await;
    }
}
