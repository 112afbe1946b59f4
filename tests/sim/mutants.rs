//! Null controls: each planted fault must be caught by the simulation, or it shows nothing. Knows no invariant.
#![cfg(debug_assertions)]
use std::process::Command;

/// `fault::planted` in the source says where each is.
const PLANTED: [&str; 14] = [
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
];
/// Each must be caught within so many.
const SEEDS: &str = "1000";

/// A process of its own for each: a fault is planted by the environment. That it fails is not enough: it must name an
/// invariant, replay, and shrink.
#[test]
fn every_planted_fault_is_caught() {
    for fault in PLANTED {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["every_promise_holds_on_every_seed", "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", fault)
            .env("SEEDS", SEEDS)
            .env_remove("SEED")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = |with: &str| text.lines().find(|line| line.contains(with));
        let (caught, shrunk) = (line("invariant violated"), line("shrunk to"));
        println!("{fault}: {}\n    {}", caught.unwrap_or("not caught"), shrunk.unwrap_or("not shrunk"));
        assert!(!output.status.success() && caught.is_some(), "{fault} survived {SEEDS} seeds");
        assert!(shrunk.is_some(), "{fault}: no shorter run");
        // ids that depend on the process depend on what ran before
        let replays = line("writes the same trace").is_some();
        assert!(replays || fault == "id-from-counter", "{fault}: does not replay");
    }
}
