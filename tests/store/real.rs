//! The same on a real folder with its real index: what is done to the index's files changes no answer.
use crate::house::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tailhook::clock::SystemClock;
use tailhook::store::*;
use tokio::task::JoinSet;

type Damage = Box<dyn Fn()>;

async fn open(folder: &Path) -> (Store, Recovery, JoinSet<Result<(), StoreError>>) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let index = LsmIndex::factory(folder.join("index"), lsm::MEMORY_BYTES);
    let (store, recovery) = Store::open(settings(), disk, index, Arc::new(SystemClock)).await.unwrap();
    let mut loops = JoinSet::new();
    let running = store.clone();
    loops.spawn(async move { running.run().await });
    (store, recovery, loops)
}

async fn close(store: Store, loops: JoinSet<Result<(), StoreError>>) {
    store.close().await;
    assert_eq!(loops.join_all().await, [Ok(())]);
}

/// Does something to every file below a folder.
fn each_file(folder: &Path, act: &dyn Fn(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { each_file(&path, act) } else { act(&path) }
    }
}

#[tokio::test]
async fn the_index_may_be_lost_or_damaged_in_any_way() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    let index = folder.join("index");
    let (store, recovery, loops) = open(&folder).await;
    assert!(recovery.fresh);
    for records in history() {
        store.commit(Batch { records }).await.unwrap();
    }
    let expected = answers(&store);
    close(store, loops).await;
    let harm = |act: fn(&Path)| -> Damage {
        let index = index.clone();
        Box::new(move || each_file(&index, &act))
    };
    let gone = index.clone();
    let damages: [(&str, bool, Damage); 6] = [
        ("left alone", false, Box::new(|| {})),
        ("deleted", true, Box::new(move || fs::remove_dir_all(&gone).unwrap())),
        ("emptied", true, harm(|file| fs::write(file, b"").unwrap())),
        ("overwritten", true, harm(|file| fs::write(file, vec![0xA5; 70_000]).unwrap())),
        (
            "zeroed",
            true,
            harm(|file| fs::write(file, vec![0; fs::metadata(file).unwrap().len() as usize]).unwrap()),
        ),
        ("its files removed", true, harm(|file| fs::remove_file(file).unwrap())),
    ];
    for (name, rebuilt, damage) in damages {
        damage();
        let (store, recovery, loops) = open(&folder).await;
        assert_eq!(recovery.rebuilt.is_some(), rebuilt, "{name}: {recovery:?}");
        assert_eq!(answers(&store), expected, "{name}");
        close(store, loops).await;
    }
}
