//! What the store keeps in memory beside the overlay: history, subscriptions, counters, fresh events. Pure; bytes and back.
pub(in crate::store) mod apply;
pub(in crate::store) mod said;

use crate::domain::{Event, Lsn, Routing, Shard};
use crate::fault;
use crate::store::index::overlay::Overlay;
use crate::store::records::codec::{put_identity, take_identity};
use crate::store::records::entry::{Locator, Tag};
use crate::store::records::field::{Malformed, Reader, Writer};
use crate::store::records::record::{Identity, Record};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that a frame changes. One lock around it.
#[derive(Debug, Default)]
pub(in crate::store) struct State {
    pub(in crate::store) overlay: Overlay,
    pub(in crate::store) applied: Applied,
    pub(in crate::store) history: FollowedHistory,
    pub(in crate::store) cleared: Cleared,
    pub(in crate::store) routing: Routing,
    pub(in crate::store) scope: StoreScope,
    pub(in crate::store) events: EventCache,
    /// The journal's deliveries are not all in the index: `catch_up` brings them, and commits leave theirs to it.
    pub(in crate::store) catching_up: bool,
    /// Bytes of long-lived records since the last checkpoint.
    pub(in crate::store) long_lived_bytes: u64,
}

/// What a store keeps of its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoreScope {
    /// All of it: one machine.
    #[default]
    Whole,
    /// What capture goes on with: no delivery.
    Capture,
    /// The deliveries of one shard, and who subscribes: no shadow.
    Deliveries(Shard),
}

impl StoreScope {
    /// Is this record for somebody else?
    pub(in crate::store) fn skips(self, record: &Record) -> bool {
        match (self, record) {
            (Self::Whole, _) => false,
            (Self::Capture, record) => matches!(
                record,
                Record::Event(_)
                    | Record::Delivery { .. }
                    | Record::Attempted { .. }
                    | Record::Abandoned { .. }
                    | Record::Retried { .. }
            ),
            (Self::Deliveries(shard), Record::Delivery { key, target_url, .. }) => {
                !shard.has(&key.tenant, target_url) && !fault::planted("everybody-delivers")
            }
            (Self::Deliveries(_), record) => {
                matches!(record, Record::Shadow { .. } | Record::ShadowClear { .. })
            }
        }
    }
}

/// The last frame in state (or, as stored, in the index), and what is counted up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Applied {
    pub(in crate::store) frame: u64,
    /// Its CRC: an index whose frame has another one belongs to another journal.
    pub(in crate::store) crc: u32,
    /// Deliveries that are owed.
    pub(in crate::store) pending: u64,
    /// As stored: the index is being rebuilt, and has not all deliveries up to this frame.
    pub(in crate::store) partial: bool,
}

/// Changes with the meaning of keys or values in the index: another one is rebuilt.
const FORMAT: u8 = 3;

impl Applied {
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORMAT).u64(self.frame).u32(self.crc).u64(self.pending).u8(u8::from(self.partial));
        w.0
    }
    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let r = &mut Reader::new(bytes);
        if r.u8()? != FORMAT {
            return Err(Malformed("format"));
        }
        let applied = Self { frame: r.u64()?, crc: r.u32()?, pending: r.u64()?, partial: r.bool()? };
        r.end().map(|()| applied)
    }
}

/// Which history we follow and how far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct FollowedHistory {
    /// The last record applied.
    pub(in crate::store) tag: Tag,
    pub(in crate::store) identity: Option<Identity>,
    pub(in crate::store) filling: Option<Identity>,
    pub(in crate::store) position: Option<Lsn>,
    /// Another history has begun: its first position may be lower than the last one's.
    pub(in crate::store) rewind: bool,
}

impl FollowedHistory {
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.tag.0).u32(self.tag.1).u8(u8::from(self.rewind));
        w.option(self.position, |w, lsn| w.u64(lsn.0));
        w.option(self.identity.as_ref(), put_identity).option(self.filling.as_ref(), put_identity);
        w.0
    }
    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let r = &mut Reader::new(bytes);
        let (tag, rewind) = ((r.u64()?, r.u32()?), r.bool()?);
        let position = r.option(Reader::u64)?.map(Lsn);
        let (identity, filling) = (r.option(take_identity)?, r.option(take_identity)?);
        r.end()?;
        Ok(Self { tag, identity, filling, position, rewind })
    }
    /// The history that positions belong to from now on.
    pub(in crate::store) fn follow(&mut self, identity: Identity) {
        self.rewind |= self.identity.as_ref().is_some_and(|old| {
            (&old.system_id, old.timeline, &old.database, &old.slot, old.epoch)
                != (
                    &identity.system_id,
                    identity.timeline,
                    &identity.database,
                    &identity.slot,
                    identity.epoch,
                )
        });
        self.identity = Some(identity);
        self.filling = None;
    }
    /// Forward only, within one history.
    pub(in crate::store) fn advance(&mut self, lsn: Lsn) -> bool {
        let forward = self.rewind || self.position.is_none_or(|old| lsn > old);
        if forward {
            self.position = Some(lsn);
            self.rewind = false;
        }
        forward
    }
}

/// When tables' rows were last forgotten. A clear is one entry, not a million deletes; `upkeep` removes the rows later.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Cleared {
    /// By hash of the table's name; all zeros: every table. Only while hidden rows may still be in the index.
    pub(in crate::store) tables: BTreeMap<[u8; 8], Tag>,
}

/// Every table.
pub(in crate::store) const ALL_TABLES: [u8; 8] = [0; 8];

impl Cleared {
    pub(in crate::store) fn hides(&self, table: [u8; 8], tag: Tag) -> bool {
        let after = |table: &[u8; 8]| self.tables.get(table).is_some_and(|cleared| tag <= *cleared);
        after(&table) || after(&ALL_TABLES)
    }
    pub(in crate::store) fn clear(&mut self, table: [u8; 8], tag: Tag) {
        let last = self.tables.entry(table).or_default();
        *last = tag.max(*last);
    }
}

/// A value that begins with its tag: shadow rows and clears.
pub(in crate::store) fn tagged(tag: Tag, rest: &[u8]) -> Vec<u8> {
    let mut w = Writer(Vec::with_capacity(12 + rest.len()));
    w.u64(tag.0).u32(tag.1).raw(rest);
    w.0
}
pub(in crate::store) fn untag(bytes: &[u8]) -> Result<(Tag, &[u8]), Malformed> {
    let mut r = Reader::new(bytes);
    let tag = (r.u64()?, r.u32()?);
    let len = r.left();
    Ok((tag, r.raw(len)?))
}

/// Events that were written lately, by place; the oldest leave first.
#[derive(Debug, Default)]
pub(in crate::store) struct EventCache {
    events: BTreeMap<(u64, u64), Arc<Event>>,
    bytes: usize,
}

const CACHE_BYTES: usize = 8 << 20;

impl EventCache {
    pub(in crate::store) fn put(&mut self, at: Locator, event: Arc<Event>) {
        self.bytes += weight(&event);
        self.events.insert((at.segment, at.offset), event);
        while self.bytes > CACHE_BYTES
            && let Some((_, oldest)) = self.events.pop_first()
        {
            self.bytes -= weight(&oldest);
        }
    }
    pub(in crate::store) fn get(&self, at: Locator) -> Option<Arc<Event>> {
        self.events.get(&(at.segment, at.offset)).cloned()
    }
}

fn weight(event: &Event) -> usize {
    const OVERHEAD: usize = 320;
    event.body.len() + OVERHEAD
}
