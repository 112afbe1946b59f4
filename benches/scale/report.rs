//! Figures, each with the most memory that this process had while it was measured, and the table of them.
use std::fmt;
use std::fs;
use tokio::time::Instant;

/// SPEC's and DESIGN's limit for the whole sidecar.
const MOST_MEBIBYTES: f64 = 150.0;

/// A stretch that is measured.
pub(crate) struct Watch {
    began: Instant,
    cpu: f64,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        // 5: forget the peak; where that is not allowed, the peak is of the whole process
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self { began: Instant::now(), cpu: cpu_seconds() }
    }
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds() - self.cpu
    }
}

/// Says a figure to the parent process.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value}\t{unit}\t{}", peak_mebibytes());
}

fn peak_mebibytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kibibytes| kibibytes.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn cpu_seconds() -> f64 {
    // ticks of /proc are a hundredth of a second, whatever the kernel's clock is
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Rows of the table.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    name: String,
    size: u64,
    value: f64,
    unit: String,
    mebibytes: f64,
}

impl Table {
    /// Takes a line of `figure`; `None`: it is none.
    pub(crate) fn take(&mut self, line: &str, size: u64) -> Option<()> {
        let mut parts = line.split('\t');
        let name = parts.next()?.to_owned();
        let value = parts.next()?.parse().ok()?;
        let unit = parts.next()?.to_owned();
        let mebibytes = parts.next()?.parse().ok()?;
        self.0.push(Row { name, size, value, unit, mebibytes });
        Some(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | with | measured | times the smallest | peak RSS, MiB |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        for row in &self.0 {
            let smallest = self.0.iter().find(|other| other.name == row.name && other.size < row.size);
            let times = smallest.map_or_else(String::new, |other| format!("{:.2}", row.value / other.value));
            let high = if row.mebibytes > MOST_MEBIBYTES { " HIGH" } else { "" };
            writeln!(
                f,
                "| {} | {} | {:.*} {} | {times} | {:.0}{high} |",
                row.name,
                row.size,
                usize::from(row.value < 100.0) * 2,
                row.value,
                row.unit,
                row.mebibytes
            )?;
        }
        Ok(())
    }
}
