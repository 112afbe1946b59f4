//! Purpose: the journal as opening reads it: where it begins, how much of it is read, and what its frames say. Must not: change anything.
use crate::store::error::StoreError;
use crate::store::log::port::{Chunk, FrameNo, Log, StoredFrame};
use crate::store::log::whole::WholeGroups;

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

    /// Does nothing but parts without their seal follow this frame? A log that cannot cut them off keeps them.
    pub(in crate::store) async fn is_only_begun(&self, last: FrameNo) -> Result<bool, StoreError> {
        let after = self.log.last().await? > last;
        let follows = WholeGroups::new(self.log.read(last + 1).await?).next().await?;
        Ok(after && follows.is_none())
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
