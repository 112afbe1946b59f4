//! The data folder fails under load and comes back: what is committed in Postgres meanwhile is not lost, the API goes on
//! reading and says 503 to writes, and all is well again without a restart.
use crate::faults::{Disk, Fault, Kind, kinds};
use crate::rig::{Inbox, Rig, SECRET};
use crate::world::World;
use crate::{judge, limits, load, median, number, seed};
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use tailhook_demo::http;
use tailhook_demo::random::Random;

const BASE: &str = "/api/v1/tenant/webhooks";
/// The index writes all the time, also when a start replays the journal, so that it meets the fault.
const SMALL_TABLES: [(&str, &str); 2] =
    [("TAILHOOK_INDEX_BYTES", "65536"), ("TAILHOOK_INDEX_ENTRIES", "256")];
/// Who posts events by the API.
const POSTER: &str = "44444444-4444-4444-8444-444444444444";
/// What is promised.
const LIMIT_S: f64 = 5.0;

/// The status of an answer, and its body.
async fn ask(rig: &Rig, method: &str, path: &str, body: &str) -> (u16, Value) {
    let headers = [format!("Authorization: Bearer {}", rig.api.token), format!("X-Tenant-Id: {POSTER}")];
    let answer = http::request(rig.api.address, method, &format!("{BASE}{path}"), &headers, body).await;
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}; log:\n{}", rig.log()));
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

/// Posts an event; what is accepted is owed.
async fn post(rig: &Rig, accepted: &mut Vec<String>) -> u16 {
    let number = format!("posted-{}", accepted.len());
    let body = serde_json::json!({"event": "storm.posted", "payload": {"number": number}}).to_string();
    let (status, answer) = ask(rig, "POST", "/deliveries", &body).await;
    if status == 202 {
        accepted.push(answer["event_id"].as_str().unwrap().to_owned());
    } else {
        assert_eq!(status, 503, "{answer}");
    }
    status
}

pub(crate) async fn until_posting_gives(rig: &mut Rig, wanted: u16, accepted: &mut Vec<String>, what: &str) {
    // noise does not take so long; a sidecar that does not heal takes for ever
    let patience = Duration::from_secs(number("HEALS", 60));
    let waited = tokio::time::timeout(patience, async {
        while post(rig, accepted).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let waited = waited.await;
    assert!(waited.is_ok(), "{what}: no {wanted} within {patience:?}; log:\n{}", rig.log());
}

/// One fault under load: begins, lasts, ends. Gives how long the sidecar took to heal.
#[allow(clippy::disallowed_methods, reason = "the time of another process")]
pub(crate) async fn round(
    rig: &mut Rig,
    disk: &Disk,
    kind: Kind,
    random: &mut Random,
    accepted: &mut Vec<String>,
) -> f64 {
    let pid = rig.pid();
    let fault = tokio::task::block_in_place(|| Fault::on(kind, disk, pid));
    until_posting_gives(rig, 503, accepted, "the fault").await;
    let mut reads = 0;
    for _ in 0..3 + random.below(8) {
        for path in ["/deliveries?limit=20", "/subscriptions", "/deliveries?status=pending"] {
            let (status, answer) = ask(rig, "GET", path, "").await;
            assert_eq!(status, 200, "{kind:?}: GET {path}: {answer}; log:\n{}", rig.log());
            reads += 1;
        }
        assert_eq!(post(rig, accepted).await, 503, "{kind:?}: a write was accepted");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(!rig.has_ended(), "{kind:?}: the sidecar has died; log:\n{}", rig.log());
    tokio::task::block_in_place(|| fault.off());
    let began = Instant::now();
    until_posting_gives(rig, 202, accepted, "not healed").await;
    rig.ready().await;
    let took = began.elapsed().as_secs_f64();
    println!("{kind:?}: healed after {took:.2} s; {reads} reads meanwhile, none refused");
    took
}

/// A world on a small disk of its own, and somebody who may post.
pub(crate) async fn on_a_disk(seed: u64) -> Option<(World, Disk)> {
    let mut world = World::new(seed, &SMALL_TABLES, "").await;
    let disk = Disk::under(&mut world.rig).await?;
    world.rig.api.subscribe(POSTER, "*", &world.rig.hook, SECRET).await.unwrap();
    Some((world, disk))
}

/// What was committed and what was accepted has come.
pub(crate) async fn nothing_is_lost(world: &mut World, accepted: &[String], seed: u64) {
    judge(world, seed).await;
    let arrived = |inbox: &Inbox| {
        let bodies = inbox.bodies();
        accepted.iter().all(|id| bodies.contains_key(id))
    };
    world.rig.inbox.until("what was accepted", arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_loses_nothing_and_heals() {
    let seed = seed();
    let mut random = Random::new(seed);
    let Some((mut world, disk)) = on_a_disk(seed).await else { return };
    let workers = load(&world, seed).await;
    let (mut accepted, mut healed) = (Vec::new(), Vec::new());
    let kinds = kinds();
    for number in 0..number("ROUNDS", kinds.len() as u64) {
        tokio::time::sleep(Duration::from_millis(random.below(1_500) as u64)).await;
        let kind = kinds[number as usize % kinds.len()];
        let took = round(&mut world.rig, &disk, kind, &mut random, &mut accepted).await;
        healed.push(took);
    }
    workers.stop().await;
    nothing_is_lost(&mut world, &accepted, seed).await;
    let worst = healed.iter().copied().fold(0.0, f64::max);
    let (rounds, median) = (healed.len(), median(healed));
    println!("{rounds} rounds: healed in {median:.2} s (median), {worst:.2} s (worst), limit {LIMIT_S} s");
    assert!(!limits() || worst <= LIMIT_S, "healed after {worst} s");
}

/// Standard error often goes to a file on the very disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let seed = seed();
    let Some((mut world, disk)) = on_a_disk(seed).await else { return };
    assert!(world.rig.stop().await.success());
    let log = world.rig.folder.path().join("log");
    std::fs::remove_file(&log).unwrap();
    symlink(disk.place().join("log"), log).unwrap();
    world.rig.start(&[]);
    world.rig.ready().await;
    let workers = load(&world, seed).await;
    let mut accepted = Vec::new();
    round(&mut world.rig, &disk, Kind::Full, &mut Random::new(seed), &mut accepted).await;
    workers.stop().await;
    nothing_is_lost(&mut world, &accepted, seed).await;
}
