//! What a frame of the journal says. Knows the meaning, not the bytes (`codec`) nor the files (`journal`).
use crate::domain::{
    Attempt, DeliveryKey, Event, Lsn, NewDelivery, Next, Resource, Routed, Settled, Subscription,
    SubscriptionId, TenantId,
};
use bytes::Bytes;
use std::sync::Arc;

/// Which history we follow (SPEC 5.7): a slot of one cluster, and the memory that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `IDENTIFY_SYSTEM`'s system identifier.
    pub system_id: String,
    /// Timeline when last connected.
    pub timeline: u32,
    /// Database name.
    pub database: String,
    /// Slot name.
    pub slot: String,
    /// Publication name.
    pub publication: String,
    /// Random, made with the slot.
    pub epoch: [u8; 16],
    /// Canonical text of what the shadow remembers (`mapping::shadow`), one line a table.
    pub shadow_plan: String,
}

impl Identity {
    /// The epoch of a history of which frames were lost. Nothing is streamed on from it: capture reports a gap.
    pub const LOST: [u8; 16] = [0xFF; 16];
}

/// Idempotent answers are remembered this long.
pub(in crate::store) const REMEMBERED_MS: i64 = 24 * 3600 * 1000;

/// An answer to a request with an Idempotency-Key, kept for 24 hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    /// Whose.
    pub tenant: TenantId,
    /// Method and path and key.
    pub key: String,
    /// SHA-256 of the request's body.
    pub body_hash: [u8; 32],
    /// Status of the first answer.
    pub status: u16,
    /// Body of the first answer, secrets masked.
    pub answer: Bytes,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// One fact. A batch of them is one group of frames: all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first snapshot begins: a slot was or will be made, nothing is followed yet.
    Filling(Identity),
    /// The history that positions and shadow belong to; the first snapshot, if any, is complete.
    Identity(Identity),
    /// Everything committed up to here is in the journal.
    Position(Lsn),
    /// An event, body once.
    Event(Arc<Event>),
    /// A delivery of an event of the same batch.
    Delivery {
        /// Of which event (index into the batch's events is not stored: the id is).
        event: crate::domain::EventId,
        /// For which subscription.
        subscription: SubscriptionId,
        /// Its tenant and the id derived from event and subscription.
        key: DeliveryKey,
        /// The subscription's URL now.
        target_url: String,
    },
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
    /// A manual retry: pending again, attempts 0. Ignored unless failed or abandoned.
    Retried {
        /// Which delivery.
        key: DeliveryKey,
        /// Unix milliseconds: due now.
        at_ms: i64,
    },
    /// What the shadow remembers of a row; `None` forgets it.
    Shadow {
        /// `schema.table`
        table: Arc<str>,
        /// Encoded primary key.
        key: Bytes,
        /// Encoded tracked columns.
        columns: Option<Bytes>,
    },
    /// The shadow forgets a table (truncate).
    ShadowClear {
        /// `schema.table`
        table: Arc<str>,
    },
    /// A subscription as it is now (secret sealed).
    Subscription(Box<Subscription>),
    /// A subscription's row is gone.
    SubscriptionGone(SubscriptionId),
    /// All subscriptions' rows are gone (truncate).
    SubscriptionsCleared,
    /// An answer to remember.
    Idempotent(Box<Idempotent>),
}

impl Record {
    /// The event and then its deliveries, for one batch: all or nothing.
    pub fn routed(routed: Routed) -> impl Iterator<Item = Self> {
        let (event, deliveries) = routed.into_parts();
        let id = event.id;
        let delivery = move |NewDelivery { subscription, key, target_url }| Self::Delivery {
            event: id,
            subscription,
            key,
            target_url,
        };
        std::iter::once(Self::Event(event)).chain(deliveries.into_iter().map(delivery))
    }
}

impl From<Settled> for Record {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Attempted { key, attempt, next } => Self::Attempted { key, attempt, next },
            Settled::Abandoned { key, reason, at_ms } => Self::Abandoned { key, reason, at_ms },
        }
    }
}

/// Records that become durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order.
    pub records: Vec<Record>,
}

impl Batch {
    /// An event and nothing else yet.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }
    /// Nothing to write?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// The ordering key of a resource within a subscription's lane.
pub fn order_key(resource: Option<&Resource>) -> Option<u64> {
    let resource = resource?;
    let mut text = Vec::with_capacity(resource.kind.len() + resource.id.len() + 1);
    text.extend_from_slice(resource.kind.as_bytes());
    text.push(0);
    text.extend_from_slice(resource.id.as_bytes());
    Some(xxhash_rust::xxh3::xxh3_64(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resources of one id and different types are different resources; so are those whose texts only run together.
    #[test]
    fn an_ordering_key_is_of_type_and_id() {
        let named = [
            ("invoice", "7"),
            ("payment", "7"),
            ("invoice", "8"),
            ("invoice7", ""),
            ("", "invoice7"),
            ("i", "nvoice7"),
        ];
        let key = |(kind, id): (&str, &str)| {
            order_key(Some(&Resource { kind: kind.into(), id: id.into() })).unwrap()
        };
        let keys: std::collections::BTreeSet<u64> = named.into_iter().map(key).collect();
        assert_eq!(keys.len(), named.len());
        assert_eq!(order_key(None), None);
    }
}
