//! The same on a real folder with its real index: what is done to the index's files changes no answer.
use crate::house::*;
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tailhook::clock::SystemClock;
use tailhook::disk::RealDisk;
use tailhook::domain::KeepingError;
use tailhook::store::*;
use tokio::task::JoinSet;

type Damage = Box<dyn Fn()>;

async fn open(folder: &Path, engine: Engine) -> (Store, Recovery, JoinSet<Result<(), StoreError>>) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let index = engine.factory(folder.join("index"), index::lsm::MEMORY_BYTES);
    let (store, recovery) = Store::open(settings(), disk, index, Arc::new(SystemClock)).await.unwrap();
    store.finish_rebuild().await.unwrap();
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
    for engine in Engine::ALL {
        any_damage(engine).await;
    }
}

async fn any_damage(engine: Engine) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    let index = folder.join("index");
    let (store, recovery, loops) = open(&folder, engine).await;
    assert!(recovery.fresh);
    for records in history() {
        store.checkpoint().commit(Batch { records }).await.unwrap();
    }
    let expected = answers(&store).await;
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
        let (store, recovery, loops) = open(&folder, engine).await;
        assert_eq!(recovery.rebuilt.is_some(), rebuilt, "{engine:?}, {name}: {recovery:?}");
        assert_eq!(answers(&store).await, expected, "{name}");
        close(store, loops).await;
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let found = RefCell::new(Vec::new());
    each_file(folder, &|file| found.borrow_mut().push(file.to_owned()));
    found.into_inner()
}

/// The store answers the same; or it says that its index is broken, and the next one does. Was the index made anew?
async fn same_or_rebuilt(folder: &Path, engine: Engine, expected: &str, what: &str) -> bool {
    let (store, recovery, loops) = open(folder, engine).await;
    match try_answers(&store).await {
        Ok(answers) => {
            assert_eq!(answers, expected, "{what}");
            store.close().await;
            let _broken_later = loops.join_all().await;
            recovery.rebuilt.is_some()
        }
        Err(KeepingError::Failed(_)) => {
            assert!(loops.join_all().await.iter().any(Result::is_err), "{what}: it goes on");
            let (store, recovery, loops) = open(folder, engine).await;
            assert!(recovery.rebuilt.is_some(), "{what}");
            assert_eq!(answers(&store).await, expected, "{what}");
            close(store, loops).await;
            true
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Every file that an index keeps, one bit at a time, here and there: never another answer.
#[tokio::test]
async fn a_flipped_bit_in_the_index_changes_no_answer() {
    for engine in Engine::ALL {
        flipped_bits(engine).await;
    }
}

async fn flipped_bits(engine: Engine) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    let (store, _, loops) = open(&folder, engine).await;
    for records in history() {
        store.checkpoint().commit(Batch { records }).await.unwrap();
    }
    let expected = answers(&store).await;
    close(store, loops).await;
    let sound = home.path().join("sound");
    copy(&folder, &sound);
    let (mut flips, mut rebuilt) = (0, 0);
    for file in files(&sound.join("index")) {
        let path = folder.join(file.strip_prefix(&sound).unwrap());
        let bytes = fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by((bytes.len() / 150).max(1)) {
            fs::remove_dir_all(&folder).unwrap();
            copy(&sound, &folder);
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (flips % 8);
            fs::write(&path, bytes).unwrap();
            let what = format!("{engine:?}, byte {at} of {}", path.display());
            rebuilt += u32::from(same_or_rebuilt(&folder, engine, &expected, &what).await);
            flips += 1;
        }
    }
    println!("{engine:?}: {flips} flipped bits, {rebuilt} indexes rebuilt");
    assert!(flips > 100 && rebuilt > 0);
}

/// A thread of the runtime never waits for the index's disk; the simulated index has none to wait for.
#[tokio::test]
async fn what_reads_the_index_runs_where_it_may_wait() {
    let here = std::thread::current().id();
    for engine in Engine::ALL {
        let home = tempfile::tempdir().unwrap();
        let (store, _, loops) = open(&home.path().join("data"), engine).await;
        let there = store.checkpoint().offload(|_| std::thread::current().id()).await.unwrap();
        assert_ne!(there, here, "{engine:?}");
        let caller = store.clone();
        let mut calls = JoinSet::new();
        calls.spawn(async move { caller.checkpoint().offload::<()>(|_| panic!("the call's own")).await });
        let failed = calls.join_next().await.unwrap();
        assert!(failed.is_err_and(|error| error.is_panic()), "a panic is the caller's, not a broken index");
        close(store, loops).await;
    }
    let house = House::new().await;
    assert_eq!(house.store.checkpoint().offload(|_| std::thread::current().id()).await.unwrap(), here);
    house.close().await;
}
