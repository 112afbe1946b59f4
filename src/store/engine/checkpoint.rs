//! `shadow-<frame>`: what outlives the journal's segments (history, subscriptions, shadow, idempotent answers), whole up to a
//! frame. Knows keys and values as bytes.
//!
//! Blocks of `len u32 | crc32c u32 | payload`; a payload begins with its number and kind. A checkpoint is fuzzy: it may hold
//! what is newer than its frame, and the frames after it are replayed over it: the last writer wins again.
use crate::disk::Disk;
use crate::fault;
use crate::store::engine::core::Core;
use crate::store::error::{StoreError, blocked};
use crate::store::index::keys;
use crate::store::index::overlay::Way;
use crate::store::index::{Index, IndexError, Write};
use crate::store::log::segment::hex;
use crate::store::records::codec;
use crate::store::records::field::{Malformed, Reader, Writer};
use crate::store::state::{FollowedHistory, untag};
use std::io;
use std::sync::{Arc, PoisonError};

const PREFIX: &str = "shadow-";
const UNFINISHED: &str = ".tmp";
const MAGIC: &[u8; 8] = b"tailhook";
const FORMAT: u32 = 1;
/// A block is closed when it has this many bytes.
const BLOCK: usize = 256 << 10;
/// A longer block is never believed.
const MAX_BLOCK: usize = 80 << 20;
const SCAN: usize = 256;
/// Pairs that are given to the index at once.
const LOADED: usize = 100;
const HEAD: u8 = 0;
const PAIRS: u8 = 1;
const END: u8 = 2;

/// A checkpoint's file.
pub(in crate::store) fn name(frame: u64) -> String {
    format!("{PREFIX}{frame:016x}")
}

/// The frame of a finished checkpoint's name.
pub(in crate::store) fn parse_name(name: &str) -> Option<u64> {
    hex(name.strip_prefix(PREFIX)?)
}

/// A checkpoint that was not finished: worth nothing.
pub(in crate::store) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).is_some_and(|rest| parse_name(rest).is_some())
}

/// Writes one, makes it the only one. On failure the old one stays.
pub(in crate::store) async fn write(core: &Arc<Core>) -> Result<(), StoreError> {
    let frame = {
        let mut state = core.write();
        state.long_lived_bytes = 0;
        state.applied.frame
    };
    let unfinished = name(frame) + UNFINISHED;
    let bytes = match write_blocks(core, &unfinished, frame).await {
        Ok(Some(bytes)) => bytes,
        stopped => {
            // what cannot be removed now is removed at the next start
            let _ = core.disk.remove(&unfinished).await;
            return stopped.map(drop);
        }
    };
    fault::crash_point("checkpoint.synced");
    core.disk.rename(&unfinished, &name(frame)).await.map_err(|e| blocked(&e))?;
    fault::crash_point("checkpoint.renamed");
    *core.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = (frame, bytes);
    for old in core.disk.list().map_err(|e| blocked(&e))? {
        if parse_name(&old).is_some_and(|old| old < frame) {
            core.disk.remove(&old).await.map_err(|e| blocked(&e))?;
        }
    }
    fault::crash_point("checkpoint.alone");
    tracing::info!(frame, bytes, "checkpoint written");
    Ok(())
}

/// Returns the file's bytes, or `None` when the store closes meanwhile.
async fn write_blocks(core: &Arc<Core>, file: &str, frame: u64) -> Result<Option<u64>, StoreError> {
    core.disk.create(file).await.map_err(|e| blocked(&e))?;
    fault::crash_point("checkpoint.created");
    let mut blocks = Blocks::new(frame);
    let mut bytes = 0;
    for (from, to) in keys::LONG_LIVED {
        let mut from = from.to_vec();
        loop {
            let start = from.clone();
            let page = core.offload(move |core| core.scan((&start, to), Way::Up, SCAN)).await??;
            let last = page.len() < SCAN;
            if let Some((key, _)) = page.last() {
                from = keys::successor(key);
            }
            for (key, value) in page.into_iter().filter(|(key, value)| core.is_live(key, value)) {
                blocks.pair(&key, &value);
            }
            if blocks.done.len() >= BLOCK {
                bytes += append(core, file, blocks.take()).await?;
            }
            if core.is_closing() {
                return Ok(None);
            }
            if last {
                break;
            }
        }
    }
    blocks.end();
    bytes += append(core, file, blocks.take()).await?;
    fault::crash_point("checkpoint.written");
    core.disk.sync(file).await.map_err(|e| blocked(&e))?;
    Ok(Some(bytes))
}

