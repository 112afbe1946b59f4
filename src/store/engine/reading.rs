//! Purpose: answers of index and log, for the handles. Every answer includes what was acknowledged and is not in the index yet. Must not:
//! be asked on a worker of the runtime: `ask` sees to that.
use crate::domain::{
    Delivery, DeliveryId, DeliveryKey, Event, EventId, FilterStatus, Pending, Seq, Status, SubscriptionId,
    TenantId,
};
use crate::fault;
use crate::store::engine::core::Core;
use crate::store::error::StoreError;
use crate::store::index::keys;
use crate::store::index::overlay::Way;
use crate::store::log::port::Place;
use crate::store::records::codec;
use crate::store::records::entry::{Entry, Locator, brief, decode_pending};
use crate::store::records::field::Reader;
use crate::store::records::record::{Idempotent, REMEMBERED_MS};
use crate::store::state::untag;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exact event name.
    pub event: Option<String>,
    /// Status.
    pub status: Option<FilterStatus>,
    /// Subscription.
    pub subscription: Option<SubscriptionId>,
    /// Resource id.
    pub resource_id: Option<String>,
    /// Created at or after, Unix microseconds.
    pub since_us: Option<i64>,
    /// Created before, Unix microseconds.
    pub until_us: Option<i64>,
    /// Continue after this delivery (exclusive).
    pub after: Option<DeliveryId>,
    /// At most 100.
    pub limit: usize,
}

/// One page of a list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The deliveries. May be fewer than asked for although `next` is set: a rare filter over a long history is answered in
    /// parts.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins, if there is one.
    pub next: Option<DeliveryId>,
}

/// Most deliveries of a page.
const PAGE: usize = 100;
/// Entries that one list call looks at, whatever it finds.
const LOOKED_AT: usize = 50_000;
const SCAN: usize = 256;
/// How long a question about deliveries waits for a rebuild.
const REBUILDING: Duration = Duration::from_secs(2);

/// A delivery and its event; without one when its segment is gone with the end of its history.
#[derive(Debug, Clone)]
pub struct FoundDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// Its event, body included.
    pub event: Option<Arc<Event>>,
}

impl Core {
    /// A question about deliveries, asked where it may wait.
    pub(in crate::store) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.deliveries_complete().await;
        self.offload(question).await?
    }

    /// For somebody who would rather ask again than wait for a rebuild. `Read`: not yet.
    pub(in crate::store) async fn ask_soon<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let complete = timeout(REBUILDING, self.deliveries_complete()).await;
        complete.map_err(|_| StoreError::Read("the index is being rebuilt".to_owned()))?;
        self.offload(question).await?
    }

    pub(in crate::store) fn shadow(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = keys::shadow(table, key);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let (tag, columns) = untag(&value).map_err(|e| self.unreadable(e))?;
        let hidden = self.read().cleared.hides(keys::hash(table), tag);
        Ok((!hidden).then(|| value.slice_ref(columns)))
    }

    pub(in crate::store) fn lanes(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        let mut lanes = Vec::new();
        let mut from = b"p".to_vec();
        // one seek a lane, however much waits in it
        while let Some((key, _)) = self.scan((&from, b"q"), Way::Up, 1)?.pop() {
            let Some(lane) = keys::lane(&key) else { break };
            lanes.push(lane);
            from = keys::successor(&keys::pending(lane, Seq::LAST));
        }
        Ok(lanes)
    }

    pub(in crate::store) fn due(
        &self,
        lane: SubscriptionId,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let from = match after {
            None => keys::pending(lane, Seq::default()),
            Some(seq) => keys::successor(&keys::pending(lane, seq)),
        };
        let to = keys::successor(&keys::pending(lane, Seq::LAST));
        let found = self.scan((&from, &to), Way::Up, limit)?;
        found
            .iter()
            .filter_map(|(key, value)| Some((keys::seq(key)?, value)))
            .map(|(seq, value)| decode_pending(lane, seq, value).map_err(|e| self.unreadable(e)))
            .collect()
    }

    pub(in crate::store) fn first_in_order(
        &self,
        lane: SubscriptionId,
        order: u64,
    ) -> Result<Option<Pending>, StoreError> {
        let mut from = keys::order(lane, order, Seq::default());
        let to = keys::successor(&keys::order(lane, order, Seq::LAST));
        while let Some((key, _)) = self.scan((&from, &to), Way::Up, 1)?.pop() {
            let Some(seq) = keys::seq(&key) else { break };
            if let Some(value) = self.get(&keys::pending(lane, seq))? {
                return decode_pending(lane, seq, &value).map(Some).map_err(|e| self.unreadable(e));
            }
            // it ended between the two reads
            from = keys::successor(&key);
        }
        Ok(None)
    }

    /// Hands out the deliveries of a page, newest first; returns where the next one begins.
    pub(in crate::store) fn list(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        take: &mut dyn FnMut(Entry) -> Result<(), StoreError>,
    ) -> Result<Option<DeliveryId>, StoreError> {
        let floor = |us: Option<i64>| us.map(|us| keys::id_floor(us.div_euclid(1000)));
        let from = keys::delivery_at(tenant, floor(filter.since_us).unwrap_or_default());
        // the millisecond of `until` itself may hold earlier microseconds
        let until = floor(filter.until_us.map(|us| us.saturating_add(1000)));
        let mut to = keys::delivery_at(tenant, until.unwrap_or([u8::MAX; 16]));
        if until.is_none() {
            to = keys::successor(&to);
        }
        if let Some(after) = filter.after {
            to = to.min(keys::delivery_at(tenant, *after.0.as_bytes()));
        }
        let limit = filter.limit.clamp(1, PAGE);
        let (mut taken, mut looked_at) = (0, 0);
        let mut next = None;
        loop {
            let pairs = self.scan((&from, &to), Way::Down, SCAN)?;
            let last = pairs.len() < SCAN;
            for (key, value) in pairs {
                if let Some(entry) = self.select(tenant, filter, &value)? {
                    take(entry)?;
                    taken += 1;
                }
                looked_at += 1;
                if taken == limit || looked_at == LOOKED_AT {
                    next = keys::delivery_id(&key);
                    break;
                }
                to = key;
            }
            if last || next.is_some() {
                break;
            }
        }
        // a next page only if something stands before it
        if let Some(id) = next {
            let to = keys::delivery_at(tenant, *id.0.as_bytes());
            if self.scan((&from, &to), Way::Down, 1)?.is_empty() {
                next = None;
            }
        }
        Ok(next)
    }

    pub(in crate::store) fn idempotent(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Idempotent>, StoreError> {
        let Some(value) = self.get(&keys::idempotent(tenant, key))? else { return Ok(None) };
        let answer = codec::take_idempotent(&mut Reader::new(&value)).map_err(|e| self.unreadable(e))?;
        let young = self.clock.now_ms() < answer.at_ms.saturating_add(REMEMBERED_MS);
        Ok(Some(answer).filter(|a| young && a.tenant == *tenant && a.key == key))
    }

    pub(in crate::store) fn cached(&self, at: Locator, id: EventId) -> Option<Arc<Event>> {
        self.read().events.get(at).filter(|event| event.id == id)
    }

    pub(in crate::store) async fn found(&self, entry: Entry) -> Result<FoundDelivery, StoreError> {
        let (at, id) = (entry.event_at, entry.delivery.event_id);
        let event = match self.cached(at, id) {
            Some(event) => Some(event),
            None => self.event_at(at, id).await?,
        };
        Ok(FoundDelivery { delivery: entry.delivery, event })
    }
}

