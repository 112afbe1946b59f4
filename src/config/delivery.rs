//! Reads `[delivery]` with its inline tables.
use super::section::Section;
use crate::domain::Ordering;
use crate::settings::{
    BackoffSettings, BreakerSettings, DispatchSettings, EgressSettings, EnvelopeSettings, PerEndpoint,
};

/// No list is longer.
pub(super) const MANY: u64 = 1_000_000_000_000;

/// Reads the section; what it says of the envelope and of the request goes where it belongs.
pub(super) fn read(
    section: Section<'_>,
    envelope: &mut EnvelopeSettings,
    egress: &mut EgressSettings,
) -> DispatchSettings {
    let defaults = DispatchSettings::default();
    if section.choice("profile", false, &[("classic", false), ("standard", true)]) {
        section.not_yet("profile", "only \"classic\" is there");
    }
    if section.has("suspend_after") {
        section.not_yet("suspend_after", "subscriptions are not suspended by themselves");
    }
    let orderings =
        [("resource", Ordering::Resource), ("endpoint", Ordering::Endpoint), ("none", Ordering::None)];
    egress.user_agent = section.text("user_agent", &egress.user_agent);
    envelope.source = section.text("source", &envelope.source);
    envelope.max_payload = section.size("max_payload", envelope.max_payload as u64) as usize;
    let dispatch = DispatchSettings {
        timeout: section.duration("timeout", defaults.timeout),
        max_retries: section.whole("max_retries", defaults.max_retries.into(), 0..=1000) as u32,
        backoff: backoff(section.section("backoff"), defaults.backoff),
        expire_after: section.duration("expire_after", defaults.expire_after),
        max_pending: section.whole("max_pending", defaults.max_pending, 1..=MANY),
        ordering: section.choice("ordering", defaults.ordering, &orderings),
        concurrency: section.whole("concurrency", defaults.concurrency as u64, 1..=65_536) as usize,
        per_endpoint: per_endpoint(section.section("per_endpoint"), defaults.per_endpoint),
        breaker: breaker(section.section("breaker"), defaults.breaker),
    };
    if !is_header_value(&egress.user_agent) {
        section.problem("user_agent", "cannot be a header; use visible ASCII characters and spaces");
    }
    section.finish();
    dispatch
}

fn backoff(section: Section<'_>, defaults: BackoffSettings) -> BackoffSettings {
    let backoff = BackoffSettings {
        base: section.duration("base", defaults.base),
        factor: section.real("factor", defaults.factor, 1.0..=1000.0),
        max: section.duration("max", defaults.max),
        jitter: section.real("jitter", defaults.jitter, 0.0..=1.0),
    };
    if backoff.base > backoff.max {
        section.problem("max", "is shorter than base; raise max or lower base");
    }
    section.finish();
    backoff
}

fn per_endpoint(section: Section<'_>, defaults: PerEndpoint) -> PerEndpoint {
    let limits = PerEndpoint {
        concurrency: section.whole("concurrency", defaults.concurrency as u64, 1..=65_536) as usize,
        rate: section.whole("rate", defaults.rate.into(), 0..=1_000_000) as u32,
        burst: section.whole("burst", defaults.burst.into(), 1..=1_000_000) as u32,
    };
    section.finish();
    limits
}

fn breaker(section: Section<'_>, defaults: BreakerSettings) -> BreakerSettings {
    let breaker = BreakerSettings {
        failures: section.whole("failures", defaults.failures.into(), 0..=1001) as u32,
        open_for: section.duration("open_for", defaults.open_for),
    };
    section.finish();
    breaker
}

/// Whether text can stand in a header.
pub(super) fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text
}
