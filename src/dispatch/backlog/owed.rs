//! Purpose: how many deliveries a lane owes, in memory and not, for `max_pending`, pure. Must not: depend on what is in memory.
use crate::domain::Seq;
use std::collections::BTreeSet;

/// The count of one lane.
#[derive(Debug, Clone, Default)]
pub(in crate::dispatch) struct Owed {
    count: u64,
    /// Everything up to here has been counted.
    high: Option<Seq>,
    /// The store is being read through once to count what was there before us.
    scanning: bool,
    /// A page of that is under way.
    reading: bool,
    /// Seen since it began, owed, and perhaps too late for it.
    late: BTreeSet<Seq>,
    /// More than was seen may be too late for it.
    again: bool,
}

impl Owed {
    pub(in crate::dispatch) fn count(&self) -> u64 {
        self.count
    }
    /// The store holds what was not offered: it is to be counted. True: it was not to be before.
    pub(in crate::dispatch) fn begin_scan(&mut self) -> bool {
        self.again |= self.reading;
        !std::mem::replace(&mut self.scanning, true)
    }
    /// A page of the count begins: after this place.
    pub(in crate::dispatch) fn begin_read(&mut self) -> Option<Seq> {
        (self.reading, self.again) = (true, false);
        self.high
    }
    /// It could not be read.
    pub(in crate::dispatch) fn not_read(&mut self) {
        (self.reading, self.late) = (false, BTreeSet::new());
    }
    /// Counts a delivery that was seen, if it is new.
    pub(in crate::dispatch) fn saw(&mut self, seq: Seq) {
        let new = self.high < Some(seq);
        if new && !self.scanning {
            self.high = Some(seq);
            self.count += 1;
        } else if new && self.reading {
            self.late.insert(seq);
        }
    }
    /// A delivery is owed no more.
    pub(in crate::dispatch) fn ended(&mut self, seq: Seq) {
        if self.high >= Some(seq) {
            self.count = self.count.saturating_sub(1);
        } else {
            // not yet counted: it was read out of turn, or before the scan has come to it
            self.late.remove(&seq);
        }
    }
    /// So many were counted, up to `last`; `end`: there were no more. `seen` is what was read or offered up to now: it is either
    /// counted now or over. True: the scan goes on.
    pub(in crate::dispatch) fn counted(
        &mut self,
        owed: u64,
        last: Option<Seq>,
        end: bool,
        seen: Option<Seq>,
    ) -> bool {
        self.count += owed;
        self.high = last.or(self.high);
        let mut late = std::mem::take(&mut self.late);
        self.reading = false;
        self.scanning = !end || self.again;
        if !self.scanning {
            late.retain(|seq| self.high < Some(*seq));
            self.count += late.len() as u64;
            self.high = self.high.max(seen).max(late.last().copied());
        }
        self.scanning
    }
}

#[cfg(test)]
impl Owed {
    pub(in crate::dispatch) fn is_scanning(&self) -> bool {
        self.scanning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_counted_once() {
        let mut owed = Owed::default();
        for (seq, count) in [(1, 1), (1, 1), (2, 2)] {
            owed.saw(Seq::new(seq, 0));
            assert_eq!(owed.count(), count, "{seq}");
        }
        owed.ended(Seq::new(3, 0));
        assert_eq!(owed.count(), 2, "it was not counted");
        owed.ended(Seq::new(1, 0));
        assert!(owed.begin_scan() && !owed.begin_scan());
        owed.saw(Seq::new(9, 0));
        assert_eq!(owed.count(), 1, "it is counted when the scan comes to it");
    }

    fn seq(n: u64) -> Seq {
        Seq::new(n, 0)
    }

    /// While its last page is read, more is left in the store.
    #[test]
    fn a_count_goes_on_until_its_last_page_knew_of_everything() {
        for (end, unknown, goes_on) in
            [(false, false, true), (false, true, true), (true, true, true), (true, false, false)]
        {
            let mut owed = Owed::default();
            owed.begin_scan();
            assert_eq!(owed.begin_read(), None);
            if unknown {
                assert!(!owed.begin_scan(), "it was to be counted anyway");
            }
            assert_eq!(owed.counted(2, Some(seq(2)), end, None), goes_on, "end: {end}, unknown: {unknown}");
            assert_eq!((owed.count(), owed.is_scanning()), (2, goes_on));
            assert_eq!(owed.begin_read(), Some(seq(2)), "after what was counted");
        }
    }

    /// A page that began later has what was seen before, or it is over.
    #[test]
    fn what_was_seen_before_a_page_of_the_count_began_is_not_counted_beside_it() {
        for failed in [false, true] {
            let mut owed = Owed::default();
            owed.begin_scan();
            if failed {
                owed.begin_read();
                owed.saw(seq(8));
                owed.not_read();
            }
            owed.saw(seq(9));
            owed.begin_read();
            assert!(!owed.counted(0, None, true, None));
            assert_eq!(owed.count(), 0, "a page failed before: {failed}");
        }
    }

    /// What comes while the last page is read is too late for it; what was seen, and is not in it, is over.
    #[test]
    fn what_is_too_late_for_the_last_page_is_counted_and_nothing_seen_is_counted_again() {
        let mut owed = Owed::default();
        owed.begin_scan();
        owed.begin_read();
        owed.saw(seq(7));
        owed.saw(seq(8));
        owed.ended(seq(8));
        assert!(!owed.counted(3, Some(seq(5)), true, Some(seq(9))));
        assert_eq!(owed.count(), 4);
        owed.saw(seq(9));
        assert_eq!(owed.count(), 4, "it was seen before the count ended");
        owed.saw(seq(10));
        assert_eq!(owed.count(), 5);
    }
}
