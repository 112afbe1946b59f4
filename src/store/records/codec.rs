//! Records as bytes and back: the body of a frame. Knows no files and no state.
use crate::domain::{
    Attempt, DeliveryId, DeliveryKey, Event, EventId, EventName, Failure, Lsn, Next, Options, Outcome,
    Pattern, Resource, Sealed, Sequence, Subscription, SubscriptionId, TenantId,
};
use crate::store::records::field::{Malformed, Reader, Writer};
use crate::store::records::record::{Batch, Idempotent, Identity, Record};
use std::sync::Arc;
use uuid::Uuid;

/// Where a record stands in its frame's body. The CRC is that of an event's bytes; 0 for other records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct RecordPlace {
    pub(in crate::store) offset: u32,
    pub(in crate::store) len: u32,
    pub(in crate::store) crc: u32,
}

/// The highest kind of a record. A new one is a new feature of the format (`format`), as is a new field.
const LAST_KIND: u8 = 14;

const FAILURES: [Failure; 7] = [
    Failure::Timeout,
    Failure::Dns,
    Failure::Connection,
    Failure::Tls,
    Failure::Guard,
    Failure::Protocol,
    Failure::Local,
];

/// What this version does not read in a frame whose CRC is right: such a frame was written by a newer version, never damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum Unknown {
    #[error("record kind {0}")]
    Record(u8),
    /// A field of this kind of record is none that this version writes.
    #[error("field {1} in a record of kind {0}")]
    Field(u8, &'static str),
    #[error("bytes after the last record")]
    Rest,
}

/// A batch as a frame's body, and where its records stand in it.
pub(in crate::store) fn encode(batch: &Batch) -> (Vec<u8>, Vec<RecordPlace>) {
    let mut writer = Writer::default();
    writer.u32(batch.records.len() as u32);
    let mut places = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        let offset = writer.0.len();
        put(&mut writer, record);
        places.push(place(record, offset, &writer.0[offset..]));
    }
    (writer.0, places)
}

/// The batch of a frame's body.
pub(in crate::store) fn decode(body: &[u8]) -> Result<(Batch, Vec<RecordPlace>), Unknown> {
    let mut reader = Reader::new(body);
    let count = reader.u32().map_err(|_| Unknown::Rest)? as usize;
    // a record is at least one byte: a count beyond that is a lie
    let mut records = Vec::with_capacity(count.min(reader.left()));
    let mut places = Vec::with_capacity(count.min(reader.left()));
    for _ in 0..count {
        let offset = body.len() - reader.left();
        let record = take(&mut reader)?;
        places.push(place(&record, offset, &body[offset..body.len() - reader.left()]));
        records.push(record);
    }
    reader.end().map_err(|_| Unknown::Rest)?;
    Ok((Batch { records }, places))
}

/// An event alone, from where it stands.
pub(in crate::store) fn decode_event(bytes: &[u8]) -> Result<Arc<Event>, Unknown> {
    let mut reader = Reader::new(bytes);
    let record = take(&mut reader)?;
    reader.end().map_err(|_| Unknown::Rest)?;
    match record {
        Record::Event(event) => Ok(event),
        _ => Err(Unknown::Rest),
    }
}

pub(in crate::store) fn place(record: &Record, offset: usize, bytes: &[u8]) -> RecordPlace {
    let crc = if matches!(record, Record::Event(_)) { crc32c::crc32c(bytes) } else { 0 };
    RecordPlace { offset: offset as u32, len: bytes.len() as u32, crc }
}

pub(in crate::store) fn put(w: &mut Writer, record: &Record) {
    match record {
        Record::Filling(identity) => put_identity(w.u8(1), identity),
        Record::Identity(identity) => put_identity(w.u8(2), identity),
        Record::Position(lsn) => w.u8(3).u64(lsn.0),
        Record::Event(event) => put_event(w.u8(4), event),
        Record::Delivery { event, subscription, key, target_url } => {
            put_key(w.u8(5), key).raw(event.0.as_bytes()).raw(subscription.0.as_bytes()).text(target_url)
        }
        Record::Attempted { key, attempt, next } => {
            let w = put_attempt(put_key(w.u8(6), key), attempt);
            match next {
                Next::Delivered => w.u8(0),
                Next::Failed => w.u8(1),
                Next::RetryAt(at) => w.u8(2).i64(*at),
            }
        }
        Record::Abandoned { key, reason, at_ms } => put_key(w.u8(7), key).text(reason).i64(*at_ms),
        Record::Retried { key, at_ms } => put_key(w.u8(8), key).i64(*at_ms),
        Record::Shadow { table, key, columns } => {
            w.u8(9).text(table).bytes(key).option(columns.as_ref(), |w, c| w.bytes(c))
        }
        Record::ShadowClear { table } => w.u8(10).text(table),
        Record::Subscription(subscription) => put_subscription(w.u8(11), subscription),
        Record::SubscriptionGone(id) => w.u8(12).raw(id.0.as_bytes()),
        Record::SubscriptionsCleared => w.u8(13),
        Record::Idempotent(answer) => put_idempotent(w.u8(14), answer),
    };
}

