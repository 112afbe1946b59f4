//! Seeded simulation of the whole pipeline: the real capture, store and dispatch loops on simulated Postgres, disk,
//! network and clock. One `u64` decides everything. `SEEDS=n` runs n seeds, `SEED=plan` replays one, loudly (`plan` says how
//! a plan is written). A failing seed is replayed, shrunk, and kept in `seeds.txt`.
#![allow(clippy::unwrap_used, reason = "this is a test")]
mod check;
mod cluster;
mod damage;
mod decoding;
mod disk;
mod duty;
mod encode;
mod erp;
mod index;
mod lapses;
mod leaks;
mod ledger;
mod life;
mod link;
mod members;
mod mutants;
mod net;
mod oracle;
mod plan;
mod postgres;
mod rng;
mod rules;
mod schema;
mod slots;
mod source;
mod stream;
mod wiring;
mod witness;
mod world;

use life::Report;
use plan::Plan;
use std::cell::Cell;
use std::panic::{catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// Seeds that once failed, shrunk; they run first, always.
const KEPT: &str = include_str!("seeds.txt");

/// What to run, and whether the trace is printed: `SEED` names one, `SEEDS` says how many.
fn plans(instances: u64, of: fn(u64) -> Plan) -> (Vec<Plan>, bool) {
    let ours = |plan: &Plan| plan.instances == instances;
    if let Ok(plan) = std::env::var("SEED") {
        return (vec![plan.parse().unwrap()].into_iter().filter(ours).collect(), true);
    }
    let count = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    (kept().into_iter().filter(ours).chain((0..count / instances.pow(3)).map(of)).collect(), false)
}

/// Behind `#` stands what each found.
fn kept() -> Vec<Plan> {
    let lines = KEPT.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().unwrap()).collect()
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

fn simulate(plan: &Plan, loud: bool) -> Report {
    if plan.instances > 1 { cluster::simulate(plan, loud) } else { life::simulate(plan, loud) }
}

/// One run, with its panics and leaks.
fn one(plan: &Plan, loud: bool) -> Report {
    PANICS.set(0);
    leaks::begin(loud);
    let mut report = catch_unwind(|| simulate(plan, loud)).unwrap_or_default();
    if PANICS.get() > 0 {
        report.wrong.push(format!("{} panic(s)", PANICS.get()));
    }
    report.wrong.extend(leaks::found());
    report
}

/// Runs on every core; a run knows nothing of the others. After `enough` failing ones no more are begun.
fn run(plans: &[Plan], loud: bool, enough: usize) -> Vec<(Plan, Report)> {
    count_panics();
    let (next, failed, done) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while failed.load(Ordering::Relaxed) < enough {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = plans.get(number) else { break };
            let report = one(plan, loud);
            for wrong in &report.wrong {
                println!("seed {plan}: invariant violated: {wrong}");
            }
            failed.fetch_add(usize::from(!report.wrong.is_empty()), Ordering::Relaxed);
            let mut done = done.lock().unwrap();
            done.push((number, plan.clone(), report));
            if done.len() % 5_000 == 0 {
                println!("{} runs", done.len());
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(plans.len()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, ..)| *number);
    done.into_iter().map(|(_, plan, report)| (plan, report)).collect()
}

/// What is to be known of a failing run: does it replay, and how short can it be?
fn explain(plan: &Plan, report: &Report) {
    let again = one(plan, false);
    println!(
        "seed {plan}: a second run writes {} trace",
        if again.trace == report.trace { "the same" } else { "ANOTHER" }
    );
    let least = plan.shrink(report.length, |smaller| !one(smaller, false).wrong.is_empty());
    println!("seed {plan}: shrunk to {least}; replay it with SEED={least}");
    if std::env::var_os("TAILHOOK_PLANTED").is_none() && !kept().contains(&least) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/seeds.txt");
        let why = report.wrong.first().map_or("", String::as_str);
        let line = format!("{KEPT}{least}  # {}\n", why.chars().take(100).collect::<String>());
        std::fs::write(file, line).unwrap();
    }
}

#[test]
fn every_promise_holds_on_every_seed() {
    hold(plans(1, Plan::whole));
}

/// Two instances over one replicated log: each delivery has one owner at a time.
#[test]
fn every_promise_holds_where_two_instances_share_the_work() {
    hold(plans(2, Plan::shared));
}

fn hold((plans, loud): (Vec<Plan>, bool)) {
    // of a planted fault three show how it is met; `QUICK`: only that it fails is asked
    let quick = std::env::var_os("QUICK").is_some();
    let enough = match std::env::var_os("TAILHOOK_PLANTED") {
        _ if quick => 1,
        Some(_) => 3,
        None => 8,
    };
    let reports = run(&plans, loud, enough);
    for (plan, report) in &reports {
        let short = plan.length.is_none() && report.history < 100 && report.wrong.is_empty();
        assert!(!short, "seed {plan}: a history of only {} events", report.history);
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|(_, report)| of(report)).sum::<u64>();
    println!(
        "{} seeds: {} violated, {} events, {} requests, {} deaths and stops of the sidecar, {} crashes of the server, {} gaps, {} of tables",
        reports.len(),
        reports.iter().filter(|(_, report)| !report.wrong.is_empty()).count(),
        sum(|r| r.events),
        sum(|r| r.sent),
        sum(|r| r.lives).saturating_sub(reports.len() as u64),
        sum(|r| r.server_crashes),
        sum(|r| r.gaps),
        sum(|r| r.table_gaps)
    );
    let mut failed = reports.iter().filter(|(_, report)| !report.wrong.is_empty()).peekable();
    if let (Some((plan, report)), false) = (failed.peek(), loud || quick) {
        explain(plan, report);
    }
    let failed: Vec<String> = failed.map(|(plan, _)| plan.to_string()).collect();
    assert!(failed.is_empty(), "replay one with SEED=n: {failed:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let plans: Vec<Plan> = (1000..1020).map(Plan::whole).chain((0..10).map(Plan::shared)).collect();
    for ((plan, one), (_, two)) in run(&plans, false, usize::MAX).iter().zip(run(&plans, false, usize::MAX)) {
        assert_eq!(one.trace, two.trace, "seed {plan}");
    }
}
