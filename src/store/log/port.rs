//! Purpose: the seam below the store: frames in order, each durable when `append` returns. On one machine they lie in segments on a
//! disk (`segments`); elsewhere a replicated stream may hold them. Must not: depend on files, on a stream, or on what a frame says.
//!
//! A log has one writer. Numbers ascend without holes, from 1. A log may take numbers for frames of its own (`Kind::Header`): readers
//! get them like all others and pass over them. The atom above the log is the group (`whole`), whose frames may come in several
//! appends: a log keeps their order and need not keep them together.
//!
//! A log names what it finds damaged, if it can tell that from its end. Some cannot and are shorter then: whoever has a greater number than
//! `last` must refuse the log.
//!
//! `tests/log` holds every log to what is said here, word by word.
use crate::store::log::frame::Kind;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;
use std::future::pending;
use std::time::Duration;
use tokio::time::sleep;

/// How often a log is asked whether it has grown that cannot tell it.
const LOOK: Duration = Duration::from_millis(50);

/// A frame's number. The first is 1; 0 stands for "none yet".
pub type FrameNo = u64;

/// Every log takes a body of so many bytes. One that is to move to another log has no larger ones.
pub const PORTABLE: usize = 900 << 10;

/// A frame to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFrame<'a> {
    /// What the body is. The last frame of what is to be durable is a `Batch` or a `Seal`, and none is a `Header`.
    pub kind: Kind,
    /// At most `Log::largest` bytes.
    pub body: &'a [u8],
}

/// When an append must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it returns, with every frame that was appended before it.
    Now,
    /// With the next append that is durable when it returns. Readers need not see it before.
    Later {
        /// About how many bytes of bodies follow up to then. A log of segments keeps them in one.
        more: u64,
    },
}

/// Where a body lies. What it means is the log's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// A frame's number: as long as nothing from it on is trimmed, the body is there. Never greater than the number of the frame whose
    /// body it is, and never smaller than that of an earlier frame's place.
    pub home: FrameNo,
    /// The first byte, counted by the log.
    pub offset: u64,
}

impl Place {
    /// Of what lies so many bytes further in the same body.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        Self { offset: self.offset.saturating_add(bytes), ..self }
    }
}

/// A frame as the log holds it, without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub number: FrameNo,
    /// A checksum of number, kind and body: appending and reading give the same one. Two histories of one number differ in it.
    pub crc: u32,
    /// Where its body lies.
    pub place: Place,
}

/// A frame that was read and found to be what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFrame {
    /// Number, checksum, place.
    pub at: Placed,
    /// What the body is.
    pub kind: Kind,
    /// The body.
    pub body: Bytes,
}

/// What an append came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The frames, in order, with consecutive numbers. Frames of the log's own may stand before the first.
    pub frames: Vec<Placed>,
    /// How long it took to make them durable; zero for `Later`.
    pub synced: Duration,
}

/// What a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The last frame: what `append` expects. It and all before it are durable.
    pub last: FrameNo,
    /// Bytes of an append that never ended, which were cut off. Not every log can tell.
    pub cut: u64,
}

/// Frames that are trimmed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The first of them.
    pub first: FrameNo,
    /// About how many bytes they take.
    pub bytes: u64,
}

/// What may go wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No space, EIO, no quorum: nothing of this append, nor of what was to be durable with it, counts. Try again later, with the last
    /// durable frame as the expected one. Who opens the log anew before that may find a prefix of it.
    #[error("the log takes no frames: {0}")]
    Refused(String),
    /// The answer was lost: the frames may be there, in part or whole, or come still. `resolve` finds out.
    #[error("it is not known whether the log took the frames: {0}")]
    Unclear(String),
    /// Another writer was there: nothing was changed, and this writer's time is over until it claims the log again. Its own append of
    /// which the answer was lost shows in the same way.
    #[error("another writer has gone on with the log: its last frame is {last}")]
    Fenced {
        /// As far as this log can tell.
        last: FrameNo,
    },
    /// A frame that is asked for was trimmed.
    #[error("the log begins with frame {first}")]
    Trimmed {
        /// The first frame that is there.
        first: FrameNo,
    },
    /// What was durable is not what was written. An operator is needed. Names the place.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// Something that only a newer version reads: nothing was changed. An operator is needed.
    #[error("the log was written by a newer version ({0})")]
    Newer(String),
    /// It cannot be read now. Worth a second try.
    #[error("the log cannot be read: {0}")]
    Unreadable(String),
    /// A body of so many bytes is more than a frame of this log holds: nothing was changed. Never worth a second try.
    #[error("a frame of {0} bytes is more than the log takes")]
    TooLarge(usize),
}

