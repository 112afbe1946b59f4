//! The cost of each part alone, with criterion: `make bench-parts`, or `cargo bench --bench parts -- sign`. At the end a row of
//! the table in `benches/RESULTS.md` for each. What grows with what is stored is measured by `benches/scale`.
mod pure;
mod scheduler;
mod store;
mod table;

use criterion::Criterion;
use std::time::Duration;

/// A group of benchmarks.
type Group = fn(&mut Criterion);

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let groups: [(&str, Group); 8] = [
        ("decode", pure::decode),
        ("value", pure::value),
        ("mapping", pure::mapping),
        ("sign", pure::sign),
        ("journal", store::journal),
        ("index", store::index),
        ("shadow", store::shadow),
        ("scheduler", scheduler::scheduler),
    ];
    let mut table = table::Table::new()?;
    for (name, group) in groups {
        table::forget_peak();
        group(&mut criterion);
        table.take(name)?;
    }
    print!("{table}");
    Ok(())
}
