//! The store's questions to index and journal. Every answer includes what was acknowledged and is not in the index yet.
use crate::domain::{
    Delivery, DeliveryKey, Event, EventId, FilterStatus, Pending, Status, SubscriptionId, TenantId,
};
use crate::fault;
use crate::store::engine::core::Core;
use crate::store::error::{StoreError, unreadable};
use crate::store::index::keys;
use crate::store::index::overlay::Way;
use crate::store::log::segment;
use crate::store::outbox::{Filter, Page, Store};
use crate::store::records::codec;
use crate::store::records::entry::{Entry, Locator, brief, decode_pending};
use crate::store::records::field::Reader;
use crate::store::records::record::{Idempotent, REMEMBERED_MS};
use crate::store::state::untag;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// Most deliveries of a page.
const PAGE: usize = 100;
/// Entries that one list call looks at, whatever it finds.
const LOOKED_AT: usize = 50_000;
const SCAN: usize = 256;

impl Store {
    /// What the shadow remembers of a row.
    pub fn shadow(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = keys::shadow(table, key);
        let Some(value) = self.core.get(&key)? else { return Ok(None) };
        let (tag, columns) = untag(&value).map_err(|e| self.core.unreadable(e))?;
        let hidden = self.core.read().cleared.hides(keys::hash(table), tag);
        Ok((!hidden).then(|| value.slice_ref(columns)))
    }

    /// Subscriptions with something pending: what dispatch starts with.
    pub fn lanes(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        let mut lanes = Vec::new();
        let mut from = b"p".to_vec();
        // one seek a lane, however much waits in it
        while let Some((key, _)) = self.core.scan((&from, b"q"), Way::Up, 1)?.pop() {
            let Some(lane) = keys::lane(&key) else { break };
            lanes.push(lane);
            from = keys::successor(&keys::pending(lane, (u64::MAX, u32::MAX)));
        }
        Ok(lanes)
    }

    /// Pending deliveries of a lane with `seq > after` (`None`: from the start), in order.
    pub fn due(
        &self,
        lane: SubscriptionId,
        after: Option<(u64, u32)>,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let from = match after {
            None => keys::pending(lane, (0, 0)),
            Some(seq) => keys::successor(&keys::pending(lane, seq)),
        };
        let to = keys::successor(&keys::pending(lane, (u64::MAX, u32::MAX)));
        let found = self.core.scan((&from, &to), Way::Up, limit)?;
        found
            .iter()
            .filter_map(|(key, value)| Some((keys::seq(key)?, value)))
            .map(|(seq, value)| decode_pending(lane, seq, value).map_err(|e| self.core.unreadable(e)))
            .collect()
    }

    /// The first pending delivery of an ordering key in a lane.
    pub fn first_in_order(&self, lane: SubscriptionId, order: u64) -> Result<Option<Pending>, StoreError> {
        let mut from = keys::order(lane, order, (0, 0));
        let to = keys::successor(&keys::order(lane, order, (u64::MAX, u32::MAX)));
        while let Some((key, _)) = self.core.scan((&from, &to), Way::Up, 1)?.pop() {
            let Some(seq) = keys::seq(&key) else { break };
            if let Some(value) = self.core.get(&keys::pending(lane, seq))? {
                return decode_pending(lane, seq, &value).map(Some).map_err(|e| self.core.unreadable(e));
            }
            // it ended between the two reads
            from = keys::successor(&key);
        }
        Ok(None)
    }

    /// The event of a delivery, body included (from memory when fresh, else from the journal, checked). `None`: no such
    /// delivery, or its segment is gone with the end of its history. `Damaged`: its bytes are not what was written.
    pub fn event(&self, key: &DeliveryKey) -> Result<Option<Arc<Event>>, StoreError> {
        let Some(entry) = self.core.entry(key)? else { return Ok(None) };
        let cached = self.core.read().events.get(entry.event_at);
        match cached.filter(|event| event.id == entry.delivery.event_id) {
            Some(event) => Ok(Some(event)),
            None => self.core.event_at(entry.event_at, entry.delivery.event_id),
        }
    }

