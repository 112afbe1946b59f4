//! The index's keys: a letter, then what makes a range scan answer a question. Knows no values.
//!
//! | key | value |
//! | --- | --- |
//! | `d` tenant hash, delivery id | a delivery (`entry`); ids begin with their milliseconds, so a tenant's range is in time order |
//! | `h` table hash, row key | what the shadow remembers |
//! | `i` hash of tenant and key | an idempotent answer |
//! | `m` … | applied frame, history, cleared tables |
//! | `o` subscription, order, seq | nothing: pending deliveries of one resource, in order |
//! | `p` subscription, seq | what is pending, in order |
//! | `s` subscription | a subscription |
use crate::domain::{DeliveryId, DeliveryKey, Seq, SubscriptionId, TenantId};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The frame up to which the index holds what the journal says.
pub(in crate::store) const APPLIED: &[u8] = b"ma";
/// Identity, filling, position.
pub(in crate::store) const HISTORY: &[u8] = b"mh";
/// Of everything that outlives the journal's segments: what a checkpoint holds. `(from, to)` ranges.
pub(in crate::store) const LONG_LIVED: [(&[u8], &[u8]); 4] =
    [(b"h", b"i"), (b"i", b"j"), (b"mb", b"n"), (b"s", b"t")];

pub(in crate::store) fn delivery(key: &DeliveryKey) -> Vec<u8> {
    delivery_at(&key.tenant, *key.id.0.as_bytes())
}

/// The place of an id, or of a bound between ids, in a tenant's range.
pub(in crate::store) fn delivery_at(tenant: &TenantId, id: [u8; 16]) -> Vec<u8> {
    join(b'd', &[&hash(tenant.as_str()), &id])
}

/// The lowest id of a Unix millisecond.
pub(in crate::store) fn id_floor(unix_ms: i64) -> [u8; 16] {
    let mut id = [0; 16];
    let ms = unix_ms.clamp(0, (1 << 48) - 1);
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id
}

/// The id at the end of a delivery's key.
pub(in crate::store) fn delivery_id(key: &[u8]) -> Option<DeliveryId> {
    let (_, id) = key.split_last_chunk::<16>()?;
    Some(DeliveryId(Uuid::from_bytes(*id)))
}

pub(in crate::store) fn pending(lane: SubscriptionId, seq: Seq) -> Vec<u8> {
    let (major, minor) = seq.parts();
    join(b'p', &[lane.0.as_bytes(), &major.to_be_bytes(), &minor.to_be_bytes()])
}

/// The lane of a pending key.
pub(in crate::store) fn lane(key: &[u8]) -> Option<SubscriptionId> {
    let lane = key.get(1..)?.first_chunk::<16>()?;
    Some(SubscriptionId(Uuid::from_bytes(*lane)))
}

/// The place at the end of a pending or an order key.
pub(in crate::store) fn seq(key: &[u8]) -> Option<Seq> {
    let (rest, minor) = key.split_last_chunk::<4>()?;
    let (_, major) = rest.split_last_chunk::<8>()?;
    Some(Seq::new(u64::from_be_bytes(*major), u32::from_be_bytes(*minor)))
}

pub(in crate::store) fn order(lane: SubscriptionId, order: u64, seq: Seq) -> Vec<u8> {
    let (major, minor) = seq.parts();
    join(b'o', &[lane.0.as_bytes(), &order.to_be_bytes(), &major.to_be_bytes(), &minor.to_be_bytes()])
}

/// A row's key that is longer (Postgres allows it where it compresses well) stands there as its SHA-256.
const LONG: usize = 1024;

pub(in crate::store) fn shadow(table: &str, row: &[u8]) -> Vec<u8> {
    if row.len() > LONG {
        return join(b'h', &[&hash(table), b"sha256", &Sha256::digest(row)]);
    }
    join(b'h', &[&hash(table), row])
}

/// The table's part of a shadow key.
pub(in crate::store) fn shadow_table(key: &[u8]) -> Option<[u8; 8]> {
    key.get(1..)?.first_chunk::<8>().copied()
}

/// When a table was last forgotten.
pub(in crate::store) fn cleared(table: [u8; 8]) -> Vec<u8> {
    join(b'm', &[b"c", &table])
}

pub(in crate::store) fn hash(text: &str) -> [u8; 8] {
    xxh3_64(text.as_bytes()).to_be_bytes()
}

pub(in crate::store) fn idempotent(tenant: &TenantId, key: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(tenant.as_str().len() + key.len() + 1);
    text.extend_from_slice(tenant.as_str().as_bytes());
    text.push(0);
    text.extend_from_slice(key.as_bytes());
    join(b'i', &[&xxh3_128(&text).to_be_bytes()])
}

pub(in crate::store) fn subscription(id: SubscriptionId) -> Vec<u8> {
    join(b's', &[id.0.as_bytes()])
}

/// Is it a subscription's key?
pub(in crate::store) fn is_subscription(key: &[u8]) -> bool {
    key.first() == Some(&b's')
}

/// The first key after all that begin with `key`'s bytes and go on.
pub(in crate::store) fn successor(key: &[u8]) -> Vec<u8> {
    join_bytes(key, &[0])
}

fn join(letter: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    key.push(letter);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn join_bytes(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(a.len() + b.len());
    key.extend_from_slice(a);
    key.extend_from_slice(b);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_they_are_made_of() {
        let lane_id = SubscriptionId(Uuid::from_u128(7));
        let id = DeliveryId(Uuid::from_u128(0x0192_F0C1_0000_8000_0000_0000_0000_0001));
        let key = DeliveryKey { tenant: TenantId::new("acme"), id };
        assert_eq!(delivery_id(&delivery(&key)), Some(id));
        assert_eq!(lane(&pending(lane_id, Seq::new(3, 4))), Some(lane_id));
        assert_eq!(seq(&pending(lane_id, Seq::new(3, 4))), Some(Seq::new(3, 4)));
        assert_eq!(seq(&order(lane_id, 9, Seq::new(3, 4))), Some(Seq::new(3, 4)));
        assert_eq!(shadow_table(&shadow("public.a", b"1")), Some(hash("public.a")));
        let long = |end| shadow("public.a", &[&[1; 5000][..], &[end]].concat());
        assert_eq!((long(1).len(), long(1) == long(2)), (1 + 8 + 6 + 32, false));
        assert_eq!((delivery_id(b"d"), lane(b"p"), seq(b"p"), shadow_table(b"h")), (None, None, None, None));
    }

    #[test]
    fn order_of_keys_is_order_of_time() {
        let lane_id = SubscriptionId(Uuid::from_u128(7));
        assert!(pending(lane_id, Seq::new(1, 300)) < pending(lane_id, Seq::new(2, 0)));
        assert!(pending(lane_id, Seq::new(255, 0)) < pending(lane_id, Seq::new(256, 0)));
        assert!(id_floor(255) < id_floor(256));
        assert_eq!(id_floor(-5), [0; 16]);
    }
}
