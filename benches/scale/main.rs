//! What grows, and an index that stalls: millions of finished deliveries, of shadow rows and of pending deliveries, in a real store on a real disk.
//! Prints a table; `cargo bench --bench scale -- shadow` measures one part of it. Each step is a process of its own, so that
//! its memory is its own. Sizes: `HISTORY`, `ROWS`, `PENDING`, lists of numbers; the folder: `TMPDIR`.
mod history;
mod house;
mod report;
mod restart;
mod shadow;
mod stall;

use anyhow::{Context, bail};
use report::Table;
use std::path::Path;
use std::process::{Command, Stdio};
use tailhook_demo::scratch::Scratch;

/// A step, and whether the index is lost before it.
type Step = (&'static str, bool);

/// A part: its name, the variable with its sizes, their defaults, its steps.
const PARTS: [(&str, &str, &str, &[Step]); 4] = [
    ("history", "HISTORY", "0 1_000_000 5_000_000", &[("history-fill", false), ("history-lists", false)]),
    (
        "shadow",
        "ROWS",
        "100_000 10_000_000",
        &[("shadow-fill", false), ("shadow-look", false), ("shadow-look", true)],
    ),
    (
        "pending",
        "PENDING",
        "10_000 1_000_000",
        &[("pending-fill", false), ("pending-deliver", false), ("pending-deliver", true)],
    ),
    ("stall", "STALL_MS", "0 200 0 200", &[("stall-beside", false)]),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [step, folder, size] = arguments.as_slice() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(Box::pin(run(step, Path::new(folder), size.parse()?)));
    }
    for (part, variable, sizes, steps) in PARTS {
        if !arguments.is_empty() && !arguments.iter().any(|wanted| wanted == part) {
            continue;
        }
        let mut table = Table::default();
        for size in std::env::var(variable).as_deref().unwrap_or(sizes).split_whitespace() {
            measure(steps, size.replace('_', "").parse().context(variable)?, &mut table)?;
        }
        println!("\n### {part}\n\n{table}");
    }
    Ok(())
}

/// All steps of one size, on one folder.
fn measure(steps: &[Step], size: u64, table: &mut Table) -> anyhow::Result<()> {
    let folder = Scratch::new("tailhook-scale")?;
    let data = folder.path().join("data");
    for (step, without_index) in steps {
        if *without_index {
            std::fs::remove_dir_all(data.join("index"))?;
        }
        let mut child = Command::new(std::env::current_exe()?);
        child.arg(step).arg(&data).arg(size.to_string()).stderr(Stdio::inherit());
        let output = child.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        for line in said.lines() {
            eprintln!("{step}\t{size}\t{line}");
            table.take(line, size).with_context(|| format!("{step} says: {line}"))?;
        }
        if !output.status.success() {
            bail!("{step} with {size} ended with {}", output.status);
        }
    }
    Ok(())
}

async fn run(step: &str, folder: &Path, size: u64) -> anyhow::Result<()> {
    match step {
        "history-fill" => history::fill(folder, size).await,
        "history-lists" => history::lists(folder, size).await,
        "shadow-fill" => shadow::fill(folder, size).await,
        "shadow-look" => shadow::look(folder, size).await,
        "pending-fill" => restart::fill(folder, size).await,
        "stall-beside" => stall::beside(folder, size).await,
        "pending-deliver" => restart::deliver(folder, size).await,
        _ => bail!("no such step: {step}"),
    }
}
