//! Purpose: what a frame means: the one state machine, the same live and in replay. Pure. Must not: read the index: the caller brings
//! what it says (`wanted`).
//!
//! Each frame is applied once, to what the frames before it made. Only what a checkpoint brought may be newer than the frame: all of
//! that is absolute, so the last writer wins again, and the history carries the tag of its last record. What is not legal is ignored,
//! always alike.
use crate::domain::{
    Attempt, Delivery, DeliveryKey, Event, EventId, Failure, Next, Pending, Seq, Status, SubscriptionId,
};
use crate::store::index::keys;
use crate::store::index::overlay::{Fetched, Known};
use crate::store::log::port::Place;
use crate::store::records::codec::{self, RecordPlace};
use crate::store::records::entry::{Entry, Locator, Tag, encode_pending};
use crate::store::records::field::{Malformed, Writer};
use crate::store::records::record::{Record, order_key};
use crate::store::state::{ALL_TABLES, State, tagged};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The newest attempts that are kept.
const LOG: usize = 20;
/// Characters of `last_error` and of an attempt's detail.
const DETAIL: usize = 500;

/// A frame to apply.
#[derive(Debug)]
pub(in crate::store) struct FrameChange<'a> {
    pub(in crate::store) number: u64,
    pub(in crate::store) crc: u32,
    /// Where its records begin.
    pub(in crate::store) place: Place,
    pub(in crate::store) records: &'a [Record],
    /// As many as records.
    pub(in crate::store) places: &'a [RecordPlace],
    /// What the index says of the keys that are `wanted` and that the overlay does not hold.
    pub(in crate::store) fetched: &'a Fetched,
}

/// The key whose value a record needs. An unseen delivery needs none: it cannot be there.
pub(in crate::store) fn wanted(record: &Record, unseen: bool) -> Option<Vec<u8>> {
    match record {
        Record::Delivery { .. } if unseen => None,
        Record::Delivery { key, .. }
        | Record::Attempted { key, .. }
        | Record::Abandoned { key, .. }
        | Record::Retried { key, .. } => Some(keys::delivery(key)),
        _ => None,
    }
}

/// How much of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Mode {
    All,
    /// Only what is no delivery: for a new frame while the index is being rebuilt, and for the beginning of that.
    LongLived,
    /// Only deliveries: the rest of a rebuild.
    Deliveries,
}

/// Applies a whole frame; returns what became pending, in order.
pub(in crate::store) fn apply(
    state: &mut State,
    change: &FrameChange<'_>,
    mode: Mode,
) -> Result<Vec<Pending>, Malformed> {
    let mut applying = Applying {
        state,
        fetched: change.fetched,
        mode,
        tag: (change.number, 0),
        events: BTreeMap::new(),
        woken: Vec::new(),
    };
    for (n, (record, place)) in change.records.iter().zip(change.places).enumerate() {
        applying.tag = (change.number, n as u32);
        let at = Locator {
            segment: change.place.home,
            offset: change.place.plus(u64::from(place.offset)).offset,
            len: place.len,
            crc: place.crc,
        };
        applying.record(record, at)?;
    }
    let woken = applying.woken;
    if mode != Mode::Deliveries {
        state.applied.frame = change.number;
        state.applied.crc = change.crc;
    }
    Ok(woken)
}

struct Applying<'a> {
    state: &'a mut State,
    fetched: &'a Fetched,
    mode: Mode,
    tag: Tag,
    events: BTreeMap<EventId, (Arc<Event>, Locator)>,
    woken: Vec<Pending>,
}

