//! What has had its time goes; what is owed, or remembered for good, stays, and so do the segments it needs.
use crate::disk::CrashDisk;
use crate::house::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tailhook::domain::{Lsn, Next, Status};
use tailhook::settings::StoreSettings;
use tailhook::store::index::{Generation, Pair};
use tailhook::store::{Filter, Index, IndexError, MemoryIndex, Record, Reset, StoreError};
use tokio::time::sleep;

const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn small() -> StoreSettings {
    StoreSettings { segment_bytes: 1000, ..settings() }
}

async fn count(house: &House) -> usize {
    house
        .store
        .history()
        .list(&tenant(), &Filter { limit: 100, ..Filter::default() })
        .await
        .unwrap()
        .deliveries
        .len()
}

/// Forty deliveries, all delivered but `owed`, and what lives for ever at the very beginning.
async fn forty(owed: u64) -> House {
    let house = House::open(small(), CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    let first = vec![
        Record::Filling(identity(1)),
        subscription(1),
        row("1", Some("draft")),
        row("2", Some("draft")),
        Record::Identity(identity(1)),
        remembered("k", NOON_MS + 8 * DAY_US / 1000),
    ];
    house.commit(first).await;
    for n in 1..=40 {
        house.commit(captured(n, lane(1))).await;
        if n != owed {
            house.commit(vec![attempted(key(n, lane(1)), 1, Next::Delivered)]).await;
        }
    }
    house.commit(vec![row("2", Some("sent"))]).await;
    house
}

#[tokio::test(start_paused = true)]
async fn only_a_prefix_that_nobody_needs_is_deleted() {
    let house = forty(20).await;
    let all = house.disk.names("journal-");
    sleep(Duration::from_secs(300)).await;
    assert_eq!(
        (count(&house).await, house.disk.names("journal-")),
        (40, all.clone()),
        "young: everything stays"
    );
    house.clock.0.fetch_add(8 * DAY_US, Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(count(&house).await, 1);
    let left = house.disk.names("journal-");
    assert!(left.len() < all.len() && left.len() > 2, "{left:?}");
    assert_eq!(left, all[all.len() - left.len()..], "a prefix went");
    assert_eq!(event_of(&house.store, &key(20, lane(1))).await.unwrap().unwrap().body, event(20).body);
    // without index and without the beginning: the checkpoint has what lives long
    let disk = house.disk.fork();
    let reopened = House::open(small(), disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(reopened.store.checkpoint().subscriptions().len(), 1);
    assert_eq!(shadow_of(&reopened.store, "public.invoices", b"1").await.unwrap().unwrap(), "draft");
    assert_eq!(shadow_of(&reopened.store, "public.invoices", b"2").await.unwrap().unwrap(), "sent");
    assert_eq!(
        (reopened.store.checkpoint().position(), reopened.store.checkpoint().identity()),
        (Some(Lsn(41)), Some(identity(1)))
    );
    assert!(
        reopened.store.answers().find(&tenant(), "k").await.unwrap().is_some(),
        "an answer of the last day"
    );
    assert_eq!(reopened.store.outbox().due(lane(1), None, 9).await.unwrap()[0].key, key(20, lane(1)));
    // once it has ended and had its time, its segment goes too
    house.commit(vec![attempted(key(20, lane(1)), 1, Next::Delivered)]).await;
    house.clock.0.fetch_add(8 * DAY_US, Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    assert_eq!((count(&house).await, house.disk.names("journal-").len()), (0, 1));
    assert_eq!(house.disk.names("shadow-").len(), 1, "older checkpoints are removed");
    let (disk, index) = house.close().await;
    let house = House::open(small(), disk, index).await.unwrap();
    assert_eq!((house.recovery.rebuilt.clone(), house.store.checkpoint().position()), (None, Some(Lsn(41))));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_checkpoint_is_never_believed() {
    let house = forty(20).await;
    house.clock.0.fetch_add(8 * DAY_US, Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    let (disk, index) = house.close().await;
    let name = disk.names("shadow-").remove(0);
    let len = disk.bytes(&name).len();
    for at in 0..len {
        let damaged = disk.fork();
        damaged.edit(&name, |bytes| bytes[at] ^= 16);
        let error = House::open(small(), damaged, MemoryIndex::default()).await.err();
        assert!(matches!(error, Some(StoreError::Damaged(_))), "flip at {at}: {error:?}");
        let cut = disk.fork();
        cut.edit(&name, |bytes| bytes.truncate(at));
        let error = House::open(small(), cut, MemoryIndex::default()).await.err();
        assert!(matches!(error, Some(StoreError::Damaged(_))), "cut at {at}: {error:?}");
    }
    // with a good index it is not needed
    disk.edit(&name, |bytes| bytes.truncate(len / 2));
    let house = House::open(small(), disk, index).await.unwrap();
    assert_eq!(house.store.checkpoint().subscriptions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_history_max_is_too_much() {
    let settings = StoreSettings { history_max: 10, ..small() };
    let (disk, index) = forty(20).await.close().await;
    let house = House::open(settings, disk, index).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(count(&house).await, 11);
    assert_eq!(house.store.outbox().due(lane(1), None, 9).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn idempotent_answers_last_a_day_and_cleared_rows_go() {
    let house = House::new().await;
    house.commit(vec![remembered("k", NOON_MS), row("1", Some("a")), row("2", Some("b"))]).await;
    house.commit(vec![Record::ShadowClear { table: "public.invoices".into() }, row("2", Some("c"))]).await;
    let known = async || house.store.answers().find(&tenant(), "k").await.unwrap().is_some();
    assert!(known().await);
    assert_eq!(
        house.store.answers().find(&tailhook::domain::TenantId::new("other"), "k").await.unwrap(),
        None
    );
    house.clock.0.fetch_add(DAY_US - 1000, Ordering::Relaxed);
    assert!(known().await);
    house.clock.0.fetch_add(1000, Ordering::Relaxed);
    assert!(!known().await, "too old, though not swept yet");
    sleep(Duration::from_secs(120)).await;
    let kept = tailhook::store::Index::scan(&house.index, b"h", b"j", 100).unwrap();
    assert_eq!(kept.len(), 1, "one shadow row, no answer: {kept:?}");
    assert_eq!(shadow_of(&house.store, "public.invoices", b"2").await.unwrap().unwrap(), "c");
    assert_eq!(shadow_of(&house.store, "public.invoices", b"1").await.unwrap(), None);
}

/// The folder without its index, after each sweep: a checkpoint that is large and seldom written must never stand in for the end
/// of a segment that goes on behind it.
#[tokio::test(start_paused = true)]
async fn no_segment_goes_that_the_checkpoint_has_not_taken_whole() {
    let house = House::open(small(), CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    // a quarter of the checkpoint is several segments
    for n in 0..300 {
        house.commit(vec![row(&format!("old-{n}"), Some(&"x".repeat(40)))]).await;
    }
    sleep(Duration::from_secs(120)).await;
    let checkpoints = house.disk.names("shadow-");
    assert_eq!(checkpoints.len(), 1);
    let mut spanned = 0;
    for n in 0..120 {
        let records =
            vec![row("1", Some(&format!("{n:040}"))), subscription(n), Record::Position(Lsn(n as u64 + 1))];
        house.commit(records).await;
        sleep(Duration::from_secs(70)).await;
        let expected = answers(&house.store).await;
        let reopened = House::open(small(), house.disk.fork(), MemoryIndex::default()).await;
        let reopened = reopened.unwrap_or_else(|error| panic!("after {n} commits: {error}"));
        assert_eq!(answers(&reopened.store).await, expected, "after {n} commits");
        let frame = |name: &String| u64::from_str_radix(&name[name.len() - 16..], 16).unwrap();
        let checkpoint = frame(&house.disk.names("shadow-")[0]);
        let segments: Vec<u64> = house.disk.names("journal-").iter().map(frame).collect();
        spanned +=
            usize::from(segments.len() > 1 && segments[0] <= checkpoint && segments[1] > checkpoint + 1);
    }
    assert!(spanned > 3, "a closed segment spanned the checkpoint at only {spanned} sweeps");
}

/// Stops whoever reads deliveries page by page, once, after the page was read.
#[derive(Debug, Clone, Default)]
struct Turnstile {
    index: MemoryIndex,
    /// Wanted; read and waiting; let through.
    turn: Arc<(Mutex<[bool; 3]>, Condvar)>,
}

impl Turnstile {
    fn wait_for(&self, step: usize) {
        let (turn, changed) = &*self.turn;
        drop(changed.wait_while(turn.lock().unwrap(), |turn| !turn[step]).unwrap());
    }
    fn reach(&self, step: usize) {
        self.turn.0.lock().unwrap()[step] = true;
        self.turn.1.notify_all();
    }
}

impl Index for Turnstile {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        let page = self.index.scan(from, to, limit)?;
        if from == b"d" && !page.is_empty() && std::mem::take(&mut self.turn.0.lock().unwrap()[0]) {
            self.reach(1);
            self.wait_for(2);
        }
        Ok(page)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.index.scan_back(from, to, limit)
    }
    fn take(&self, generation: Generation<'_>) -> Result<(), IndexError> {
        self.index.take(generation)
    }
    fn flush(&self, now: bool) -> Result<bool, IndexError> {
        self.index.flush(now)
    }
    fn size(&self) -> u64 {
        0
    }
    fn blocks(&self) -> bool {
        true
    }
}

/// The sweep has read a failed delivery that has had its time; before it forgets it, somebody retries it.
#[tokio::test]
async fn a_delivery_that_is_retried_during_the_sweep_stays() {
    let brief =
        StoreSettings { history: Duration::ZERO, upkeep_every: Duration::from_millis(10), ..settings() };
    let turnstile = Turnstile::default();
    let kept = turnstile.clone();
    let factory = Box::new(move |_: Reset| Ok(Arc::new(kept.clone()) as Arc<dyn Index>));
    let house = House::open_with(brief, CrashDisk::default(), factory).await.unwrap();
    for n in 1..=2 {
        house.commit(captured(n, lane(1))).await;
        house.commit(vec![attempted(key(n, lane(1)), 1, Next::Failed)]).await;
    }
    while turnstile.index.scan(b"d", b"e", 9).unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    turnstile.reach(0);
    // everything that is due has had its time from here on
    house.clock.0.fetch_add(DAY_US, Ordering::Relaxed);
    let reader = turnstile.clone();
    tokio::task::spawn_blocking(move || reader.wait_for(1)).await.unwrap();
    house.commit(vec![Record::Retried { key: key(1, lane(1)), at_ms: NOON_MS }]).await;
    turnstile.reach(2);
    while house.store.history().delivery(&key(2, lane(1))).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    let delivery =
        house.store.history().delivery(&key(1, lane(1))).await.unwrap().expect("it was retried meanwhile");
    assert_eq!(delivery.status, Status::Pending);
    assert_eq!(house.store.outbox().due(lane(1), None, 9).await.unwrap().len(), 1);
    assert_eq!(event_of(&house.store, &delivery.key).await.unwrap().unwrap().body, event(1).body);
}
