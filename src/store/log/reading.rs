//! Purpose: segments read in order, frame by frame, up to the last durable one. Must not: change anything.
//!
//! Every frame is checked, those too that are only passed over. A frame that is not what was written ends the log where nobody has
//! claimed it yet and nothing proves that it was durable: a torn append. Everywhere else it is damage.
use crate::fault;
use crate::store::log::frame::Kind;
use crate::store::log::group::{Group, GroupStep};
use crate::store::log::port::{FrameNo, LogError, LogReader, Place, Placed, StoredFrame};
use crate::store::log::segment::{self, Found, SegmentReader, SegmentStep};
use crate::store::log::segments::{SegmentLog, in_words};
use crate::store::records::format;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;

/// Where a log that nobody has claimed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Tail {
    /// The newest segment.
    pub(in crate::store) segment: u64,
    /// Its bytes.
    pub(in crate::store) file_len: u64,
    /// How many of them are good: what follows is a torn append, or parts without their seal.
    pub(in crate::store) len: u64,
    /// The next free number.
    pub(in crate::store) next: u64,
    /// It begins with the header that this version writes.
    pub(in crate::store) headed: bool,
}

/// Reads segments.
#[derive(Debug, Clone)]
pub(in crate::store) struct SegmentsReader<'a> {
    log: &'a SegmentLog,
    /// Those that were there at the beginning.
    segments: BTreeMap<u64, u64>,
    /// Frames before this one are passed over.
    from: FrameNo,
    /// The next one.
    next: FrameNo,
    open: Option<OpenSegment<'a>>,
    /// The log had a writer at the beginning: what it makes durable is read too.
    live: bool,
    /// A log without a writer was read to its end.
    ended: bool,
}

/// The segment that is being read.
#[derive(Debug, Clone)]
struct OpenSegment<'a> {
    first: u64,
    reader: SegmentReader<'a>,
    group: Group,
    /// The first part of the group that is not sealed yet, and where it begins.
    begun: Option<(FrameNo, u64)>,
    headed: bool,
}

fn unreadable(error: &io::Error) -> LogError {
    LogError::Unreadable(error.to_string())
}

impl<'a> SegmentsReader<'a> {
    pub(in crate::store) fn new(log: &'a SegmentLog, segments: BTreeMap<u64, u64>, from: FrameNo) -> Self {
        let next = segments.range(..=from).next_back().map_or(1, |(first, _)| *first);
        Self { log, segments, from, next, open: None, live: log.claimed().is_some(), ended: false }
    }

    /// Opens the segment that begins with the next frame. `None`: there is none yet.
    fn open(&mut self) -> Result<Option<OpenSegment<'a>>, LogError> {
        if self.live {
            self.segments = self.log.segments().all();
        }
        let Some((first, len)) = self.segments.range(self.next..).next().map(|(first, len)| (*first, *len))
        else {
            return Ok(None);
        };
        if first != self.next {
            return Err(hole(self.next, first));
        }
        let mut reader = SegmentReader::open(self.log.disk(), first).map_err(|e| unreadable(&e))?;
        reader.end_at(len);
        Ok(Some(OpenSegment { first, reader, group: Group::default(), begun: None, headed: false }))
    }

    /// The next frame, passed over or not.
    async fn step(&mut self) -> Result<Option<StoredFrame>, LogError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.open()? {
                    Some(open) => open,
                    None => return Ok(None),
                },
            };
            let at = open.reader.at;
            let step = open.reader.next(self.next).await.map_err(|e| unreadable(&e))?;
            match step {
                SegmentStep::Frame(found) => {
                    let frame = open.frame(found, at)?;
                    self.next += 1;
                    self.open = Some(open);
                    return Ok(Some(frame));
                }
                SegmentStep::Unknown(kind) => return Err(in_words(open.reader.unknown(kind))),
                SegmentStep::End | SegmentStep::Flaw => {
                    if !self.end(open, matches!(step, SegmentStep::Flaw))? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// No frame follows in this segment, as far as it was read. Is there more?
    fn end(&mut self, mut open: OpenSegment<'a>, flaw: bool) -> Result<bool, LogError> {
        if self.live {
            self.segments = self.log.segments().all();
        }
        let len = self.segments.get(&open.first).copied().unwrap_or(open.reader.at);
        if self.live && !flaw && open.reader.at < len {
            open.reader.end_at(len);
            self.open = Some(open);
            return Ok(true);
        }
        if let Some(following) = following(&self.segments, open.first) {
            return open.leads_to(following, self.next, flaw).map(|()| true);
        }
        if self.live {
            if flaw {
                return Err(in_words(open.reader.damaged("a frame is not what was written")));
            }
            self.open = Some(open);
            return Ok(false);
        }
        if flaw {
            open.reader.judge(self.next).map_err(in_words)?;
        }
        let begun = open.begun.filter(|_| !fault::planted("group-not-awaited"));
        let (next, good) = begun.unwrap_or((self.next, open.reader.at));
        let headed = open.headed && good > 0;
        self.log.found(Tail { segment: open.first, file_len: len, len: good, next, headed });
        self.ended = true;
        Ok(false)
    }
}

fn hole(next: FrameNo, first: u64) -> LogError {
    let missing = format!("frames {next} to {} are missing", first.saturating_sub(1));
    LogError::Damaged(format!("{missing} before file {}", segment::name(first)))
}

fn following(segments: &BTreeMap<u64, u64>, first: u64) -> Option<u64> {
    segments.range(first + 1..).next().map(|(first, _)| *first)
}

impl OpenSegment<'_> {
    /// A later segment is there: this one must end with the frame before it.
    fn leads_to(&self, following: u64, next: FrameNo, flaw: bool) -> Result<(), LogError> {
        let damaged = |why: &str| Err(in_words(self.reader.damaged(why)));
        match self.begun {
            _ if flaw => damaged("a later file follows a bad frame"),
            Some((first, _)) => {
                damaged(&format!("a later file follows the group of frame {first}, which is not whole"))
            }
            None if following != next => Err(hole(next, following)),
            None => Ok(()),
        }
    }

    /// Takes a frame that begins at byte `at`.
    fn frame(&mut self, found: Found, at: u64) -> Result<StoredFrame, LogError> {
        match self.group.follow(found.kind, found.crc, &found.body) {
            GroupStep::Begins => self.begun = Some((found.number, at)),
            GroupStep::GoesOn => {}
            GroupStep::Alone | GroupStep::Seals => self.begun = None,
            GroupStep::Breaks => return Err(in_words(self.reader.damaged("a group is not whole"))),
        }
        if found.kind == Kind::Header {
            segment::readable(&found.body, &segment::name(self.first)).map_err(in_words)?;
            self.headed = found.number == self.first && found.body == format::header();
        }
        let place = Place { home: self.first, offset: found.body_at };
        let at = Placed { number: found.number, crc: found.crc, place };
        Ok(StoredFrame { at, kind: found.kind, body: found.body.into() })
    }
}

#[async_trait]
impl LogReader for SegmentsReader<'_> {
    async fn next(&mut self) -> Result<Option<StoredFrame>, LogError> {
        loop {
            let frame = self.step().await?;
            if self.next.is_multiple_of(1000) {
                tokio::task::yield_now().await;
            }
            match frame {
                Some(frame) if frame.at.number < self.from => {}
                frame => return Ok(frame),
            }
        }
    }

    fn fork(&self) -> Box<dyn LogReader + '_> {
        Box::new(self.clone())
    }
}
