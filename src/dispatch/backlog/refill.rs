//! Purpose: what is read from the store, and which lane is next (SPEC 5.5), pure. Must not: depend on what a lane does with it.
use crate::domain::{Seq, SubscriptionId};
use std::collections::{BTreeSet, VecDeque};

/// A read's number, greater than that of every read that began before.
pub(in crate::dispatch) type ReadNumber = u64;

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// In memory.
    Taken,
    /// In the store: it will be read when its turn comes; or it is known already.
    Left,
    /// The lane is not known: open it and mark its backlog.
    UnknownLane,
}

/// Something to read from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// `Outbox::due`, for memory.
    Page {
        /// After this place.
        after: Option<Seq>,
        /// So many.
        limit: usize,
    },
    /// `Outbox::first_in_order`.
    First {
        /// With this key.
        order: u64,
    },
    /// `Outbox::due`, to count.
    Count {
        /// After this place.
        after: Option<Seq>,
        /// So many.
        limit: usize,
    },
}

/// A read that has begun. It may take any time, and the scheduler goes on; hand it back with `answered`, or with `not_read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BegunRead {
    /// Of this lane.
    pub lane: SubscriptionId,
    /// What.
    pub want: Want,
    pub(in crate::dispatch) number: ReadNumber,
}

/// Lanes that are to be read, one read at a time in turns: a lane that wants much keeps no other waiting.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct ReadQueue {
    /// For a page or the first of an order key; each once.
    asking: VecDeque<SubscriptionId>,
    is_asking: BTreeSet<SubscriptionId>,
    /// For the count, when nobody asks for anything else.
    counting: VecDeque<SubscriptionId>,
    /// A count is under way: there is one at a time.
    count: bool,
    newest: ReadNumber,
}

impl ReadQueue {
    pub(in crate::dispatch) fn next_number(&mut self) -> ReadNumber {
        self.newest += 1;
        self.newest
    }
    pub(in crate::dispatch) fn ask(&mut self, lane: SubscriptionId) {
        if self.is_asking.insert(lane) {
            self.asking.push_back(lane);
        }
    }
    pub(in crate::dispatch) fn ask_count(&mut self, lane: SubscriptionId) {
        self.counting.push_back(lane);
    }
    pub(in crate::dispatch) fn next(&mut self) -> Option<SubscriptionId> {
        let lane = self.asking.pop_front()?;
        self.is_asking.remove(&lane);
        Some(lane)
    }
    pub(in crate::dispatch) fn next_count(&mut self) -> Option<SubscriptionId> {
        if self.count {
            return None;
        }
        let lane = self.counting.pop_front()?;
        self.count = true;
        Some(lane)
    }
    pub(in crate::dispatch) fn count_ended(&mut self) {
        self.count = false;
    }
    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.asking.is_empty() && (self.counting.is_empty() || self.count)
    }
    #[cfg(any(test, debug_assertions))]
    pub(in crate::dispatch) fn has(&self, lane: SubscriptionId) -> bool {
        self.is_asking.contains(&lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::backlog::lane::tests::lane_id;

    #[test]
    fn each_read_has_a_number_of_its_own_greater_than_all_before() {
        let mut queue = ReadQueue::default();
        let numbers: Vec<ReadNumber> = (0..3).map(|_| queue.next_number()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }

    #[test]
    fn a_lane_asks_once_and_lanes_take_turns() {
        let mut queue = ReadQueue::default();
        for n in [1, 2, 1] {
            queue.ask(lane_id(n));
        }
        assert!(queue.has(lane_id(1)) && !queue.has(lane_id(3)));
        assert_eq!((queue.next(), queue.has(lane_id(1))), (Some(lane_id(1)), false));
        queue.ask(lane_id(1));
        assert_eq!((queue.next(), queue.next(), queue.next()), (Some(lane_id(2)), Some(lane_id(1)), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn one_lane_is_counted_at_a_time() {
        let mut queue = ReadQueue::default();
        queue.ask_count(lane_id(1));
        queue.ask_count(lane_id(2));
        assert!(!queue.is_empty());
        assert_eq!((queue.next_count(), queue.next_count()), (Some(lane_id(1)), None));
        assert!(queue.is_empty(), "nothing may begin now");
        queue.count_ended();
        assert_eq!((queue.is_empty(), queue.next_count()), (false, Some(lane_id(2))));
    }
}
