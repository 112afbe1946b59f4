//! Rewrites a closed data folder whose subscriptions hold credentials in the clear, as earlier versions left them. Must not depend on
//! ciphers: the caller decides what a sealed subscription is.
//!
//! A frame keeps its number, its place among the others and its other records. Its length and its CRC change, and with them where
//! events stand in the file, so the index is marked to be made anew before the first file is replaced. Each file is replaced
//! whole, by a rename. Wherever this is interrupted, the folder opens, and a second call ends the work: what is sealed is left alone.
use crate::disk::Disk;
use crate::domain::Subscription;
use crate::store::engine::catch_up::REBUILD;
use crate::store::engine::checkpoint::{self, Blocks, Walk, Wrong};
use crate::store::error::{StoreError, blocked, unreadable};
use crate::store::index::keys;
use crate::store::log::frame::{self, Kind};
use crate::store::log::group::{self, Group};
use crate::store::log::segment::{self, Found, SegmentReader, SegmentStep};
use crate::store::records::codec;
use crate::store::records::field::{Malformed, Reader, Writer};
use crate::store::records::record::{Batch, Record};
use crate::store::recovery::survey::{Files, survey};
use crate::store::state::said;

/// A subscription as it may be stored; `None`: it may stay as it is.
pub type Reseal<'a> = &'a (dyn Fn(&Subscription) -> Option<Subscription> + Sync);

const PREFIX: &str = "reseal-";
/// Written at once.
const CHUNK: usize = 1 << 20;

/// Rewrites every segment and checkpoint that holds a subscription which `reseal` replaces; returns their names. A damaged file
/// that cannot be judged is an error, before anything is changed. Nobody may have the folder open.
pub async fn reseal(disk: &dyn Disk, reseal: Reseal<'_>) -> Result<Vec<String>, StoreError> {
    for name in disk.list().map_err(|e| unreadable(&e))? {
        if name.starts_with(PREFIX) {
            disk.remove(&name).await.map_err(|e| blocked(&e))?;
        }
    }
    let files = survey(disk).await?;
    let mut segments = Vec::new();
    for first in files.segments.keys() {
        if segment_is_clear(&files, *first, reseal).await? {
            segments.push(*first);
        }
    }
    let mut checkpoints = Vec::new();
    for frame in &files.checkpoints {
        if checkpoint_is_clear(disk, *frame, reseal)? {
            checkpoints.push(*frame);
        }
    }
    if segments.is_empty() && checkpoints.is_empty() {
        return Ok(Vec::new());
    }
    mark_rebuild(disk).await?;
    let mut names = Vec::new();
    for first in segments {
        names.push(rewrite_segment(disk, first, reseal).await?);
    }
    for frame in checkpoints {
        names.push(rewrite_checkpoint(disk, frame, reseal).await?);
    }
    Ok(names)
}

/// The next `open` makes the index anew.
pub async fn mark_rebuild(disk: &dyn Disk) -> Result<(), StoreError> {
    disk.create(REBUILD).await.map_err(|e| blocked(&e))
}

async fn segment_is_clear(files: &Files<'_>, first: u64, reseal: Reseal<'_>) -> Result<bool, StoreError> {
    let newest = files.segments.keys().next_back() == Some(&first);
    let mut reader = SegmentReader::open(files.disk, first).map_err(|e| unreadable(&e))?;
    let mut expected = first;
    let mut clear = false;
    loop {
        match reader.next(expected).await.map_err(|e| unreadable(&e))? {
            SegmentStep::Frame(found) => clear |= sealed_batch(&found, first, reseal)?.is_some(),
            SegmentStep::End => return Ok(clear),
            // a torn tail may hold anything: without it the file is written anew
            SegmentStep::Flaw if newest => return reader.judge(expected).map(|torn| clear || torn > 0),
            SegmentStep::Flaw => return Err(reader.damaged("a later file follows a bad frame")),
            SegmentStep::Unknown(kind) => return Err(reader.unknown(kind)),
        }
        expected += 1;
    }
}

/// The frame's batch with its subscriptions sealed; `None`: nothing in it is clear.
fn sealed_batch(found: &Found, first: u64, reseal: Reseal<'_>) -> Result<Option<Batch>, StoreError> {
    let (mut batch, _) =
        said::read(found.kind, found.number, &found.body, || format!("file {}", segment::name(first)))?;
    let mut changed = false;
    for record in &mut batch.records {
        if let Record::Subscription(subscription) = record
            && let Some(sealed) = reseal(subscription)
        {
            **subscription = sealed;
            changed = true;
        }
    }
    Ok(changed.then_some(batch))
}