async fn append(core: &Core, file: &str, bytes: Vec<u8>) -> Result<u64, StoreError> {
    let len = bytes.len() as u64;
    core.disk.append(file, bytes).await.map_err(|e| blocked(&e))?;
    Ok(len)
}

impl Core {
    /// A shadow row that was cleared is not worth keeping.
    fn is_live(&self, key: &[u8], value: &[u8]) -> bool {
        match (key.first(), keys::shadow_table(key), untag(value)) {
            (Some(b'h'), Some(table), Ok((tag, _))) => !self.read().cleared.hides(table, tag),
            _ => true,
        }
    }
}

/// Blocks under construction.
pub(in crate::store) struct Blocks {
    done: Vec<u8>,
    open: Writer,
    number: u32,
    pairs: u64,
}

impl Blocks {
    pub(in crate::store) fn new(frame: u64) -> Self {
        let mut blocks = Self { done: Vec::new(), open: Writer::default(), number: 0, pairs: 0 };
        blocks.open.u32(0).u8(HEAD).raw(MAGIC).u32(FORMAT).u64(frame);
        blocks.close();
        blocks
    }
    pub(in crate::store) fn pair(&mut self, key: &[u8], value: &[u8]) {
        if self.open.0.is_empty() {
            self.open.u32(self.number).u8(PAIRS);
        }
        self.open.bytes(key).bytes(value);
        self.pairs += 1;
        if self.open.0.len() >= BLOCK {
            self.close();
        }
    }
    pub(in crate::store) fn end(&mut self) {
        self.close();
        self.open.u32(self.number).u8(END).u64(self.pairs);
        self.close();
    }
    fn close(&mut self) {
        let payload = std::mem::take(&mut self.open.0);
        if payload.is_empty() {
            return;
        }
        let mut block = Writer(std::mem::take(&mut self.done));
        block.u32(payload.len() as u32).u32(crc32c::crc32c(&payload)).raw(&payload);
        self.done = block.0;
        self.number += 1;
    }
    pub(in crate::store) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.done)
    }
}

/// What is wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Wrong {
    /// It is not what was written.
    Damaged(String),
    /// It is whole, and only a newer version reads all of it.
    Newer(String),
}
impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Damaged(why)
    }
}

/// Checks a whole checkpoint.
pub(in crate::store) fn verify(disk: &dyn Disk, frame: u64) -> Result<u64, Wrong> {
    visit(disk, frame, &mut |key, value| readable(frame, key, value))
}

/// The same, and what the checkpoint says of positions.
pub(in crate::store) fn history(disk: &dyn Disk, frame: u64) -> Result<FollowedHistory, Wrong> {
    let mut history = FollowedHistory::default();
    visit(disk, frame, &mut |key, value| {
        readable(frame, key, value)?;
        if key == keys::HISTORY {
            history = FollowedHistory::decode(value).map_err(text)?;
        }
        Ok(())
    })?;
    Ok(history)
}

/// Does this version read a pair of a block whose CRC is right?
fn readable(frame: u64, key: &[u8], value: &[u8]) -> Result<(), Wrong> {
    let r = &mut Reader::new(value);
    let read = match key {
        [b's', ..] => codec::take_subscription(r).and_then(|_| r.end()),
        [b'i', ..] => codec::take_idempotent(r).and_then(|_| r.end()),
        [b'h', ..] | [b'm', b'c', ..] => untag(value).map(drop),
        keys::HISTORY => FollowedHistory::decode(value).map(drop),
        _ => Err(Malformed("key")),
    };
    read.map_err(|Malformed(field)| Wrong::Newer(format!("field {field} in file {}", name(frame))))
}

/// Refuses a checkpoint of a newer format by its first block; whatever else is wrong with it shows when it is read.
pub(in crate::store) fn check_format(disk: &dyn Disk, frame: u64) -> Result<(), StoreError> {
    match visit_first(disk, frame) {
        Err(Wrong::Newer(what)) => Err(StoreError::Newer(what)),
        Ok(()) | Err(Wrong::Damaged(_)) => Ok(()),
    }
}

/// Puts a checked checkpoint into an empty index that is marked to be rebuilt, in small generations.
pub(in crate::store) fn load(disk: &dyn Disk, frame: u64, index: &dyn Index) -> Result<(), IndexError> {
    let mut writes: Vec<Write> = Vec::with_capacity(LOADED);
    visit(disk, frame, &mut |key, value| {
        writes.push((key.to_vec(), Some(value.to_vec())));
        if writes.len() < LOADED {
            return Ok(());
        }
        let taken = index.take(&mut writes.drain(..)).and_then(|()| index.flush(false));
        taken.map(drop).map_err(|error| Wrong::Damaged(error.to_string()))
    })
    .map_err(|(Wrong::Damaged(why) | Wrong::Newer(why))| IndexError::Broken(why))?;
    index.take(&mut writes.into_iter())
}

