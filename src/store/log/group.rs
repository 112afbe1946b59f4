//! A group: frames that become true together, however many they are. Pure; must not depend on files or on what records mean.
//!
//! A batch that fits one frame is a group of its own (`Kind::Batch`). A larger one is written as parts and a seal: each holds whole
//! records, an event stands in one frame with its deliveries, and the seal says how many parts stand before it and what their
//! CRCs are. Parts without their seal are the rest of an append that never ended: recovery cuts them off.
//!
//! A part's body is `index u32 | records`, the seal's is `index u32 | crc32c u32 | records`; the CRC is that of the parts' CRCs.
use crate::domain::EventId;
use crate::store::log::frame::Kind;
use crate::store::records::codec::{self, RecordPlace, Unknown};
use crate::store::records::field::{Reader, Writer};
use crate::store::records::record::{Batch, Record};
use std::collections::HashMap;
use std::ops::Range;

/// What one frame of a batch holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Piece {
    /// Which of the batch's records.
    pub(in crate::store) records: Range<usize>,
    /// As `codec::encode` gives them.
    pub(in crate::store) body: Vec<u8>,
    pub(in crate::store) places: Vec<RecordPlace>,
}

/// Encodes records in pieces of about `bound` bytes. There is no other copy of all of them.
pub(in crate::store) fn pieces(records: &[Record], bound: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open = OpenPiece::new(0);
    let mut cuts = None;
    for (n, record) in records.iter().enumerate() {
        let begins = open.put(record);
        let cut = open.places.len() > 1
            && open.body.0.len() > bound
            && cuts.get_or_insert_with(|| possible_cuts(records))[n];
        if cut {
            let next = open.cut(begins);
            pieces.push(std::mem::replace(&mut open, next).end());
        }
    }
    pieces.push(open.end());
    pieces
}

/// Before which records a batch may be cut: an event stands in one frame with its deliveries.
fn possible_cuts(records: &[Record]) -> Vec<bool> {
    let of = |(n, record): (usize, &Record)| match record {
        Record::Delivery { event, .. } => Some((*event, n)),
        _ => None,
    };
    let last_uses: HashMap<EventId, usize> = records.iter().enumerate().filter_map(of).collect();
    let mut held = 0;
    let cut = |(n, record): (usize, &Record)| {
        let free = n > held;
        if let Record::Event(event) = record {
            held = held.max(last_uses.get(&event.id).copied().unwrap_or(n));
        }
        free
    };
    records.iter().enumerate().map(cut).collect()
}

/// A piece that records are added to.
struct OpenPiece {
    from: usize,
    /// How many records there are, which is known at the end, and the records.
    body: Writer,
    places: Vec<RecordPlace>,
}

impl OpenPiece {
    fn new(from: usize) -> Self {
        let mut body = Writer::default();
        body.u32(0);
        Self { from, body, places: Vec::new() }
    }
    /// Adds a record; returns where its bytes begin.
    fn put(&mut self, record: &Record) -> usize {
        let begins = self.body.0.len();
        codec::put(&mut self.body, record);
        self.places.push(codec::place(record, begins, &self.body.0[begins..]));
        begins
    }
    /// The last record begins the next piece.
    fn cut(&mut self, begins: usize) -> Self {
        let mut next = Self::new(self.from + self.places.len() - 1);
        let offset = next.body.0.len() as u32;
        next.body.raw(&self.body.0.split_off(begins));
        next.places.extend(self.places.pop().map(|place| RecordPlace { offset, ..place }));
        next
    }
    fn end(mut self) -> Piece {
        let count = self.places.len();
        self.body.0[..4].copy_from_slice(&(count as u32).to_le_bytes());
        Piece { records: self.from..self.from + count, body: self.body.0, places: self.places }
    }
}

/// A group's frames as they are written or read, one after another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Group {
    parts: u32,
    /// Of the parts' CRCs.
    crc: u32,
}

/// How a frame goes on with the group before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum GroupStep {
    /// A group of its own, or a header.
    Alone,
    /// The first part.
    Begins,
    /// A later part.
    GoesOn,
    /// The seal: the group is whole.
    Seals,
    /// It does not belong to what stands before it.
    Breaks,
}

impl Group {
    /// The body of the next part.
    pub(in crate::store) fn part(self, records: &[u8]) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(records.len() + 4));
        w.u32(self.parts).raw(records);
        w.0
    }
    /// The body of the seal.
    pub(in crate::store) fn seal(self, records: &[u8]) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(records.len() + 8));
        w.u32(self.parts).u32(self.crc).raw(records);
        w.0
    }
    /// A part was written, with this CRC.
    pub(in crate::store) fn put(&mut self, crc: u32) {
        self.parts += 1;
        self.crc = crc32c::crc32c_append(self.crc, &crc.to_le_bytes());
    }
    /// Takes the next frame; begins anew after one that seals or breaks.
    pub(in crate::store) fn follow(&mut self, kind: Kind, crc: u32, body: &[u8]) -> GroupStep {
        let before = std::mem::take(self);
        let mut r = Reader::new(body);
        let index = r.u32();
        match kind {
            Kind::Batch | Kind::Header if before.parts == 0 => GroupStep::Alone,
            Kind::Part if index == Ok(before.parts) => {
                *self = before;
                self.put(crc);
                if before.parts == 0 { GroupStep::Begins } else { GroupStep::GoesOn }
            }
            Kind::Seal if before.parts > 0 && index == Ok(before.parts) && r.u32() == Ok(before.crc) => {
                GroupStep::Seals
            }
            Kind::Batch | Kind::Header | Kind::Part | Kind::Seal => GroupStep::Breaks,
        }
    }
}

