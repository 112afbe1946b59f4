//! The loop over a real store in a throw-away folder, with a transport that answers as told.
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, RealDisk};
use crate::dispatch::DispatchStatus;
use crate::domain::{
    Delivery, DeliveryId, DeliveryKey, Event, EventId, EventName, Failure, Lsn, Options, Outcome, Pattern,
    Resource, Sealed, Secret, Sequence, Status as DeliveryStatus, Subscription, SubscriptionId, TenantId,
};
use crate::egress::Request;
use crate::registry::seal::{Field, Sealer};
use crate::settings::{BackoffSettings, DispatchSettings};
use crate::store::{Batch, Identity, MemoryIndex, Record, Store};
use crate::telemetry::Metrics;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use tempfile::TempDir;
use uuid::Uuid;

mod roll;
mod seams;
mod steps;
mod waits;

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

type Answer = Arc<dyn Fn(&Request) -> Option<Result<u16, Failure>> + Send + Sync>;

/// Answers as told; `None` hangs.
#[derive(Clone)]
struct Scripted {
    answer: Answer,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Transport for Scripted {
    async fn send(&self, request: Request) -> Outcome {
        let answer = (self.answer)(&request);
        self.seen.lock().unwrap().push(request);
        let Some(answer) = answer else { std::future::pending().await };
        Outcome { answer, detail: None, retry_after_ms: None, duration_us: 1 }
    }
}

/// The real folder, and a switch that makes it full.
#[derive(Debug)]
struct Fillable(RealDisk, Arc<AtomicBool>);

impl Fillable {
    fn check(&self) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Disk for Fillable {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.0.len(name)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read(name, offset, len)
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        self.check()?;
        self.0.create(name).await
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.check()?;
        self.0.append(name, bytes).await
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        self.check()?;
        self.0.sync(name).await
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.0.truncate(name, len).await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to).await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name).await
    }
    fn free_bytes(&self) -> io::Result<u64> {
        if self.1.load(Ordering::SeqCst) { Ok(0) } else { self.0.free_bytes() }
    }
}

struct House {
    _folder: TempDir,
    full: Arc<AtomicBool>,
    store: Store,
    transport: Scripted,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), KeepingError>>,
    status: DispatchStatus,
    metrics: Metrics,
    next: u128,
}

