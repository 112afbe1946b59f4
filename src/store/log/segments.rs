//! Purpose: a log of segments on a disk. Must not: depend on what a frame's records say.
//!
//! The disk belongs to one process (its lock); a second writer within it shows in the active segment's length, or in a next segment that
//! is there already. Bytes behind the last durable frame count for nothing, and are cut off before anything is written.
use crate::disk::Disk;
use crate::fault;
use crate::store::error::StoreError;
use crate::store::log::frame::MAX_BODY;
use crate::store::log::journal::{Append, Journal, JournalEnd, Segments};
use crate::store::log::port::{
    self, Appended, Chunk, Claim, Durability, FrameNo, Log, LogError, LogReader, NewFrame, Place,
};
use crate::store::log::reading::{SegmentsReader, Tail};
use crate::store::log::segment;
use crate::store::records::format::MAX_HEADER;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A log of segments.
#[derive(Debug)]
pub struct SegmentLog {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    min_free: u64,
    /// Of one that was claimed, with their durable bytes; else as they were listed last.
    segments: Segments,
    writer: tokio::sync::Mutex<Option<SegmentWriter>>,
    /// What the writer has made durable; `None`: nobody has claimed the log.
    last: Mutex<Option<FrameNo>>,
    /// Where a reader found the end, so that a claim need not look for it.
    tail: Mutex<Option<Tail>>,
}

#[derive(Debug)]
struct SegmentWriter {
    journal: Journal,
    /// What was appended for `Later`.
    run: Option<Append>,
    /// The last durable frame that the caller has heard of: headers may stand behind it.
    said: FrameNo,
}

impl SegmentWriter {
    /// Whether an append behind this frame goes on with what is there. What was appended for `Later` is given up if it is behind the last
    /// durable one.
    fn follows(&mut self, expected: FrameNo) -> bool {
        let durable = expected == self.said || expected == self.journal.last();
        match self.run.as_ref().and_then(|run| run.written.last()) {
            Some(written) if written.number == expected => true,
            Some(_) if durable => {
                self.run = None;
                true
            }
            Some(_) => false,
            None => durable || fault::planted("log-number-ignored"),
        }
    }
}

fn refused(error: &io::Error) -> LogError {
    LogError::Refused(error.to_string())
}

/// What the segments' readers say, in the log's words.
pub(in crate::store) fn in_words(error: StoreError) -> LogError {
    match error {
        StoreError::Damaged(what) => LogError::Damaged(what),
        StoreError::Newer(what) => LogError::Newer(what),
        StoreError::Read(what) => LogError::Unreadable(what),
        other => LogError::Refused(other.to_string()),
    }
}

impl SegmentLog {
    /// Segments are about `segment_bytes` long; nothing is appended that leaves less than `min_free` bytes on the disk.
    pub fn new(disk: Arc<dyn Disk>, segment_bytes: u64, min_free: u64) -> Self {
        Self {
            disk,
            segment_bytes,
            min_free,
            segments: Segments::default(),
            writer: tokio::sync::Mutex::new(None),
            last: Mutex::new(None),
            tail: Mutex::new(None),
        }
    }

