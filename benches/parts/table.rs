//! What criterion has written down about a group, as rows of Markdown, each with the most memory that its process had.
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tailhook::clock::{Clock, SystemClock};

/// When a group begins.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(SystemClock.now_us() as u64)
}

/// Says what a group has measured since it began.
pub(crate) fn rows(group: &str, began: SystemTime) -> anyhow::Result<()> {
    let peak = peak_mebibytes();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?;
    let folder = target.join("criterion");
    let mut found = Vec::new();
    estimates(&folder.join(group), &mut found)?;
    // sizes in their order: 10 before 100 before 1000
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    for path in found {
        if fs::metadata(&path)?.modified()? < began {
            continue;
        }
        let text: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        let nanoseconds = text["median"]["point_estimate"].as_f64().context("no median")?;
        let name = path.parent().and_then(Path::parent).and_then(|p| p.strip_prefix(&folder).ok());
        println!("| {} | {} | {peak:.0} |", name.context("no name")?.display(), time(nanoseconds));
    }
    Ok(())
}

/// Files of this run's estimates.
fn estimates(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            estimates(&path, found)?;
        } else if path.ends_with("new/estimates.json") {
            found.push(path);
        }
    }
    Ok(())
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

fn peak_mebibytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kibibytes| kibibytes.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