/// Bytes before the records in a frame's body.
pub(in crate::store) fn prefix(kind: Kind) -> usize {
    match kind {
        Kind::Batch | Kind::Header => 0,
        Kind::Part => 4,
        Kind::Seal => 8,
    }
}

/// The records of a frame's body.
pub(in crate::store) fn decode(kind: Kind, body: &[u8]) -> Result<(Batch, Vec<RecordPlace>), Unknown> {
    codec::decode(body.get(prefix(kind)..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeliveryId, DeliveryKey, Event, EventName, Lsn, Sequence, SubscriptionId, TenantId};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::Arc;
    use uuid::Uuid;

    fn event(n: u128, len: usize) -> Record {
        Record::Event(Arc::new(Event {
            id: EventId(Uuid::from_u128(n)),
            name: EventName::parse("a.b").unwrap(),
            tenant: TenantId::new("t"),
            resource: None,
            timestamp_us: 1,
            sequence: Sequence { lsn: Lsn(1), number: 0 },
            body: Bytes::from(vec![b'x'; len]),
        }))
    }
    fn delivery(n: u128) -> Record {
        Record::Delivery {
            event: EventId(Uuid::from_u128(n)),
            subscription: SubscriptionId(Uuid::from_u128(9)),
            key: DeliveryKey { tenant: TenantId::new("t"), id: DeliveryId(Uuid::from_u128(n)) },
            target_url: "https://x.test/".into(),
        }
    }

    proptest! {
        /// The pieces are the batch, each can be read alone, and an event has its deliveries beside it.
        #[test]
        fn a_batch_is_the_sum_of_its_pieces(kinds in proptest::collection::vec((0_u8..3, 1_u128..6, 0_usize..60), 1..30), bound in 1_usize..400) {
            let record = |(kind, n, len): &(u8, u128, usize)| match kind {
                0 => event(*n, *len),
                1 => delivery(*n),
                _ => Record::Position(Lsn(*len as u64)),
            };
            let records: Vec<Record> = kinds.iter().map(record).collect();
            let (whole, places) = codec::encode(&Batch { records: records.clone() });
            let one = Piece { records: 0..records.len(), body: whole, places };
            prop_assert_eq!(&pieces(&records, usize::MAX), &[one]);
            let pieces = pieces(&records, bound);
            let mut again = Vec::new();
            for piece in &pieces {
                let (batch, places) = codec::decode(&piece.body).unwrap();
                prop_assert_eq!(&batch.records[..], &records[piece.records.clone()]);
                prop_assert_eq!(&places, &piece.places);
                again.extend(batch.records);
            }
            prop_assert_eq!(&again, &records);
            let piece_of = |n: usize| pieces.iter().position(|piece| piece.records.contains(&n));
            for (n, record) in records.iter().enumerate() {
                if let Record::Delivery { event, .. } = record {
                    let before = records[..n].iter().rposition(|r| matches!(r, Record::Event(e) if e.id == *event));
                    prop_assert!(before.is_none_or(|at| piece_of(at) == piece_of(n)));
                }
            }
        }
    }

    #[test]
    fn a_group_is_whole_with_its_seal_and_nothing_else() {
        let mut written = Group::default();
        let mut frames = Vec::new();
        for (n, records) in [&b"one"[..], b"two"].iter().enumerate() {
            frames.push((Kind::Part, n as u32 + 7, written.part(records)));
            let (kind, crc, body) = &frames[n];
            written.follow(*kind, *crc, body);
        }
        frames.push((Kind::Seal, 9, written.seal(b"three")));
        let steps = |frames: &[(Kind, u32, Vec<u8>)]| {
            let mut group = Group::default();
            frames.iter().map(|(kind, crc, body)| group.follow(*kind, *crc, body)).collect::<Vec<_>>()
        };
        assert_eq!(steps(&frames), [GroupStep::Begins, GroupStep::GoesOn, GroupStep::Seals]);
        assert!(frames[2].2[prefix(Kind::Seal)..] == *b"three");
        assert_eq!(steps(&frames[1..]), [GroupStep::Breaks, GroupStep::Breaks]);
        let mut other = frames.clone();
        other[1].1 += 1;
        assert_eq!(steps(&other)[2], GroupStep::Breaks, "another part");
        other[1] = (Kind::Batch, 8, Vec::new());
        assert_eq!(steps(&other), [GroupStep::Begins, GroupStep::Breaks, GroupStep::Breaks]);
    }
}
