//! Null controls: each planted fault must be caught by the simulation, or it shows nothing. Knows no invariant.
#![cfg(debug_assertions)]
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// `fault::planted` in the source, or in the simulated index, says where each is.
const PLANTED: [&str; 21] = [
    "ack-before-fsync",
    "group-not-awaited",
    "lost-retry",
    "id-from-counter",
    "shadow-outside-frame",
    "breaker-swallows",
    "reordered-resource",
    "idle-confirm-without-frame",
    "stale-subscription",
    "gap-not-seen",
    "slot-made-anew",
    "wait-by-wall-clock",
    "no-close-when-blocked",
    "crc-ignored",
    "clear-headers",
    "read-under-lock",
    "half-a-generation",
    "table-gap-unseen",
    "gap-seen-late",
    "stale-shadow",
    "fill-not-awaited",
];
/// Those that only several instances meet.
const PLANTED_SHARED: [&str; 4] =
    ["past-the-lease", "late-append-taken", "marks-ignored", "everybody-delivers"];
/// Each must be caught within so many.
const SEEDS: &str = "1000";

/// That a fault was met once may be luck: in how many of the runs that were begun, and by which promise.
fn how_often(text: &str) -> String {
    let sum = text.lines().find(|line| line.contains(" seeds: ")).unwrap_or("no run ended");
    let sum = sum.split(',').next().unwrap_or_default();
    let mut promises: BTreeMap<&str, u32> = BTreeMap::new();
    let mut seeds: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (seed, wrong) in text.lines().filter_map(|line| line.split_once(": invariant violated: ")) {
        let kind =
            PROMISES.iter().find(|(words, _)| wrong.contains(words)).map_or("other", |(_, kind)| *kind);
        if seeds.insert((seed, kind)) {
            *promises.entry(kind).or_default() += 1;
        }
    }
    format!("{sum}: {promises:?}")
}

/// Words of a violation, and what was promised; the first that fits.
const PROMISES: [(&str, &str); 13] = [
    ("is durable", "confirmed is durable"),
    ("confirmed", "confirmed is durable"),
    ("change(s)", "exactly one event a change"),
    ("nothing that was committed", "nothing is invented"),
    ("is owed to", "one delivery a subscription"),
    ("not all ended", "every delivery ends"),
    ("is attempted after", "order"),
    ("at the same time", "order"),
    ("read again", "ids and bodies are the same"),
    ("two different bodies", "ids and bodies are the same"),
    ("shutdown was held", "the ERP is not harmed"),
    ("after answers", "a delivery ends for a reason"),
    ("holds a clear", "no clear credential at rest"),
];

/// A process of its own for each: a fault is planted by the environment. That it fails is not enough: it must name an
/// invariant, replay, and shrink.
#[test]
fn every_planted_fault_is_caught() {
    let shared =
        PLANTED_SHARED.map(|fault| (fault, "every_promise_holds_where_two_instances_share_the_work"));
    for (fault, test) in
        PLANTED.map(|fault| (fault, "every_promise_holds_on_every_seed")).into_iter().chain(shared)
    {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", fault)
            .env("SEEDS", SEEDS)
            .env_remove("SEED")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = |with: &str| text.lines().find(|line| line.contains(with));
        let (caught, shrunk) = (line("invariant violated"), line("shrunk to"));
        println!("{fault}: {}\n    {}", caught.unwrap_or("not caught"), shrunk.unwrap_or("not shrunk"));
        println!("    {}", how_often(&text));
        assert!(!output.status.success() && caught.is_some(), "{fault} survived {SEEDS} seeds");
        assert!(shrunk.is_some(), "{fault}: no shorter run");
        // ids that depend on the process, and the number of a task that panics, depend on what ran before
        let replays = line("writes the same trace").is_some();
        let counts = ["id-from-counter", "read-under-lock"].contains(&fault);
        assert!(replays || counts, "{fault}: does not replay");
    }
}
