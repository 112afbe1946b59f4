//! Purpose: requests per second of one endpoint (governor's GCRA on our clock). It delays; it never fails. Must not: depend on
//! deliveries.
use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MS: u64 = 1_000_000;

/// Nanoseconds of the scheduler's steady clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Steady(u64);

impl Add<Nanos> for Steady {
    type Output = Self;
    fn add(self, nanos: Nanos) -> Self {
        Self(self.0.saturating_add(nanos.as_u64()))
    }
}
impl Reference for Steady {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }
    fn saturating_sub(&self, nanos: Nanos) -> Self {
        Self(self.0.checked_sub(nanos.as_u64()).unwrap_or(self.0))
    }
}

/// A clock that shows what it was last told: the scheduler is pure, `now` is an argument.
#[derive(Debug, Clone, Default)]
struct LimiterClock(Arc<AtomicU64>);

impl Clock for LimiterClock {
    type Instant = Steady;
    fn now(&self) -> Steady {
        Steady(self.0.load(Ordering::Relaxed))
    }
}

/// One endpoint's limit.
#[derive(Debug)]
pub struct EndpointLimiter {
    inner: RateLimiter<NotKeyed, InMemoryState, LimiterClock, NoOpMiddleware<Steady>>,
    clock: LimiterClock,
    rate: u32,
}

impl EndpointLimiter {
    /// `rate` requests per second, `burst` at once (at least one); `None`: no limit.
    pub fn new(rate: u32, burst: u32, now: i64) -> Option<Self> {
        let per_second = NonZeroU32::new(rate)?;
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let clock = LimiterClock::default();
        clock.0.store(nanos(now), Ordering::Relaxed);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Some(Self { inner: RateLimiter::direct_with_clock(quota, clock.clone()), clock, rate })
    }
    /// Takes one request's place, or says from which (steady) millisecond there is one.
    pub fn take(&self, now: i64) -> Result<(), i64> {
        self.clock.0.store(nanos(now), Ordering::Relaxed);
        self.inner.check().map_err(|not_until| {
            let at = not_until.earliest_possible().0.div_ceil(MS);
            i64::try_from(at).unwrap_or(i64::MAX).max(now + 1)
        })
    }
    /// Requests per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }
}

fn nanos(ms: i64) -> u64 {
    (ms.max(0) as u64).saturating_mul(MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_the_burst_and_then_the_rate_through() {
        for (rate, burst) in [(10, 5), (1, 1), (1000, 1), (3000, 100), (7, 0)] {
            let limiter = EndpointLimiter::new(rate, burst, 1_000).unwrap();
            let mut now = 1_000;
            let mut taken = 0_i64;
            while now < 11_000 {
                match limiter.take(now) {
                    Ok(()) => taken += 1,
                    Err(at) => {
                        assert!(at > now);
                        now = at;
                    }
                }
            }
            let expected = i64::from(burst.max(1)) + 10 * i64::from(rate);
            assert!(
                (taken - expected).abs() <= 1 + i64::from(rate) / 100,
                "{rate}/{burst}: {taken}, {expected}"
            );
        }
        assert!(EndpointLimiter::new(0, 5, 0).is_none());
    }

    #[test]
    fn a_pause_does_not_save_up_more_than_the_burst() {
        let limiter = EndpointLimiter::new(10, 3, 0).unwrap();
        let burst = |now| (0..100).take_while(|_| limiter.take(now).is_ok()).count();
        assert_eq!((burst(0), burst(1_000_000)), (3, 3));
        assert_eq!(limiter.take(1_000_000), Err(1_000_100));
    }
}
