//! Purpose: who goes next: rounds over endpoints, with breaker, limiter and the shares of concurrency (SPEC 5.5), pure. Must not:
//! depend on lanes; a delivery is a ticket here.
use crate::dispatch::message::{OwnerMessage, ReadyTicket};
use crate::dispatch::now::Now;
use crate::dispatch::rounds::endpoint::{Endpoint, RoundSums, Shares, Turn};
use crate::dispatch::rounds::standing::{RoundPlace, RoundQueues};
use crate::dispatch::ticket::EndpointId;
use crate::domain::{EndpointKey, Outcome};
use crate::settings::DispatchSettings;
use std::collections::BTreeMap;

/// Endpoints that are let back into the round at once.
const WOKEN: usize = 64;

/// An attempt that has a place: hand it back with `ended` or `put_back`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct Started {
    pub(in crate::dispatch) endpoint: EndpointId,
    pub(in crate::dispatch) ready: ReadyTicket,
    pub(in crate::dispatch) probe: bool,
}

/// What an attempt's end meant for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct EndpointVerdict {
    /// A failure is the delivery's.
    pub(in crate::dispatch) charged: bool,
    /// The endpoint works now, and did not before (or the other way round).
    pub(in crate::dispatch) proven: Option<bool>,
}

/// The endpoints.
#[derive(Debug)]
pub(in crate::dispatch) struct Rounds {
    settings: DispatchSettings,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    by_key: BTreeMap<EndpointKey, EndpointId>,
    next_id: EndpointId,
    queues: RoundQueues,
    sums: RoundSums,
    messages: Vec<OwnerMessage>,
}

impl Rounds {
    pub(in crate::dispatch) fn new(settings: DispatchSettings) -> Self {
        Self {
            settings,
            endpoints: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next_id: 0,
            queues: RoundQueues::default(),
            sums: RoundSums::default(),
            messages: Vec::new(),
        }
    }

