//! The cost of each part alone, with criterion: `make bench-parts`, or `cargo bench --bench parts -- sign`. At the end a row of
//! the table in `benches/RESULTS.md` for each. What grows with what is stored is measured by `benches/scale`.
mod pure;
mod scheduler;
mod store;
mod table;

use criterion::Criterion;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A group of benchmarks.
type Group = fn(&mut Criterion);

/// Each by its name.
const GROUPS: [(&str, Group); 8] = [
    ("decode", pure::decode),
    ("value", pure::value),
    ("mapping", pure::mapping),
    ("sign", pure::sign),
    ("journal", store::journal),
    ("index", store::index),
    ("shadow", store::shadow),
    ("scheduler", scheduler::scheduler),
];

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [name] = wanted.as_slice()
        && let Some((_, group)) = GROUPS.iter().find(|(group, _)| group == name)
    {
        return measure(name, *group);
    }
    // a process for each group, so that its memory is its own
    let mut rows = Vec::new();
    for (name, _) in GROUPS {
        let mut child = Command::new(std::env::current_exe()?);
        let output = child.args(["--bench", name]).stderr(Stdio::inherit()).output()?;
        anyhow::ensure!(output.status.success(), "{name} ended with {}", output.status);
        let said = String::from_utf8(output.stdout)?;
        print!("{said}");
        rows.extend(said.lines().filter(|line| line.starts_with('|')).map(str::to_owned));
    }
    println!("\n| part | median | peak RSS, MiB |\n| --- | ---: | ---: |\n{}", rows.join("\n"));
    Ok(())
}

fn measure(name: &str, group: Group) -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let began = table::now();
    group(&mut criterion);
    table::rows(name, began)
}
