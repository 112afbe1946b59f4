//! Purpose: the journal as opening reads it: where it begins, how much of it is read, and what its frames say. Must not: change anything.
use crate::store::error::StoreError;
use crate::store::log::frame::Kind;
use crate::store::log::group;
use crate::store::log::port::{Chunk, FrameNo, Log, StoredFrame};
use crate::store::log::segment;
use crate::store::log::whole::WholeGroups;
use crate::store::records::codec::RecordPlace;
use crate::store::records::record::Batch;

/// Bytes of the newest chunks that are checked at every start.
const CHECKED: u64 = 256 << 20;

/// The journal, as it is found.
pub(in crate::store) struct OpenJournal<'a> {
    pub(in crate::store) log: &'a dyn Log,
    pub(in crate::store) chunks: Vec<Chunk>,
}

impl OpenJournal<'_> {
    pub(in crate::store) fn oldest(&self) -> FrameNo {
        self.chunks.first().map_or(1, |chunk| chunk.first)
    }

    /// The first frame of the chunk that holds a frame.
    pub(in crate::store) fn chunk_of(&self, frame: FrameNo) -> FrameNo {
        let firsts = self.chunks.iter().map(|chunk| chunk.first);
        firsts.take_while(|first| *first <= frame).last().unwrap_or_else(|| self.oldest())
    }

    /// The chunk that holds the index's last frame, or an older one while there are few bytes to check.
    pub(in crate::store) fn first_to_check(&self, applied: FrameNo) -> FrameNo {
        let mut bytes = 0;
        let mut from = self.chunks.last().map_or(1, |chunk| chunk.first);
        for chunk in self.chunks.iter().rev() {
            bytes += chunk.bytes;
            if from > applied.max(1) || bytes <= CHECKED {
                from = chunk.first;
            }
        }
        from
    }

    /// Gives every frame of whole groups from `first` on to `see`; returns the last one's number.
    pub(in crate::store) async fn walk<E: From<StoreError>>(
        &self,
        first: FrameNo,
        mut see: impl FnMut(&StoredFrame) -> Result<(), E>,
    ) -> Result<FrameNo, E> {
        let reader = self.log.read(first).await.map_err(StoreError::from)?;
        let mut groups = WholeGroups::new(reader);
        let mut last = first.saturating_sub(1);
        while let Some(frame) = groups.next().await.map_err(StoreError::from)? {
            see(&frame)?;
            last = frame.at.number;
        }
        Ok(last)
    }
}

/// What a frame says; a header says nothing here.
pub(in crate::store) fn said(
    log: &dyn Log,
    frame: &StoredFrame,
) -> Result<(Batch, Vec<RecordPlace>), StoreError> {
    read(frame.kind, frame.at.number, &frame.body, || log.describe(frame.at.place))
}

/// The same out of its file.
pub(in crate::store) fn read(
    kind: Kind,
    number: FrameNo,
    body: &[u8],
    place: impl FnOnce() -> String,
) -> Result<(Batch, Vec<RecordPlace>), StoreError> {
    match kind {
        Kind::Header => Ok((Batch::default(), Vec::new())),
        Kind::Batch | Kind::Part | Kind::Seal => {
            group::decode(kind, body).map_err(|what| segment::unknown_record(what, number, &place()))
        }
    }
}