impl Applying<'_> {
    fn record(&mut self, record: &Record, at: Locator) -> Result<(), Malformed> {
        match record {
            another if self.state.scope.skips(another) => Ok(()),
            Record::Event(_)
            | Record::Delivery { .. }
            | Record::Attempted { .. }
            | Record::Abandoned { .. }
            | Record::Retried { .. }
                if self.mode == Mode::LongLived =>
            {
                Ok(())
            }
            Record::Event(event) => {
                self.events.insert(event.id, (event.clone(), at));
                self.state.events.put(at, event.clone());
                Ok(())
            }
            Record::Delivery { event, subscription, key, target_url } => {
                self.create(*event, *subscription, key, target_url)
            }
            Record::Attempted { key, attempt, next } => self.change(key, |e| attempted(e, attempt, *next)),
            Record::Abandoned { key, reason, at_ms } => self.change(key, |e| abandoned(e, reason, *at_ms)),
            Record::Retried { key, at_ms } => {
                let tag = self.tag;
                self.change(key, |e| retried(e, tag, *at_ms))
            }
            _ if self.mode == Mode::Deliveries => Ok(()),
            long_lived => {
                self.state.long_lived_bytes += u64::from(at.len);
                self.long_lived(long_lived);
                Ok(())
            }
        }
    }

    fn create(
        &mut self,
        event: EventId,
        subscription: SubscriptionId,
        key: &DeliveryKey,
        target_url: &str,
    ) -> Result<(), Malformed> {
        if self.load(key)?.is_some() {
            return Ok(());
        }
        // a delivery of an event that the batch does not hold has no body: nothing can be sent
        let Some((event, at)) = self.events.get(&event) else { return Ok(()) };
        let entry = Entry {
            seq: Seq::new(self.tag.0, self.tag.1),
            order: order_key(event.resource.as_ref()),
            event_at: *at,
            delivery: Delivery {
                key: key.clone(),
                event_id: event.id,
                event: event.name.clone(),
                resource: event.resource.clone(),
                subscription,
                target_url: target_url.to_owned(),
                status: Status::Pending,
                counted_attempts: 0,
                attempts: 0,
                log: Vec::new(),
                last_error: None,
                due_ms: event.timestamp_us / 1000,
                created_us: event.timestamp_us,
                updated_us: event.timestamp_us,
            },
        };
        self.state.applied.pending += 1;
        self.woken.push(entry.pending());
        self.save(&entry, true, true);
        Ok(())
    }

    /// A step of a delivery's life; `step` says whether it was legal.
    fn change(&mut self, key: &DeliveryKey, step: impl FnOnce(&mut Entry) -> bool) -> Result<(), Malformed> {
        let Some(mut entry) = self.load(key)? else { return Ok(()) };
        let was_pending = entry.delivery.status == Status::Pending;
        if !step(&mut entry) {
            return Ok(());
        }
        let is_pending = entry.delivery.status == Status::Pending;
        let pending = &mut self.state.applied.pending;
        match (was_pending, is_pending) {
            (true, false) => *pending = pending.saturating_sub(1),
            (false, true) => {
                *pending += 1;
                self.woken.push(entry.pending());
            }
            _ => {}
        }
        self.save(&entry, false, !was_pending);
        Ok(())
    }

    /// What was not asked for is an unseen delivery.
    fn load(&self, key: &DeliveryKey) -> Result<Option<Entry>, Malformed> {
        let found = self.state.overlay.look(&keys::delivery(key), self.fetched);
        let Some(Known::Here(bytes)) = found else { return Ok(None) };
        let entry = Entry::decode(&bytes)?;
        // another tenant with the same hash and the same id: ours does not exist
        Ok(Some(entry).filter(|entry| entry.delivery.key == *key))
    }

    /// `created`: its key is nowhere yet; `placed_anew`: its place in the lane is nowhere yet.
    fn save(&mut self, entry: &Entry, created: bool, placed_anew: bool) {
        self.state.overlay.put(keys::delivery(&entry.delivery.key), entry.encode(), created);
        self.place(entry, placed_anew);
    }

    fn place(&mut self, entry: &Entry, new: bool) {
        let overlay = &mut self.state.overlay;
        let lane = entry.delivery.subscription;
        let (pending, order) =
            (keys::pending(lane, entry.seq), entry.order.map(|order| keys::order(lane, order, entry.seq)));
        if entry.delivery.status == Status::Pending {
            overlay.put(pending, encode_pending(&entry.pending()), new);
            // its value never changes: a retry need not write it again
            if let Some(order) = order.filter(|_| new) {
                overlay.put(order, Vec::new(), new);
            }
        } else {
            overlay.remove(pending);
            if let Some(order) = order {
                overlay.remove(order);
            }
        }
    }

    fn long_lived(&mut self, record: &Record) {
        let tag = self.tag;
        match record {
            Record::Filling(_) | Record::Identity(_) | Record::Position(_) => self.history(record),
            Record::Shadow { table, key, columns } => {
                let row = keys::shadow(table, key);
                match columns {
                    Some(columns) => self.state.overlay.put(row, tagged(tag, columns), false),
                    None => self.state.overlay.remove(row),
                }
            }
            Record::ShadowClear { table } => self.clear(keys::hash(table)),
            Record::Subscription(subscription) => {
                let mut w = Writer::default();
                codec::put_subscription(&mut w, subscription);
                self.state.overlay.put(keys::subscription(subscription.id), w.0, false);
                self.state.routing.put((**subscription).clone());
            }
            Record::SubscriptionGone(id) => {
                if self.state.routing.get(*id).is_some() {
                    self.state.routing.remove(*id);
                    self.state.overlay.remove(keys::subscription(*id));
                }
            }
            Record::SubscriptionsCleared => self.clear_subscriptions(),
            Record::Idempotent(answer) => {
                let mut w = Writer::default();
                codec::put_idempotent(&mut w, answer);
                self.state.overlay.put(keys::idempotent(&answer.tenant, &answer.key), w.0, false);
            }
            Record::Event(_)
            | Record::Delivery { .. }
            | Record::Attempted { .. }
            | Record::Abandoned { .. }
            | Record::Retried { .. } => {}
        }
    }

    fn history(&mut self, record: &Record) {
        if matches!(record, Record::Filling(_)) {
            // nothing is followed yet: what an earlier history left must not be taken for its memory
            self.clear(ALL_TABLES);
            self.clear_subscriptions();
        }
        let history = &mut self.state.history;
        if history.tag >= self.tag {
            return;
        }
        match record {
            Record::Filling(identity) => {
                history.filling = Some(identity.clone());
                history.identity = None;
                history.position = None;
            }
            Record::Identity(identity) => history.follow(identity.clone()),
            Record::Position(lsn) => {
                if !history.advance(*lsn) {
                    return;
                }
            }
            _ => return,
        }
        history.tag = self.tag;
        self.state.routing.applied = history.position.unwrap_or_default();
        let bytes = history.encode();
        self.state.overlay.put(keys::HISTORY.to_vec(), bytes, false);
    }

    fn clear(&mut self, table: [u8; 8]) {
        self.state.cleared.clear(table, self.tag);
        self.state.overlay.put(keys::cleared(table), tagged(self.tag, &[]), false);
    }

    fn clear_subscriptions(&mut self) {
        for subscription in self.state.routing.all() {
            self.state.overlay.remove(keys::subscription(subscription.id));
        }
        self.state.routing.clear();
    }
}

