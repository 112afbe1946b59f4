//! Purpose: time as dispatch takes it: handed in, pure. Must not: read a clock.
use std::time::Duration;

/// Milliseconds, bounded.
pub(in crate::dispatch) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// What time it is. Waiting is measured on a clock that only goes forward, so that a wall clock that is set back
/// holds nothing up; what is stored is wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix milliseconds.
    pub wall: i64,
    /// Milliseconds of a clock that only goes forward, from anywhere.
    pub steady: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far away, and still far from an overflow when something is added to it.
    #[test]
    fn a_duration_that_no_clock_can_count_is_very_long() {
        assert_eq!(millis(Duration::from_micros(7_999)), 7);
        assert_eq!(millis(Duration::MAX), i64::MAX / 4);
    }
}
