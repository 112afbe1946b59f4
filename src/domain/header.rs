//! Which request headers a subscription may not set. One list: what the API refuses is what the sender would drop.

/// Headers of the contract (SPEC 4), and those that frame, route or date an HTTP message.
const RESERVED: [&str; 25] = [
    "accept-encoding",
    "alt-used",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-attempt",
    "x-delivery-id",
    "x-event",
    "x-event-sequence",
    "x-signature",
];
/// Of the Standard Webhooks, today's and later ones.
const RESERVED_PREFIX: &str = "webhook-";

/// Is this header set by the sender itself? Compared without case.
pub fn is_reserved(name: &str) -> bool {
    let ours = name.get(..RESERVED_PREFIX.len()).is_some_and(|p| p.eq_ignore_ascii_case(RESERVED_PREFIX));
    ours || RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        for reserved in ["Host", "HTTP2-Settings", "Webhook-Id", "webhook-anything", "x-signature"] {
            assert!(is_reserved(reserved), "{reserved}");
        }
        for free in ["authorization", "cookie", "x-api-key", "webhook", "wébhook-id", ""] {
            assert!(!is_reserved(free), "{free}");
        }
    }
}
