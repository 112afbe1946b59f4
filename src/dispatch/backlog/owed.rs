//! Purpose: how many deliveries a lane owes, in memory and not, for `max_pending`, pure. Must not: depend on what is in memory.
use crate::dispatch::ticket::Seq;

/// The count of one lane.
#[derive(Debug, Clone, Default)]
pub(in crate::dispatch) struct Owed {
    count: u64,
    /// Everything up to here has been counted.
    high: Option<Seq>,
    /// The store is being read through once to count what was there before us.
    scanning: bool,
}

impl Owed {
    pub(in crate::dispatch) fn count(&self) -> u64 {
        self.count
    }
    pub(in crate::dispatch) fn high(&self) -> Option<Seq> {
        self.high
    }
    /// The store holds what was not offered: it is to be counted. True: it was not to be before.
    pub(in crate::dispatch) fn begin_scan(&mut self) -> bool {
        !std::mem::replace(&mut self.scanning, true)
    }
    /// Counts a delivery that was seen, if it is new.
    pub(in crate::dispatch) fn saw(&mut self, seq: Seq) {
        if !self.scanning && self.high < Some(seq) {
            self.high = Some(seq);
            self.count += 1;
        }
    }
    /// A delivery is owed no more.
    pub(in crate::dispatch) fn ended(&mut self, seq: Seq) {
        // not yet counted is legal: it was read out of turn, or before the scan has come to it
        if self.high >= Some(seq) {
            self.count = self.count.saturating_sub(1);
        }
    }
    /// So many were counted, up to `last`; `end`: there were no more. `seen` is what was read or offered meanwhile: it is either
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
        if end {
            self.high = self.high.max(seen);
            self.scanning = false;
        }
        !end
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
            owed.saw((seq, 0));
            assert_eq!(owed.count(), count, "{seq}");
        }
        owed.ended((3, 0));
        assert_eq!(owed.count(), 2, "it was not counted");
        owed.ended((1, 0));
        assert!(owed.begin_scan() && !owed.begin_scan());
        owed.saw((9, 0));
        assert_eq!(owed.count(), 1, "it is counted when the scan comes to it");
    }
}
