//! Purpose: what is read from the store, and in which order (SPEC 5.5), pure. Must not: depend on what a lane does with it.
use crate::dispatch::ticket::Seq;
use crate::domain::SubscriptionId;
use std::collections::{BTreeSet, VecDeque};

/// Something to read from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// `Store::due`; answer with `filled`.
    Page {
        /// Of this lane.
        lane: SubscriptionId,
        /// After this place.
        after: Option<Seq>,
        /// So many.
        limit: usize,
    },
    /// `Store::first_in_order`; answer with `first`.
    First {
        /// Of this lane.
        lane: SubscriptionId,
        /// With this key.
        order: u64,
    },
    /// `Store::due`; answer with `counted`.
    Count {
        /// Of this lane.
        lane: SubscriptionId,
        /// After this place.
        after: Option<Seq>,
        /// So many.
        limit: usize,
    },
}

/// Lanes that are to be read.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct ReadQueue {
    /// For the first of an order key.
    firsts: VecDeque<(SubscriptionId, u64)>,
    /// For a page; each once.
    hungry: VecDeque<SubscriptionId>,
    is_hungry: BTreeSet<SubscriptionId>,
    /// For the count.
    counting: VecDeque<SubscriptionId>,
}

impl ReadQueue {
    pub(in crate::dispatch) fn add_first(&mut self, lane: SubscriptionId, order: u64) {
        self.firsts.push_back((lane, order));
    }
    pub(in crate::dispatch) fn add_page(&mut self, lane: SubscriptionId) {
        if self.is_hungry.insert(lane) {
            self.hungry.push_back(lane);
        }
    }
    pub(in crate::dispatch) fn add_count(&mut self, lane: SubscriptionId) {
        self.counting.push_back(lane);
    }
    pub(in crate::dispatch) fn next_first(&mut self) -> Option<(SubscriptionId, u64)> {
        self.firsts.pop_front()
    }
    pub(in crate::dispatch) fn next_page(&mut self) -> Option<SubscriptionId> {
        let lane = self.hungry.pop_front()?;
        self.is_hungry.remove(&lane);
        Some(lane)
    }
    pub(in crate::dispatch) fn next_count(&mut self) -> Option<SubscriptionId> {
        self.counting.pop_front()
    }
    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.firsts.is_empty() && self.hungry.is_empty() && self.counting.is_empty()
    }
}
