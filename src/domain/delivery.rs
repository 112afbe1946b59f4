//! One event for one subscription: its state and what became of its attempts. Pure; knows no clock.
use super::{EventId, EventName, Lsn, Seq, SubscriptionId, TenantId, event::derived_uuid};
use std::fmt;
use uuid::Uuid;

/// A delivery's id: a pure function of event and subscription, so a replay writes the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub Uuid);

impl DeliveryId {
    /// The delivery of `event` for `subscription`. It begins with the event's time, 48 bits of milliseconds and, after the
    /// version, 12 of their fraction (RFC 9562, 6.2, method 3): lists are in this order.
    pub fn derive(event: EventId, subscription: SubscriptionId, timestamp_us: i64) -> Self {
        let derived =
            derived_uuid(timestamp_us.div_euclid(1000), &[event.0.as_bytes(), subscription.0.as_bytes()]);
        let mut bytes = derived.into_bytes();
        let fraction = timestamp_us.rem_euclid(1000) * 4096 / 1000;
        bytes[6..8].copy_from_slice(&(fraction as u16).to_be_bytes());
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}
impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the store finds a delivery: a tenant never sees another's, even by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: DeliveryId,
}

/// `X-Event-Sequence`: commit LSN and number in the transaction; later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence {
    /// Commit LSN.
    pub lsn: Lsn,
    /// Number in the transaction, from 0.
    pub number: u32,
}
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08}", self.lsn.0, self.number)
    }
}

/// SPEC 5.1. `Sending` is never stored: what was in flight at a crash is pending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Waiting, or waiting to retry.
    Pending,
    /// An attempt is under way.
    Sending,
    /// Accepted by the receiver.
    Delivered,
    /// Refused, or out of retries.
    Failed,
    /// Expired, crowded out, or its subscription was deleted.
    Abandoned,
}

impl Status {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Sending => "SENDING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
            Self::Abandoned => "ABANDONED",
        }
    }
    /// Nothing more is owed.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Abandoned)
    }
}

/// What a list may be filtered by; accepted in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterStatus {
    /// Exactly this one.
    Is(Status),
    /// `PENDING` with at least one attempt.
    Retrying,
}
impl FilterStatus {
    /// Reads a word of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "PENDING" => Self::Is(Status::Pending),
            "SENDING" => Self::Is(Status::Sending),
            "DELIVERED" => Self::Is(Status::Delivered),
            "FAILED" => Self::Is(Status::Failed),
            "ABANDONED" => Self::Is(Status::Abandoned),
            "RETRYING" => Self::Retrying,
            _ => return None,
        })
    }
}

/// Why no usable answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The attempt's deadline passed, body included.
    Timeout,
    /// Name not resolved.
    Dns,
    /// Connection refused, reset or unreachable.
    Connection,
    /// TLS handshake or certificate.
    Tls,
    /// The guard refused the URL or an address.
    Guard,
    /// The answer was no HTTP.
    Protocol,
    /// Our own side: no descriptors, no resolver, a secret that cannot be opened. Charged to nobody.
    Local,
}
impl Failure {
    /// The word for metrics and `last_error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Guard => "guard",
            Self::Protocol => "protocol",
            Self::Local => "local",
        }
    }
}

/// What one HTTP attempt taught us. Data, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status, or why there was none.
    pub answer: Result<u16, Failure>,
    /// One line for people; never a secret or a payload of ours.
    pub detail: Option<String>,
    /// `Retry-After` of the answer, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// One attempt on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `X-Attempt`: 1, 2, …
    pub number: u32,
    /// When it began, Unix milliseconds.
    pub at_ms: i64,
    /// What came of it.
    pub outcome: Outcome,
    /// False: the endpoint's fault alone (breaker, probe, our own side); no retry was used up.
    pub counted: bool,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ended well.
    Delivered,
    /// Ended badly.
    Failed,
    /// Pending again, due at this Unix millisecond.
    RetryAt(i64),
}

/// A delivery as it stands, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Tenant and id.
    pub key: DeliveryKey,
    /// Of which event.
    pub event_id: EventId,
    /// Its name.
    pub event: EventName,
    /// `resource_type`, `resource_id`.
    pub resource: Option<super::Resource>,
    /// For which subscription.
    pub subscription: SubscriptionId,
    /// The URL when it was made or last attempted.
    pub target_url: String,
    /// State.
    pub status: Status,
    /// Attempts that used up a retry; back to 0 by a manual retry.
    pub counted_attempts: u32,
    /// All attempts since the last manual retry (`attempts` in the API, and `X-Attempt`).
    pub attempts: u32,
    /// The newest attempts on record, at most 20.
    pub log: Vec<Attempt>,
    /// Why it failed last or was abandoned.
    pub last_error: Option<String>,
    /// When it is due, Unix milliseconds; meaningful while pending.
    pub due_ms: i64,
    /// Unix microseconds of the event.
    pub created_us: i64,
    /// Unix microseconds of the last change.
    pub updated_us: i64,
}

/// What became of a delivery, to be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// An attempt was made.
    Attempted {
        /// Of which delivery.
        key: DeliveryKey,
        /// What came of it.
        attempt: Attempt,
        /// What follows.
        next: Next,
    },
    /// Given up without an attempt.
    Abandoned {
        /// Which delivery.
        key: DeliveryKey,
        /// One line for people.
        reason: String,
        /// Unix milliseconds.
        at_ms: i64,
    },
}

/// Where an event's body lies. Opaque: only the store that gave it reads it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct BodyPlace(pub(crate) [u8; 24]);

impl fmt::Debug for BodyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyPlace")
    }
}

/// What the scheduler needs to know of a delivery that is still owed; small on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Tenant and id.
    pub key: DeliveryKey,
    /// Of which event.
    pub event_id: EventId,
    /// Where its body lies.
    pub place: BodyPlace,
    /// For which subscription: the lane it waits in.
    pub subscription: SubscriptionId,
    /// What it is ordered by within its lane (hash of the resource); `None`: unordered.
    pub order: Option<u64>,
    /// Its place in the lane.
    pub seq: Seq,
    /// When it is due, Unix milliseconds.
    pub due_ms: i64,
    /// Attempts that used up a retry.
    pub counted_attempts: u32,
    /// Attempts in all; the next one carries this plus one in `X-Attempt`.
    pub attempts: u32,
    /// Unix microseconds of the event; `delivery.expire_after` counts from here.
    pub created_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_time_to_the_microsecond() {
        let id = |n: u128, us| {
            let event = EventId(Uuid::from_u128(n));
            DeliveryId::derive(event, SubscriptionId(Uuid::from_u128(n)), us)
        };
        let now = 1_764_000_000_123_456;
        for n in 0..1000 {
            assert!(id(n, now + 1) > id(n + 1, now));
            assert!(id(n, now + 544) > id(n + 1, now + 543), "into the next millisecond");
        }
        assert_eq!((id(1, now), id(1, now).0.get_version_num()), (id(1, now), 8));
        assert_ne!(id(1, now), id(2, now));
    }
}
