//! Postgres' own shutdown is not held: it waits for our confirmation of everything that it has sent, so a sidecar that cannot
//! confirm must let go. Measured beside the same stop of the same server without the sidecar.
use crate::faults::Disk;
use crate::world::World;
use crate::{judge, limits, load, median, number, seed};
use std::time::{Duration, Instant};
use tailhook_demo::cluster::Cluster;
use tailhook_demo::random::Random;

/// A moment in the load.
const MOMENT: Duration = Duration::from_secs(1);

/// What a stop finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Idle,
    Load,
    ReceiversHung,
    DiskFull,
}

/// `pg_ctl stop -m fast`, in seconds; then the server is there again.
#[allow(clippy::disallowed_methods, reason = "the time of another process")]
fn stop(cluster: &Cluster, what: Weather) -> f64 {
    tokio::task::block_in_place(|| {
        // a stop that is held would go on for a minute (`wal_sender_timeout`); noise is shorter
        let patience = number("STOPPED", 40) as u32;
        let began = Instant::now();
        if let Err(error) = cluster.stop("fast", patience) {
            panic!("Postgres' shutdown is held ({what:?}): {error:#}");
        }
        let took = began.elapsed().as_secs_f64();
        cluster.start_again().unwrap();
        took
    })
}

/// The same stop with the sidecar and without it.
async fn measure(world: &mut World, disk: Option<&Disk>, what: Weather, random: &mut Random, limit: f64) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..number("STOPS", 1) {
        for sidecar in [true, false] {
            if !sidecar {
                assert!(world.rig.stop().await.success());
            }
            let workers = match what {
                Weather::Idle => None,
                _ => Some(load(world, random.number()).await),
            };
            tokio::time::sleep(MOMENT).await;
            let disk = disk.filter(|_| sidecar);
            if let Some(disk) = disk {
                disk.fill();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let took = stop(&world.rig.cluster, what);
            if sidecar { &mut with } else { &mut without }.push(took);
            if let Some(workers) = workers {
                workers.stop().await;
            }
            if let Some(disk) = disk {
                disk.free();
            }
            if !sidecar {
                world.rig.start(&[]);
            }
            world.rig.ready().await;
        }
    }
    let (with, without) = (median(with), median(without));
    let more = with - without;
    println!(
        "stop -m fast, {what:?}: {with:.2} s, without us {without:.2} s: {more:+.2} s (limit +{limit} s)"
    );
    assert!(!limits() || more <= limit, "{what:?}: {more:+.2} s beyond its own time, limit {limit} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_not_held_and_nothing_is_lost() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut world = World::new(seed, &[], "").await;
    measure(&mut world, None, Weather::Idle, &mut random, 1.0).await;
    measure(&mut world, None, Weather::Load, &mut random, 1.0).await;
    world.hang(true);
    measure(&mut world, None, Weather::ReceiversHung, &mut random, 1.0).await;
    world.hang(false);
    judge(&mut world, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_not_held_by_our_full_disk() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut world = World::new(seed, &[], "").await;
    let Some(disk) = Disk::under(&mut world.rig).await else { return };
    measure(&mut world, Some(&disk), Weather::DiskFull, &mut random, 6.0).await;
    judge(&mut world, seed).await;
}
