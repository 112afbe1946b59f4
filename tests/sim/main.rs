//! Seeded simulation of the whole pipeline: the real capture, store and dispatch loops on simulated Postgres, disk,
//! network and clock. One `u64` decides everything. `SEEDS=n` runs n seeds, `SEED=n` replays one, loudly.
#![allow(clippy::unwrap_used, reason = "this is a test")]
mod check;
mod disk;
mod encode;
mod erp;
mod net;
mod oracle;
mod postgres;
mod rng;
mod rules;
mod schema;
mod source;
mod world;

mod life;
mod wiring;
mod witness;

/// Runs the seeds, or the one that `SEED` names.
fn seeds() -> (Vec<u64>, bool) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => (vec![seed], true),
        None => ((0..number("SEEDS").unwrap_or(200)).collect(), false),
    }
}

#[test]
fn every_promise_holds_on_every_seed() {
    let (seeds, loud) = seeds();
    let (mut failed, mut lives, mut events, mut sent, mut crashes) = (Vec::new(), 0, 0, 0, 0);
    for seed in &seeds {
        let report = life::simulate(*seed, loud);
        for wrong in &report.wrong {
            println!("seed {seed}: invariant violated: {wrong}");
        }
        if !report.wrong.is_empty() {
            failed.push(*seed);
        }
        lives += report.lives;
        events += report.events;
        sent += report.sent;
        crashes += report.server_crashes;
    }
    let ran = seeds.len();
    println!("{ran} seeds: {events} events, {sent} requests, {lives} lives, {crashes} crashes of the server");
    assert!(failed.is_empty(), "replay with SEED=n: {failed:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..10 {
        assert_eq!(life::simulate(seed, false).trace, life::simulate(seed, false).trace, "seed {seed}");
    }
}