/// The event, if the bytes are what was written and it is the one that is meant.
pub(in crate::store) fn checked_event(bytes: &[u8], at: Locator, id: EventId) -> Option<Arc<Event>> {
    let whole = crc32c::crc32c(bytes) == at.crc || fault::planted("no-crc-at-read");
    codec::decode_event(bytes).ok().filter(|event| whole && event.id == id)
}

impl Core {
    pub(in crate::store) fn entry(&self, key: &DeliveryKey) -> Result<Option<Entry>, StoreError> {
        let Some(value) = self.get(&keys::delivery(key))? else { return Ok(None) };
        let entry = Entry::decode(&value).map_err(|e| self.unreadable(e))?;
        Ok(Some(entry).filter(|entry| entry.delivery.key == *key))
    }

    pub(in crate::store) async fn event_at(
        &self,
        at: Locator,
        id: EventId,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        let place = Place { home: at.segment, offset: at.offset };
        let Some(bytes) = self.log.fetch(place, at.len as usize).await? else { return Ok(None) };
        if let Some(event) = checked_event(&bytes, at, id) {
            return Ok(Some(event));
        }
        let place = self.log.describe(place);
        match codec::decode_event(&bytes) {
            Err(what) if crc32c::crc32c(&bytes) == at.crc => {
                Err(StoreError::Newer(format!("{what}, {place}")))
            }
            _ => Err(StoreError::Damaged(format!("{place}: an event is not what was written"))),
        }
    }

    /// The delivery of a value, if the filter wants it.
    fn select(&self, tenant: &TenantId, filter: &Filter, value: &[u8]) -> Result<Option<Entry>, StoreError> {
        let front = brief(value).map_err(|e| self.unreadable(e))?;
        let status_fits = match filter.status {
            None => true,
            Some(FilterStatus::Is(status)) => front.status == status,
            Some(FilterStatus::Retrying) => front.status == Status::Pending,
        };
        let time_fits = filter.since_us.is_none_or(|since| front.created_us >= since)
            && filter.until_us.is_none_or(|until| front.created_us < until);
        if !status_fits || !time_fits {
            return Ok(None);
        }
        let entry = Entry::decode(value).map_err(|e| self.unreadable(e))?;
        let d = &entry.delivery;
        let fits = d.key.tenant == *tenant
            && (filter.status != Some(FilterStatus::Retrying) || d.attempts > 0)
            && filter.event.as_ref().is_none_or(|event| d.event.as_str() == event)
            && filter.subscription.is_none_or(|subscription| d.subscription == subscription)
            && filter.resource_id.as_ref().is_none_or(|id| d.resource.as_ref().is_some_and(|r| r.id == *id));
        Ok(fits.then_some(entry))
    }
}
