//! One subscription's deliveries in memory, and their order (SPEC 5.4), pure. Knows whose its endpoint is, and no time.
//!
//! A lane holds what can be attempted and little of what cannot: of each ordering key the head and a few followers;
//! the rest stays in the store and is read again when its turn comes.
use crate::dispatch::rounds::endpoint::{Endpoint, EndpointId};
use crate::dispatch::ticket::Seq;
use crate::domain::{Ordering, Pending};
use crate::fault;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Followers of one resource that are kept in memory behind its head.
const FOLLOWERS: usize = 3;

/// Where a delivery in memory stands. Times are steady milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum TicketState {
    /// Behind another one of its key.
    Queued,
    /// Due then.
    Waiting(i64),
    /// Due since then, and free to go.
    Ready(i64),
    /// An attempt is under way.
    InFlight,
    /// Waits until what was decided is durable.
    Settling(Ending),
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Ending {
    /// Delivered, failed or abandoned.
    Final,
    /// Tried again then.
    Retry(i64),
    /// Planted fault: forgotten.
    Lost,
}

impl TicketState {
    /// Neither on its way nor decided: it can be given up or dropped from memory.
    pub(in crate::dispatch) fn is_idle(self) -> bool {
        matches!(self, Self::Queued | Self::Waiting(_) | Self::Ready(_))
    }
}

/// A delivery in memory.
#[derive(Debug, Clone)]
pub(in crate::dispatch) struct Item {
    pub(in crate::dispatch) pending: Pending,
    pub(in crate::dispatch) state: TicketState,
    /// Steady millisecond at which it is abandoned.
    pub(in crate::dispatch) expires: i64,
    /// Its ordering key in this lane.
    pub(in crate::dispatch) order: Option<u64>,
}

/// One ordering key with something in memory.
#[derive(Debug, Clone, Default)]
struct LaneKey {
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
    /// Left in the store behind its head, or known already.
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

/// How many deliveries a lane owes, in memory and not.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::dispatch) struct Owed {
    pub(in crate::dispatch) count: u64,
    /// Everything up to here has been counted.
    pub(in crate::dispatch) high: Option<Seq>,
    /// The store is being read through once to count what was there before us.
    pub(in crate::dispatch) scanning: bool,
}

impl Owed {
    /// Counts a delivery that was seen; true if it was new.
    pub(in crate::dispatch) fn saw(&mut self, seq: Seq) -> bool {
        let new = !self.scanning && self.high < Some(seq);
        if new {
            self.high = Some(seq);
            self.count += 1;
        }
        new
    }
    /// A delivery is owed no more; true if it had been counted.
    pub(in crate::dispatch) fn ended(&mut self, seq: Seq) -> bool {
        let counted = self.high >= Some(seq) && self.count > 0;
        if counted {
            self.count -= 1;
        }
        counted
    }
}

/// One subscription's lane.
#[derive(Debug)]
pub(in crate::dispatch) struct Lane {
    /// `None` while the subscription is gone.
    pub(in crate::dispatch) endpoint: Option<EndpointId>,
    pub(in crate::dispatch) ordering: Ordering,
    pub(in crate::dispatch) rate: u32,
    pub(in crate::dispatch) items: BTreeMap<Seq, Item>,
    keys: BTreeMap<u64, LaneKey>,
    /// The store has been read up to here.
    pub(in crate::dispatch) cursor: Option<Seq>,
    /// What was ever read or offered: an offer that is not later is stale.
    pub(in crate::dispatch) seen: Option<Seq>,
    /// Read out of turn, beyond `seen`: their offers are still to come, and are stale.
    early: BTreeSet<Seq>,
    /// There is more in the store after the cursor.
    pub(in crate::dispatch) more: bool,
    /// Ready or in flight.
    pub(in crate::dispatch) active: usize,
    /// Waits to be read.
    pub(in crate::dispatch) hungry: bool,
    pub(in crate::dispatch) owed: Owed,
    /// Why everything in it is abandoned.
    pub(in crate::dispatch) gone: Option<&'static str>,
}

impl Lane {
    pub(in crate::dispatch) fn new(endpoint: Option<EndpointId>, ordering: Ordering, rate: u32) -> Self {
        Self {
            endpoint,
            ordering,
            rate,
            items: BTreeMap::new(),
            keys: BTreeMap::new(),
            cursor: None,
            seen: None,
            early: BTreeSet::new(),
            more: false,
            active: 0,
            hungry: false,
            owed: Owed::default(),
            gone: None,
        }
    }

    fn order_of(&self, pending: &Pending) -> Option<u64> {
        match self.ordering {
            Ordering::Resource if fault::planted("reordered-resource") => None,
            Ordering::Resource => pending.order,
            Ordering::Endpoint => Some(0),
            Ordering::None => None,
        }
    }

