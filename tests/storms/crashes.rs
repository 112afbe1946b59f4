//! Postgres stops and crashes under load, again and again, with the sidecar beside it: what was committed has its event,
//! what was not has none.
use crate::world::World;
use crate::{judge, limits, load, number, seed};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};
use tailhook_demo::cluster::Cluster;
use tailhook_demo::random::Random;

const WAYS: [&str; 3] = ["fast", "immediate", "kill -9"];

/// Ends the server in one of the ways and starts it again.
fn crash(cluster: &Cluster, way: &str) {
    if way == "kill -9" {
        kill(cluster);
    } else {
        cluster.stop(way, 60).unwrap();
    }
    cluster.start_again().unwrap();
}

/// A new server refuses to start while a child of the old one is attached to its memory, so they must be gone first.
fn kill(cluster: &Cluster) {
    let postmaster = cluster.postmaster().expect("it runs");
    let children = children(postmaster);
    kill_process(Pid::from_raw(postmaster).unwrap(), Signal::KILL).unwrap();
    for process in children.into_iter().chain([postmaster]) {
        while alive(process) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    cluster.remove_pid_file().unwrap();
}

/// State and parent of a process.
fn stat(process: &str) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut rest = text.rsplit_once(')')?.1.split_whitespace();
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}

fn children(parent: i32) -> Vec<i32> {
    let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let processes = names.filter_map(|name| name.to_string_lossy().parse::<i32>().ok());
    processes.filter(|process| stat(&process.to_string()).is_some_and(|(_, of)| of == parent)).collect()
}

/// A zombie holds no memory, and its main thread has ended.
pub(crate) fn alive(process: i32) -> bool {
    stat(&process.to_string()).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "the pace of other processes")]
async fn what_was_committed_before_a_crash_is_sent() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut world = World::new(seed, &[], "").await;
    let workers = load(&world, seed).await;
    let mut ways: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut up, mut committed) = (Duration::ZERO, 0);
    for number in 0..number("CRASHES", 6) {
        // a moment anywhere from the restart to full flight
        let (began, before) = (Instant::now(), workers.transactions());
        tokio::time::sleep(Duration::from_millis(random.below(2_500) as u64)).await;
        (up, committed) = (up + began.elapsed(), committed + workers.transactions() - before);
        let way = WAYS[number as usize % WAYS.len()];
        tokio::task::block_in_place(|| crash(&world.rig.cluster, way));
        *ways.entry(way).or_default() += 1;
    }
    // the last crash too is followed by work
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changes = workers.stop().await;
    let rate = committed as f64 / up.as_secs_f64();
    println!("{ways:?}, {changes} changes known to be committed, {rate:.0} transactions a second between");
    assert!(!limits() || rate >= 200.0, "the load must be what is said of it");
    judge(&mut world, seed).await;
}
