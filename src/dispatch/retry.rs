//! Purpose: what follows an attempt (SPEC 5.2, 5.3, profile `classic`), pure. Must not: depend on lanes, endpoints or a clock.
use crate::dispatch::now::millis;
use crate::domain::{Failure, Outcome};
use crate::settings::DispatchSettings;

/// Longest wait after a fault of our own: it passes without anybody else's doing.
const LOCAL_MAX_MS: i64 = 60_000;

/// What an outcome says about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answers (2xx, 3xx, 4xx).
    Answers,
    /// Timeout, connection error, 5xx.
    Fails,
    /// Nothing: our own fault, or never asked.
    Nothing,
}

/// Reads the sign.
pub fn sign(outcome: &Outcome) -> Sign {
    match outcome.answer {
        Ok(status) if status < 500 => Sign::Answers,
        Err(Failure::Local | Failure::Guard) => Sign::Nothing,
        _ => Sign::Fails,
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryVerdict {
    /// Ended well.
    Delivered,
    /// Ended badly.
    Failed,
    /// Tried again after this many milliseconds.
    Retry(i64),
}

/// A verdict, and whether the attempt used up a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// What follows.
    pub verdict: RetryVerdict,
    /// Used up a retry?
    pub counted: bool,
}

/// Judges an attempt. `counted` and `attempts` are those before it; `charged` is false when the breaker takes a
/// failure upon the endpoint; `jitter` is in [0, 1).
pub fn judge(
    outcome: &Outcome,
    counted: u32,
    attempts: u32,
    charged: bool,
    settings: &DispatchSettings,
    jitter: f64,
) -> Judged {
    let retry = |wait: i64, counted| Judged { verdict: RetryVerdict::Retry(wait), counted };
    match outcome.answer {
        Ok(100..=399) => Judged { verdict: RetryVerdict::Delivered, counted: true },
        // A refused address will be refused again: an operator is needed, or it is an attack.
        Ok(400..=499) | Err(Failure::Guard) => Judged { verdict: RetryVerdict::Failed, counted: true },
        Err(Failure::Local) => {
            retry(wait_ms(attempts.saturating_add(1), None, settings, jitter).min(LOCAL_MAX_MS), false)
        }
        _ if !charged => retry(wait_ms(counted.max(1), outcome.retry_after_ms, settings, jitter), false),
        _ if counted >= settings.max_retries => Judged { verdict: RetryVerdict::Failed, counted: true },
        _ => retry(wait_ms(counted.saturating_add(1), outcome.retry_after_ms, settings, jitter), true),
    }
}

/// Retry n waits base·factorⁿ⁻¹, at most `max`; a longer `Retry-After` is honoured up to `max`; jitter is added.
fn wait_ms(n: u32, retry_after_ms: Option<u64>, settings: &DispatchSettings, jitter: f64) -> i64 {
    let backoff = &settings.backoff;
    let max = millis(backoff.max) as f64;
    let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = (millis(backoff.base) as f64 * backoff.factor.powi(exponent)).min(max);
    let asked = (retry_after_ms.unwrap_or(0) as f64).min(max);
    let wait = grown.max(asked);
    (wait * (1.0 + backoff.jitter * jitter)).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(answer: Result<u16, Failure>, retry_after_ms: Option<u64>) -> Outcome {
        Outcome { answer, detail: None, retry_after_ms, duration_us: 0 }
    }

    #[test]
    fn the_classic_profile() {
        use RetryVerdict::{Delivered, Failed, Retry};
        let settings = DispatchSettings::default();
        for (answer, retry_after, counted, charged, verdict, uses) in [
            (Ok(200), None, 0, true, Delivered, true),
            (Ok(204), None, 3, true, Delivered, true),
            (Ok(302), None, 0, true, Delivered, true),
            (Ok(400), None, 0, true, Failed, true),
            (Ok(410), None, 0, true, Failed, true),
            (Ok(429), Some(5_000), 0, true, Failed, true),
            (Ok(500), None, 0, true, Retry(2_000), true),
            (Ok(599), None, 1, true, Retry(4_000), true),
            (Ok(999), None, 2, true, Retry(8_000), true),
            (Ok(500), None, 3, true, Failed, true),
            (Ok(503), Some(60_000), 0, true, Retry(60_000), true),
            (Ok(503), Some(500), 0, true, Retry(2_000), true),
            (Ok(503), Some(u64::MAX), 0, true, Retry(3_600_000), true),
            (Err(Failure::Timeout), None, 0, true, Retry(2_000), true),
            (Err(Failure::Connection), None, 2, true, Retry(8_000), true),
            (Err(Failure::Dns), None, 3, true, Failed, true),
            (Err(Failure::Tls), None, 0, true, Retry(2_000), true),
            (Err(Failure::Protocol), None, 0, true, Retry(2_000), true),
            (Err(Failure::Guard), None, 0, true, Failed, true),
            (Err(Failure::Local), None, 3, true, Retry(16_000), false),
            // the endpoint's fault: never counted, however often
            (Ok(500), None, 0, false, Retry(2_000), false),
            (Ok(500), None, 3, false, Retry(8_000), false),
            (Err(Failure::Timeout), None, 9, false, Retry(512_000), false),
            // whoever is charged, `Retry-After` is honoured
            (Ok(503), Some(60_000), 0, false, Retry(60_000), false),
            (Ok(503), Some(500), 2, false, Retry(4_000), false),
            (Ok(503), Some(u64::MAX), 9, false, Retry(3_600_000), false),
            // an answer ends it, whoever is charged
            (Ok(200), None, 3, false, Delivered, true),
            (Ok(404), None, 0, false, Failed, true),
        ] {
            let judged = judge(&outcome(answer, retry_after), counted, counted, charged, &settings, 0.0);
            assert_eq!(judged, Judged { verdict, counted: uses }, "{answer:?} {counted} {charged}");
        }
    }

    #[test]
    fn jitter_is_only_added_and_waits_are_bounded() {
        let settings = DispatchSettings::default();
        let wait = |n, jitter| wait_ms(n, None, &settings, jitter);
        assert_eq!((wait(1, 0.0), wait(1, 0.5), wait(1, 0.999)), (2_000, 2_100, 2_200));
        assert_eq!((wait(12, 0.0), wait(u32::MAX, 0.0)), (3_600_000, 3_600_000));
        let local = judge(&outcome(Err(Failure::Local), None), 0, u32::MAX, true, &settings, 0.9);
        assert_eq!(local.verdict, RetryVerdict::Retry(LOCAL_MAX_MS));
        let none = DispatchSettings { max_retries: 0, ..DispatchSettings::default() };
        assert_eq!(judge(&outcome(Ok(500), None), 0, 0, true, &none, 0.0).verdict, RetryVerdict::Failed);
    }

    #[test]
    fn signs() {
        for (answer, expected) in [
            (Ok(200), Sign::Answers),
            (Ok(404), Sign::Answers),
            (Ok(500), Sign::Fails),
            (Err(Failure::Timeout), Sign::Fails),
            (Err(Failure::Dns), Sign::Fails),
            (Err(Failure::Guard), Sign::Nothing),
            (Err(Failure::Local), Sign::Nothing),
        ] {
            assert_eq!(sign(&outcome(answer, None)), expected, "{answer:?}");
        }
    }
}
