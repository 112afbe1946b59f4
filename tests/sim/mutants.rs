//! Null controls: each planted fault must be caught by the simulation, or it shows nothing. Knows no invariant.
use std::process::Command;

/// Where each fault is planted: `fault::planted` in the source.
const PLANTED: [&str; 3] = ["ack-before-fsync", "lost-retry", "id-from-counter"];
/// Each must be caught within so many.
const SEEDS: &str = "1000";

/// A process of its own for each: a fault is planted by the environment. That it fails is not enough; it must name an
/// invariant.
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
        let caught = text.lines().find(|line| line.contains("invariant violated"));
        println!("{fault}: {}", caught.unwrap_or("not caught"));
        assert!(!output.status.success() && caught.is_some(), "{fault} survived {SEEDS} seeds");
    }
}
