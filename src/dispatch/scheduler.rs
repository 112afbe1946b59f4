//! Purpose: which delivery goes when (SPEC 5.2–5.5): passes messages between the three owners, `Backlog`, `Rounds` and `Timers`, pure.
//! Must not: have a state of its own, read a clock or a store: what it wants to read it asks for (`wants`), what it decides it
//! hands out (`done`, `given_up`).
//!
//! Every step costs O(log n) in lanes, endpoints and deliveries in memory. Debug builds check after each step that the owners
//! agree.
use crate::dispatch::backlog::lane::{AttemptEnd, Lead, Offered};
use crate::dispatch::backlog::lanes::Backlog;
use crate::dispatch::backlog::refill::Want;
use crate::dispatch::message::{GivenUp, Message};
use crate::dispatch::now::Now;
use crate::dispatch::retry::{RetryVerdict, judge};
use crate::dispatch::rounds::pick::{Rounds, Started};
use crate::dispatch::ticket::{EndpointId, Ticket};
use crate::dispatch::timers::{Timer, Timers};
use crate::domain::{Attempt, DeliveryKey, EndpointKey, Next, Ordering, Outcome, Pending, SubscriptionId};
use crate::fault;
use crate::settings::DispatchSettings;

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

/// An attempt to make. Hand it back with `done`, or with `put_back` if it was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which delivery.
    pub ticket: Ticket,
    /// What it is.
    pub pending: Pending,
    pub(in crate::dispatch) started: Started,
}

/// An attempt to make durable; then call `settled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Which delivery.
    pub key: DeliveryKey,
    /// For its record.
    pub attempt: Attempt,
    /// What follows.
    pub next: Next,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    settings: DispatchSettings,
    backlog: Backlog,
    rounds: Rounds,
    timers: Timers,
    given_up: Vec<GivenUp>,
    /// Steps since everything was checked.
    #[cfg(debug_assertions)]
    unchecked: usize,
}

impl Scheduler {
    /// Nothing known yet.
    pub fn new(settings: DispatchSettings) -> Self {
        Self {
            backlog: Backlog::new(&settings),
            rounds: Rounds::new(settings.clone()),
            timers: Timers::default(),
            given_up: Vec::new(),
            settings,
            #[cfg(debug_assertions)]
            unchecked: 0,
        }
    }

    /// A subscription as it is now: opens its lane, or moves it to another endpoint, ordering or rate.
    pub fn open_lane(&mut self, id: SubscriptionId, facts: &Facts, now: Now) {
        let ordering = facts.ordering.unwrap_or(self.settings.ordering);
        let rate = facts.rate.unwrap_or(self.settings.per_endpoint.rate);
        let from = self.backlog.endpoint_of(id);
        let to = self.rounds.use_endpoint(&facts.endpoint);
        let lead = Lead { endpoint: to, tenant: facts.endpoint.tenant.clone() };
        self.backlog.open(id, lead, self.rounds.is_proven(to), ordering, rate);
        self.pass_on();
        for endpoint in from.into_iter().filter(|from| *from != to).chain([to]) {
            self.lanes_changed(endpoint, now);
        }
        self.step();
    }

    /// A subscription that is deleted or inactive: all that it owes is given up.
    pub fn close_lane(&mut self, id: SubscriptionId, reason: &'static str, now: Now) {
        if self.backlog.is_gone(id) {
            return;
        }
        let from = self.backlog.endpoint_of(id);
        self.backlog.close(id, reason, self.settings.ordering);
        self.pass_on();
        if let Some(from) = from {
            self.lanes_changed(from, now);
        }
        self.step();
    }

    fn lanes_changed(&mut self, endpoint: EndpointId, now: Now) {
        match self.backlog.rate(endpoint) {
            Some(rate) => self.rounds.set_rate(endpoint, rate, now),
            None => self.rounds.leave_endpoint(endpoint),
        }
    }

