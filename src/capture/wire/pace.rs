//! When to wait a moment before the next read, so that a burst of small messages is read in few large pieces (measured:
//! a third of the processor time). Costs nothing at low rates: it begins only after many reads that had data at once.
//! Pure: durations are arguments.
use std::time::Duration;

/// A read that had to wait for less than this found its data waiting.
const AT_ONCE: Duration = Duration::from_micros(200);
/// A read of less than this is small.
const SMALL: usize = 32 << 10;
/// So many small reads at once make a burst; one transaction alone is a handful.
const BURST: u32 = 32;
/// The moment.
const MOMENT: Duration = Duration::from_millis(1);

/// How the last reads went.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::capture) struct Pace {
    small_at_once: u32,
}

impl Pace {
    /// A read took so long and brought so much.
    pub(in crate::capture) fn read(&mut self, took: Duration, bytes: usize) {
        let burst = took < AT_ONCE && bytes < SMALL;
        self.small_at_once = if burst { self.small_at_once.saturating_add(1) } else { 0 };
    }

    /// How long to wait before the next read.
    pub(in crate::capture) fn wait(self) -> Option<Duration> {
        (self.small_at_once >= BURST).then_some(MOMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_burst_of_small_reads_is_waited_for() {
        let mut pace = Pace::default();
        for _ in 0..BURST {
            assert_eq!(pace.wait(), None);
            pace.read(Duration::from_micros(20), 100);
        }
        assert_eq!(pace.wait(), Some(MOMENT));
        pace.read(Duration::from_micros(20), SMALL);
        assert_eq!(pace.wait(), None, "large reads need no help");
        for _ in 0..BURST * 2 {
            pace.read(Duration::from_micros(20), 100);
        }
        assert_eq!(pace.wait(), Some(MOMENT));
        pace.read(AT_ONCE, 100);
        assert_eq!(pace.wait(), None, "the burst is over");
    }
}
