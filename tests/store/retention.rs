//! What has had its time goes; what is owed, or remembered for good, stays, and so do the segments it needs.
use crate::disk::CrashDisk;
use crate::house::*;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tailhook::domain::{Lsn, Next};
use tailhook::store::{Filter, MemoryIndex, Record, Settings, StoreError};
use tokio::time::sleep;

const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn small() -> Settings {
    Settings { segment_bytes: 1000, ..settings() }
}

fn count(house: &House) -> usize {
    house.store.list(&tenant(), &Filter { limit: 100, ..Filter::default() }).unwrap().deliveries.len()
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
    assert_eq!((count(&house), house.disk.names("journal-")), (40, all.clone()), "young: everything stays");
    house.clock.0.fetch_add(8 * DAY_US, Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(count(&house), 1);
    let left = house.disk.names("journal-");
    assert!(left.len() < all.len() && left.len() > 2, "{left:?}");
    assert_eq!(left, all[all.len() - left.len()..], "a prefix went");
    assert_eq!(house.store.event(&key(20, lane(1))).unwrap().unwrap().body, event(20).body);
    // without index and without the beginning: the checkpoint has what lives long
    let disk = house.disk.fork();
    let reopened = House::open(small(), disk, MemoryIndex::default()).await.unwrap();
    assert_eq!(reopened.store.subscriptions().len(), 1);
    assert_eq!(reopened.store.shadow("public.invoices", b"1").unwrap().unwrap(), "draft");
    assert_eq!(reopened.store.shadow("public.invoices", b"2").unwrap().unwrap(), "sent");
    assert_eq!((reopened.store.position(), reopened.store.identity()), (Some(Lsn(41)), Some(identity(1))));
    assert_eq!(reopened.store.due(lane(1), None, 9).unwrap()[0].key, key(20, lane(1)));
    // once it has ended and had its time, its segment goes too
    house.commit(vec![attempted(key(20, lane(1)), 1, Next::Delivered)]).await;
    house.clock.0.fetch_add(8 * DAY_US, Ordering::Relaxed);
    sleep(Duration::from_secs(300)).await;
    assert_eq!((count(&house), house.disk.names("journal-").len()), (0, 1));
    assert_eq!(house.disk.names("shadow-").len(), 1, "older checkpoints are removed");
    let (disk, index) = house.close().await;
    let house = House::open(small(), disk, index).await.unwrap();
    assert_eq!((house.recovery.rebuilt.clone(), house.store.position()), (None, Some(Lsn(41))));
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
    assert_eq!(house.store.subscriptions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_history_max_is_too_much() {
    let settings = Settings { history_max: 10, ..small() };
    let (disk, index) = forty(20).await.close().await;
    let house = House::open(settings, disk, index).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(count(&house), 11);
    assert_eq!(house.store.due(lane(1), None, 9).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn idempotent_answers_last_a_day_and_cleared_rows_go() {
    let house = House::new().await;
    house.commit(vec![remembered("k", NOON_MS), row("1", Some("a")), row("2", Some("b"))]).await;
    house.commit(vec![Record::ShadowClear { table: "public.invoices".into() }, row("2", Some("c"))]).await;
    let known = || house.store.idempotent(&tenant(), "k").unwrap().is_some();
    assert!(known());
    assert_eq!(house.store.idempotent(&tailhook::domain::TenantId::new("other"), "k").unwrap(), None);
    house.clock.0.fetch_add(DAY_US - 1000, Ordering::Relaxed);
    assert!(known());
    house.clock.0.fetch_add(1000, Ordering::Relaxed);
    assert!(!known(), "too old, though not swept yet");
    sleep(Duration::from_secs(120)).await;
    let kept = tailhook::store::Index::scan(&house.index, b"h", b"j", 100).unwrap();
    assert_eq!(kept.len(), 1, "one shadow row, no answer: {kept:?}");
    assert_eq!(house.store.shadow("public.invoices", b"2").unwrap().unwrap(), "c");
    assert_eq!(house.store.shadow("public.invoices", b"1").unwrap(), None);
}
