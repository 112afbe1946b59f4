//! What a run came to: counts, latencies, faults. Pure.
use crate::ledger::Key;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The outcome.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Of each event: expected and arrived.
    pub counts: BTreeMap<String, (usize, usize)>,
    /// Never arrived.
    pub missing: Vec<Key>,
    /// Arrived without a commit: a rolled-back change, perhaps.
    pub unexpected: Vec<Key>,
    /// Arrived with another state than the row's at commit.
    pub wrong_state: Vec<Key>,
    /// Arrived again.
    pub duplicates: usize,
    /// Arrived with a signature that does not hold.
    pub unverified: usize,
    latencies: Vec<Duration>,
}

impl Verdict {
    pub(crate) fn expect(&mut self, event: &str) {
        self.counts.entry(event.to_owned()).or_default().0 += 1;
    }
    pub(crate) fn arrived(&mut self, event: &str, latency: Duration) {
        self.counts.entry(event.to_owned()).or_default().1 += 1;
        self.latencies.push(latency);
    }
    /// How many events were expected.
    pub fn expected(&self) -> usize {
        self.counts.values().map(|(expected, _)| expected).sum()
    }
    /// Whether every event arrived once, verified, and nothing else did; and there were any.
    pub fn is_fine(&self) -> bool {
        let faults = self.missing.len() + self.unexpected.len() + self.wrong_state.len();
        !self.latencies.is_empty() && faults + self.duplicates + self.unverified == 0
    }
    /// The share of a hundred that was at most this late.
    pub fn percentile(&self, share: usize) -> Duration {
        percentile(&mut self.latencies.clone(), share)
    }
}

/// The nearest-rank percentile; zero of nothing.
pub fn percentile(latencies: &mut [Duration], share: usize) -> Duration {
    latencies.sort_unstable();
    let rank = (latencies.len() * share).div_ceil(100).max(1);
    latencies.get(rank - 1).copied().unwrap_or_default()
}

impl fmt::Display for Verdict {
    /// One line that says what went wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_fine() {
            return f.write_str("every event arrived once and verified");
        }
        if self.latencies.is_empty() && self.missing.is_empty() {
            return f.write_str("no event was made; let it run longer");
        }
        let mut faults = Vec::new();
        for (keys, what) in [
            (&self.missing, "missing"),
            (&self.unexpected, "unexpected"),
            (&self.wrong_state, "with another state than at commit"),
        ] {
            if let Some(first) = keys.first() {
                faults.push(format!("{} {what} (first: {} of {})", keys.len(), first.event, first.resource));
            }
        }
        for (count, what) in [(self.duplicates, "duplicate"), (self.unverified, "unverified")] {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        }
        f.write_str(&faults.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let hundred = || (1..=100).map(Duration::from_millis).collect::<Vec<_>>();
        for (share, millis) in [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1)] {
            assert_eq!(percentile(&mut hundred(), share), Duration::from_millis(millis), "{share}");
        }
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }
}
