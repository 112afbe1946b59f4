//! Purpose: the order keys of one lane: who is head, who follows, who is left in the store (SPEC 5.4), pure. Must not: depend on what
//! becomes of a delivery.
use crate::domain::{Ordering, Pending, Seq};
use crate::fault;
use std::collections::{BTreeMap, VecDeque};

/// Followers of one resource that are kept in memory behind its head.
const FOLLOWERS: usize = 3;

/// One order key with something in memory.
#[derive(Debug, Clone, Default)]
struct OrderKey {
    /// In order; the front alone is attempted.
    queue: VecDeque<Seq>,
    /// There are more in the store.
    skipped: bool,
}

/// What became of a delivery that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Admission {
    /// Its turn.
    Head,
    /// Kept behind its head.
    Follower,
    /// Left in the store behind its head.
    Left,
}

/// Who is next on a key whose delivery has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Successor {
    /// This one, from memory.
    Next(Seq),
    /// Ask the store for the first of this key.
    Read(u64),
    /// Nobody.
    Nobody,
}

/// The order keys of one lane.
#[derive(Debug)]
pub(in crate::dispatch) struct OrderKeys {
    ordering: Ordering,
    keys: BTreeMap<u64, OrderKey>,
}

impl OrderKeys {
    pub(in crate::dispatch) fn new(ordering: Ordering) -> Self {
        Self { ordering, keys: BTreeMap::new() }
    }
    pub(in crate::dispatch) fn ordering(&self) -> Ordering {
        self.ordering
    }

    /// The key of a delivery in this lane.
    pub(in crate::dispatch) fn order_of(&self, pending: &Pending) -> Option<u64> {
        match self.ordering {
            Ordering::Resource if fault::planted("reordered-resource") => None,
            Ordering::Resource => pending.order,
            Ordering::Endpoint => Some(0),
            Ordering::None => None,
        }
    }

    /// Takes a delivery in, in order.
    pub(in crate::dispatch) fn enter(&mut self, order: Option<u64>, seq: Seq) -> Admission {
        let Some(order) = order else { return Admission::Head };
        let bounded = self.ordering == Ordering::Resource;
        let key = self.keys.entry(order).or_default();
        if key.skipped || (bounded && key.queue.len() > FOLLOWERS) {
            key.skipped = true;
            return Admission::Left;
        }
        let admission = if key.queue.is_empty() { Admission::Head } else { Admission::Follower };
        key.queue.push_back(seq);
        admission
    }

    /// A delivery leaves; says who is next.
    pub(in crate::dispatch) fn leave(&mut self, order: Option<u64>, seq: Seq) -> Successor {
        let Some(order) = order else { return Successor::Nobody };
        // legal: what is given up as it is read stands in no queue, and a reset has forgotten what was idle
        let Some(key) = self.keys.get_mut(&order) else { return Successor::Nobody };
        key.queue.retain(|queued| *queued != seq);
        match key.queue.front() {
            Some(front) => Successor::Next(*front),
            None if key.skipped => Successor::Read(order),
            None => {
                self.forget(order);
                Successor::Nobody
            }
        }
    }

    /// May it go, as far as order is concerned?
    pub(in crate::dispatch) fn is_head(&self, order: Option<u64>, seq: Seq) -> bool {
        let key = order.and_then(|order| self.keys.get(&order));
        key.is_none_or(|key| key.queue.front() == Some(&seq))
    }

    /// The store's answer to `Successor::Read` is there: does the key still wait for it?
    pub(in crate::dispatch) fn waits_for_first(&self, order: u64) -> bool {
        self.keys.get(&order).is_some_and(|key| key.queue.is_empty())
    }
    /// The answer is that there is nothing more.
    pub(in crate::dispatch) fn forget(&mut self, order: u64) {
        self.keys.remove(&order);
        if self.keys.is_empty() {
            // an empty map keeps its last node: kilobytes, for every subscription that was ever used
            self.keys = BTreeMap::new();
        }
    }
    /// The answer is a delivery: it may enter.
    pub(in crate::dispatch) fn open_for_first(&mut self, order: u64) {
        if let Some(key) = self.keys.get_mut(&order) {
            key.skipped = false;
        }
    }
    /// And nothing after it: more of this key may be in the store.
    pub(in crate::dispatch) fn expect_more(&mut self, order: u64) {
        // legal: what was read was given up at once, and stands in no queue
        if let Some(key) = self.keys.get_mut(&order) {
            key.skipped = true;
        }
    }

    /// Begins anew, with what is under way in its place.
    pub(in crate::dispatch) fn reset(&mut self, ordering: Ordering) {
        (self.ordering, self.keys) = (ordering, BTreeMap::new());
    }
    /// What is under way keeps its place, under the key that it has now.
    pub(in crate::dispatch) fn keep(&mut self, pending: &Pending) -> Option<u64> {
        let order = self.order_of(pending);
        if let Some(order) = order {
            self.keys.entry(order).or_default().queue.push_back(pending.seq);
        }
        order
    }
}

#[cfg(any(test, debug_assertions))]
impl OrderKeys {
    /// Every place in a queue, with its key; true: it is the front.
    pub(in crate::dispatch) fn queued(&self) -> impl Iterator<Item = (u64, Seq, bool)> {
        let places = |(order, key): (&u64, &OrderKey)| {
            let order = *order;
            key.queue.clone().into_iter().enumerate().map(move |(at, seq)| (order, seq, at == 0))
        };
        self.keys.iter().flat_map(places)
    }
    /// Keys that wait for an answer of the store.
    pub(in crate::dispatch) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.keys.iter().filter(|(_, key)| key.queue.is_empty()).map(|(order, _)| *order)
    }
}