/// Frames in order.
#[async_trait]
pub trait Log: Send + Sync + Debug + 'static {
    /// Becomes the writer. What an append left unfinished behind the last frame, such as parts without their seal, is cut off where the
    /// log can do that; what is there is durable on return. Before this nothing is changed. A former writer's next append is `Fenced`, at the latest when this writer
    /// has appended.
    async fn claim(&self) -> Result<Claim, LogError>;

    /// Appends frames behind frame `expected`, the last one that this writer has appended or found. On `Ok` with `Durability::Now` all of
    /// them are durable, and those that were appended for `Later` before. After an error, and after a future that was dropped, `expected`
    /// is the last durable frame again. What was left behind that is gone when an append has succeeded, or parts without their seal.
    /// Frames of one call may be left as a prefix. A log that nobody has claimed is claimed first.
    async fn append(
        &self,
        frames: &[NewFrame<'_>],
        expected: FrameNo,
        durability: Durability,
    ) -> Result<Appended, LogError>;

    /// From a frame on, up to the end; the one after the last is the end. `Trimmed` if it is there no more.
    async fn read<'a>(&'a self, from: FrameNo) -> Result<Box<dyn LogReader + 'a>, LogError>;

    /// Bytes of a body, as they lie there: the caller has their checksum. `None`: they were trimmed.
    async fn fetch(&self, place: Place, len: usize) -> Result<Option<Bytes>, LogError>;

    /// Nobody needs a frame below `below` any more. They go as far as the log can let go of them (`chunks`), oldest first.
    async fn trim(&self, below: FrameNo) -> Result<(), LogError>;

    /// The last frame that counts; 0: none yet. After trimming all, the last one that was there.
    async fn last(&self) -> Result<FrameNo, LogError>;

    /// What is there, oldest first, without gaps: empty, or the last one is the one that is written. All but that go with `trim`.
    async fn chunks(&self) -> Result<Vec<Chunk>, LogError>;

    /// Resolves when there is a frame behind this one that a reader gets.
    async fn grown(&self, beyond: FrameNo) -> Result<(), LogError> {
        while self.last().await? <= beyond {
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Frames that others have added to what this log stands on, whole groups, in order; waits until there are some. The next append
    /// stands behind what was returned. Cancel-safe. To a log of one writer nobody adds.
    async fn arrived(&self) -> Result<Vec<StoredFrame>, LogError> {
        pending().await
    }

    /// Where that is, for people.
    fn describe(&self, place: Place) -> String;

    /// Bytes of the largest body, at least `PORTABLE`.
    fn largest(&self) -> usize;
}

/// Reads a log in order.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// The next frame. `None`: that was the last one; in the writer's own log, the last one that is durable, and what is appended later
    /// then follows. After an error it is of no use any more. Parts of a group that was never sealed may be among the frames: `whole` passes over them.
    async fn next(&mut self) -> Result<Option<StoredFrame>, LogError>;

    /// Another one at the same place, to look ahead.
    fn fork(&self) -> Box<dyn LogReader + '_>;
}

/// What every log refuses before it does anything: too large a body, a frame that only the log itself makes, and a group that would be
/// durable without its seal.
pub fn check(frames: &[NewFrame<'_>], durability: Durability, largest: usize) -> Result<(), LogError> {
    if let Some(large) = frames.iter().find(|frame| frame.body.len() > largest) {
        return Err(LogError::TooLarge(large.body.len()));
    }
    let open = durability == Durability::Now && frames.last().is_some_and(|frame| frame.kind == Kind::Part);
    if open || frames.iter().any(|frame| frame.kind == Kind::Header) {
        return Err(LogError::Refused("the frames are no whole groups".to_owned()));
    }
    Ok(())
}

/// What stands behind a frame, but for the log's own frames.
pub async fn behind(log: &dyn Log, last: FrameNo) -> Result<Vec<StoredFrame>, LogError> {
    let mut reader = log.read(last + 1).await?;
    let mut there = Vec::new();
    while let Some(stored) = reader.next().await? {
        if stored.kind != Kind::Header {
            there.push(stored);
        }
    }
    Ok(there)
}

/// What became of an append behind `expected` whose answer was lost: where those of its frames stand that are there, in order. Fewer than
/// were given, none too, may still come while nobody appends anything else. `Fenced`: another writer's frames are there.
pub async fn resolve(
    log: &dyn Log,
    frames: &[NewFrame<'_>],
    expected: FrameNo,
) -> Result<Vec<Placed>, LogError> {
    let mut there = Vec::new();
    for stored in behind(log, expected).await? {
        let given = frames.get(there.len());
        if !given.is_some_and(|given| given.kind == stored.kind && given.body == &stored.body[..]) {
            return Err(LogError::Fenced { last: stored.at.number });
        }
        there.push(stored.at);
    }
    Ok(there)
}