fn attempted(entry: &mut Entry, attempt: &Attempt, next: Next) -> bool {
    let d = &mut entry.delivery;
    if d.status != Status::Pending {
        return false;
    }
    d.attempts = d.attempts.saturating_add(1);
    d.counted_attempts = d.counted_attempts.saturating_add(u32::from(attempt.counted));
    d.updated_us = attempt.at_ms.saturating_mul(1000).saturating_add_unsigned(attempt.outcome.duration_us);
    let mut kept = attempt.clone();
    kept.outcome.detail = kept.outcome.detail.as_deref().map(shorten);
    d.log.push(kept);
    let surplus = d.log.len().saturating_sub(LOG);
    d.log.drain(..surplus);
    d.last_error = if next == Next::Delivered { None } else { Some(describe(attempt)) };
    match next {
        Next::Delivered => d.status = Status::Delivered,
        Next::Failed => d.status = Status::Failed,
        Next::RetryAt(at) => d.due_ms = at,
    }
    true
}

fn abandoned(entry: &mut Entry, reason: &str, at_ms: i64) -> bool {
    let d = &mut entry.delivery;
    if d.status != Status::Pending {
        return false;
    }
    d.status = Status::Abandoned;
    d.last_error = Some(shorten(reason));
    d.updated_us = at_ms.saturating_mul(1000);
    true
}

/// A new place at the end of its lane: where the scheduler has read on to, an old place would not be seen again.
fn retried(entry: &mut Entry, tag: Tag, at_ms: i64) -> bool {
    let d = &mut entry.delivery;
    if !matches!(d.status, Status::Failed | Status::Abandoned) {
        return false;
    }
    d.status = Status::Pending;
    (d.attempts, d.counted_attempts) = (0, 0);
    d.due_ms = at_ms;
    d.updated_us = at_ms.saturating_mul(1000);
    entry.seq = Seq::new(tag.0, tag.1);
    true
}

fn describe(attempt: &Attempt) -> String {
    let what = match attempt.outcome.answer {
        Ok(status) => format!("HTTP {status}"),
        Err(failure) => Failure::as_str(failure).to_owned(),
    };
    match attempt.outcome.detail.as_deref() {
        Some(detail) if !detail.is_empty() => shorten(&format!("{what}: {detail}")),
        _ => what,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(DETAIL).collect()
}
