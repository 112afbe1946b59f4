//! Purpose: transactions → one batch for the store: events, routed, with subscription changes, shadow and position.
//! Must not: depend on a connection, or write.
use crate::capture::follow::memory::Memory;
use crate::domain::{Change, Event, KeepingError, Lsn, Routed, Routing, TenantId, Transaction};
use crate::fault;
use crate::mapping::{Context, Fault, Mapping, ShadowChange};
use crate::registry::rows::RowChange;
use crate::registry::seal::Sealer;
use crate::registry::{self, RefusedRows, rows};
use crate::settings::EnvelopeSettings;
use crate::store::{Batch, Checkpoint, Record};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Says why a URL may not be routed to: the guard's part that needs no resolver.
pub type UrlCheck = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What turning transactions into frames needs beside the store.
#[derive(Clone)]
pub struct CaptureRules {
    /// The compiled mapping.
    pub mapping: Arc<Mapping>,
    /// What stands in every body.
    pub envelope: EnvelopeSettings,
    /// `schema.webhook_subscriptions`.
    pub subscriptions: String,
    /// For secrets that SQL wrote.
    pub sealer: Sealer,
    /// For rows that SQL wrote.
    pub check_url: UrlCheck,
}

impl fmt::Debug for CaptureRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureRules").field("subscriptions", &self.subscriptions).finish_non_exhaustive()
    }
}

impl CaptureRules {
    /// The same for the server that is followed: its identifier is part of every id.
    pub(in crate::capture) fn context(&self, system_id: &str) -> Context {
        Context {
            system_id: system_id.to_owned(),
            source: self.envelope.source.clone(),
            max_payload: self.envelope.max_payload,
            operations: TenantId::new(&self.envelope.operations),
        }
    }
}

/// What some transactions come to.
#[derive(Debug, Default)]
pub(in crate::capture) struct Prepared {
    /// To commit.
    pub batches: Vec<Batch>,
    /// Rows that are not routed, to be announced when it is durable; `None`: unchanged.
    pub refused: Option<RefusedRows>,
    /// What its position says.
    pub position: Lsn,
    /// Commit time of the first transaction, Unix microseconds.
    pub oldest_us: i64,
    /// Names of the events, for metrics; and whether anybody asked for them.
    pub events: Vec<(Arc<str>, bool)>,
    /// For metric and log.
    pub faults: Vec<Fault>,
    /// What changes in gaps of their tables would have the shadow remember, with their commits: for a fill that goes on beside.
    pub aside: Vec<(Lsn, ShadowChange)>,
    /// Tables whose gaps end with it.
    pub filled: Vec<String>,
}

/// Memory of one batch over the store's: what its own transactions have changed.
struct BatchMemory<'a> {
    checkpoint: &'a Checkpoint,
    memory: &'a Memory,
    rows: BTreeMap<(Arc<str>, Bytes), Option<Bytes>>,
    cleared: BTreeSet<Arc<str>>,
}

impl BatchMemory<'_> {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>, KeepingError> {
        if !self.rows.is_empty()
            && let Some(row) = self.rows.get(&(Arc::from(table), Bytes::copy_from_slice(key)))
        {
            return Ok(row.clone());
        }
        if self.cleared.contains(table) {
            return Ok(None);
        }
        self.memory.read(self.checkpoint, table, key)
    }
    fn apply(&mut self, change: &ShadowChange) {
        match change {
            ShadowChange::Put { table, key, columns } => {
                self.rows.insert((table.clone(), key.clone()), Some(columns.clone()));
            }
            ShadowChange::Forget { table, key } => {
                self.rows.insert((table.clone(), key.clone()), None);
            }
            ShadowChange::Clear { table } => {
                self.rows.retain(|(of, _), _| of != table);
                self.cleared.insert(table.clone());
            }
        }
    }
}

/// Prepares transactions, in commit order. Reads the index: call it where a thread may wait (`Checkpoint::offload`). An error says what
/// could not be read; nothing was written.
pub(in crate::capture) fn prepare(
    transactions: &[Transaction],
    rules: &CaptureRules,
    context: &Context,
    refused: &RefusedRows,
    checkpoint: &Checkpoint,
    memory: &Memory,
) -> Result<Prepared, KeepingError> {
    let routing = checkpoint.routing();
    let mut working: Option<(Routing, RefusedRows)> = None;
    let mut overlay = BatchMemory { checkpoint, memory, rows: BTreeMap::new(), cleared: BTreeSet::new() };
    let mut prepared = Prepared::default();
    let (mut events, mut last) = (Vec::new(), Vec::new());
    for transaction in transactions {
        follow_subscriptions(transaction, rules, (&routing, refused), &mut working, &mut last);
        let current = working.as_ref().map_or(&*routing, |(routing, _)| routing);
        let remembered = |table: &str, key: &[u8]| overlay.get(table, key);
        let (followed, aside) = divided(transaction, memory);
        let derived = rules.mapping.derive(&followed, context, &remembered)?;
        let aside = rules.mapping.remember(&aside).into_iter();
        prepared.aside.extend(aside.map(|change| (transaction.commit_lsn, change)));
        for event in derived.events {
            prepared.events.push(routed(event, current, &mut events));
        }
        for change in derived.shadow {
            overlay.apply(&change);
            last.extend(memory.records(change));
        }
        prepared.faults.extend(derived.faults);
        prepared.position = transaction.end_lsn;
    }
    prepared.oldest_us = transactions.first().map_or(0, |first| first.commit_us);
    last.push(Record::Position(prepared.position));
    prepared.batches = batches(events, last);
    prepared.refused = working.map(|(_, refused)| refused);
    Ok(prepared)
}

