//! kill -9 at random moments under load.
use crate::world::{Workers, World};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let world = World::new(1, &[]).await;
    let workers = Workers::start(&world, 1, 3, Duration::from_millis(5)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let changes = workers.stop().await;
    world.settle().await;
    let verdict = world.verdict().await;
    println!("{changes} changes\n{verdict}");
    assert!(verdict.is_fine(), "{verdict}");
}
