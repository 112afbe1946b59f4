//! Figures beside their limits.
use std::fmt;

/// What a figure must be.
pub(crate) enum Limit {
    /// For comparison only.
    None,
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

/// The rows.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, f64, Limit)>,
    notes: Vec<String>,
}

impl Table {
    /// Adds a row.
    pub(crate) fn figure(&mut self, name: &str, value: f64, limit: Limit) {
        self.rows.push((name.to_owned(), value, limit));
    }
    /// Adds a line below.
    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:<38} | {:>10} | {:>9} | {:<4} |", "figure", "measured", "limit", "")?;
        writeln!(f, "| {:-<38} | {:->9}: | {:->8}: | ---- |", "", "", "")?;
        for (name, value, limit) in &self.rows {
            let (limit, word) = match limit {
                Limit::None => (String::new(), ""),
                Limit::AtLeast(least) => {
                    (format!("≥ {}", number(*least)), if value >= least { "ok" } else { "LOW" })
                }
                Limit::AtMost(most) => {
                    (format!("≤ {}", number(*most)), if value <= most { "ok" } else { "HIGH" })
                }
            };
            writeln!(f, "| {name:<38} | {:>10} | {limit:>9} | {word:<4} |", number(*value))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
