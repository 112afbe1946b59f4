//! A store on a crashing disk, and words to write its tests in.
use crate::disk::CrashDisk;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tailhook::clock::{Clock, SharedClock};
use tailhook::domain::*;
use tailhook::settings::StoreSettings;
use tailhook::store::*;
use tokio::task::JoinSet;
use uuid::Uuid;

/// The tests' day begins here.
pub(crate) const NOON_MS: i64 = 1_771_063_200_000;

#[derive(Debug)]
pub(crate) struct HandClock(pub(crate) AtomicI64);

impl Clock for HandClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running store.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) recovery: Recovery,
    pub(crate) disk: CrashDisk,
    pub(crate) index: MemoryIndex,
    pub(crate) clock: Arc<HandClock>,
    loops: JoinSet<Result<(), StoreError>>,
}

pub(crate) fn settings() -> StoreSettings {
    StoreSettings { min_free: 1, ..StoreSettings::default() }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::open(settings(), CrashDisk::default(), MemoryIndex::default()).await.unwrap()
    }
    pub(crate) async fn open(
        settings: StoreSettings,
        disk: CrashDisk,
        index: MemoryIndex,
    ) -> Result<Self, StoreError> {
        let factory = index.factory();
        let mut house = Self::open_with(settings, disk, factory).await?;
        house.index = index;
        Ok(house)
    }
    pub(crate) async fn open_with(
        settings: StoreSettings,
        disk: CrashDisk,
        factory: IndexFactory,
    ) -> Result<Self, StoreError> {
        let clock = Arc::new(HandClock(AtomicI64::new(NOON_MS * 1000)));
        let shared: SharedClock = clock.clone();
        let (store, recovery) = Store::open(settings, Arc::new(disk.clone()), factory, shared).await?;
        let mut loops = JoinSet::new();
        let running = store.clone();
        loops.spawn(async move { running.run().await });
        Ok(Self { store, recovery, disk, index: MemoryIndex::default(), clock, loops })
    }
    /// Ends it as a crash does: no code of its own runs any more.
    pub(crate) async fn stop(mut self) -> (CrashDisk, MemoryIndex) {
        self.loops.shutdown().await;
        (self.disk, self.index)
    }
    pub(crate) async fn close(mut self) -> (CrashDisk, MemoryIndex) {
        self.store.close().await;
        self.loops.join_next().await.unwrap().unwrap().unwrap();
        (self.disk, self.index)
    }
    pub(crate) async fn commit(&self, records: Vec<Record>) {
        self.store.checkpoint().commit(Batch { records }).await.unwrap();
    }
    pub(crate) async fn try_commit(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.store.checkpoint().commit(Batch { records }).await
    }
    /// Lets the index writer finish.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme")
}
pub(crate) fn lane(n: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(n))
}
pub(crate) fn event(n: u64) -> Arc<Event> {
    let timestamp_us = NOON_MS * 1000 + n as i64 * 1000;
    Arc::new(Event {
        id: EventId(Uuid::from_u128(u128::from(n) + 1000)),
        name: EventName::parse(if n.is_multiple_of(2) { "invoice.created" } else { "payment.received" })
            .unwrap(),
        tenant: tenant(),
        resource: Some(Resource { kind: "invoice".into(), id: (n % 3).to_string() }),
        timestamp_us,
        sequence: Sequence { lsn: Lsn(n), number: 0 },
        body: Bytes::from(format!("{{\"body\":{n}}}")),
    })
}
pub(crate) fn key(n: u64, to: SubscriptionId) -> DeliveryKey {
    let event = event(n);
    DeliveryKey { tenant: tenant(), id: DeliveryId::derive(event.id, to, event.timestamp_us) }
}
/// What a captured change comes to: position, event, delivery.
pub(crate) fn captured(n: u64, to: SubscriptionId) -> Vec<Record> {
    let event = event(n);
    vec![
        Record::Position(Lsn(n + 1)),
        Record::Event(event.clone()),
        Record::Delivery {
            event: event.id,
            subscription: to,
            key: key(n, to),
            target_url: "https://example.com/hook".into(),
        },
    ]
}
pub(crate) fn attempted(key: DeliveryKey, number: u32, next: Next) -> Record {
    let answer = Ok(if next == Next::Delivered { 200 } else { 503 });
    let outcome = Outcome { answer, detail: Some("said so".into()), retry_after_ms: None, duration_us: 900 };
    Record::Attempted { key, attempt: Attempt { number, at_ms: NOON_MS, outcome, counted: true }, next }
}
pub(crate) fn identity(epoch: u8) -> Identity {
    Identity {
        system_id: "7000000000000000000".into(),
        timeline: 1,
        database: "erp".into(),
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        epoch: [epoch; 16],
        shadow_plan: "public.invoices status".into(),
    }
}
pub(crate) fn subscription(n: u128) -> Record {
    Record::Subscription(Box::new(Subscription {
        id: lane(n),
        tenant: tenant(),
        pattern: Pattern::parse("invoice.*").unwrap(),
        url: "https://example.com/hook".into(),
        secret: Some(Sealed::new("sealed:v1:AAAA")),
        active: true,
        created_us: 1,
        updated_us: 2,
        options: Options { rate: Some(5), ..Options::default() },
    }))
}
pub(crate) fn row(key: &str, columns: Option<&str>) -> Record {
    Record::Shadow {
        table: "public.invoices".into(),
        key: Bytes::from(key.to_owned()),
        columns: columns.map(|c| Bytes::from(c.to_owned())),
    }
}
pub(crate) fn remembered(key: &str, at_ms: i64) -> Record {
    Record::Idempotent(Box::new(Idempotent {
        tenant: tenant(),
        key: key.into(),
        body_hash: [7; 32],
        status: 202,
        answer: Bytes::from_static(b"{}"),
        at_ms,
    }))
}

