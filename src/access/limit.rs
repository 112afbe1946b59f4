//! Purpose: requests per second of a caller (governor's GCRA, a bucket a name), so that one program in a loop does not starve the
//! others. Must not: wait, read a clock, or grow with the number of names.
use crate::access::AccessRefusal;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Requests per second that a caller may keep up.
const RATE: u32 = 200;
/// Requests that it may make at once.
const BURST: u32 = 1000;
/// Buckets kept. Names come from the configuration today; beyond this, new ones share a bucket.
const MOST: usize = 10_000;
/// The bucket of all that have none of their own: no caller's name is empty.
const SHARED: &str = "";

/// A clock that shows what it was last told: `now` is an argument. Concurrent calls may tell it out of order.
#[derive(Debug, Clone, Default)]
struct CallerClock(Arc<AtomicU64>);

impl Clock for CallerClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// All callers' buckets.
#[derive(Debug)]
pub struct CallerLimiter {
    buckets: RateLimiter<String, HashMapStateStore<String>, CallerClock, NoOpMiddleware<Duration>>,
    clock: CallerClock,
    began: Instant,
}

impl CallerLimiter {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        let rate = NonZeroU32::new(RATE).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(NonZeroU32::new(BURST).unwrap_or(rate));
        let clock = CallerClock::default();
        Self { buckets: RateLimiter::hashmap_with_clock(quota, clock.clone()), clock, began: now }
    }

    /// Takes one request from the caller's bucket, or says how long to wait.
    pub fn take(&self, caller: &str, now: Instant) -> Result<(), AccessRefusal> {
        let nanos = now.saturating_duration_since(self.began).as_nanos();
        self.clock.0.fetch_max(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.buckets.len() >= MOST {
            // who has not asked for a while is forgotten: a bucket that is full again is as good as none
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
        let own = self.buckets.len() < MOST;
        let taken = self.buckets.check_key(&if own { caller } else { SHARED }.to_owned());
        taken.map_err(|not_until| AccessRefusal::TooMany(not_until.wait_time_from(self.clock.now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate_and_each_caller_its_own() {
        let now = Instant::now();
        let limiter = CallerLimiter::new(now);
        assert!((0..1000).all(|_| limiter.take("a", now).is_ok()));
        let refused = limiter.take("a", now);
        assert!(
            matches!(refused, Err(AccessRefusal::TooMany(wait)) if wait <= Duration::from_millis(5)),
            "{refused:?}"
        );
        assert!(limiter.take("b", now).is_ok());
        let later = now + Duration::from_millis(100);
        assert_eq!((0..100).filter(|_| limiter.take("a", later).is_ok()).count(), 20);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!((0..2000).filter(|_| limiter.take("a", much_later).is_ok()).count(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_without_number_take_no_memory_without_number() {
        let now = Instant::now();
        let limiter = CallerLimiter::new(now);
        for n in 0..MOST + 500 {
            assert!(limiter.take(&n.to_string(), now).is_ok());
        }
        assert!(limiter.buckets.len() <= MOST + 1);
        assert!((0..1000).any(|n| limiter.take(&format!("new {n}"), now).is_err()), "they share one bucket");
        let later = now + Duration::from_secs(3600);
        assert!(limiter.take("later", later).is_ok());
        assert_eq!(limiter.buckets.len(), 1, "the others are forgotten");
    }
}
