//! Purpose: what one lane wants to read, what is being read, and what has happened since that began, pure. Must not: depend on what is
//! in memory.
//!
//! A read takes as long as it takes; the lane goes on. Each has a number. An answer whose number is not under way any more is void. What ended
//! since a read began must not come back by it; what was left in the store since then is not in it.
use crate::dispatch::backlog::refill::{ReadNumber, Want};
use crate::domain::Seq;
use std::collections::{BTreeMap, VecDeque};

/// A page that is being read.
#[derive(Debug, Clone, Copy)]
pub(in crate::dispatch) struct PageUnderWay {
    number: ReadNumber,
    /// It begins after this place.
    pub(in crate::dispatch) after: Option<Seq>,
    /// The last delivery that was left in the store since it began.
    pub(in crate::dispatch) left: Option<Seq>,
    /// Something unknown was left there.
    pub(in crate::dispatch) again: bool,
}

/// The first of an order key that is to be read.
#[derive(Debug, Clone, Copy)]
enum FirstRead {
    Wanted,
    UnderWay {
        number: ReadNumber,
        /// One of this key was left in the store since it began.
        again: bool,
    },
}

/// Reads of one lane.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct LaneReads {
    /// Order keys whose first is wanted, in turns.
    wanted: VecDeque<u64>,
    firsts: BTreeMap<u64, FirstRead>,
    page: Option<PageUnderWay>,
    count: Option<(ReadNumber, Option<Seq>)>,
    /// Whose turn it is when a first and a page are wanted.
    page_next: bool,
    /// The newest read.
    newest: ReadNumber,
    /// What has ended and may be in an answer; and the newest read that may have it.
    ended: BTreeMap<Seq, ReadNumber>,
}

impl LaneReads {
    /// The first of this key is wanted. If it is being read, the answer may be too old.
    pub(in crate::dispatch) fn want_first(&mut self, order: u64) {
        match self.firsts.get_mut(&order) {
            Some(FirstRead::UnderWay { again, .. }) => *again = true,
            Some(FirstRead::Wanted) => {}
            None => {
                self.firsts.insert(order, FirstRead::Wanted);
                self.wanted.push_back(order);
            }
        }
    }
    #[cfg(any(test, debug_assertions))]
    pub(in crate::dispatch) fn has_page(&self) -> bool {
        self.page.is_some()
    }

    /// Is there something to read, if there is room for so many?
    pub(in crate::dispatch) fn wants(&self, room: Option<usize>) -> bool {
        !self.wanted.is_empty() || (room.is_some() && self.page.is_none())
    }
    /// The next read begins: firsts and pages take turns.
    pub(in crate::dispatch) fn begin(
        &mut self,
        number: ReadNumber,
        after: Option<Seq>,
        room: Option<usize>,
    ) -> Option<Want> {
        self.newest = number;
        let page = room.filter(|_| self.page.is_none());
        self.page_next = !self.page_next;
        if let Some(limit) = page.filter(|_| self.page_next || self.wanted.is_empty()) {
            self.page = Some(PageUnderWay { number, after, left: None, again: false });
            return Some(Want::Page { after, limit });
        }
        let order = self.wanted.pop_front()?;
        self.firsts.insert(order, FirstRead::UnderWay { number, again: false });
        Some(Want::First { order })
    }
    pub(in crate::dispatch) fn begin_count(&mut self, number: ReadNumber, after: Option<Seq>) {
        debug_assert!(self.count.is_none(), "two counts of one lane");
        self.newest = number;
        self.count = Some((number, after));
    }

    /// The page is there. `None`: it is void.
    pub(in crate::dispatch) fn end_page(&mut self, number: ReadNumber) -> Option<PageUnderWay> {
        self.page.take_if(|page| page.number == number)
    }
    /// The first of a key is there: is it to be read again? `None`: it is void.
    pub(in crate::dispatch) fn end_first(&mut self, number: ReadNumber, order: u64) -> Option<bool> {
        match self.firsts.get(&order) {
            Some(FirstRead::UnderWay { number: begun, again }) if *begun == number => {
                let again = *again;
                self.firsts.remove(&order);
                Some(again)
            }
            _ => None,
        }
    }
    /// A page of the count is there.
    pub(in crate::dispatch) fn end_count(&mut self, number: ReadNumber) {
        let was = self.count.take();
        debug_assert!(was.is_some_and(|(begun, _)| begun == number), "no such count: {number}");
    }

    /// A delivery was left in the store.
    pub(in crate::dispatch) fn left(&mut self, seq: Seq) {
        if let Some(page) = &mut self.page {
            page.left = page.left.max(Some(seq));
        }
    }
    /// Deliveries may be in the store that were never offered.
    pub(in crate::dispatch) fn left_unknown(&mut self) {
        if let Some(page) = &mut self.page {
            page.again = true;
        }
    }
    /// A delivery of this key was left in the store behind its head.
    pub(in crate::dispatch) fn left_behind(&mut self, order: Option<u64>) {
        if let Some(FirstRead::UnderWay { again, .. }) = order.and_then(|order| self.firsts.get_mut(&order)) {
            *again = true;
        }
    }

