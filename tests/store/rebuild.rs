//! The index made anew: by `tailhook store rebuild`, and by a start with another `store.index`. The built binary on a real folder.
use crate::house::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tailhook::clock::SystemClock;
use tailhook::disk::RealDisk;
use tailhook::store::*;
use tokio::task::JoinSet;

/// Status, standard output, standard error.
fn tailhook(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let file = folder.join("tailhook.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailhook"));
    let Output { status, stdout, stderr } =
        command.args(arguments).arg("--config").arg(file).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn configure(home: &Path, engine: Engine) {
    let (database, index) = ("[database]\nurl = \"postgres://u@127.0.0.1:1/d\"", engine.as_str());
    let file = format!("{database}\n[store]\npath = \"data\"\nindex = \"{index}\"\n");
    fs::write(home.join("tailhook.toml"), file).unwrap();
}

async fn open(engine: Engine, folder: &Path) -> (Store, Recovery, JoinSet<Result<(), StoreError>>) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let index = engine.factory(folder.join("index"), index::lsm::MEMORY_BYTES);
    let (store, recovery) = Store::open(settings(), disk, index, Arc::new(SystemClock)).await.unwrap();
    store.finish_rebuild().await.unwrap();
    let mut loops = JoinSet::new();
    let running = store.clone();
    loops.spawn(async move { running.run().await });
    (store, recovery, loops)
}

async fn close(store: Store, mut loops: JoinSet<Result<(), StoreError>>) {
    store.close().await;
    assert_eq!(loops.join_next().await.unwrap().unwrap(), Ok(()));
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_command_rebuilds_the_index_of_either_engine() {
    for engine in Engine::ALL {
        let home = tempfile::tempdir().unwrap();
        let (home, folder) = (home.path(), home.path().join("data"));
        configure(home, engine);
        let (status, _, said) = tailhook(home, &["store", "rebuild"]);
        assert!(status == 1 && said.contains("nothing was ever stored") && !folder.exists(), "{said}");
        let (store, _, loops) = open(engine, &folder).await;
        for records in history() {
            store.checkpoint().commit(Batch { records }).await.unwrap();
        }
        let expected = answers(&store).await;
        let (status, out, said) = tailhook(home, &["store", "rebuild"]);
        assert!((status, out.as_str()) == (1, "") && said.contains("in use"), "{said}");
        close(store, loops).await;
        let (status, out, said) = tailhook(home, &["store", "rebuild"]);
        assert_eq!((status, said.lines().last()), (0, said.lines().find(|line| line.contains(" 100 %"))));
        // 19 batches behind the header of their segment
        let figures = format!("({}): 20 frames", engine.as_str());
        assert!(out.contains(&figures) && out.contains("3 deliveries pending; "), "{out}");
        assert!(out.contains("index.bad; it may be removed"), "{out}");
        let (status, out, _) = tailhook(home, &["store", "rebuild", "--json"]);
        let figures: Value = serde_json::from_str(&out).unwrap();
        let told = (status, &figures["engine"], &figures["frames"], &figures["pending"]);
        assert_eq!(told, (0, &engine.as_str().into(), &20.into(), &3.into()));
        assert!(!names(&folder).contains(&"rebuild-index".to_owned()), "the mark is taken away");
        assert_eq!(tailhook(home, &["store", "verify"]).0, 0);
        let (store, recovery, loops) = open(engine, &folder).await;
        assert_eq!((recovery.rebuilt, recovery.replayed_frames, answers(&store).await), (None, 0, expected));
        close(store, loops).await;
    }
}

/// A start with the other engine, and a rebuild for it, leave nothing of the engine before.
#[tokio::test]
async fn another_engine_takes_the_place_of_the_one_before() {
    let home = tempfile::tempdir().unwrap();
    let (home, folder) = (home.path(), home.path().join("data"));
    let (store, _, loops) = open(Engine::Lsm, &folder).await;
    for records in history() {
        store.checkpoint().commit(Batch { records }).await.unwrap();
    }
    let expected = answers(&store).await;
    close(store, loops).await;
    configure(home, Engine::Sled);
    let (status, out, _) = tailhook(home, &["store", "verify"]);
    assert!(status == 0 && out.contains("its engine is lsm, and store.index is \"sled\""), "{out}");
    let before = names(&folder);
    for (engine, by_hand) in [(Engine::Sled, false), (Engine::Lsm, true), (Engine::Sled, true)] {
        configure(home, engine);
        if by_hand {
            assert_eq!(tailhook(home, &["store", "rebuild"]).0, 0);
        }
        let (store, recovery, loops) = open(engine, &folder).await;
        assert_eq!((recovery.rebuilt.is_some(), answers(&store).await), (!by_hand, expected.clone()));
        close(store, loops).await;
        assert_eq!((names(&folder), Engine::of(&folder.join("index"))), (before.clone(), Some(engine)));
    }
}
