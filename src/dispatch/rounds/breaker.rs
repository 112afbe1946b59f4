//! Purpose: when an endpoint is left alone (SPEC 5.2), pure; words: admitting, refusing, probing. Must not: depend on deliveries.
use crate::dispatch::now::millis;
use crate::dispatch::retry::Sign;
use crate::settings::BreakerSettings;

/// The state of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Requests go through; so many failures in a row.
    Admitting(u32),
    /// Nothing goes through until this (steady) millisecond.
    Refusing(i64),
    /// One probe at a time goes through.
    Probing {
        /// One is on its way.
        under_way: bool,
    },
}

/// What the breaker says to the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerGate {
    /// Go.
    Open,
    /// Go, as a probe.
    Probe,
    /// Not before this (steady) millisecond.
    Until(i64),
    /// Not before the probe is back.
    AfterProbe,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Admitting(0)
    }
}

impl Breaker {
    /// May a request go?
    pub fn gate(&self, now: i64) -> BreakerGate {
        match *self {
            Self::Admitting(_) => BreakerGate::Open,
            Self::Refusing(until) if now < until => BreakerGate::Until(until),
            Self::Refusing(_) | Self::Probing { under_way: false } => BreakerGate::Probe,
            Self::Probing { under_way: true } => BreakerGate::AfterProbe,
        }
    }
    /// The probe that `gate` let through has begun.
    pub fn probe_begins(&mut self) {
        *self = Self::Probing { under_way: true };
    }
    /// An attempt has ended. Returns whether a failure is charged to the delivery: the failure that makes the
    /// endpoint refuse, failed probes, and what was still on its way when it began to refuse are the endpoint's.
    pub fn ended(&mut self, sign: Sign, probe: bool, settings: &BreakerSettings, now: i64) -> bool {
        match (sign, *self) {
            (Sign::Nothing, Self::Probing { .. }) if probe => {
                *self = Self::Probing { under_way: false };
                true
            }
            (Sign::Nothing, _) => true,
            (Sign::Answers, _) => {
                *self = Self::Admitting(0);
                true
            }
            (Sign::Fails, Self::Admitting(before)) => {
                let failures = before.saturating_add(1);
                let opens = settings.failures > 0 && failures >= settings.failures;
                *self = if opens { Self::refuse(settings, now) } else { Self::Admitting(failures) };
                !opens
            }
            (Sign::Fails, _) => {
                if probe {
                    *self = Self::refuse(settings, now);
                }
                false
            }
        }
    }
    /// The endpoint wishes to be left alone until then (`Retry-After`); while it refuses, that holds for its next probe too.
    pub fn asked_for(&mut self, until: i64) {
        if let Self::Refusing(at) = self {
            *at = until.max(*at);
        }
    }
    /// Is it left alone?
    pub fn is_refusing(&self) -> bool {
        !matches!(self, Self::Admitting(_))
    }

    fn refuse(settings: &BreakerSettings, now: i64) -> Self {
        Self::Refusing(now.saturating_add(millis(settings.open_for)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const FOUR: BreakerSettings = BreakerSettings { failures: 4, open_for: Duration::from_secs(30) };

    #[test]
    fn refuses_after_failures_in_a_row_and_charges_only_those_before() {
        let mut breaker = Breaker::default();
        for (sign, charged) in [
            (Sign::Fails, true),
            (Sign::Fails, true),
            (Sign::Fails, true),
            (Sign::Answers, true),
            (Sign::Fails, true),
            (Sign::Nothing, true),
            (Sign::Fails, true),
            (Sign::Fails, true),
            (Sign::Fails, false),
        ] {
            assert!(!breaker.is_refusing());
            assert_eq!(breaker.ended(sign, false, &FOUR, 100), charged);
        }
        assert_eq!(breaker, Breaker::Refusing(30_100));
        assert!(!breaker.ended(Sign::Fails, false, &FOUR, 200), "still on its way when it opened");
        assert_eq!(breaker, Breaker::Refusing(30_100), "and does not prolong it");
        assert_eq!(
            (breaker.gate(30_099), breaker.gate(30_100)),
            (BreakerGate::Until(30_100), BreakerGate::Probe)
        );
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let mut breaker = Breaker::Refusing(10);
        breaker.probe_begins();
        assert_eq!(breaker.gate(11), BreakerGate::AfterProbe);
        assert!(!breaker.ended(Sign::Fails, true, &FOUR, 12));
        assert_eq!(breaker, Breaker::Refusing(30_012));
        breaker.probe_begins();
        assert!(breaker.ended(Sign::Nothing, true, &FOUR, 13), "our own fault decides nothing");
        assert_eq!(breaker.gate(13), BreakerGate::Probe);
        breaker.probe_begins();
        assert!(breaker.ended(Sign::Answers, true, &FOUR, 14));
        assert_eq!(breaker, Breaker::Admitting(0));
        // an answer that was still on its way tells as much
        let mut breaker = Breaker::Refusing(10);
        assert!(breaker.ended(Sign::Answers, false, &FOUR, 5));
        assert_eq!(breaker.gate(5), BreakerGate::Open);
    }

    #[test]
    fn zero_is_off() {
        let off = BreakerSettings { failures: 0, ..FOUR };
        let mut breaker = Breaker::default();
        for _ in 0..1000 {
            assert!(breaker.ended(Sign::Fails, false, &off, 0));
        }
        assert_eq!(breaker.gate(0), BreakerGate::Open);
    }

    /// A fault of our own in a request that was on its way before tells nothing about the probe.
    #[test]
    fn only_the_probe_itself_ends_the_wait_for_it() {
        let mut breaker = Breaker::Refusing(10);
        breaker.probe_begins();
        assert!(breaker.ended(Sign::Nothing, false, &FOUR, 11), "and it is charged as ever");
        assert_eq!(breaker.gate(11), BreakerGate::AfterProbe);
        assert!(!breaker.ended(Sign::Fails, false, &FOUR, 12));
        assert_eq!(breaker.gate(12), BreakerGate::AfterProbe);
    }
}
