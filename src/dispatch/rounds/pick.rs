//! Who goes next: rounds over endpoints, with breaker, limiter and the shares of concurrency (SPEC 5.5), pure.
use crate::dispatch::backlog::lane::TicketState;
use crate::dispatch::now::Now;
use crate::dispatch::rounds::breaker::BreakerGate;
use crate::dispatch::rounds::endpoint::{Choice, EndpointId, RoundPlace};
use crate::dispatch::scheduler::{EXPIRED, Scheduler, Timer};
use crate::dispatch::ticket::Ticket;
use crate::domain::Pending;

/// Endpoints that are let back into the round at once.
const WOKEN: usize = 64;

/// An attempt to make. Hand it back with `done`, or with `put_back` if it was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which delivery.
    pub ticket: Ticket,
    /// What it is.
    pub pending: Pending,
    pub(in crate::dispatch) endpoint: EndpointId,
    pub(in crate::dispatch) retry: bool,
    pub(in crate::dispatch) probe: bool,
    pub(in crate::dispatch) due: i64,
}

/// What an endpoint whose turn it is may do.
enum Turn {
    Start(Choice, bool),
    Wait(RoundPlace),
}

impl Scheduler {
    /// The next attempt, if one may start now.
    pub fn next(&mut self, now: Now) -> Option<Job> {
        self.fire(now);
        while self.in_flight < self.settings.concurrency.max(1) {
            let id = self.round.pop_front()?;
            match self.turn(id, now) {
                Some(Turn::Start(choice, probe)) => return self.start(id, choice, probe),
                Some(Turn::Wait(place)) => self.park(id, place),
                None => {}
            }
        }
        None
    }

    /// Gives back a job that was not started: as if it had not been chosen.
    pub fn put_back(&mut self, job: &Job, now: Now) {
        self.free(job);
        if job.probe
            && let Some(endpoint) = self.endpoints.get_mut(&job.endpoint)
        {
            endpoint.breaker = crate::dispatch::rounds::breaker::Breaker::Probing { under_way: false };
        }
        if let Some(lane) = self.lanes.get_mut(&job.ticket.lane) {
            lane.active = lane.active.saturating_sub(1);
        }
        self.enqueue(job.endpoint);
        self.forget_endpoint(job.endpoint);
        self.wake_parked();
        self.resume(job.ticket, job.due, now);
    }

    /// An endpoint's turn; `None` if it is not in the round any more.
    fn turn(&mut self, id: EndpointId, now: Now) -> Option<Turn> {
        let endpoint = self.endpoints.get(&id).filter(|endpoint| endpoint.place == RoundPlace::Running)?;
        if !endpoint.has_ready() {
            return Some(Turn::Wait(RoundPlace::Idle));
        }
        if now.steady < endpoint.hold_until {
            return Some(Turn::Wait(RoundPlace::Timed(endpoint.hold_until)));
        }
        let probe = match endpoint.breaker.gate(now.steady) {
            BreakerGate::Open => false,
            BreakerGate::Probe => true,
            BreakerGate::Until(at) => return Some(Turn::Wait(RoundPlace::Timed(at))),
            BreakerGate::AfterProbe => return Some(Turn::Wait(RoundPlace::Idle)),
        };
        // What was on its way when it began to refuse does not hold up the probe.
        if !probe && endpoint.in_flight >= endpoint.window.min(self.settings.per_endpoint.concurrency.max(1))
        {
            return Some(Turn::Wait(RoundPlace::Idle));
        }
        if !endpoint.proven && self.unproven_in_flight >= self.unproven_cap() {
            return Some(Turn::Wait(RoundPlace::Unproven));
        }
        let Some(choice) = endpoint.choose(self.retries_in_flight < self.retries_cap(), probe) else {
            return Some(Turn::Wait(RoundPlace::Retries));
        };
        // Last, for it takes a place.
        match endpoint.limiter.as_ref().map_or(Ok(()), |limiter| limiter.take(now.steady)) {
            Ok(()) => Some(Turn::Start(choice, probe)),
            Err(at) => Some(Turn::Wait(RoundPlace::Timed(at))),
        }
    }

    fn park(&mut self, id: EndpointId, place: RoundPlace) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        endpoint.place = place;
        match place {
            RoundPlace::Idle | RoundPlace::Running => {}
            RoundPlace::Unproven => {
                if !std::mem::replace(&mut endpoint.in_queue.0, true) {
                    self.unproven.push_back(id);
                }
            }
            RoundPlace::Retries => {
                if !std::mem::replace(&mut endpoint.in_queue.1, true) {
                    self.retries.push_back(id);
                }
            }
            RoundPlace::Timed(at) => {
                self.timers.insert((at, Timer::Endpoint(id)));
            }
        }
    }

    fn start(&mut self, id: EndpointId, choice: Choice, probe: bool) -> Option<Job> {
        let endpoint = self.endpoints.get_mut(&id)?;
        endpoint.take(choice);
        if probe {
            endpoint.breaker.probe_begins();
        }
        self.in_flight += 1;
        self.unproven_in_flight += usize::from(!endpoint.proven);
        self.retries_in_flight += usize::from(choice.retry);
        self.round.push_back(id);
        let item = self.lanes.get_mut(&choice.ticket.lane)?.items.get_mut(&choice.ticket.seq)?;
        item.state = TicketState::InFlight;
        Some(Job {
            ticket: choice.ticket,
            pending: item.pending.clone(),
            endpoint: id,
            retry: choice.retry,
            probe,
            due: choice.due,
        })
    }

    /// A request is back: its place is free.
    pub(in crate::dispatch) fn free(&mut self, job: &Job) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.retries_in_flight = self.retries_in_flight.saturating_sub(usize::from(job.retry));
        if let Some(endpoint) = self.endpoints.get_mut(&job.endpoint) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            self.unproven_in_flight = self.unproven_in_flight.saturating_sub(usize::from(!endpoint.proven));
        }
    }

    /// Lets endpoints back into the round that waited for a place which may be free now.
    pub(in crate::dispatch) fn wake_parked(&mut self) {
        let room = self.unproven_cap().saturating_sub(self.unproven_in_flight).min(WOKEN);
        for _ in 0..room {
            let Some(id) = self.unproven.pop_front() else { break };
            self.endpoints.get_mut(&id).into_iter().for_each(|endpoint| endpoint.in_queue.0 = false);
            self.unpark(id, RoundPlace::Unproven);
        }
        let room = self.retries_cap().saturating_sub(self.retries_in_flight).min(WOKEN);
        for _ in 0..room {
            let Some(id) = self.retries.pop_front() else { break };
            self.endpoints.get_mut(&id).into_iter().for_each(|endpoint| endpoint.in_queue.1 = false);
            self.unpark(id, RoundPlace::Retries);
        }
    }

    /// Back into the round, if it still waits at that place.
    pub(in crate::dispatch) fn unpark(&mut self, id: EndpointId, from: RoundPlace) {
        if let Some(endpoint) = self.endpoints.get_mut(&id).filter(|endpoint| endpoint.place == from) {
            endpoint.place = RoundPlace::Idle;
            self.enqueue(id);
        }
    }

    fn fire(&mut self, now: Now) {
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now.steady) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Due(ticket) => self.wait_until(ticket, at, now),
                Timer::Expire(ticket) => {
                    let item = self.lanes.get(&ticket.lane).and_then(|lane| lane.items.get(&ticket.seq));
                    if item.is_some_and(|item| item.state.is_idle()) {
                        self.give_up(ticket, EXPIRED);
                    }
                }
                Timer::Endpoint(id) => self.unpark(id, RoundPlace::Timed(at)),
            }
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
