//! A business fact: its name, its id, its frozen body. Knows neither rows nor receivers.
use super::{Sequence, TenantId};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// An event's id: UUID version 8 when derived from a change, 7 when posted (SPEC 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// UUID version 8: 48 bits of Unix milliseconds, the rest from SHA-256 over length-prefixed `parts`.
pub fn derived_uuid(unix_ms: i64, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&digest[..10]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// `^[a-z][a-z0-9_]*(\.[a-z0-9_]+){1,3}$`, 1–100 characters (SPEC 4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

impl EventName {
    /// Trims, lower-cases and checks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim().to_lowercase();
        let segments: Vec<&str> = name.split('.').collect();
        let word =
            |s: &&str| !s.is_empty() && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let fits = name.len() <= 100
            && (2..=4).contains(&segments.len())
            && segments.iter().all(word)
            && name.starts_with(|c: char| c.is_ascii_lowercase());
        if fits {
            Ok(Self(name.into()))
        } else {
            Err(format!(
                "'{name}' is no event name (like 'invoice.created': 2 to 4 lower-case words joined by dots, at most 100 characters)"
            ))
        }
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The part before the first dot: the default resource type.
    pub fn first_segment(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}
impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What a subscription asks for: a name, `resource.*`, or `*` (which leaves out `webhook.*`; SPEC 4, 6).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// Everything but `webhook.*`.
    Any,
    /// All events below a prefix; holds it with its dot: `invoice.`.
    Prefix(String),
    /// One event.
    Exact(EventName),
}

impl Pattern {
    /// Reads a pattern, trimmed and lower-cased.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().to_lowercase();
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_suffix(".*") {
            // "x" stands for the segment that the star replaces
            Some(prefix) => {
                EventName::parse(&format!("{prefix}.x")).map(|_| Self::Prefix(format!("{prefix}.")))
            }
            None => EventName::parse(&text).map(Self::Exact),
        }
        .map_err(|_| format!("'{text}' is no event name or pattern ('invoice.created', 'invoice.*' or '*')"))
    }
    /// Does the pattern ask for this event?
    pub fn matches(&self, name: &EventName) -> bool {
        match self {
            Self::Any => !name.as_str().starts_with("webhook."),
            Self::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
            Self::Exact(exact) => exact == name,
        }
    }
}
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => name.fmt(f),
        }
    }
}

/// What the event is about; deliveries of one resource are ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// `invoice`
    pub kind: String,
    /// The primary key, joined by "," (or what the rule says).
    pub id: String,
}

/// A business fact with its body as it will be sent, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Id, also in the body and in `webhook-id`.
    pub id: EventId,
    /// Name.
    pub name: EventName,
    /// Whose.
    pub tenant: TenantId,
    /// About what; `None`: unordered.
    pub resource: Option<Resource>,
    /// Commit time (or time of acceptance) in Unix microseconds.
    pub timestamp_us: i64,
    /// Place in the commit order.
    pub sequence: Sequence,
    /// The whole wire body (SPEC 4), frozen.
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for good in ["invoice.created", " Invoice.Created ", "a.b.c.d", "stock_item.low_2"] {
            assert!(EventName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "invoice", "1a.b", "a.b.c.d.e", "a..b", "a.b-c", "_a.b", "á.b", &"a.b".repeat(40)] {
            assert!(EventName::parse(bad).is_err(), "{bad}");
        }
        let name = |text| EventName::parse(text).unwrap();
        for (pattern, event, matches) in [
            ("*", "invoice.created", true),
            ("*", "webhook.suspended", false),
            ("webhook.*", "webhook.suspended", true),
            ("invoice.*", "invoice.created", true),
            ("invoice.*", "invoices.created", false),
            ("invoice.created", "invoice.created", true),
            ("invoice.created", "invoice.sent", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(&name(event)), matches, "{pattern} {event}");
        }
        assert!(Pattern::parse("*.created").is_err());
        assert_eq!(Pattern::parse("Invoice.*").unwrap().to_string(), "invoice.*");
    }

    #[test]
    fn a_derived_uuid_is_a_pure_function_and_carries_the_time() {
        let id = derived_uuid(0x0192_F0C1_0000, &[b"ab", b"c"]);
        assert_eq!(id, derived_uuid(0x0192_F0C1_0000, &[b"ab", b"c"]));
        assert_ne!(id, derived_uuid(0x0192_F0C1_0000, &[b"a", b"bc"]));
        assert_eq!(id.get_version_num(), 8);
        assert!(id.to_string().starts_with("0192f0c1-0000-8"));
    }
}
