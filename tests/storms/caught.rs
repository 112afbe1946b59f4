//! Null controls: each planted fault must be caught by the test that is there for it, or that test shows nothing.
use std::process::Command;

/// `fault::planted` in the source, the test, and what it must say.
const PLANTED: [(&str, &str, &str); 7] = [
    (
        "no-close-when-blocked",
        "shutdown::a_shutdown_is_not_held_by_our_full_disk",
        "Postgres' shutdown is held",
    ),
    ("no-heal", "disk::a_log_that_cannot_be_written_stops_nothing", "not healed"),
    ("index-given-up", "disk::a_failing_disk_loses_nothing_and_heals", "the index is given up"),
    ("blocked-is-done", "disk::a_failing_disk_loses_nothing_and_heals", "  lost: "),
    ("index-given-up", "ends::a_start_on_a_full_disk_keeps_what_is_there", "is moved aside"),
    ("end-waits", "ends::a_hung_disk_does_not_hold_the_end", "the end is held"),
    ("start-at-the-end", "crashes::what_was_committed_before_a_crash_is_sent", "  lost: "),
];

/// A process of its own for each: a fault is planted by the environment.
#[test]
fn every_planted_fault_is_caught() {
    for (fault, test, says) in PLANTED {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", fault)
            .envs([("STOPS", "1"), ("ROUNDS", "4"), ("STOPPED", "15"), ("ENDS", "40")])
            // what never heals need not be waited for
            .envs((fault == "no-heal").then_some(("HEALS", "10")))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if text.contains("SKIPPED, NOT TESTED") {
            eprintln!("SKIPPED, NOT TESTED: {fault}");
            continue;
        }
        let caught = text.lines().find(|line| line.contains(says));
        println!("{fault}: {}", caught.unwrap_or("not caught"));
        assert!(!output.status.success() && caught.is_some(), "{test} does not catch {fault}:\n{text}");
    }
}
