//! Purpose: how long a delivery waits before it is attempted, and when it is too old, pure. Must not: read a clock.
use crate::dispatch::now::{Now, millis};
use crate::domain::Pending;
use crate::fault;
use crate::settings::DispatchSettings;

/// Two settings, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(in crate::dispatch) struct Waits {
    expire_after: i64,
    /// No retry waits longer.
    longest: i64,
}

/// The settings at a time.
#[derive(Debug, Clone, Copy)]
pub(in crate::dispatch) struct Moment {
    waits: Waits,
    now: Now,
}

impl Waits {
    pub(in crate::dispatch) fn new(settings: &DispatchSettings) -> Self {
        let backoff = &settings.backoff;
        let longest = millis(backoff.max.mul_f64(1.0 + backoff.jitter.clamp(0.0, 1.0)));
        Self { expire_after: millis(settings.expire_after), longest }
    }
    pub(in crate::dispatch) fn at(self, now: Now) -> Moment {
        Moment { waits: self, now }
    }
}

impl Moment {
    /// Has this steady millisecond come?
    pub(in crate::dispatch) fn has_come(&self, at: i64) -> bool {
        at <= self.now.steady
    }

    /// The steady millisecond at which a delivery is abandoned: counted from its event, or from the manual retry that made it
    /// pending again.
    pub(in crate::dispatch) fn expires(&self, pending: &Pending) -> i64 {
        let created = pending.created_us / 1000;
        let since = if pending.attempts == 0 { created.max(pending.due_ms) } else { created };
        let left = since.saturating_add(self.waits.expire_after).saturating_sub(self.now.wall);
        self.now.steady.saturating_add(left)
    }

    /// The steady millisecond from which it may be attempted. A due time further off than any wait we give is a wall clock that
    /// was wrong. Nothing waits for its first attempt: its due time is that of the commit, by the server's clock, which may be
    /// ahead of ours.
    pub(in crate::dispatch) fn due(&self, pending: &Pending) -> i64 {
        let longest = match pending.attempts {
            0 => 0,
            _ if fault::planted("wait-by-wall-clock") => i64::MAX,
            _ => self.waits.longest,
        };
        let wait = pending.due_ms.saturating_sub(self.now.wall).clamp(0, longest);
        self.now.steady.saturating_add(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::backlog::lane::tests::pending;
    use std::time::Duration;

    const WALL: i64 = 1_764_000_000_123;

    fn moment() -> Moment {
        let expire_after = Duration::from_secs(60);
        let settings = DispatchSettings { expire_after, ..DispatchSettings::default() };
        Waits::new(&settings).at(Now { wall: WALL, steady: 500 })
    }

    /// The event's time is in microseconds; all else is in milliseconds.
    #[test]
    fn a_delivery_expires_so_long_after_its_event_or_its_manual_retry() {
        let hour_ms = 3_600_000;
        for (attempts, age_ms, due_in_ms, left_ms) in [
            (0, 0, 0, 60_000),
            (0, 20_000, -20_000, 40_000),
            (0, hour_ms, -hour_ms, 60_000 - hour_ms),
            // again by hand
            (0, hour_ms, -1_000, 59_000),
            // a retry's due time prolongs nothing
            (1, 20_000, 30_000, 40_000),
        ] {
            let delivery = Pending {
                attempts,
                created_us: (WALL - age_ms) * 1000 + 999,
                due_ms: WALL + due_in_ms,
                ..pending(1, 1, None)
            };
            let expires = moment().expires(&delivery);
            assert_eq!(expires, 500 + left_ms, "{attempts} {age_ms} {due_in_ms}");
            assert!(moment().has_come(500) && !moment().has_come(501));
        }
    }
}
