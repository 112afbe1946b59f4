//! What criterion has written down about this run, as rows of Markdown, each with the most memory of its group.
use anyhow::Context;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tailhook::clock::{Clock, SystemClock};

/// The rows so far.
pub(crate) struct Table {
    folder: PathBuf,
    began: SystemTime,
    rows: Vec<String>,
}

impl Table {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?;
        let began = SystemTime::UNIX_EPOCH + Duration::from_micros(SystemClock.now_us() as u64);
        Ok(Self { folder: target.join("criterion"), began, rows: Vec::new() })
    }
    /// Takes what a group has measured just now.
    pub(crate) fn take(&mut self, group: &str) -> anyhow::Result<()> {
        let peak = peak_mebibytes();
        let mut found = Vec::new();
        estimates(&self.folder.join(group), &mut found)?;
        // sizes in their order: 10 before 100 before 1000
        found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        for path in found {
            if fs::metadata(&path)?.modified()? < self.began {
                continue;
            }
            let text: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
            let nanoseconds = text["median"]["point_estimate"].as_f64().context("no median")?;
            let name = path.parent().and_then(Path::parent).and_then(|p| p.strip_prefix(&self.folder).ok());
            let name = name.context("no name")?.display().to_string();
            self.rows.push(format!("| {name} | {} | {peak:.0} |", time(nanoseconds)));
        }
        Ok(())
    }
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

/// From now on the peak is that of what follows.
pub(crate) fn forget_peak() {
    // where this is not allowed, the peak is that of all so far
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn peak_mebibytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kibibytes| kibibytes.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| part | median | peak RSS, MiB |\n| --- | ---: | ---: |")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
