//! Purpose: two logs as one: what capture writes, read by many, and what one owner of deliveries writes beside it. Must not: write to
//! the first, or depend on what frames say.
//!
//! The owner's frames say where they belong: each ends with a mark, how much of the other log its writer had read. So both together
//! have one order, the same for whoever reads them: a frame with mark `m` comes after the first `m` frames of the other log and before
//! all later ones. A frame's number is its place in that order. What nobody has marked yet has none: it comes by `arrived`.
//!
//! Behind the mark stands the epoch, the number with which the writer began: what another writes from there on is not ours, though it says
//! the same. Whoever reads it with the handle of a writer is `Fenced`.
//!
//! Nothing is trimmed here: who needs the first log's frames is not known to one of its readers.
use crate::store::log::frame::Kind;
use crate::store::log::joined_reader::JoinedReader;
use crate::store::log::port::{
    Appended, Chunk, Claim, Durability, FrameNo, Log, LogError, LogReader, NewFrame, Place, Placed,
    StoredFrame,
};
use crate::store::log::whole::WholeGroups;
use async_trait::async_trait;
use bytes::Bytes;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

/// Mark and epoch.
pub(in crate::store) const SUFFIX: usize = 16;
/// In a place's offset: it is one of the first log.
const OF_FEED: u64 = 1 << 63;
/// `arrived` begins no other group beyond so many bytes.
const ARRIVED_BYTES: usize = 4 << 20;

/// How far a handle has come that has claimed its log.
#[derive(Debug, Clone, Copy)]
struct OwnerStanding {
    /// Frames of the feed up to here have their place.
    marked: FrameNo,
    /// The owner's last frame; `None`: an append has failed, and may have left some. The next one that succeeds tells.
    own: Option<FrameNo>,
    /// The number with which this writer began.
    epoch: FrameNo,
}

/// Two logs as one.
#[derive(Debug)]
pub struct JoinedLog {
    feed: Arc<dyn Log>,
    own: Arc<dyn Log>,
    /// `None`: nobody has claimed this handle.
    standing: Mutex<Option<OwnerStanding>>,
}

/// A frame of the owner's log without its suffix, its mark, and its writer's epoch.
pub(in crate::store) fn unmark(mut frame: StoredFrame) -> Result<(StoredFrame, FrameNo, FrameNo), LogError> {
    let damaged = || LogError::Damaged(format!("frame {}: it has no mark", frame.at.number));
    let (records, suffix) = frame.body.split_last_chunk::<SUFFIX>().ok_or_else(damaged)?;
    let [mark, epoch] = *suffix.as_chunks::<8>().0 else { return Err(damaged()) };
    let len = records.len();
    frame.body.truncate(len);
    Ok((frame, u64::from_le_bytes(mark), u64::from_le_bytes(epoch)))
}

/// A frame of the feed in the joined order, behind so many of the owner's.
pub(in crate::store) fn of_feed(mut frame: StoredFrame, before: FrameNo) -> StoredFrame {
    frame.at.number += before;
    frame.at.place.offset |= OF_FEED;
    frame
}

impl JoinedLog {
    /// `feed` is only read; `own` has one writer, which is whoever claims this, and takes some bytes more than `PORTABLE`.
    pub fn new(feed: Arc<dyn Log>, own: Arc<dyn Log>) -> Self {
        Self { feed, own, standing: Mutex::new(None) }
    }

