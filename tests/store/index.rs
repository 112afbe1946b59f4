//! One conformance suite for every index engine.
use crate::disk::CrashDisk;
use crate::house::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tailhook::store::index::{Index, IndexError, IndexFactory, Reset, Write};
use tailhook::store::{MemoryIndex, SledIndex};

/// An index that may wait for a disk, and remembers which thread wrote to it.
#[derive(Debug, Clone, Default)]
struct Slow(MemoryIndex, Arc<Mutex<BTreeSet<Option<String>>>>);

impl Index for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, IndexError> {
        self.0.scan(from, to, limit)
    }
    fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, IndexError> {
        self.0.scan_back(from, to, limit)
    }
    fn apply(&self, writes: Vec<Write>) -> Result<(), IndexError> {
        self.1.lock().unwrap().insert(std::thread::current().name().map(str::to_owned));
        self.0.apply(writes)
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn blocks(&self) -> bool {
        true
    }
}

/// Each thread that touches it keeps memory of its own.
#[tokio::test]
async fn one_thread_writes_to_an_index_that_blocks() {
    let slow = Slow::default();
    let (opened, threads) = (slow.clone(), slow.1.clone());
    let factory: IndexFactory = Box::new(move |_| Ok(Arc::new(opened.clone())));
    let house = House::open_with(settings(), CrashDisk::default(), factory).await.unwrap();
    threads.lock().unwrap().clear();
    for n in 1..=500 {
        house.commit(captured(n, lane(1))).await;
    }
    house.close().await;
    assert_eq!(*threads.lock().unwrap(), BTreeSet::from([Some("index".to_owned())]));
    assert_eq!(slow.0.scan(b"d", b"e", 1000).unwrap().len(), 500, "all is in it");
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes batches, then asks everything; `model` is what an ordered map says.
fn conforms(index: &dyn Index, batches: &[Vec<(u8, Option<u8>)>]) {
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for batch in batches {
        let writes = batch.iter().map(|(key, value)| (vec![*key], value.map(|v| vec![v]))).collect();
        index.apply(writes).unwrap();
        for (key, value) in batch {
            match value {
                Some(value) => model.insert(vec![*key], vec![*value]),
                None => model.remove(&vec![*key]),
            };
        }
    }
    index.flush().unwrap();
    for key in 0..=u8::MAX {
        assert_eq!(index.get(&[key]).unwrap(), model.get(&vec![key]).cloned());
    }
    for (from, to, limit) in [(0_u8, 255_u8, 1000), (10, 20, 3), (20, 10, 5), (7, 7, 5), (3, 200, 0)] {
        let (from, to) = (vec![from], vec![to]);
        let inside =
            || model.iter().filter(|(k, _)| **k >= from && **k < to).map(|(k, v)| (k.clone(), v.clone()));
        let up: Pairs = inside().take(limit).collect();
        let down: Pairs = inside().collect::<Pairs>().into_iter().rev().take(limit).collect();
        assert_eq!(index.scan(&from, &to, limit).unwrap(), up);
        assert_eq!(index.scan_back(&from, &to, limit).unwrap(), down);
    }
}

/// Kept is kept, moved aside is empty.
fn resets(factory: &IndexFactory) {
    let index = factory(Reset::Keep).unwrap();
    index.apply(vec![(b"k".to_vec(), Some(b"v".to_vec()))]).unwrap();
    index.flush().unwrap();
    drop(index);
    assert_eq!(factory(Reset::Keep).unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    for _ in 0..2 {
        let index = factory(Reset::MoveAside).unwrap();
        assert_eq!(index.get(b"k").unwrap(), None);
        index.apply(vec![(b"k".to_vec(), Some(b"w".to_vec()))]).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn engines_are_ordered_maps(batches in proptest::collection::vec(proptest::collection::vec((any::<u8>(), any::<Option<u8>>()), 0..100), 0..10)) {
        conforms(&MemoryIndex::default(), &batches);
        let folder = tempfile::tempdir().unwrap();
        conforms(&SledIndex::open(folder.path()).unwrap(), &batches);
    }
}

#[test]
fn engines_keep_and_reset() {
    resets(&MemoryIndex::default().factory());
    let folder = tempfile::tempdir().unwrap();
    resets(&SledIndex::factory(folder.path().join("index")));
}
