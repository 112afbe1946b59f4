//! A delivery as the index holds it, and what is pending. Pure: bytes and back.
use crate::domain::{BodyPlace, Delivery, EventId, Pending, Seq, Status, SubscriptionId};
use crate::store::records::codec::{
    put_attempt, put_key, put_resource, take_attempt, take_key, take_name, take_resource, take_uuid,
};
use crate::store::records::field::{Malformed, Reader, Writer};

/// Which record of the journal a value stems from: frame and number in it. Later is greater.
pub(in crate::store) type Tag = (u64, u32);

/// Where an event stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct Locator {
    /// The home of its place in the log: a segment's first frame, which is its name.
    pub(in crate::store) segment: u64,
    /// The offset of that place: a byte of the file.
    pub(in crate::store) offset: u64,
    pub(in crate::store) len: u32,
    /// Of exactly those bytes.
    pub(in crate::store) crc: u32,
}

impl Locator {
    /// As those see it who only carry it.
    pub(in crate::store) fn place(self) -> BodyPlace {
        let mut w = Writer(Vec::with_capacity(24));
        w.u64(self.segment).u64(self.offset).u32(self.len).u32(self.crc);
        BodyPlace(w.0.try_into().unwrap_or_default())
    }
    /// And back.
    pub(in crate::store) fn of(BodyPlace(bytes): BodyPlace) -> Self {
        let [segment, offset, tail] = *bytes.as_chunks::<8>().0 else { return Self::default() };
        let (len, crc) = tail.split_at(4);
        Self {
            segment: u64::from_le_bytes(segment),
            offset: u64::from_le_bytes(offset),
            len: u32::from_le_bytes(len.try_into().unwrap_or_default()),
            crc: u32::from_le_bytes(crc.try_into().unwrap_or_default()),
        }
    }
}

/// A delivery with what the store itself must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// Its place in the lane.
    pub(in crate::store) seq: Seq,
    pub(in crate::store) order: Option<u64>,
    pub(in crate::store) event_at: Locator,
    pub(in crate::store) delivery: Delivery,
}

const STATUSES: [Status; 4] = [Status::Pending, Status::Delivered, Status::Failed, Status::Abandoned];

impl Entry {
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let d = &self.delivery;
        let mut w = Writer(Vec::with_capacity(320));
        // `Sending` is never stored; the position of an unknown status is Pending's
        let status = STATUSES.iter().position(|s| *s == d.status).unwrap_or(0) as u8;
        let (major, minor) = self.seq.parts();
        w.u8(status).u64(major).u32(minor);
        w.option(self.order, Writer::u64);
        let at = &self.event_at;
        w.u64(at.segment).u64(at.offset).u32(at.len).u32(at.crc).i64(d.updated_us).i64(d.created_us);
        put_key(&mut w, &d.key).raw(d.event_id.0.as_bytes()).text(d.event.as_str());
        put_resource(&mut w, d.resource.as_ref()).raw(d.subscription.0.as_bytes()).text(&d.target_url);
        w.u32(d.counted_attempts).u32(d.attempts).i64(d.due_ms).option(d.last_error.as_deref(), Writer::text);
        w.u8(d.log.len().min(usize::from(u8::MAX)) as u8);
        for attempt in d.log.iter().take(usize::from(u8::MAX)) {
            put_attempt(&mut w, attempt);
        }
        w.0
    }

    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let r = &mut Reader::new(bytes);
        let brief = take_brief(r)?;
        let key = take_key(r)?;
        let event_id = EventId(take_uuid(r)?);
        let (event, resource) = (take_name(r)?, take_resource(r)?);
        let subscription = SubscriptionId(take_uuid(r)?);
        let target_url = r.text()?.to_owned();
        let (counted_attempts, attempts, due_ms) = (r.u32()?, r.u32()?, r.i64()?);
        let last_error = r.option(|r| r.text().map(str::to_owned))?;
        let log = (0..r.u8()?).map(|_| take_attempt(r)).collect::<Result<_, _>>()?;
        r.end()?;
        let delivery = Delivery {
            key,
            event_id,
            event,
            resource,
            subscription,
            target_url,
            status: brief.status,
            counted_attempts,
            attempts,
            log,
            last_error,
            due_ms,
            created_us: brief.created_us,
            updated_us: brief.updated_us,
        };
        Ok(Self { seq: brief.seq, order: brief.order, event_at: brief.event_at, delivery })
    }

    /// What the scheduler gets to see.
    pub(in crate::store) fn pending(&self) -> Pending {
        let d = &self.delivery;
        Pending {
            key: d.key.clone(),
            event_id: d.event_id,
            place: self.event_at.place(),
            subscription: d.subscription,
            order: self.order,
            seq: self.seq,
            due_ms: d.due_ms,
            counted_attempts: d.counted_attempts,
            attempts: d.attempts,
            created_us: d.created_us,
        }
    }
}

/// The front of an entry: enough for retention, without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Brief {
    pub(in crate::store) status: Status,
    pub(in crate::store) seq: Seq,
    pub(in crate::store) order: Option<u64>,
    pub(in crate::store) event_at: Locator,
    pub(in crate::store) updated_us: i64,
    pub(in crate::store) created_us: i64,
}

/// Reads only the front.
pub(in crate::store) fn brief(bytes: &[u8]) -> Result<Brief, Malformed> {
    take_brief(&mut Reader::new(bytes))
}

fn take_brief(r: &mut Reader) -> Result<Brief, Malformed> {
    Ok(Brief {
        status: *STATUSES.get(usize::from(r.u8()?)).ok_or(Malformed("status"))?,
        seq: Seq::new(r.u64()?, r.u32()?),
        order: r.option(Reader::u64)?,
        event_at: Locator { segment: r.u64()?, offset: r.u64()?, len: r.u32()?, crc: r.u32()? },
        updated_us: r.i64()?,
        created_us: r.i64()?,
    })
}

/// What a pending key's value holds: all but lane and seq, which the key says.
pub(in crate::store) fn encode_pending(pending: &Pending) -> Vec<u8> {
    let mut w = Writer(Vec::with_capacity(136));
    put_key(&mut w, &pending.key).raw(pending.event_id.0.as_bytes()).raw(&pending.place.0);
    w.option(pending.order, Writer::u64).i64(pending.due_ms);
    w.u32(pending.counted_attempts).u32(pending.attempts).i64(pending.created_us);
    w.0
}

/// And back.
pub(in crate::store) fn decode_pending(
    subscription: SubscriptionId,
    seq: Seq,
    bytes: &[u8],
) -> Result<Pending, Malformed> {
    let r = &mut Reader::new(bytes);
    let pending = Pending {
        key: take_key(r)?,
        event_id: EventId(take_uuid(r)?),
        place: BodyPlace(r.array()?),
        subscription,
        order: r.option(Reader::u64)?,
        seq,
        due_ms: r.i64()?,
        counted_attempts: r.u32()?,
        attempts: r.u32()?,
        created_us: r.i64()?,
    };
    r.end()?;
    Ok(pending)
}