    fn standing(&self) -> Option<OwnerStanding> {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn stand(&self, standing: Option<OwnerStanding>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
    /// How much of the feed this handle's readers may give once the owner's frames are read; 0: nothing but what is marked.
    pub(in crate::store) fn marked(&self) -> FrameNo {
        self.standing().map_or(0, |standing| standing.marked)
    }

    /// Is a frame another writer's that stands where only ours can?
    pub(in crate::store) fn is_anothers(&self, number: FrameNo, epoch: FrameNo) -> bool {
        self.standing().is_some_and(|ours| number >= ours.epoch && epoch != ours.epoch)
    }

    /// The mark that counts for a frame of the owner's log: of a header it is that of the frame before.
    async fn mark_of(&self, mut number: FrameNo) -> Result<FrameNo, LogError> {
        while number > 0 {
            match self.own.read(number).await {
                Ok(mut reader) => match reader.next().await? {
                    Some(frame) if frame.kind == Kind::Header => number -= 1,
                    Some(frame) => return unmark(frame).map(|(_, mark, _)| mark),
                    None => return Ok(0),
                },
                Err(LogError::Trimmed { .. }) => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Where the two logs are read on from so that the next frame is this one, or the first after it: a frame of each.
    async fn split(&self, from: FrameNo) -> Result<(FrameNo, FrameNo), LogError> {
        let (mut low, mut high) = (1, self.own.last().await? + 1);
        // the first of the owner's frames that stands at `from` or behind it
        while low < high {
            let middle = low + (high - low) / 2;
            if self.mark_of(middle).await? + middle < from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok((from.saturating_sub(low - 1).max(1), low))
    }
}

#[async_trait]
impl Log for JoinedLog {
    async fn claim(&self) -> Result<Claim, LogError> {
        self.stand(None);
        let claim = self.own.claim().await?;
        let marked = self.mark_of(claim.last).await?;
        self.stand(Some(OwnerStanding { marked, own: Some(claim.last), epoch: claim.last + 1 }));
        Ok(Claim { last: claim.last + marked, ..claim })
    }

    async fn append(
        &self,
        frames: &[NewFrame<'_>],
        expected: FrameNo,
        durability: Durability,
    ) -> Result<Appended, LogError> {
        if self.standing().is_none() {
            self.claim().await?;
        }
        let unclaimed = || LogError::Refused("it is not claimed".to_owned());
        let standing = self.standing().ok_or_else(unclaimed)?;
        let OwnerStanding { marked, epoch, .. } = standing;
        let marks = [marked.to_le_bytes(), epoch.to_le_bytes()].concat();
        let bodies: Vec<Vec<u8>> = frames.iter().map(|frame| [frame.body, &marks].concat()).collect();
        let frames: Vec<_> = frames.iter().zip(&bodies).map(|(f, body)| NewFrame { body, ..*f }).collect();
        // a number before what is marked cannot be the last one
        let own = expected.checked_sub(marked).unwrap_or(FrameNo::MAX);
        // also where this future is dropped
        self.stand(Some(OwnerStanding { own: None, ..standing }));
        match self.own.append(&frames, own, durability).await {
            Ok(appended) => {
                let own = appended.frames.last().map_or(own, |at| at.number);
                self.stand(Some(OwnerStanding { own: Some(own), ..standing }));
                let joined = |at: Placed| Placed { number: at.number + marked, ..at };
                Ok(Appended { frames: appended.frames.into_iter().map(joined).collect(), ..appended })
            }
            Err(LogError::Fenced { last }) => {
                self.stand(None);
                let marked = self.mark_of(last).await?;
                Err(LogError::Fenced { last: last + marked })
            }
            Err(LogError::TooLarge(bytes)) => Err(LogError::TooLarge(bytes.saturating_sub(SUFFIX))),
            Err(error) => Err(error),
        }
    }

    async fn read<'a>(&'a self, from: FrameNo) -> Result<Box<dyn LogReader + 'a>, LogError> {
        let (feed, own) = self.split(from).await?;
        let mark = self.mark_of(own - 1).await?;
        let (of_feed, of_own) = (self.feed.read(feed).await?, self.own.read(own).await?);
        Ok(Box::new(JoinedReader::new(self, of_feed, of_own, (feed, own - 1, mark))))
    }

    async fn fetch(&self, place: Place, len: usize) -> Result<Option<Bytes>, LogError> {
        let offset = place.offset & !OF_FEED;
        let log = if offset == place.offset { &self.own } else { &self.feed };
        log.fetch(Place { offset, ..place }, len).await
    }

    /// Not here.
    async fn trim(&self, _below: FrameNo) -> Result<(), LogError> {
        Ok(())
    }

    async fn last(&self) -> Result<FrameNo, LogError> {
        if let Some(OwnerStanding { marked, own: Some(own), .. }) = self.standing() {
            return Ok(own + marked);
        }
        let own = self.own.last().await?;
        Ok(own + self.mark_of(own).await?)
    }

    /// One, for nothing is trimmed.
    async fn chunks(&self) -> Result<Vec<Chunk>, LogError> {
        let own = self.own.chunks().await?;
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let feed = self.feed.chunks().await?;
        let bytes = own.iter().chain(&feed).map(|chunk| chunk.bytes).sum();
        Ok(vec![Chunk { first: 1, bytes }])
    }

    async fn arrived(&self) -> Result<Vec<StoredFrame>, LogError> {
        let Some(OwnerStanding { marked, own: Some(own), epoch }) = self.standing() else {
            return pending().await;
        };
        let mut frames = Vec::new();
        let mut seen = marked;
        while frames.is_empty() {
            self.feed.grown(seen).await?;
            seen = self.feed.last().await?.max(seen);
            let mut groups = WholeGroups::new(self.feed.read(marked + 1).await?);
            let mut bytes = 0;
            while let Some(frame) = groups.next().await? {
                bytes += frame.body.len();
                let ends = frame.kind != Kind::Part;
                frames.push(of_feed(frame, own));
                if ends && bytes > ARRIVED_BYTES {
                    break;
                }
            }
        }
        if let Some(last) = frames.last() {
            self.stand(Some(OwnerStanding { marked: last.at.number - own, own: Some(own), epoch }));
        }
        Ok(frames)
    }

    fn describe(&self, place: Place) -> String {
        let offset = place.offset & !OF_FEED;
        let (log, which) = if offset == place.offset { (&self.own, "own") } else { (&self.feed, "feed") };
        format!("{} ({which})", log.describe(Place { offset, ..place }))
    }

    fn largest(&self) -> usize {
        self.own.largest() - SUFFIX
    }
}