    pub(in crate::store) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }
    /// Has this handle a writer?
    pub(in crate::store) fn claimed(&self) -> Option<FrameNo> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set_claimed(&self, last: Option<FrameNo>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
    pub(in crate::store) fn found(&self, tail: Tail) {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = Some(tail);
    }
    pub(in crate::store) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The segments that are there. Unless this handle is the writer the folder is looked at, and refused if a newer version wrote it.
    fn list(&self) -> Result<BTreeMap<u64, u64>, LogError> {
        if self.claimed().is_some() {
            return Ok(self.segments.all());
        }
        let unreadable = |error: io::Error| LogError::Unreadable(error.to_string());
        let mut found = BTreeMap::new();
        for name in self.disk.list().map_err(unreadable)? {
            if let Some(first) = segment::parse_name(&name) {
                let len = self.disk.len(&name).map_err(unreadable)?;
                segment::header(self.disk(), first, len).map_err(in_words)?;
                found.insert(first, len);
            }
        }
        self.segments.become_these(found.clone());
        Ok(found)
    }

    /// Where the log ends: what a reader has found, or what the newest segment says now.
    async fn end(&self) -> Result<Option<Tail>, LogError> {
        let segments = self.list()?;
        let Some((first, len)) = segments.last_key_value() else { return Ok(None) };
        let found = *self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = found.filter(|tail| tail.segment == *first && tail.file_len == *len) {
            return Ok(Some(tail));
        }
        let mut reader = SegmentsReader::new(self, segments.clone(), *first);
        while reader.next().await?.is_some() {}
        Ok(*self.tail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over: what stands behind the last frame is cut off, and what is there made durable.
    async fn take_over(&self) -> Result<(SegmentWriter, Claim), LogError> {
        let end = self.end().await?;
        let (next, cut) = match &end {
            None => (1, 0),
            Some(tail) => (tail.next, tail.file_len - tail.len),
        };
        if let Some(tail) = &end {
            let name = segment::name(tail.segment);
            if cut > 0 {
                tracing::warn!(bytes = cut, file = name, "a torn tail is cut off");
                fault::crash_point("torn.before-truncate");
                self.disk.truncate(&name, tail.len).await.map_err(|e| refused(&e))?;
                fault::crash_point("torn.truncated");
            }
            // A kill may have left frames that were written and not synced. They are believed from here on, so they must survive a power
            // cut. Older segments were synced before the next one was begun.
            self.disk.sync(&name).await.map_err(|e| refused(&e))?;
            self.segments.set(tail.segment, tail.len);
        } else {
            self.disk.create(&segment::name(1)).await.map_err(|e| refused(&e))?;
            self.segments.set(1, 0);
        }
        let (len, headed) = end.map_or((0, false), |tail| (tail.len, tail.headed));
        let end = JournalEnd { next, len, headed };
        let journal = Journal::resume(self.disk.clone(), self.segment_bytes, self.segments.clone(), end);
        Ok((SegmentWriter { journal, run: None, said: next - 1 }, Claim { last: next - 1, cut }))
    }

    /// Writes what was checked. An error leaves a tail that the next append cuts off.
    async fn put(
        &self,
        writer: &mut SegmentWriter,
        frames: &[NewFrame<'_>],
        durability: Durability,
    ) -> Result<Appended, LogError> {
        let mut run = match writer.run.take() {
            Some(run) => run,
            None if frames.is_empty() => return Ok(Appended { frames: Vec::new(), synced: Duration::ZERO }),
            None => self.begin(writer, frames, durability).await?,
        };
        let before = run.written.len();
        for frame in frames {
            writer.journal.frame(&mut run, frame.kind, frame.body);
        }
        let synced = match durability {
            Durability::Now if fault::planted("log-not-synced") => {
                writer.journal.write_unsynced(&mut run).await.map(|()| Duration::ZERO)
            }
            Durability::Now => writer.journal.write(&mut run).await,
            Durability::Later { .. } => writer.journal.give(&mut run).await.map(|()| Duration::ZERO),
        };
        let synced = synced.map_err(|e| refused(&e))?;
        let appended = Appended { frames: run.written[before..].to_vec(), synced };
        match durability {
            Durability::Now => {
                writer.said = writer.journal.last();
                self.set_claimed(Some(writer.said));
            }
            Durability::Later { .. } => writer.run = Some(run),
        }
        Ok(appended)
    }

    /// Before the first frame that is not durable: is there room, and does the segment end here?
    async fn begin(
        &self,
        writer: &mut SegmentWriter,
        frames: &[NewFrame<'_>],
        durability: Durability,
    ) -> Result<Append, LogError> {
        if !fault::planted("log-tail-kept") {
            writer.journal.cut().await.map_err(|e| refused(&e))?;
        }
        let more = if let Durability::Later { more } = durability { more } else { 0 };
        let size = Journal::size(frames.len(), frames.iter().map(|frame| frame.body.len()).sum());
        let free = self.disk.free_bytes().map_err(|e| refused(&e))?;
        if free < self.min_free.saturating_add(size + more + MAX_HEADER as u64) {
            return Err(LogError::Refused("less than store.min_free is free".to_owned()));
        }
        let begun = writer.journal.begin(size + more).await;
        self.set_claimed(Some(writer.journal.last()));
        begun.map_err(|e| refused(&e))
    }

    async fn fenced(&self, writer: &mut Option<SegmentWriter>) -> LogError {
        *writer = None;
        self.set_claimed(None);
        match self.last().await {
            Ok(last) => LogError::Fenced { last },
            Err(error) => error,
        }
    }
}

#[async_trait]
impl Log for SegmentLog {
    async fn claim(&self) -> Result<Claim, LogError> {
        let mut writer = self.writer.lock().await;
        *writer = None;
        self.set_claimed(None);
        let (taken, claim) = self.take_over().await?;
        *writer = Some(taken);
        self.set_claimed(Some(claim.last));
        Ok(claim)
    }

    async fn append(
        &self,
        frames: &[NewFrame<'_>],
        expected: FrameNo,
        durability: Durability,
    ) -> Result<Appended, LogError> {
        port::check(frames, durability, MAX_BODY)?;
        let mut writer = self.writer.lock().await;
        if writer.is_none() {
            let (taken, claim) = self.take_over().await?;
            *writer = Some(taken);
            self.set_claimed(Some(claim.last));
        }
        let Some(ours) = writer.as_mut() else {
            return Err(LogError::Refused("it is not claimed".to_owned()));
        };
        let alone = ours.run.is_some()
            || fault::planted("log-unfenced")
            || ours.journal.is_alone().map_err(|e| refused(&e))?;
        if !ours.follows(expected) || !alone {
            return Err(self.fenced(&mut writer).await);
        }
        self.put(ours, frames, durability).await
    }

    async fn read<'a>(&'a self, from: FrameNo) -> Result<Box<dyn LogReader + 'a>, LogError> {
        let segments = self.list()?;
        match segments.keys().next() {
            Some(first) if from < *first => Err(LogError::Trimmed { first: *first }),
            _ => Ok(Box::new(SegmentsReader::new(self, segments, from))),
        }
    }

    async fn fetch(&self, place: Place, len: usize) -> Result<Option<Bytes>, LogError> {
        match self.disk.fetch(&segment::name(place.home), place.offset, len).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogError::Unreadable(error.to_string())),
        }
    }

    async fn trim(&self, below: FrameNo) -> Result<(), LogError> {
        while let Some((first, last)) = self.segments.oldest_closed() {
            let needed = last >= below && !(fault::planted("log-trims-too-far") && first < below);
            if needed {
                break;
            }
            let name = segment::name(first);
            fault::crash_point("retention.before-remove");
            self.disk.remove(&name).await.map_err(|e| refused(&e))?;
            fault::crash_point("retention.removed");
            self.segments.forget(first);
            tracing::info!(file = name, "segment deleted: nothing lives in it");
        }
        Ok(())
    }

    async fn last(&self) -> Result<FrameNo, LogError> {
        match self.claimed() {
            Some(last) => Ok(last),
            None => Ok(self.end().await?.map_or(0, |tail| tail.next - 1)),
        }
    }

    async fn chunks(&self) -> Result<Vec<Chunk>, LogError> {
        Ok(self.list()?.into_iter().map(|(first, bytes)| Chunk { first, bytes }).collect())
    }

    fn describe(&self, place: Place) -> String {
        format!("file {}, byte {}", segment::name(place.home), place.offset)
    }

    fn largest(&self) -> usize {
        MAX_BODY
    }
}