/// A transaction without the changes that lie in gaps of their tables, and those.
fn divided<'t>(transaction: &'t Transaction, memory: &Memory) -> (Cow<'t, Transaction>, Vec<Change>) {
    if memory.tables.gaps().next().is_none() {
        return (Cow::Borrowed(transaction), Vec::new());
    }
    let commit = transaction.commit_lsn;
    let lost = |change: &&Change| memory.tables.is_in_gap(&change.table.full_name(), commit);
    let (aside, changes) = transaction.changes.iter().partition::<Vec<&Change>, _>(lost);
    let owned = |changes: Vec<&Change>| changes.into_iter().cloned().collect();
    (Cow::Owned(Transaction { changes: owned(changes), ..*transaction }), owned(aside))
}

/// One batch, so that all of it becomes true together; more only where a fault is planted.
fn batches(mut records: Vec<Record>, mut last: Vec<Record>) -> Vec<Batch> {
    debug_assert!(matches!(last.last(), Some(Record::Position(_))), "the position is the last of all");
    let mut batches = Vec::new();
    batches.extend(fault::planted("position-before-events").then(|| Batch { records: last.clone() }));
    let outside =
        |r: &mut Record| fault::planted("shadow-outside-frame") && matches!(r, Record::Shadow { .. });
    let outside: Vec<Record> = last.extract_if(.., outside).collect();
    records.append(&mut last);
    batches.push(Batch { records });
    batches.extend((!outside.is_empty()).then_some(Batch { records: outside }));
    batches
}

/// Subscription changes of a transaction apply before its own events are routed (SPEC 5.8).
fn follow_subscriptions(
    transaction: &Transaction,
    rules: &CaptureRules,
    (routing, refused): (&Routing, &RefusedRows),
    working: &mut Option<(Routing, RefusedRows)>,
    records: &mut Vec<Record>,
) {
    let ours = |change: &&Change| change.table.full_name() == rules.subscriptions;
    for change in transaction.changes.iter().filter(ours) {
        let (current, refused) = working.get_or_insert_with(|| (routing.clone(), refused.clone()));
        let row_rules = rows::RowRules { sealer: &rules.sealer, url: &*rules.check_url };
        for row in rows::changes(change, current, row_rules) {
            if let RowChange::Refused(id, why) = &row {
                tracing::warn!(subscription = %id, "a row of webhook_subscriptions is not routed: {why}");
            }
            records.push(registry::apply(row, current, refused));
        }
    }
    if let Some((current, _)) = working {
        current.applied = transaction.end_lsn;
    }
}

/// The records of an event, if anybody asked for it; its name, and whether.
pub(in crate::capture) fn routed(
    event: Event,
    routing: &Routing,
    records: &mut Vec<Record>,
) -> (Arc<str>, bool) {
    let name: Arc<str> = Arc::from(event.name.as_str());
    let event = Arc::new(event);
    let routed = Routed::new(event.clone(), routing.route(&event.tenant, &event.name));
    let asked = routed.is_some();
    records.extend(routed.into_iter().flat_map(Record::routed));
    (name, asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeliveryId, DeliveryKey, EventId, EventName, Sequence, SubscriptionId};
    use uuid::Uuid;

    fn event(body: usize) -> [Record; 2] {
        let (id, tenant) = (EventId(Uuid::nil()), TenantId::new("t"));
        let subscription = SubscriptionId(Uuid::nil());
        let event = Event {
            id,
            name: EventName::parse("a.b").unwrap(),
            tenant: tenant.clone(),
            resource: None,
            timestamp_us: 0,
            sequence: Sequence::default(),
            body: Bytes::from(vec![b'x'; body]),
        };
        let key = DeliveryKey { tenant, id: DeliveryId::derive(id, subscription, 0) };
        [
            Record::Event(Arc::new(event)),
            Record::Delivery { event: id, subscription, key, target_url: String::new() },
        ]
    }

    /// However large it is: what an early part brought, such as deliveries of a subscription that a later one made, was given up as
    /// nobody's.
    #[test]
    fn what_is_prepared_is_one_batch_and_the_position_is_last() {
        let events: Vec<Record> = (0..40).flat_map(|_| event(1 << 20)).collect();
        let [batch] = &batches(events, vec![Record::Position(Lsn(7))])[..] else { panic!("one") };
        assert_eq!((batch.records.len(), batch.records.last()), (81, Some(&Record::Position(Lsn(7)))));
    }
}
