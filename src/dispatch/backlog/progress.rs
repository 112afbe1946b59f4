//! Purpose: how far a lane has been read and offered, pure. Must not: depend on what is in memory.
use crate::domain::Seq;
use std::collections::BTreeSet;

/// The progress of one lane.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct LaneProgress {
    /// The store has been read up to here.
    cursor: Option<Seq>,
    /// What was ever read or offered in order: an offer that is not later is stale.
    seen: Option<Seq>,
    /// Read out of turn, beyond `seen`: their offers are still to come, and are stale.
    early: BTreeSet<Seq>,
    /// There is more in the store after the cursor.
    more: bool,
}

impl LaneProgress {
    pub(in crate::dispatch) fn cursor(&self) -> Option<Seq> {
        self.cursor
    }
    pub(in crate::dispatch) fn seen(&self) -> Option<Seq> {
        self.seen
    }
    pub(in crate::dispatch) fn has_seen(&self, seq: Seq) -> bool {
        self.seen >= Some(seq)
    }
    pub(in crate::dispatch) fn has_more(&self) -> bool {
        self.more
    }
    /// There is something in the store that was not taken.
    pub(in crate::dispatch) fn set_more(&mut self, more: bool) {
        self.more = more;
    }

    /// Everything up to here has been read or offered in order.
    pub(in crate::dispatch) fn read_to(&mut self, seq: Seq) {
        self.cursor = Some(seq);
        self.seen = self.seen.max(Some(seq));
        while self.early.first().is_some_and(|early| *early <= seq) {
            self.early.pop_first();
        }
    }
    /// This one was read and is over: it is not read again.
    pub(in crate::dispatch) fn pass(&mut self, seq: Seq) {
        self.cursor = Some(seq);
    }
    /// This one was read out of turn.
    pub(in crate::dispatch) fn read_early(&mut self, seq: Seq) {
        if !self.has_seen(seq) {
            self.early.insert(seq);
        }
    }
    /// Was it read out of turn before it was offered?
    pub(in crate::dispatch) fn was_early(&mut self, seq: Seq) -> bool {
        self.early.remove(&seq)
    }
    /// Everything is to be read again.
    pub(in crate::dispatch) fn restart(&mut self) {
        (self.cursor, self.more) = (None, true);
    }
}