    /// Where does the lane lead, if it is open?
    pub fn endpoint_of(&self, id: SubscriptionId) -> Option<&EndpointKey> {
        self.rounds.key(self.backlog.endpoint_of(id)?)
    }
    /// Is everything in the lane abandoned?
    pub fn is_gone(&self, id: SubscriptionId) -> bool {
        self.backlog.is_gone(id)
    }
    /// All lanes from `after` on, for a review in pieces.
    pub fn lanes_after(&self, after: Option<SubscriptionId>, limit: usize) -> Vec<SubscriptionId> {
        self.backlog.lanes_after(after, limit)
    }
    /// Endpoints whose breaker refuses or probes.
    pub fn refusing(&self) -> usize {
        self.rounds.sums().refusing
    }
    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.rounds.sums().in_flight
    }
    /// Deliveries in memory.
    pub fn held(&self) -> usize {
        self.backlog.held()
    }
    /// When there is something to do without anything happening: a steady millisecond.
    pub fn next_wake(&self) -> Option<i64> {
        self.timers.next_wake()
    }
    /// Decisions to make durable.
    pub fn take_given_up(&mut self) -> Vec<GivenUp> {
        std::mem::take(&mut self.given_up)
    }

    /// A delivery that has become pending.
    pub fn offer(&mut self, pending: Pending, now: Now) -> Offered {
        let offered = self.backlog.offer(pending, now);
        self.step();
        offered
    }
    /// The store holds more for this lane than was offered: at start, and after the feed has overflowed.
    pub fn backlog(&mut self, id: SubscriptionId) {
        debug_assert!(self.backlog.has_lane(id), "lane {id} is to be opened before");
        self.backlog.mark(id);
        self.step();
    }
    /// What to read from the store, most urgent first.
    pub fn wants(&mut self, limit: usize) -> Vec<Want> {
        self.backlog.wants(limit)
    }
    /// Would `wants` give something now?
    pub fn wants_more(&self) -> bool {
        self.backlog.wants_more()
    }
    /// The answer to `Want::Page`.
    pub fn filled(&mut self, id: SubscriptionId, page: Vec<Pending>, limit: usize, now: Now) {
        self.backlog.filled(id, page, limit, now);
        self.step();
    }
    /// The answer to `Want::First`.
    pub fn first(&mut self, id: SubscriptionId, order: u64, found: Option<Pending>, now: Now) {
        self.backlog.first(id, order, found, now);
        self.step();
    }
    /// The answer to `Want::Count`.
    pub fn counted(&mut self, id: SubscriptionId, page: &[Pending], limit: usize) {
        self.backlog.counted(id, page, limit);
        self.step();
    }
    /// The store could not be asked: ask again later.
    pub fn not_read(&mut self, want: Want) {
        self.backlog.not_read(want);
    }

    /// The next attempt, if one may start now.
    pub fn next(&mut self, now: Now) -> Option<Job> {
        while let Some((at, timer)) = self.timers.take_due(now.steady) {
            match timer {
                Timer::Due(ticket) => self.backlog.due(ticket, at),
                Timer::Expire(ticket) => self.backlog.expired(ticket),
                Timer::Endpoint(id) => self.rounds.timer_came(id, at),
            }
            self.pass_on();
        }
        let job = self.rounds.next(now).and_then(|started| {
            let ticket = started.ready.ticket;
            let pending = self.backlog.begin(ticket);
            debug_assert!(pending.is_some(), "{ticket:?} is started and is not in memory");
            Some(Job { ticket, pending: pending?, started })
        });
        self.step();
        job
    }

    /// Gives back a job that was not started: as if it had not been chosen.
    pub fn put_back(&mut self, job: &Job, now: Now) {
        self.rounds.put_back(&job.started);
        self.backlog.put_back(job.ticket, job.started.ready.due, now);
        self.step();
    }

    /// An attempt is over. `at_ms` is when it began (Unix), `jitter` in [0, 1).
    pub fn done(&mut self, job: &Job, outcome: Outcome, at_ms: i64, now: Now, jitter: f64) -> Done {
        let before = &job.pending;
        let verdict = self.rounds.ended(&job.started, &outcome, now);
        if let Some(proven) = verdict.proven {
            self.backlog.proven(job.started.endpoint, proven);
        }
        let (counted, attempts) = (before.counted_attempts, before.attempts);
        let judged = judge(&outcome, counted, attempts, verdict.charged, &self.settings, jitter);
        let (next, retry) = match judged.verdict {
            RetryVerdict::Delivered => (Next::Delivered, None),
            RetryVerdict::Failed => (Next::Failed, None),
            RetryVerdict::Retry(wait) => {
                let at = now.wall.saturating_add(wait);
                fault::crash_point("dispatch.retry-planned");
                let lost = fault::planted("lost-retry") && judged.counted && counted == 2
                    || fault::planted("breaker-swallows") && !judged.counted;
                let wait = if lost { YEARS_MS } else { wait };
                (Next::RetryAt(at), Some((at, now.steady.saturating_add(wait))))
            }
        };
        self.backlog.ended(job.ticket, AttemptEnd { counted: judged.counted, retry });
        self.step();
        let number = attempts.saturating_add(1);
        let attempt = Attempt { number, at_ms, outcome, counted: judged.counted };
        Done { key: before.key.clone(), attempt, next }
    }

    /// What was decided about a delivery is durable: only now its key goes on, or its retry is planned.
    pub fn settled(&mut self, ticket: Ticket, now: Now) {
        self.backlog.settled(ticket, now);
        self.step();
    }

    /// The end of a step.
    fn step(&mut self) {
        self.pass_on();
        #[cfg(debug_assertions)]
        self.sometimes_check();
    }

    /// What one owner says goes to those whom it concerns.
    fn pass_on(&mut self) {
        for message in self.backlog.messages() {
            match message {
                Message::Ready(endpoint, ready) => self.rounds.ready(endpoint, ready),
                Message::Unready(endpoint, ready) => self.rounds.unready(endpoint, ready),
                Message::Set(at, timer) => self.timers.set(at, timer),
                Message::Cancel(at, timer) => self.timers.cancel(at, timer),
                Message::GiveUp(given_up) => self.given_up.push(given_up),
            }
        }
        for message in self.rounds.messages() {
            match message {
                Message::Set(at, timer) => self.timers.set(at, timer),
                Message::Cancel(at, timer) => self.timers.cancel(at, timer),
                other => debug_assert!(false, "the rounds say {other:?}"),
            }
        }
    }
}