    /// One delivery.
    pub fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        Ok(self.core.entry(key)?.map(|entry| entry.delivery))
    }

    /// A tenant's deliveries, newest first.
    pub fn list(&self, tenant: &TenantId, filter: &Filter) -> Result<Page, StoreError> {
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
        let mut page = Page::default();
        let mut looked_at = 0;
        loop {
            let found = self.core.scan((&from, &to), Way::Down, SCAN)?;
            let last = found.len() < SCAN;
            for (key, value) in found {
                let delivery = self.core.select(tenant, filter, &value)?;
                looked_at += 1;
                page.deliveries.extend(delivery);
                if page.deliveries.len() == limit || looked_at == LOOKED_AT {
                    page.next = keys::delivery_id(&key);
                    break;
                }
                to = key;
            }
            if last || page.next.is_some() {
                break;
            }
        }
        // a next page only if something stands before it
        if let Some(next) = page.next {
            let to = keys::delivery_at(tenant, *next.0.as_bytes());
            if self.core.scan((&from, &to), Way::Down, 1)?.is_empty() {
                page.next = None;
            }
        }
        Ok(page)
    }

    /// An answer remembered for an Idempotency-Key, if younger than 24 hours.
    pub fn idempotent(&self, tenant: &TenantId, key: &str) -> Result<Option<Idempotent>, StoreError> {
        let Some(value) = self.core.get(&keys::idempotent(tenant, key))? else { return Ok(None) };
        let answer = codec::take_idempotent(&mut Reader::new(&value)).map_err(|e| self.core.unreadable(e))?;
        let young = self.core.clock.now_ms() < answer.at_ms.saturating_add(REMEMBERED_MS);
        Ok(Some(answer).filter(|a| young && a.tenant == *tenant && a.key == key))
    }
}

/// The event, if the bytes are what was written and it is the one that is meant.
pub(in crate::store) fn checked_event(bytes: &[u8], at: Locator, id: EventId) -> Option<Arc<Event>> {
    let whole = crc32c::crc32c(bytes) == at.crc || fault::planted("no-crc-at-read");
    codec::decode_event(bytes).ok().filter(|event| whole && event.id == id)
}

impl Core {
    fn entry(&self, key: &DeliveryKey) -> Result<Option<Entry>, StoreError> {
        let Some(value) = self.get(&keys::delivery(key))? else { return Ok(None) };
        let entry = Entry::decode(&value).map_err(|e| self.unreadable(e))?;
        Ok(Some(entry).filter(|entry| entry.delivery.key == *key))
    }

    fn event_at(&self, at: Locator, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        let name = segment::name(at.segment);
        let bytes = match self.disk.read(&name, at.offset, at.len as usize) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&error)),
        };
        if let Some(event) = checked_event(&bytes, at, id) {
            return Ok(Some(event));
        }
        let place = format!("file {name}, byte {}", at.offset);
        match codec::decode_event(&bytes) {
            Err(what) if crc32c::crc32c(&bytes) == at.crc => {
                Err(StoreError::Newer(format!("{what}, {place}")))
            }
            _ => Err(StoreError::Damaged(format!("{place}: an event is not what was written"))),
        }
    }

    /// The delivery of a value, if the filter wants it.
    fn select(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        value: &[u8],
    ) -> Result<Option<Delivery>, StoreError> {
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
        let d = Entry::decode(value).map_err(|e| self.unreadable(e))?.delivery;
        let fits = d.key.tenant == *tenant
            && (filter.status != Some(FilterStatus::Retrying) || d.attempts > 0)
            && filter.event.as_ref().is_none_or(|event| d.event.as_str() == event)
            && filter.subscription.is_none_or(|subscription| d.subscription == subscription)
            && filter.resource_id.as_ref().is_none_or(|id| d.resource.as_ref().is_some_and(|r| r.id == *id));
        Ok(fits.then_some(d))
    }
}
