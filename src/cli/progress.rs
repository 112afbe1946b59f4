//! Purpose: how far a long command has come: a bar on a terminal, a line at each tenth elsewhere.
//! Must not: depend on what the command does.
use super::warn;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

const WIDTH: u64 = 30;

/// Progress on standard error.
#[derive(Debug)]
pub(super) struct ProgressLine {
    what: &'static str,
    terminal: bool,
    /// Percents that were shown last, plus one.
    shown: AtomicU64,
}

impl ProgressLine {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, terminal: io::stderr().is_terminal(), shown: AtomicU64::new(0) }
    }
    /// So many of all bytes are done. Prints only what is news.
    pub(super) fn tell(&self, done: u64, all: u64) {
        let percent = percent(done, all);
        let step = if self.terminal { 1 } else { 10 };
        let shown = self.shown.load(Ordering::Relaxed);
        if shown > 0 && percent < shown - 1 + step {
            return;
        }
        self.shown.store(percent - percent % step + 1, Ordering::Relaxed);
        let line = format!("{}: {percent} %, {} of {} bytes", self.what, done.min(all), all);
        if self.terminal {
            // back to the start of the line; the last one ends it
            let end = if percent == 100 { "\n" } else { "" };
            let _ = write!(io::stderr().lock(), "\r{} {line}{end}", bar(percent));
        } else {
            warn(&line);
        }
    }
}

fn percent(done: u64, all: u64) -> u64 {
    (done.min(all) * 100).checked_div(all).unwrap_or(100)
}

fn bar(percent: u64) -> String {
    let full = (percent * WIDTH / 100) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(WIDTH as usize - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        assert_eq!((percent(0, 0), percent(1, 3), percent(9, 3)), (100, 33, 100));
        assert_eq!(bar(0), format!("[{}]", "-".repeat(30)));
        assert_eq!(bar(50), format!("[{}{}]", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(100), format!("[{}]", "#".repeat(30)));
    }
}