/// Everything that can be asked, as text: two stores with the same history answer alike.
pub(crate) async fn answers(store: &Store) -> String {
    try_answers(store).await.unwrap()
}

/// The same for stores whose segments begin elsewhere: the order of what is pending in place of its frames.
pub(crate) async fn ranked_answers(store: &Store) -> String {
    text_of(store, true).await.unwrap()
}

pub(crate) async fn try_answers(store: &Store) -> Result<String, StoreError> {
    text_of(store, false).await
}

async fn text_of(store: &Store, ranked: bool) -> Result<String, StoreError> {
    let list = store.history().list(&tenant(), &Filter { limit: 100, ..Filter::default() }).await?;
    let lanes = store.outbox().lanes().await?;
    let (mut due, mut first, mut bodies, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for lane in &lanes {
        due.push(store.outbox().due(*lane, None, 1000).await?);
    }
    for pending in due.iter().flatten() {
        let found = store.outbox().first_in_order(pending.subscription, pending.order.unwrap()).await?;
        first.push(found.map(|found| found.seq));
    }
    if ranked {
        let seqs: BTreeSet<_> = due.iter().flatten().map(|pending: &Pending| pending.seq).collect();
        let rank = |seq: Seq| Seq::new(seqs.range(..seq).count() as u64, 0);
        due.iter_mut().flatten().for_each(|pending| pending.seq = rank(pending.seq));
        first.iter_mut().flatten().for_each(|seq| *seq = rank(*seq));
    }
    for delivery in &list.deliveries {
        bodies.push(event_of(store, &delivery.key).await?.map(|event| event.body.clone()));
    }
    for key in ["1", "2", "3"] {
        rows.push(shadow_of(store, "public.invoices", key.as_bytes()).await?);
    }
    Ok(format!(
        "{:#?}",
        (
            (
                store.checkpoint().position(),
                store.checkpoint().identity(),
                store.checkpoint().filling(),
                store.checkpoint().subscriptions()
            ),
            (list.deliveries, list.next, lanes, due, first, bodies, rows),
            (store.answers().find(&tenant(), "k").await?, store.vitals().pending),
        )
    ))
}

/// A history with every kind of record in it, one frame an item.
pub(crate) fn history() -> Vec<Vec<Record>> {
    let (a, b) = (lane(1), lane(2));
    let abandoned = Record::Abandoned { key: key(3, a), reason: "expired".into(), at_ms: NOON_MS };
    vec![
        vec![Record::Filling(identity(1)), subscription(9), row("9", Some("stale"))],
        vec![Record::Filling(identity(2)), subscription(1), row("1", Some("draft")), row("2", Some("draft"))],
        vec![Record::Identity(identity(2)), Record::Position(Lsn(1))],
        captured(1, a),
        [captured(2, a), vec![row("1", Some("sent"))]].concat(),
        [captured(3, a), vec![subscription(2)]].concat(),
        vec![attempted(key(1, a), 1, Next::Delivered)],
        vec![attempted(key(2, a), 1, Next::RetryAt(NOON_MS + 2000))],
        [captured(4, b), vec![row("2", None), row("3", Some("draft"))]].concat(),
        vec![abandoned],
        vec![Record::Retried { key: key(3, a), at_ms: NOON_MS + 5 }],
        vec![attempted(key(3, a), 1, Next::Failed)],
        vec![Record::Retried { key: key(3, a), at_ms: NOON_MS + 9 }],
        vec![Record::SubscriptionsCleared, subscription(2), subscription(3)],
        vec![Record::SubscriptionGone(lane(3)), remembered("k", NOON_MS)],
        vec![Record::ShadowClear { table: "public.invoices".into() }, row("3", Some("new"))],
        captured(5, b),
        vec![attempted(key(4, b), 1, Next::Failed), attempted(key(5, b), 1, Next::Delivered)],
        captured(6, a),
    ]
}

/// The event of a delivery, body included.
pub(crate) async fn event_of(store: &Store, key: &DeliveryKey) -> Result<Option<Arc<Event>>, StoreError> {
    Ok(store.history().found(key).await?.and_then(|found| found.event))
}

/// What the shadow remembers of a row.
pub(crate) async fn shadow_of(store: &Store, table: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let (table, key) = (table.to_owned(), key.to_vec());
    store.checkpoint().offload(move |checkpoint| checkpoint.shadow(&table, &key)).await?
}
