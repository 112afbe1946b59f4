//! What is read from the store, and when: lanes hold a window, the backlog stays on disk (SPEC 5.5), pure.
use crate::dispatch::backlog::lane::Lane;
use crate::dispatch::now::Now;
use crate::dispatch::scheduler::Scheduler;
use crate::dispatch::ticket::Seq;
use crate::domain::{Pending, SubscriptionId};

/// Deliveries in memory, all lanes; beyond it only empty lanes read, and little.
pub(in crate::dispatch) const HELD: usize = 65_536;
/// What a lane may have ready in memory if its endpoint works, and if not.
const WINDOW: usize = 1024;
const WINDOW_UNPROVEN: usize = 32;
/// Read at once.
const PAGE: usize = 256;
const PAGE_TIGHT: usize = 8;

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

impl Scheduler {
    /// The store holds more for this lane than was offered: at start, and after the feed has overflowed.
    pub fn backlog(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.more = true;
        if !lane.owed.scanning {
            lane.owed.scanning = true;
            self.counting.push_back(id);
        }
        self.touch(id);
    }

    /// What to read from the store, most urgent first.
    pub fn wants(&mut self, limit: usize) -> Vec<Want> {
        let mut wants = Vec::new();
        while wants.len() < limit {
            let Some((lane, order)) = self.firsts.pop_front() else { break };
            wants.push(Want::First { lane, order });
        }
        while wants.len() < limit {
            let Some(id) = self.hungry.pop_front() else { break };
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.hungry = false;
            }
            if let (Some(limit), Some(lane)) = (self.appetite(id), self.lanes.get(&id)) {
                wants.push(Want::Page { lane: id, after: lane.cursor, limit });
            }
        }
        // Counting is for `max_pending` alone: when there is nothing else to do, one page at a time.
        if wants.is_empty()
            && let Some(id) = self.counting.pop_front()
            && let Some(lane) = self.lanes.get(&id)
        {
            wants.push(Want::Count { lane: id, after: lane.owed.high, limit: PAGE });
        }
        wants
    }

    /// Would `wants` give something now?
    pub fn wants_more(&self) -> bool {
        !(self.firsts.is_empty() && self.hungry.is_empty() && self.counting.is_empty())
    }

    /// The answer to `Want::Page`.
    pub fn filled(&mut self, id: SubscriptionId, page: Vec<Pending>, limit: usize, now: Now) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.more = page.len() >= limit;
        for pending in page {
            let Some(lane) = self.lanes.get_mut(&id) else { return };
            lane.cursor = Some(pending.seq);
            lane.saw(pending.seq);
            let counted = !lane.is_over(pending.seq) && lane.owed.saw(pending.seq);
            if let Some(endpoint) = lane.endpoint.filter(|_| counted) {
                self.owes(endpoint, 1);
            }
            self.admit(pending, now);
        }
        if let Some(endpoint) = self.lanes.get(&id).and_then(|lane| lane.endpoint) {
            self.crowd_out(endpoint);
        }
        self.touch(id);
    }

    /// The answer to `Want::First`.
    pub fn first(&mut self, id: SubscriptionId, order: u64, found: Option<Pending>, now: Now) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.wants_first(order, found.as_ref())
            && let Some(pending) = found
        {
            let seq = pending.seq;
            self.admit(pending, now);
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.expect_more(order, seq);
            }
        }
        self.touch(id);
    }

    /// The answer to `Want::Count`.
    pub fn counted(&mut self, id: SubscriptionId, page: &[Pending], limit: usize) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let owed = page.iter().filter(|pending| !lane.is_over(pending.seq)).count();
        lane.owed.count += owed as u64;
        lane.owed.high = page.last().map(|p| p.seq).or(lane.owed.high);
        let endpoint = lane.endpoint;
        if page.len() < limit {
            // What was read meanwhile is either counted now or over.
            lane.owed.high = lane.owed.high.max(lane.seen);
            lane.owed.scanning = false;
        } else {
            self.counting.push_back(id);
        }
        if let Some(endpoint) = endpoint {
            self.owes(endpoint, owed as i64);
            self.crowd_out(endpoint);
        }
    }

    /// The store could not be asked: ask again later.
    pub fn not_read(&mut self, want: Want) {
        match want {
            Want::First { lane, order } => self.firsts.push_back((lane, order)),
            Want::Page { lane, .. } => self.touch(lane),
            Want::Count { lane, .. } => self.counting.push_back(lane),
        }
    }

    /// Marks a lane to be read, if it has room and the store has more.
    pub(in crate::dispatch) fn touch(&mut self, id: SubscriptionId) {
        if self.appetite(id).is_some()
            && let Some(lane) = self.lanes.get_mut(&id)
            && !lane.hungry
        {
            lane.hungry = true;
            self.hungry.push_back(id);
        }
    }

    fn window(&self, lane: &Lane) -> usize {
        match lane.endpoint.and_then(|id| self.endpoints.get(&id)) {
            Some(endpoint) if endpoint.proven => WINDOW,
            _ => WINDOW_UNPROVEN,
        }
    }
    /// Deliveries that a lane may hold, waiting ones and followers included.
    pub(in crate::dispatch) fn room(&self, id: SubscriptionId) -> usize {
        self.lanes.get(&id).map_or(0, |lane| 4 * self.window(lane))
    }
    fn appetite(&self, id: SubscriptionId) -> Option<usize> {
        let lane = self.lanes.get(&id).filter(|lane| lane.more)?;
        if lane.gone.is_some() {
            return (lane.items.len() < PAGE).then_some(PAGE);
        }
        let window = self.window(lane);
        if lane.active >= window / 2 || lane.items.len() >= 4 * window {
            return None;
        }
        if self.held >= HELD {
            return lane.items.is_empty().then_some(PAGE_TIGHT);
        }
        Some(PAGE.min(window))
    }
}