/// What is planned for then is lost.
const YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;

#[cfg(any(test, debug_assertions))]
impl Scheduler {
    #[cfg(debug_assertions)]
    /// A full check costs what is in memory: it is made so seldom that its share of a step is constant.
    fn sometimes_check(&mut self) {
        self.unchecked += 1;
        if self.unchecked * 16 >= self.timers.len() + self.held() {
            self.unchecked = 0;
            self.check();
        }
    }

    /// Everything that holds between two steps: of each owner alone, and of all together.
    pub(in crate::dispatch) fn check(&mut self) {
        use crate::dispatch::backlog::{items::TicketState, lane::Lane};
        use crate::dispatch::rounds::standing::RoundPlace;
        self.backlog.check();
        self.rounds.check();
        let (mut timers, mut ready, mut in_rounds, mut in_flight) = (0, 0, 0, 0);
        for items in self.backlog.lanes().map(Lane::items) {
            let endpoint = items.endpoint().and_then(|id| self.rounds.endpoint(id));
            for (ticket, item) in items.iter() {
                for (at, timer) in item.timers(ticket) {
                    assert!(self.timers.has(at, timer), "{timer:?} at {at}");
                    timers += 1;
                }
                if let Some(is_ready) = item.ready(ticket) {
                    assert!(endpoint.is_some_and(|endpoint| endpoint.has(is_ready)), "{is_ready:?}");
                    ready += 1;
                }
                in_flight += usize::from(item.state == TicketState::InFlight);
            }
        }
        for (id, endpoint) in self.rounds.endpoints() {
            if let RoundPlace::Timed(at) = endpoint.place() {
                assert!(self.timers.has(at, Timer::Endpoint(id)), "endpoint {id} at {at}");
                timers += 1;
            }
            in_rounds += endpoint.ready_len();
            let proven = self.backlog.is_proven(id);
            assert!(proven.is_none_or(|proven| proven == endpoint.is_proven()), "{endpoint:?}");
        }
        let here = (in_rounds, self.in_flight(), self.timers.len());
        assert_eq!((ready, in_flight, timers), here, "ready, in flight, timers: in lanes, and elsewhere");
    }
}

#[cfg(test)]
mod tests;
