//! kill -9 at random moments under load, and the null controls: with each planted fault the same must end in another verdict.
use crate::rig::Rig;
use crate::world::{Verdict, Workers, World};
use std::time::Duration;
use tailhook_demo::random::{self, Random};
use tailhook_demo::verdict::percentile;
use tokio::time::{Instant, sleep};

/// From the start of the process until `/readyz` says that it streams (p99).
const LIMIT: Duration = Duration::from_secs(2);
/// Small segments, small tables and quick upkeep: rotation, checkpoints, merges and retention are in the way of the kills too.
pub(crate) const BRISK: [(&str, &str); 5] = [
    ("TAILHOOK_SEGMENT_BYTES", "262144"),
    ("TAILHOOK_FRAME_BYTES", "1500"),
    ("TAILHOOK_INDEX_BYTES", "65536"),
    ("TAILHOOK_UPKEEP_MS", "300"),
    ("TAILHOOK_LOOK_MS", "300"),
];

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// `SEED`, or any.
pub(crate) fn seed() -> u64 {
    number("SEED", u64::from_ne_bytes(random::from_system().unwrap()) >> 32)
}

/// Kills so often; gives how long each start took that came as far as streaming.
async fn kill(rig: &mut Rig, random: &mut Random, kills: u64) -> Vec<Duration> {
    let mut starts = Vec::new();
    for _ in 0..kills {
        if random.percent(25) {
            // while it starts
            sleep(Duration::from_millis(random.below(200) as u64)).await;
        } else {
            rig.ready().await;
            sleep(Duration::from_millis(random.below(700) as u64)).await;
        }
        rig.kill();
        let began = Instant::now();
        rig.start(&[]);
        if random.percent(75) {
            rig.ready().await;
            starts.push(began.elapsed());
        }
    }
    rig.ready().await;
    starts
}

/// What must be nowhere in the log, whatever is done to it.
pub(crate) fn no_panic(rig: &Rig) {
    let log = rig.log();
    let panic = log.lines().find(|line| line.contains("panicked"));
    assert!(panic.is_none(), "{panic:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing() {
    let (seed, kills, least) = (seed(), number("KILLS", 15), number("CHANGES", 500));
    println!("SEED={seed} KILLS={kills} CHANGES={least}");
    let mut world = World::new(seed, &BRISK, "").await;
    let workers = Workers::start(&world, seed, 4, Duration::from_millis(25)).await.with_client(&world).await;
    let mut random = Random::new(seed);
    let mut starts = kill(&mut world.rig, &mut random, kills).await;
    while workers.changes() < least {
        sleep(Duration::from_millis(100)).await;
    }
    let transactions = workers.transactions();
    let changes = workers.stop().await;
    world.settle().await;
    let verdict = world.verdict().await;
    let [half, most] = [50, 99].map(|share| percentile(&mut starts, share));
    println!(
        "kill -9               {kills:>9}\ntransactions          {transactions:>9}\ncommitted changes     {changes:>9}\n{verdict}"
    );
    let met = if most <= LIMIT { "met" } else { "NOT met" };
    println!(
        "restart to streaming, {} of them: p50 {half:?}, p99 {most:?}; limit {LIMIT:?} {met}",
        starts.len()
    );
    assert!(verdict.is_fine(), "SEED={seed}\n{verdict}");
    // noise must not break `make test`
    assert!(number("LIMITS", 0) == 0 || most <= LIMIT, "{most:?}");
    no_panic(&world.rig);
}

/// Kills under load until the verdict is what it should be with this fault.
async fn caught(environment: &[(&'static str, &str)], delivery: &str, found: fn(&Verdict) -> bool) {
    let seed = seed();
    println!("SEED={seed}");
    let mut world = World::new(seed, environment, delivery).await;
    let mut random = Random::new(seed);
    for _ in 0..10 {
        let workers = Workers::start(&world, random.number(), 3, Duration::from_millis(3)).await;
        kill(&mut world.rig, &mut random, 5).await;
        workers.stop().await;
        world.settle().await;
        let verdict = world.verdict().await;
        if found(&verdict) {
            println!("caught:\n{verdict}");
            return;
        }
    }
    panic!("not caught");
}

/// The journal's position is a frame of its own, before the events that it covers: a kill in between loses them.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_before_its_events_is_caught() {
    caught(&[("TAILHOOK_PLANTED", "position-before-events")], "", |verdict| !verdict.lost.is_empty()).await;
}

/// A resource's deliveries at once: the setting itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_order_is_caught() {
    caught(&[], "ordering = \"none\"\n", |verdict| !verdict.disordered.is_empty()).await;
}