impl House {
    async fn new(answer: impl Fn(&Request) -> Option<Result<u16, Failure>> + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let disk = Arc::new(Fillable(RealDisk::open(&folder.path().join("data")).unwrap(), full.clone()));
        let settings = crate::settings::StoreSettings { min_free: 1, ..Default::default() };
        let index = MemoryIndex::default().factory();
        let (store, _) = Store::open(settings, disk, index, Arc::new(SystemClock)).await.unwrap();
        let mut tasks = JoinSet::new();
        let running = store.clone();
        tasks.spawn(async move { Ok(running.run().await?) });
        // the first snapshot is behind us
        store.checkpoint().commit(Batch { records: vec![Record::Position(Lsn(1))] }).await.unwrap();
        Self {
            _folder: folder,
            full,
            store,
            transport: Scripted { answer: Arc::new(answer), seen: Arc::default() },
            stop: watch::Sender::new(false),
            tasks,
            status: DispatchStatus::default(),
            metrics: Metrics::new().unwrap(),
            next: 0,
        }
    }
    fn parts(&self) -> DispatchParts<Scripted, fn() -> f64> {
        let backoff = BackoffSettings {
            base: Duration::from_millis(5),
            factor: 1.0,
            ..DispatchSettings::default().backoff
        };
        DispatchParts {
            outbox: self.store.outbox(),
            transport: self.transport.clone(),
            sealer: Sealer::from_base64(KEY).unwrap(),
            clock: Arc::new(SystemClock),
            settings: DispatchSettings { backoff, ..DispatchSettings::default() },
            metrics: self.metrics.clone(),
            names: watch::Sender::new(Arc::new(BTreeSet::from([name()]))).subscribe(),
            status: self.status.clone(),
            jitter: || 0.5,
        }
    }
    fn start(&mut self) {
        self.stop.send_replace(false);
        self.tasks.spawn(run(self.parts(), self.stop.subscribe()));
    }
    async fn subscribe(&self, n: u128, key: &str, active: bool) {
        let subscription = subscription(n, key, active);
        let records = vec![Record::Subscription(Box::new(subscription))];
        self.store.checkpoint().commit(Batch { records }).await.unwrap();
    }
    /// An event of a resource, for one subscription.
    async fn emit(&mut self, subscription: u128, resource: &str) -> DeliveryKey {
        self.emit_as(subscription, resource, |event| event).await
    }
    /// The same, but for what `change` makes of the event.
    async fn emit_as(
        &mut self,
        subscription: u128,
        resource: &str,
        change: impl FnOnce(Event) -> Event,
    ) -> DeliveryKey {
        self.next += 1;
        let event = change(Event {
            id: EventId(Uuid::from_u128(self.next)),
            name: name(),
            tenant: TenantId::new("t"),
            resource: Some(Resource { kind: "invoice".into(), id: resource.into() }),
            timestamp_us: SystemClock.now_us(),
            sequence: Sequence { lsn: Lsn(self.next as u64), number: 0 },
            body: Bytes::from(format!("{{\"n\":{}}}", self.next)),
        });
        let key =
            DeliveryKey { tenant: event.tenant.clone(), id: DeliveryId(Uuid::from_u128(1000 + self.next)) };
        let delivery = Record::Delivery {
            event: event.id,
            subscription: SubscriptionId(Uuid::from_u128(subscription)),
            key: key.clone(),
            target_url: "https://receiver.test/".into(),
        };
        let records = vec![Record::Event(Arc::new(event)), delivery];
        self.store.checkpoint().commit(Batch { records }).await.unwrap();
        key
    }
    fn delivery(&self, key: &DeliveryKey) -> Delivery {
        let history = self.store.history();
        let mut asked = pin!(history.delivery(key));
        match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found.unwrap().unwrap(),
            Poll::Pending => panic!("the index of a test answers at once"),
        }
    }
    /// Lets the others work until it is so; the limit only keeps a broken test from hanging.
    async fn until(&self, so: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !so(self) {
                task::yield_now().await;
            }
        });
        waited.await.expect("it never came to be so");
    }
    fn seen(&self) -> Vec<Request> {
        self.transport.seen.lock().unwrap().clone()
    }
    /// Stops dispatch and gives its result.
    async fn stop(&mut self) -> Result<(), KeepingError> {
        self.stop.send_replace(true);
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

fn name() -> EventName {
    EventName::parse("invoice.created").unwrap()
}

fn subscription(n: u128, key: &str, active: bool) -> Subscription {
    Subscription {
        id: SubscriptionId(Uuid::from_u128(n)),
        tenant: TenantId::new("t"),
        pattern: Pattern::Any,
        url: format!("https://receiver.test/{n}"),
        secret: Some(sealed(n, key, Field::Secret, "a secret")),
        active,
        created_us: 0,
        updated_us: 0,
        options: Options {
            headers: [("x-api-key".to_owned(), sealed(n, key, Field::Header("x-api-key"), "a key"))].into(),
            ..Options::default()
        },
    }
}

fn sealed(n: u128, key: &str, field: Field<'_>, clear: &str) -> Sealed {
    let id = SubscriptionId(Uuid::from_u128(n));
    Sealer::from_base64(key).unwrap().seal(id, field, &Secret::new(clear), [1; 24])
}

#[tokio::test]
async fn what_is_committed_is_delivered_in_order_and_its_retries_are_on_record() {
    let tries = Arc::new(Mutex::new(0));
    let mut house = House::new(move |request| {
        let mut tries = tries.lock().unwrap();
        *tries += u32::from(request.event().sequence.lsn == Lsn(1));
        Some(Ok(if *tries < 3 { 503 } else { 200 }))
    })
    .await;
    house.subscribe(1, KEY, true).await;
    // some before it runs, some while it runs
    let mut keys = vec![house.emit(1, "a").await, house.emit(1, "a").await];
    house.start();
    keys.push(house.emit(1, "a").await);
    house.until(|house| house.store.vitals().pending == 0).await;
    let first = house.delivery(&keys[0]);
    assert_eq!((first.status, first.attempts, first.counted_attempts), (DeliveryStatus::Delivered, 3, 3));
    let order: Vec<(u64, u32)> = house.seen().iter().map(|r| (r.event().sequence.lsn.0, r.attempt)).collect();
    assert_eq!(order, [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]);
    let request = &house.seen()[0];
    assert_eq!(request.secrets, [Secret::new("a secret")]);
    assert_eq!(request.endpoint.url, "https://receiver.test/1");
    assert_eq!(&request.event().body[..], b"{\"n\":1}");
    let text = house.metrics.render().unwrap();
    for line in [
        "webhook_deliveries_total{event=\"invoice.created\",status=\"delivered\"} 3",
        "webhook_retries_total{event=\"invoice.created\",reason=\"http_5xx\"} 2",
        "webhook_delivery_http_status{status_code=\"503\"} 2",
    ] {
        assert!(text.contains(line), "{line}");
    }
    house.stop().await.unwrap();
}

#[tokio::test]
async fn a_deleted_subscription_is_sent_nothing_and_a_new_one_is() {
    let mut house = House::new(|_| Some(Ok(200))).await;
    house.subscribe(1, KEY, true).await;
    let late = house.emit(1, "a").await;
    house.subscribe(1, KEY, false).await;
    house.subscribe(2, KEY, true).await;
    let early = house.emit(2, "a").await;
    let never = house.emit(3, "a").await;
    house.start();
    house.until(|house| house.store.vitals().pending == 0).await;
    for (key, status) in [
        (late, DeliveryStatus::Abandoned),
        (early, DeliveryStatus::Delivered),
        (never, DeliveryStatus::Abandoned),
    ] {
        assert_eq!(house.delivery(&key).status, status);
    }
    assert_eq!(house.seen().len(), 1);
    house.stop().await.unwrap();
}

/// While a snapshot is taken anew the store knows no subscription.
#[tokio::test]
async fn a_stop_before_a_snapshot_is_complete_gives_nothing_up() {
    let mut house = House::new(|_| None).await;
    house.subscribe(1, KEY, true).await;
    let key = house.emit(1, "1").await;
    let identity = Identity {
        system_id: "1".into(),
        timeline: 1,
        database: "erp".into(),
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        epoch: [0; 16],
        shadow_plan: String::new(),
    };
    house.store.checkpoint().commit(Batch { records: vec![Record::Filling(identity)] }).await.unwrap();
    house.start();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    house.stop().await.unwrap();
    assert_eq!(house.delivery(&key).status, DeliveryStatus::Pending);
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_sent_and_costs_no_retry() {
    let mut house = House::new(|_| Some(Ok(200))).await;
    house.subscribe(1, OTHER_KEY, true).await;
    let key = house.emit(1, "a").await;
    house.start();
    house.until(|house| house.delivery(&key).attempts > 0).await;
    let delivery = house.delivery(&key);
    assert_eq!((delivery.status, delivery.counted_attempts), (DeliveryStatus::Pending, 0));
    assert!(delivery.last_error.unwrap().contains("cannot be signed"));
    assert!(house.seen().is_empty());
    house.stop().await.unwrap();
}

#[tokio::test]
async fn a_hanging_endpoint_holds_up_nobody_and_the_stop_neither() {
    let mut house =
        House::new(|request| if request.endpoint.url.ends_with("/1") { None } else { Some(Ok(200)) }).await;
    house.subscribe(1, KEY, true).await;
    house.subscribe(2, KEY, true).await;
    let hanging = house.emit(1, "a").await;
    house.start();
    let mut others = Vec::new();
    for n in 0..50 {
        others.push(house.emit(2, &n.to_string()).await);
    }
    house.until(|house| house.store.vitals().pending == 1).await;
    assert!(others.iter().all(|key| house.delivery(key).status == DeliveryStatus::Delivered));
    house.until(|house| house.status.in_flight() == 1).await;
    tokio::time::pause();
    house.stop().await.unwrap();
    tokio::time::resume();
    assert_eq!(house.delivery(&hanging).status, DeliveryStatus::Pending, "made again at the next start");
    // which goes on where it was
    house.transport.answer = Arc::new(|_| Some(Ok(204)));
    house.start();
    house.until(|house| house.store.vitals().pending == 0).await;
    assert_eq!(house.delivery(&hanging).status, DeliveryStatus::Delivered);
    house.stop().await.unwrap();
}

#[tokio::test]
async fn outcomes_wait_for_a_disk_that_is_full_and_are_not_lost() {
    let gate = Arc::new(AtomicBool::new(false));
    let full = Arc::new(Mutex::new(None::<Arc<AtomicBool>>));
    let (fills, hung) = (full.clone(), gate.clone());
    let mut house = House::new(move |_| {
        // the disk fills up while the request is on its way
        if let Some(full) = fills.lock().unwrap().take() {
            full.store(true, Ordering::SeqCst);
            hung.store(true, Ordering::SeqCst);
        }
        Some(Ok(200))
    })
    .await;
    *full.lock().unwrap() = Some(house.full.clone());
    house.subscribe(1, KEY, true).await;
    let keys = [house.emit(1, "a").await, house.emit(1, "b").await];
    house.start();
    house.until(|house| gate.load(Ordering::SeqCst) && !house.store.vitals().writable).await;
    assert_eq!(house.delivery(&keys[0]).status, DeliveryStatus::Pending);
    house.full.store(false, Ordering::SeqCst);
    house.until(|house| house.store.vitals().pending == 0).await;
    assert_eq!(house.seen().len(), 2, "each was sent once");
    house.stop().await.unwrap();
}