    /// Takes a delivery in, in order.
    pub(in crate::dispatch) fn admit(&mut self, pending: Pending, expires: i64) -> Admission {
        if self.items.contains_key(&pending.seq) {
            return Admission::Left;
        }
        let order = self.order_of(&pending);
        let seq = pending.seq;
        let mut admission = Admission::Head;
        if let Some(order) = order {
            let full = self.ordering == Ordering::Resource;
            let key = self.keys.entry(order).or_default();
            if key.skipped || (full && key.queue.len() > FOLLOWERS) {
                key.skipped = true;
                return Admission::Left;
            }
            if !key.queue.is_empty() {
                admission = Admission::Follower;
            }
            key.queue.push_back(seq);
        }
        self.items.insert(seq, Item { pending, state: TicketState::Queued, expires, order });
        admission
    }

    /// Takes in a delivery that will not be attempted any more.
    pub(in crate::dispatch) fn admit_ended(&mut self, pending: Pending) -> bool {
        if self.items.contains_key(&pending.seq) {
            return false;
        }
        let (order, seq) = (self.order_of(&pending), pending.seq);
        let state = TicketState::Settling(Ending::Final);
        self.items.insert(seq, Item { pending, state, expires: i64::MAX, order });
        true
    }

    /// The store's answer to `Successor::Read`: does the key still wait for one? `false`: the answer is of no use.
    pub(in crate::dispatch) fn wants_first(&mut self, order: u64, found: Option<&Pending>) -> bool {
        let Some(key) = self.keys.get_mut(&order).filter(|key| key.queue.is_empty()) else { return false };
        match found {
            None => {
                self.keys.remove(&order);
                false
            }
            // Decided, but not yet durable: asked again when it is.
            Some(pending) if self.items.contains_key(&pending.seq) => false,
            Some(_) => {
                key.skipped = false;
                true
            }
        }
    }
    /// After `wants_first` and `admit`: more of this key may be in the store, and the offer of what was read may be
    /// still to come.
    pub(in crate::dispatch) fn expect_more(&mut self, order: u64, read: Seq) {
        if self.seen < Some(read) {
            self.early.insert(read);
        }
        if let Some(key) = self.keys.get_mut(&order) {
            key.skipped = true;
        }
    }

    /// Everything up to here has been read or offered in order.
    pub(in crate::dispatch) fn saw(&mut self, seq: Seq) {
        self.seen = self.seen.max(Some(seq));
        while self.early.first().is_some_and(|early| *early <= seq) {
            self.early.pop_first();
        }
    }
    /// Was it read out of turn before it was offered?
    pub(in crate::dispatch) fn was_early(&mut self, seq: Seq) -> bool {
        self.early.remove(&seq)
    }

    /// Is this of another tenant than the one that the lane leads to now? It was committed before the subscription changed hands.
    pub(in crate::dispatch) fn is_anothers(
        &self,
        endpoints: &BTreeMap<EndpointId, Endpoint>,
        pending: &Pending,
    ) -> bool {
        let leads_to = self.endpoint.and_then(|id| endpoints.get(&id));
        leads_to.is_some_and(|endpoint| endpoint.key.tenant != pending.key.tenant)
    }

    /// Has it been decided that nothing more is owed, though the store may not know yet?
    pub(in crate::dispatch) fn is_over(&self, seq: Seq) -> bool {
        self.items.get(&seq).is_some_and(|item| item.state == TicketState::Settling(Ending::Final))
    }

    /// Drops a delivery; says who is next on its key.
    pub(in crate::dispatch) fn remove(&mut self, seq: Seq) -> (Option<Item>, Successor) {
        let Some(item) = self.items.remove(&seq) else { return (None, Successor::Nobody) };
        let successor = item.order.map_or(Successor::Nobody, |order| self.successor(order, seq));
        if self.items.is_empty() {
            // an empty map keeps its last node: kilobytes, for every subscription that was ever used
            self.items = BTreeMap::new();
            if self.keys.is_empty() {
                self.keys = BTreeMap::new();
            }
        }
        (Some(item), successor)
    }

    fn successor(&mut self, order: u64, seq: Seq) -> Successor {
        let Some(key) = self.keys.get_mut(&order) else { return Successor::Nobody };
        key.queue.retain(|queued| *queued != seq);
        match key.queue.front() {
            Some(front) if self.items.get(front).is_some_and(|item| item.state == TicketState::Queued) => {
                Successor::Next(*front)
            }
            Some(_) => Successor::Nobody,
            None if key.skipped => Successor::Read(order),
            None => {
                self.keys.remove(&order);
                Successor::Nobody
            }
        }
    }

    /// Forgets what is idle, to be read from the store again; what is under way keeps its key (under the new
    /// ordering). Returns what was dropped.
    pub(in crate::dispatch) fn reset(&mut self, ordering: Ordering) -> Vec<Item> {
        self.ordering = ordering;
        let (idle, busy): (BTreeMap<Seq, Item>, _) =
            std::mem::take(&mut self.items).into_iter().partition(|(_, item)| item.state.is_idle());
        self.keys.clear();
        for (seq, mut item) in busy {
            item.order = self.order_of(&item.pending);
            if let Some(order) = item.order {
                self.keys.entry(order).or_default().queue.push_back(seq);
            }
            self.items.insert(seq, item);
        }
        (self.cursor, self.more) = (None, true);
        idle.into_values().collect()
    }
}

#[cfg(test)]
pub(in crate::dispatch) mod tests;