    /// A delivery has ended and leaves memory.
    pub(in crate::dispatch) fn ended(&mut self, seq: Seq, order: Option<u64>) {
        let in_page = self.page.is_some_and(|page| page.after < Some(seq));
        let in_count = self.count.is_some_and(|(_, after)| after < Some(seq));
        let is_first = order.is_some_and(|order| self.firsts.contains_key(&order));
        if in_page || in_count || is_first {
            self.ended.insert(seq, self.newest);
        }
    }
    /// Had it ended when an answer came that has it?
    pub(in crate::dispatch) fn has_ended(&self, seq: Seq) -> bool {
        self.ended.contains_key(&seq)
    }
    /// An answer was taken in: forgets what no read under way may have.
    pub(in crate::dispatch) fn forget_ended(&mut self) {
        let page = self.page.iter().map(|page| page.number);
        let firsts = self.firsts.values().filter_map(|first| match first {
            FirstRead::Wanted => None,
            FirstRead::UnderWay { number, .. } => Some(*number),
        });
        let oldest = page.chain(firsts).chain(self.count.iter().map(|(number, _)| *number)).min();
        match oldest {
            Some(oldest) => self.ended.retain(|_, newest| *newest >= oldest),
            None => self.ended = BTreeMap::new(),
        }
    }

    /// The lane begins anew: pages and firsts that are under way are void. The count is of what is owed, and goes on.
    pub(in crate::dispatch) fn reset(&mut self) {
        (self.page, self.wanted) = (None, VecDeque::new());
        self.firsts.clear();
    }
}

#[cfg(any(test, debug_assertions))]
impl LaneReads {
    /// Order keys whose first is wanted or being read.
    pub(in crate::dispatch) fn firsts(&self) -> std::collections::BTreeSet<u64> {
        self.firsts.keys().copied().collect()
    }
    #[cfg(test)]
    pub(in crate::dispatch) fn remembered(&self) -> usize {
        self.ended.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n, 0)
    }

    /// After a reset the same key is read again: the answer to the read before is void.
    #[test]
    fn an_answer_to_a_read_that_is_void_ends_no_other() {
        let mut reads = LaneReads::default();
        for number in [1, 2] {
            reads.want_first(7);
            assert_eq!(reads.begin(number, None, None), Some(Want::First { order: 7 }));
            if number == 1 {
                reads.reset();
            }
        }
        assert_eq!(reads.end_first(1, 7), None);
        assert_eq!((reads.end_first(2, 8), reads.end_first(2, 7)), (None, Some(false)));
        assert!(reads.begin(3, None, Some(9)).is_some() && reads.has_page());
        reads.reset();
        assert!(!reads.has_page());
        assert!(reads.begin(4, None, Some(9)).is_some());
        assert!(reads.end_page(3).is_none() && reads.has_page());
        assert!(reads.end_page(4).is_some() && !reads.has_page());
    }

    /// A page and a count have what comes after their place, not what lies there.
    #[test]
    fn only_what_a_read_under_way_may_have_is_remembered() {
        for (page, count) in [(true, false), (false, true), (false, false)] {
            let mut reads = LaneReads::default();
            if page {
                assert!(reads.begin(1, Some(seq(5)), Some(9)).is_some());
            }
            if count {
                reads.begin_count(1, Some(seq(5)));
            }
            reads.ended(seq(5), Some(7));
            assert_eq!(reads.remembered(), 0, "page: {page}, count: {count}");
            reads.ended(seq(6), Some(7));
            assert_eq!(reads.has_ended(seq(6)), page || count, "page: {page}, count: {count}");
        }
        let mut reads = LaneReads::default();
        reads.want_first(7);
        reads.ended(seq(5), None);
        reads.ended(seq(6), Some(8));
        reads.ended(seq(7), Some(7));
        assert_eq!((reads.remembered(), reads.has_ended(seq(7))), (1, true));
    }

    #[test]
    fn what_has_ended_is_remembered_until_the_last_read_that_may_have_it_is_back() {
        let mut reads = LaneReads::default();
        assert!(reads.begin(1, None, Some(9)).is_some());
        reads.ended(seq(5), None);
        reads.begin_count(2, None);
        reads.ended(seq(6), None);
        reads.forget_ended();
        assert_eq!(reads.remembered(), 2, "both are under way");
        reads.end_page(1);
        reads.forget_ended();
        assert!(!reads.has_ended(seq(5)), "the count began later");
        assert!(reads.has_ended(seq(6)));
        reads.end_count(2);
        reads.forget_ended();
        assert_eq!(reads.remembered(), 0);
    }
}