    /// The sums over all endpoints.
    pub(in crate::dispatch) fn sums(&self) -> RoundSums {
        self.sums
    }
    /// What is to be passed on.
    pub(in crate::dispatch) fn messages(&mut self) -> std::vec::Drain<'_, OwnerMessage> {
        self.messages.drain(..)
    }
    pub(in crate::dispatch) fn key(&self, id: EndpointId) -> Option<&EndpointKey> {
        self.endpoints.get(&id).map(Endpoint::key)
    }
    pub(in crate::dispatch) fn is_proven(&self, id: EndpointId) -> bool {
        self.endpoints.get(&id).is_some_and(Endpoint::is_proven)
    }

    /// A lane leads to this endpoint: its number, a new one if need be.
    pub(in crate::dispatch) fn use_endpoint(&mut self, key: &EndpointKey) -> EndpointId {
        if let Some(id) = self.by_key.get(key).copied() {
            self.on(id, |endpoint| endpoint.set_used(true));
            return id;
        }
        self.next_id += 1;
        self.by_key.insert(key.clone(), self.next_id);
        self.endpoints.insert(self.next_id, Endpoint::new(key.clone()));
        self.next_id
    }

    /// No lane leads to it any more: it is forgotten when nothing is on its way.
    pub(in crate::dispatch) fn leave_endpoint(&mut self, id: EndpointId) {
        self.on(id, |endpoint| endpoint.set_used(false));
        self.forget_idle(id);
    }

    /// Requests per second; 0: no limit.
    pub(in crate::dispatch) fn set_rate(&mut self, id: EndpointId, rate: u32, now: Now) {
        let burst = self.settings.per_endpoint.burst;
        self.on(id, |endpoint| endpoint.set_rate(rate, burst, now.steady));
    }

    /// A delivery may go.
    pub(in crate::dispatch) fn ready(&mut self, id: EndpointId, ready: ReadyTicket) {
        let new = self.on(id, |endpoint| endpoint.insert(ready));
        debug_assert_eq!(new, Some(true), "{ready:?} is ready twice");
        self.enqueue(id);
    }

    /// It may not any more.
    pub(in crate::dispatch) fn unready(&mut self, id: EndpointId, ready: ReadyTicket) {
        let was_ready = self.on(id, |endpoint| endpoint.remove(ready));
        debug_assert_eq!(was_ready, Some(true), "{ready:?} was not ready");
    }

    /// The next attempt, if one may start now.
    pub(in crate::dispatch) fn next(&mut self, now: Now) -> Option<Started> {
        while self.sums.in_flight < self.settings.concurrency.max(1) {
            let Some(id) = self.queues.first(RoundPlace::Running) else {
                // who was let back in may wait for something else now: its place is another's
                if self.wake_parked() {
                    continue;
                }
                return None;
            };
            let shares = self.shares();
            match self.endpoints.get(&id)?.turn(now.steady, shares) {
                Turn::Wait(place) => self.move_to(id, place),
                Turn::Start(ready, probe) => {
                    self.on(id, |endpoint| endpoint.take(ready, probe));
                    self.move_to(id, RoundPlace::Running);
                    return Some(Started { endpoint: id, ready, probe });
                }
            }
        }
        None
    }

    /// Gives a place back that was not used.
    pub(in crate::dispatch) fn put_back(&mut self, started: &Started) {
        self.on(started.endpoint, |endpoint| {
            endpoint.free(started.ready.retry);
            if started.probe {
                endpoint.probe_is_put_back();
            }
        });
        self.enqueue(started.endpoint);
        self.forget_idle(started.endpoint);
        self.wake_parked();
    }

    /// An attempt has ended.
    pub(in crate::dispatch) fn ended(
        &mut self,
        started: &Started,
        outcome: &Outcome,
        now: Now,
    ) -> EndpointVerdict {
        let id = started.endpoint;
        let settings = self.settings.clone();
        let changed = self.on(id, |endpoint| {
            let was = (endpoint.is_refusing(), endpoint.is_proven());
            endpoint.free(started.ready.retry);
            let charged = endpoint.ended(outcome, started.probe, &settings, now);
            (charged, was, (endpoint.is_refusing(), endpoint.is_proven()), endpoint.place())
        });
        // it is there: with an attempt on its way it is not forgotten
        let Some((charged, was, is, place)) = changed else {
            return EndpointVerdict { charged: true, proven: None };
        };
        if was.0 && !is.0 && matches!(place, RoundPlace::Timed(_)) {
            self.move_to(id, RoundPlace::Idle);
        }
        self.enqueue(id);
        self.forget_idle(id);
        self.wake_parked();
        EndpointVerdict { charged, proven: (was.1 != is.1).then_some(is.1) }
    }

    /// An endpoint's timer has come.
    pub(in crate::dispatch) fn timer_came(&mut self, id: EndpointId, at: i64) {
        let waited = self.endpoints.get_mut(&id).is_some_and(|endpoint| endpoint.standing().timer_came(at));
        debug_assert!(waited, "endpoint {id} does not wait for {at}");
        self.enqueue(id);
    }

    /// The one way from place to place.
    fn move_to(&mut self, id: EndpointId, place: RoundPlace) {
        let Self { endpoints, queues, messages, .. } = self;
        let Some(endpoint) = endpoints.get_mut(&id) else {
            debug_assert!(false, "endpoint {id} is not there");
            return;
        };
        queues.move_to(id, endpoint.standing(), place, messages);
    }

    /// Into the round, if it has something and waits for nothing.
    fn enqueue(&mut self, id: EndpointId) {
        // it may have been forgotten: an attempt of a lane that has left comes back
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        let free = match endpoint.place() {
            RoundPlace::Idle => endpoint.has_ready(),
            RoundPlace::Retries => endpoint.has_fresh(),
            RoundPlace::Unproven => endpoint.is_proven(),
            RoundPlace::Running | RoundPlace::Timed(_) => false,
        };
        if free {
            self.move_to(id, RoundPlace::Running);
        }
    }

    /// Lets endpoints back into the round that waited for a place which may be free now; true if there were some.
    fn wake_parked(&mut self) -> bool {
        let unproven = self.unproven_cap().saturating_sub(self.sums.unproven);
        let retries = self.retries_cap().saturating_sub(self.sums.retries);
        let mut woken = false;
        for (place, room) in [(RoundPlace::Unproven, unproven), (RoundPlace::Retries, retries)] {
            for _ in 0..room.min(WOKEN) {
                let Some(id) = self.queues.first(place) else { break };
                self.move_to(id, RoundPlace::Idle);
                self.enqueue(id);
                woken = true;
            }
        }
        woken
    }

    /// An endpoint that no lane leads to and that has nothing in flight is forgotten.
    fn forget_idle(&mut self, id: EndpointId) {
        if !self.endpoints.get(&id).is_some_and(Endpoint::is_idle) {
            return;
        }
        self.move_to(id, RoundPlace::Idle);
        if let Some(endpoint) = self.endpoints.remove(&id) {
            debug_assert!(!endpoint.has_ready(), "forgotten with something ready: {endpoint:?}");
            self.sums.replace(endpoint.sums(), RoundSums::default());
            self.by_key.remove(endpoint.key());
        }
    }

    /// Works on one endpoint and keeps the sums. `None`: it is not there.
    fn on<R>(&mut self, id: EndpointId, work: impl FnOnce(&mut Endpoint) -> R) -> Option<R> {
        let endpoint = self.endpoints.get_mut(&id);
        debug_assert!(endpoint.is_some(), "endpoint {id} is not there");
        let endpoint = endpoint?;
        let before = endpoint.sums();
        let result = work(endpoint);
        self.sums.replace(before, endpoint.sums());
        Some(result)
    }

    fn shares(&self) -> Shares {
        Shares {
            window: self.settings.per_endpoint.concurrency.max(1),
            unproven: self.sums.unproven < self.unproven_cap(),
            retry: self.sums.retries < self.retries_cap(),
        }
    }
    /// Endpoints without a success in their last attempt together hold at most half (SPEC 5.5).
    fn unproven_cap(&self) -> usize {
        (self.settings.concurrency / 2).max(1)
    }
    /// A quarter is for first attempts alone: a storm of retries starves nothing fresh (DESIGN 6).
    fn retries_cap(&self) -> usize {
        (self.settings.concurrency * 3 / 4).max(1)
    }
}

#[cfg(any(test, debug_assertions))]
impl Rounds {
    pub(in crate::dispatch) fn count(&self) -> usize {
        self.endpoints.len()
    }
    /// Everything that holds between two steps.
    pub(in crate::dispatch) fn check(&mut self) {
        let mut sums = RoundSums::default();
        for (id, endpoint) in &self.endpoints {
            sums.replace(RoundSums::default(), endpoint.sums());
            endpoint.check();
            assert_eq!(self.by_key.get(endpoint.key()), Some(id), "{:?}", endpoint.key());
        }
        assert_eq!(sums, self.sums, "the sums over all endpoints");
        assert_eq!(self.by_key.len(), self.endpoints.len(), "keys lead to endpoints that are not there");
        assert!(self.messages.is_empty(), "not passed on: {:?}", self.messages);
        self.queues.check(self.endpoints.iter_mut().map(|(id, endpoint)| (*id, &*endpoint.standing())));
    }
    pub(in crate::dispatch) fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }
    pub(in crate::dispatch) fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.endpoints.iter().map(|(id, endpoint)| (*id, endpoint))
    }
}

#[cfg(test)]
mod tests;
