//! Purpose: two logs read in their one order (`joined`). Must not: give a frame of the feed that may still get another place.
use crate::fault;
use crate::store::log::frame::Kind;
use crate::store::log::joined::{JoinedLog, of_feed, unmark};
use crate::store::log::port::{FrameNo, LogError, LogReader, StoredFrame};
use async_trait::async_trait;

/// Reads both.
pub(in crate::store) struct JoinedReader<'a> {
    log: &'a JoinedLog,
    feed: Box<dyn LogReader + 'a>,
    own: Box<dyn LogReader + 'a>,
    /// The next frame of the feed.
    next: FrameNo,
    /// The owner's last frame that was given.
    before: FrameNo,
    /// And its mark.
    mark: FrameNo,
    /// The owner's next frame and its mark.
    held: Option<(StoredFrame, FrameNo)>,
}

impl<'a> JoinedReader<'a> {
    /// The readers stand before frame `next` of the feed and behind frame `before` of the owner, which has this mark.
    pub(in crate::store) fn new(
        log: &'a JoinedLog,
        feed: Box<dyn LogReader + 'a>,
        own: Box<dyn LogReader + 'a>,
        (next, before, mark): (FrameNo, FrameNo, FrameNo),
    ) -> Self {
        Self { log, feed, own, next, before, mark, held: None }
    }

    /// The owner's next frame. A header stands where the frame before it does.
    async fn look(&mut self) -> Result<(), LogError> {
        if self.held.is_none() {
            self.held = match self.own.next().await? {
                Some(frame) if frame.kind == Kind::Header => Some((frame, self.mark)),
                Some(frame) => {
                    let (frame, mark, epoch) = unmark(frame)?;
                    if self.log.is_anothers(frame.at.number, epoch) {
                        return Err(LogError::Fenced { last: frame.at.number + mark });
                    }
                    Some((frame, mark))
                }
                None => None,
            };
        }
        Ok(())
    }

    async fn of_feed(&mut self) -> Result<StoredFrame, LogError> {
        let frame = self.feed.next().await?.filter(|frame| frame.at.number == self.next);
        let missing = || LogError::Damaged(format!("frame {} of the feed is marked and missing", self.next));
        let frame = frame.ok_or_else(missing)?;
        self.next += 1;
        Ok(of_feed(frame, self.before))
    }
}

#[async_trait]
impl LogReader for JoinedReader<'_> {
    async fn next(&mut self) -> Result<Option<StoredFrame>, LogError> {
        // before the owner's log is read: a frame that is appended later has no smaller mark
        let marked = self.log.marked();
        self.look().await?;
        let up_to = self.held.as_ref().map_or(marked, |(_, mark)| *mark);
        if self.next <= up_to && !(fault::planted("marks-ignored") && self.held.is_some()) {
            return self.of_feed().await.map(Some);
        }
        let Some((mut frame, mark)) = self.held.take() else { return Ok(None) };
        (self.before, self.mark) = (frame.at.number, mark);
        frame.at.number += mark;
        Ok(Some(frame))
    }

    fn fork(&self) -> Box<dyn LogReader + '_> {
        Box::new(JoinedReader {
            log: self.log,
            feed: self.feed.fork(),
            own: self.own.fork(),
            next: self.next,
            before: self.before,
            mark: self.mark,
            held: self.held.clone(),
        })
    }
}
