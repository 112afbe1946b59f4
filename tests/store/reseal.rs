//! Credentials that an earlier version kept in the clear are sealed in a folder of its own making, wherever that is interrupted,
//! and nothing else changes.
use crate::canary::{self, Canary};
use crate::disk::CrashDisk;
use crate::format::{copied, fixture, holds_everything, open, sealer, subscriptions};
use crate::house::*;
use async_trait::async_trait;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tailhook::clock::SystemClock;
use tailhook::disk::{Disk, RealDisk};
use tailhook::domain::{Sealed, Subscription};
use tailhook::settings::StoreSettings;
use tailhook::store::*;

const CLEAR: [&str; 4] = [
    "canary-header-early-0001",
    "canary-header-authorization-0002",
    "canary-header-api-key-0002",
    "canary-header-token-0003",
];

fn canaries() -> Vec<Canary> {
    CLEAR.iter().map(|text| Canary::new(text)).collect()
}

/// A disk that answers EIO once so many of its files' changes are made.
#[derive(Debug)]
struct Cutting {
    disk: CrashDisk,
    left: AtomicUsize,
}

impl Cutting {
    fn change(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("cut"))
    }
}

#[async_trait]
impl Disk for Cutting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read(name, offset, len)
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        self.change()?;
        self.disk.create(name).await
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.change()?;
        self.disk.append(name, bytes).await
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        self.change()?;
        self.disk.sync(name).await
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.change()?;
        self.disk.truncate(name, len).await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change()?;
        self.disk.rename(from, to).await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.change()?;
        self.disk.remove(name).await
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

async fn fixture_in_memory() -> CrashDisk {
    let disk = CrashDisk::default();
    for entry in fs::read_dir(fixture().join("data")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            let name = entry.file_name().into_string().unwrap();
            disk.create(&name).await.unwrap();
            disk.append_durably(&name, fs::read(entry.path()).unwrap()).await.unwrap();
        }
    }
    disk
}

fn found(disk: &CrashDisk) -> Vec<String> {
    let look = |name: &String| canary::in_bytes(&canaries(), name, &disk.bytes(name));
    disk.names("").iter().flat_map(look).collect()
}

async fn store_on(disk: &CrashDisk) -> Store {
    let clock = Arc::new(SystemClock);
    let index = MemoryIndex::default().factory();
    Store::open(settings(), Arc::new(disk.clone()), index, clock).await.unwrap().0
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_any_change_of_a_file_leaves_a_folder_that_opens_and_is_sealed_in_the_end() {
    let seal = |s: &Subscription| sealer().seal_clear(s);
    let clear = fixture_in_memory().await;
    assert_eq!(found(&clear).len(), 4, "in journal and checkpoint: {:?}", found(&clear));
    let before = subscriptions(&store_on(&clear.fork()).await);
    for changes in 0.. {
        let disk = clear.fork();
        let cut = Cutting { disk: disk.clone(), left: AtomicUsize::new(changes) };
        let done = reseal(&cut, &seal).await;
        for kept in [0, 100, usize::MAX] {
            let disk = disk.crash(kept);
            holds_everything(&store_on(&disk.fork()).await).await;
            reseal(&disk, &seal).await.unwrap();
            assert_eq!(found(&disk), [""; 0], "after {changes} changes");
            let store = store_on(&disk).await;
            holds_everything(&store).await;
            assert_eq!(subscriptions(&store), before);
            assert_eq!(reseal(&disk, &seal).await, Ok(Vec::new()), "nothing is left to do");
        }
        if let Ok(files) = done {
            assert_eq!(files, ["journal-0000000000000006", "shadow-000000000000000d"]);
            assert!(changes > 8, "{changes}");
            return;
        }
    }
}

#[tokio::test]
async fn the_real_folder_of_format_0_holds_no_clear_header_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let folder = copied(home.path());
    let index = folder.join("index");
    assert!(!canary::in_folder(&canaries(), &folder).is_empty());
    let disk = RealDisk::open(&folder).unwrap();
    reseal(&disk, &|s| sealer().seal_clear(s)).await.unwrap();
    drop(disk);
    // the index would be found clear, if it holds any headers
    let clear = !canary::in_folder(&canaries(), &index).is_empty();
    assert!(!clear || index::engine::holds(&index, b"\"headers\":{").unwrap());
    index::engine::discard(&index).unwrap();
    let (store, recovery) = open(&folder).await;
    assert!(recovery.rebuilt.is_some());
    holds_everything(&store).await;
    drop(store);
    assert_eq!(canary::in_folder(&canaries(), &folder), [""; 0]);
}

/// A group's seal holds its parts' CRCs, which are others once a part was rewritten.
#[tokio::test(start_paused = true)]
async fn a_group_whose_parts_are_rewritten_stays_whole() {
    let seal = |s: &Subscription| sealer().seal_clear(s);
    let parts = StoreSettings { frame_bytes: 100, ..settings() };
    let house = House::open(parts, CrashDisk::default(), MemoryIndex::default()).await.unwrap();
    let mut records = captured(1, lane(1));
    for n in 1..=3 {
        let Record::Subscription(mut clear) = subscription(n) else { unreachable!("a subscription") };
        clear.options.headers.insert("authorization".into(), Sealed::new(CLEAR[1]));
        clear.secret = Some(Sealed::new("in the clear too"));
        records.push(Record::Subscription(clear));
    }
    house.commit(records).await;
    house.commit(captured(2, lane(2))).await;
    let (disk, _) = house.stop().await;
    let before = subscriptions(&store_on(&disk.fork()).await);
    assert_eq!(found(&disk).len(), 1);
    assert_eq!(reseal(&disk, &seal).await.unwrap().len(), 1);
    assert_eq!(found(&disk), [""; 0]);
    let store = store_on(&disk).await;
    assert_eq!(subscriptions(&store), before);
    assert!(
        event_of(&store, &key(1, lane(1))).await.unwrap().is_some()
            && event_of(&store, &key(2, lane(2))).await.unwrap().is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_segment_is_refused_before_anything_is_changed() {
    let disk = fixture_in_memory().await;
    disk.edit("journal-0000000000000005", |bytes| bytes[500] ^= 1);
    let before: Vec<_> = disk.names("").iter().map(|name| (name.clone(), disk.bytes(name))).collect();
    let refused = reseal(&disk, &|s| sealer().seal_clear(s)).await;
    assert!(
        matches!(&refused, Err(StoreError::Damaged(why)) if why.contains("journal-0000000000000005")),
        "{refused:?}"
    );
    let after: Vec<_> = disk.names("").iter().map(|name| (name.clone(), disk.bytes(name))).collect();
    assert_eq!(after, before);
}

#[test]
fn what_an_index_holds_is_found_across_its_files_and_their_pieces() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("index");
    assert!(!index::engine::holds(&folder, b"needle").unwrap(), "there is none");
    fs::create_dir_all(folder.join("tables")).unwrap();
    for at in [0, (1 << 20) - 3, 1 << 20, (2 << 20) + 17] {
        let mut bytes = vec![b'.'; at];
        bytes.extend_from_slice(b"needle.");
        fs::write(folder.join("tables/7"), bytes).unwrap();
        assert!(index::engine::holds(&folder, b"needle").unwrap(), "at {at}");
        assert!(!index::engine::holds(&folder, b"noodle").unwrap(), "at {at}");
    }
    index::engine::discard(&folder).unwrap();
    index::engine::discard(&folder).unwrap();
    assert!(!folder.exists());
}
