//! An index whose disk stalls: no ack of what was captured waits for it, and what was read from it is never applied when it is stale.
use crate::disk::CrashDisk;
use crate::house::*;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tailhook::disk::Disk as _;
use tailhook::domain::*;
use tailhook::store::index::{Generation, Pair};
use tailhook::store::*;
use tokio::time::{Instant, timeout};

/// Every call is so much later than it was made.
#[derive(Debug, Clone, Default)]
struct StallingIndex {
    index: MemoryIndex,
    delay_ms: Arc<AtomicU64>,
}

impl StallingIndex {
    fn stall(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
    fn factory(&self) -> IndexFactory {
        let index = self.clone();
        Box::new(move |reset| {
            if reset == Reset::MoveAside {
                index.index.clear();
            }
            Ok(Arc::new(index.clone()))
        })
    }
}

impl Index for StallingIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.index.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, IndexError> {
        self.index.scan(from, to, limit)
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
        self.index.size()
    }
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }
}

const HOUR: Duration = Duration::from_secs(3600);

async fn house() -> (House, StallingIndex) {
    let index = StallingIndex::default();
    (House::open_with(settings(), CrashDisk::default(), index.factory()).await.unwrap(), index)
}

async fn unseen(house: &House, records: Vec<Record>) {
    house.store.checkpoint().commit_unseen(Batch { records }).await.unwrap();
}

/// From the commit to the outcome of a new delivery nothing waits for the index, however long it stalls.
#[tokio::test(start_paused = true)]
async fn a_new_delivery_is_acknowledged_sent_and_settled_while_the_index_stalls() {
    let (house, index) = house().await;
    for n in [1, 98, 99] {
        unseen(&house, captured(n, lane(1))).await;
        house.settle().await;
    }
    index.stall(HOUR);
    for n in 2..50 {
        let began = Instant::now();
        unseen(&house, captured(n, lane(1))).await;
        let (fresh, _) = house.store.outbox().fresh().await;
        let pending = fresh.last().unwrap();
        assert_eq!(house.store.outbox().event(pending).await.unwrap().unwrap().body, event(n).body);
        house.commit(vec![attempted(pending.key.clone(), 1, Next::Delivered)]).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "delivery {n} waited for the index");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    // what lies in the index alone waits for it, and nobody else waits for that
    let old = house.commit(vec![attempted(key(1, lane(1)), 1, Next::Delivered)]);
    assert!(timeout(Duration::from_secs(60), old).await.is_err(), "nothing was read");
    timeout(Duration::from_millis(1), unseen(&house, captured(60, lane(1)))).await.unwrap();
}

/// A value that was read before others changed it twice over is read again.
#[tokio::test(start_paused = true)]
async fn what_was_read_is_not_applied_when_it_is_stale() {
    for pause in [1, 2, 4, 8, 20] {
        let (house, index) = house().await;
        unseen(&house, captured(1, lane(1))).await;
        for n in 2..5 {
            house.settle().await;
            unseen(&house, captured(n, lane(1))).await;
        }
        let k = key(1, lane(1));
        index.stall(Duration::from_secs(pause));
        let late = house.commit(vec![attempted(k.clone(), 2, Next::RetryAt(NOON_MS))]);
        let others = async {
            // it has begun to read
            tokio::task::yield_now().await;
            index.stall(Duration::ZERO);
            house.commit(vec![attempted(k.clone(), 1, Next::RetryAt(NOON_MS))]).await;
            for n in 5..9 {
                tokio::time::sleep(Duration::from_millis(1100)).await;
                unseen(&house, captured(n, lane(1))).await;
            }
        };
        tokio::join!(late, others);
        let delivery = house.store.history().delivery(&k).await.unwrap().unwrap();
        assert_eq!((delivery.attempts, delivery.log.len()), (2, 2), "after {pause} s an attempt is lost");
    }
}

