//! What the terminal shows: a line an event, a summary at the end. Knows no source of either.
use crate::ledger::Match;
use crate::verdict::Verdict;
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// A terminal, or a file.
pub(crate) struct Screen {
    colours: bool,
    tenants: HashMap<String, String>,
}

impl Screen {
    /// For standard output; `tenants` gives names to ids.
    pub(crate) fn new(tenants: HashMap<String, String>) -> Self {
        let colours =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { colours, tenants }
    }
    /// The names of the columns.
    pub(crate) fn head() -> io::Result<()> {
        print(&format!("{:<24} {:<18} {:<36} {:>9}  {}", "event", "tenant", "resource", "ms", "signature"))
    }
    /// One event.
    pub(crate) fn event(&self, seen: &Match) -> io::Result<()> {
        print(&self.line(seen))
    }
    fn line(&self, seen: &Match) -> String {
        let tenant = self.tenants.get(&seen.key.tenant).unwrap_or(&seen.key.tenant);
        let signature =
            if seen.verified { self.paint("32", "verified") } else { self.paint("31;1", "NOT VERIFIED") };
        format!(
            "{} {tenant:<18} {:<36} {:>9}  {signature}",
            self.paint("36", &format!("{:<24}", seen.key.event)),
            seen.key.resource,
            milliseconds(seen.latency),
        )
    }
    /// What it came to.
    pub(crate) fn summary(&self, verdict: &Verdict, commits: u64, rollbacks: u64) -> io::Result<()> {
        let mut text = format!("\n{:<24} {:>8} {:>8}\n", "event", "expected", "arrived");
        let mut total = (0, 0);
        for (event, (expected, arrived)) in &verdict.counts {
            text.push_str(&format_count(event, *expected, *arrived));
            total = (total.0 + expected, total.1 + arrived);
        }
        text.push_str(&format_count("all", total.0, total.1));
        let conclusion = verdict.to_string();
        print(&format!(
            "{text}\ncommits {commits}, rolled back {rollbacks}\nfrom COMMIT to the last byte: p50 {} ms, p99 {} ms\n\
             missing {}, duplicates {}, unverified {}, unexpected {}, other state {}\n{}",
            milliseconds(verdict.percentile(50)),
            milliseconds(verdict.percentile(99)),
            verdict.missing.len(),
            verdict.duplicates,
            verdict.unverified,
            verdict.unexpected.len(),
            verdict.wrong_state.len(),
            self.paint(if verdict.is_fine() { "32;1" } else { "31;1" }, &conclusion),
        ))
    }
    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line of plain text; a reader that has gone (`| head`) is an error, not a panic.
pub(crate) fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

fn format_count(event: &str, expected: usize, arrived: usize) -> String {
    format!("{event:<24} {expected:>8} {arrived:>8}\n")
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Key;

    #[test]
    fn lines_are_aligned_and_coloured_only_on_a_terminal() {
        let tenants = HashMap::from([("t1".to_owned(), "Panadería Sol".to_owned())]);
        let seen = |event: &str, verified| Match {
            key: Key { event: event.to_owned(), tenant: "t1".to_owned(), resource: "r".to_owned() },
            latency: Duration::from_micros(2_345),
            verified,
        };
        let plain = Screen { colours: false, tenants: tenants.clone() };
        let short = plain.line(&seen("a.b", true));
        let long = plain.line(&seen("purchase_order.created", true));
        assert_eq!(short.find("Panadería"), long.find("Panadería"));
        assert!(short.ends_with("  verified") && short.contains("2.3") && !short.contains('\x1b'), "{short}");
        assert!(plain.line(&seen("a.b", false)).ends_with("NOT VERIFIED"));
        assert!(Screen { colours: true, tenants }.line(&seen("a.b", true)).contains("\x1b[32mverified"));
    }
}