fn take(r: &mut Reader) -> Result<Record, Unknown> {
    let kind = r.u8().map_err(|_| Unknown::Rest)?;
    if !(1..=LAST_KIND).contains(&kind) {
        return Err(Unknown::Record(kind));
    }
    take_known(kind, r).map_err(|Malformed(field)| Unknown::Field(kind, field))
}

fn take_known(kind: u8, r: &mut Reader) -> Result<Record, Malformed> {
    Ok(match kind {
        1 => Record::Filling(take_identity(r)?),
        2 => Record::Identity(take_identity(r)?),
        3 => Record::Position(Lsn(r.u64()?)),
        4 => Record::Event(Arc::new(take_event(r)?)),
        5 => {
            let key = take_key(r)?;
            Record::Delivery {
                key,
                event: EventId(take_uuid(r)?),
                subscription: SubscriptionId(take_uuid(r)?),
                target_url: r.text()?.to_owned(),
            }
        }
        6 => Record::Attempted { key: take_key(r)?, attempt: take_attempt(r)?, next: take_next(r)? },
        7 => Record::Abandoned { key: take_key(r)?, reason: r.text()?.to_owned(), at_ms: r.i64()? },
        8 => Record::Retried { key: take_key(r)?, at_ms: r.i64()? },
        9 => Record::Shadow { table: r.text()?.into(), key: r.shared()?, columns: r.option(Reader::shared)? },
        10 => Record::ShadowClear { table: r.text()?.into() },
        11 => Record::Subscription(Box::new(take_subscription(r)?)),
        12 => Record::SubscriptionGone(SubscriptionId(take_uuid(r)?)),
        13 => Record::SubscriptionsCleared,
        14 => Record::Idempotent(Box::new(take_idempotent(r)?)),
        _ => return Err(Malformed("kind")),
    })
}

pub(in crate::store) fn put_key<'w>(w: &'w mut Writer, key: &DeliveryKey) -> &'w mut Writer {
    w.raw(key.id.0.as_bytes()).text(key.tenant.as_str())
}
pub(in crate::store) fn take_key(r: &mut Reader) -> Result<DeliveryKey, Malformed> {
    let id = DeliveryId(take_uuid(r)?);
    Ok(DeliveryKey { id, tenant: TenantId::new(r.text()?) })
}
pub(in crate::store) fn take_uuid(r: &mut Reader) -> Result<Uuid, Malformed> {
    Ok(Uuid::from_bytes(r.array()?))
}

pub(in crate::store) fn put_identity<'w>(w: &'w mut Writer, identity: &Identity) -> &'w mut Writer {
    w.text(&identity.system_id)
        .u32(identity.timeline)
        .text(&identity.database)
        .text(&identity.slot)
        .text(&identity.publication)
        .raw(&identity.epoch)
        .text(&identity.shadow_plan)
}
pub(in crate::store) fn take_identity(r: &mut Reader) -> Result<Identity, Malformed> {
    Ok(Identity {
        system_id: r.text()?.to_owned(),
        timeline: r.u32()?,
        database: r.text()?.to_owned(),
        slot: r.text()?.to_owned(),
        publication: r.text()?.to_owned(),
        epoch: r.array()?,
        shadow_plan: r.text()?.to_owned(),
    })
}

pub(in crate::store) fn put_resource<'w>(w: &'w mut Writer, resource: Option<&Resource>) -> &'w mut Writer {
    w.option(resource, |w, resource| w.text(&resource.kind).text(&resource.id))
}
pub(in crate::store) fn take_resource(r: &mut Reader) -> Result<Option<Resource>, Malformed> {
    r.option(|r| Ok(Resource { kind: r.text()?.to_owned(), id: r.text()?.to_owned() }))
}
pub(in crate::store) fn take_name(r: &mut Reader) -> Result<EventName, Malformed> {
    EventName::parse(r.text()?).map_err(|_| Malformed("event name"))
}

fn put_event<'w>(w: &'w mut Writer, event: &Event) -> &'w mut Writer {
    w.raw(event.id.0.as_bytes()).text(event.name.as_str()).text(event.tenant.as_str());
    put_resource(w, event.resource.as_ref())
        .i64(event.timestamp_us)
        .u64(event.sequence.lsn.0)
        .u32(event.sequence.number)
        .bytes(&event.body)
}
fn take_event(r: &mut Reader) -> Result<Event, Malformed> {
    Ok(Event {
        id: EventId(take_uuid(r)?),
        name: take_name(r)?,
        tenant: TenantId::new(r.text()?),
        resource: take_resource(r)?,
        timestamp_us: r.i64()?,
        sequence: Sequence { lsn: Lsn(r.u64()?), number: r.u32()? },
        body: r.shared()?,
    })
}

