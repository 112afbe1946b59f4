//! Faults on purpose, in debug builds alone: named crash points, planted faults that the tests must catch, and smaller numbers.
//! A release build has none of them, whatever the environment says. Knows no stage.
#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Aborts the process here, as a kill would: `TAILHOOK_CRASH_AT=name` at the first time, `name:3` at the third.
/// `tests/torture` reads the names out of the source and crashes at each.
#[inline]
pub fn crash_point(name: &'static str) {
    #[cfg(debug_assertions)]
    {
        static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        static HITS: AtomicU64 = AtomicU64::new(0);
        let wanted = WANTED.get_or_init(|| std::env::var("TAILHOOK_CRASH_AT").ok().map(|text| parse(&text)));
        if let Some((point, hit)) = wanted
            && point == name
            && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *hit
        {
            eprintln!("crash point {name} reached by process {}: abort", std::process::id());
            std::process::abort();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Is this fault planted (`TAILHOOK_PLANTED=name`)? Each is caught by a test that plants it, or that test is worth nothing.
#[inline]
pub fn planted(name: &'static str) -> bool {
    #[cfg(debug_assertions)]
    {
        static PLANTED: OnceLock<Option<String>> = OnceLock::new();
        PLANTED.get_or_init(|| std::env::var("TAILHOOK_PLANTED").ok()).as_deref() == Some(name)
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

#[cfg(debug_assertions)]
fn parse(text: &str) -> (String, u64) {
    match text.rsplit_once(':') {
        Some((name, hit)) => (name.to_owned(), hit.parse().unwrap_or(1)),
        None => (text.to_owned(), 1),
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_crash_point_names_its_hit() {
        assert_eq!(parse("store.synced"), ("store.synced".to_owned(), 1));
        assert_eq!(parse("store.synced:3"), ("store.synced".to_owned(), 3));
    }
}

/// A number from the environment in place of the real one, so that a test meets in seconds what takes a day.
#[inline]
pub fn instead(name: &'static str, real: u64) -> u64 {
    #[cfg(debug_assertions)]
    if let Some(number) = std::env::var(name).ok().and_then(|text| text.parse().ok()) {
        return number;
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
    real
}
