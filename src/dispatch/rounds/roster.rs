//! Which subscriptions have lanes, and which endpoints they lead to (SPEC 5.5, 5.8), pure.
use crate::dispatch::backlog::lane::{Lane, TicketState};
use crate::dispatch::now::Now;
use crate::dispatch::rounds::endpoint::{Endpoint, EndpointId, RoundPlace};
use crate::dispatch::rounds::limit::EndpointLimiter;
use crate::dispatch::scheduler::{Scheduler, Timer};
use crate::dispatch::ticket::{Seq, Ticket};
use crate::domain::{EndpointKey, Ordering, SubscriptionId};

/// What the scheduler must know of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where to, now.
    pub endpoint: EndpointKey,
    /// Its own ordering.
    pub ordering: Option<Ordering>,
    /// Its own limit, requests per second; 0: none.
    pub rate: Option<u32>,
}

impl Scheduler {
    /// A subscription as it is now: opens its lane, or moves it to another endpoint, ordering or rate.
    pub fn open_lane(&mut self, id: SubscriptionId, facts: &Facts, now: Now) {
        let ordering = facts.ordering.unwrap_or(self.settings.ordering);
        let rate = facts.rate.unwrap_or(self.settings.per_endpoint.rate);
        let to = self.endpoint_id(&facts.endpoint);
        let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(None, ordering, rate));
        let was_gone = lane.gone.take().is_some();
        let from = lane.endpoint;
        lane.rate = rate;
        let whose = |at| self.endpoints.get(&at).map(|endpoint| &endpoint.key.tenant);
        let other_tenant = from.is_some_and(|from| whose(from) != whose(to));
        if lane.ordering != ordering || was_gone || other_tenant {
            self.reset_lane(id, ordering);
        }
        if from != Some(to) {
            self.move_lane(id, from, to);
        }
        self.set_rate(to, now);
        self.touch(id);
        self.enqueue(to);
    }

    /// A subscription that is deleted or inactive: all that it owes is given up.
    pub fn close_lane(&mut self, id: SubscriptionId, reason: &'static str, now: Now) {
        let ordering = self.settings.ordering;
        let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(None, ordering, 0));
        if lane.gone.is_some() {
            return;
        }
        lane.gone = Some(reason);
        let (from, ordering) = (lane.endpoint, lane.ordering);
        // What is idle is read again, with all the rest in the store, and given up as it is read.
        self.reset_lane(id, ordering);
        if let Some(from) = from {
            self.leave(id, from);
            self.set_rate(from, now);
        }
        self.touch(id);
    }

    /// Is the lane open, and where does it lead?
    pub fn endpoint_of(&self, id: SubscriptionId) -> Option<&EndpointKey> {
        let lane = self.lanes.get(&id)?;
        self.endpoints.get(&lane.endpoint?).map(|endpoint| &endpoint.key)
    }

    /// Is everything in the lane abandoned?
    pub fn is_gone(&self, id: SubscriptionId) -> bool {
        self.lanes.get(&id).is_some_and(|lane| lane.gone.is_some())
    }

    /// All lanes from `after` on, for a review in pieces.
    pub fn lanes_after(&self, after: Option<SubscriptionId>, limit: usize) -> Vec<SubscriptionId> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.lanes.range((from, Bound::Unbounded)).take(limit).map(|(id, _)| *id).collect()
    }

    fn endpoint_id(&mut self, key: &EndpointKey) -> EndpointId {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        self.next_id += 1;
        self.by_key.insert(key.clone(), self.next_id);
        self.endpoints.insert(self.next_id, Endpoint::new(key.clone()));
        self.next_id
    }

    /// Drops what is idle in a lane; it will be read again.
    fn reset_lane(&mut self, id: SubscriptionId, ordering: Ordering) {
        let idle: Vec<Seq> = self.lanes.get(&id).map_or_else(Vec::new, |lane| {
            lane.items.iter().filter(|(_, item)| item.state.is_idle()).map(|(seq, _)| *seq).collect()
        });
        for seq in idle {
            self.unhook(Ticket { lane: id, seq });
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            self.held = self.held.saturating_sub(lane.reset(ordering).len());
        }
    }

    fn move_lane(&mut self, id: SubscriptionId, from: Option<EndpointId>, to: EndpointId) {
        let ready: Vec<(Ticket, i64, bool)> = self.lanes.get(&id).map_or_else(Vec::new, |lane| {
            let ticket = |seq: &Seq| Ticket { lane: id, seq: *seq };
            lane.items
                .iter()
                .filter_map(|(seq, item)| match item.state {
                    TicketState::Ready(due) => Some((ticket(seq), due, item.pending.attempts > 0)),
                    _ => None,
                })
                .collect()
        });
        if let Some(from) = from {
            if let Some(endpoint) = self.endpoints.get_mut(&from) {
                for (ticket, due, retry) in &ready {
                    endpoint.remove(*ticket, *due, *retry);
                }
            }
            self.leave(id, from);
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.endpoint = Some(to);
        let owed = lane.owed.count;
        if let Some(endpoint) = self.endpoints.get_mut(&to) {
            endpoint.lanes.insert(id);
            endpoint.owed += owed;
            for (ticket, due, retry) in ready {
                endpoint.insert(ticket, due, retry);
            }
        }
    }

    fn leave(&mut self, id: SubscriptionId, from: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.endpoint = None;
        if let Some(endpoint) = self.endpoints.get_mut(&from) {
            endpoint.lanes.remove(&id);
            endpoint.owed = endpoint.owed.saturating_sub(lane.owed.count);
        }
        self.forget_endpoint(from);
    }

    /// An endpoint that no lane leads to and that has nothing in flight is forgotten.
    pub(in crate::dispatch) fn forget_endpoint(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        if !endpoint.lanes.is_empty() || endpoint.in_flight > 0 {
            return;
        }
        if let RoundPlace::Timed(at) = endpoint.place {
            self.timers.remove(&(at, Timer::Endpoint(id)));
        }
        self.refusing -= usize::from(endpoint.breaker.is_refusing());
        self.by_key.remove(&endpoint.key);
        self.endpoints.remove(&id);
    }

    /// Of several subscriptions the smallest rate holds.
    fn set_rate(&mut self, id: EndpointId, now: Now) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let rates = endpoint.lanes.iter().filter_map(|lane| self.lanes.get(lane)).map(|lane| lane.rate);
        let rate = rates.filter(|rate| *rate > 0).min().unwrap_or(0);
        if endpoint.limiter.as_ref().map_or(0, EndpointLimiter::rate) != rate {
            endpoint.limiter = EndpointLimiter::new(rate, self.settings.per_endpoint.burst, now.steady);
        }
    }
}
