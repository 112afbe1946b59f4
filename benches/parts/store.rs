//! What touches the disk: a commit with its fdatasync, the index alone, the shadow through the store.
use anyhow::Context;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use tailhook::clock::SystemClock;
use tailhook::disk::RealDisk;
use tailhook::domain::{
    DeliveryId, DeliveryKey, Event, EventId, EventName, Lsn, Resource, Sequence, SubscriptionId, TenantId,
};
use tailhook::settings::StoreSettings;
use tailhook::store::{Batch, Checkpoint, Engine, Index, LsmIndex, Record, Store, StoreError};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

/// Entries of the index and rows of the shadow before anything is measured.
const KNOWN: u64 = 200_000;
const TABLE: &str = "public.invoices: status,tenant_id";

/// A store that runs.
struct House {
    runtime: Runtime,
    store: Store,
    loops: JoinSet<Result<(), StoreError>>,
    _folder: TempDir,
}

impl House {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let data = folder.path().join("data");
        let disk = Arc::new(RealDisk::open(&data)?);
        let index = Engine::Lsm.factory(data.join("index"), tailhook::store::index::lsm::MEMORY_BYTES);
        let opening = Store::open(StoreSettings::default(), disk, index, Arc::new(SystemClock));
        let (store, _) = runtime.block_on(opening)?;
        let mut loops = JoinSet::new();
        let running = store.clone();
        loops.spawn_on(async move { running.run().await }, runtime.handle());
        Ok(Self { runtime, store, loops, _folder: folder })
    }
    fn commit(&self, records: Vec<Record>) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.store.checkpoint().commit(Batch { records }))?)
    }
    fn close(mut self) -> anyhow::Result<()> {
        self.runtime.block_on(self.store.close());
        Ok(self.runtime.block_on(self.loops.join_next()).context("the store's loop is gone")???)
    }
}

/// Numbers that come once each, scattered as ids are.
struct Scattered(u64);

impl Scattered {
    fn next(&mut self) -> u128 {
        self.0 += 1;
        u128::from(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64 | u128::from(self.0)
    }
}

/// Events with their deliveries, 1 KiB a body (DESIGN 4's measure): what one commit of capture holds.
fn captured(count: usize, name: &EventName, ids: &mut Scattered) -> Vec<Record> {
    let mut records = Vec::with_capacity(2 * count);
    for _ in 0..count {
        let (id, subscription) = (EventId(Uuid::from_u128(ids.next())), SubscriptionId(Uuid::from_u128(7)));
        let key = DeliveryKey {
            tenant: TenantId::new("acme"),
            id: DeliveryId::derive(id, subscription, 1_771_065_000_000_000 + ids.0 as i64),
        };
        records.push(Record::Event(Arc::new(Event {
            id,
            name: name.clone(),
            tenant: TenantId::new("acme"),
            resource: Some(Resource { kind: "invoice".to_owned(), id: ids.0.to_string() }),
            timestamp_us: 1_771_065_000_000_000,
            sequence: Sequence { lsn: Lsn(ids.0), number: 0 },
            body: Bytes::from(vec![b'x'; 1024]),
        })));
        let target_url = "https://receiver.example.com/hook".to_owned();
        records.push(Record::Delivery { event: id, subscription, key, target_url });
    }
    records
}

/// From the call to the return, fdatasync included, on a real folder; the index is written behind it.
pub(crate) fn journal(criterion: &mut Criterion) {
    let (Ok(house), Ok(name)) = (House::new(), EventName::parse("invoice.created")) else { return };
    let mut ids = Scattered(0);
    let mut group = criterion.benchmark_group("journal");
    for batch in [1, 10, 100, 1000] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("commit, deliveries", batch), |b| {
            b.iter_batched(
                || captured(batch, &name, &mut ids),
                |records| house.commit(records),
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    report(house.close());
}

/// The real index behind our interface, with entries of a delivery's size.
pub(crate) fn index(criterion: &mut Criterion) {
    let Ok(folder) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) else { return };
    report(measure_index(criterion, folder.path()));
}

fn measure_index(criterion: &mut Criterion, folder: &Path) -> anyhow::Result<()> {
    let index = LsmIndex::open(folder, tailhook::store::index::lsm::MEMORY_BYTES)?;
    let entry = |n: u128| ([b"d".as_slice(), &n.to_be_bytes()].concat(), Some(vec![b'x'; 320]));
    let mut ids = Scattered(0);
    for _ in 0..KNOWN / 100 {
        index.take(&mut (0..100).map(|_| entry(ids.next())))?;
        index.flush(false)?;
    }
    let mut group = criterion.benchmark_group("index");
    group.bench_function("get", |b| {
        let mut known = Scattered(0);
        b.iter(|| {
            let key = entry(known.next()).0;
            known.0 %= KNOWN - 1;
            index.get(&key)
        });
    });
    group.bench_function("scan of 100", |b| b.iter(|| index.scan(b"d\x80", b"e", 100)));
    group.bench_function("scan back of 100", |b| b.iter(|| index.scan_back(b"d", b"d\x80", 100)));
    group.throughput(Throughput::Elements(100));
    group.bench_function("take 100", |b| {
        b.iter_batched(
            || (0..100).map(|_| entry(ids.next())).collect::<Vec<_>>(),
            |writes| index.take(&mut writes.into_iter()).and_then(|()| index.flush(false)),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}

fn row(n: u64) -> Record {
    Record::Shadow { table: TABLE.into(), key: key(n), columns: Some(Bytes::from(vec![b'x'; 30])) }
}

fn key(n: u64) -> Bytes {
    let scattered = u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64 | u128::from(n);
    Bytes::copy_from_slice(&scattered.to_be_bytes())
}

/// A remembered row: looked up, and written with its transaction.
pub(crate) fn shadow(criterion: &mut Criterion) {
    let Ok(house) = House::new() else { return };
    for first in (0..KNOWN).step_by(1000) {
        report(house.commit((first..first + 1000).map(row).collect()));
    }
    let mut group = criterion.benchmark_group("shadow");
    group.bench_function("lookup", |b| {
        b.iter_custom(|rounds| {
            let look = move |checkpoint: &Checkpoint| {
                let began = Instant::now();
                for n in 0..rounds {
                    black_box(checkpoint.shadow(TABLE, &key(n.wrapping_mul(7919) % KNOWN))).ok();
                }
                began.elapsed()
            };
            house.runtime.block_on(house.store.checkpoint().offload(look)).unwrap_or_default()
        });
    });
    let mut n = 0;
    group.throughput(Throughput::Elements(100));
    group.bench_function("commit of 100 rows", |b| {
        b.iter(|| {
            n = (n + 100) % (KNOWN - 100);
            house.commit((n..n + 100).map(row).collect())
        });
    });
    group.finish();
    report(house.close());
}

/// A benchmark that cannot be made is said; its row is missing from the table.
fn report(result: anyhow::Result<()>) {
    if let Err(error) = result {
        eprintln!("not measured: {error:#}");
    }
}
