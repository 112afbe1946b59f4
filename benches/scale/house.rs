//! A real store in a real folder, and what is written into it: deliveries as capture and dispatch write them, shadow rows as
//! the first snapshot does. Measures nothing.
use anyhow::Context;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tailhook::clock::{Clock, SystemClock};
use tailhook::disk::RealDisk;
use tailhook::domain::{
    Attempt, DeliveryId, DeliveryKey, Event, EventId, EventName, Lsn, Next, Outcome, Resource, Sequence,
    SubscriptionId, TenantId,
};
use tailhook::settings::StoreSettings;
use tailhook::store::{Batch, Engine, IndexFactory, Record, Recovery, Store, StoreError};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

/// One tenant: a list is one tenant's, so this is its worst case.
pub(crate) fn tenant() -> TenantId {
    TenantId::new("7c9e6679-7425-40de-944b-e07fc1f90ae7")
}

/// A running store.
pub(crate) struct House {
    pub(crate) store: Store,
    recovery: Recovery,
    folder: PathBuf,
    loops: JoinSet<Result<(), StoreError>>,
}

/// `INDEX=sled`: the other engine.
fn engine() -> Engine {
    std::env::var("INDEX").ok().and_then(|name| Engine::named(&name)).unwrap_or(Engine::Lsm)
}

impl House {
    /// As the sidecar opens it, but that no delivery is dropped for its number.
    pub(crate) async fn open(folder: &Path) -> anyhow::Result<Self> {
        Self::open_with(folder, |index| index).await
    }
    /// The same with something around the index.
    pub(crate) async fn open_with(
        folder: &Path,
        around: impl FnOnce(IndexFactory) -> IndexFactory,
    ) -> anyhow::Result<Self> {
        let settings = StoreSettings { history_max: u64::MAX, ..StoreSettings::default() };
        let disk = Arc::new(RealDisk::open(folder)?);
        let index = engine().factory(folder.join("index"), tailhook::store::index::lsm::MEMORY_BYTES);
        let (store, recovery) = Store::open(settings, disk, around(index), Arc::new(SystemClock)).await?;
        let mut loops = JoinSet::new();
        let running = store.clone();
        loops.spawn(async move { running.run().await });
        // answered when a rebuild, if there is one, is done
        store.outbox().lanes().await?;
        Ok(Self { store, recovery, folder: folder.to_owned(), loops })
    }
    /// What figures of a start begin with.
    pub(crate) fn after(&self) -> &'static str {
        if self.recovery.rebuilt.is_some() { "index lost: " } else { "" }
    }
    pub(crate) async fn commit(&self, records: Vec<Record>) -> anyhow::Result<()> {
        Ok(self.store.checkpoint().commit(Batch { records }).await?)
    }
    /// Waits until the index has everything.
    pub(crate) async fn indexed(&self) {
        while self.store.vitals().index_lag_frames > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.store.close().await;
        Ok(self.loops.join_next().await.context("the store's loop is gone")???)
    }
    /// Bytes of the journal's files, of checkpoints and of the index.
    pub(crate) fn bytes(&self) -> anyhow::Result<[u64; 3]> {
        Ok([
            size(&self.folder, "journal-")?,
            size(&self.folder, "shadow-")?,
            size(&self.folder.join("index"), "")?,
        ])
    }
    /// The name of the checkpoint that is finished, or of the one that is being written: that ends in `.tmp`.
    pub(crate) fn checkpoint(&self, finished: bool) -> anyhow::Result<Option<String>> {
        let names = std::fs::read_dir(&self.folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<std::io::Result<_>>()?;
        Ok(names.into_iter().find(|name| name.starts_with("shadow-") && name.contains('.') != finished))
    }
}

fn size(folder: &Path, prefix: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        // a file may go while we look
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { size(&entry.path(), "")? } else { about.len() };
    }
    Ok(bytes)
}

/// The history's first delivery is three days old; the others follow evenly.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    from_us: i64,
    every_us: i64,
    lanes: u128,
    name: EventName,
}

