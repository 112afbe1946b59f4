//! Null controls: a log with a planted fault does not pass.
use std::process::Command;

/// Faults, the case that must fail, and what it must say.
const PLANTED: &[(&str, &str, &str)] = &[
    ("log-number-ignored", "writers::another_number_than_the_last_is_fenced", "behind"),
    ("log-unfenced", "writers::a_former_writer_is_fenced", "a late append"),
    ("log-not-synced", "failures::what_was_acknowledged_survives_a_power_cut", "it was acknowledged"),
    ("log-tail-kept", "failures::a_prefix_of_a_refused_append_counts_for_nothing", ""),
    ("crc-ignored", "failures::damage_is_not_read", "a flipped bit is not what was written"),
    (
        "group-not-awaited",
        "groups::a_group_without_its_seal_is_not_there_after_a_crash",
        "a part without its seal",
    ),
    ("log-trims-too-far", "trimming::what_is_not_trimmed_stays", "a frame that is needed was trimmed"),
];

#[test]
fn a_log_with_a_planted_fault_does_not_pass() {
    for (fault, case, says) in PLANTED {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([&format!("segments::short::{case}"), "--exact", "--nocapture"])
            .env("TAILHOOK_PLANTED", fault)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(says), "{fault} is not caught by {case}: {text}");
        assert!(text.contains("1 failed"), "{fault}: the case is there: {text}");
    }
}
