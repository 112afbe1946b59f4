//! Power loss: the real store on a real folder is recorded, the power goes at `CUTS` moments (`SEED` decides everything), and what
//! may be left is opened again. Nothing that was confirmed may be missing. Knows no frames.
mod cut;
mod load;
mod model;
mod record;

use crate::house::{HandClock, NOON_MS};
use cut::Cut;
use model::{Model, marker};
use record::Moment;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use tailhook::disk::RealDisk;
use tailhook::domain::KeepingError;
use tailhook::store::*;
use tailhook_demo::random::Random;
use tokio::task::JoinSet;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn open(engine: Engine, folder: &Path, now_us: i64) -> Result<(Store, Recovery), StoreError> {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let clock = Arc::new(HandClock(AtomicI64::new(now_us)));
    let index = engine.factory(folder.join("index"), record::MEMORY_BYTES);
    let (store, recovery) = Store::open(load::small(), disk, index, clock).await?;
    store.finish_rebuild().await?;
    Ok((store, recovery))
}

/// What opening found.
#[derive(Debug, Default)]
struct Found {
    rebuilt: bool,
    torn: bool,
    /// The index opened, and failed when it was read.
    failed: bool,
}

/// Opens what was left and looks at all of it. An index that fails in use ends `run`, and the next start makes it anew.
async fn examine(cut: &Cut, folder: &Path) -> Result<Found, String> {
    let mut found = Found::default();
    loop {
        let (store, recovery) =
            open(cut.engine, folder, cut.now_us).await.map_err(|e| format!("it does not open: {e}"))?;
        found.torn |= recovery.torn_bytes > 0;
        found.rebuilt |= recovery.rebuilt.is_some();
        match look(cut, &store).await {
            Ok(faults) if faults.is_empty() => return Ok(found),
            Ok(faults) => return Err(faults.join("; ")),
            Err(KeepingError::Failed(_)) if !found.failed => {
                found.failed = true;
                let ended = store.run().await;
                assert!(matches!(ended, Err(StoreError::Index(_))), "{ended:?}");
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Everything that the store says otherwise than it must.
async fn look(cut: &Cut, store: &Store) -> Result<Vec<String>, KeepingError> {
    let survived = marker(store).await?;
    if survived < cut.confirmed {
        return Ok(vec![format!("{survived} commits of {} confirmed ones are there", cut.confirmed)]);
    }
    if survived > cut.commits.len() {
        let asked_for = cut.commits.len();
        return Ok(vec![format!("{survived} commits are there, only {asked_for} were asked for")]);
    }
    Model::of(&cut.commits[..survived]).faults(store, cut.now_us).await
}

/// It goes on from there, and the next start finds all of it.
async fn goes_on(cut: &Cut, folder: &Path) -> Result<(), String> {
    let (store, _) = open(cut.engine, folder, cut.now_us).await.map_err(|e| e.to_string())?;
    let mut commits = cut.commits[..marker(&store).await.unwrap()].to_vec();
    let mut loops = JoinSet::new();
    let running = store.clone();
    loops.spawn(async move { running.run().await });
    for n in 0..3 {
        let records = load::addition(n, commits.len(), cut.now_us);
        commits.push(records.clone().into());
        store.checkpoint().commit(Batch { records }).await.map_err(|e| e.to_string())?;
    }
    store.close().await;
    loops.join_all().await.into_iter().collect::<Result<(), _>>().map_err(|e| e.to_string())?;
    drop(store);
    let (store, recovery) = open(cut.engine, folder, cut.now_us).await.map_err(|e| e.to_string())?;
    if recovery.torn_bytes > 0 || recovery.rebuilt.is_some() {
        return Err(format!("a clean end was none: {recovery:?}"));
    }
    let faults = Model::of(&commits).faults(&store, cut.now_us).await.map_err(|e| e.to_string())?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

#[tokio::test(start_paused = true)]
async fn nothing_confirmed_is_lost_when_the_power_goes() {
    cut_off(Engine::Lsm).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_confirmed_is_lost_when_the_power_goes_under_sled() {
    cut_off(Engine::Sled).await;
}

async fn cut_off(engine: Engine) {
    let (seed, cuts) = (number("SEED", 20_261_125), number("CUTS", 200));
    let home = tempfile::tempdir().unwrap();
    let moments = load::live(engine, seed, &home.path().join("lived")).await.moments();
    let mut random = Random::new(seed ^ 0xFFFF);
    let (mut lost, mut unsure, mut torn) = (Vec::new(), 0, 0);
    let mut indices: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
    for n in 0..cuts {
        let at = cut::moment(&moments, &mut random);
        let folder = home.path().join(format!("cut-{n}"));
        let (cut, bytes) = Cut::after(engine, &moments[..at], NOON_MS * 1000).leave(&mut random, &folder);
        let index = cut::leave_index(engine, &moments, at, &mut random, &folder.join("index"));
        let looked = match examine(&cut, &folder).await {
            Ok(found) => goes_on(&cut, &folder).await.map(|()| found),
            Err(what) => Err(what),
        };
        let count = indices.entry(index).or_default();
        count.0 += 1;
        unsure += u32::from(bytes > 0);
        match looked {
            Ok(found) => {
                count.1 += u32::from(found.rebuilt);
                count.2 += u32::from(found.failed);
                torn += u32::from(found.torn);
                std::fs::remove_dir_all(&folder).unwrap();
            }
            Err(what) => {
                println!("cut {n} at moment {at} of life {}, index {index}: lost: {what:.600}", cut.lives);
                lost.push(n);
            }
        }
    }
    let count = |of: fn(&Moment) -> bool| moments.iter().filter(|moment| of(moment)).count();
    println!(
        "{engine:?}, seed {seed}: {cuts} cuts in {} moments ({} commits confirmed, {} kills), {unsure} with unsynced bytes, {torn} torn; index (of them rebuilt, of them because they failed in use): {indices:?}",
        moments.len(),
        count(|m| matches!(m, Moment::Confirmed(_))),
        count(|m| matches!(m, Moment::Reopened(_))) - 1,
    );
    assert!(lost.is_empty(), "{} of {cuts} cuts lost something: {lost:?}", lost.len());
}

/// Null controls: a store that answers before it syncs, one whose only durability is the index's own flush, and one that
/// believes the parts of a group before its seal is there.
#[test]
fn what_is_only_seemingly_durable_is_caught() {
    for fault in ["ack-before-fsync", "index-flush-only", "group-not-awaited"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["power::nothing_confirmed_is_lost_when_the_power_goes", "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", fault)
            .env("CUTS", "80")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let caught = text.lines().find(|line| line.contains("lost: "));
        println!("{fault}: {}", caught.unwrap_or("not caught"));
        assert!(!output.status.success() && caught.is_some(), "{fault} was not noticed: {text}");
    }
}