impl Deliveries {
    pub(crate) fn new(most: u64, lanes: u128) -> anyhow::Result<Self> {
        const SPAN_US: i64 = 2 * 24 * 3600 * 1_000_000;
        let name = EventName::parse("invoice.created").map_err(anyhow::Error::msg)?;
        let from_us = SystemClock.now_us() - SPAN_US - 3_600_000_000;
        Ok(Self { from_us, every_us: SPAN_US / most.max(1) as i64, lanes, name })
    }
    pub(crate) fn lane(&self, n: u64) -> SubscriptionId {
        lane(u128::from(n) % self.lanes)
    }
    fn event(&self, n: u64) -> Event {
        // as scattered as a derived id is
        let id =
            EventId(Uuid::from_u128(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64 | u128::from(n)));
        let resource = Uuid::from_u128(u128::from(n / 3) << 32 | 0x8000_0000_0000_0000);
        let body = format!(
            "{{\"id\":\"{id}\",\"timestamp\":\"2026-02-14T10:30:00.123456+00:00\",\"event\":\"invoice.created\",\
             \"tenant_id\":\"{tenant}\",\"resource_type\":\"invoice\",\"resource_id\":\"{resource}\",\"data\":\
             {{\"invoice_id\":\"{resource}\",\"invoice_number\":\"2026/{n:08}\",\"amount\":1234.50,\"status\":\"draft\"}},\
             \"metadata\":{{\"tenant_id\":\"{tenant}\",\"source\":\"gestiqcloud\",\"version\":\"1.0\"}}}}",
            tenant = tenant().as_str(),
        );
        Event {
            id,
            name: self.name.clone(),
            tenant: tenant(),
            resource: Some(Resource { kind: "invoice".to_owned(), id: resource.to_string() }),
            timestamp_us: self.from_us + n as i64 * self.every_us,
            sequence: Sequence { lsn: Lsn(n + 2), number: 0 },
            body: Bytes::from(body.into_bytes()),
        }
    }
    /// What capture writes for some changes, and the keys of their deliveries.
    pub(crate) fn captured(&self, numbers: std::ops::Range<u64>) -> (Vec<Record>, Vec<DeliveryKey>) {
        let mut records = vec![Record::Position(Lsn(numbers.end + 1))];
        let mut keys = Vec::new();
        for n in numbers {
            let (event, subscription) = (Arc::new(self.event(n)), self.lane(n));
            let id = DeliveryId::derive(event.id, subscription, event.timestamp_us);
            let key = DeliveryKey { tenant: tenant(), id };
            let target_url = url(subscription);
            records.push(Record::Event(event.clone()));
            records.push(Record::Delivery { event: event.id, subscription, key: key.clone(), target_url });
            keys.push(key);
        }
        (records, keys)
    }
    /// What dispatch writes when all went well.
    pub(crate) fn delivered(&self, keys: Vec<DeliveryKey>) -> Vec<Record> {
        let at_ms = self.from_us / 1000;
        let outcome = Outcome { answer: Ok(200), detail: None, retry_after_ms: None, duration_us: 900 };
        let attempt = Attempt { number: 1, at_ms, outcome, counted: true };
        let record = |key| Record::Attempted { key, attempt: attempt.clone(), next: Next::Delivered };
        keys.into_iter().map(record).collect()
    }
}

/// A subscription's id by number.
pub(crate) fn lane(n: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(0x1111_0000_0000_4000_8000_0000_0000_0000 + n))
}
/// Its URL: an endpoint of its own.
pub(crate) fn url(lane: SubscriptionId) -> String {
    format!("https://receiver-{:x}.example.com/hook", lane.0.as_u128() & 0xFFFF)
}

/// The shadow's line of the plan.
pub(crate) const TABLE: &str = "public.invoices: status,tenant_id";

/// A shadow row as the mapping encodes it: a key of one uuid, a short text and a uuid. Keys are random, as uuids are.
pub(crate) fn shadow_key(n: u64) -> Bytes {
    let scattered = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let scattered = (scattered ^ (scattered >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mut key = vec![3];
    key.extend_from_slice(&scattered.to_be_bytes());
    key.extend_from_slice(&n.to_be_bytes());
    Bytes::from(key)
}
pub(crate) fn shadow(n: u64) -> Record {
    let mut columns = b"\x02\x07\"draft\"\x03".to_vec();
    columns.extend_from_slice(&u128::from(n % 100).to_be_bytes());
    Record::Shadow { table: TABLE.into(), key: shadow_key(n), columns: Some(Bytes::from(columns)) }
}