pub(in crate::store) fn put_attempt<'w>(w: &'w mut Writer, attempt: &Attempt) -> &'w mut Writer {
    w.u32(attempt.number).i64(attempt.at_ms).u8(u8::from(attempt.counted));
    match attempt.outcome.answer {
        Ok(status) => w.u8(0).u16(status),
        Err(failure) => {
            w.u8(1).u8(FAILURES.iter().position(|f| *f == failure).unwrap_or(FAILURES.len() - 1) as u8)
        }
    };
    w.option(attempt.outcome.detail.as_deref(), Writer::text)
        .option(attempt.outcome.retry_after_ms, Writer::u64)
        .u64(attempt.outcome.duration_us)
}
pub(in crate::store) fn take_attempt(r: &mut Reader) -> Result<Attempt, Malformed> {
    let (number, at_ms, counted) = (r.u32()?, r.i64()?, r.bool()?);
    let answer = match r.u8()? {
        0 => Ok(r.u16()?),
        1 => Err(*FAILURES.get(usize::from(r.u8()?)).ok_or(Malformed("failure"))?),
        _ => return Err(Malformed("answer")),
    };
    let outcome = Outcome {
        answer,
        detail: r.option(|r| r.text().map(str::to_owned))?,
        retry_after_ms: r.option(Reader::u64)?,
        duration_us: r.u64()?,
    };
    Ok(Attempt { number, at_ms, outcome, counted })
}
fn take_next(r: &mut Reader) -> Result<Next, Malformed> {
    Ok(match r.u8()? {
        0 => Next::Delivered,
        1 => Next::Failed,
        2 => Next::RetryAt(r.i64()?),
        _ => return Err(Malformed("next")),
    })
}

pub(in crate::store) fn put_subscription<'w>(
    w: &'w mut Writer,
    subscription: &Subscription,
) -> &'w mut Writer {
    // options are plain data with string keys: they always serialize
    let options = serde_json::to_vec(&subscription.options).unwrap_or_default();
    w.raw(subscription.id.0.as_bytes())
        .text(subscription.tenant.as_str())
        .text(&subscription.pattern.to_string())
        .text(&subscription.url)
        .option(subscription.secret.as_ref(), |w, s| w.text(s.as_str()))
        .u8(u8::from(subscription.active))
        .i64(subscription.created_us)
        .i64(subscription.updated_us)
        .bytes(&options)
}
pub(in crate::store) fn take_subscription(r: &mut Reader) -> Result<Subscription, Malformed> {
    Ok(Subscription {
        id: SubscriptionId(take_uuid(r)?),
        tenant: TenantId::new(r.text()?),
        pattern: Pattern::parse(r.text()?).map_err(|_| Malformed("pattern"))?,
        url: r.text()?.to_owned(),
        secret: r.option(Reader::text)?.map(Sealed::new),
        active: r.bool()?,
        created_us: r.i64()?,
        updated_us: r.i64()?,
        options: serde_json::from_slice::<Options>(r.bytes()?).map_err(|_| Malformed("options"))?,
    })
}

pub(in crate::store) fn put_idempotent<'w>(w: &'w mut Writer, answer: &Idempotent) -> &'w mut Writer {
    w.text(answer.tenant.as_str())
        .text(&answer.key)
        .raw(&answer.body_hash)
        .u16(answer.status)
        .bytes(&answer.answer)
        .i64(answer.at_ms)
}
pub(in crate::store) fn take_idempotent(r: &mut Reader) -> Result<Idempotent, Malformed> {
    Ok(Idempotent {
        tenant: TenantId::new(r.text()?),
        key: r.text()?.to_owned(),
        body_hash: r.array()?,
        status: r.u16()?,
        answer: r.shared()?,
        at_ms: r.i64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::entry;
    use proptest::prelude::*;

    #[test]
    fn a_cut_body_is_malformed_at_every_length() {
        let attempt = Attempt {
            number: 3,
            at_ms: 5,
            outcome: Outcome {
                answer: Err(Failure::Tls),
                detail: Some("expired".into()),
                retry_after_ms: Some(7),
                duration_us: 9,
            },
            counted: false,
        };
        let key = DeliveryKey { tenant: TenantId::new("acme"), id: DeliveryId(Uuid::from_u128(1)) };
        let batch = Batch { records: vec![Record::Attempted { key, attempt, next: Next::RetryAt(-1) }] };
        let (body, places) = encode(&batch);
        assert_eq!(decode(&body), Ok((batch, places)));
        for len in 0..body.len() {
            assert!(decode(&body[..len]).is_err(), "{len}");
        }
        assert!(decode(&[body, vec![0]].concat()).is_err(), "nothing may follow");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u8..16) {
            let _ = decode(&bytes);
            let _ = decode_event(&bytes);
            let _ = entry::Entry::decode(&bytes);
            bytes.splice(0..0, [1, 0, 0, 0, kind]);
            let _ = decode(&bytes);
        }
    }
}
