//! The real binary through bad weather: Postgres stops, crashes and comes back, and the disk fills up and fails, all of it
//! under load. `SEED=n` chooses the weather; `STOPS`, `CRASHES` and `ROUNDS` say how much of it; with `LIMITS=1` the times
//! that are promised are judged too, which a busy machine can break.
#![allow(clippy::unwrap_used, reason = "tests")]
mod caught;
mod crashes;
mod disk;
mod ends;
mod faults;
#[allow(dead_code, reason = "the other half is for tests/whole")]
#[path = "../whole/rig.rs"]
mod rig;
mod shutdown;
#[allow(dead_code, reason = "the other half is for tests/torture")]
#[path = "../torture/world/mod.rs"]
mod world;

use std::time::Duration;
use world::{Workers, World};

/// Four that pause for so long: more than 200 transactions a second.
const WORKERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// What has not come after so long never will.
const NEVER: Duration = Duration::from_secs(300);

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    let seed = number("SEED", 20_261_125);
    println!("SEED={seed}");
    seed
}

/// Only `make storms` judges times: noise must not break `make test`.
fn limits() -> bool {
    number("LIMITS", 0) == 1
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn load(world: &World, seed: u64) -> Workers {
    Workers::start(world, seed, WORKERS, PAUSE).await
}

/// Waits until nothing more can come; then every promise about what was committed must hold.
async fn judge(world: &mut World, seed: u64) {
    assert!(!world.rig.has_ended(), "the sidecar has died; log:\n{}", world.rig.log());
    // the connection before has seen a crash
    world.rig.erp = world.rig.another().await;
    let settled = tokio::time::timeout(NEVER, world.settle()).await.is_ok();
    if !settled {
        println!("log:\n{}", world.rig.log());
    }
    let verdict = world.verdict().await;
    println!("{verdict}");
    assert!(settled && verdict.is_fine(), "SEED={seed}, settled: {settled}\n{verdict}");
    assert!(!world.rig.log().contains("panicked"), "{}", world.rig.log());
}
