//! How fast, on a real disk with its real index. Not part of the suite: `cargo test --release --test store -- --ignored --nocapture`.
use crate::house::*;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tailhook::clock::SystemClock;
use tailhook::domain::{Event, Next};
use tailhook::store::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A captured change with a body of 600 bytes, then its delivery.
async fn one(store: &Store, n: u64) -> Duration {
    let mut records = captured(n, lane(u128::from(n % 7)));
    if let Record::Event(event) = &mut records[1] {
        *event = Arc::new(Event { body: Bytes::from(vec![b'x'; 600]), ..(**event).clone() });
    }
    let began = Instant::now();
    store.commit(Batch { records }).await.unwrap();
    let took = began.elapsed();
    let key = key(n, lane(u128::from(n % 7)));
    assert_eq!(store.event(&key).unwrap().unwrap().body.len(), 600);
    store.commit(Batch { records: vec![attempted(key, 1, Next::Delivered)] }).await.unwrap();
    took
}

async fn burst(store: &Store, events: u64, callers: u64) -> (Duration, Vec<Duration>) {
    let next = Arc::new(AtomicU64::new(1));
    let began = Instant::now();
    let mut set = JoinSet::new();
    for _ in 0..callers {
        let (store, next) = (store.clone(), next.clone());
        set.spawn(async move {
            let mut took = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n > events {
                    return took;
                }
                took.push(one(&store, n).await);
            }
        });
    }
    let mut took: Vec<Duration> = set.join_all().await.into_iter().flatten().collect();
    took.sort();
    (began.elapsed(), took)
}

fn proc(field: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("?").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn commits_a_second() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let flushes = Arc::new(AtomicU64::new(0));
    let counted = flushes.clone();
    let observe_flush = FlushObserver::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let settings = Settings { observe_flush, ..settings() };
    let disk = Arc::new(RealDisk::open(&folder.path().join("data")).unwrap());
    let index = || LsmIndex::factory(folder.path().join("data/index"), lsm::MEMORY_BYTES);
    let (store, _) =
        Store::open(settings.clone(), disk.clone(), index(), Arc::new(SystemClock)).await.unwrap();
    let mut loops = JoinSet::new();
    let running = store.clone();
    loops.spawn(async move { running.run().await });
    for (events, callers) in [(200, 1), (20_000, 16)] {
        let before = flushes.load(Ordering::Relaxed);
        let (all, took) = burst(&store, events, callers).await;
        println!(
            "{events} events, {callers} callers: {:.0} commits/s, commit p50 {:?} p99 {:?}, {} flushes, index lag {} frames, peak {}",
            2.0 * events as f64 / all.as_secs_f64(),
            took[took.len() / 2],
            took[took.len() * 99 / 100],
            flushes.load(Ordering::Relaxed) - before,
            store.vitals().index_lag_frames,
            proc("VmHWM:"),
        );
    }
    let began = Instant::now();
    store.close().await;
    loops.join_all().await.into_iter().for_each(|ended| ended.unwrap());
    println!("closed in {:?}", began.elapsed());
    drop(store);
    for reset in ["kept", "lost"] {
        if reset == "lost" {
            std::fs::remove_dir_all(folder.path().join("data/index")).unwrap();
        }
        let began = Instant::now();
        let (store, found) =
            Store::open(settings.clone(), disk.clone(), index(), Arc::new(SystemClock)).await.unwrap();
        println!("index {reset}: open in {:?}, {found:?}, peak {}", began.elapsed(), proc("VmHWM:"));
        drop(store);
    }
}
