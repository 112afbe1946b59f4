//! What a store must say after a number of commits: a small state machine of its own, in memory. Knows no files.
use crate::house::{event_of, shadow_of};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tailhook::domain::*;
use tailhook::store::{Record, Store};

/// Finished deliveries are kept this long in these tests.
pub(crate) const HISTORY_US: i64 = 6 * 3600 * 1_000_000;
/// The table whose rows are remembered.
pub(crate) const TABLE: &str = "public.invoices";

#[derive(Debug, Clone)]
struct Expected {
    event: Arc<Event>,
    lane: SubscriptionId,
    /// Commit and record: its place in the lane.
    seq: (usize, usize),
    status: Status,
    attempts: u32,
    updated_us: i64,
}

/// After a prefix of the commits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    position: Option<Lsn>,
    deliveries: BTreeMap<DeliveryKey, Expected>,
    rows: BTreeMap<Bytes, Bytes>,
    subscriptions: BTreeSet<SubscriptionId>,
}

impl Model {
    pub(crate) fn of(commits: &[Arc<[Record]>]) -> Self {
        let mut model = Self::default();
        for (number, records) in commits.iter().enumerate() {
            model.apply(number, records);
        }
        model
    }

    pub(crate) fn keys(&self, wanted: impl Fn(Status, i64) -> bool) -> Vec<DeliveryKey> {
        let fits = self.deliveries.iter().filter(|(_, d)| wanted(d.status, d.updated_us));
        fits.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn apply(&mut self, commit: usize, records: &[Record]) {
        let mut events = BTreeMap::new();
        for (n, record) in records.iter().enumerate() {
            match record {
                Record::Position(lsn) => self.position = Some(*lsn),
                Record::Event(event) => drop(events.insert(event.id, event.clone())),
                Record::Delivery { event, subscription, key, .. } => {
                    let event = events[event].clone();
                    let (updated_us, lane, seq) = (event.timestamp_us, *subscription, (commit, n));
                    let new = Expected { event, lane, seq, status: Status::Pending, attempts: 0, updated_us };
                    self.deliveries.entry(key.clone()).or_insert(new);
                }
                Record::Attempted { key, attempt, next } => self.change(key, |d| {
                    d.attempts += 1;
                    d.updated_us = attempt.at_ms * 1000 + attempt.outcome.duration_us as i64;
                    d.status = match next {
                        Next::Delivered => Status::Delivered,
                        Next::Failed => Status::Failed,
                        Next::RetryAt(_) => Status::Pending,
                    };
                }),
                Record::Abandoned { key, at_ms, .. } => self.change(key, |d| {
                    (d.status, d.updated_us) = (Status::Abandoned, at_ms * 1000);
                }),
                Record::Retried { key, at_ms } => self.change(key, |d| {
                    (d.status, d.attempts, d.updated_us) = (Status::Pending, 0, at_ms * 1000);
                    d.seq = (commit, n);
                }),
                Record::Shadow { table, key, columns } if &**table == TABLE => match columns {
                    Some(columns) => drop(self.rows.insert(key.clone(), columns.clone())),
                    None => drop(self.rows.remove(key)),
                },
                Record::ShadowClear { .. } => self.rows.clear(),
                Record::Subscription(subscription) => drop(self.subscriptions.insert(subscription.id)),
                _ => {}
            }
        }
    }

    fn change(&mut self, key: &DeliveryKey, step: impl FnOnce(&mut Expected)) {
        step(self.deliveries.get_mut(key).unwrap());
    }

    /// Everything that the store says otherwise. `now_us`: what had its time may be gone.
    pub(crate) async fn faults(&self, store: &Store, now_us: i64) -> Result<Vec<String>, KeepingError> {
        let mut faults = Vec::new();
        let mut wrong = |what: String| faults.push(what);
        if store.checkpoint().position() != self.position {
            wrong(format!("position {:?}, not {:?}", store.checkpoint().position(), self.position));
        }
        let mut lanes: BTreeMap<SubscriptionId, BTreeMap<(usize, usize), &DeliveryKey>> = BTreeMap::new();
        for (key, expected) in &self.deliveries {
            if expected.status == Status::Pending {
                lanes.entry(expected.lane).or_default().insert(expected.seq, key);
            }
            let had_its_time = expected.status.is_final() && expected.updated_us < now_us - HISTORY_US;
            match (store.history().delivery(key).await?, event_of(store, key).await?) {
                (None, None) if had_its_time => {}
                (Some(d), Some(event)) => {
                    if (d.status, d.attempts) != (expected.status, expected.attempts) {
                        wrong(format!(
                            "{}: {:?} after {} attempts, not {expected:?}",
                            key.id, d.status, d.attempts
                        ));
                    }
                    if *event != *expected.event {
                        wrong(format!("{}: another event, {event:?}", key.id));
                    }
                }
                other => wrong(format!("{}: {other:?} instead of {expected:?}", key.id)),
            }
        }
        for (lane, expected) in &lanes {
            let due = store.outbox().due(*lane, None, usize::MAX >> 1).await?;
            if !due.iter().map(|p| &p.key).eq(expected.values().copied()) {
                wrong(format!("lane {}: {} are due, not {}", lane.0, due.len(), expected.len()));
            }
        }
        let pending = lanes.values().map(BTreeMap::len).sum::<usize>() as u64;
        if (store.vitals().pending, store.outbox().lanes().await?.len()) != (pending, lanes.len()) {
            wrong(format!("{} pending, not {pending}", store.vitals().pending));
        }
        for key in (0..40).map(|n: usize| Bytes::from(n.to_string())) {
            let row = shadow_of(store, TABLE, &key).await?;
            if row.as_ref() != self.rows.get(&key) {
                wrong(format!("shadow row {key:?}: {row:?}"));
            }
        }
        if !store.checkpoint().subscriptions().iter().map(|s| s.id).eq(self.subscriptions.iter().copied()) {
            wrong("other subscriptions".to_owned());
        }
        Ok(faults)
    }
}

/// How many commits the store has.
pub(crate) async fn marker(store: &Store) -> Result<usize, KeepingError> {
    let count = shadow_of(store, "test.marker", b"commits").await?;
    Ok(count.map_or(0, |count| std::str::from_utf8(&count).unwrap().parse().unwrap()))
}