/// A folder with so many deliveries, every second one delivered, and no index.
async fn without_an_index(deliveries: u64) -> CrashDisk {
    let house = House::new().await;
    for n in 1..=deliveries {
        unseen(&house, captured(n, lane(1))).await;
        if n % 2 == 0 {
            house.commit(vec![attempted(key(n, lane(1)), 1, Next::Delivered)]).await;
        }
    }
    house.close().await.0
}

/// What is committed while an index is rebuilt is acknowledged at once, and everything is there when that is done.
#[tokio::test(start_paused = true)]
async fn a_rebuild_holds_up_no_commit() {
    let disk = without_an_index(20).await;
    let index = StallingIndex::default();
    index.stall(HOUR);
    let house = House::open_with(settings(), disk, index.factory()).await.unwrap();
    assert!(house.recovery.rebuilt.is_some());
    let began = Instant::now();
    // also what might be there already, outcomes, and what people do
    house.commit([captured(21, lane(1)), vec![Record::Position(Lsn(900))]].concat()).await;
    house.commit(captured(20, lane(1))).await;
    house.commit(vec![attempted(key(1, lane(1)), 1, Next::Failed)]).await;
    house.commit(vec![Record::Retried { key: key(1, lane(1)), at_ms: NOON_MS }]).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "a commit waited for the rebuild");
    assert_eq!(house.store.checkpoint().position(), Some(Lsn(900)));
    assert!(house.store.vitals().rebuilding);
    let asked = house.store.history().delivery(&key(1, lane(1))).await;
    assert!(matches!(asked, Err(KeepingError::Failed(_))), "{asked:?}");
    index.stall(Duration::ZERO);
    assert_eq!(house.store.outbox().lanes().await.unwrap(), [lane(1)]);
    let pending = |store: &Store| (store.vitals().rebuilding, store.vitals().pending);
    assert_eq!(pending(&house.store), (false, 11), "ten, the new one, and the one that was retried");
    let now = answers(&house.store).await;
    let (disk, _) = house.close().await;
    let again = House::open(settings(), disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(answers(&again.store).await, now);
    assert_eq!(pending(&again.store), (false, 11));
}

/// Parts of the new index become durable before it has everything: a kill then is no reason to believe it.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_cut_off_is_begun_again() {
    const DELIVERIES: u64 = 2000;
    // an older copy of the index beside a folder that has no mark any more says itself that it is not whole
    for marked in [true, false] {
        let disk = without_an_index(DELIVERIES).await;
        let index = StallingIndex::default();
        index.stall(Duration::from_secs(10));
        let house = House::open_with(settings(), disk, index.factory()).await.unwrap();
        unseen(&house, captured(DELIVERIES + 1, lane(1))).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(
            house.store.vitals().rebuilding && house.store.vitals().index_lag_frames == 0,
            "a generation is there"
        );
        let (disk, _) = house.stop().await;
        if !marked {
            disk.remove("rebuild-index").await.unwrap();
        }
        index.stall(Duration::ZERO);
        let house = House::open_with(settings(), disk, index.factory()).await.unwrap();
        assert!(house.recovery.rebuilt.is_some(), "marked: {marked}");
        assert_eq!(house.store.outbox().lanes().await.unwrap(), [lane(1)]);
        assert_eq!(house.store.vitals().pending, DELIVERIES / 2 + 1);
    }
}

/// Null controls.
#[test]
fn a_store_that_waits_for_the_index_or_believes_what_is_stale_is_caught() {
    for (fault, test) in [
        ("ack-after-index", "stall::a_new_delivery_is_acknowledged_sent_and_settled_while_the_index_stalls"),
        ("read-under-lock", "stall::a_new_delivery_is_acknowledged_sent_and_settled_while_the_index_stalls"),
        ("stale-fetch", "stall::what_was_read_is_not_applied_when_it_is_stale"),
        ("rebuilt-too-early", "stall::a_rebuild_that_is_cut_off_is_begun_again"),
        ("sweep-unseen-retry", "retention::a_delivery_that_is_retried_during_the_sweep_stays"),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact"])
            .env("TAILHOOK_PLANTED", fault)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{fault} was not noticed");
    }
}