pub(in crate::store) type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), Wrong>;

/// A checked block's payload, behind its number.
fn block(disk: &dyn Disk, name: &str, at: u64, number: u32) -> Result<Vec<u8>, Wrong> {
    let io = |error: io::Error| error.to_string();
    let head = disk.read(name, at, 8).map_err(io)?;
    let mut head = Reader::new(&head);
    let (size, crc) = (head.u32().map_err(text)? as usize, head.u32().map_err(text)?);
    if size > MAX_BLOCK {
        return Err(format!("block {number} at byte {at} is too long").into());
    }
    let payload = disk.read(name, at + 8, size).map_err(io)?;
    if crc32c::crc32c(&payload) != crc && !fault::planted("crc-ignored") {
        return Err(format!("block {number} at byte {at} is not what was written").into());
    }
    Ok(payload)
}

/// Walks all pairs; returns the file's length.
pub(in crate::store) fn visit(disk: &dyn Disk, frame: u64, pair: Visitor<'_>) -> Result<u64, Wrong> {
    let mut walk = Walk::open(disk, frame)?;
    while walk.block(pair)? {}
    Ok(walk.len)
}

/// Reads a checkpoint block by block.
pub(in crate::store) struct Walk<'a> {
    disk: &'a dyn Disk,
    frame: u64,
    name: String,
    len: u64,
    at: u64,
    number: u32,
    pairs: u64,
}

impl<'a> Walk<'a> {
    pub(in crate::store) fn open(disk: &'a dyn Disk, frame: u64) -> Result<Self, Wrong> {
        let name = name(frame);
        let len = disk.len(&name).map_err(|error| error.to_string())?;
        Ok(Self { disk, frame, name, len, at: 0, number: 0, pairs: 0 })
    }

    /// Visits the pairs of the next block; false: that was the end, and the checkpoint is whole.
    pub(in crate::store) fn block(&mut self, pair: Visitor<'_>) -> Result<bool, Wrong> {
        let (name, number) = (&self.name, self.number);
        let payload = block(self.disk, name, self.at, number)?;
        self.at += 8 + payload.len() as u64;
        let mut r = Reader::new(&payload);
        if r.u32().map_err(text)? != number {
            return Err(format!("block {number} is missing").into());
        }
        match (r.u8().map_err(text)?, number) {
            (HEAD, 0) => head_fits(&mut r, self.frame)?,
            (PAIRS, 1..) => {
                while r.left() > 0 {
                    pair(r.bytes().map_err(text)?, r.bytes().map_err(text)?)?;
                    self.pairs += 1;
                }
            }
            (END, 1..) if r.u64() == Ok(self.pairs) && self.at == self.len => return Ok(false),
            (HEAD | PAIRS | END, _) => return Err(format!("block {number} does not belong here").into()),
            (kind, _) => return Err(Wrong::Newer(format!("block kind {kind} in file {name}"))),
        }
        self.number += 1;
        Ok(true)
    }
}

fn visit_first(disk: &dyn Disk, frame: u64) -> Result<(), Wrong> {
    let payload = block(disk, &name(frame), 0, 0)?;
    let mut r = Reader::new(&payload);
    match (r.u32().map_err(text)?, r.u8().map_err(text)?) {
        (0, HEAD) => head_fits(&mut r, frame),
        _ => Ok(()),
    }
}

fn head_fits(r: &mut Reader<'_>, frame: u64) -> Result<(), Wrong> {
    let other = |_: Malformed| Wrong::Damaged("it is of another format".to_owned());
    let ours = r.raw(MAGIC.len()).map_err(other)? == MAGIC;
    match r.u32().map_err(other)? {
        format if ours && format > FORMAT => {
            Err(Wrong::Newer(format!("checkpoint format {format} in file {}", name(frame))))
        }
        FORMAT if ours && r.u64() == Ok(frame) => match r.end() {
            Ok(()) => Ok(()),
            Err(_) => Err(Wrong::Newer(format!("a field in the first block of file {}", name(frame)))),
        },
        _ => Err("it is of another format".to_owned().into()),
    }
}

fn text(error: Malformed) -> String {
    error.to_string()
}
