//! Purpose: batches as groups of frames, given to a log so that they become durable together. Must not: depend on what a log is made of,
//! apply what it writes, or answer anybody.
use crate::fault;
use crate::store::log::frame::Kind;
use crate::store::log::group::{self, Group, Piece};
use crate::store::log::port::{Durability, FrameNo, Log, LogError, NewFrame, Placed, StoredFrame};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

/// Groups on their way into a log.
pub(in crate::store) struct Writing<'a> {
    log: &'a dyn Log,
    /// The last frame that was given.
    after: FrameNo,
    /// Bytes that are not given yet.
    left: u64,
    /// Given with the next part, or with the end.
    ready: Vec<(Kind, Cow<'a, [u8]>)>,
    written: Written,
    /// Taken by the log already: they need not be given.
    there: VecDeque<StoredFrame>,
}

/// What was written.
#[derive(Debug, Default)]
pub(in crate::store) struct Written {
    /// One a piece; its place is where the piece's records begin.
    pub(in crate::store) pieces: Vec<Placed>,
    /// How long the sync took.
    pub(in crate::store) synced: Duration,
}

impl<'a> Writing<'a> {
    /// Goes on behind a frame, with bodies of so many bytes in all. `there`: what the log has taken of them, behind that frame.
    pub(in crate::store) fn new(
        log: &'a dyn Log,
        last: FrameNo,
        bytes: usize,
        there: VecDeque<StoredFrame>,
    ) -> Self {
        let (ready, written) = (Vec::new(), Written::default());
        Self { log, after: last, left: bytes as u64, ready, written, there }
    }

    /// A batch: one frame, or parts and a seal. What is kept in memory is one frame, however long the group.
    pub(in crate::store) async fn group(&mut self, pieces: &'a [Piece]) -> Result<(), LogError> {
        let Some((last, parts)) = pieces.split_last() else { return Ok(()) };
        if parts.is_empty() {
            self.ready.push((Kind::Batch, Cow::Borrowed(&last.body)));
            return Ok(());
        }
        let mut group = Group::default();
        for part in parts {
            self.ready.push((Kind::Part, Cow::Owned(group.part(&part.body))));
            self.later().await?;
            fault::crash_point("group.part");
            group.put(self.written.pieces.last().map_or(0, |part| part.crc));
        }
        self.ready.push((Kind::Seal, Cow::Owned(group.seal(&last.body))));
        Ok(())
    }

    /// Gives what is ready, without waiting for it to be durable.
    pub(in crate::store) async fn later(&mut self) -> Result<(), LogError> {
        let ready: usize = self.ready.iter().map(|(_, body)| body.len()).sum();
        self.left = self.left.saturating_sub(ready as u64);
        self.give(Durability::Later { more: self.left }).await
    }

    /// Gives the rest: all of it is durable on return.
    pub(in crate::store) async fn end(mut self) -> Result<Written, LogError> {
        self.give(Durability::Now).await?;
        Ok(self.written)
    }

    /// The same without the sync, for planted faults only.
    pub(in crate::store) async fn end_unsynced(mut self) -> Result<Written, LogError> {
        self.later().await?;
        Ok(self.written)
    }

    async fn give(&mut self, durability: Durability) -> Result<(), LogError> {
        let ready = std::mem::take(&mut self.ready);
        let mut frames: VecDeque<_> =
            ready.iter().map(|(kind, body)| NewFrame { kind: *kind, body }).collect();
        while let Some(frame) = frames.front()
            && let Some(found) = self.there.pop_front()
        {
            if found.kind != frame.kind || found.body != frame.body {
                return Err(LogError::Fenced { last: found.at.number });
            }
            self.put(frame.kind, found.at);
            frames.pop_front();
        }
        if frames.is_empty() {
            return self.there.front().map_or(Ok(()), |other| match durability {
                Durability::Now => Err(LogError::Fenced { last: other.at.number }),
                Durability::Later { .. } => Ok(()),
            });
        }
        let frames = frames.make_contiguous();
        let appended = self.log.append(frames, self.after, durability).await?;
        self.written.synced = appended.synced;
        for (frame, at) in frames.iter().zip(appended.frames) {
            self.put(frame.kind, at);
        }
        Ok(())
    }

    fn put(&mut self, kind: Kind, at: Placed) {
        self.after = at.number;
        let place = at.place.plus(group::prefix(kind) as u64);
        self.written.pieces.push(Placed { place, ..at });
    }
}
