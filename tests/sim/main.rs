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
mod mutants;
mod wiring;
mod witness;

use life::Report;
use std::cell::Cell;
use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// The seeds to run, and whether the trace is printed: `SEED` names one, `SEEDS` says how many.
fn seeds() -> (Vec<u64>, bool) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => (vec![seed], true),
        None => ((0..number("SEEDS").unwrap_or(200)).collect(), false),
    }
}

thread_local! {
    /// Panics in this thread, those that a `JoinSet` has caught too.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            print(panic);
        }));
    });
}

/// Runs seeds on every core; a seed knows nothing of the others. After `enough` failing ones no more are begun.
fn run(seeds: &[u64], loud: bool, enough: usize) -> Vec<(u64, Report)> {
    count_panics();
    let (next, failed, done) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while failed.load(Ordering::Relaxed) < enough
            && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
        {
            PANICS.set(0);
            let mut report = catch_unwind(|| life::simulate(*seed, loud)).unwrap_or_default();
            if PANICS.get() > 0 {
                report.wrong.push(format!("{} panic(s)", PANICS.get()));
            }
            failed.fetch_add(usize::from(!report.wrong.is_empty()), Ordering::Relaxed);
            done.lock().unwrap().push((*seed, report));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(seeds.len()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(seed, _)| *seed);
    done
}

#[test]
fn every_promise_holds_on_every_seed() {
    let (seeds, loud) = seeds();
    let reports = run(&seeds, loud, 8);
    let mut failed = Vec::new();
    for (seed, report) in &reports {
        for wrong in &report.wrong {
            println!("seed {seed}: invariant violated: {wrong}");
        }
        if !report.wrong.is_empty() {
            failed.push(*seed);
        }
        if !loud {
            assert!(
                report.events >= 100 || !report.wrong.is_empty(),
                "seed {seed}: {} events",
                report.events
            );
        }
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|(_, report)| of(report)).sum::<u64>();
    println!(
        "{} seeds: {} events, {} requests, {} lives of the sidecar, {} crashes of the server",
        reports.len(),
        sum(|r| r.events),
        sum(|r| r.sent),
        sum(|r| r.lives),
        sum(|r| r.server_crashes)
    );
    assert!(failed.is_empty(), "replay one with SEED=n: {failed:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let seeds: Vec<u64> = (1000..1020).collect();
    for ((seed, one), (_, two)) in run(&seeds, false, usize::MAX).iter().zip(run(&seeds, false, usize::MAX)) {
        assert_eq!(one.trace, two.trace, "seed {seed}");
    }
}
