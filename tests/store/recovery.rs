//! Torn tails are cut, damage is named, an index that is not right is made again; the answers stay the same.
use crate::disk::CrashDisk;
use crate::house::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::domain::{Lsn, Next};
use tailhook::settings::StoreSettings;
use tailhook::store::index::{Generation, Pair, Write};
use tailhook::store::{Index, IndexError, IndexFactory, MemoryIndex, Reset, StoreError};

const FIRST: &str = "journal-0000000000000001";

fn overwrite(index: &MemoryIndex, key: &[u8], value: &[u8]) {
    index.take(&mut [(key.to_vec(), Some(value.to_vec()))].into_iter()).unwrap();
}

/// The whole history, committed and closed.
async fn lived(settings: StoreSettings) -> (CrashDisk, MemoryIndex, String) {
    let house = House::open(settings, CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    for records in history() {
        house.commit(records).await;
    }
    let expected = answers(&house.store).await;
    let (disk, index) = house.close().await;
    (disk, index, expected)
}

#[tokio::test(start_paused = true)]
async fn a_torn_last_frame_is_cut_at_every_offset() {
    let house = House::new().await;
    house.commit(captured(1, lane(1))).await;
    let start = house.disk.bytes(FIRST).len();
    let (early, expected) = (house.index.fork(), answers(&house.store).await);
    house.commit(captured(2, lane(1))).await;
    let (disk, late) = house.close().await;
    let end = disk.bytes(FIRST).len();
    for len in start..end {
        for index in [early.fork(), MemoryIndex::default(), late.fork()] {
            let disk = disk.fork();
            disk.edit(FIRST, |bytes| bytes.truncate(len));
            let house = House::open(settings(), disk, index).await.unwrap();
            assert_eq!(house.recovery.torn_bytes, (len - start) as u64);
            assert_eq!(answers(&house.store).await, expected, "cut at {len}");
            house.commit(captured(4, lane(1))).await;
            let (disk, index) = house.stop().await;
            assert_eq!(disk.crash(0).bytes(FIRST).len(), end, "the tail is overwritten");
            let house = House::open(settings(), disk.crash(0), index).await.unwrap();
            assert_eq!((house.recovery.torn_bytes, house.store.checkpoint().position()), (0, Some(Lsn(5))));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_frame_before_a_good_one_stops_everything() {
    let (disk, index, _) = lived(StoreSettings { segment_bytes: 1500, ..settings() }).await;
    let segments = disk.names("journal-");
    assert!(segments.len() > 2);
    for name in &segments {
        let len = disk.bytes(name).len();
        // the last frame of all has nothing behind it
        let end = if Some(name) == segments.last() { len / 3 } else { len };
        for at in (0..end).step_by(7) {
            for index in [index.fork(), MemoryIndex::default()] {
                let disk = disk.fork();
                disk.edit(name, |bytes| bytes[at] ^= 1);
                let error = House::open(settings(), disk.clone(), index).await.err();
                let Some(StoreError::Damaged(what)) = &error else { panic!("{name} {at}: {error:?}") };
                assert!(what.contains(name) && what.contains("byte"), "{what}");
                assert_eq!(disk.bytes(name).len(), len, "damage is left as it is");
            }
        }
    }
    let gone = disk.fork();
    gone.delete(&segments[1]);
    assert!(matches!(
        House::open(settings(), gone, MemoryIndex::default()).await.err(),
        Some(StoreError::Damaged(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_missing_or_not_ours_is_rebuilt() {
    for segment_bytes in [64 << 20, 900] {
        let settings = StoreSettings { segment_bytes, ..settings() };
        let (disk, index, expected) = lived(settings.clone()).await;
        let house = House::open(settings.clone(), disk.fork(), index.fork()).await.unwrap();
        assert_eq!((answers(&house.store).await, &house.recovery.rebuilt), (expected.clone(), &None));
        // an index of another journal: same frames by number, other ones by content
        let other = House::new().await;
        for n in 1..=19 {
            other.commit(captured(n, lane(5))).await;
        }
        let (_, other) = other.close().await;
        let damaged = index.fork();
        overwrite(&damaged, b"ma", b"??");
        let ill = index.fork();
        overwrite(&ill, b"mh", &[1]);
        for (name, index) in
            [("missing", MemoryIndex::default()), ("another's", other), ("damaged", damaged), ("ill", ill)]
        {
            let house = House::open(settings.clone(), disk.fork(), index).await.unwrap();
            assert!(house.recovery.rebuilt.is_some(), "{name}");
            assert_eq!(answers(&house.store).await, expected, "{name}");
            let (disk, index) = house.close().await;
            let house = House::open(settings.clone(), disk, index).await.unwrap();
            assert_eq!(
                (answers(&house.store).await, &house.recovery.rebuilt),
                (expected.clone(), &None),
                "{name}, again"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_fails_in_use_ends_the_run_and_is_rebuilt() {
    let (disk, index, expected) = lived(settings()).await;
    let house = House::open(settings(), disk, index.fork()).await.unwrap();
    let ill = house.store.history().delivery(&key(1, lane(1))).await.unwrap().unwrap();
    // the value of a delivery is not what we wrote
    let (found, _) = index
        .scan(b"d", b"e", 1000)
        .unwrap()
        .into_iter()
        .find(|(k, _)| k.ends_with(ill.key.id.0.as_bytes()))
        .unwrap();
    overwrite(&house.index, &found, &[9; 9]);
    assert!(matches!(house.store.history().delivery(&ill.key).await, Err(StoreError::Index(_))));
    house.settle().await;
    assert_eq!(house.try_commit(captured(9, lane(1))).await, Err(StoreError::Closed));
    let (disk, index) = house.stop().await;
    let house = House::open(settings(), disk, index).await.unwrap();
    assert!(house.recovery.rebuilt.is_some());
    assert_eq!(answers(&house.store).await, expected);
    let (disk, index) = house.close().await;
    assert_eq!(House::open(settings(), disk, index).await.unwrap().recovery.rebuilt, None);
}

/// Keeps every generation that the store makes, so that whatever a crash leaves of the index can be made again.
#[derive(Debug, Clone, Default)]
struct Recorder {
    index: MemoryIndex,
    generations: Arc<Mutex<Vec<Vec<Write>>>>,
}

impl Recorder {
    fn factory(&self) -> IndexFactory {
        let index = self.clone();
        Box::new(move |_: Reset| Ok(Arc::new(index.clone()) as Arc<dyn Index>))
    }
    /// Every index that a crash may leave, the oldest first.
    fn left(&self) -> Vec<MemoryIndex> {
        let index = MemoryIndex::default();
        let generations = self.generations.lock().unwrap().clone();
        let after = generations.into_iter().map(|generation| {
            index.take(&mut generation.into_iter()).unwrap();
            index.fork()
        });
        after.collect()
    }
}

impl Index for Recorder {
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
        let generation: Vec<Write> = generation.collect();
        self.generations.lock().unwrap().push(generation.clone());
        self.index.take(&mut generation.into_iter())
    }
    fn flush(&self, _now: bool) -> Result<bool, IndexError> {
        Ok(true)
    }
    fn size(&self) -> u64 {
        0
    }
}

fn content(index: &MemoryIndex) -> Vec<Pair> {
    index.scan(&[0], &[u8::MAX], usize::MAX).unwrap()
}

/// Whatever generation it stopped at, it becomes what it would have been, byte for byte: live and in replay a frame does the same.
#[tokio::test(start_paused = true)]
async fn an_index_stopped_at_any_generation_catches_up() {
    // generations of different lengths, so that what is created, ended and retried falls into one or into several
    for generation in [1, 2, 3, 5, 20] {
        let recorder = Recorder::default();
        let house = House::open_with(settings(), CrashDisk::default(), recorder.factory()).await.unwrap();
        for (n, records) in history().into_iter().enumerate() {
            house.commit(records).await;
            if n % generation == 0 {
                house.settle().await;
            }
        }
        let expected = answers(&house.store).await;
        let (disk, _) = house.close().await;
        let left = recorder.left();
        for (stopped, index) in left.iter().enumerate() {
            let house = House::open(settings(), disk.fork(), index.fork()).await.unwrap();
            assert_eq!(house.recovery.rebuilt, None);
            assert_eq!(answers(&house.store).await, expected, "every {generation}, stopped at {stopped}");
            let (_, index) = house.close().await;
            assert_eq!(content(&index), content(&recorder.index), "every {generation}, stopped at {stopped}");
        }
        // so does one that is rebuilt
        let house = House::open(settings(), disk.fork(), MemoryIndex::default()).await.unwrap();
        assert_eq!(answers(&house.store).await, expected);
        let (_, index) = house.close().await;
        assert_eq!(content(&index), content(&recorder.index), "every {generation}, rebuilt");
    }
}

/// What ends and has had its time within one generation: no place in a lane may outlive its delivery, for nobody could end it.
#[tokio::test(start_paused = true)]
async fn an_index_stopped_in_the_middle_of_retention_has_no_dead_places() {
    let brief =
        StoreSettings { history: Duration::ZERO, upkeep_every: Duration::from_millis(100), ..settings() };
    let recorder = Recorder::default();
    let house = House::open_with(brief, CrashDisk::default(), recorder.factory()).await.unwrap();
    for n in 1..=5 {
        house.commit(captured(n, lane(1))).await;
    }
    house.settle().await;
    for n in 1..=5 {
        house.commit(vec![attempted(key(n, lane(1)), 1, Next::Delivered)]).await;
    }
    house.clock.0.fetch_add(1_000_000, Ordering::Relaxed);
    house.settle().await;
    assert_eq!(house.store.history().delivery(&key(1, lane(1))).await.unwrap(), None, "it has had its time");
    let (disk, _) = house.close().await;
    for (stopped, index) in recorder.left().into_iter().enumerate() {
        let house = House::open(settings(), disk.fork(), index).await.unwrap();
        assert_eq!(house.store.outbox().lanes().await.unwrap(), [], "stopped at {stopped}");
        assert_eq!(house.store.vitals().pending, 0, "stopped at {stopped}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_is_pending_again_with_its_attempts() {
    let house = House::new().await;
    house.commit(captured(1, lane(1))).await;
    house.commit(vec![attempted(key(1, lane(1)), 1, Next::RetryAt(NOON_MS + 7))]).await;
    let (disk, index) = house.stop().await;
    let house = House::open(settings(), disk.crash(0), index).await.unwrap();
    let due = house.store.outbox().due(lane(1), None, 10).await.unwrap();
    assert_eq!((due.len(), due[0].attempts, due[0].counted_attempts, due[0].due_ms), (1, 1, 1, NOON_MS + 7));
    assert_eq!(house.store.vitals().pending, 1);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_body_never_comes_out() {
    let (disk, index, _) = lived(settings()).await;
    let house = House::open(settings(), disk, index).await.unwrap();
    let body = event(1).body.clone();
    let at = house.disk.bytes(FIRST).windows(body.len()).position(|w| w == body).unwrap();
    house.disk.edit(FIRST, |bytes| bytes[at + 3] ^= 4);
    assert!(matches!(event_of(&house.store, &key(1, lane(1))).await, Err(StoreError::Damaged(_))));
    assert!(event_of(&house.store, &key(2, lane(1))).await.unwrap().is_some());
}
