//! The journal's writing end: group append, rotation, cutting back what failed. Knows frames, not what they say.
//!
//! Invariant: bytes beyond `len` of the active segment are never believed. After any failed append or sync nothing is assumed:
//! the file is cut back to `len` before it is written again, because pages of a failed fdatasync may be marked clean.
use crate::disk::Disk;
use crate::fault;
use crate::store::log::frame::{self, Kind};
use crate::store::log::port::{Place, Placed};
use crate::store::log::segment;
use crate::store::records::format;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The segments that exist: first frame → durable bytes. Shared with whoever deletes them.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Segments(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Segments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The one that is written.
    pub(in crate::store) fn active(&self) -> Option<u64> {
        self.lock().keys().next_back().copied()
    }
    /// The oldest and its last frame, unless it is the active one.
    pub(in crate::store) fn oldest_closed(&self) -> Option<(u64, u64)> {
        let segments = self.lock();
        let mut firsts = segments.keys();
        let first = firsts.next()?;
        firsts.next().map(|following| (*first, following - 1))
    }
    pub(in crate::store) fn forget(&self, first: u64) {
        self.lock().remove(&first);
    }
    pub(in crate::store) fn set(&self, first: u64, len: u64) {
        self.lock().insert(first, len);
    }
    /// First frame → durable bytes, of all.
    pub(in crate::store) fn all(&self) -> BTreeMap<u64, u64> {
        self.lock().clone()
    }
    /// What lies on the disk now.
    pub(in crate::store) fn become_these(&self, segments: BTreeMap<u64, u64>) {
        *self.lock() = segments;
    }
}

/// The writing end. One owner: the committer.
#[derive(Debug)]
pub(in crate::store) struct Journal {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    segments: Segments,
    active: u64,
    /// Durable bytes of the active segment.
    len: u64,
    /// Number of the next frame.
    next: u64,
    /// Something may stand beyond `len`.
    soiled: bool,
    /// The next segment's file may exist: it must be made before anything is written.
    rotating: bool,
    /// The active segment begins with the header that this version writes; no other is written on.
    headed: bool,
}

/// Where the journal is written on.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct JournalEnd {
    /// The first free number.
    pub(in crate::store) next: u64,
    /// Good bytes of the active segment.
    pub(in crate::store) len: u64,
    /// It begins with the header that this version writes.
    pub(in crate::store) headed: bool,
}

/// Frames that become durable, and are believed, together. What was given to the disk of it is nothing before `write` has returned.
#[derive(Debug)]
pub(in crate::store) struct Append {
    /// Not yet given to the disk.
    bytes: Vec<u8>,
    /// What was.
    given: u64,
    /// Where each frame stands.
    pub(in crate::store) written: Vec<Placed>,
}

impl Journal {
    /// Goes on behind what recovery found.
    pub(in crate::store) fn resume(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        segments: Segments,
        end: JournalEnd,
    ) -> Self {
        let JournalEnd { next, len, headed } = end;
        let active = segments.active().unwrap_or(next);
        Self { disk, segment_bytes, segments, active, len, next, soiled: false, rotating: false, headed }
    }

    /// The last durable frame.
    pub(in crate::store) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Does the journal end where this writer left it? After a failure that cannot be told. An error proves nothing.
    pub(in crate::store) fn is_alone(&self) -> io::Result<bool> {
        if self.soiled || self.rotating {
            return Ok(true);
        }
        if self.disk.len(&segment::name(self.active))? != self.len {
            return Ok(false);
        }
        // an empty segment is the next one itself
        if self.next == self.active {
            return Ok(true);
        }
        match self.disk.len(&segment::name(self.next)) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Begins to append about `size` bytes; a full segment is closed first, and one that an earlier version began.
    /// A group never goes on in another segment.
    pub(in crate::store) async fn begin(&mut self, size: u64) -> io::Result<Append> {
        let begun = self.next > self.active + 1;
        let full = begun && self.len + size > self.segment_bytes;
        if self.rotating || full || self.len > 0 && !self.headed {
            self.rotate().await?;
        }
        if !self.headed {
            self.head().await?;
        }
        Ok(Append { bytes: Vec::new(), given: 0, written: Vec::new() })
    }

    /// Gives what is there to the disk; it is durable, and believed, with what is written after it.
    pub(in crate::store) async fn give(&mut self, append: &mut Append) -> io::Result<()> {
        let bytes = std::mem::take(&mut append.bytes);
        append.given += bytes.len() as u64;
        self.soiled = true;
        self.disk.append(&segment::name(self.active), bytes).await
    }

    /// Adds a frame as it is.
    pub(in crate::store) fn frame(&self, append: &mut Append, kind: Kind, body: &[u8]) {
        let lead = append.written.len();
        let number = self.next + lead as u64;
        let at = self.len + append.given + append.bytes.len() as u64;
        let crc = frame::encode(&mut append.bytes, kind, number, lead as u32, body);
        let place = Place { home: self.active, offset: at + frame::HEADER as u64 };
        append.written.push(Placed { number, crc, place });
    }

    /// Gives the rest to the disk and syncs; returns how long the sync took.
    pub(in crate::store) async fn write(&mut self, append: &mut Append) -> io::Result<Duration> {
        let bytes = std::mem::take(&mut append.bytes);
        append.given += bytes.len() as u64;
        // set before the first await: whoever drops this future leaves a soiled tail
        self.soiled = true;
        let took = self.disk.append_durably(&segment::name(self.active), bytes).await?;
        self.accept(append);
        Ok(took)
    }

    /// The two halves of `write`, for the planted fault only.
    pub(in crate::store) async fn write_unsynced(&mut self, append: &mut Append) -> io::Result<()> {
        self.give(append).await?;
        self.accept(append);
        Ok(())
    }
    fn accept(&mut self, append: &Append) {
        self.soiled = false;
        self.len += append.given;
        self.next += append.written.len() as u64;
        self.segments.lock().insert(self.active, self.len);
    }

    /// After a failure: cuts off whatever a failed append left. Until this succeeds nothing may be written.
    pub(in crate::store) async fn cut(&mut self) -> io::Result<()> {
        if self.soiled {
            self.disk.truncate(&segment::name(self.active), self.len).await?;
            self.soiled = false;
        }
        Ok(())
    }

    async fn rotate(&mut self) -> io::Result<()> {
        self.rotating = true;
        fault::crash_point("rotate.before");
        self.disk.create(&segment::name(self.next)).await?;
        fault::crash_point("rotate.created");
        self.segments.lock().insert(self.next, 0);
        self.active = self.next;
        (self.len, self.headed) = (0, false);
        self.rotating = false;
        Ok(())
    }

    /// Begins a segment with its header: an append of its own that is durable before anything follows. So the frame that follows
    /// proves that the header was there, and a version that cannot read it does not take it for a torn append.
    async fn head(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, Kind::Header, self.next, 0, &format::header());
        let len = bytes.len() as u64;
        self.soiled = true;
        self.disk.append_durably(&segment::name(self.active), bytes).await?;
        (self.soiled, self.headed) = (false, true);
        self.len += len;
        self.next += 1;
        self.segments.lock().insert(self.active, self.len);
        fault::crash_point("rotate.headed");
        Ok(())
    }

    /// About as many bytes as so many frames take with so many bytes of records in them.
    pub(in crate::store) fn size(frames: usize, records: usize) -> u64 {
        (frames * frame::HEADER + records) as u64
    }
}
