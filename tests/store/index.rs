//! One conformance suite for every index engine.
use proptest::prelude::*;
use std::collections::BTreeMap;
use tailhook::store::index::{IndexFactory, Reset, Write};
use tailhook::store::{Engine, Index, MemoryIndex};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn take(index: &dyn Index, writes: Vec<Write>) {
    index.take(&mut writes.into_iter()).unwrap();
}

/// Takes generations, with flushes, merges and a reopening between them, then asks everything; `model` is what an ordered map says.
fn conforms(factory: &IndexFactory, batches: &[Vec<(u8, Option<u8>)>]) {
    let mut index = factory(Reset::Keep).unwrap();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (n, batch) in batches.iter().enumerate() {
        let batch: BTreeMap<u8, Option<u8>> = batch.iter().copied().collect();
        let writes = batch.iter().map(|(key, value)| (vec![*key], value.map(|v| vec![v]))).collect();
        take(index.as_ref(), writes);
        for (key, value) in batch {
            match value {
                Some(value) => model.insert(vec![key], vec![value]),
                None => model.remove(&vec![key]),
            };
        }
        index.flush(n % 3 == 0).unwrap();
        if n % 4 == 3 {
            while index.compact().unwrap() {}
            index.flush(true).unwrap();
            drop(index);
            index = factory(Reset::Keep).unwrap();
        }
    }
    assert!(index.flush(true).unwrap(), "durable when it must be");
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
    take(index.as_ref(), vec![(b"k".to_vec(), Some(b"v".to_vec()))]);
    index.flush(true).unwrap();
    drop(index);
    assert_eq!(factory(Reset::Keep).unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    for _ in 0..2 {
        let index = factory(Reset::MoveAside).unwrap();
        assert_eq!(index.get(b"k").unwrap(), None);
        take(index.as_ref(), vec![(b"k".to_vec(), Some(b"w".to_vec()))]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn engines_are_ordered_maps(batches in proptest::collection::vec(proptest::collection::vec((any::<u8>(), any::<Option<u8>>()), 0..100), 0..20)) {
        conforms(&MemoryIndex::default().factory(), &batches);
        for engine in Engine::ALL {
            let folder = tempfile::tempdir().unwrap();
            conforms(&engine.factory(folder.path().join("index"), 1000), &batches);
        }
    }
}

#[test]
fn engines_keep_and_reset() {
    resets(&MemoryIndex::default().factory());
    for engine in Engine::ALL {
        let folder = tempfile::tempdir().unwrap();
        resets(&engine.factory(folder.path().join("index"), 1000));
    }
}

/// Values of any size come back, also when one of another size takes their place.
#[test]
fn engines_take_values_of_any_size() {
    for engine in Engine::ALL {
        let folder = tempfile::tempdir().unwrap();
        let factory = engine.factory(folder.path().join("index"), 1000);
        let mut index = factory(Reset::Keep).unwrap();
        let sizes = [0, 1, 8 << 10, 16 << 10, (16 << 10) + 1, 200_000, 3 << 20];
        for round in 0..3 {
            let mut expected = Pairs::new();
            for key in 0..40_u8 {
                let size = sizes[(usize::from(key) + round) % sizes.len()];
                expected.push((vec![key], vec![key ^ round as u8; size]));
                let (key, value) = expected.last().unwrap().clone();
                take(index.as_ref(), vec![(key, Some(value))]);
            }
            assert!(index.flush(true).unwrap());
            drop(index);
            index = factory(Reset::Keep).unwrap();
            assert_eq!(index.scan(&[0], &[u8::MAX], 100).unwrap(), expected, "{engine:?}");
            assert_eq!(index.get(&[5]).unwrap().as_ref(), Some(&expected[5].1));
        }
        take(index.as_ref(), (0..40_u8).map(|key| (vec![key], None)).collect());
        index.flush(true).unwrap();
        assert_eq!(index.scan_back(&[0], &[u8::MAX], 100).unwrap(), [], "{engine:?}");
        let blobs = folder.path().join("index/blobs");
        assert!(engine != Engine::Sled || std::fs::read_dir(blobs).unwrap().next().is_none(), "a blob");
    }
}

/// A folder of one engine is none of the other's, and is not left behind.
#[test]
fn an_engine_does_not_open_the_folder_of_another() {
    for (before, after) in [(Engine::Lsm, Engine::Sled), (Engine::Sled, Engine::Lsm)] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("index");
        let index = before.open(&folder, 1000).unwrap();
        take(index.as_ref(), vec![(b"k".to_vec(), Some(b"v".to_vec()))]);
        index.flush(true).unwrap();
        drop(index);
        assert_eq!(Engine::of(&folder), Some(before));
        let factory = after.factory(folder.clone(), 1000);
        let why = factory(Reset::Keep).unwrap_err().to_string();
        assert!(why.contains(before.as_str()) && why.contains(after.as_str()), "{why}");
        let index = factory(Reset::MoveAside).unwrap();
        assert_eq!(index.get(b"k").unwrap(), None);
        index.flush(true).unwrap();
        assert_eq!((Engine::of(&folder), std::fs::read_dir(home.path()).unwrap().count()), (Some(after), 1));
    }
}
