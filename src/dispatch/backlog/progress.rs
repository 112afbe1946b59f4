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

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n, 0)
    }

    #[test]
    fn what_was_read_in_order_was_seen_and_what_is_passed_is_not_read_again() {
        let mut progress = LaneProgress::default();
        assert_eq!((progress.cursor(), progress.seen(), progress.has_seen(seq(1))), (None, None, false));
        progress.read_to(seq(5));
        progress.pass(seq(6));
        assert_eq!((progress.cursor(), progress.seen()), (Some(seq(6)), Some(seq(5))));
        assert!(progress.has_seen(seq(5)) && !progress.has_seen(seq(6)));
        progress.restart();
        progress.read_to(seq(2));
        assert_eq!(
            (progress.cursor(), progress.seen()),
            (Some(seq(2)), Some(seq(5))),
            "seen once and for all"
        );
    }

    #[test]
    fn what_was_read_out_of_turn_is_remembered_until_its_turn_has_come() {
        let mut progress = LaneProgress::default();
        progress.read_to(seq(3));
        for n in [2, 3, 5, 6, 7] {
            progress.read_early(seq(n));
        }
        progress.read_to(seq(6));
        for (n, early) in [(2, false), (3, false), (5, false), (6, false), (7, true), (7, false)] {
            assert_eq!(progress.was_early(seq(n)), early, "{n}");
        }
    }
}
