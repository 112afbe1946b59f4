//! `tailhook store verify`, the built binary on a real folder: status, what it prints, what it leaves alone.
use crate::damage::FIRST;
use crate::house::*;
use crate::newer::{frame, name};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
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

async fn open(folder: &Path) -> Result<(Store, Recovery), StoreError> {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let index = Engine::Lsm.factory(folder.join("index"), index::lsm::MEMORY_BYTES);
    let (store, recovery) = Store::open(settings(), disk, index, Arc::new(SystemClock)).await?;
    store.finish_rebuild().await?;
    Ok((store, recovery))
}

#[tokio::test]
async fn the_command_says_what_is_there_and_salvages_it() {
    let home = tempfile::tempdir().unwrap();
    let (home, folder) = (home.path(), home.path().join("data"));
    let file = "[database]\nurl = \"postgres://u@127.0.0.1:1/d\"\n[store]\npath = \"data\"\n";
    fs::write(home.join("tailhook.toml"), file).unwrap();
    let (status, _, said) = tailhook(home, &["store", "verify"]);
    assert!(status == 1 && said.contains("nothing was ever stored") && !folder.exists(), "{said}");
    let (store, _) = open(&folder).await.unwrap();
    let mut loops = JoinSet::new();
    let running = store.clone();
    loops.spawn(async move { running.run().await });
    for records in history() {
        store.checkpoint().commit(Batch { records }).await.unwrap();
    }
    let (status, out, said) = tailhook(home, &["store", "verify"]);
    assert!((status, out.as_str()) == (1, "") && said.contains("in use"), "{said}");
    store.close().await;
    assert_eq!(loops.join_all().await, [Ok(())]);
    drop(store);
    let (status, out, said) = tailhook(home, &["store", "verify"]);
    assert!(
        status == 0 && said.is_empty() && out.contains("20 frames") && out.ends_with("fine\n"),
        "{out}{said}"
    );
    assert!(out.contains("6 deliveries, 3 pending"), "{out}");
    // one bit in the middle
    let path = folder.join(FIRST);
    let mut bytes = fs::read(&path).unwrap();
    let body = event(2).body.clone();
    let at = bytes.windows(body.len()).position(|w| w == body).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (status, _, said) = tailhook(home, &["run"]);
    assert!(
        (status, said.lines().count()) == (1, 1) && said.contains("tailhook store verify --salvage"),
        "{said}"
    );
    let (status, out, said) = tailhook(home, &["store", "verify"]);
    assert!(status == 1 && said.lines().count() == 1, "{said}");
    assert!(out.contains("frame 6: events of transactions after 0/2, up to 0/4"), "{out}");
    assert!(out.contains(&format!("delivery {}", key(2, lane(1)).id)), "{out}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is changed without --salvage");
    let (status, out, said) = tailhook(home, &["store", "verify", "--salvage", "--json"]);
    assert!(status == 0 && said.is_empty(), "{said}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["losses"][0]["first_frame"], &report["losses"][0]["last_frame"]),
        (&6.into(), &6.into())
    );
    assert_eq!(report["salvaged"]["position"], "0/2");
    let kept = report["salvaged"]["kept"][0]["kept"].as_str().unwrap();
    assert_eq!(fs::read(folder.join(kept)).unwrap(), bytes);
    assert_eq!(tailhook(home, &["store", "verify"]).0, 0);
    let (store, recovery) = open(&folder).await.unwrap();
    assert!(recovery.rebuilt.is_some());
    for (n, to) in [(1, 1), (3, 1), (4, 2), (5, 2), (6, 1)] {
        assert_eq!(event_of(&store, &key(n, lane(to))).await.unwrap(), Some(event(n)));
    }
    assert_eq!(store.history().delivery(&key(2, lane(1))).await.unwrap(), None);
    assert_eq!(store.checkpoint().identity().map(|identity| identity.epoch), Some(Identity::LOST));
}

/// Every file below a folder, with its bytes.
fn bytes_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> =
        crate::real::files(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused_by_every_command() {
    let later = |body: &[u8]| frame(1, 27, 0, body);
    let headers = [
        ("format 2", name(27), frame(2, 27, 0, &2_u32.to_le_bytes())),
        ("record kind 77", name(23), later(&[1, 0, 0, 0, 77])),
        ("frame kind 9", name(23), frame(9, 27, 0, b"later")),
    ];
    for (what, file, bytes) in headers {
        let home = tempfile::tempdir().unwrap();
        let (home, folder) = (home.path(), home.path().join("data"));
        crate::real::copy(&crate::format::fixture().join("data"), &folder);
        let toml = "[database]\nurl = \"postgres://u@127.0.0.1:1/d\"\n[store]\npath = \"data\"\n";
        fs::write(home.join("tailhook.toml"), toml).unwrap();
        let file = folder.join(file);
        let old = fs::read(&file).unwrap_or_default();
        fs::write(file, [old, bytes].concat()).unwrap();
        fs::write(folder.join("lock"), "").unwrap();
        let before = bytes_of(&folder);
        for command in [&["run"][..], &["store", "verify"], &["store", "verify", "--salvage"]] {
            let (status, out, said) = tailhook(home, command);
            assert_eq!((status, out.as_str(), said.lines().count()), (1, "", 1), "{what}: {said}");
            assert!(said.contains(&format!("written by a newer version ({what}")), "{said}");
            assert!(said.contains("this one reads up to format 1") && !said.contains("salvage"), "{said}");
            assert_eq!(bytes_of(&folder), before, "{what}: {command:?}");
        }
    }
}
