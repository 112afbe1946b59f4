//! The real folder under strace: whoever changes its names makes that durable before doing anything else. A power cut that is only
//! simulated takes the disk's word for this.
use crate::house::{HandClock, NOON_MS, attempted, captured, key, lane, settings};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tailhook::disk::RealDisk;
use tailhook::domain::Next;
use tailhook::settings::StoreSettings;
use tailhook::store::*;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Where the child that is traced lives.
const HOME: &str = "TAILHOOK_TRACED";
const CALLS: &str =
    "openat,rename,renameat,renameat2,unlink,unlinkat,ftruncate,mkdir,mkdirat,write,fsync,fdatasync";

fn data(home: &Path) -> PathBuf {
    home.join("new/data")
}

/// The newest segment.
fn journal(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.to_string_lossy().contains("/journal-")).max().unwrap()
}

/// For the child alone: two lives in a folder that must be made, segment after segment, with checkpoints, and a torn tail between.
#[tokio::test(start_paused = true)]
async fn a_life_to_be_traced() {
    let Some(folder) = std::env::var_os(HOME).map(|home| data(Path::new(&home))) else { return };
    let small = StoreSettings { segment_bytes: 1_000, history: Duration::ZERO, ..settings() };
    for life in 0..2 {
        let disk = Arc::new(RealDisk::open(&folder).unwrap());
        let clock = Arc::new(HandClock(AtomicI64::new((NOON_MS + 86_400_000) * 1000)));
        let index = MemoryIndex::default().factory();
        let (store, recovery) = Store::open(small.clone(), disk, index, clock).await.unwrap();
        assert_eq!(recovery.torn_bytes, 5 * life);
        let (running, mut loops) = (store.clone(), JoinSet::new());
        loops.spawn(async move { running.run().await });
        for n in 100 * life..100 * life + 20 {
            store.checkpoint().commit(Batch { records: captured(n, lane(1)) }).await.unwrap();
            let ended = attempted(key(n, lane(1)), 1, Next::Delivered);
            store.checkpoint().commit(Batch { records: vec![ended] }).await.unwrap();
        }
        sleep(Duration::from_secs(300)).await;
        store.close().await;
        assert_eq!(loops.join_all().await, [Ok(())]);
        OpenOptions::new().append(true).open(journal(&folder)).unwrap().write_all(&[7; 5]).unwrap();
    }
}

/// What strace says, one call a line, of each thread in its order; a call that was interrupted by another thread's is put together.
fn calls(trace: &str) -> Vec<(String, String)> {
    let mut begun: BTreeMap<String, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let (thread, call) = (thread.to_owned(), call.trim_start());
        if let Some(first) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, first.to_owned());
        } else if let Some((_, rest)) = call.split_once(" resumed>").filter(|_| call.starts_with("<...")) {
            let whole = begun.remove(&thread).unwrap_or_default() + rest;
            calls.push((thread, whole));
        } else {
            calls.push((thread, call.to_owned()));
        }
    }
    calls
}

/// Paths of a call: those in quotes, and those behind descriptors.
fn paths(call: &str) -> Vec<&str> {
    let arguments = call.rsplit_once(" = ").map_or(call, |(arguments, _)| arguments);
    let mut found: Vec<&str> =
        arguments.split('"').skip(1).step_by(2).filter(|p| p.starts_with('/')).collect();
    if found.is_empty() {
        found.extend(arguments.split(['<', '>']).skip(1).step_by(2));
    }
    found
}

/// What must be synced after this call: the folder of a name that it changed, or the file that it cut.
fn owes(call: &str, home: &str) -> Option<(&'static str, String)> {
    let last =
        paths(call).last().copied().filter(|path| path.starts_with(home) && !path.ends_with("/lock"))?;
    let above = || last.rsplit_once('/').map(|(above, _)| above.to_owned());
    let what = match call.split('(').next()? {
        "openat" if call.contains("O_CREAT") => "created",
        "rename" | "renameat" | "renameat2" => "renamed",
        "unlink" | "unlinkat" => "removed",
        "mkdir" | "mkdirat" => "made",
        "ftruncate" => return Some(("cut", last.to_owned())),
        _ => return None,
    };
    Some((what, above()?))
}

#[test]
fn a_change_of_the_folder_is_synced_before_anything_relies_on_it() {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED, NOT TESTED: that the data folder is synced; install strace, and let it trace");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "0", "-e", "signal=none", "-e"])
        .arg(format!("trace={CALLS}"))
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["syncs::a_life_to_be_traced", "--exact", "--nocapture"])
        .env(HOME, home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let (text, root) = (fs::read_to_string(&trace).unwrap(), home.path().to_str().unwrap().to_owned());
    let mut counted: BTreeMap<&str, u32> = BTreeMap::new();
    let mut owed: BTreeMap<String, (&str, String, String)> = BTreeMap::new();
    for (thread, call) in calls(&text).into_iter().filter(|(_, call)| !call.contains(" = -1 ")) {
        let here = paths(&call).iter().any(|path| path.starts_with(&root) && !path.ends_with("/lock"));
        let looks = call.starts_with("openat") && !call.contains("O_CREAT");
        if !here || looks {
            continue;
        }
        if let Some((_, of, by)) = owed.get(&thread) {
            let synced = call.starts_with("fsync");
            let (folder, file) =
                (paths(&call) == [of.as_str()], paths(&call) == [paths(by).last().copied().unwrap()]);
            assert!(synced && (folder || file), "{by}\nis followed by\n{call}\nand {of} is not synced");
            if folder {
                owed.remove(&thread);
            }
        }
        if let Some((what, of)) = owes(&call, &root) {
            *counted.entry(what).or_default() += 1;
            owed.insert(thread, (what, of, call));
        }
    }
    assert!(owed.is_empty(), "never synced: {owed:?}");
    println!("{counted:?}");
    for (what, least) in [("made", 2), ("created", 10), ("renamed", 1), ("removed", 4), ("cut", 1)] {
        assert!(counted.get(what).is_some_and(|count| *count >= least), "{what}: {counted:?}");
    }
}