async fn rewrite_segment(disk: &dyn Disk, first: u64, reseal: Reseal<'_>) -> Result<String, StoreError> {
    let name = segment::name(first);
    let mut new = New::begin(disk, &name).await?;
    let mut reader = SegmentReader::open(disk, first).map_err(|e| unreadable(&e))?;
    let mut expected = first;
    let mut group = Group::default();
    // what follows the last good frame was judged to be a torn tail
    while let SegmentStep::Frame(found) = reader.next(expected).await.map_err(|e| unreadable(&e))? {
        let sealed = sealed_batch(&found, first, reseal)?.map(|batch| codec::encode(&batch).0);
        let records = sealed.as_deref().unwrap_or(&found.body[group::prefix(found.kind)..]);
        // a part's CRC is another now, and the seal's holds it
        let body = match found.kind {
            Kind::Batch | Kind::Header => records.to_vec(),
            Kind::Part => group.part(records),
            Kind::Seal => group.seal(records),
        };
        let crc = frame::encode(&mut new.bytes, found.kind, found.number, found.lead, &body);
        group.follow(found.kind, crc, &body);
        new.write(CHUNK).await?;
        expected += 1;
    }
    new.end().await
}

fn checkpoint_is_clear(disk: &dyn Disk, frame: u64, reseal: Reseal<'_>) -> Result<bool, StoreError> {
    let mut clear = false;
    let walked = checkpoint::visit(disk, frame, &mut |key, value| {
        clear |= sealed_value(key, value, reseal)?.is_some();
        Ok(())
    });
    walked.map(|_| clear).map_err(|wrong| unfit(frame, wrong))
}

fn unfit(frame: u64, wrong: Wrong) -> StoreError {
    match wrong {
        Wrong::Damaged(why) => StoreError::Damaged(format!("the checkpoint of frame {frame}: {why}")),
        Wrong::Newer(what) => StoreError::Newer(what),
    }
}

/// A subscription's value with its credentials sealed; `None`: it may stay, or it is another's.
fn sealed_value(key: &[u8], value: &[u8], reseal: Reseal<'_>) -> Result<Option<Vec<u8>>, Wrong> {
    if !keys::is_subscription(key) {
        return Ok(None);
    }
    let subscription = codec::take_subscription(&mut Reader::new(value));
    let subscription = subscription.map_err(|Malformed(field)| Wrong::Newer(format!("field {field}")))?;
    Ok(reseal(&subscription).map(|sealed| {
        let mut writer = Writer::default();
        codec::put_subscription(&mut writer, &sealed);
        writer.0
    }))
}

async fn rewrite_checkpoint(disk: &dyn Disk, frame: u64, reseal: Reseal<'_>) -> Result<String, StoreError> {
    let mut new = New::begin(disk, &checkpoint::name(frame)).await?;
    let mut blocks = Blocks::new(frame);
    let mut walk = Walk::open(disk, frame).map_err(|wrong| unfit(frame, wrong))?;
    loop {
        let more = walk.block(&mut |key, value| {
            let sealed = sealed_value(key, value, reseal)?;
            blocks.pair(key, sealed.as_deref().unwrap_or(value));
            Ok(())
        });
        if !more.map_err(|wrong| unfit(frame, wrong))? {
            break;
        }
        new.bytes.extend_from_slice(&blocks.take());
        new.write(CHUNK).await?;
    }
    blocks.end();
    new.bytes.extend_from_slice(&blocks.take());
    new.end().await
}

/// A file under construction, beside the one that it will replace.
struct New<'a> {
    disk: &'a dyn Disk,
    name: String,
    unfinished: String,
    bytes: Vec<u8>,
}

impl<'a> New<'a> {
    async fn begin(disk: &'a dyn Disk, name: &str) -> Result<Self, StoreError> {
        let unfinished = format!("{PREFIX}{name}");
        disk.create(&unfinished).await.map_err(|e| blocked(&e))?;
        Ok(Self { disk, name: name.to_owned(), unfinished, bytes: Vec::new() })
    }
    /// Writes what has gathered, if it is at least so much.
    async fn write(&mut self, least: usize) -> Result<(), StoreError> {
        if self.bytes.len() < least {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.disk.append(&self.unfinished, bytes).await.map_err(|e| blocked(&e))
    }
    /// Makes it durable, then puts it in place of the old one.
    async fn end(mut self) -> Result<String, StoreError> {
        self.write(0).await?;
        self.disk.sync(&self.unfinished).await.map_err(|e| blocked(&e))?;
        self.disk.rename(&self.unfinished, &self.name).await.map_err(|e| blocked(&e))?;
        Ok(self.name)
    }
}
