//! How the sidecar starts and ends when its disk is in a bad way: it keeps what is there, and its end is not held.
use crate::crashes::alive;
use crate::disk::{nothing_is_lost, on_a_disk, round, until_posting_gives};
use crate::faults::{Fault, Kind, ran};
use crate::{judge, load, number, seed};
use std::process::Command;
use std::time::Duration;
use tailhook_demo::http;
use tailhook_demo::random::Random;

/// Far more than the deadlines of a stop together.
const PATIENCE_S: u64 = 120;

/// Nobody is ready on a full disk, but the API is there to read.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_keeps_what_is_there() {
    let seed = seed();
    let Some((mut world, disk)) = on_a_disk(seed).await else { return };
    let (index, older) = (disk.place().join("data/index"), world.rig.folder.path().join("older"));
    assert!(ran(Command::new("cp").arg("-a").args([&index, &older])));
    let workers = load(&world, seed).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.rig.kill();
    // far behind, so that the start has something to write
    std::fs::remove_dir_all(&index).unwrap();
    assert!(ran(Command::new("cp").arg("-a").args([&older, &index])));
    disk.fill();
    world.rig.start(&[]);
    let up = async {
        while http::request(world.rig.api.address, "GET", "/healthz", &[], "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let up = tokio::time::timeout(Duration::from_secs(number("ENDS", PATIENCE_S)), up).await;
    assert!(up.is_ok(), "it is not there; log:\n{}", world.rig.log());
    let mut accepted = Vec::new();
    round(&mut world.rig, &disk, Kind::Full, &mut Random::new(seed), &mut accepted).await;
    workers.stop().await;
    nothing_is_lost(&mut world, &accepted, seed).await;
    assert!(!world.rig.log().contains("moved aside"), "the index was thrown away:\n{}", world.rig.log());
}

/// What the disk does not answer is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_disk_does_not_hold_the_end() {
    let seed = seed();
    let Some((mut world, disk)) = on_a_disk(seed).await else { return };
    let workers = load(&world, seed).await;
    let mut accepted = Vec::new();
    until_posting_gives(&mut world.rig, 202, &mut accepted, "the start").await;
    let pid = world.rig.pid();
    let fault = tokio::task::block_in_place(|| Fault::on(Kind::Hung, &disk, pid));
    until_posting_gives(&mut world.rig, 503, &mut accepted, "the fault").await;
    let ready = http::request(world.rig.api.address, "GET", "/readyz", &[], "").await.unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    world.rig.terminate();
    // the thread that the kernel holds stays, and is all that does
    let patience = Duration::from_secs(number("ENDS", PATIENCE_S));
    let ended = tokio::time::timeout(patience, async {
        while alive(pid) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(ended.await.is_ok(), "the end is held for {patience:?}; log:\n{}", world.rig.log());
    tokio::task::block_in_place(|| fault.off());
    world.rig.ended().await;
    world.rig.start(&[]);
    world.rig.ready().await;
    workers.stop().await;
    judge(&mut world, seed).await;
}
