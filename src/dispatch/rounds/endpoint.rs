//! One endpoint: what is ready for it, and how much of it may go now (SPEC 5.2, 5.5), pure. Knows no lane's inside.
use crate::dispatch::rounds::breaker::Breaker;
use crate::dispatch::rounds::limit::EndpointLimiter;
use crate::dispatch::ticket::{Seq, Ticket};
use crate::domain::{EndpointKey, SubscriptionId};
use std::collections::BTreeSet;

/// An endpoint's number in the scheduler.
pub(in crate::dispatch) type EndpointId = u64;

/// Where an endpoint stands in the scheduler's rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum RoundPlace {
    /// In no queue: nothing is ready, or all it may have is in flight.
    Idle,
    /// In the round.
    Running,
    /// Waits until fewer requests to unproven endpoints are in flight.
    Unproven,
    /// Waits until fewer retries are in flight.
    Retries,
    /// Waits for a timer: breaker, limiter, or a fault of our own.
    Timed(i64),
}

/// Something that can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct Choice {
    pub(in crate::dispatch) ticket: Ticket,
    pub(in crate::dispatch) due: i64,
    pub(in crate::dispatch) retry: bool,
}

/// One endpoint. Times are steady milliseconds.
#[derive(Debug)]
pub(in crate::dispatch) struct Endpoint {
    pub(in crate::dispatch) key: EndpointKey,
    pub(in crate::dispatch) lanes: BTreeSet<SubscriptionId>,
    /// Never attempted, in commit order.
    fresh: BTreeSet<(Seq, SubscriptionId)>,
    /// Attempted before, those that have waited longest first.
    retries: BTreeSet<(i64, Seq, SubscriptionId)>,
    /// Whose turn it is when both are there.
    retry_next: bool,
    pub(in crate::dispatch) in_flight: usize,
    /// Requests that may be in flight: one, and one more per success, up to the cap.
    pub(in crate::dispatch) window: usize,
    /// Its last attempt was a success.
    pub(in crate::dispatch) proven: bool,
    pub(in crate::dispatch) breaker: Breaker,
    pub(in crate::dispatch) limiter: Option<EndpointLimiter>,
    /// Nothing goes before: a fault of our own would only repeat itself.
    pub(in crate::dispatch) hold_until: i64,
    pub(in crate::dispatch) place: RoundPlace,
    /// Stands in the queue of the unproven, of those that wait for a retry's place (whatever `place` says now).
    pub(in crate::dispatch) in_queue: (bool, bool),
    /// Deliveries owed, in memory and not.
    pub(in crate::dispatch) owed: u64,
}

impl Endpoint {
    pub(in crate::dispatch) fn new(key: EndpointKey) -> Self {
        Self {
            key,
            lanes: BTreeSet::new(),
            fresh: BTreeSet::new(),
            retries: BTreeSet::new(),
            retry_next: false,
            in_flight: 0,
            window: 1,
            proven: false,
            breaker: Breaker::default(),
            limiter: None,
            hold_until: i64::MIN,
            place: RoundPlace::Idle,
            in_queue: (false, false),
            owed: 0,
        }
    }
    pub(in crate::dispatch) fn has_ready(&self) -> bool {
        self.has_fresh() || !self.retries.is_empty()
    }
    pub(in crate::dispatch) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }
    pub(in crate::dispatch) fn insert(&mut self, ticket: Ticket, due: i64, retry: bool) {
        if retry {
            self.retries.insert((due, ticket.seq, ticket.lane));
        } else {
            self.fresh.insert((ticket.seq, ticket.lane));
        }
    }
    pub(in crate::dispatch) fn remove(&mut self, ticket: Ticket, due: i64, retry: bool) {
        if retry {
            self.retries.remove(&(due, ticket.seq, ticket.lane));
        } else {
            self.fresh.remove(&(ticket.seq, ticket.lane));
        }
        // empty sets keep their last node
        if !self.has_ready() {
            (self.fresh, self.retries) = (BTreeSet::new(), BTreeSet::new());
        }
    }
    /// What goes next. First attempts and retries take turns, so that neither starves the other; a probe takes what
    /// was never tried or has waited longest, so that probes rotate over ordering keys.
    pub(in crate::dispatch) fn choose(&self, retries_allowed: bool, probe: bool) -> Option<Choice> {
        let fresh = self.fresh.first().map(|(seq, lane)| Choice {
            ticket: Ticket { lane: *lane, seq: *seq },
            due: 0,
            retry: false,
        });
        let retry = self.retries.first().filter(|_| retries_allowed).map(|(due, seq, lane)| Choice {
            ticket: Ticket { lane: *lane, seq: *seq },
            due: *due,
            retry: true,
        });
        if self.retry_next && !probe { retry.or(fresh) } else { fresh.or(retry) }
    }
    /// What `choose` gave goes.
    pub(in crate::dispatch) fn take(&mut self, choice: Choice) {
        self.remove(choice.ticket, choice.due, choice.retry);
        self.retry_next = !choice.retry;
        self.in_flight += 1;
    }
    /// A delivery was accepted.
    pub(in crate::dispatch) fn succeeded(&mut self, cap: usize) {
        self.window = (self.window + 1).min(cap.max(1));
    }
    /// It hung, or is left alone: begin anew.
    pub(in crate::dispatch) fn slow_down(&mut self) {
        self.window = 1;
    }
}
