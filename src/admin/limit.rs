//! The API's own limit: a bucket a token, so that one program in a loop does not starve the others. Pure but for a lock.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Requests per second that a token may keep up.
const RATE: f64 = 200.0;
/// Requests that it may make at once.
const BURST: f64 = 1000.0;
/// Buckets kept; tokens come from the configuration, so this is never reached.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct CallerLimiter {
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl CallerLimiter {
    /// Takes one request from the token's bucket, or says how long to wait.
    pub(super) fn take(&self, token: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.clear();
        }
        let bucket = buckets.entry(token.to_string()).or_insert(Bucket { level: BURST, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        *bucket = Bucket { level: (bucket.level + passed * RATE).min(BURST), at: now };
        if bucket.level < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.level) / RATE));
        }
        bucket.level -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate_and_each_token_its_own() {
        let limiter = CallerLimiter::default();
        let now = Instant::now();
        assert!((0..1000).all(|_| limiter.take("a", now).is_ok()));
        assert!(limiter.take("a", now).is_err_and(|wait| wait <= Duration::from_millis(5)));
        assert!(limiter.take("b", now).is_ok());
        let later = now + Duration::from_millis(100);
        assert_eq!((0..100).filter(|_| limiter.take("a", later).is_ok()).count(), 20);
        assert_eq!(
            (0..2000).filter(|_| limiter.take("a", later + Duration::from_secs(3600)).is_ok()).count(),
            1000
        );
    }
}
