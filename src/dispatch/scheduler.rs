//! Purpose: which delivery goes when (SPEC 5.2–5.5): passes messages between the three owners, `Backlog`, `Rounds` and `Timers`, pure.
//! Must not: have a state of its own, read a clock or a store: what it wants to read it asks for (`wants`), what it decides it
//! hands out (`done`, `given_up`).
//!
//! Every step costs O(log n) in lanes, endpoints and deliveries in memory. Debug builds check after each step that the owners
//! agree.
use crate::dispatch::backlog::items::AttemptEnd;
use crate::dispatch::backlog::lanes::Backlog;
use crate::dispatch::backlog::refill::{BegunRead, Offered};
use crate::dispatch::message::{GivenUp, OwnerMessage};
use crate::dispatch::now::Now;
use crate::dispatch::parcel::ParcelMember;
use crate::dispatch::retry::{RetryVerdict, judge};
use crate::dispatch::rounds::pick::{Rounds, Started};
use crate::dispatch::ticket::{EndpointId, Lead, Ticket};
use crate::dispatch::timers::{Timer, Timers};
use crate::domain::{
    Attempt, DeliveryKey, EndpointKey, Next, Ordering, Outcome, Parcel, Pending, SubscriptionId,
};
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
    /// What its request carries.
    pub parcel: Parcel<ParcelMember>,
    pub(in crate::dispatch) started: Started,
}

impl Job {
    /// The lane of all its deliveries.
    pub fn lane(&self) -> SubscriptionId {
        self.parcel.first().ticket.lane
    }
}

/// An attempt to make durable, for all deliveries of its parcel together; then call `settled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Which deliveries.
    pub keys: Vec<DeliveryKey>,
    /// For the record of each.
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
        self.backlog.mark(id);
        self.step();
    }
    /// The feed has lost deliveries of any lane: what is offered from now on must not overtake what the store has.
    pub fn backlog_of_all(&mut self) {
        self.backlog.mark_all();
        self.step();
    }
    /// Begins so many reads of the store. Each may take any time; meanwhile everything else goes on.
    pub fn begin_reads(&mut self, limit: usize) -> Vec<BegunRead> {
        self.backlog.begin_reads(limit)
    }
    /// Would `begin_reads` begin something now?
    pub fn wants_reads(&self) -> bool {
        self.backlog.wants_reads()
    }
    /// What the store has answered to a read; of an order key the first alone. It is as old as the read: what ended since does not come
    /// back, and what came since is read later.
    pub fn answered(&mut self, read: &BegunRead, found: Vec<Pending>, now: Now) {
        self.backlog.answered(read, found, now);
        self.step();
    }
    /// The store could not be asked: ask again later.
    pub fn not_read(&mut self, read: &BegunRead) {
        self.backlog.not_read(read);
        self.step();
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
            let parcel = self.backlog.compose(ticket);
            debug_assert!(parcel.is_some(), "{ticket:?} is started and is not in memory");
            Some(Job { parcel: parcel?, started })
        });
        self.step();
        job
    }

    /// Gives back a job that was not started: as if it had not been chosen.
    pub fn put_back(&mut self, job: &Job, now: Now) {
        self.rounds.put_back(&job.started);
        self.backlog.put_back(&job.parcel, now);
        self.step();
    }

    /// An attempt is over. `at_ms` is when it began (Unix), `jitter` in [0, 1).
    pub fn done(&mut self, job: &Job, outcome: Outcome, at_ms: i64, now: Now, jitter: f64) -> Done {
        // the members of a parcel are attempted together from the first time on
        let before = &job.parcel.first().pending;
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
        self.backlog.ended(&job.parcel, AttemptEnd { counted: judged.counted, retry });
        self.step();
        let number = attempts.saturating_add(1);
        let attempt = Attempt { number, at_ms, outcome, counted: judged.counted };
        let keys = job.parcel.members().map(|member| member.pending.key.clone()).collect();
        Done { keys, attempt, next }
    }

    /// What was decided about deliveries is durable: only now their keys go on, or their retries are planned.
    pub fn settled(&mut self, tickets: &[Ticket], now: Now) {
        for ticket in tickets {
            self.backlog.settled(*ticket, now);
        }
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
                OwnerMessage::Ready(endpoint, ready) => self.rounds.ready(endpoint, ready),
                OwnerMessage::Unready(endpoint, ready) => self.rounds.unready(endpoint, ready),
                OwnerMessage::Set(at, timer) => self.timers.set(at, timer),
                OwnerMessage::Cancel(at, timer) => self.timers.cancel(at, timer),
                OwnerMessage::GiveUp(given_up) => self.given_up.push(given_up),
            }
        }
        for message in self.rounds.messages() {
            match message {
                OwnerMessage::Set(at, timer) => self.timers.set(at, timer),
                OwnerMessage::Cancel(at, timer) => self.timers.cancel(at, timer),
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
        let size = self.timers.len() + self.held() + self.backlog.count() + self.rounds.count();
        if self.unchecked * 16 >= size {
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
        assert_eq!((ready, timers), (in_rounds, self.timers.len()), "ready, timers: in lanes, and elsewhere");
        // tests alone compose parcels of several
        let several = cfg!(test) && in_flight > self.in_flight();
        assert!(in_flight == self.in_flight() || several, "{in_flight} in flight in lanes");
    }
}

#[cfg(test)]
mod tests;
